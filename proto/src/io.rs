//! The inputs and outputs of the core.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::access::{Access, Certified, Rules};
use crate::address::{PeerAddress, Scope};
use crate::causes::{ConnectionRefusal, DialError, LinkEnd, StoreError};
use crate::event::Event;
use crate::frame::Frame;
use crate::id::{LinkId, NodeId, Nonce, Session, UpgradeIdentity};
use crate::ip_prefix::SourceGroup;
use crate::topic_name::TopicName;
use crate::trace::Trace;
use crate::transaction::{Origin, Transaction, TransactionId};
use crate::wire::mdns_record::{InvalidRecord, Record};
use crate::wire::{
    BroadcastId, Found, ImageInfo, ImageName, Malformed, Message, RememberedAddress, RememberedExercise, SearchId,
};

/// What the runtime reports to the core.
#[derive(Debug)]
pub enum Input {
    /// A link is open: both ends finished the WebSocket upgrade.
    LinkOpened {
        /// The link's id, which is new.
        link: LinkId,
        /// The other end's IP address.
        remote: IpAddr,
        /// Which end opened it.
        direction: Direction,
    },
    /// A message was received.
    Received {
        /// The link on which it came.
        link: LinkId,
        /// The message, or why the frame is none.
        message: Result<Message, Malformed>,
    },
    /// Copies of transactions were received. The runtime found their frames equal to those of the
    /// copies that were accepted, origins included.
    Duplicates {
        /// The link on which they came.
        link: LinkId,
        /// Their origins, if they name one, and the number of copies of each.
        copies: Vec<(Option<Origin>, u32)>,
    },
    /// A link, or every link, was not read for a while, because the runtime had no room. Its
    /// silence says nothing about the other end.
    ReadsPaused {
        /// The link; `None`: all links.
        link: Option<LinkId>,
    },
    /// The application judges transactions of a link whose ACKs are due, or none any more. The link
    /// is not closed for silence meanwhile.
    Judging {
        /// The link.
        link: LinkId,
        /// Whether it judges any.
        judges: bool,
    },
    /// A pong was received.
    Pong {
        /// The link on which it came.
        link: LinkId,
    },
    /// The pong to an [`Output::Mark`] was received, or that to a later one.
    Marked {
        /// The link on which it came.
        link: LinkId,
        /// The number of the mark.
        number: u64,
    },
    /// A link is closed, by either end. It is reported once for each link, also after
    /// [`Output::Close`].
    LinkClosed {
        /// The link.
        link: LinkId,
        /// How it ended.
        cause: LinkEnd,
    },
    /// The other end of a link broke the rules of WebSocket. [`Input::LinkClosed`] follows.
    ProtocolError {
        /// The link.
        link: LinkId,
        /// What it did, for people.
        what: String,
    },
    /// A task of the runtime panicked.
    TaskPanicked,
    /// The counters of the runtime, which STATUS shows with those of the core.
    RuntimeCounters {
        /// Their names and values.
        counts: Vec<(&'static str, u64)>,
    },
    /// Bytes were written on links to peers.
    BytesWritten {
        /// Their number, frame headers and TLS included.
        bytes: u64,
    },
    /// A connection was refused before it became a link.
    ConnectionRefused {
        /// The IP address of its other end.
        remote: IpAddr,
        /// The reason.
        reason: ConnectionRefusal,
    },
    /// A payload did not fit into the queue of a link. It is reported before any other kind of
    /// input.
    QueueFull {
        /// The link.
        link: LinkId,
    },
    /// A dial failed.
    DialFailed {
        /// The address that was dialled.
        address: PeerAddress,
        /// The reason: the network, the other end, or a bound of the runtime.
        error: DialError,
    },
    /// A dial or probe would connect to its IP address more often than the
    /// [`DialAllowance`](crate::dial_allowance::DialAllowance) allows. It takes the place of
    /// [`Input::LinkOpened`], [`Input::DialFailed`] or [`Input::Probed`].
    DialPutOff {
        /// The address of the order.
        address: PeerAddress,
        /// When a connection is allowed.
        until: Instant,
    },
    /// The answer to [`Output::Probe`].
    Probed {
        /// The accepted link whose peer claims the address.
        link: LinkId,
        /// The address that was probed.
        address: PeerAddress,
        /// The identity that answered; `None` if no native peer did.
        identity: Option<UpgradeIdentity>,
        /// Whether it answered with a nonce: it proves its id on every link.
        proves: bool,
    },
    /// The answer to [`Output::Probe`] if this host could not try, as without a route to the
    /// address. It takes the place of [`Input::Probed`].
    NotProbed {
        /// The accepted link whose peer claims the address.
        link: LinkId,
        /// The address of the order.
        address: PeerAddress,
    },
    /// Transactions are on disk, in the order of their [`Output::Store`].
    Stored {
        /// Their ids.
        ids: Vec<TransactionId>,
    },
    /// How many bytes the stored transactions have: at the start, and after each
    /// [`Self::Stored`].
    PoolSize {
        /// The number: the length of the pool's file.
        bytes: u64,
    },
    /// Writing to the pool's file failed. The runtime keeps the batch and tries again.
    StoreFailed {
        /// What happened, and what to do.
        error: StoreError,
    },
    /// Writing to the pool's file works again.
    StoreRecovered,
    /// Another program wrote transactions to the pool's file: an editor, or a helper of the
    /// exercise. They have their positions in the pool already.
    PoolAdded {
        /// The transactions.
        transactions: Vec<Transaction>,
    },
    /// Another program removed transactions from the pool's file. They cannot be read any more.
    PoolRemoved {
        /// Their ids.
        ids: Vec<TransactionId>,
    },
    /// A replay reached its end, and at least half of the link's queue is free.
    Replayed {
        /// The link.
        link: LinkId,
        /// The position after the last transaction that was sent.
        position: u64,
    },
    /// The application submits a transaction of its own.
    Submit {
        /// The id for [`Output::Submitted`] and [`Output::SubmissionStored`].
        request: RequestId,
        /// The transaction.
        transaction: Transaction,
    },
    /// The application broadcasts a text that passed
    /// [`Broadcast::check`](crate::wire::Broadcast::check).
    Broadcast {
        /// The id for [`Output::BroadcastSent`].
        request: RequestId,
        /// The text.
        message: String,
        /// The current time, in seconds since 1970.
        time: f64,
    },
    /// A certificate proves who is at the other end of a link. [`Input::LinkOpened`] follows at
    /// once.
    PeerCertified {
        /// The link.
        link: LinkId,
        /// What is proved.
        certified: Certified,
    },
    /// The user named other known peers. Those that are no longer named stay as learned addresses,
    /// and their links stay open.
    KnownPeersChanged {
        /// All of them.
        addresses: Vec<PeerAddress>,
    },
    /// What both ends of a link sign to prove their ids. [`Input::LinkOpened`] follows at once.
    /// Without it neither end can.
    LinkChallenged {
        /// The link.
        link: LinkId,
        /// Its nonces, and where it leads.
        challenge: Challenge,
    },
    /// The transport itself proves which node is at the other end of a link: QUIC with the key of
    /// the node. [`Input::LinkOpened`] follows at once, with the IP address of the path: that of
    /// the relay if it is relayed. No [`Input::LinkChallenged`] is needed.
    NodeAuthenticated {
        /// The link.
        link: LinkId,
        /// The node.
        node: NodeId,
    },
    /// The access rules changed. At the start everybody is admitted.
    AccessChanged {
        /// The new rules.
        access: Access,
    },
    /// The user lifts bans of this run. Bans by the access rules stay.
    BansLifted {
        /// Who is admitted again: node ids, addresses, ranges.
        who: Rules,
    },
    /// A connection did not become a link: it spoke another protocol, or showed no accepted
    /// certificate.
    ConnectionRejected {
        /// The IP address of its other end.
        remote: IpAddr,
        /// The reason and what to do, for people.
        reason: String,
    },
    /// The application searches an image. [`Output::ImageOffer`] follows any number of times, and
    /// then [`Output::ImageSearchOver`], unless [`Input::ImageSearchDone`] comes first.
    ImageSearch {
        /// A new id: random bytes.
        search: SearchId,
        /// The image; `None`: a list of all images.
        name: Option<ImageName>,
    },
    /// The application wants no more offers.
    ImageSearchDone {
        /// The search.
        search: SearchId,
    },
    /// The answer to [`Output::FindLocalImages`].
    LocalImages {
        /// The search.
        search: SearchId,
        /// The images in the folder. A list of all has at most
        /// [`FOUND_IMAGES`](crate::limits::FOUND_IMAGES).
        images: Vec<ImageInfo>,
    },
    /// Others reach this node at another address from now on: that of its host changed.
    AddressChanged {
        /// The address.
        address: PeerAddress,
    },
    /// The runtime can dial `iroh:` addresses from now on, as [`Config::wan`](crate::Config::wan)
    /// says of the start. Those that the user named are dialled.
    WanStarted,
    /// Others reach this node by its id from now on, over these relays, or not any more.
    WanChanged {
        /// `iroh:<own id>` with the relays through which this node may be reached; `None`: it
        /// cannot be reached by its id. With an address, ids can be dialled from now on.
        address: Option<PeerAddress>,
    },
    /// The paths of the links over iroh, all of them, for STATUS.
    LinkPaths {
        /// The link, its path for people, and its round-trip time.
        paths: Vec<(LinkId, String, Duration)>,
    },
    /// LAN discovery was started, or started again: earlier records are dropped, and
    /// [`Output::AdvertiseSlots`] says how many slots to announce.
    DiscoveryStarted,
    /// A record came from the local network, for the first time or changed. It may be our own, or
    /// forged.
    RecordDiscovered {
        /// The record, or why it cannot be read.
        record: Result<Record, InvalidRecord>,
        /// From how far away it can come: [`Scope::Loopback`] if it was sent on this host alone,
        /// otherwise [`Scope::Private`].
        scope: Scope,
    },
    /// A record ended: its node said goodbye, or did not renew it in time.
    RecordExpired {
        /// The session of its node.
        session: Session,
    },
    /// Something about a topic besides the default one.
    Topic {
        /// Its number, in the order of [`declare_topic`](crate::Node::declare_topic).
        topic: usize,
        /// What happened.
        input: TopicInput,
    },
    /// The time of day. It is reported now and then if a topic has retention by age.
    TimeOfDay {
        /// In seconds since 1970.
        seconds: u64,
    },
    /// The time of [`poll_timeout`](crate::Node::poll_timeout) has come.
    Timeout,
    /// The node shuts down: it closes every link and begins nothing new.
    Shutdown,
}

/// Which end opened a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Direction {
    /// This end, after [`Output::Dial`].
    Dialled {
        /// The address that was dialled.
        address: PeerAddress,
        /// The identity in the answer to the upgrade; an exercise peer sends none.
        identity: Option<UpgradeIdentity>,
    },
    /// The other end.
    Accepted,
    /// The other end, beyond a bound on accepted links. It is only referred to other nodes, and
    /// closed.
    AcceptedBeyond {
        /// The close reason.
        reason: String,
    },
}

