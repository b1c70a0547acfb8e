//! The rates at which links are read: a burst, then a steady rate. Above it reading pauses; nothing
//! is dropped. The links of one address group, an IPv4 address or an IPv6 /64, share their rates:
//! an attacker gains nothing by more links.
//!
//! | what | sender | limit |
//! |---|---|---|
//! | transactions, broadcasts | client, exercise peer | one for the group: they send only what is theirs |
//! | the same | native peer | one per origin, and one for the group |
//! | other messages, pings, pongs, fragments | all | [`FRAMES`] per second, and [`FRAME_BYTES`] |
//! | each address in a HANDSHAKE | all | counts as a frame: each is looked up |
//! | all | loopback | none: programs on this host can do more harm in other ways |
//!
//! A native peer forwards for others and names the origin of each transaction. In an open network
//! it could make up origins, which the limit of the group bounds: [`LINK_TIMES`] the rate of one
//! origin, and its burst divided by [`LINK_BURST_PART`]. Answers of anti-entropy
//! come from a file and have no origin, so they count for the whole group only.
//!
//! Duplicates do not count: they are known by their text and cost little.
//!
//! What is read beyond a limit is a debt of the group. A link waits until its last message is
//! allowed, and a new one for what was read before it came. The debt is [`DEBT`] at most: otherwise
//! a stranger who shares an address with honest nodes could keep these from being read for hours.
//!
//! The nodes behind one relay share an address and nothing else. So a relayed link counts for its
//! node, and all of one relay together have [`RELAY_TIMES`] the rates of one, as node ids are free.

use std::collections::HashMap;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use meshpool_proto::IpPrefix;
use meshpool_proto::id::NodeId;
use meshpool_proto::limits::{
    BURST_BYTES_PART, FRAME_BYTES, FRAMES, FRAMES_BURST, LINK_BURST_PART, LINK_ORIGINS, LINK_TIMES, SERVED_AT_ONCE,
    SERVED_PER_SECOND, UNIT_BYTES, VALUE_BYTES,
};
use meshpool_proto::transaction::Origin;
use meshpool_proto::util::rate_limit::RateLimit;
use meshpool_proto::wire::Message;
use tokio::time::{Instant, Sleep};

/// How many address groups are remembered. Further ones share one limit.
const GROUPS: usize = 4_096;
/// The longest debt of a group. A newcomer waits for it, and has 2 s for its HANDSHAKE where there
/// is no place for it. Sixteen links that each exceed their rate by a batch do not reach it.
const DEBT: Duration = Duration::from_millis(1_500);
/// The debt from which a batch ends before it is full: one message may exceed it, no more. At a
/// steady rate a batch so has as many messages as this time allows.
const BATCH_DEBT: Duration = Duration::from_millis(100);
/// How often the driver is notified that a link is not read, so that it is not taken for silent.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// The relayed links of one relay have this many times the rates of a group: half as many as there
/// may be links.
const RELAY_TIMES: u32 = 16;

/// The rate limits of all address groups.
#[derive(Debug)]
pub(crate) struct RateLimits {
    interval: Duration,
    burst: Duration,
    /// By group; `None`: those for which there was no room.
    groups: HashMap<Option<Group>, Arc<Mutex<GroupLimit>>>,
}

/// Whose links share their rates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Group {
    /// Those of one address group.
    Address(IpPrefix),
    /// The relayed links of one node.
    Node(NodeId),
    /// All relayed links of one relay.
    Relay(IpPrefix),
}

impl Group {
    /// How many times the rates of one address group it has.
    fn times(self) -> u32 {
        match self {
            Self::Address(_) | Self::Node(_) => 1,
            Self::Relay(_) => RELAY_TIMES,
        }
    }
}

/// Returns the time that one frame costs.
fn frame_interval() -> Duration {
    Duration::from_secs(1) / FRAMES
}

/// Returns the time of the frames that may come at once.
fn frames_burst() -> Duration {
    frame_interval() * FRAMES_BURST
}

