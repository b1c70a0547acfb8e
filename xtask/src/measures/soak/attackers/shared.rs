//! What all attackers share: the ledger, and counters.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::measures::soak::ledger::Ledger;

/// What all attackers share: the ledger, and counters.
pub(crate) struct Shared {
    pub(crate) ledger: Arc<Ledger>,
    connections: AtomicU64,
    frames: AtomicU64,
}

impl Shared {
    pub(crate) fn new(ledger: Arc<Ledger>) -> Self {
        Self { ledger, connections: AtomicU64::new(0), frames: AtomicU64::new(0) }
    }

    pub(crate) fn connected(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn sent(&self) {
        self.frames.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the numbers of connections and of frames.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.connections.load(Ordering::Relaxed), self.frames.load(Ordering::Relaxed))
    }
}
