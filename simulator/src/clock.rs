//! Virtual time: a queue of events, the earliest first.
//!
//! Nothing here waits. Events of one instant happen in the order in which they were put in, so a run depends on its seed alone. The clock owns
//! the queue and knows nothing of what an event means; [`World`](crate::world::World) takes the events out.

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
        // The core wants an Instant. Which one does not matter: it only ever sees differences.
        Self { base: Instant::now(), now: Duration::ZERO, sequence: 0, queue: BinaryHeap::new() }
    }

    /// The time since the start of the run.
    pub fn now(&self) -> Duration {
        self.now
    }

    /// The present, as the core is told it.
    pub fn instant(&self) -> Instant {
        self.base + self.now
    }

    /// An instant that the core named, as time since the start; one before the start is the start.
    pub fn since_start(&self, instant: Instant) -> Duration {
        instant.saturating_duration_since(self.base)
    }

    /// Lets an event happen at a time; in the past means now.
    pub fn at(&mut self, at: Duration, event: E) {
        self.sequence += 1;
        self.queue.push(Entry { at: at.max(self.now), sequence: self.sequence, event });
    }

    /// Lets an event happen after a delay.
    pub fn after(&mut self, delay: Duration, event: E) {
        self.at(self.now + delay, event);
    }

    /// Takes out the next event, if it is due by `end`, and moves the time to it; else moves the time to `end`.
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
    /// The earlier entry is the greater one: a `BinaryHeap` gives out its greatest first.
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
        assert_eq!(clock.now(), end, "the time moves on although nothing happens");
        clock.at(Duration::from_secs(3), "past");
        assert_eq!(clock.next(end), Some("past"), "an event of the past happens now");
        assert_eq!(clock.now(), end);
    }
}
