//! Limits on what strangers can have logged.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// One line per key and interval; the others are counted. At most `capacity` keys are remembered.
#[derive(Debug)]
pub(crate) struct LogThrottle<K, T = String> {
    interval: Duration,
    capacity: usize,
    entries: BTreeMap<K, Entry<T>>,
}

#[derive(Debug)]
struct Entry<T> {
    logged: Instant,
    /// How many lines were suppressed since, and the text of the last one.
    suppressed: u64,
    text: Option<T>,
}

/// What a [`LogThrottle`] says of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Throttle {
    /// Log it, with the number of lines that were suppressed before.
    Log { suppressed: u64 },
    /// A line for this key was logged lately: this one is counted.
    Suppress,
    /// Too many keys were logged lately.
    NoRoom,
}

impl<K: Ord + Clone, T> LogThrottle<K, T> {
    pub(crate) fn new(interval: Duration, capacity: usize) -> Self {
        Self { interval, capacity, entries: BTreeMap::new() }
    }

    /// Judges a line; `text` is kept if it is suppressed.
    pub(crate) fn judge(&mut self, now: Instant, key: K, text: impl Into<T>) -> Throttle {
        let interval = self.interval;
        let over = |entry: &Entry<T>| now.saturating_duration_since(entry.logged) >= interval;
        if !self.entries.contains_key(&key) && self.entries.len() >= self.capacity {
            self.entries.retain(|_, entry| !over(entry));
            if self.entries.len() >= self.capacity {
                return Throttle::NoRoom;
            }
        }
        match self.entries.get_mut(&key) {
            Some(entry) if !over(entry) => {
                entry.suppressed += 1;
                entry.text = Some(text.into());
                Throttle::Suppress
            }
            _ => {
                let before = self.entries.insert(key, Entry { logged: now, suppressed: 0, text: None });
                Throttle::Log { suppressed: before.map_or(0, |entry| entry.suppressed) }
            }
        }
    }

    /// Returns when the next count of suppressed lines is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let counting = self.entries.values().filter(|entry| entry.suppressed > 0);
        counting.map(|entry| entry.logged + self.interval).min()
    }

    /// Takes the counts that are due: each key with its number of suppressed lines and the last
    /// one's text.
    pub(crate) fn take_due(&mut self, now: Instant) -> Vec<(K, u64, T)> {
        let mut due = Vec::new();
        for (key, entry) in &mut self.entries {
            let is_due = entry.suppressed > 0 && now.saturating_duration_since(entry.logged) >= self.interval;
            if let Some(text) = entry.text.take_if(|_| is_due) {
                due.push((key.clone(), std::mem::take(&mut entry.suppressed), text));
                entry.logged = now;
            }
        }
        due
    }
}

/// So many at most in each window, which begins with the first.
#[derive(Debug)]
pub struct Window {
    most: u32,
    length: Duration,
    current: Option<(Instant, u32)>,
}

impl Window {
    /// Of `most` in each window of this length.
    pub const fn new(most: u32, length: Duration) -> Self {
        Self { most, length, current: None }
    }

