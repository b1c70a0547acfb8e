//! The rate at which transactions are read from a link: a burst, then a steady rate. Above it
//! reading pauses; nothing is dropped.
//!
//! | sender | limit |
//! |---|---|
//! | client, exercise peer | one for the link: they send only what is theirs |
//! | native peer | one per origin, and [`LINK_TIMES`] as much for the whole link |
//! | loopback | none: programs on this host can do more harm in other ways |
//!
//! A native peer forwards for others and names the origin of each transaction. In an open network
//! it could make up origins, which the limit of the whole link bounds. Answers of anti-entropy come
//! from a file and have no origin, so they count for the whole link only.
//!
//! Duplicates do not count: they are known by their text and cost little.

use std::collections::HashMap;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use meshpool_proto::limits::{LINK_ORIGINS, LINK_TIMES};
use meshpool_proto::transaction::Origin;
use meshpool_proto::wire::Message;
use tokio::time::{Instant, Sleep};

use crate::util::rate_limit::{RateLimit, Usage};

/// The rate limit of one link.
#[derive(Debug)]
pub(crate) struct LinkRateLimit {
    limit: RateLimit,
    /// Of a client or an exercise peer: everything. Of a native peer: transactions without an
    /// origin, and those whose origin found no room in `origins`.
    own: Usage,
    /// Of a native peer: the origins with some usage. An origin without any is forgotten.
    origins: HashMap<Origin, Usage>,
    /// Of a native peer: everything. `None` until its handshake.
    whole: Option<Usage>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl LinkRateLimit {
    /// Allows `per_second` transactions per second after a burst of so many.
    pub(crate) fn new(per_second: u32, burst: u32) -> Self {
        let own = Usage::new(Instant::now().into_std());
        let limit = RateLimit::per_second(per_second, burst);
        Self { limit, own, origins: HashMap::new(), whole: None, pause: None }
    }

    /// Counts a message that was read.
    pub(crate) fn count(&mut self, message: &Message) {
        let now = Instant::now().into_std();
        let (origin, synced) = match message {
            Message::Handshake(handshake) if handshake.node.is_some() => {
                self.whole.get_or_insert_with(|| Usage::new(now));
                return;
            }
            Message::Transaction(delivery) => (delivery.origin.as_ref(), delivery.synced),
            // The driver has to verify a broadcast's signature for every peer that forwards it.
            Message::Broadcast(frame) => (frame.origin.as_ref(), frame.synced.is_some()),
            _ => return,
        };
        let mut allowed_at = now;
        let mut spend = |usage: &mut Usage, limit: RateLimit| {
            usage.spend(limit, now);
            allowed_at = allowed_at.max(usage.allowed_at(limit, now));
        };
        let limit = self.limit;
        if let Some(whole) = &mut self.whole {
            spend(whole, limit.times(LINK_TIMES));
        }
        if self.whole.is_none() || !synced {
            spend(self.usage_of(origin, now), limit);
        }
        if allowed_at > now {
            self.pause = Some(Box::pin(tokio::time::sleep_until(allowed_at.into())));
        }
    }

    /// The usage of an origin on the link of a native peer; otherwise that of the link.
    fn usage_of(&mut self, origin: Option<&Origin>, now: std::time::Instant) -> &mut Usage {
        let Some(origin) = origin.filter(|_| self.whole.is_some()) else { return &mut self.own };
        if !self.origins.contains_key(origin) {
            if self.origins.len() >= LINK_ORIGINS {
                self.origins.retain(|_, usage| !usage.is_free(now));
            }
            if self.origins.len() >= LINK_ORIGINS {
                return &mut self.own;
            }
        }
        self.origins.entry(origin.clone()).or_insert(Usage::new(now))
    }

    /// Ready when the next message may be read.
    pub(crate) fn poll_allow(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use meshpool_proto::json::Parser;

    use super::*;

    const PER_SECOND: u32 = 10;
    const BURST: u32 = 5;

    /// Reads messages as fast as the limit allows, and returns how long that takes.
    async fn read(rate: &mut LinkRateLimit, messages: impl Iterator<Item = String>) -> Duration {
        let (mut parser, start) = (Parser::new(), Instant::now());
        for text in messages {
            std::future::poll_fn(|cx| rate.poll_allow(cx)).await;
            rate.count(&Message::parse(&mut parser, &text).expect("a message"));
        }
        start.elapsed()
    }

    fn transaction(origin: Option<u8>, more: &str) -> String {
        let from = origin.map(|origin| format!(r#","from":"{}""#, format!("{origin:02x}").repeat(32)));
        format!(r#"{{"type":"TRANSACTION","data":{{}}{}{more}}}"#, from.unwrap_or_default())
    }

    fn new() -> LinkRateLimit {
        LinkRateLimit::new(PER_SECOND, BURST)
    }

    async fn native_peer() -> LinkRateLimit {
        let mut rate = new();
        let (id, session) = ("0f".repeat(32), "00000000-0000-4000-8000-000000000000");
        let hello = format!(
            r#"{{"type":"HANDSHAKE","data":[],"node":{{"id":"{id}","session":"{session}","agent":"","protocol":1,"network":""}}}}"#
        );
        read(&mut rate, std::iter::once(hello)).await;
        assert!(rate.whole.is_some(), "it introduced itself");
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
        let count = BURST * LINK_TIMES + PER_SECOND * LINK_TIMES * 3;
        let mut rate = native_peer().await;
        let made_up = (0..count).map(|number| transaction(Some((number % 200) as u8), ""));
        about(read(&mut rate, made_up).await, 3.0, "made-up origins");
        assert!(rate.origins.len() <= LINK_ORIGINS);
        let mut rate = native_peer().await;
        let synced = (0..count).map(|_| transaction(Some(1), r#","session":"x""#));
        about(read(&mut rate, synced).await, 3.0, "what claims to answer anti-entropy");
    }

    #[tokio::test(start_paused = true)]
    async fn many_slow_origins_never_pause_a_link() {
        let mut rate = native_peer().await;
        for _ in 0..4 {
            let taken = read(&mut rate, (0..(LINK_ORIGINS as u8)).map(|origin| transaction(Some(origin), ""))).await;
            assert_eq!(taken, Duration::ZERO);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_native_peer_is_limited_for_its_broadcasts_too() {
        let mut parser = Parser::new();
        let broadcast = format!(
            r#"{{"type":"BROADCAST","data":{{"id":"{}","title":"","message":"x","time":1}}}}"#,
            "ab".repeat(32)
        );
        let handshake = format!(
            r#"{{"type":"HANDSHAKE","data":[],"node":{{"id":"{}","session":"00000000-0000-4000-8000-000000000000","agent":"","protocol":1,"network":"","address":"ws://localhost:1"}}}}"#,
            "ab".repeat(32)
        );
        let mut rate = LinkRateLimit::new(10, 5);
        let paused = [&*handshake].into_iter().chain([&*broadcast; 6]).map(|text| {
            rate.count(&Message::parse(&mut parser, text).expect(text));
            rate.pause.is_some()
        });
        assert_eq!(paused.collect::<Vec<_>>(), [false, false, false, false, false, false, true]);
    }
}
