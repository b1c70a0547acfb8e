//! Events between components: raised in a lower layer, handled in a higher one.
//!
//! They wait in the [`Context`](crate::context::Context) until the call that raised them returns to
//! the node, which hands them on in their order. No transaction raises one.

use crate::address::PeerAddress;
use crate::event::Event;
use crate::id::{LinkId, Session};
use crate::peers::dial_reason::DialReason;
use crate::wire::NodeInfo;

/// What happened in a lower layer.
#[derive(Debug)]
pub(crate) enum InternalEvent {
    /// The time of an address has come, and nothing needs it dialled.
    AddressIdle(PeerAddress),
    /// A dial for `reason` led to no link that is used.
    DialEnded { address: PeerAddress, reason: Option<DialReason>, outcome: DialOutcome },
    /// An exercise peer answered a dial; `redirects`: there is no slot for it.
    ExerciseDialled { link: LinkId, address: PeerAddress, reason: Option<DialReason>, redirects: bool },
    /// A native peer answered a dial, and no other link leads to it.
    NativeDialled { link: LinkId, reason: Option<DialReason> },
    /// A link that was held back may be used: the older one to its node is gone.
    StandbyFreed(LinkId),
    /// A native peer introduced itself on an accepted link.
    Introduced { link: LinkId, node: Box<NodeInfo>, addresses: Vec<PeerAddress> },
    /// An exercise peer introduced itself.
    ExerciseIntroduced { link: LinkId, addresses: Vec<PeerAddress> },
    /// The first link to a native peer is established.
    NeighborUp(LinkId),
    /// An admitted native peer named addresses.
    AddressesLearned { link: LinkId, addresses: Vec<PeerAddress> },
    /// The node at an address, of which the other end of `link` told us, is in this partition.
    PartitionLearned { link: LinkId, address: PeerAddress, root: Session },
    /// To be reported after what was raised before.
    Notify(Event),
}

/// How a dial ended that led to no link that is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DialOutcome {
    /// No node answered.
    Failed(String),
    /// A node answered that is of no use here: the reason.
    Useless(&'static str),
    /// This node itself answered, on this link.
    Ourselves { link: LinkId },
}
