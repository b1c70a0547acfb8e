//! What was submitted and acknowledged, to be found again at the end.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use meshpool::protocol::transaction::TransactionId;
use meshpool::protocol::wire::{Ack, AckStatus};

/// The most recent transactions, for attackers that send duplicates.
const RECENT: usize = 1_000;

/// What was submitted and acknowledged so far, shared by all clients.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    acknowledged: HashSet<TransactionId>,
    recent: VecDeque<String>,
    counts: Counts,
}

/// The numbers of transactions.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    /// Submitted to a node.
    pub(crate) pushed: u64,
    /// Rejected by one.
    pub(crate) refused: u64,
}

impl Ledger {
    pub(crate) fn pushed(&self, body: &str) {
        let mut inner = self.inner();
        inner.counts.pushed += 1;
        inner.recent.push_back(body.to_owned());
        if inner.recent.len() > RECENT {
            inner.recent.pop_front();
        }
    }

    pub(crate) fn on_ack(&self, ack: &Ack) {
        let mut inner = self.inner();
        match (ack.status, ack.id.parse()) {
            (AckStatus::Stored | AckStatus::Duplicate, Ok(id)) => {
                inner.acknowledged.insert(id);
            }
            _ => inner.counts.refused += 1,
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        self.inner().counts
    }

    pub(crate) fn acknowledged(&self) -> HashSet<TransactionId> {
        self.inner().acknowledged.clone()
    }

    pub(crate) fn count_acknowledged(&self) -> usize {
        self.inner().acknowledged.len()
    }

    /// Returns one of the most recent transactions, by any number.
    pub(crate) fn recent(&self, number: usize) -> Option<String> {
        let inner = self.inner();
        inner.recent.get(number.checked_rem(inner.recent.len())?).cloned()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // A panic leaves no change half done.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
