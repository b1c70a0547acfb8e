//! The bounds of what strangers can cause, with units and reasons.
//!
//! Those that an operator may change are fields of [`Limits`]. The others are constants: both ends
//! of a link rely on them.

use std::time::Duration;

/// The longest message that is read or written, in bytes: far above any transaction, low enough
/// that a thousand peers cannot fill the memory.
pub const MESSAGE_BYTES: usize = 1024 * 1024;
/// The longest transaction, in bytes of its compact JSON. Those of the exercise have 250.
pub const TRANSACTION_BYTES: usize = 256 * 1024;
/// The most levels of nested JSON. The stack of a JavaScript node overflows at about 5,000.
pub const JSON_DEPTH: usize = 64;
/// The most addresses that are read of one HANDSHAKE.
pub const HANDSHAKE_ADDRESSES: usize = 1_000;
/// The most addresses of one HANDSHAKE that an event names: as many as a person reads.
pub const REPORTED_ADDRESSES: usize = 32;
/// The most transactions that the event of a comparison names.
pub const REPORTED_SYNCED: usize = 8;
/// The most addresses that are read of one PEERS or DECLINED: twice what a node sends.
pub const SAMPLE_ADDRESSES: usize = 16;
/// The most exercise peers of which it is remembered what they lack and whether they check types.
pub const EXERCISE_PEERS: usize = 1_024;
/// The most entries in one EXERCISE.
pub const EXERCISE_UPDATES: usize = 64;
/// The most ends of an exercise peer's link at a TRANSACTION that are counted.
pub const EXERCISE_DROPS: u32 = 16;
/// How long it is remembered what an exercise peer lacks, in seconds. A longer time counts as this.
pub const EXERCISE_LACKS: u64 = 600;
/// The most addresses in the peer cache.
pub const PEER_CACHE: usize = 256;
/// The most rows of the address book in one STATUS.
pub const STATUS_PEERS: usize = 256;
/// The longest address, in bytes. That is also less than the longest name in DNS, 253 bytes, with
/// scheme and port.
pub const ADDRESS_BYTES: usize = 256;
/// The most relays behind one `iroh:` address: so many a node keeps links to, and with the id they
/// fit into [`ADDRESS_BYTES`].
pub const RELAY_HINTS: usize = 3;
/// The most transactions that one STATUS may ask for.
pub const STATUS_IDS: usize = 1_000;
/// The most ids in one WANT.
pub const WANT_IDS: usize = 1_000;
/// The most topics of one node, besides the default one.
pub const TOPICS: usize = 16;
/// The longest name of a topic, in bytes: it is a file's name too, with an ending.
pub const TOPIC_NAME_BYTES: usize = 32;
/// How far ahead of this node's clock the time of an item may be, in a topic with retention: clocks
/// that are set by NTP differ by less than a second.
pub const TOPIC_FUTURE: Duration = Duration::from_secs(60);
/// The longest SYNC, in bytes: twice what our own negentropy messages need. Each of its ranges
/// costs a fingerprint.
pub const SYNC_BYTES: usize = 128 * 1024;
/// The most origins whose trees are remembered.
pub const TREES: usize = 16_384;
/// The most origins in one PRUNE or GRAFT.
pub const ORIGINS: usize = 1_000;
/// The most ACKs that may be due on one link while the disk works or fails. More would not fit into
/// its queue.
pub const ACKS_DUE: usize = 32_768;
/// The most characters of a stranger's text (type, agent, network, reason) in logs and on the page.
pub const SHOWN_CHARACTERS: usize = 64;
/// The longest reason in a WebSocket close frame, in bytes (RFC 6455, section 5.5: 125 without the
/// code).
pub const CLOSE_REASON_BYTES: usize = 123;
/// The longest text of a broadcast, in bytes: a page of prose.
pub const BROADCAST_BYTES: usize = 16 * 1024;
/// The time for which a broadcast is kept for nodes that were away.
pub const BROADCAST_TTL: Duration = Duration::from_secs(600);
/// The most broadcasts that are kept …
pub const BROADCASTS: usize = 16_384;
/// … and the most bytes of them. The oldest make room.
pub const BROADCASTS_BYTES: usize = 16 * 1024 * 1024;
/// The least time for which the digest of a broadcast is remembered: twice as long as any node
/// keeps it. Its id is remembered as long, with the hash of its first text.
pub const SEEN_TTL: Duration = Duration::from_secs(1_200);
/// The most bytes of the reason in DECLINED: as many as a close frame has room for (RFC 6455,
/// section 5.5).
pub const DECLINED_REASON: usize = 123;
/// The most digests of broadcasts that are remembered, and as many ids; beyond that the oldest are
/// forgotten early. 1,000,000 in 20 minutes are 800 a second.
pub const SEEN: usize = 1_000_000;
/// The most linked nodes in one ANNOUNCE.
pub const ANNOUNCED_PEERS: usize = 1_024;
/// The most links that all nodes in the table may name together, 32 bytes each.
pub const ANNOUNCED_LINKS: usize = 500_000;
/// The most records of the local network. The oldest make room, those of linked nodes last.
pub const RECORDS: usize = 1_024;
/// The most records and timers of the multicast DNS daemon, 256 bytes each, for all services near
/// by. It has no bound of its own and is restarted above this.
pub const MDNS_RECORDS: i64 = 65_536;
/// The most bytes of signed data in one ANNOUNCE or BROADCAST: 1,024 ids have 67 KiB, a text of
/// control characters 96 KiB.
pub const SEALED_BYTES: usize = 128 * 1024;
/// The most bytes of signed announcements of all nodes in the table.
pub const ANNOUNCED_BYTES: usize = 64 * 1024 * 1024;
/// The most transactions that are remembered as refused, so that no comparison asks for them again.
pub const REFUSED: usize = 131_072;
/// The longest name of an image, in bytes: every file system takes it, with a prefix of ours.
pub const IMAGE_NAME_BYTES: usize = 200;
/// The most images in one FOUND.
pub const FOUND_IMAGES: usize = 256;
/// The most bytes of names in one FOUND that lists all images.
pub const FOUND_NAMES_BYTES: usize = 16 * 1024;
/// The most searches of one node under way: at five seconds each, a dozen without a result a
/// second.
pub const SEARCHES: usize = 64;
/// The most FINDs that are remembered …
pub const SEARCHES_SEEN: usize = 8_192;
/// … and for how long: far longer than a FIND takes to spread and its answers to come back.
pub const SEARCH_TTL: Duration = Duration::from_secs(60);
/// The most FINDs for which the folder is looked through at once.
pub const LOOKUPS: usize = 64;
/// The most answers to one FIND for an image on one link, and half of all: if so many nodes fail,
/// so will others.
pub const FINDERS: usize = 8;
/// The most answers to one FIND for all images on one link, and half of all.
pub const LISTERS: usize = 512;
/// The longest request and the longest answer, in bytes: what one message of a link may have.
pub const REQUEST_BYTES: usize = MESSAGE_BYTES;
/// The most bytes of a request or an answer in one frame: so small ones pass large ones.
pub const REQUEST_CHUNK: usize = 64 * 1024;
/// The greatest age that a frame may claim.
pub const OLDEST: Duration = Duration::from_secs(24 * 60 * 60);

