//! Rate limiting by the generic cell rate algorithm (GCRA, ITU-T I.371): one instant instead of a
//! bucket and a timer.
//!
//! The instant is the *theoretical arrival time*: until then the time is used up by what was spent.
//! Spending moves it on by a cost. It may run ahead of now by the burst, so `burst / cost` units
//! are allowed at once.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The state of one rate limit. Cost and burst are arguments: most callers have them as constants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RateLimit {
    /// `None` if nothing was spent yet.
    arrival: Option<Instant>,
}

impl RateLimit {
    /// Spends `cost` if the burst allows it.
    ///
    /// # Errors
    /// Nothing is spent; the instant says when the same cost is allowed.
    pub fn spend(&mut self, now: Instant, cost: Duration, burst: Duration) -> Result<(), Instant> {
        let arrival = self.after(now, cost);
        match arrival.checked_sub(burst) {
            Some(allowed) if allowed > now => Err(allowed),
            _ => {
                self.arrival = Some(arrival);
                Ok(())
            }
        }
    }

    /// Spends `cost` in any case, and returns when that is allowed: now or later.
    pub fn reserve(&mut self, now: Instant, cost: Duration, burst: Duration) -> Instant {
        let arrival = self.after(now, cost);
        self.arrival = Some(arrival);
        arrival.checked_sub(burst).map_or(now, |allowed| allowed.max(now))
    }

    /// Returns whether something is spent that time has not given back.
    pub fn is_spent(&self, now: Instant) -> bool {
        self.arrival.is_some_and(|arrival| arrival > now)
    }

    /// Forgives what is spent ahead of `now` by more than `most`: what was reserved and is not
    /// used.
    pub fn forgive(&mut self, now: Instant, most: Duration) {
        self.arrival = self.arrival.map(|arrival| arrival.min(now + most));
    }

    fn after(&self, now: Instant, cost: Duration) -> Instant {
        self.arrival.map_or(now, |arrival| arrival.max(now)) + cost
    }
}

/// A rate limit for each key, all with the same cost and burst. A key takes room from its first use
/// until it is removed.
#[derive(Debug)]
pub struct RateLimits<K> {
    cost: Duration,
    burst: Duration,
    by_key: BTreeMap<K, RateLimit>,
}

impl<K: Ord> RateLimits<K> {
    /// Allows `burst` uses at once, and then one in each `interval`.
    pub fn new(interval: Duration, burst: u32) -> Self {
        Self { cost: interval, burst: interval * burst, by_key: BTreeMap::new() }
    }

    /// Returns whether a key may be used once more, and counts that use.
    pub fn allows(&mut self, now: Instant, key: K) -> bool {
        self.by_key.entry(key).or_default().spend(now, self.cost, self.burst).is_ok()
    }

    /// Forgets a key.
    pub fn remove(&mut self, key: &K) {
        self.by_key.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COST: Duration = Duration::from_millis(100);
    const BURST: Duration = Duration::from_millis(400);
    const TICK: Duration = Duration::from_nanos(1);

    #[test]
    fn a_burst_is_allowed_at_once_and_then_one_unit_per_cost() {
        let (mut limit, now) = (RateLimit::default(), Instant::now());
        for _ in 0..4 {
            assert_eq!(limit.spend(now, COST, BURST), Ok(()));
        }
        assert_eq!(limit.spend(now, COST, BURST), Err(now + COST));
        assert_eq!(limit.spend(now + COST - TICK, COST, BURST), Err(now + COST), "what is refused costs nothing");
        assert_eq!(limit.spend(now + COST, COST, BURST), Ok(()));
        assert_eq!(limit.spend(now + COST, COST, BURST), Err(now + COST * 2));
    }

    #[test]
    fn a_pause_fills_the_burst_and_no_more() {
        let (mut limit, now) = (RateLimit::default(), Instant::now());
        for at in [now, now + COST * 1_000] {
            for _ in 0..4 {
                assert_eq!(limit.spend(at, COST, BURST), Ok(()));
            }
            assert_eq!(limit.spend(at, COST, BURST), Err(at + COST));
        }
    }

    #[test]
    fn costs_may_differ_and_one_above_the_burst_is_never_allowed() {
        let (mut limit, now) = (RateLimit::default(), Instant::now());
        assert_eq!(limit.spend(now, BURST + TICK, BURST), Err(now + TICK));
        assert_eq!(limit.spend(now, COST * 3, BURST), Ok(()));
        assert_eq!(limit.spend(now, COST * 2, BURST), Err(now + COST));
        assert_eq!(limit.spend(now, COST, BURST), Ok(()));
        assert_eq!(limit.spend(now + COST * 9, BURST + TICK, BURST), Err(now + COST * 9 + TICK));
    }

    #[test]
    fn a_reservation_is_always_made_and_waits_its_turn() {
        let (mut limit, now) = (RateLimit::default(), Instant::now());
        let turns: Vec<Instant> = (0..7).map(|_| limit.reserve(now, COST, BURST)).collect();
        assert_eq!(turns, [now, now, now, now, now + COST, now + COST * 2, now + COST * 3]);
        assert_eq!(limit.spend(now, COST, BURST), Err(now + COST * 4));
        assert_eq!(limit.reserve(now + COST * 10, COST, BURST), now + COST * 10);
    }

    #[test]
    fn what_is_reserved_too_far_ahead_can_be_forgiven() {
        let (mut limit, now) = (RateLimit::default(), Instant::now());
        limit.forgive(now, BURST);
        assert_eq!(limit, RateLimit::default());
        for _ in 0..9 {
            limit.reserve(now, COST, BURST);
        }
        limit.forgive(now, COST * 9);
        assert_eq!(limit.spend(now, COST, BURST), Err(now + COST * 6), "nine are not more than nine");
        limit.forgive(now, COST * 5);
        assert_eq!(limit.spend(now, COST, BURST), Err(now + COST * 2));
        limit.forgive(now + COST, COST * 5);
        assert_eq!(limit.reserve(now + COST, COST, BURST), now + COST * 2);
    }

    #[test]
    fn each_key_has_a_limit_of_its_own() {
        let (mut limits, now) = (RateLimits::new(COST, 2), Instant::now());
        assert_eq!([1, 1, 1, 2].map(|key| limits.allows(now, key)), [true, true, false, true]);
        assert!(!limits.allows(now + COST - TICK, 1));
        assert!(limits.allows(now + COST, 1) && !limits.allows(now + COST, 1));
        limits.remove(&1);
        assert!(limits.by_key.len() == 1 && limits.allows(now + COST, 1));
    }
}
