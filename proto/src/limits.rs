//! Every bound that a stranger can push against, in one table: value, unit, reason.
//!
//! Those that an operator has cause to change are fields of [`Limits`]; the rest are constants, because both sides of a link rely on them.

use std::time::Duration;

/// The longest message that is read or written, in bytes. Far above any transaction, low enough that a thousand peers can not fill memory.
pub const MESSAGE_BYTES: usize = 1024 * 1024;
/// The longest transaction, in bytes of its compact JSON. The exercise's have 250; nothing that belongs in a flood is larger than this.
pub const TRANSACTION_BYTES: usize = 256 * 1024;
/// How deep JSON may nest. A JavaScript node's stack overflows at some 5,000.
pub const JSON_DEPTH: usize = 64;
/// How many addresses are taken from one HANDSHAKE.
pub const HANDSHAKE_ADDRESSES: usize = 1_000;
/// How many addresses are taken from one PEERS or DECLINED: twice what a node sends.
pub const SAMPLE_ADDRESSES: usize = 16;
/// How many peers are remembered over a restart.
pub const PEER_CACHE: usize = 256;
/// How many rows of its peer table a node tells in its STATUS.
pub const STATUS_PEERS: usize = 256;
/// The longest address, in bytes: a host name has at most 253, and then scheme and port.
pub const ADDRESS_BYTES: usize = 256;
/// How many identities one STATUS may ask for.
pub const STATUS_IDS: usize = 1_000;
/// How many identities one WANT may have.
pub const WANT_IDS: usize = 1_000;
/// How many origins one PRUNE or GRAFT may have.
pub const ORIGINS: usize = 1_000;
/// How many ACKs may be due on one link while the disk works, or fails. More could not be told at once: they fill its queue.
pub const ACKS_DUE: usize = 32_768;
/// How many characters of a stranger's text (type, agent, network, reason) are kept for logs and the page.
pub const SHOWN_CHARACTERS: usize = 64;
/// The longest reason in a WebSocket close frame, in bytes (RFC 6455, section 5.5: 125 less the code).
pub const CLOSE_REASON_BYTES: usize = 123;
/// The longest text of a broadcast, in bytes: a page of prose.
pub const BROADCAST_BYTES: usize = 16 * 1024;
/// How long a broadcast is kept for those that were away.
pub const BROADCAST_TTL: Duration = Duration::from_secs(600);
/// How many broadcasts are kept, and …
pub const BROADCASTS: usize = 16_384;
/// … how many bytes of them; the oldest give way.
pub const BROADCASTS_BYTES: usize = 16 * 1024 * 1024;
/// How long a broadcast's id is remembered at least: twice as long as anybody keeps it.
pub const SEEN_TTL: Duration = Duration::from_secs(1_200);
/// How many ids of broadcasts are remembered. Beyond that the oldest are forgotten early: 1,000,000 in 20 minutes are 800 each second.
pub const SEEN: usize = 1_000_000;
/// How many linked nodes one ANNOUNCE names.
pub const ANNOUNCED_PEERS: usize = 1_024;
/// How many links all nodes in the table may name together: 32 bytes each.
pub const ANNOUNCED_LINKS: usize = 500_000;
/// How many records of nodes on the local network are remembered; of more the oldest give way, those of linked nodes last.
pub const RECORDS: usize = 1_024;
/// How many records and timers the multicast DNS daemon may keep: 256 bytes each, for everything that talks multicast DNS near by. It has no bound of its own, and
/// starts anew above this.
pub const MDNS_RECORDS: i64 = 65_536;
/// How many bytes the signed data of one ANNOUNCE or BROADCAST may have: 1,024 names have 67 KiB, a text of control characters has 96.
pub const SEALED_BYTES: usize = 128 * 1024;
/// How many bytes of signed announcements all nodes in the table may have together.
pub const ANNOUNCED_BYTES: usize = 64 * 1024 * 1024;
/// How many identities of transactions that the application refuses, or whose signature is missing or forged where one is required, so that no comparison asks for them again.
pub const REFUSED: usize = 131_072;
/// The longest name of an image, in bytes: what every file system takes, with room for what we put before it.
pub const IMAGE_NAME_BYTES: usize = 200;
/// How many images one FOUND names.
pub const FOUND_IMAGES: usize = 256;
/// How many bytes of names one FOUND has at most, where it lists all.
pub const FOUND_NAMES_BYTES: usize = 16 * 1024;
/// How many searches of its own a node has under way: at five seconds each, a dozen misses per second.
pub const SEARCHES: usize = 64;
/// How many questions are remembered, …
pub const SEARCHES_SEEN: usize = 8_192;
/// … and how long: far longer than one takes to go round, and its answers to come back.
pub const SEARCH_TTL: Duration = Duration::from_secs(60);
/// How many questions a node looks for in its folder at once.
pub const LOOKUPS: usize = 64;
/// How many answers to one question for an image are passed on and considered: if so many finders fail, so will the rest.
pub const FINDERS: usize = 8;
/// How many answers to one question for all images are.
pub const LISTERS: usize = 512;
/// The greatest age that a frame may claim for what it carries.
pub const OLDEST: Duration = Duration::from_secs(24 * 60 * 60);

