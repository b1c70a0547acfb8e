//! `transactions.json`, as far as a core can tell.

use std::collections::{HashMap, VecDeque};

use meshpool_proto::transaction::{Transaction, TransactionId};

/// `transactions.json`.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    /// Written when they come, or when the script says.
    pub(crate) prompt: bool,
    pub(crate) waiting: VecDeque<Transaction>,
    pub(crate) present: HashMap<TransactionId, Transaction>,
    /// Positions, kept by those that were lost.
    pub(super) order: Vec<TransactionId>,
    pub(super) places: HashMap<TransactionId, usize>,
}

impl Disk {
    pub(crate) fn put(&mut self, transaction: Transaction) {
        let id = transaction.id();
        self.places.entry(id).or_insert_with(|| {
            self.order.push(id);
            self.order.len() - 1
        });
        self.present.insert(id, transaction);
    }

    /// Whether it is there, or on its way.
    pub(crate) fn has(&self, id: &TransactionId) -> bool {
        self.present.contains_key(id) || self.waiting.iter().any(|waiting| waiting.id() == *id)
    }

    pub(super) fn at(&self, position: usize) -> Option<&Transaction> {
        self.present.get(self.order.get(position)?)
    }
}
