//! Events between components: raised in a lower layer, handled in a higher one.
//!
//! They wait in the [`Context`](crate::context::Context) until the call that raised them returns to
//! the node. The node routes them in the order of raising. For speed, the path of a transaction
//! raises none.

use std::time::Duration;

use crate::address::PeerAddress;
use crate::causes::DialError;
use crate::dial_reason::DialReason;
use crate::event::Event;
use crate::id::{LinkId, NodeId, Session};
use crate::ip_prefix::SourceGroup;
use crate::wire::NodeInfo;

/// An event of a lower layer.
#[derive(Debug)]
pub(crate) enum InternalEvent {
    /// An address is due, and with a cap it is not dialled without a reason.
    AddressIdle(PeerAddress),
    /// A dial for `reason` ended without a link that is used.
    DialEnded { address: PeerAddress, reason: Option<DialReason>, outcome: DialOutcome },
    /// An exercise peer answered a dial. With `redirects` there is no slot for it.
    ExerciseDialled { link: LinkId, address: PeerAddress, reason: Option<DialReason>, redirects: bool },
    /// A native peer answered a dial, and no other link leads to it.
    NativeDialled { link: LinkId, reason: Option<DialReason> },
    /// A link on standby may be used: the older one to its node is gone.
    StandbyFreed(LinkId),
    /// A native peer introduced itself on an accepted link.
    Introduced { link: LinkId, node: Box<NodeInfo>, addresses: Vec<PeerAddress> },
    /// There is no slot for the native peer at the other end: it is referred to others, and closed
    /// for this reason. `newcomer`: it has just introduced itself as this node.
    ToBeReferred { link: LinkId, reason: String, newcomer: Option<NodeId> },
    /// An exercise peer introduced itself.
    ExerciseIntroduced { link: LinkId, addresses: Vec<PeerAddress> },
    /// The first link to a native peer is established.
    NeighborUp(LinkId),
    /// A second link to a native peer is established, and may replace the first.
    SecondLink(LinkId),
    /// An admitted native peer named addresses.
    AddressesLearned { link: LinkId, addresses: Vec<PeerAddress> },
    /// The other end of `link` announced itself, or passed on the announcement of a node that is
    /// not linked: there it can be dialled. It may be silent for this long before it counts as
    /// gone.
    NodeAnnounced { link: LinkId, node: NodeId, address: PeerAddress, source: SourceGroup, patience: Duration },
    /// The other end of `link` reported the partition of the node at `address`.
    PartitionLearned { link: LinkId, address: PeerAddress, root: Session },
    /// An event for the application that follows those raised before.
    Notify(Event),
}

/// The outcome of a dial that ended without a link that is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DialOutcome {
    /// No node answered: the error.
    Failed(DialError),
    /// A node answered that cannot be used: the reason.
    Useless(&'static str),
    /// This node itself answered, on this link.
    Ourselves { link: LinkId },
}
