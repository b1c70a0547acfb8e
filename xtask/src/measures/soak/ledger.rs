//! What was pushed and what came of it: every identity that a node acknowledged, to be found again at the end.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use meshpool::protocol::transaction::TransactionId;
use meshpool::protocol::wire::{Ack, AckStatus};

/// How many transactions are kept for those who send them once more.
const RECENT: usize = 1_000;

/// What happened so far. Shared by all who push.
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

/// How the transactions fared.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    /// Given to a node.
    pub(crate) pushed: u64,
    /// Refused by one.
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

    /// Transactions that were pushed lately, by any number.
    pub(crate) fn recent(&self, number: usize) -> Option<String> {
        let inner = self.inner();
        inner.recent.get(number.checked_rem(inner.recent.len())?).cloned()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Nothing is left half done by a panic.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