/// What the runtime knows of a connection that both its ends sign, see
/// [`Proof`](crate::wire::Proof).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Challenge {
    /// Of a connection that this end accepted.
    Accepted {
        /// The nonce in our answer to the upgrade: random, and never used again.
        nonce: Nonce,
        /// The local address of the connection.
        local: SocketAddr,
    },
    /// Of a connection that this end dialled.
    Dialled {
        /// Our nonce: random, and never used again.
        nonce: Nonce,
        /// The nonce in the answer to the upgrade; `None` from a node of an earlier release.
        answered: Option<Nonce>,
        /// The IP address that was connected to.
        ip: IpAddr,
    },
}

/// The id of a submission or broadcast of the application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// What the core orders of the runtime.
#[derive(Debug)]
pub enum Output {
    /// Open a link to an address. [`Input::LinkOpened`] or [`Input::DialFailed`] follows, once.
    Dial {
        /// The address.
        address: PeerAddress,
        /// The nearest scope of IP addresses to dial, see [`Scope::may_tell`]: a name may resolve
        /// to any.
        reach: Scope,
        /// The groups that named the address: the connection is counted for one of them.
        sources: Vec<SourceGroup>,
    },
    /// Connect to an address, read the identity from the answer to the upgrade, and close.
    /// [`Input::Probed`] follows, once.
    Probe {
        /// The accepted link whose peer claims the address.
        link: LinkId,
        /// The address.
        address: PeerAddress,
        /// As in [`Output::Dial`].
        reach: Scope,
        /// As in [`Output::Dial`].
        sources: Vec<SourceGroup>,
    },
    /// Open a connection for requests to the node at the other end of a link, if none that was
    /// asked for is being opened. Nothing follows.
    CallBack {
        /// The node.
        node: NodeId,
        /// The address that was dialled for the link.
        address: PeerAddress,
        /// As in [`Output::Dial`].
        reach: Scope,
        /// As in [`Output::Dial`].
        source: SourceGroup,
        /// For the HELLO of the connection.
        nonce: Nonce,
    },
    /// Note how a transaction was handled: it was one of those that
    /// [`trace_transactions`](crate::Node::trace_transactions) asked for. It follows the
    /// [`Output::Send`] of the transaction, if it goes out at all.
    Trace(Box<Trace>),
    /// Queue a frame on links.
    Send {
        /// The links.
        links: Vec<LinkId>,
        /// The frame.
        frame: Frame,
        /// The queue of each link.
        lane: Lane,
    },
    /// Drop queued transactions of some origins: the peer gets them elsewhere. A runtime that sends
    /// at once may ignore this.
    DropQueued {
        /// Of which topic; `None`: of the default one.
        topic: Option<TopicName>,
        /// The link.
        link: LinkId,
        /// The origins.
        origins: Vec<Origin>,
    },
    /// Send a WebSocket ping. [`Input::Pong`] follows if the peer answers.
    Ping {
        /// The link.
        link: LinkId,
    },
    /// Send a WebSocket ping with a number behind all payload that is queued. [`Input::Marked`]
    /// follows if the peer answers: it read everything before.
    Mark {
        /// The link.
        link: LinkId,
        /// A number that is greater than those before.
        number: u64,
    },
    /// Stop reading from a link for a time: its other end breaks rules.
    PauseReading {
        /// The link.
        link: LinkId,
        /// How long.
        time: Duration,
    },
    /// Send what is queued on a link and close it. [`Input::LinkClosed`] follows.
    Close {
        /// The link.
        link: LinkId,
        /// The close code (RFC 6455, section 7.4).
        code: u16,
        /// The reason for the other end, at most
        /// [`CLOSE_REASON_BYTES`](crate::limits::CLOSE_REASON_BYTES).
        reason: String,
    },
    /// Append a transaction to the pool's file. [`Input::Stored`] follows, in the same order.
    Store {
        /// The transaction.
        transaction: Transaction,
    },
    /// Send transactions from the pool on a link, as fast as its queue drains. [`Input::Replayed`]
    /// follows. A new replay on the same link replaces an older one.
    Replay {
        /// The link.
        link: LinkId,
        /// The position of the first transaction: the number of those before it in the pool.
        from: u64,
        /// The position before which to end; `None`: the end of what is on disk.
        until: Option<u64>,
        /// Whether the frames have our session, as in an answer to SYNC. Otherwise they are as if
        /// just flooded.
        synced: bool,
    },
    /// Send the transactions at some positions on a link, as [`Output::Replay`] does with `synced`.
    /// Nothing follows.
    ReplayPositions {
        /// The link.
        link: LinkId,
        /// The positions, in ascending order.
        positions: Vec<u64>,
    },
    /// A submission was accepted or refused. It follows at once.
    Submitted {
        /// The id of the submission.
        request: RequestId,
        /// The receipt, or why it was refused.
        outcome: Result<Submission, String>,
    },
    /// A submission is on disk.
    SubmissionStored {
        /// The id of the submission.
        request: RequestId,
    },
    /// Save the peer cache for the next start, in place of the older one: addresses that led to
    /// nodes, the latest first.
    SavePeerCache {
        /// The addresses, at most [`PEER_CACHE`](crate::limits::PEER_CACHE).
        addresses: Vec<RememberedAddress>,
        /// The exercise peers, as many at most.
        exercise: Vec<RememberedExercise>,
    },
    /// Announce this node on the local network with this many free slots.
    AdvertiseSlots {
        /// The number; `None`: this node links to all.
        free: Option<u32>,
    },
    /// A broadcast of the application was sent.
    BroadcastSent {
        /// The id of the request.
        request: RequestId,
        /// The receipt.
        told: BroadcastReceipt,
    },
    /// Look for images in the node's folder. [`Input::LocalImages`] follows, once, also with none.
    FindLocalImages {
        /// The search.
        search: SearchId,
        /// The image, with its digest; `None`: all images, without digests.
        name: Option<ImageName>,
    },
    /// A node has what the application searches.
    ImageOffer {
        /// The nearest scope that the node's address may resolve to, as in [`Output::Dial`].
        reach: Scope,
        /// The group that named it.
        source: SourceGroup,
        /// The answer.
        found: Found,
    },
    /// A search of the application is over.
    ImageSearchOver {
        /// The search.
        search: SearchId,
        /// The reason.
        end: SearchEnd,
    },
    /// Something about a topic besides the default one.
    Topic {
        /// Its number, in the order of [`declare_topic`](crate::Node::declare_topic).
        topic: usize,
        /// What to do.
        output: TopicOutput,
    },
    /// Report an event to the application and the log.
    Notify(Event),
}

