//! Virtual time: a queue of events, the earliest first.
//!
//! Events of one instant happen in the order in which they were scheduled, so a run depends on its
//! seed alone.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

/// A queue of events and the time of the last one taken out.
#[derive(Debug)]
pub struct Clock<E> {
    base: Instant,
    now: Duration,
    sequence: u64,
    queue: BinaryHeap<Entry<E>>,
}

#[derive(Debug)]
struct Entry<E> {
    at: Duration,
    sequence: u64,
    event: E,
}

impl<E> Clock<E> {
    /// An empty queue at time zero.
    pub fn new() -> Self {
        // The core takes an Instant and uses differences only, so any base will do.
        Self { base: Instant::now(), now: Duration::ZERO, sequence: 0, queue: BinaryHeap::new() }
    }

    /// The virtual time since the start of the run.
    pub fn now(&self) -> Duration {
        self.now
    }

    /// The current time in the form that the core takes.
    pub fn instant(&self) -> Instant {
        self.base + self.now
    }

    /// Converts an instant of the core to the time since the start. Earlier instants give zero.
    pub fn since_start(&self, instant: Instant) -> Duration {
        instant.saturating_duration_since(self.base)
    }

    /// Schedules an event. A time in the past means now.
    pub fn at(&mut self, at: Duration, event: E) {
        self.sequence += 1;
        self.queue.push(Entry { at: at.max(self.now), sequence: self.sequence, event });
    }

    /// Schedules an event after a delay.
    pub fn after(&mut self, delay: Duration, event: E) {
        self.at(self.now + delay, event);
    }

    /// Returns the next event that is due by `end`, and advances the time to it, otherwise to
    /// `end`.
    pub fn next(&mut self, end: Duration) -> Option<E> {
        if self.queue.peek().is_none_or(|entry| entry.at > end) {
            self.now = self.now.max(end);
            return None;
        }
        let entry = self.queue.pop()?;
        self.now = entry.at;
        Some(entry.event)
    }
}

impl<E> Default for Clock<E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<E> Eq for Entry<E> {}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Entry<E> {
    /// Reversed, because a `BinaryHeap` pops its greatest entry first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.sequence).cmp(&(self.at, self.sequence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_then_by_order() {
        let mut clock = Clock::new();
        for (seconds, name) in [(2, "late"), (1, "first"), (1, "second"), (9, "beyond")] {
            clock.at(Duration::from_secs(seconds), name);
        }
        let end = Duration::from_secs(5);
        let names: Vec<_> = std::iter::from_fn(|| clock.next(end)).collect();
        assert_eq!(names, ["first", "second", "late"]);
        assert_eq!(clock.now(), end, "the time advances although nothing happens");
        clock.at(Duration::from_secs(3), "past");
        assert_eq!(clock.next(end), Some("past"), "an event of the past happens now");
        assert_eq!(clock.now(), end);
    }
}
