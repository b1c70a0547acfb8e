//! What happened, for people and applications. The runtime makes the texts; nothing in the protocol
//! depends on an event.

use std::time::Duration;

use crate::address::PeerAddress;
use crate::causes::{ConnectionRefusal, Departure, DialError, LinkEnd, StoreError};
use crate::id::{LinkId, NodeId};
use crate::ip_prefix::IpPrefix;
use crate::transaction::{Origin, Transaction, TransactionId};
use crate::violation::Violation;
use crate::wire::Broadcast;

/// An event, for the log and the event stream of the library.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// An address is being dialled.
    Dialling {
        /// The address.
        address: PeerAddress,
    },
    /// A dial failed.
    DialFailed {
        /// The address.
        address: PeerAddress,
        /// The reason: the network, the other end, or a bound of this node.
        error: DialError,
        /// The time until the next dial; `None` if the address is forgotten.
        retry_in: Option<Duration>,
    },
    /// An address leads to this node itself. It is dialled again after the longest back-off, as
    /// another node may have it by then. Each address is reported once.
    SelfDialled {
        /// The address.
        address: PeerAddress,
    },
    /// The first link to a peer is established.
    PeerUp {
        /// The peer.
        peer: PeerName,
        /// Whether this node dialled.
        dialled: bool,
        /// The number of linked peers now.
        peers: usize,
    },
    /// The last link to a peer is closed.
    PeerDown {
        /// The peer.
        peer: PeerName,
        /// How the link ended.
        cause: LinkEnd,
        /// The number of linked peers now.
        peers: usize,
    },
    /// A dialled link is open: the upgrade to WebSocket is done.
    LinkOpened {
        /// The link.
        link: LinkId,
        /// The address that was dialled.
        address: PeerAddress,
        /// The node that answered, by its upgrade identity; `None`: an exercise peer.
        node: Option<NodeId>,
    },
    /// Our HANDSHAKE went out on a link.
    HandshakeSent {
        /// The link.
        link: LinkId,
        /// The peer at its other end.
        peer: PeerName,
        /// The first addresses in it, at most
        /// [`REPORTED_ADDRESSES`](crate::limits::REPORTED_ADDRESSES).
        addresses: Vec<PeerAddress>,
        /// The number of further addresses.
        more: usize,
    },
    /// The HANDSHAKE of a peer that has a slot was read.
    HandshakeReceived {
        /// The link.
        link: LinkId,
        /// The peer.
        peer: PeerName,
        /// The first addresses in it, at most
        /// [`REPORTED_ADDRESSES`](crate::limits::REPORTED_ADDRESSES), with what was done with each.
        addresses: Vec<NamedAddress>,
        /// The number of further addresses.
        more: usize,
    },
    /// Comparisons of pools have brought what this node lacked, and nothing more is on its way.
    Synced {
        /// The link on which it came.
        link: LinkId,
        /// The peer that sent it.
        peer: PeerName,
        /// The number of transactions that were new here.
        transactions: u64,
        /// The first of them, at most [`REPORTED_SYNCED`](crate::limits::REPORTED_SYNCED).
        first: Vec<TransactionId>,
    },
    /// A peer named addresses that were not known.
    AddressesLearned {
        /// The peer.
        peer: PeerName,
        /// Their number.
        addresses: usize,
    },
    /// A record of a node came from the local network. A dial shows whether the node is there.
    LanPeerFound {
        /// The node, by its own account.
        peer: PeerName,
        /// The number of its free slots, by its own account; `None`: it links to all.
        free: Option<u32>,
    },
    /// A new transaction was accepted. It is on its way to peers and to the disk.
    Transaction {
        /// The transaction.
        transaction: Transaction,
        /// The node that sent it first, as far as is known; `None` if it came with a comparison of
        /// pools.
        origin: Option<Origin>,
        /// The peer that sent it to us; `None` if this program did.
        peer: Option<PeerName>,
        /// The number of links on which it went out.
        links: usize,
    },
    /// Transactions are on disk.
    Stored {
        /// Their ids.
        ids: Vec<TransactionId>,
        /// The number of transactions in the pool now.
        pool: u64,
    },
    /// Writing to the pool's file failed; it is tried again.
    StoreFailed {
        /// What happened, and what to do.
        error: StoreError,
    },
    /// Writing to the pool's file works again.
    StoreRecovered,
    /// A broadcast was accepted. Each comes once; those of this node do not come back after a
    /// restart.
    Broadcast {
        /// The broadcast.
        broadcast: Broadcast,
        /// The node that sent it first.
        sender: PeerName,
        /// The peer that sent it to us; `None` if this program did.
        peer: Option<PeerName>,
        /// The number of links on which it went out.
        links: usize,
    },
    /// A node is new in the network.
    NodeJoined {
        /// The node.
        node: PeerName,
        /// The number of nodes that are known to be in the network now, this one included.
        nodes: usize,
    },
    /// A node left the network.
    NodeLeft {
        /// The node.
        node: PeerName,
        /// The reason why it counts as gone.
        cause: Departure,
        /// The number of nodes that are known to be in the network now, this one included.
        nodes: usize,
    },
    /// A transaction was refused.
    TransactionRefused {
        /// The peer that sent it.
        peer: PeerName,
        /// The reason, for people.
        reason: String,
    },
    /// A peer lacks so much that it asked for the whole pool.
    Replaying {
        /// The peer.
        peer: PeerName,
        /// The number of transactions in the pool.
        ours: u64,
    },
    /// A node asked for a slot and there was none.
    Declined {
        /// The node.
        peer: PeerName,
        /// The number of other nodes that were named to it.
        others: usize,
    },
    /// A node that was asked for a slot has none.
    DeclinedBy {
        /// The node.
        peer: PeerName,
        /// The number of other nodes that it named.
        others: usize,
        /// The address that is tried now; `None`: none yet.
        next: Option<PeerAddress>,
        /// The time until the node is asked again.
        retry_in: Duration,
        /// The reason that it gave, in its words; `None`: it gave none.
        reason: Option<String>,
    },
    /// All known nodes are full: one is asked for a slot with high priority.
    RequestingSlot {
        /// Its address.
        address: PeerAddress,
    },
    /// A node that asked with high priority got the slot of a peer, which was referred to it.
    SlotSwapped {
        /// The node that got the slot.
        joiner: PeerName,
        /// The peer that had it.
        moved: PeerName,
    },
    /// A peer gave our slot away.
    SlotTaken {
        /// The peer.
        peer: PeerName,
        /// The address to which it referred us.
        next: Option<PeerAddress>,
    },
    /// A node of another partition was met: it is dialled, which connects the two.
    HealingPartition {
        /// Its address.
        address: PeerAddress,
        /// The peer whose link was closed to make room.
        gave_up: Option<PeerName>,
    },
    /// A link is moved to a random node.
    Rewiring {
        /// The peer whose link is given up.
        from: PeerName,
        /// The address that is asked for a slot.
        to: PeerAddress,
    },
    /// A step in joining through the bootstrap node.
    Bootstrap(BootstrapStep),
    /// A peer broke so many rules that its link was closed.
    Banned {
        /// The peer.
        peer: PeerName,
        /// The IP addresses that are banned; `None`: the node id is if there is a time. Otherwise
        /// the peer is on this host, or a person configured it, and it may come back at once.
        from: Option<IpPrefix>,
        /// The last violation.
        cause: Violation,
        /// The duration of the ban.
        time: Option<Duration>,
    },
    /// A connection was refused. It is reported once a minute for each address group.
    PeerRefused {
        /// The address group: an IP address, or an IPv6 /64; `None`: this host.
        from: Option<IpPrefix>,
        /// The reason.
        reason: ConnectionRefusal,
        /// The number of refusals since the last report, without this one.
        suppressed: u64,
    },
    /// The queue of a slow peer is full. An exercise peer gets the rest from the pool as it reads
    /// on; a native peer is skipped, and compares pools once its queue has drained.
    PeerLagging {
        /// The peer.
        peer: PeerName,
    },
    /// Something that a person may want to change.
    Warning {
        /// What, where, and what to do, for people.
        text: String,
    },
    /// Access was denied again after a warning, for the debug log.
    AccessDenied {
        /// What and why, for people.
        text: String,
    },
    /// A fault of a peer, for the debug log.
    PeerFault {
        /// The link.
        link: LinkId,
        /// The peer.
        peer: PeerName,
        /// What it did, for people.
        text: String,
    },
}

