//! What happened, for people and applications. The core says it, the shell words it: nothing in the protocol depends on an event.

use std::time::Duration;

use crate::address::PeerAddress;
use crate::id::{LinkId, NodeId};
use crate::transaction::{Origin, Transaction, TransactionId};
use crate::wire::Broadcast;

/// A step in a node's life. Log lines and the library's event stream are made of these.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// An address is being dialled.
    Dialling {
        /// Where to.
        address: PeerAddress,
    },
    /// A dial came to nothing.
    DialFailed {
        /// Where to.
        address: PeerAddress,
        /// What the system said.
        error: String,
        /// When it is tried again; `None` if it is forgotten.
        retry_in: Option<Duration>,
    },
    /// An address turned out to lead to ourselves; it is never dialled again.
    SelfDialled {
        /// Which.
        address: PeerAddress,
    },
    /// A node is linked to us that was not before.
    PeerUp {
        /// Who.
        peer: PeerName,
        /// Whether we dialled.
        dialled: bool,
        /// How many nodes we are linked to now.
        peers: usize,
    },
    /// The last link to a node is gone.
    PeerDown {
        /// Who.
        peer: PeerName,
        /// Why, in words.
        cause: String,
        /// How many nodes we are linked to now.
        peers: usize,
    },
    /// A peer named addresses that we did not know.
    AddressesLearned {
        /// From whom.
        peer: PeerName,
        /// How many.
        addresses: usize,
    },
    /// A node was heard of on the local network. Whether it is there shows when it is dialled.
    LanPeerFound {
        /// Who it says it is, and where.
        peer: PeerName,
        /// How many places it says it has free; `None`: it links to all.
        free: Option<u32>,
    },
    /// A transaction is new here. It is on its way to our peers and to our disk.
    Transaction {
        /// The transaction.
        transaction: Transaction,
        /// Which node first sent it into the network, as far as we know; `None` for one that came with a comparison of pools.
        origin: Option<Origin>,
        /// From whom we have it; `None` for one of our own.
        peer: Option<PeerName>,
        /// On how many links it went out.
        links: usize,
    },
    /// Transactions that are on disk now.
    Stored {
        /// Their identities.
        ids: Vec<TransactionId>,
        /// How many the pool holds now.
        pool: u64,
    },
    /// The pool's file did not take a write; it is tried again.
    StoreFailed {
        /// What happened and what to do.
        error: String,
    },
    /// The pool's file takes writes again.
    StoreRecovered,
    /// A text to everybody. Each comes once, and none of our own comes back after a restart.
    Broadcast {
        /// The text, its time and its id.
        broadcast: Broadcast,
        /// Who sent it.
        sender: PeerName,
        /// From whom we have it; `None` if this program sent it.
        peer: Option<PeerName>,
        /// On how many links it went out from here.
        links: usize,
    },
    /// A node is in the network that was not known to be.
    NodeJoined {
        /// Who.
        node: PeerName,
        /// How many nodes are known to be in the network now, this one included.
        nodes: usize,
    },
    /// A node is gone from the network.
    NodeLeft {
        /// Who.
        node: PeerName,
        /// Why it counts as gone, in words.
        cause: String,
        /// How many nodes are known to be in the network now, this one included.
        nodes: usize,
    },
    /// A transaction was refused.
    TransactionRefused {
        /// From whom it came.
        peer: PeerName,
        /// Why.
        reason: String,
    },
    /// A peer lacks so much that it asked for our whole pool.
    Replaying {
        /// Who.
        peer: PeerName,
        /// How many transactions we have.
        ours: u64,
    },
    /// A node asked for a place and there was none.
    Declined {
        /// Who.
        peer: PeerName,
        /// How many others it was told of.
        others: usize,
    },
    /// A node that we asked for a place has none.
    DeclinedBy {
        /// Who.
        peer: PeerName,
        /// How many others it told us of.
        others: usize,
        /// Whom we try now; `None`: nobody yet.
        next: Option<PeerAddress>,
        /// When it is asked again.
        retry_in: Duration,
    },
    /// No node has a place for us: one is asked to split a link.
    RequestingSlot {
        /// Which.
        address: PeerAddress,
    },
    /// A node that insisted got the place of another, which goes on to it.
    SlotSwapped {
        /// Who got the place.
        joiner: PeerName,
        /// Who had it.
        moved: PeerName,
    },
    /// A peer gave our place away.
    SlotTaken {
        /// Who.
        peer: PeerName,
        /// Where it sent us.
        next: Option<PeerAddress>,
    },
    /// A node belongs to a part of the network that formed apart: the two are linked.
    HealingPartition {
        /// Where it is.
        address: PeerAddress,
        /// Whose link makes room for that.
        gave_up: Option<PeerName>,
    },
    /// A link is moved to a random node.
    Rewiring {
        /// Whose link is given up.
        from: PeerName,
        /// Where a place is asked for.
        to: PeerAddress,
    },
    /// A step in joining through the genesis node.
    Bootstrap(BootstrapStep),
    /// A peer broke so many rules that it was closed.
    Banned {
        /// Who.
        peer: PeerName,
        /// From which addresses nobody is let in for a while; `None`: it is on this host, or was named by a person, and may come back at once.
        from: Option<String>,
        /// What it did the last time.
        cause: String,
        /// For how long it is kept away.
        time: Option<Duration>,
    },
    /// Somebody was refused. Told once a minute for each address group.
    PeerRefused {
        /// From where: an IP address, an IPv6 /64, or this host.
        from: String,
        /// Why.
        reason: String,
        /// How many more were refused there since the last time that this was told.
        suppressed: u64,
    },
    /// A slow peer's queue is full: from now on it is fed from the pool.
    PeerLagging {
        /// Who.
        peer: PeerName,
    },
    /// Something that a person should know and may want to change.
    Warning {
        /// What, where, and what to do.
        text: String,
    },
    /// Somebody was not let in, as others from there lately, of whom a warning told; for the debug log.
    AccessDenied {
        /// Who and why.
        text: String,
    },
    /// A peer's fault; for the debug log.
    PeerFault {
        /// On which link.
        link: LinkId,
        /// Whose.
        peer: PeerName,
        /// What it did.
        text: String,
    },
}

/// A step in joining through a genesis node.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BootstrapStep {
    /// It is this node itself.
    Ourselves {
        /// The address that was set.
        address: PeerAddress,
    },
    /// It is being asked for nodes.
    Asking {
        /// Where it is.
        address: PeerAddress,
    },
    /// It can not be asked.
    Failed {
        /// Where it should be.
        address: PeerAddress,
        /// Why, in words.
        error: String,
        /// How many other addresses there are to try.
        others: usize,
    },
    /// It knows nobody else.
    Alone {
        /// Where it is.
        address: PeerAddress,
    },
    /// It named a node, which is being dialled.
    Named {
        /// Where that is.
        address: PeerAddress,
    },
    /// The node that it named, or itself, took us.
    Joined {
        /// Who.
        peer: PeerName,
    },
    /// That node told of its neighbours.
    Neighbours {
        /// Who.
        peer: PeerName,
        /// How many.
        addresses: usize,
    },
}

/// A peer, as people know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerName {
    /// Its id; a node of the exercise has none.
    pub node: Option<NodeId>,
    /// Its address, where one is known.
    pub address: Option<PeerAddress>,
}

impl std::fmt::Display for PeerName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.address, &self.node) {
            (Some(address), Some(node)) => write!(f, "{address} ({})", node.short()),
            (Some(address), None) => address.fmt(f),
            (None, Some(node)) => f.write_str(&node.short()),
            (None, None) => f.write_str("a client"),
        }
    }
}
