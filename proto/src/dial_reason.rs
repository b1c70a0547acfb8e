//! The reasons for which an address is dialled.
//!
//! Membership gives the reason, the dialer keeps it during the dial, and connections while the link
//! is open. In a full mesh most dials have none.

use crate::id::NodeId;

/// Why an address is dialled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DialReason {
    /// A slot in each other's active view.
    Slot {
        /// Whether it is a high priority request: the other end may swap a slot for us.
        high_priority: bool,
        /// The node that referred us there.
        referred_by: Option<NodeId>,
    },
    /// A shuffle: addresses from a random node.
    Shuffle,
    /// A step of a random walk: the addresses lead to the next step.
    Walk,
    /// Addresses to begin with, from the bootstrap node.
    Bootstrap,
    /// A slot for an exercise peer. It is no request: searches for native peers do not wait for it.
    Exercise,
    /// Referral of an exercise peer to other nodes: there is no slot for it.
    Redirect,
}

impl DialReason {
    /// Returns the reason of a request for a free slot.
    pub(crate) fn slot() -> Self {
        Self::Slot { high_priority: false, referred_by: None }
    }

    pub(crate) fn is_slot(&self) -> bool {
        matches!(self, Self::Slot { .. })
    }

    /// Returns whether it is a high priority request.
    pub(crate) fn is_high_priority(&self) -> bool {
        matches!(self, Self::Slot { high_priority: true, .. })
    }

    /// Returns whether it is for addresses alone: the link is closed once they came.
    pub(crate) fn is_for_addresses(&self) -> bool {
        matches!(self, Self::Shuffle | Self::Walk | Self::Bootstrap)
    }
}