/// The points for violations at which an address group, or a link on this host, is banned:
/// 16 breaches.
pub const BAN_SCORE: u32 = 160;
/// The time in which one point expires: a program with a rare fault, up to ten points a minute, is
/// never banned.
pub const SCORE_DECAY: Duration = Duration::from_secs(6);
/// How long a link is not read after a violation, once half of [`BAN_SCORE`] is reached.
pub const VIOLATION_PAUSE: Duration = Duration::from_secs(1);
/// The duration of the first ban. Each further one lasts twice as long …
pub const BAN_MIN: Duration = Duration::from_secs(120);
/// … up to this, because addresses change hands. After as long without a ban the count begins
/// again.
pub const BAN_MAX: Duration = Duration::from_secs(3_600);
/// The most address groups, and the most node ids, whose score is remembered: about 150 bytes each.
pub const REPUTATION_ENTRIES: usize = 4_096;
/// The shortest time between two log lines about refusals of one address group; others are counted.
pub const LOG_INTERVAL: Duration = Duration::from_secs(60);
/// The most address groups for which such log lines are throttled.
pub const LOG_GROUPS: usize = 256;
/// A link may bring this many GRAFT frames at once: hundreds come while a network falls apart …
pub const GRAFTS_AT_ONCE: u32 = 1_000;
/// … and then this many each second.
pub const GRAFTS_PER_SECOND: u32 = 20;
/// A link may bring this many WANT frames at once …
pub const WANTS_AT_ONCE: u32 = 256;
/// … and then this many each second.
pub const WANTS_PER_SECOND: u32 = 100;
/// A link may bring this many SYNC frames at once that are no answers, of all sets …
pub const SYNCS_AT_ONCE: u32 = 64;
/// … and then this many each second.
pub const SYNCS_PER_SECOND: u32 = 10;
/// A link may bring, and is sent, this many FINDs at once …
pub const FINDS_AT_ONCE: u32 = 64;
/// … and then one in each of these intervals.
pub const FIND_EVERY: Duration = Duration::from_millis(40);
/// For each transaction or broadcast that a rate allows, it allows so many bytes. Those of the
/// exercise have 250.
pub const UNIT_BYTES: usize = 2 * 1024;
/// Of a burst in bytes, one of so many equal parts comes at once: 8 MB. The largest transactions,
/// read and written, then take some 60 ms of a processor's time.
pub const BURST_BYTES_PART: u32 = 5;
/// A value of a transaction or broadcast counts this many bytes at least. Short ones, as in
/// `[1,1,1]`, take up to eight times the processor's time of a text of the same length.
pub const VALUE_BYTES: usize = 16;
/// The links of one address group are sent this many bytes of pools at once …
pub const SERVED_AT_ONCE: u32 = 8 * 1024 * 1024;
/// … and then this many each second: 20,000 transactions, for some 6 % of a processor.
pub const SERVED_PER_SECOND: u32 = 6 * 1024 * 1024;
/// How many frames per second of one address group are read besides transactions and broadcasts. A
/// list of all nodes comes with 640 per second, which is the most that an honest peer sends.
pub const FRAMES: u32 = 1_000;
/// How many such frames may come at once: a list of 10,000 nodes.
pub const FRAMES_BURST: u32 = 10_000;
/// How many bytes of such frames are read per second. That is many times what a reconciliation
/// needs.
pub const FRAME_BYTES: u32 = 1024 * 1024;
/// The transactions of all origins from the native peers of one address group beyond loopback have
/// this many times the rate of one origin. 32,000 a second of 300 bytes are 77 Mbit/s: more than a
/// node gets in a busy network, and the most that a liar with invented origins costs.
pub const LINK_TIMES: u32 = 16;
/// They have this part of the burst of one origin: 5,000 at once. Those of others wait behind them,
/// for some 60 ms of a processor's time.
pub const LINK_BURST_PART: u32 = 4;
/// The most origins of one address group with a rate of their own at a time; others share that of
/// the peer itself. An origin needs one only above its rate, so more than [`LINK_TIMES`] cannot
/// last.
pub const LINK_ORIGINS: usize = 64;

