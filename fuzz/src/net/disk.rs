//! `transactions.json`, as far as a core can observe it.

use std::collections::{HashMap, VecDeque};

use meshpool_proto::transaction::{Transaction, TransactionId};

/// The pool file and what waits to be written.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    /// Transactions are written at once, otherwise when the script says so.
    pub(crate) is_immediate: bool,
    pub(crate) waiting: VecDeque<Transaction>,
    pub(crate) present: HashMap<TransactionId, Transaction>,
    /// The ids by position. A transaction that is removed from the file keeps its position.
    order: Vec<TransactionId>,
    positions: HashMap<TransactionId, usize>,
}

impl Disk {
    pub(super) fn append(&mut self, transaction: Transaction) {
        let id = transaction.id();
        self.positions.entry(id).or_insert_with(|| {
            self.order.push(id);
            self.order.len() - 1
        });
        self.present.insert(id, transaction);
    }

    /// Writes up to so many of the waiting transactions. Returns their ids.
    pub(super) fn write(&mut self, most: usize) -> Vec<TransactionId> {
        let written: Vec<Transaction> = self.waiting.drain(..most.min(self.waiting.len())).collect();
        let ids = written.iter().map(Transaction::id).collect();
        written.into_iter().for_each(|transaction| self.append(transaction));
        ids
    }

    /// Whether a transaction is in the file, or waits to be written.
    pub(crate) fn has(&self, id: &TransactionId) -> bool {
        self.present.contains_key(id) || self.waiting.iter().any(|waiting| waiting.id() == *id)
    }

    /// Whether a transaction was ever written.
    pub(super) fn was_written(&self, id: &TransactionId) -> bool {
        self.positions.contains_key(id)
    }

    pub(super) fn len(&self) -> u64 {
        self.order.len() as u64
    }

    pub(super) fn at(&self, position: u64) -> Option<&Transaction> {
        self.present.get(self.order.get(position as usize)?)
    }
}