/// How many points of misconduct an address group, or on this host a link, may gather; at this many it is closed and kept away. Sixteen frames that are no messages.
pub const BAN_SCORE: u32 = 160;
/// How long it takes until one point is forgotten: ten in a minute, so that a program with a rare fault is borne for ever.
pub const SCORE_DECAY: Duration = Duration::from_secs(6);
/// For how long reading a link rests after each breach, once half of [`BAN_SCORE`] is gathered.
pub const VIOLATION_PAUSE: Duration = Duration::from_secs(1);
/// For how long a group is kept away the first time; then twice as long each time …
pub const BAN_MIN: Duration = Duration::from_secs(120);
/// … up to this: addresses change hands. After as long a time of peace it begins anew.
pub const BAN_MAX: Duration = Duration::from_secs(3_600);
/// How many groups are remembered for what they did, and how many ids: some 150 bytes each.
pub const REPUTATION_ENTRIES: usize = 4_096;
/// How often a person is told that somebody of one group was turned away; others are counted.
pub const LOG_INTERVAL: Duration = Duration::from_secs(60);
/// Of how many groups it is remembered that a person was told.
pub const LOG_GROUPS: usize = 256;
/// How many GRAFT frames a link may bring at once …
pub const GRAFTS_AT_ONCE: u32 = 1_000;
/// … and how long one more takes after that. One comes for each link that breaks at a neighbour, or is grafted from it: hundreds while a network falls apart, then none.
pub const GRAFT_EVERY: Duration = Duration::from_millis(50);
/// On the link of a full peer beyond loopback, which carries what others send, each origin has the allowance of `transaction_rate` and `transaction_burst`, and all together
/// this many times as much: 32,000/s of 300 bytes are 77 Mbit/s, more than one node takes in of a busy network, and what a liar with made-up origins can cost.
pub const LINK_TIMES: u32 = 16;
/// How many origins on one link are counted each for itself at a time; the others share the allowance of the link's own peer. An origin takes one of them only while it
/// uses more than its rate, so more than [`LINK_TIMES`] at once can not last.
pub const LINK_ORIGINS: usize = 64;

