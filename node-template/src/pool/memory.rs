//! The items of a topic without a file: in memory, in the order of their positions.
//!
//! It is read as a file is. Retention bounds it: what is forgotten is freed.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::pool::chunk::Chunk;
use crate::protocol::transaction::{IdMap, Transaction, TransactionId};

/// See the module. Clones share the items.
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    items: Arc<Mutex<Items>>,
    grown: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Items {
    /// By their positions. An old one may stay among many that are forgotten, which take nothing.
    rows: BTreeMap<u64, Transaction>,
    /// The position of the next row.
    end: u64,
    positions: IdMap<u64>,
}

impl Default for Memory {
    fn default() -> Self {
        Self { items: Arc::default(), grown: watch::Sender::new(0) }
    }
}

impl Memory {
    fn items(&self) -> MutexGuard<'_, Items> {
        // Each change is one call here, which does not panic half-way.
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an item, which was not there.
    pub(crate) fn store(&self, transaction: Transaction) {
        let end = {
            let mut items = self.items();
            let position = items.end;
            items.positions.insert(transaction.id(), position);
            items.rows.insert(position, transaction);
            items.end = position + 1;
            items.end
        };
        self.grown.send_replace(end);
    }

    pub(crate) fn forget(&self, ids: &[TransactionId]) {
        let mut items = self.items();
        for id in ids {
            let Some(position) = items.positions.remove(id) else { continue };
            items.rows.remove(&position);
        }
    }

    /// Returns the position of the first item that is kept, and of the next that comes.
    pub(crate) fn kept(&self) -> Range<u64> {
        let items = self.items();
        items.first()..items.end
    }

    /// As [`Pool::read`](crate::pool::Pool::read).
    pub(crate) fn read(&self, from: u64, until: Option<u64>, max_bytes: usize) -> Chunk {
        let items = self.items();
        let end = until.unwrap_or(u64::MAX).min(items.end);
        let (rows, next) = items.after(from, end, max_bytes);
        Chunk { transactions: rows.into_iter().map(|(_, row)| row).collect(), next, end: next >= end }
    }

    /// As [`Pool::read_these`](crate::pool::Pool::read_these).
    pub(crate) fn read_these(&self, positions: &[u64], max_bytes: usize) -> (Vec<Transaction>, usize) {
        let items = self.items();
        let (mut rows, mut bytes, mut done) = (Vec::new(), 0, 0);
        for position in positions {
            if let Some(row) = items.rows.get(position) {
                bytes += row.body_bytes();
                if bytes > max_bytes && !rows.is_empty() {
                    break;
                }
                rows.push(row.clone());
            }
            done += 1;
        }
        (rows, done)
    }

    /// Returns some items from a position on, with their positions, and the position after them.
    pub(crate) fn after(&self, from: u64, max_bytes: usize) -> (Vec<(u64, Transaction)>, u64) {
        let items = self.items();
        items.after(from, items.end, max_bytes)
    }

    /// Returns the items before position `before` (`None`: the newest) with their positions, the
    /// newest first: at most `max_rows` and about `max_bytes`, but at least one. Also returns the
    /// position before which the next page begins; `None` after the oldest.
    pub(crate) fn before(
        &self,
        before: Option<u64>,
        max_rows: usize,
        max_bytes: usize,
    ) -> (Vec<(u64, Transaction)>, Option<u64>) {
        let items = self.items();
        let (mut rows, mut bytes) = (Vec::new(), 0);
        for (position, row) in items.rows.range(..before.unwrap_or(u64::MAX)).rev() {
            bytes += row.body_bytes();
            if !rows.is_empty() && (bytes > max_bytes || rows.len() >= max_rows) {
                return (rows, Some(position + 1));
            }
            rows.push((*position, row.clone()));
        }
        (rows, None)
    }

    /// Returns an item and its position.
    pub(crate) fn find(&self, id: &TransactionId) -> Option<(u64, Transaction)> {
        let items = self.items();
        let position = items.positions.get(id)?;
        Some((*position, items.rows.get(position)?.clone()))
    }

