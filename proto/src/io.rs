//! What goes into the core and what comes out of it: facts and orders.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::address::{PeerAddress, Scope};
use crate::event::Event;
use crate::frame::Frame;
use crate::id::{LinkId, NodeId, Session, UpgradeIdentity};
use crate::limits::Limits;
use crate::peers::access::{Access, Certified};
use crate::signature::Signer;
use crate::transaction::{Origin, Transaction, TransactionId};
use crate::wire::mdns_record::{InvalidRecord, Record};
use crate::wire::{BroadcastId, Found, ImageInfo, ImageName, Malformed, Message, SearchId};

/// A fact that the shell reports.
#[derive(Debug)]
pub enum Input {
    /// A link is open: both sides finished the WebSocket upgrade.
    LinkOpened {
        /// Its name, new.
        link: LinkId,
        /// The other end's IP address.
        remote: IpAddr,
        /// Who opened it.
        direction: Direction,
    },
    /// A message came in on a link.
    Received {
        /// On which.
        link: LinkId,
        /// What.
        message: Result<Message, Malformed>,
    },
    /// Copies of transactions came in on a link: the shell knew them by their text, which is that of the copy accepted, its origin included.
    Duplicates {
        /// On which.
        link: LinkId,
        /// Of which origins, where they name one, and how many of each.
        copies: Vec<(Option<Origin>, u32)>,
    },
    /// A link, or every link, has not been read for a while: the shell has no room. Its silence says nothing about the other end.
    ReadsPaused {
        /// Which; `None`: all.
        link: Option<LinkId>,
    },
    /// A pong came in on a link.
    Pong {
        /// On which.
        link: LinkId,
    },
    /// A link is gone, whoever closed it. Reported once per link, also for one that we asked to close.
    LinkClosed {
        /// Which.
        link: LinkId,
        /// Why, in words.
        cause: String,
    },
    /// The other end of a link broke WebSocket's own rules; the link ends, and [`Input::LinkClosed`] follows.
    ProtocolError {
        /// Which link.
        link: LinkId,
        /// What it did, in words.
        what: String,
    },
    /// A task of the shell ended in a fault of this program.
    TaskPanicked,
    /// What the shell has counted since its start, besides the core; told with the core's own counters.
    RuntimeCounters {
        /// Names and numbers.
        counts: Vec<(&'static str, u64)>,
    },
    /// So much more was written on links to peers.
    BytesWritten {
        /// Bytes, the heads of frames and TLS included.
        bytes: u64,
    },
    /// A connection was refused before it became a link.
    ConnectionRefused {
        /// From where it came.
        remote: IpAddr,
        /// Why, in words.
        reason: String,
    },
    /// A payload did not fit into a link's outgoing queue and was not queued. Reported before any other kind of fact.
    QueueFull {
        /// Which.
        link: LinkId,
    },
    /// A dial came to nothing.
    DialFailed {
        /// Where to.
        address: PeerAddress,
        /// What the system said.
        error: String,
    },
    /// The answer to [`Output::Probe`].
    Probed {
        /// For which accepted link.
        link: LinkId,
        /// The address that was probed.
        address: PeerAddress,
        /// Who answered there; `None` if nobody, or no full peer, did.
        identity: Option<UpgradeIdentity>,
    },
    /// Transactions, in the order in which they were given to [`Output::Store`], are on disk.
    Stored {
        /// Which.
        ids: Vec<TransactionId>,
    },
    /// The pool's file did not take a batch; the shell keeps it and tries again.
    StoreFailed {
        /// What happened and what to do.
        error: String,
    },
    /// The pool's file takes writes again.
    StoreRecovered,
    /// Transactions appeared in the pool's file that we did not put there: an editor, or a helper of the exercise. They have their places in the
    /// pool already.
    PoolAdded {
        /// Which.
        transactions: Vec<Transaction>,
    },
    /// Transactions are gone from the pool's file: somebody removed them, and they can not be read any more.
    PoolRemoved {
        /// Which.
        ids: Vec<TransactionId>,
    },
    /// Feeding a link reached the end of what the pool had on disk, or the end that was ordered, and at least half of the link's queue is free.
    Replayed {
        /// Which link.
        link: LinkId,
        /// The position after the last transaction sent.
        position: u64,
    },
    /// The application submits a transaction of its own.
    Submit {
        /// Named in the answers, [`Output::Submitted`] and [`Output::SubmissionStored`].
        request: RequestId,
        /// What.
        transaction: Transaction,
    },
    /// The application broadcasts a text, which [`Broadcast::check`](crate::wire::Broadcast::check) passed.
    Broadcast {
        /// Named in the answer, [`Output::BroadcastSent`].
        request: RequestId,
        /// The text.
        message: String,
        /// The time of the day, in seconds since 1970.
        time: f64,
    },
    /// It is proved who is at the other end of a link that opens next: [`Input::LinkOpened`] follows at once. In an open network nothing is.
    PeerCertified {
        /// Which link.
        link: LinkId,
        /// Who.
        certified: Certified,
    },
    /// Other rules of who is let in than before; at first everybody is.
    AccessChanged {
        /// The rules.
        access: Access,
    },
    /// Somebody connected and came to no link: it spoke another protocol, or showed no certificate that counts here.
    ConnectionRejected {
        /// From where.
        remote: IpAddr,
        /// Why, and what to do, in words.
        reason: String,
    },
    /// The application searches an image; answered by [`Output::ImageOffer`], any number of times, and then, unless [`Input::ImageSearchDone`] comes first, by
    /// [`Output::ImageSearchOver`].
    ImageSearch {
        /// A new id: random bytes.
        search: SearchId,
        /// Which; `None`: all that there are.
        name: Option<ImageName>,
    },
    /// The application wants no more offers.
    ImageSearchDone {
        /// Of which search.
        search: SearchId,
    },
    /// The answer to [`Output::FindLocalImages`].
    LocalImages {
        /// For which search.
        search: SearchId,
        /// What there is. A list of all has at most [`FOUND_IMAGES`](crate::limits::FOUND_IMAGES).
        images: Vec<ImageInfo>,
    },
    /// The shell begins, or begins anew, to listen on the local network and to announce this node there: what was heard before counts no more, and
    /// [`Output::AdvertiseSlots`] says with how many free places.
    DiscoveryStarted,
    /// A record was heard on the local network, for the first time or with news. It may be our own, or forged.
    RecordDiscovered {
        /// What it says, or why it can not be read.
        record: Result<Record, InvalidRecord>,
        /// From how far away it can have come: [`Scope::Loopback`] if it was heard on this host alone, else [`Scope::Private`].
        scope: Scope,
    },
    /// A record ended: its node said goodbye, or was not heard of for as long as it asked to be remembered.
    RecordExpired {
        /// Of which run of a node.
        session: Session,
    },
    /// The deadline of [`poll_timeout`](crate::Node::poll_timeout) has come.
    Timeout,
    /// The node ends: every link is closed, nothing new is begun.
    Shutdown,
}

/// Who opened a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Direction {
    /// We did, in answer to [`Output::Dial`].
    Dialled {
        /// The address that was dialled.
        address: PeerAddress,
        /// What the other side said of itself in its answer to the upgrade; a node of the exercise says nothing.
        identity: Option<UpgradeIdentity>,
    },
    /// The other side did.
    Accepted,
}