/// Returns the bytes that a text counts. Text that looks like values counts as such.
fn weight(text: &str) -> usize {
    let values = text.bytes().filter(|byte| matches!(byte, b',' | b'[' | b'{')).count();
    text.len().max(VALUE_BYTES * values)
}

impl RateLimits {
    /// Allows `per_second` transactions per second after a burst of so many.
    pub(crate) fn new(per_second: u32, burst: u32) -> Self {
        let interval = Duration::from_secs(1) / per_second.max(1);
        Self { interval, burst: interval * burst, groups: HashMap::new() }
    }

    /// Returns the limit of a new link from this address; `None` for this host. `relayed`: the node
    /// at the other end, if the address is that of a relay.
    pub(crate) fn of(&mut self, remote: IpAddr, relayed: Option<NodeId>) -> Option<LinkRateLimit> {
        let address_group = IpPrefix::address_group(remote)?;
        let groups = match relayed {
            None => vec![self.share(Group::Address(address_group))],
            Some(node) => vec![self.share(Group::Node(node)), self.share(Group::Relay(address_group))],
        };
        let mut limit = LinkRateLimit { groups, is_native: false, pause: None };
        // What its group read before is not given back by another link.
        let now = Instant::now().into_std();
        let allowed = limit.groups.iter().map(|group| lock(group).allowed(now)).max().unwrap_or(now);
        limit.pause_until(now, allowed);
        Some(limit)
    }

    fn share(&mut self, group: Group) -> Arc<Mutex<GroupLimit>> {
        let mut key = Some(group);
        if self.groups.len() >= GROUPS && !self.groups.contains_key(&key) {
            let now = Instant::now().into_std();
            self.groups.retain(|_, limit| Arc::strong_count(limit) > 1 || !lock(limit).is_unspent(now));
            if self.groups.len() >= GROUPS {
                key = None;
            }
        }
        let Self { interval, burst, .. } = *self;
        let times = key.map_or(1, Group::times);
        let new = || Arc::new(Mutex::new(GroupLimit::new(interval, burst, times)));
        Arc::clone(self.groups.entry(key).or_insert_with(new))
    }
}

/// Another task that panicked leaves a limit as it was.
fn lock(limit: &Mutex<GroupLimit>) -> std::sync::MutexGuard<'_, GroupLimit> {
    limit.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the links of one address group have spent.
#[derive(Debug)]
struct GroupLimit {
    interval: Duration,
    burst: Duration,
    /// How many times the rates of one address group it has.
    times: u32,
    /// Of clients and exercise peers: everything. Of native peers: transactions without an origin,
    /// and those whose origin found no room in `origins`.
    own: PayloadLimit,
    /// Of native peers: the origins that spent something. One with all of its limit is forgotten.
    origins: HashMap<Origin, PayloadLimit>,
    /// Of native peers: everything.
    whole: PayloadLimit,
    /// Everything that is no transaction and no broadcast.
    frames: RateLimit,
    /// What was sent to them of pools.
    served: RateLimit,
}

/// The limit of transactions and broadcasts.
#[derive(Debug, Clone, Copy, Default)]
struct PayloadLimit {
    count: RateLimit,
    bytes: RateLimit,
}

/// What one transaction or broadcast takes of a limit, or what may be taken at once.
#[derive(Debug, Clone, Copy)]
struct Payload {
    count: Duration,
    bytes: Duration,
}

impl Payload {
    fn divided_by(self, times: u32) -> Self {
        Self { count: self.count / times, bytes: self.bytes / times }
    }
}

impl PayloadLimit {
    /// As [`reserve`], for both rates.
    fn reserve(&mut self, now: std::time::Instant, cost: Payload, burst: Payload) -> std::time::Instant {
        let counted = reserve(&mut self.count, now, cost.count, burst.count);
        counted.max(reserve(&mut self.bytes, now, cost.bytes, burst.bytes))
    }

    fn is_unspent(self, now: std::time::Instant) -> bool {
        !self.count.is_spent(now) && !self.bytes.is_spent(now)
    }
}

/// The rate at which the links of one address group are sent pools: a stranger that reads fast
/// could ask for the whole pool again and again.
#[derive(Debug, Clone, Default)]
pub(crate) struct ServeLimit {
    /// All that it counts for; none on this host.
    groups: Vec<Arc<Mutex<GroupLimit>>>,
}

