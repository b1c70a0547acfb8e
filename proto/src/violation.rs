//! Violations of the protocol's rules by a peer.
//!
//! A handler returns one, and [`Connections::penalize`](crate::connections) adds its points to the
//! peer's score. The weights are relative to [`limits::BAN_SCORE`].

use std::fmt;

use crate::limits;

/// A violation of a rule. Its text names the message type and the fault.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Violation {
    /// Its kind.
    pub kind: ViolationKind,
    /// The message type and the fault, for the debug log and the cause of a ban.
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The kind of a violation. Each variant says why no honest node commits it, or how it gets a low
/// weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ViolationKind {
    /// A frame that breaks the rules of WebSocket, or is no JSON: no library sends one. The link is
    /// closed.
    Malformed,
    /// Two different identities of one peer on one link.
    Contradiction,
    /// A frame that breaks the form of its type, an invalid transaction from a native peer, which
    /// validates what it relays, or a frame that this sender may not send. Fifteen are tolerated,
    /// so that the author of a faulty program sees more than one fault.
    Breach,
    /// A claimed address at which another node answers. A copied setting may be the cause, so its
    /// weight is low.
    FalseAddress,
    /// An answer without a request, or a request that only this host may make. An answer may come
    /// late, so its weight is the lowest.
    Unsolicited,
}

impl ViolationKind {
    /// Returns the weight in points.
    pub(crate) fn points(self) -> u32 {
        match self {
            Self::Contradiction => limits::BAN_SCORE / 2,
            Self::Malformed => limits::BAN_SCORE / 4,
            Self::Breach => limits::BAN_SCORE / 16,
            Self::FalseAddress => limits::BAN_SCORE / 32,
            Self::Unsolicited => 1,
        }
    }
}

impl Violation {
    pub(crate) fn new(kind: ViolationKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }

    /// Returns the most common violation: a frame that breaks the form of its type, or comes from
    /// the wrong sender.
    pub(crate) fn breach(text: impl Into<String>) -> Self {
        Self::new(ViolationKind::Breach, text)
    }
}