/// What the runtime reports about a topic. Each is as the [`Input`] of the same name.
#[derive(Debug)]
pub enum TopicInput {
    /// The application publishes an item.
    Submit {
        /// The id for [`Output::Submitted`] and [`Output::SubmissionStored`].
        request: RequestId,
        /// The item.
        transaction: Transaction,
    },
    /// Items are stored: on disk, or in memory.
    Stored {
        /// Their ids.
        ids: Vec<TransactionId>,
    },
    /// Writing to the topic's file failed.
    StoreFailed {
        /// What happened, and what to do.
        error: StoreError,
    },
    /// Writing to the topic's file works again.
    StoreRecovered,
    /// Another program wrote items to the topic's file.
    Added {
        /// The items.
        transactions: Vec<Transaction>,
    },
    /// Another program removed items from the topic's file.
    Removed {
        /// Their ids.
        ids: Vec<TransactionId>,
    },
    /// A replay reached its end.
    Replayed {
        /// The link.
        link: LinkId,
        /// The position after the last item that was sent.
        position: u64,
    },
}

/// What the core orders about a topic. Each is as the [`Output`] of the same name. Frames that the
/// runtime writes itself are wrapped, see [`TopicFrame`](crate::wire::TopicFrame).
#[derive(Debug)]
pub enum TopicOutput {
    /// Store an item.
    Store {
        /// The item.
        transaction: Transaction,
    },
    /// Send items on a link.
    Replay {
        /// The link.
        link: LinkId,
        /// The position of the first item.
        from: u64,
        /// The position before which to end; `None`: the end of what is stored.
        until: Option<u64>,
        /// Whether the frames have our session.
        synced: bool,
    },
    /// Send the items at some positions on a link.
    ReplayPositions {
        /// The link.
        link: LinkId,
        /// The positions, in ascending order.
        positions: Vec<u64>,
    },
    /// Forget items: retention removes them, or they are lost from the file of a topic with
    /// retention. The runtime frees their room when it likes. An item that comes again gets a new
    /// position.
    Forget {
        /// Their ids.
        ids: Vec<TransactionId>,
    },
}

