//! How long a ping takes there and back on one link, for people. Nothing is decided by it.

use std::time::{Duration, Instant};

/// After this time somebody who asks has it measured anew.
const STALE: Duration = Duration::from_secs(10);

/// The round-trip time of one link.
#[derive(Debug, Default)]
pub(crate) struct Trip {
    /// When a ping went into the queue that is not answered yet.
    begun: Option<Instant>,
    measured: Option<(Instant, Duration)>,
}

impl Trip {
    /// A ping goes out. A pong does not say for which ping it is, so while one is out the next is not timed.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.begun.get_or_insert(now);
    }

    /// A pong came in.
    pub(crate) fn end(&mut self, now: Instant) {
        if let Some(begun) = self.begun.take() {
            self.measured = Some((now, now.saturating_duration_since(begun)));
        }
    }

    /// What was measured last.
    pub(crate) fn time(&self) -> Option<Duration> {
        self.measured.map(|(_, time)| time)
    }

    /// Whether a ping should go out for it.
    pub(crate) fn is_stale(&self, now: Instant) -> bool {
        self.begun.is_none() && self.measured.is_none_or(|(when, _)| now.saturating_duration_since(when) >= STALE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_several_pings_is_timed_and_a_stray_pong_is_not() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut trip = Trip::default();
        trip.end(at(1));
        assert_eq!((trip.time(), trip.is_stale(at(1))), (None, true));
        trip.begin(at(10));
        trip.begin(at(20));
        assert!(!trip.is_stale(at(20)), "one is out");
        trip.end(at(35));
        assert_eq!(trip.time(), Some(Duration::from_millis(25)));
        assert!(!trip.is_stale(at(10_000)) && trip.is_stale(at(10_035)));
    }
}
