//! A histogram of durations: the metrics show the disk's with it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The upper bounds of the buckets, in seconds: from a fast disk to one that hangs. A last bucket
/// without a bound follows.
const BOUNDS: [f64; 12] = [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.5, 2.0, 10.0];

/// A histogram of durations. An observation costs two atomic additions and takes no lock.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    nanoseconds: AtomicU64,
}

impl Histogram {
    /// Counts one duration.
    pub fn observe(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let bucket = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        // 2^64 nanoseconds are five centuries.
        self.nanoseconds.fetch_add(duration.as_nanos() as u64, Ordering::Relaxed);
    }

    /// Returns each bucket's upper bound ([`f64::INFINITY`] for the last) and its count, not
    /// cumulative; and the sum of all durations, in seconds.
    pub fn buckets(&self) -> (impl Iterator<Item = (f64, u64)>, f64) {
        let bounds = BOUNDS.into_iter().chain([f64::INFINITY]);
        let counts = self.buckets.iter().map(|count| count.load(Ordering::Relaxed));
        (bounds.zip(counts), Duration::from_nanos(self.nanoseconds.load(Ordering::Relaxed)).as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_in_the_first_bucket_that_holds_it() {
        let histogram = Histogram::default();
        for micros in [100, 101, 60_000_000] {
            histogram.observe(Duration::from_micros(micros));
        }
        let (buckets, sum) = histogram.buckets();
        let filled: Vec<_> = buckets.filter(|(_, count)| *count > 0).collect();
        assert_eq!(filled, [(0.000_1, 1), (0.000_25, 1), (f64::INFINITY, 1)]);
        assert!((sum - 60.000_201).abs() < 1e-9, "{sum}");
    }
}