/// Names one submission of the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// An order to the shell.
#[derive(Debug)]
pub enum Output {
    /// Open a link to an address; answered by [`Input::LinkOpened`] or [`Input::DialFailed`], once.
    Dial {
        /// Where to.
        address: PeerAddress,
        /// The nearest that its name may lead to: an IP address for which [`Scope::may_tell`] says no is not dialled.
        reach: Scope,
    },
    /// Connect to an address, read the identity from the answer to the upgrade, close; answered by [`Input::Probed`], once.
    Probe {
        /// The accepted link whose peer claims the address.
        link: LinkId,
        /// Where to.
        address: PeerAddress,
        /// As in [`Output::Dial`].
        reach: Scope,
    },
    /// Queue a frame on links.
    Send {
        /// On which.
        links: Vec<LinkId>,
        /// What.
        frame: Frame,
        /// In which of a link's two queues.
        lane: Lane,
    },
    /// Of what is queued on a link, drop the transactions of these origins: its other end gets them elsewhere. A shell that sends at once may ignore it.
    DropQueued {
        /// On which link.
        link: LinkId,
        /// Whose.
        origins: Vec<Origin>,
    },
    /// Send a WebSocket ping; the pong comes back as [`Input::Pong`].
    Ping {
        /// On which link.
        link: LinkId,
    },
    /// Read nothing more from a link for a moment: its other end breaks rules.
    PauseReading {
        /// Which link.
        link: LinkId,
        /// For how long.
        time: Duration,
    },
    /// Close a link once what is queued on it is sent; [`Input::LinkClosed`] follows.
    Close {
        /// Which.
        link: LinkId,
        /// The close code (RFC 6455, section 7.4).
        code: u16,
        /// BroadcastReceipt to the other side; at most [`CLOSE_REASON_BYTES`](crate::limits::CLOSE_REASON_BYTES).
        reason: String,
    },
    /// Append a transaction to the pool's file; answered by [`Input::Stored`], in order.
    Store {
        /// What.
        transaction: Transaction,
    },
    /// Send a link transactions from the pool, in bounded pieces and only as fast as its queue drains; answered by [`Input::Replayed`]. A new order for
    /// the same link replaces an older one.
    Replay {
        /// Which link.
        link: LinkId,
        /// The position of the first: how many transactions were in the pool before it.
        from: u64,
        /// The position before which to end; `None`: the end of what is on disk.
        until: Option<u64>,
        /// Whether the frames carry our session, as an answer to a comparison of pools does; else they are as if just flooded.
        synced: bool,
    },
    /// Send a link the transactions at these positions, as [`Output::Replay`] does with `synced`; answered by nothing.
    ReplayPositions {
        /// Which link.
        link: LinkId,
        /// Which positions, in ascending order.
        positions: Vec<u64>,
    },
    /// A submission was taken, or not: told at once.
    Submitted {
        /// Which.
        request: RequestId,
        /// On how many links it went out and whether it is new; or why it was refused.
        outcome: Result<Submission, String>,
    },
    /// A submission that was taken is on disk.
    SubmissionStored {
        /// Which.
        request: RequestId,
    },
    /// Keep these addresses for the next start, in place of those ordered before: they led to nodes lately, the latest first. At most
    /// [`PEER_CACHE`](crate::limits::PEER_CACHE).
    SavePeerCache {
        /// Which.
        addresses: Vec<PeerAddress>,
    },
    /// Announce this node on the local network with so many free places, in place of what was announced before.
    AdvertiseSlots {
        /// How many; `None`: it links to all.
        free: Option<u32>,
    },
    /// A text of the application is on its way.
    BroadcastSent {
        /// Which.
        request: RequestId,
        /// As what, and on how many links.
        told: BroadcastReceipt,
    },
    /// Look for an image in the node's folder; answered by [`Input::LocalImages`], once, with nothing where it is not there.
    FindLocalImages {
        /// For which search.
        search: SearchId,
        /// Which, with its digest; `None`: all, without.
        name: Option<ImageName>,
    },
    /// Somebody has what the application searches.
    ImageOffer {
        /// How near to us the finder's address may lead: as near as whoever told of it is.
        reach: Scope,
        /// The answer, with the search's id.
        found: Found,
    },
    /// A search of the application is over.
    ImageSearchOver {
        /// Which.
        search: SearchId,
        /// Why.
        end: SearchEnd,
    },
    /// Tell the application and the log.
    Notify(Event),
}