/// An address in a HANDSHAKE, and what was done with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedAddress {
    /// The address.
    pub address: PeerAddress,
    /// What was done with it.
    pub outcome: AddressOutcome,
}

/// What a node did with an address that a peer named.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddressOutcome {
    /// It is this node itself.
    Ourselves,
    /// A link leads there already.
    Connected,
    /// A dial to it was under way already.
    Attempting,
    /// It is dialled back, to see whether the node that names it as its own answers there.
    Verifying,
    /// It is dialled.
    Dialled {
        /// The time until then; mostly none.
        after: Duration,
    },
    /// It is new and kept: with a cap it is dialled when a slot is wanted.
    Kept,
    /// It was known, and waits.
    Waiting {
        /// Dials that failed in a row.
        failures: u32,
        /// The time until the next dial; `None`: when a slot is wanted.
        retry_in: Option<Duration>,
    },
    /// It is not taken: it makes sense only on the peer's own host or network.
    OutOfScope,
    /// It is not taken: it is a node id, and this node dials none.
    NotDialable,
    /// It is not taken: there is no room for it, or it was forgotten a moment ago.
    NoRoom,
}

/// A step in joining through the bootstrap node.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BootstrapStep {
    /// It is this node itself.
    Ourselves {
        /// Its address, as configured.
        address: PeerAddress,
    },
    /// It is being asked for nodes.
    Asking {
        /// Its address.
        address: PeerAddress,
    },
    /// It cannot be asked.
    Failed {
        /// Its address.
        address: PeerAddress,
        /// The reason why the dial failed, or why the node there cannot be asked.
        error: DialError,
        /// The number of other addresses to try.
        others: usize,
    },
    /// It knows no other node.
    Alone {
        /// Its address.
        address: PeerAddress,
    },
    /// It named a node, which is being dialled.
    Named {
        /// The address of that node.
        address: PeerAddress,
    },
    /// The node that it named, or it itself, gave us a slot.
    Joined {
        /// The node.
        peer: PeerName,
    },
    /// That node named its neighbors.
    Neighbours {
        /// The node.
        peer: PeerName,
        /// Their number.
        addresses: usize,
    },
}

/// A peer, as people know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerName {
    /// Its id; an exercise peer has none.
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