/// Declares the bounds of one node, each with its default.
macro_rules! limits {
    ($($(#[doc = $doc:literal])+ $name:ident: $type:ty = $default:expr,)+) => {
        /// The bounds of one node. [`Limits::default`] has the measured values.
        #[derive(Debug, Clone, PartialEq)]
        pub struct Limits {
            $($(#[doc = $doc])+ pub $name: $type,)+
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($name: $default,)+ }
            }
        }
    };
}

limits! {
    /// The most addresses in the address book, without those that a person configured.
    peer_table: usize = 4_096,
    /// The most new addresses of one peer that are dialled at once …
    gossip_burst: u32 = 32,
    /// … and then one in each of these intervals.
    gossip_interval: Duration = Duration::from_secs(1),
    /// The most connections to one IPv4 address or IPv6 /64 within `host_window` that one source
    /// group causes, loopback excepted: dials, probes and image transfers together. A liar cannot
    /// aim the mesh at a third party.
    host_dials: u32 = 4,
    /// The window of `host_dials`.
    host_window: Duration = Duration::from_secs(10),
    /// The most dials and probes under way at once.
    dials_in_flight: usize = 32,
    /// The longest time of a dial, connection and upgrade together.
    dial_timeout: Duration = Duration::from_secs(5),
    /// The longest time until an accepted connection is upgraded.
    upgrade_timeout: Duration = Duration::from_secs(5),
    /// The longest upgrade request or answer, in bytes.
    upgrade_bytes: usize = 8 * 1024,
    /// The most accepted connections that are not upgraded yet. One more replaces the oldest of the
    /// IP address with most of them. An upgrade takes one round trip: to push one out, somebody
    /// would have to open this many in that time, from as many addresses.
    pending_upgrades: usize = 256,
    /// The most accepted links.
    inbound_links: usize = 1_024,
    /// The most accepted links of one IP address, loopback excepted.
    inbound_per_ip: usize = 16,
    /// The most bytes of payload that wait for one link. What does not fit is sent from the pool
    /// later.
    queue_bytes: usize = 4 * 1024 * 1024,
    /// The most bytes of control frames that wait for one link; an overflow closes it.
    control_bytes: usize = 256 * 1024,
    /// The longest time in which a link with a queue may send no byte.
    write_deadline: Duration = Duration::from_secs(10),
    /// A link is pinged after this time of silence; one over iroh sooner.
    ping_interval: Duration = Duration::from_secs(15),
    /// A link counts as dead after this time of silence; one over iroh sooner.
    dead_after: Duration = Duration::from_secs(45),
    /// A client is closed after this time of silence with nothing outstanding.
    client_silence: Duration = Duration::from_secs(5),
    /// The most transactions a second of one client, exercise peer or origin beyond loopback …
    transaction_rate: u32 = 2_000,
    /// … after a burst of this many. Above it reading pauses; nothing is dropped.
    transaction_burst: u32 = 20_000,
    /// The most transactions in the pool. A full pool refuses more.
    pool_transactions: u64 = 10_000_000,
    /// The most bytes of transactions in the pool, as in its file. A full pool refuses more.
    pool_bytes: u64 = 16 * 1024 * 1024 * 1024,
    /// The most bytes of accepted transactions that wait for the disk. Above it reading pauses, and
    /// with a failing disk more are refused.
    unstored_bytes: usize = 64 * 1024 * 1024,
    /// The shortest wait before an address is dialled again …
    backoff_min: Duration = Duration::from_millis(500),
    /// … and the longest. In between it doubles, with full jitter.
    backoff_max: Duration = Duration::from_secs(60),
    /// A link that lasted this long resets the back-off of its address.
    backoff_reset: Duration = Duration::from_secs(60),
    /// An address that was learned and never linked is forgotten after this many failed dials.
    forget_failures: u32 = 8,
    /// An address that was learned and linked is forgotten this long after its last link.
    forget_after: Duration = Duration::from_secs(24 * 60 * 60),
    /// The most nodes of the network that are remembered; with 0 none are, and nothing is
    /// announced.
    presence_nodes: usize = 10_000,
    /// The time in which the older of two links to one node must answer a ping. Otherwise the newer
    /// one replaces it.
    duplicate_deadline: Duration = Duration::from_secs(2),
    /// The longest time of a search for images. In it the finder reads the image for its digest.
    search_deadline: Duration = Duration::from_secs(5),
    /// The largest image that is fetched from another node, or offered to one, in bytes.
    image_max_bytes: u64 = 64 * 1024 * 1024,
    /// The most bytes of fetched images that are kept; 0: none.
    image_cache_bytes: u64 = 0,
    /// The time after which a connection for requests is closed that has none under way.
    request_idle: Duration = Duration::from_secs(60),
}