/// Why a search is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SearchEnd {
    /// It was not begun: [`SEARCHES`](crate::limits::SEARCHES) are under way.
    Refused,
    /// It was not begun: this node is linked to none of its kind.
    Alone,
    /// [`search_deadline`](crate::limits::Limits::search_deadline) has passed.
    Deadline,
}

/// What became of a broadcast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BroadcastReceipt {
    /// The broadcast's id.
    pub id: BroadcastId,
    /// On how many links it went out; zero means that no other node has it from us yet.
    pub links: usize,
}

/// What became of a submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Submission {
    /// The transaction's identity.
    pub id: TransactionId,
    /// On how many links it went out; zero means that no other node has it from us yet.
    pub links: usize,
    /// Whether it was known here already.
    pub duplicate: bool,
}

/// A link's two outgoing queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Handshakes, answers, comparisons: sent first, with room of their own; a link that overflows it is closed.
    Control,
    /// Transactions: what does not fit is not queued, and said by [`Input::QueueFull`].
    Payload,
}

/// What a node's core is told once, at its start.
#[derive(Debug, Clone)]
pub struct Config {
    /// Our id.
    pub node: NodeId,
    /// This run of us.
    pub session: Session,
    /// Program and version, told to peers.
    pub agent: String,
    /// The network's name; nodes of different names do not link.
    pub network: String,
    /// Where others can dial us.
    pub address: PeerAddress,
    /// The addresses that are dialled from the start and never forgotten.
    pub known_peers: Vec<PeerAddress>,
    /// Addresses that led to nodes when this node last ran.
    pub remembered_peers: Vec<PeerAddress>,
    /// How many nodes to link to at most; `None`: all, a full mesh.
    pub max_peers: Option<u32>,
    /// Whom to ask for a node to begin with.
    pub genesis: Option<PeerAddress>,
    /// When this run began: seconds since 1970, told to others.
    pub since: u64,
    /// The bounds that this node keeps.
    pub limits: Limits,
    /// Signs what we say, and judges what others say.
    pub signer: Arc<dyn Signer>,
    /// Seeds every random choice: equal seeds and equal inputs give equal outputs.
    pub seed: u64,
}