impl ServeLimit {
    /// Counts so many bytes of a pool, and waits until they are allowed.
    pub(crate) async fn spend(&self, bytes: usize) {
        let now = Instant::now().into_std();
        let allowed = self.groups.iter().map(|group| {
            let mut group = lock(group);
            let cost = Duration::from_secs(1).mul_f64(bytes as f64 / f64::from(SERVED_PER_SECOND)) / group.times;
            group.served.reserve(now, cost, served_burst())
        });
        if let Some(allowed) = allowed.max().filter(|allowed| *allowed > now) {
            tokio::time::sleep_until(Instant::from_std(allowed)).await;
        }
    }
}

fn served_burst() -> Duration {
    Duration::from_secs(1).mul_f64(f64::from(SERVED_AT_ONCE) / f64::from(SERVED_PER_SECOND))
}

/// The rate limit of one link.
#[derive(Debug)]
pub(crate) struct LinkRateLimit {
    /// All that it counts for.
    groups: Vec<Arc<Mutex<GroupLimit>>>,
    /// Whether the other end introduced itself as a native peer.
    is_native: bool,
    pause: Option<Pause>,
}

/// The time in which a link is not read.
#[derive(Debug)]
struct Pause {
    until: Instant,
    /// Ends then, or when the next report is due.
    sleep: Pin<Box<Sleep>>,
}

/// Whether the next message may be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Not yet, after [`REPORT_EVERY`].
    Paused,
    Allowed,
}

impl LinkRateLimit {
    /// Returns the limit of what is sent to the same address group of pools.
    pub(crate) fn served(&self) -> ServeLimit {
        ServeLimit { groups: self.groups.clone() }
    }

    /// Counts a text that was read, and the message in it.
    pub(crate) fn count(&mut self, message: Option<&Message>, text: &str) {
        let message = match message {
            Some(Message::Topic(frame)) => Some(&frame.message),
            message => message,
        };
        let (origin, synced) = match message {
            Some(Message::Transaction(delivery)) => (delivery.origin.as_ref(), delivery.synced),
            // The driver has to verify a broadcast's signature for every peer that forwards it.
            Some(Message::Broadcast(frame)) => (frame.origin.as_ref(), frame.synced.is_some()),
            Some(Message::Handshake(handshake)) => {
                self.is_native |= handshake.node.is_some();
                return self.count_frames(1 + handshake.addresses.len(), text.len());
            }
            _ => return self.count_frame(text.len()),
        };
        let (is_native, weight) = (self.is_native, weight(text));
        self.reserve(|group, now| group.reserve(now, is_native, origin, synced, weight));
    }

    /// Counts a frame of so many bytes that is no transaction and no broadcast.
    pub(crate) fn count_frame(&mut self, bytes: usize) {
        self.count_frames(1, bytes);
    }

    fn count_frames(&mut self, count: usize, bytes: usize) {
        let of_bytes = Duration::from_secs(1).mul_f64(bytes as f64 / f64::from(FRAME_BYTES));
        let cost = frame_interval().mul_f64(count as f64).max(of_bytes);
        self.reserve(|group, now| {
            let cost = cost / group.times;
            reserve(&mut group.frames, now, cost, frames_burst())
        });
    }

    fn reserve(&mut self, reserve: impl Fn(&mut GroupLimit, std::time::Instant) -> std::time::Instant) {
        let now = Instant::now().into_std();
        let allowed = self.groups.iter().map(|group| reserve(&mut lock(group), now)).max();
        self.pause_until(now, allowed.unwrap_or(now));
    }

    fn pause_until(&mut self, now: std::time::Instant, allowed: std::time::Instant) {
        let until = Instant::from_std(allowed);
        // A short pause for one limit does not end a longer one for another.
        if allowed > now && self.pause.as_ref().is_none_or(|pause| pause.until < until) {
            self.pause = Some(Pause { until, sleep: Box::pin(tokio::time::sleep_until(next_report(until))) });
        }
    }