    /// Counts one more; returns whether it is within the limit.
    pub fn admit(&mut self, now: Instant) -> bool {
        let (since, count) = self.current.unwrap_or((now, 0));
        let over = now.saturating_duration_since(since) >= self.length;
        self.current = Some(if over { (now, 1) } else { (since, count.saturating_add(1)) });
        over || count < self.most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn one_line_per_key_and_interval_and_the_rest_is_counted() {
        let start = Instant::now();
        let mut throttle: LogThrottle<_> = LogThrottle::new(SECOND * 60, 2);
        assert_eq!(throttle.judge(start, 1, "a"), Throttle::Log { suppressed: 0 });
        assert_eq!(throttle.next_due(), None);
        assert_eq!(throttle.judge(start + SECOND * 59, 1, "b"), Throttle::Suppress);
        assert_eq!(throttle.judge(start + SECOND * 59, 1, "c"), Throttle::Suppress);
        assert_eq!(throttle.next_due(), Some(start + SECOND * 60));
        assert_eq!(throttle.take_due(start + SECOND * 59), []);
        assert_eq!(throttle.judge(start + SECOND * 60, 1, "d"), Throttle::Log { suppressed: 2 });
        assert_eq!(throttle.judge(start + SECOND * 61, 1, "e"), Throttle::Suppress);
        assert_eq!(throttle.take_due(start + SECOND * 120), [(1, 1, "e".to_owned())]);
        assert_eq!(throttle.take_due(start + SECOND * 500), []);
        assert_eq!(throttle.judge(start + SECOND * 121, 1, "f"), Throttle::Suppress, "the count was a line");
    }

    #[test]
    fn keys_have_a_capacity_and_old_ones_give_way() {
        let start = Instant::now();
        let mut throttle: LogThrottle<_> = LogThrottle::new(SECOND, 2);
        assert_eq!(throttle.judge(start, 1, ""), Throttle::Log { suppressed: 0 });
        assert_eq!(throttle.judge(start, 2, ""), Throttle::Log { suppressed: 0 });
        assert_eq!(throttle.judge(start, 3, ""), Throttle::NoRoom);
        assert_eq!(throttle.judge(start, 2, ""), Throttle::Suppress, "a key that is known needs no room");
        assert_eq!(throttle.judge(start + SECOND, 3, ""), Throttle::Log { suppressed: 0 });
    }

    #[test]
    fn a_window_admits_its_number_and_then_begins_anew() {
        let start = Instant::now();
        let mut window = Window::new(2, SECOND);
        assert_eq!([0, 0, 999].map(|ms| window.admit(start + Duration::from_millis(ms))), [true, true, false]);
        assert_eq!([1000, 1001, 1002].map(|ms| window.admit(start + Duration::from_millis(ms))), [true, true, false]);
    }

    #[test]
    fn the_earliest_count_is_due_first_and_those_that_are_due_are_taken() {
        let start = Instant::now();
        let mut throttle: LogThrottle<_> = LogThrottle::new(SECOND * 60, 9);
        for (seconds, key) in [(10, 1), (0, 2), (5, 3), (1, 4)] {
            throttle.judge(start + SECOND * seconds, key, "first");
        }
        for key in [1, 2, 3] {
            throttle.judge(start + SECOND * 11, key, "second");
        }
        assert_eq!(throttle.next_due(), Some(start + SECOND * 60));
        let taken = throttle.take_due(start + SECOND * 65);
        assert_eq!(taken, [(2, 1, "second".to_owned()), (3, 1, "second".to_owned())], "nothing was suppressed of 4");
        assert_eq!(throttle.next_due(), Some(start + SECOND * 70));
        assert_eq!(throttle.judge(start + SECOND * 66, 4, ""), Throttle::Log { suppressed: 0 });
    }

    #[test]
    fn only_keys_whose_interval_is_over_make_room() {
        let start = Instant::now();
        let mut throttle: LogThrottle<_> = LogThrottle::new(SECOND, 2);
        throttle.judge(start, 1, "");
        throttle.judge(start + SECOND / 2, 2, "");
        assert_eq!(throttle.judge(start + SECOND, 3, ""), Throttle::Log { suppressed: 0 });
        assert_eq!(throttle.judge(start + SECOND, 2, ""), Throttle::Suppress, "it kept its place");
        assert_eq!(throttle.judge(start + SECOND, 1, ""), Throttle::NoRoom);
    }

    #[test]
    fn a_window_of_many_counts_no_further_than_it_can() {
        let start = Instant::now();
        let mut window = Window::new(0, SECOND);
        assert!(!window.admit(start) && !window.admit(start) && window.admit(start + SECOND));
        window.current = Some((start, u32::MAX));
        assert!(!window.admit(start));
        assert_eq!(window.current, Some((start, u32::MAX)));
    }
}
