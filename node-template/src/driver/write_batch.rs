//! The write batch: transactions on their way to the pool's thread.
//!
//! A transaction is forwarded before the disk has it, so the disk is not urgent. A batch waits for
//! a short group-commit window and is then written as a whole. Fewer writes also take fewer CPU
//! cores from the links' tasks. A batch that a requester waits for is written at once.

use std::time::{Duration, Instant};

use meshpool_proto::transaction::Transaction;

use crate::pool::Pool;

/// The group-commit window. A transaction is acknowledged only once it is on the disk, so nothing
/// is promised meanwhile.
const WINDOW: Duration = Duration::from_millis(5);
/// From so many bytes on a batch does not wait: the cost of a write is small beside that of its
/// bytes.
const ENOUGH: usize = 256 * 1024;

/// Transactions to be written.
#[derive(Debug, Default)]
pub(crate) struct WriteBatch {
    batch: Vec<Transaction>,
    bytes: usize,
    /// Since when the first of them waits.
    since: Option<Instant>,
    /// How many reports of transactions that the pool found in its file the core has had. The pool
    /// then knows which transactions the core took for new.
    found: u64,
}

impl WriteBatch {
    pub(crate) fn push(&mut self, transaction: Transaction) {
        self.bytes += transaction.body_bytes();
        self.batch.push(transaction);
    }

    /// When the window of the first transaction ends.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.since.map(|since| since + WINDOW)
    }

    /// Hands the batch to the pool if it is due. `urgent`: a requester waits for the disk. The
    /// clock is read only if it matters.
    pub(crate) fn write_due(&mut self, pool: &Pool, urgent: bool) {
        if let Some(batch) = self.take_due(urgent, Instant::now) {
            pool.store_new(batch, self.found);
        }
    }

    /// Hands the batch to the pool now.
    pub(crate) fn write(&mut self, pool: &Pool) {
        self.write_due(pool, true);
    }

    /// Notes a report of transactions that the pool found in its file. The batch is written first:
    /// it was new by the earlier reports, and may be among what was found.
    pub(crate) fn on_found(&mut self, pool: &Pool) {
        self.write(pool);
        self.found += 1;
    }

    fn take_due(&mut self, urgent: bool, now: impl FnOnce() -> Instant) -> Option<Vec<Transaction>> {
        if self.batch.is_empty() {
            return None;
        }
        if !urgent && self.bytes < ENOUGH {
            let now = now();
            if now < *self.since.get_or_insert(now) + WINDOW {
                return None;
            }
        }
        (self.bytes, self.since) = (0, None);
        // The next batch has about as many; the memory of a long burst is not kept.
        let next = Vec::with_capacity(self.batch.len().min(1_024));
        Some(std::mem::replace(&mut self.batch, next))
    }
}

#[cfg(test)]
mod tests {
    use meshpool_proto::json::Parser;

    use super::*;

    fn transaction(length: usize) -> Transaction {
        let text = format!(r#"{{"text":"{}"}}"#, "x".repeat(length));
        Transaction::parse(&mut Parser::new(), &text).expect("a transaction")
    }

    #[test]
    fn a_batch_waits_for_its_window_unless_it_is_urgent_or_large() {
        let (mut writes, now) = (WriteBatch::default(), Instant::now());
        assert!(writes.take_due(true, || now).is_none() && writes.deadline().is_none());
        writes.push(transaction(1));
        assert!(writes.take_due(false, || now).is_none());
        writes.push(transaction(1));
        assert!(writes.take_due(false, || now + WINDOW / 2).is_none());
        assert_eq!(writes.deadline(), Some(now + WINDOW), "of the first");
        assert_eq!(writes.take_due(false, || now + WINDOW).map(|batch| batch.len()), Some(2));
        assert_eq!(writes.deadline(), None);
        writes.push(transaction(1));
        assert!(writes.take_due(true, || now).is_some(), "a requester waits");
        writes.push(transaction(200 * 1024));
        writes.push(transaction(200 * 1024));
        assert!(writes.take_due(false, || now).is_some() && writes.take_due(true, || now).is_none());
    }
}