    /// Whether so much was read beyond the limit that the batch ends.
    pub(crate) fn is_overdrawn(&self) -> bool {
        self.pause.as_ref().is_some_and(|pause| pause.until > Instant::now() + BATCH_DEBT)
    }

    /// Ready when the next message may be read, or a report is due that it may not.
    pub(crate) fn poll_allow(&mut self, cx: &mut Context<'_>) -> Poll<Reading> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.sleep.as_mut().poll(cx));
            if pause.until > Instant::now() {
                pause.sleep.as_mut().reset(next_report(pause.until));
                return Poll::Ready(Reading::Paused);
            }
            self.pause = None;
        }
        Poll::Ready(Reading::Allowed)
    }
}

/// Returns when a pause ends or is reported next.
fn next_report(until: Instant) -> Instant {
    until.min(Instant::now() + REPORT_EVERY)
}

/// Spends `cost` in any case, and returns when that is allowed. Others that share the limit wait
/// for [`DEBT`] at most.
fn reserve(limit: &mut RateLimit, now: std::time::Instant, cost: Duration, burst: Duration) -> std::time::Instant {
    let allowed = limit.reserve(now, cost, burst);
    limit.forgive(now, burst + DEBT);
    allowed
}

impl GroupLimit {
    fn new(interval: Duration, burst: Duration, times: u32) -> Self {
        Self {
            interval,
            burst,
            times,
            own: PayloadLimit::default(),
            origins: HashMap::new(),
            whole: PayloadLimit::default(),
            frames: RateLimit::default(),
            served: RateLimit::default(),
        }
    }

    /// Counts a transaction or broadcast of so many bytes, and returns when it is allowed.
    fn reserve(
        &mut self,
        now: std::time::Instant,
        is_native: bool,
        origin: Option<&Origin>,
        synced: bool,
        weight: usize,
    ) -> std::time::Instant {
        let count = self.interval / self.times;
        let cost = Payload { count, bytes: count.mul_f64(weight as f64 / UNIT_BYTES as f64) };
        let (burst, whole_burst) = (self.burst(), self.whole_burst());
        if !is_native {
            return self.own.reserve(now, cost, burst);
        }
        let allowed = self.whole.reserve(now, cost.divided_by(LINK_TIMES), whole_burst);
        if synced {
            return allowed;
        }
        allowed.max(self.limit_of(origin, now).reserve(now, cost, burst))
    }

    /// Returns what one origin, or all clients and exercise peers, may bring at once.
    fn burst(&self) -> Payload {
        Payload { count: self.burst, bytes: self.burst / BURST_BYTES_PART }
    }

    /// Returns what all native peers may bring at once: as many bytes, and fewer messages.
    fn whole_burst(&self) -> Payload {
        let Payload { count, bytes } = self.burst().divided_by(LINK_TIMES);
        Payload { count: count / LINK_BURST_PART, bytes }
    }

    /// Returns when a new link of the group may be read.
    fn allowed(&self, now: std::time::Instant) -> std::time::Instant {
        let (mut own, mut whole, mut frames) = (self.own, self.whole, self.frames);
        let nothing = Payload { count: Duration::ZERO, bytes: Duration::ZERO };
        let payload = own.reserve(now, nothing, self.burst()).max(whole.reserve(now, nothing, self.whole_burst()));
        payload.max(frames.reserve(now, Duration::ZERO, frames_burst()))
    }

    /// Returns the limit of an origin that a native peer named.
    fn limit_of(&mut self, origin: Option<&Origin>, now: std::time::Instant) -> &mut PayloadLimit {
        let Some(origin) = origin else { return &mut self.own };
        if self.origins.len() >= LINK_ORIGINS && !self.origins.contains_key(origin) {
            self.origins.retain(|_, limit| !limit.is_unspent(now));
            if self.origins.len() >= LINK_ORIGINS {
                return &mut self.own;
            }
        }
        self.origins.entry(origin.clone()).or_default()
    }

    fn is_unspent(&self, now: std::time::Instant) -> bool {
        let Self { own, origins, whole, frames, served, .. } = self;
        let payload = [own, whole].into_iter().chain(origins.values()).all(|limit| limit.is_unspent(now));
        payload && !frames.is_spent(now) && !served.is_spent(now)
    }
}