/// What a topic keeps. Its members need not agree: of two the one with less is not sent again what
/// it removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retention {
    /// The most items; `None`: any number.
    pub count: Option<u64>,
    /// The most bytes of items; `None`: any number.
    pub bytes: Option<u64>,
    /// The greatest age, by the `timeStamp` of each item; `None`: any.
    pub age: Option<Duration>,
}

/// A topic besides the default one, as it is declared.
#[derive(Debug, Clone)]
pub struct TopicSettings {
    /// Its name.
    pub name: TopicName,
    /// What it keeps.
    pub retention: Retention,
    /// The present time, in seconds since 1970.
    pub time_of_day: u64,
    /// Where its items are stored, for people.
    pub place: String,
}

/// An item that a topic holds at the start.
#[derive(Debug, Clone, Copy)]
pub struct HeldItem {
    /// Its id.
    pub id: TransactionId,
    /// Its time, see [`Transaction::time`].
    pub time: u64,
    /// The length of its body.
    pub bytes: u32,
}

/// What a node knows of one of its topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicStatus {
    /// Its name.
    pub name: TopicName,
    /// How many items are held.
    pub count: u64,
    /// How many bytes they have.
    pub bytes: u64,
    /// The position of the next item that is stored.
    pub end: u64,
    /// The linked nodes that have the topic too, in the order of their ids.
    pub members: Vec<NodeId>,
    /// How many of them held the same items at the last comparison.
    pub reconciled: usize,
    /// Whether its file takes writes, as far as is known, and it is not full.
    pub writable: bool,
    /// How many items were refused since the start: not valid here, or no room.
    pub refused: u64,
    /// How many were ignored since the start: too old, too long or without a time for what is kept,
    /// or ignored by the application.
    pub ignored: u64,
    /// How many were deferred since the start: their time is in the future, or the application
    /// cannot judge them yet.
    pub deferred: u64,
    /// The time of the oldest and of the newest item, in seconds since 1970; `None` if no item has
    /// a `timeStamp`.
    pub times: Option<(u64, u64)>,
}

impl Retention {
    /// Returns whether anything is ever removed.
    pub fn is_limited(&self) -> bool {
        self.count.is_some() || self.bytes.is_some() || self.age.is_some()
    }
}

/// Why a search is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SearchEnd {
    /// It did not begin: [`SEARCHES`](crate::limits::SEARCHES) are under way.
    Refused,
    /// It did not begin: there is no native peer.
    Alone,
    /// It took [`search_deadline`](crate::limits::Limits::search_deadline).
    Deadline,
}

/// The receipt of a broadcast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BroadcastReceipt {
    /// The broadcast's id.
    pub id: BroadcastId,
    /// The number of links on which it went out; with 0 no other node has it from this one yet.
    pub links: usize,
}

/// The receipt of a submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Submission {
    /// The transaction's id.
    pub id: TransactionId,
    /// The number of links on which it went out; with 0 no other node has it from this one yet.
    pub links: usize,
    /// Whether it was known already.
    pub duplicate: bool,
}

/// One of the two outgoing queues of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Handshakes, answers, comparisons. They are sent first; an overflow closes the link.
    Control,
    /// Transactions. What does not fit is dropped, and [`Input::QueueFull`] follows.
    Payload,
}
