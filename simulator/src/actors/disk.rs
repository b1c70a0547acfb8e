//! The pool file of a simulated node: what is on disk, and what waits to be written.

use std::collections::VecDeque;

use meshpool_proto::transaction::{Transaction, TransactionId};

/// The pool file and the pending write.
#[derive(Debug, Default)]
pub(super) struct Disk {
    stored: Vec<Transaction>,
    /// The wrapping sum of the first 8 bytes of each id in `stored`.
    sum: u64,
    waiting: VecDeque<Transaction>,
    /// How many of `waiting` the write in progress holds.
    writing: usize,
    /// It rejects writes.
    pub(super) fails: bool,
    /// The core was told that writes fail, and not yet that they succeed again.
    pub(super) failure_reported: bool,
}

impl Disk {
    /// The transactions on disk, in the order of the file.
    pub(super) fn stored(&self) -> &[Transaction] {
        &self.stored
    }

    /// Whether a transaction is on disk; recent ones are found first.
    pub(super) fn contains(&self, id: &TransactionId) -> bool {
        self.stored.iter().rev().any(|transaction| transaction.id() == *id)
    }

    /// How many transactions wait to be written.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// How many transactions are on disk, and a sum over their ids: equal pools have equal digests.
    pub(super) fn digest(&self) -> (usize, u64) {
        (self.stored.len(), self.sum)
    }

    /// Appends a transaction to the file.
    pub(super) fn append(&mut self, transaction: Transaction) {
        let [first, ..] = *transaction.id().0.as_chunks::<8>().0 else { return };
        self.sum = self.sum.wrapping_add(u64::from_le_bytes(first));
        self.stored.push(transaction);
    }

    /// Adds a transaction to those that wait to be written.
    pub(super) fn enqueue(&mut self, transaction: Transaction) {
        self.waiting.push_back(transaction);
    }

    /// Starts to write what waits, unless a write is in progress. Returns whether one starts.
    pub(super) fn start_write(&mut self) -> bool {
        let starts = self.writing == 0 && !self.waiting.is_empty();
        if starts {
            self.writing = self.waiting.len();
        }
        starts
    }

    /// Ends a successful write. Returns what was written.
    pub(super) fn finish_write(&mut self) -> Vec<TransactionId> {
        let written: Vec<_> = self.waiting.drain(..std::mem::take(&mut self.writing)).collect();
        let ids = written.iter().map(Transaction::id).collect();
        written.into_iter().for_each(|transaction| self.append(transaction));
        ids
    }

    /// Loses what was not on disk: the process ended.
    pub(super) fn abort(&mut self) {
        self.waiting.clear();
        self.writing = 0;
    }
}
