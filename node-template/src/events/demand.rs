//! Who wants events of transactions. In a busy node nearly all events are transactions: where
//! no listener reads all of them, most are counted instead of sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// The demand of all listeners of one ring.
#[derive(Debug, Default)]
pub(crate) struct Demand {
    /// How many listeners want every transaction.
    all: AtomicUsize,
    /// How many transactions to send while no listener wants all.
    samples: AtomicUsize,
    /// Transactions not sent since the last [`Sampling::next`].
    unsent: AtomicU64,
}

impl Demand {
    /// Returns whether anybody wants a transaction.
    pub(crate) fn is_any(&self) -> bool {
        self.all.load(Ordering::Relaxed) > 0 || self.samples.load(Ordering::Relaxed) > 0
    }

    /// Returns whether to send the next transaction, and counts it otherwise. Called by the sender
    /// only.
    pub(crate) fn takes(&self) -> bool {
        if !self.is_any() {
            self.count_unsent(1);
            return false;
        }
        // A concurrent `Sampling::next` may be overwritten: then one sample fewer is sent.
        let samples = self.samples.load(Ordering::Relaxed);
        self.samples.store(samples.saturating_sub(1), Ordering::Relaxed);
        true
    }

    pub(crate) fn count_unsent(&self, count: u64) {
        self.unsent.fetch_add(count, Ordering::Relaxed);
    }
}

/// One listener's demand for every transaction.
#[derive(Debug)]
pub(crate) struct WantsAll(Arc<Demand>);

impl WantsAll {
    pub(crate) fn new(demand: &Arc<Demand>) -> Self {
        demand.all.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(demand))
    }
}

impl Drop for WantsAll {
    fn drop(&mut self) {
        self.0.all.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Requests single transactions, for a listener that shows some and counts the rest.
#[derive(Debug)]
#[cfg_attr(not(feature = "web"), allow(dead_code, reason = "the page samples"))]
pub(crate) struct Sampling(Arc<Demand>);

impl Sampling {
    pub(crate) fn new(demand: &Arc<Demand>, samples: usize) -> Self {
        demand.samples.store(samples, Ordering::Relaxed);
        Self(Arc::clone(demand))
    }

    /// Requests the next `samples` transactions. Returns how many were not sent since the last
    /// call.
    #[cfg_attr(not(feature = "web"), allow(dead_code, reason = "the page samples"))]
    pub(crate) fn next(&self, samples: usize) -> u64 {
        self.0.samples.store(samples, Ordering::Relaxed);
        self.0.unsent.swap(0, Ordering::Relaxed)
    }
}