#[cfg(test)]
mod tests {
    use meshpool_proto::json::Parser;
    use meshpool_proto::limits::Limits;

    use super::*;

    const PER_SECOND: u32 = 10;
    const BURST: u32 = 5;

    /// Waits until the next message may be read.
    async fn allow(rate: &mut LinkRateLimit) {
        while std::future::poll_fn(|cx| rate.poll_allow(cx)).await == Reading::Paused {}
    }

    /// Reads messages as fast as the limit allows, and returns how long that takes.
    async fn read(rate: &mut LinkRateLimit, messages: impl Iterator<Item = String>) -> Duration {
        let (mut parser, start) = (Parser::new(), Instant::now());
        for text in messages {
            allow(rate).await;
            rate.count(Some(&Message::parse(&mut parser, &text).expect("a message")), &text);
        }
        start.elapsed()
    }

    fn transaction(origin: Option<u8>, more: &str) -> String {
        let from = origin.map(|origin| format!(r#","from":"{}""#, format!("{origin:02x}").repeat(32)));
        format!(r#"{{"type":"TRANSACTION","data":{{}}{}{more}}}"#, from.unwrap_or_default())
    }

    const REMOTE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn new() -> LinkRateLimit {
        RateLimits::new(PER_SECOND, BURST).of(REMOTE, None).expect("another host")
    }

    async fn native_peer() -> LinkRateLimit {
        native_peer_of(RateLimits::new(PER_SECOND, BURST)).await
    }

    async fn native_peer_of(mut limits: RateLimits) -> LinkRateLimit {
        let mut rate = limits.of(REMOTE, None).expect("another host");
        let (id, session) = ("0f".repeat(32), "00000000-0000-4000-8000-000000000000");
        let hello = format!(
            r#"{{"type":"HANDSHAKE","data":[],"node":{{"id":"{id}","session":"{session}","agent":"","protocol":1,"network":""}}}}"#
        );
        read(&mut rate, std::iter::once(hello)).await;
        assert!(rate.is_native, "it introduced itself");
        rate
    }

    fn about(taken: Duration, seconds: f64, what: &str) {
        assert!((taken.as_secs_f64() - seconds).abs() <= 0.11, "{what}: {taken:?} instead of {seconds} s");
    }

    #[tokio::test(start_paused = true)]
    async fn after_the_burst_reading_keeps_the_rate() {
        let taken = read(&mut new(), (0..25).map(|_| transaction(None, ""))).await;
        about(taken, 2.0, "20 beyond the burst at 10/s");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_has_one_limit_whatever_origins_it_names() {
        let liar = (0..25).map(|number| transaction(Some(number), r#","session":"x""#));
        about(read(&mut new(), liar).await, 2.0, "a client's origins");
    }

    #[tokio::test(start_paused = true)]
    async fn a_native_peer_is_limited_for_its_own_transactions_too() {
        let mut rate = native_peer().await;
        about(read(&mut rate, (0..25).map(|_| transaction(Some(0x0f), ""))).await, 2.0, "a native peer's own");
        let mut rate = native_peer().await;
        about(read(&mut rate, (0..25).map(|_| transaction(None, ""))).await, 2.0, "what names no origin");
    }

    #[tokio::test(start_paused = true)]
    async fn each_origin_that_a_native_peer_forwards_has_a_limit() {
        let mut rate = native_peer().await;
        let three = (0..75).map(|number| transaction(Some(number % 3), ""));
        about(read(&mut rate, three).await, 2.0, "25 of each of three");
    }

    #[tokio::test(start_paused = true)]
    async fn a_link_as_a_whole_has_a_limit_whatever_origins_are_made_up() {
        let count = BURST / LINK_BURST_PART + PER_SECOND * LINK_TIMES * 3;
        let mut rate = native_peer().await;
        let made_up = (0..count).map(|number| transaction(Some((number % 200) as u8), ""));
        about(read(&mut rate, made_up).await, 3.0, "made-up origins");
        assert!(lock(&rate.groups[0]).origins.len() <= LINK_ORIGINS);
        let mut rate = native_peer().await;
        let synced = (0..count).map(|_| transaction(Some(1), r#","session":"x""#));
        about(read(&mut rate, synced).await, 3.0, "what claims to answer anti-entropy");
    }

    #[tokio::test(start_paused = true)]
    async fn native_peers_bring_a_part_of_the_burst_at_once_whatever_origins_they_name() {
        let Limits { transaction_rate, transaction_burst, .. } = Limits::default();
        let mut rate = native_peer_of(RateLimits::new(transaction_rate, transaction_burst)).await;
        let of_16 = |count| (0..count).map(|number| transaction(Some((number % 16) as u8), ""));
        let at_once = transaction_burst / LINK_BURST_PART;
        assert_eq!(read(&mut rate, of_16(at_once)).await, Duration::ZERO);
        about(read(&mut rate, of_16(transaction_rate * LINK_TIMES)).await, 1.0, "the rate of all");
    }

    #[tokio::test(start_paused = true)]
    async fn many_slow_origins_never_pause_a_link() {
        let burst = LINK_ORIGINS as u32 * LINK_BURST_PART;
        let mut rate = native_peer_of(RateLimits::new(PER_SECOND, burst)).await;
        for _ in 0..4 {
            let taken = read(&mut rate, (0..(LINK_ORIGINS as u8)).map(|origin| transaction(Some(origin), ""))).await;
            assert_eq!(taken, Duration::ZERO);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_links_of_a_group_share_a_limit_and_other_groups_do_not() {
        let mut limits = RateLimits::new(PER_SECOND, BURST);
        let mut of = |ip: &str| limits.of(ip.parse().expect(ip), None);
        let mut links: Vec<_> =
            ["2001:db8::1", "2001:db8::2", "2001:db8:0:0:ffff::1"].map(|ip| of(ip).expect(ip)).into();
        let start = Instant::now();
        for number in 0..25 {
            let rate = &mut links[number % 3];
            read(rate, std::iter::once(transaction(None, ""))).await;
        }
        // A link waits once it has read too much, so each of the others reads one more.
        about(start.elapsed(), 1.8, "25 on three links of a /64");
        let mut other = of("2001:db8:0:1::1").expect("another host");
        about(read(&mut other, (0..BURST).map(|_| transaction(None, ""))).await, 0.0, "another /64");
        drop(links);
        let mut again = of("2001:db8::3").expect("another host");
        let six = (0..6).map(|_| transaction(None, ""));
        about(read(&mut again, six).await, 0.8, "closing links gives nothing back");
        assert!(of("127.0.0.1").is_none() && of("::1").is_none() && of("::ffff:127.0.0.1").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn groups_are_forgotten_once_nothing_is_spent_and_share_a_limit_where_there_are_too_many() {
        let mut limits = RateLimits::new(PER_SECOND, BURST);
        let ip = |number: usize| IpAddr::from([10, 0, (number >> 8) as u8, number as u8]);
        for number in 0..GROUPS {
            limits.of(ip(number), None).expect("another host").count_frame(1);
        }
        let shared = || limits.of(REMOTE, None).map(|rate| Arc::as_ptr(&rate.groups[0]));
        let mut limits_of = shared;
        assert_eq!(limits_of(), limits_of(), "no room");
        assert!(limits.groups.contains_key(&None));
        tokio::time::advance(Duration::from_secs(60)).await;
        limits.of(IpAddr::from([10, 9, 9, 9]), None).expect("another host");
        assert!(limits.groups.len() <= 2, "{}", limits.groups.len());
    }

    #[tokio::test(start_paused = true)]
    async fn other_frames_are_read_at_a_rate_of_their_own() {
        let unknown = || std::iter::repeat_n(r#"{"type":"X"}"#.to_owned(), 2 * FRAMES as usize);
        let mut rate = new();
        about(read(&mut rate, unknown().cycle().take(FRAMES_BURST as usize)).await, 0.0, "the burst");
        about(read(&mut rate, unknown()).await, 2.0, "two seconds of frames");
        about(read(&mut rate, (0..BURST).map(|_| transaction(None, ""))).await, 0.0, "transactions apart from that");
        tokio::time::advance(Duration::from_secs(3_600)).await;
        for _ in 0..FRAMES_BURST {
            rate.count(None, "no message");
        }
        assert!(rate.pause.is_none(), "texts that are no messages");
        rate.count_frame(1);
        assert!(rate.pause.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn large_transactions_count_by_their_bytes_and_handshakes_by_their_addresses() {
        let large = format!(r#"{{"type":"TRANSACTION","data":{{"text":"{}"}}}}"#, "x".repeat(5 * UNIT_BYTES - 100));
        // The burst has the bytes of one, and the second waits for four.
        about(read(&mut new(), [large.clone(), large.clone(), large].into_iter()).await, 0.9, "five units each");
        let addresses: Vec<String> = (1..1_000).map(|port| format!("\"ws://192.0.2.7:{port}\"")).collect();
        let handshake = format!(r#"{{"type":"HANDSHAKE","data":[{}]}}"#, addresses.join(","));
        let twelve = std::iter::repeat_n(handshake, 12);
        about(read(&mut new(), twelve).await, 1.0, "ten at once, and one a second");
    }

    #[tokio::test(start_paused = true)]
    async fn short_values_count_more_than_their_length() {
        for (text, counted) in [
            ("[1,1,1,1]".to_owned(), 4 * VALUE_BYTES),
            ("[[[]],{},{}]".to_owned(), 7 * VALUE_BYTES),
            (transaction(None, ""), 3 * VALUE_BYTES),
            (format!("[{}]", ["0.123456789012345"; 9].join(",")), 2 + 9 * 17 + 8),
            ("x".repeat(100), 100),
        ] {
            assert_eq!(weight(&text), counted, "{text}");
        }
        let values = format!(r#"{{"type":"TRANSACTION","data":{{"a":[{}1]}}}}"#, "1,".repeat(UNIT_BYTES / VALUE_BYTES));
        let taken = read(&mut new(), std::iter::repeat_n(values, 11)).await;
        about(taken, 1.0, "ten beyond the burst: each counts 2 KiB");
    }

    #[tokio::test(start_paused = true)]
    async fn a_group_is_sent_so_many_bytes_of_pools_at_once_and_then_at_a_rate() {
        let mut limits = RateLimits::new(PER_SECOND, BURST);
        let of = |limits: &mut RateLimits, ip: &str| {
            limits.of(ip.parse().expect(ip), None).as_ref().map(LinkRateLimit::served).unwrap_or_default()
        };
        let links = ["2001:db8::1", "2001:db8::2"].map(|ip| of(&mut limits, ip));
        let start = Instant::now();
        for served in links.iter().cycle().take(SERVED_AT_ONCE as usize >> 18) {
            served.spend(1 << 18).await;
        }
        about(start.elapsed(), 0.0, "the first pool");
        for served in links.iter().cycle().take((2 * SERVED_PER_SECOND as usize) >> 18) {
            served.spend(1 << 18).await;
        }
        about(start.elapsed(), 2.0, "two seconds");
        of(&mut limits, "2001:db8:0:1::1").spend(SERVED_AT_ONCE as usize).await;
        of(&mut limits, "127.0.0.1").spend(100 * SERVED_AT_ONCE as usize).await;
        about(start.elapsed(), 2.0, "another group, and this host");
    }

    /// A HANDSHAKE of so many addresses.
    fn handshake(addresses: u16) -> String {
        let addresses: Vec<String> = (1..=addresses).map(|port| format!("\"ws://192.0.2.7:{port}\"")).collect();
        format!(r#"{{"type":"HANDSHAKE","data":[{}]}}"#, addresses.join(","))
    }

    /// Reads a message whatever the limit says.
    fn overdraw(rate: &mut LinkRateLimit, text: &str) {
        rate.count(Some(&Message::parse(&mut Parser::new(), text).expect("a message")), text);
    }

    #[tokio::test(start_paused = true)]
    async fn what_one_link_reads_too_much_keeps_the_others_of_its_group_waiting_for_a_second_or_two() {
        let low = |limits: &mut RateLimits| limits.of(REMOTE, None).expect("another host");
        let large = format!(r#"{{"type":"TRANSACTION","data":{{"text":"{}"}}}}"#, "x".repeat(100 * UNIT_BYTES));
        // What the last message costs is waited for besides.
        for (text, own) in [(handshake(999), 1.0), (large, 10.1)] {
            let mut limits = RateLimits::new(PER_SECOND, BURST);
            let (mut greedy, mut honest) = (low(&mut limits), low(&mut limits));
            (0..50).for_each(|_| overdraw(&mut greedy, &text));
            let mut newcomer = low(&mut limits);
            let start = Instant::now();
            read(&mut honest, std::iter::once(text)).await;
            about(start.elapsed(), 0.0, "it has read nothing yet");
            allow(&mut newcomer).await;
            about(start.elapsed(), 1.5, "a link that came later");
            for mut rate in [greedy, honest] {
                allow(&mut rate).await;
                about(start.elapsed(), 1.5 + own, "one that read more");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_ends_with_the_message_that_exceeds_the_limit_and_a_pause_is_reported_each_second() {
        let mut rate = new();
        (0..10).for_each(|_| overdraw(&mut rate, &handshake(999)));
        assert!(!rate.is_overdrawn(), "the burst");
        overdraw(&mut rate, &handshake(99));
        assert!(rate.pause.is_some() && !rate.is_overdrawn(), "a little more");
        rate.count_frame(3 * FRAME_BYTES as usize);
        assert!(rate.is_overdrawn());
        let (start, mut reports) = (Instant::now(), 0);
        while std::future::poll_fn(|cx| rate.poll_allow(cx)).await == Reading::Paused {
            reports += 1;
        }
        about(start.elapsed(), 3.1, "its debt");
        assert_eq!(reports, 3);
        assert!(!rate.is_overdrawn());
    }

    #[tokio::test(start_paused = true)]
    async fn relayed_links_count_for_their_nodes_and_all_of_a_relay_together() {
        let mut limits = RateLimits::new(PER_SECOND, BURST);
        let mut of = |node: u8| limits.of(REMOTE, Some(NodeId([node; 32]))).expect("another host");
        let (mut one, mut same, mut other) = (of(1), of(1), of(2));
        (0..40).for_each(|_| overdraw(&mut one, &handshake(999)));
        about(read(&mut other, [handshake(999)].into_iter().cycle().take(10)).await, 0.0, "another node");
        overdraw(&mut same, &handshake(999));
        assert!(same.is_overdrawn(), "the same node");
        let many: Vec<_> = (3..20)
            .map(|node| {
                let mut rate = of(node);
                (0..10).for_each(|_| overdraw(&mut rate, &handshake(999)));
                rate
            })
            .collect();
        assert!(many.iter().any(LinkRateLimit::is_overdrawn), "sixteen times the rate of one");
        assert!(of(99).is_overdrawn(), "ids are free");
        assert!(!limits.of(REMOTE, None).expect("another host").is_overdrawn(), "the relay itself");
    }

    #[tokio::test(start_paused = true)]
    async fn large_frames_count_by_their_bytes() {
        let mut rate = new();
        let seconds = FRAMES_BURST / FRAMES;
        for _ in 0..seconds * 4 {
            rate.count_frame(FRAME_BYTES as usize / 4);
        }
        assert!(rate.pause.is_none(), "the burst");
        rate.count_frame(FRAME_BYTES as usize);
        let start = Instant::now();
        allow(&mut rate).await;
        about(start.elapsed(), 1.0, "the bytes of a second");
    }

    #[tokio::test(start_paused = true)]
    async fn a_native_peer_is_limited_for_its_broadcasts_too() {
        let id = "ab".repeat(32);
        let broadcast = format!(r#"{{"type":"BROADCAST","data":{{"id":"{id}","title":"","message":"x","time":1}}}}"#);
        let mut rate = native_peer().await;
        about(read(&mut rate, std::iter::repeat_n(broadcast, 25)).await, 2.0, "20 beyond the burst");
    }
}
