//! How long transactions and broadcasts took from their sender to this node.

use prometheus_client::metrics::histogram::Histogram;

/// Upper bounds of the buckets, in seconds: from one host to another continent, and late arrivals.
const BOUNDS: [f64; 11] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];
/// Delays that count, in seconds. Others come from wrong clocks or from a `timeStamp` that is no
/// time.
const PLAUSIBLE: std::ops::Range<f64> = 0.0..60.0;

/// Histograms of delays, as accurate as the senders' clocks.
#[derive(Debug)]
pub(crate) struct Delays {
    pub(crate) transactions: Histogram,
    pub(crate) broadcasts: Histogram,
}

impl Default for Delays {
    fn default() -> Self {
        Self { transactions: Histogram::new(BOUNDS), broadcasts: Histogram::new(BOUNDS) }
    }
}

impl Delays {
    pub(crate) fn transaction(&self, seconds: f64) {
        observe(&self.transactions, seconds);
    }

    pub(crate) fn broadcast(&self, seconds: f64) {
        observe(&self.broadcasts, seconds);
    }
}

fn observe(histogram: &Histogram, seconds: f64) {
    if PLAUSIBLE.contains(&seconds) {
        histogram.observe(seconds);
    }
}
