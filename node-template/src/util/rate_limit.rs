//! Rate limiting by GCRA, the generic cell rate algorithm (ITU-T I.371): a token bucket that needs
//! one time stamp.
//!
//! Each use moves a virtual clock on by one interval. A use keeps the limit while the clock is
//! ahead of real time by at most the burst.

use std::time::{Duration, Instant};

/// A limit: a steady rate after a burst. It holds no state; see [`Usage`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct RateLimit {
    interval: Duration,
    burst: Duration,
}

/// How much of a limit is used: the virtual clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage(Instant);

impl RateLimit {
    /// Allows one use per `interval`, after a burst of so many.
    pub(crate) fn new(interval: Duration, burst: u32) -> Self {
        Self { interval, burst: interval * burst }
    }

    /// Allows `per_second` uses per second, at least one, after a burst of so many.
    pub(crate) fn per_second(per_second: u32, burst: u32) -> Self {
        Self::new(Duration::from_secs(1) / per_second.max(1), burst)
    }

    /// The same limit with a rate and a burst that are larger by `factor`.
    pub(crate) fn times(self, factor: u32) -> Self {
        Self { interval: self.interval / factor, burst: self.burst }
    }
}

impl Usage {
    /// Nothing is used yet.
    pub(crate) fn new(now: Instant) -> Self {
        Self(now)
    }

    /// When the next use keeps the limit; a time that has passed means now.
    pub(crate) fn allowed_at(self, limit: RateLimit, now: Instant) -> Instant {
        self.0.max(now).checked_sub(limit.burst).unwrap_or(now)
    }

    /// Counts one use, whether it keeps the limit or not.
    pub(crate) fn spend(&mut self, limit: RateLimit, now: Instant) {
        self.0 = self.0.max(now) + limit.interval;
    }

    /// Counts one use if it keeps the limit, and returns whether it does.
    #[cfg_attr(not(feature = "web"), expect(dead_code, reason = "for the HTTP API"))]
    pub(crate) fn try_spend(&mut self, limit: RateLimit, now: Instant) -> bool {
        let allowed = self.allowed_at(limit, now) <= now;
        if allowed {
            self.spend(limit, now);
        }
        allowed
    }

    /// Whether all of the limit is free again: the usage is as good as new.
    pub(crate) fn is_free(self, now: Instant) -> bool {
        self.0 <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_allowed_at_once_and_then_the_rate() {
        let (limit, start) = (RateLimit::per_second(10, 4), Instant::now());
        let mut usage = Usage::new(start);
        let allowed = (0..10).filter(|_| usage.try_spend(limit, start)).count();
        assert_eq!(allowed, 5, "the burst, and one of the steady rate");
        assert_eq!(usage.allowed_at(limit, start), start + Duration::from_millis(100));
        assert!(!usage.try_spend(limit, start + Duration::from_millis(99)));
        assert!(usage.try_spend(limit, start + Duration::from_millis(100)));
        assert!(
            !usage.is_free(start + Duration::from_millis(599)) && usage.is_free(start + Duration::from_millis(600))
        );
    }

    #[test]
    fn uses_beyond_the_limit_delay_the_next() {
        let (limit, start) = (RateLimit::per_second(10, 0), Instant::now());
        let mut usage = Usage::new(start);
        for _ in 0..5 {
            usage.spend(limit, start);
        }
        assert_eq!(usage.allowed_at(limit, start), start + Duration::from_millis(500));
    }

    #[test]
    fn a_limit_can_be_multiplied() {
        let (limit, start) = (RateLimit::per_second(10, 5).times(3), Instant::now());
        let mut usage = Usage::new(start);
        assert_eq!((0..100).filter(|_| usage.try_spend(limit, start)).count(), 16);
    }
}
