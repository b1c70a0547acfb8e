//! How fast the transactions of a stranger are read: a burst, then a rate. Above it reading pauses; nothing is dropped.
//!
//! A client and a plain peer speak for themselves, so the allowance is their link's. A full peer also carries what others send, and says whose each is: there every
//! origin has the allowance, its own included, and the link as a whole [`LINK_TIMES`] as much, because in an open network nobody has to prove whose a transaction is, and
//! a liar has as many origins as it makes up. What answers a comparison of pools comes from a file, not from an origin, and counts for the link as a whole.
//!
//! Loopback has no rate: who is on this host can do it more harm otherwise. Copies of what is held do not count: they are known by their text, and cost little.

use std::collections::HashMap;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use crate::protocol::limits::{LINK_ORIGINS, LINK_TIMES};
use crate::protocol::transaction::Origin;
use crate::protocol::wire::Message;

/// What one link may bring, kept as virtual clocks that run ahead of the real one by what was used (GCRA).
#[derive(Debug)]
pub(crate) struct Rate {
    interval: Duration,
    tolerance: Duration,
    /// Of a client or a plain peer all; of a full peer what names no origin, or one that found no room among `origins`.
    own: Instant,
    /// Of a full peer, each origin that used something and has not made up for it by waiting. Without that a clock is as good as new, and is forgotten.
    origins: HashMap<Origin, Instant>,
    /// Of a full peer all. `None` until it has introduced itself.
    whole: Option<Instant>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Rate {
    /// So many transactions per second after a burst of so many.
    pub(crate) fn new(per_second: u32, burst: u32, now: Instant) -> Self {
        let interval = Duration::from_secs(1) / per_second.max(1);
        Self { interval, tolerance: interval * burst, own: now, origins: HashMap::new(), whole: None, pause: None }
    }

    /// Counts a message that was read.
    pub(crate) fn count(&mut self, message: &Message) {
        let (origin, synced) = match message {
            Message::Handshake(handshake) if handshake.node.is_some() => {
                self.whole.get_or_insert_with(Instant::now);
                return;
            }
            Message::Transaction(delivery) => (delivery.origin.as_ref(), delivery.synced),
            // Of a broadcast the driver has to judge a signature, whoever carries it.
            Message::Broadcast(frame) => (frame.origin.as_ref(), frame.synced.is_some()),
            _ => return,
        };
        let now = Instant::now();
        let Self { interval, tolerance, .. } = *self;
        let mut wait = now;
        if let Some(whole) = &mut self.whole {
            wait = wait.max(spend(whole, now, interval / LINK_TIMES, tolerance));
        }
        if self.whole.is_none() || !synced {
            let clock = self.clock(now, origin);
            wait = wait.max(spend(clock, now, interval, tolerance));
        }
        if wait > now {
            self.pause = Some(Box::pin(tokio::time::sleep_until(wait)));
        }
    }

    /// The clock of an origin on the link of a full peer; of all others that of the link.
    fn clock(&mut self, now: Instant, origin: Option<&Origin>) -> &mut Instant {
        let Some(origin) = origin.filter(|_| self.whole.is_some()) else { return &mut self.own };
        if !self.origins.contains_key(origin) {
            if self.origins.len() >= LINK_ORIGINS {
                self.origins.retain(|_, used_until| *used_until > now);
            }
            if self.origins.len() >= LINK_ORIGINS {
                return &mut self.own;
            }
        }
        self.origins.entry(origin.clone()).or_insert(now)
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

/// Moves a clock on by one message; says when the next may be read.
fn spend(used_until: &mut Instant, now: Instant, interval: Duration, tolerance: Duration) -> Instant {
    *used_until = (*used_until).max(now) + interval;
    used_until.checked_sub(tolerance).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::json::Parser;

    const PER_SECOND: u32 = 10;
    const BURST: u32 = 5;

    /// Reads so many messages as fast as it may; says how long that takes.
    async fn read(rate: &mut Rate, messages: impl Iterator<Item = String>) -> Duration {
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

    fn new() -> Rate {
        Rate::new(PER_SECOND, BURST, Instant::now())
    }

    async fn full_peer() -> Rate {
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
    async fn a_client_has_one_allowance_whatever_it_says_of_origins_and_comparisons() {
        let liar = (0..25).map(|number| transaction(Some(number), r#","session":"x""#));
        about(read(&mut new(), liar).await, 2.0, "a client's origins");
    }

    #[tokio::test(start_paused = true)]
    async fn who_introduces_itself_is_slowed_all_the_same_for_what_it_sends_itself() {
        let mut rate = full_peer().await;
        about(read(&mut rate, (0..25).map(|_| transaction(Some(0x0f), ""))).await, 2.0, "a full peer's own");
        let mut rate = full_peer().await;
        about(read(&mut rate, (0..25).map(|_| transaction(None, ""))).await, 2.0, "what names no origin");
    }

    #[tokio::test(start_paused = true)]
    async fn each_origin_that_a_full_peer_carries_has_an_allowance() {
        let mut rate = full_peer().await;
        let three = (0..75).map(|number| transaction(Some(number % 3), ""));
        about(read(&mut rate, three).await, 2.0, "25 of each of three");
    }

    #[tokio::test(start_paused = true)]
    async fn a_link_as_a_whole_has_an_allowance_whatever_origins_are_made_up() {
        let count = BURST * LINK_TIMES + PER_SECOND * LINK_TIMES * 3;
        let mut rate = full_peer().await;
        let made_up = (0..count).map(|number| transaction(Some((number % 200) as u8), ""));
        about(read(&mut rate, made_up).await, 3.0, "made-up origins");
        assert!(rate.origins.len() <= LINK_ORIGINS);
        let mut rate = full_peer().await;
        let synced = (0..count).map(|_| transaction(Some(1), r#","session":"x""#));
        about(read(&mut rate, synced).await, 3.0, "what is said to answer comparisons");
    }

    #[tokio::test(start_paused = true)]
    async fn many_slow_origins_never_pause_a_link() {
        let mut rate = full_peer().await;
        for _ in 0..4 {
            let taken = read(&mut rate, (0..(LINK_ORIGINS as u8)).map(|origin| transaction(Some(origin), ""))).await;
            assert_eq!(taken, Duration::ZERO);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_peer_is_slowed_for_its_broadcasts_too() {
        let mut parser = Parser::new();
        let broadcast = format!(
            r#"{{"type":"BROADCAST","data":{{"id":"{}","title":"","message":"x","time":1}}}}"#,
            "ab".repeat(32)
        );
        let handshake = format!(
            r#"{{"type":"HANDSHAKE","data":[],"node":{{"id":"{}","session":"00000000-0000-4000-8000-000000000000","agent":"","protocol":1,"network":"","address":"ws://localhost:1"}}}}"#,
            "ab".repeat(32)
        );
        let mut rate = Rate::new(10, 5, Instant::now());
        let paused = [&*handshake].into_iter().chain([&*broadcast; 6]).map(|text| {
            rate.count(&Message::parse(&mut parser, text).expect(text));
            rate.pause.is_some()
        });
        assert_eq!(paused.collect::<Vec<_>>(), [false, false, false, false, false, false, true]);
    }
}
