//! Why an address is dialled, and how a dial ended.

use crate::id::NodeId;

/// Why an address is dialled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DialReason {
    /// For a slot in each other's active view.
    Slot {
        /// Whether the other end is to swap a slot for us: a request of high priority.
        high_priority: bool,
        /// The node that referred us there.
        referred_by: Option<NodeId>,
    },
    /// For some addresses, from a random node.
    Shuffle,
    /// The same, as a step of a random walk: the next one leads on from there.
    Walk,
    /// For the address of a node to begin with, from the bootstrap node.
    Bootstrap,
    /// To refer an exercise peer to others: there is no slot for it.
    Redirect,
}

impl DialReason {
    /// Returns a request for a free slot.
    pub(crate) fn slot() -> Self {
        Self::Slot { high_priority: false, referred_by: None }
    }

    pub(crate) fn is_slot(&self) -> bool {
        matches!(self, Self::Slot { .. })
    }

    /// Returns whether it asks for another's slot.
    pub(crate) fn is_high_priority(&self) -> bool {
        matches!(self, Self::Slot { high_priority: true, .. })
    }

    /// Returns whether it is for addresses alone: the link ends once they came.
    pub(crate) fn is_for_addresses(&self) -> bool {
        matches!(self, Self::Shuffle | Self::Walk | Self::Bootstrap)
    }
}
