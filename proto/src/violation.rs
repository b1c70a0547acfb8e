//! A rule that a peer broke: what a handler returns, and [`penalize`](crate::connections) turns
//! into points.

use crate::limits;

/// A peer broke a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) kind: ViolationKind,
    /// The message type and what is wrong with it, for the debug log and the ban.
    pub(crate) text: String,
}

/// What kind of rule it is. Each variant says why no honest node breaks it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ViolationKind {
    /// A frame that breaks WebSocket's own rules, or is no JSON: no library writes such. The link
    /// is closed.
    Malformed,
    /// It says two different things of itself on one link.
    Contradiction,
    /// A frame without the form of its type, an invalid transaction from a native peer, which
    /// checks what it passes on, or a frame that only others may send. Fifteen are tolerated: a
    /// faulty program should hear of more than one fault.
    Breach,
    /// It asks, or grafts, many times as often as our own code ever does.
    Flood,
    /// Another node answers at the address that it claims. A copied setting can be the cause: a low
    /// weight.
    FalseAddress,
    /// An answer without a question, or a question that only this host may ask. An answer may come
    /// late.
    Unsolicited,
}

impl ViolationKind {
    /// Returns its weight in points, of [`limits::BAN_SCORE`].
    pub(crate) fn points(self) -> u32 {
        match self {
            Self::Contradiction => limits::BAN_SCORE / 2,
            Self::Malformed => limits::BAN_SCORE / 4,
            Self::Breach | Self::Flood => limits::BAN_SCORE / 16,
            Self::FalseAddress => limits::BAN_SCORE / 32,
            Self::Unsolicited => 1,
        }
    }
}

impl Violation {
    pub(crate) fn new(kind: ViolationKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }

    /// Returns the most common violation: a frame that has not the form of its type, or comes from
    /// the wrong sender.
    pub(crate) fn breach(text: impl Into<String>) -> Self {
        Self::new(ViolationKind::Breach, text)
    }
}
