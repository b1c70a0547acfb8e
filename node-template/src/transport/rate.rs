//! How fast the transactions of one stranger are read: a burst, then a rate. Above it reading pauses; nothing is dropped.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use crate::protocol::message::Message;

/// The allowance of one link, kept as a GCRA: a virtual clock that runs ahead of the real one by what was used.
#[derive(Debug)]
pub(crate) struct Rate {
    interval: Duration,
    tolerance: Duration,
    used_until: Instant,
    pause: Option<Pin<Box<Sleep>>>,
    /// Full peers carry other nodes' transactions, and are not slowed for them.
    exempt: bool,
}

impl Rate {
    /// So many transactions per second after a burst of so many.
    pub(crate) fn new(per_second: u32, burst: u32, now: Instant) -> Self {
        let interval = Duration::from_secs(1) / per_second.max(1);
        Self { interval, tolerance: interval * burst, used_until: now, pause: None, exempt: false }
    }

    /// Counts a message that was read.
    pub(crate) fn count(&mut self, message: &Message) {
        match message {
            Message::Handshake(handshake) if handshake.node.is_some() => self.exempt = true,
            Message::Transaction(_) if self.exempt => {}
            // Of a broadcast the driver has to judge a signature, whoever carries it.
            Message::Transaction(_) | Message::Broadcast(_) => {
                let now = Instant::now();
                self.used_until = self.used_until.max(now) + self.interval;
                if self.used_until > now + self.tolerance {
                    self.pause = Some(Box::pin(tokio::time::sleep_until(self.used_until - self.tolerance)));
                }
            }
            _ => {}
        }
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
    use super::*;
    use crate::protocol::json::Parser;

    #[tokio::test(start_paused = true)]
    async fn after_the_burst_reading_keeps_the_rate() {
        let mut parser = Parser::new();
        let mut read = |rate: &mut Rate| {
            rate.count(&Message::parse(&mut parser, r#"{"type":"TRANSACTION","data":{}}"#).expect("a message"))
        };
        let start = Instant::now();
        let mut rate = Rate::new(10, 5, start);
        for _ in 0..25 {
            std::future::poll_fn(|cx| rate.poll_allow(cx)).await;
            read(&mut rate);
        }
        let taken = start.elapsed();
        assert!(
            taken >= Duration::from_millis(1_900) && taken <= Duration::from_millis(2_100),
            "20 beyond the burst at 10/s: {taken:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_peer_is_slowed_for_its_broadcasts_alone() {
        let mut parser = Parser::new();
        let broadcast = format!(
            r#"{{"type":"BROADCAST","data":{{"id":"{}","title":"","message":"x","time":1}}}}"#,
            "ab".repeat(32)
        );
        let handshake = format!(
            r#"{{"type":"HANDSHAKE","data":[],"node":{{"id":"{}","session":"00000000-0000-4000-8000-000000000000","agent":"","protocol":1,"network":"","address":"ws://localhost:1"}}}}"#,
            "ab".repeat(32)
        );
        let mut paused = |text: &str| {
            let mut rate = Rate::new(10, 5, Instant::now());
            for text in [&*handshake].into_iter().chain([text; 25]) {
                rate.count(&Message::parse(&mut parser, text).expect(text));
            }
            rate.pause.is_some()
        };
        assert!(paused(&broadcast));
        assert!(!paused(r#"{"type":"TRANSACTION","data":{}}"#));
    }
}
