//! How a node's pool grew over time, and what that says of the traffic.

use std::time::{Duration, Instant};

/// When the pool of a node was seen with more transactions than before.
#[derive(Debug, Clone, Default)]
pub(crate) struct History {
    growth: Vec<(Instant, u64)>,
}

impl History {
    /// Notes the number of transactions; what does not grow is not kept.
    pub(crate) fn note(&mut self, at: Instant, count: u64) {
        if self.growth.last().is_none_or(|(_, before)| count > *before) {
            self.growth.push((at, count));
        }
    }

    /// Returns the time from a moment until the pool first grew after it.
    pub(crate) fn first_growth_after(&self, moment: Instant) -> Option<Duration> {
        self.after(moment).next().map(|at| at - moment)
    }

    /// Returns the longest time after a moment in which the pool did not grow. The time after the
    /// last growth does not count.
    pub(crate) fn longest_gap_after(&self, moment: Instant) -> Option<Duration> {
        let after = self.after(moment);
        let before = std::iter::once(moment).chain(self.after(moment));
        after.zip(before).map(|(at, before)| at - before).max()
    }

    fn after(&self, moment: Instant) -> impl Iterator<Item = Instant> {
        self.growth.iter().map(|(at, _)| *at).filter(move |at| *at > moment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_times_without_growth() {
        let begin = Instant::now();
        let second = Duration::from_secs(1);
        let mut history = History::default();
        for (at, count) in [(0, 5), (1, 6), (2, 6), (3, 7), (4, 7), (8, 8), (9, 9), (20, 9)] {
            history.note(begin + second * at, count);
        }
        assert_eq!(history.longest_gap_after(begin), Some(second * 5), "from 3 to 8");
        assert_eq!(history.longest_gap_after(begin + second * 6), Some(second * 2), "from 6 to 8");
        assert_eq!(history.first_growth_after(begin + second), Some(second * 2));
        assert_eq!(history.first_growth_after(begin + second * 9), None);
        assert_eq!(history.longest_gap_after(begin + second * 9), None);
    }
}
