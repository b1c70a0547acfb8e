//! What is to be stored, on its way to the pool's thread.
//!
//! A transaction goes on to others before the disk has it, so the disk need not be in its way: what nobody waits for lingers for a moment. Then it is stored together
//! with what came meanwhile, and the pool's thread takes no core from those who still send it on. What somebody waits for is handed over at once.

use std::time::{Duration, Instant};

use crate::protocol::transaction::Transaction;

/// How long a transaction lingers at most. It is told as stored only after the disk has it, so that nobody is promised anything meanwhile.
const LINGER: Duration = Duration::from_millis(5);
/// So many bytes do not linger: each write has its price, which is little beside that of so much.
const ENOUGH: usize = 256 * 1024;

/// Transactions for the pool.
#[derive(Debug, Default)]
pub(crate) struct Storing {
    batch: Vec<Transaction>,
    bytes: usize,
    /// Since when the first of them lingers.
    since: Option<Instant>,
}

impl Storing {
    pub(crate) fn push(&mut self, transaction: Transaction) {
        self.bytes += transaction.body_bytes();
        self.batch.push(transaction);
    }

    /// When what lingers has to be taken.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.since.map(|since| since + LINGER)
    }

    /// Takes what is there, if it is time for it, or somebody waits for the disk. The clock is asked only if it matters.
    pub(crate) fn take(&mut self, awaited: bool, now: impl FnOnce() -> Instant) -> Option<Vec<Transaction>> {
        if self.batch.is_empty() {
            return None;
        }
        if !awaited && self.bytes < ENOUGH {
            let now = now();
            if now < *self.since.get_or_insert(now) + LINGER {
                return None;
            }
        }
        (self.bytes, self.since) = (0, None);
        // The next batch has about as many; a long burst is forgotten after it.
        let next = Vec::with_capacity(self.batch.len().min(1_024));
        Some(std::mem::replace(&mut self.batch, next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::json::Parser;

    fn transaction(length: usize) -> Transaction {
        let text = format!(r#"{{"text":"{}"}}"#, "x".repeat(length));
        Transaction::parse(&mut Parser::new(), &text).expect("a transaction")
    }

    #[test]
    fn what_nobody_waits_for_lingers_and_much_does_not() {
        let (mut storing, now) = (Storing::default(), Instant::now());
        assert!(storing.take(true, || now).is_none() && storing.deadline().is_none());
        storing.push(transaction(1));
        assert!(storing.take(false, || now).is_none());
        storing.push(transaction(1));
        assert!(storing.take(false, || now + LINGER / 2).is_none());
        assert_eq!(storing.deadline(), Some(now + LINGER), "of the first");
        assert_eq!(storing.take(false, || now + LINGER).map(|batch| batch.len()), Some(2));
        assert_eq!(storing.deadline(), None);
        storing.push(transaction(1));
        assert!(storing.take(true, || now).is_some(), "somebody waits");
        storing.push(transaction(200 * 1024));
        storing.push(transaction(200 * 1024));
        assert!(storing.take(false, || now).is_some() && storing.take(true, || now).is_none());
    }
}
