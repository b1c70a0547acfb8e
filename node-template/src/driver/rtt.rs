//! The round-trip time of one link, for people. No decision depends on it.

use std::time::{Duration, Instant};

/// After this time a reader lets it be measured again.
const STALE: Duration = Duration::from_secs(10);

/// The round-trip time of one link.
#[derive(Debug, Default)]
pub(crate) struct Rtt {
    /// When the ping was queued that waits for its pong.
    pending: Option<Instant>,
    last: Option<(Instant, Duration)>,
}

impl Rtt {
    /// Notes a ping. Pongs do not name their ping, so no second ping is timed while one is pending.
    pub(crate) fn on_ping(&mut self, now: Instant) {
        self.pending.get_or_insert(now);
    }

    /// Notes a pong.
    pub(crate) fn on_pong(&mut self, now: Instant) {
        if let Some(sent) = self.pending.take() {
            self.last = Some((now, now.saturating_duration_since(sent)));
        }
    }

    /// The last measured time.
    pub(crate) fn last(&self) -> Option<Duration> {
        self.last.map(|(_, time)| time)
    }

    /// Whether a ping should be sent to measure it again.
    pub(crate) fn is_stale(&self, now: Instant) -> bool {
        self.pending.is_none() && self.last.is_none_or(|(when, _)| now.saturating_duration_since(when) >= STALE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_several_pings_is_timed_and_a_stray_pong_is_not() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut rtt = Rtt::default();
        rtt.on_pong(at(1));
        assert_eq!((rtt.last(), rtt.is_stale(at(1))), (None, true));
        rtt.on_ping(at(10));
        rtt.on_ping(at(20));
        assert!(!rtt.is_stale(at(20)), "one is pending");
        rtt.on_pong(at(35));
        assert_eq!(rtt.last(), Some(Duration::from_millis(25)));
        assert!(!rtt.is_stale(at(10_000)) && rtt.is_stale(at(10_035)));
    }
}