/// The bounds that one node keeps; [`Limits::default`] holds the measured values. Everything is per node unless it says otherwise.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// How many addresses the peer table holds. Known peers do not count.
    pub peer_table: usize,
    /// How many new addresses are dialled at once on one peer's word …
    pub gossip_burst: u32,
    /// … and how long one more takes after that.
    pub gossip_interval: Duration,
    /// How many dials go to one host within `host_window`; loopback is exempt. Keeps a liar from aiming the whole mesh at a third party.
    pub host_dials: u32,
    /// The window of `host_dials`.
    pub host_window: Duration,
    /// How many dials and probes are under way at once.
    pub dials_in_flight: usize,
    /// How long a dial may take: connection and upgrade together.
    pub dial_timeout: Duration,
    /// How long an accepted connection may take to upgrade.
    pub upgrade_timeout: Duration,
    /// The longest upgrade request or answer, in bytes.
    pub upgrade_bytes: usize,
    /// How many accepted connections may be upgrading at once; of whoever has most of them the oldest gives way to one more. A peer takes a round trip to upgrade, so
    /// to push it out somebody would have to open this many in that time, from as many addresses.
    pub pending_upgrades: usize,
    /// How many accepted links there are at most.
    pub inbound_links: usize,
    /// How many accepted links come from one IP address; loopback is exempt.
    pub inbound_per_ip: usize,
    /// How many bytes of payload wait for one link; what does not fit is fed from the pool later.
    pub queue_bytes: usize,
    /// How many bytes of control frames wait for one link, besides; a link that overflows it is closed.
    pub control_bytes: usize,
    /// How long a link may move no byte of what waits for it.
    pub write_deadline: Duration,
    /// How often a silent link is pinged.
    pub ping_interval: Duration,
    /// How long a link may be silent before it counts as dead.
    pub dead_after: Duration,
    /// How long a client may be silent with nothing outstanding.
    pub client_silence: Duration,
    /// How many transactions of one client, plain peer or origin beyond loopback are read per second …
    pub transaction_rate: u32,
    /// … after a burst of this many. Above it reading pauses; nothing is dropped.
    pub transaction_burst: u32,
    /// How many transactions the pool holds. A full pool refuses.
    pub pool_transactions: u64,
    /// How many bytes of accepted transactions wait for the disk before reading pauses, or, with a failing disk, before new ones are refused.
    pub unstored_bytes: usize,
    /// The shortest wait before an address is dialled again …
    pub backoff_min: Duration,
    /// … and the longest. In between it doubles, with full jitter.
    pub backoff_max: Duration,
    /// How long a link must last before its address's backoff starts anew.
    pub backoff_reset: Duration,
    /// After how many failures a learned address that was never linked is forgotten.
    pub forget_failures: u32,
    /// How long a learned address that was linked once is remembered after its last link.
    pub forget_after: Duration,
    /// How many nodes of the network are remembered; 0: none, and nothing is announced.
    pub presence_nodes: usize,
    /// How long the older of two links to one node has to answer a ping before it is closed for the newer one.
    pub duplicate_deadline: Duration,
    /// How long an image is searched before it counts as not there. Includes the finder's reading it for its digest.
    pub search_deadline: Duration,
    /// The largest image that is fetched from another node, or offered to one, in bytes.
    pub image_max_bytes: u64,
    /// How many bytes of fetched images are kept; 0: none.
    pub image_cache_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            peer_table: 4_096,
            gossip_burst: 32,
            gossip_interval: Duration::from_secs(1),
            host_dials: 4,
            host_window: Duration::from_secs(10),
            dials_in_flight: 32,
            dial_timeout: Duration::from_secs(5),
            upgrade_timeout: Duration::from_secs(5),
            upgrade_bytes: 8 * 1024,
            pending_upgrades: 256,
            inbound_links: 1_024,
            inbound_per_ip: 16,
            queue_bytes: 4 * 1024 * 1024,
            control_bytes: 256 * 1024,
            write_deadline: Duration::from_secs(10),
            ping_interval: Duration::from_secs(15),
            dead_after: Duration::from_secs(45),
            client_silence: Duration::from_secs(5),
            transaction_rate: 2_000,
            transaction_burst: 20_000,
            pool_transactions: 10_000_000,
            unstored_bytes: 64 * 1024 * 1024,
            backoff_min: Duration::from_millis(500),
            backoff_max: Duration::from_secs(60),
            backoff_reset: Duration::from_secs(60),
            forget_failures: 8,
            forget_after: Duration::from_secs(24 * 60 * 60),
            presence_nodes: 10_000,
            duplicate_deadline: Duration::from_secs(2),
            search_deadline: Duration::from_secs(5),
            image_max_bytes: 64 * 1024 * 1024,
            image_cache_bytes: 0,
        }
    }
}