    /// Returns the identities of the items from a position on.
    pub(crate) fn ids_from(&self, from: u64) -> Vec<TransactionId> {
        self.items().rows.range(from..).map(|(_, row)| row.id()).collect()
    }

    /// Returns a receiver that is told whenever there are more items.
    pub(crate) fn growth(&self) -> watch::Receiver<u64> {
        self.grown.subscribe()
    }
}

impl Items {
    /// Returns the position of the first row.
    fn first(&self) -> u64 {
        self.rows.first_key_value().map_or(self.end, |(position, _)| *position)
    }

    fn after(&self, from: u64, end: u64, max_bytes: usize) -> (Vec<(u64, Transaction)>, u64) {
        let (mut rows, mut bytes) = (Vec::new(), 0);
        for (position, row) in self.rows.range(from.min(end)..end) {
            bytes += row.body_bytes();
            if bytes > max_bytes && !rows.is_empty() {
                return (rows, *position);
            }
            rows.push((*position, row.clone()));
        }
        (rows, end.max(from).max(self.first()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::json::Parser;

    fn item(n: u64) -> Transaction {
        Transaction::parse(&mut Parser::new(), &format!(r#"{{"n":{n}}}"#)).expect("an item")
    }

    #[test]
    fn what_is_forgotten_behind_an_item_that_stays_takes_no_memory() {
        let memory = Memory::default();
        memory.store(item(0));
        for n in 1..5_000 {
            memory.store(item(n));
            memory.forget(&[item(n).id()]);
        }
        assert_eq!((memory.kept(), memory.items().rows.len()), (0..5_000, 1));
        let (rows, next) = memory.after(0, usize::MAX);
        assert_eq!((rows.len(), next), (1, 5_000));
    }

    #[test]
    fn items_are_read_by_position_until_they_are_forgotten() {
        let memory = Memory::default();
        let mut growth = memory.growth();
        (0..10).for_each(|n| memory.store(item(n)));
        assert!(growth.has_changed().expect("open") && *growth.borrow_and_update() == 10);
        memory.forget(&[item(0).id(), item(1).id(), item(5).id(), item(99).id()]);
        assert_eq!(memory.kept(), 2..10);
        let (rows, next) = memory.after(0, usize::MAX);
        assert_eq!(
            (rows.iter().map(|(position, _)| *position).collect::<Vec<_>>(), next),
            (vec![2, 3, 4, 6, 7, 8, 9], 10)
        );
        let Chunk { transactions, next, end } = memory.read(3, Some(7), usize::MAX);
        assert_eq!((transactions.len(), next, end), (3, 7, true));
        let (rows, next) = memory.after(4, 8);
        assert_eq!((rows.len(), next), (1, 6), "one at least, and no more than fit");
        let (rows, done) = memory.read_these(&[1, 2, 5, 9, 20], usize::MAX);
        assert_eq!((rows.iter().map(Transaction::id).collect::<Vec<_>>(), done), (vec![item(2).id(), item(9).id()], 5));
        let positions = |rows: &[(u64, Transaction)]| rows.iter().map(|(position, _)| *position).collect::<Vec<_>>();
        let (rows, next) = memory.before(None, 3, usize::MAX);
        assert_eq!((positions(&rows), next), (vec![9, 8, 7], Some(7)));
        let (rows, next) = memory.before(next, 3, usize::MAX);
        assert_eq!((positions(&rows), next), (vec![6, 4, 3], Some(3)));
        let (rows, next) = memory.before(next, 0, 0);
        assert_eq!((positions(&rows), next), (vec![2], None), "one at least");
        assert_eq!(memory.find(&item(4).id()).map(|(position, found)| (position, found.id())), Some((4, item(4).id())));
        assert!(memory.find(&item(5).id()).is_none());
        memory.store(item(0));
        assert_eq!(memory.after(10, usize::MAX).0.len(), 1, "it comes again, at a new position");
        memory.forget(&(0..10).map(|n| item(n).id()).collect::<Vec<_>>());
        assert_eq!((memory.kept(), memory.items().positions.len()), (11..11, 0));
    }
}
