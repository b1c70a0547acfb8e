//! The index of the pool: which transactions are held, and at which position each is on disk.
//!
//! A transaction is *held* from the moment it is accepted; it is *stored* once the disk has it. The
//! bodies of stored ones are in the pool's file only. Those that wait for the disk are here, so
//! that a replay sends them too.

use std::collections::VecDeque;

use crate::store::position_map::{POSITION_BITS, PositionMap};
use crate::store::set_digest::SetDigest;
use crate::transaction::{IdMap, Transaction, TransactionId};
use crate::wire::Summary;

/// Marks the position of a transaction that waits for the disk and had that position before it was
/// removed from the file. No position is so great: with a million new transactions a second, a run
/// would reach it after four years.
const FORMER: u64 = 1 << (POSITION_BITS - 1);

/// See the module.
///
/// Each transaction is looked up once: it gets its position when it is accepted, since the disk
/// stores in the same order. It is *stored* if its position is below `end`. Only a transaction that
/// another program puts into the file meanwhile comes in between, and shifts those that wait.
#[derive(Debug, Default)]
pub(crate) struct PoolIndex {
    positions: PositionMap,
    /// The oldest first.
    unstored: VecDeque<Unstored>,
    unstored_bytes: usize,
    /// The number of the oldest unstored transaction, in the order of acceptance.
    oldest_unstored: u64,
    /// The number of positions on disk.
    end: u64,
    /// How many unstored transactions get a new position, one after another from `end` on.
    coming: u64,
    /// The positions of transactions that were removed from the file.
    removed: IdMap<u64>,
    /// Over all stored transactions.
    digest: SetDigest,
}

/// A transaction that waits for the disk.
#[derive(Debug)]
struct Unstored {
    transaction: Transaction,
    position: Assigned,
}

/// Which position an unstored transaction gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Assigned {
    /// The next one.
    Next,
    /// The one that it had before it was removed from the file.
    Former,
    /// It has one: another program put it into the file.
    Found,
}

impl PoolIndex {
    /// Indexes a pool as it was found on disk, in the order of its positions.
    pub(crate) fn of(pool: impl ExactSizeIterator<Item = TransactionId>) -> Self {
        let mut index = Self::default();
        index.positions.grow(pool.len());
        for id in pool {
            if !index.holds(&id) {
                index.place(id, None);
            }
        }
        index
    }

    /// Adds transactions that another program put into the file, and returns of each whether it is
    /// new here. One of them may wait for the disk here: it has its position from then on, and
    /// waits all the same.
    pub(crate) fn add_found(&mut self, ids: impl IntoIterator<Item = TransactionId>) -> Vec<bool> {
        // Unstored ones are shifted at the end. Until then their positions only say that they are
        // not below this.
        let end = self.end;
        let mut find = |id: TransactionId| {
            let known = self.positions.get(&id);
            match known {
                Some(position) if position < end => return false,
                Some(_) => match self.unstored.iter_mut().find(|waiting| waiting.transaction.id() == id) {
                    Some(waiting) => {
                        self.coming -= u64::from(waiting.position == Assigned::Next);
                        waiting.position = Assigned::Found;
                    }
                    // Named twice.
                    None => return false,
                },
                None => {}
            }
            self.place(id, known.filter(|position| position & FORMER != 0).map(|position| position & !FORMER));
            known.is_none()
        };
        let new = ids.into_iter().map(&mut find).collect();
        self.shift();
        new
    }

    /// Gives an identity on disk the position that it had before, if it had one, otherwise the
    /// next.
    fn place(&mut self, id: TransactionId, before: Option<u64>) {
        let position = before.or_else(|| self.removed.remove(&id)).unwrap_or_else(|| {
            self.end += 1;
            position(self.end - 1)
        });
        self.positions.set(id, position);
        self.digest.add(&id);
    }

    /// Gives those that wait for a new position the ones from `end` on.
    fn shift(&mut self) {
        let waiting = self.unstored.iter().filter(|waiting| waiting.position == Assigned::Next);
        for (number, waiting) in (self.end..).zip(waiting) {
            self.positions.set(waiting.transaction.id(), position(number));
        }
    }

    /// Forgets transactions that somebody removed from the file. They may come again, and take
    /// their old positions. Returns those that are unknown now: one that waits for the disk again
    /// is not.
    pub(crate) fn remove(&mut self, ids: &[TransactionId]) -> Vec<TransactionId> {
        let mut gone = Vec::new();
        for id in ids {
            if let Some(position) = self.position(id) {
                self.positions.remove(id);
                self.removed.insert(*id, position);
                self.digest.subtract(id);
                gone.push(*id);
            }
        }
        gone
    }

    /// Forgets stored transactions for good: this node removes them itself. If one comes again, it
    /// is new. Returns those that were stored.
    pub(crate) fn forget(&mut self, ids: impl IntoIterator<Item = TransactionId>) -> Vec<TransactionId> {
        let mut gone = Vec::new();
        for id in ids {
            if self.is_stored(&id) {
                self.positions.remove(&id);
                self.digest.subtract(&id);
                gone.push(id);
            }
        }
        gone
    }

    /// Inserts a transaction that is new here, and holds its body until the disk has it.
    pub(crate) fn insert(&mut self, transaction: Transaction) {
        // Mostly nothing was removed: then the map is not even looked into.
        let before = if self.removed.is_empty() { None } else { self.removed.remove(&transaction.id()) };
        let (assigned, position) = match before {
            Some(position) => (Assigned::Former, position | FORMER),
            None => {
                self.coming += 1;
                (Assigned::Next, position(self.end + self.coming - 1))
            }
        };
        self.positions.add(transaction.id(), position);
        self.unstored_bytes += transaction.body_bytes();
        self.unstored.push_back(Unstored { transaction, position: assigned });
    }

    /// Notes that the disk has the oldest unstored transaction.
    pub(crate) fn mark_stored(&mut self, id: TransactionId) {
        let Some(Unstored { transaction, position }) = self.unstored.pop_front() else {
            debug_assert!(false, "the pool stores what was ordered");
            return;
        };
        debug_assert_eq!(transaction.id(), id, "the pool stores in the order of the orders");
        self.oldest_unstored += 1;
        self.unstored_bytes -= transaction.body_bytes();
        match position {
            Assigned::Next => {
                self.end += 1;
                self.coming -= 1;
            }
            Assigned::Former => {
                if let Some(position) = self.positions.get(&id) {
                    self.positions.set(id, position & !FORMER);
                }
            }
            Assigned::Found if self.holds(&id) => return,
            // It was in the file already, was removed, and is there again.
            Assigned::Found => {
                self.place(id, None);
                return self.shift();
            }
        }
        self.digest.add(&id);
    }

    /// Returns whether a transaction is held, on disk or not.
    pub(crate) fn holds(&self, id: &TransactionId) -> bool {
        self.positions.contains(id)
    }

    /// Returns the position of a stored transaction.
    pub(crate) fn position(&self, id: &TransactionId) -> Option<u64> {
        // The mark is above every position.
        self.positions.get(id).filter(|position| *position < self.end)
    }

    /// Returns whether a transaction is on disk.
    pub(crate) fn is_stored(&self, id: &TransactionId) -> bool {
        self.position(id).is_some()
    }

    /// Returns the number of transactions held, on disk or not.
    pub(crate) fn count(&self) -> u64 {
        self.positions.len() as u64
    }

    /// Returns the number of positions on disk: the position of the next transaction.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Returns the position of the next transaction that is accepted.
    pub(crate) fn coming_end(&self) -> u64 {
        self.end + self.coming
    }

    /// Iterates over unstored transactions with their numbers in the order of acceptance, from the
    /// number `from` on.
    pub(crate) fn unstored(&self, from: u64) -> impl Iterator<Item = (u64, &Transaction)> {
        let skipped = from.saturating_sub(self.oldest_unstored);
        let waiting = (self.oldest_unstored..).zip(self.unstored.iter().map(|unstored| &unstored.transaction));
        waiting.skip(usize::try_from(skipped).unwrap_or(usize::MAX))
    }

    /// Returns a transaction that waits for the disk, and which of those that wait it is.
    pub(crate) fn waiting(&self, id: &TransactionId) -> Option<(usize, &Transaction)> {
        let at = self.positions.get(id).filter(|position| *position >= self.end)?;
        // Only such before it that get no new position shift it.
        let least = if at & FORMER == 0 { (at - self.end) as usize } else { 0 };
        let waiting = self.unstored.iter().enumerate().skip(least);
        waiting.map(|(number, waiting)| (number, &waiting.transaction)).find(|(_, waiting)| waiting.id() == *id)
    }

    /// Returns how many bytes of transactions wait for the disk.
    pub(crate) fn unstored_bytes(&self) -> usize {
        self.unstored_bytes
    }

    /// Returns the count and the digest of all stored transactions.
    pub(crate) fn summary(&self) -> Summary {
        Summary { count: self.count() - self.unstored.len() as u64, sum: self.digest.to_hex() }
    }
}

/// Converts a number to a position.
fn position(number: u64) -> u64 {
    number.min(FORMER - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Parser;

    fn transaction(n: u32) -> Transaction {
        Transaction::parse(&mut Parser::new(), &format!(r#"{{"n":{n}}}"#)).expect("a transaction")
    }

    #[test]
    fn equal_sets_have_equal_summaries_in_any_order_of_storing() {
        let mut one = PoolIndex::of([1, 2].into_iter().map(|n| transaction(n).id()));
        let mut other = PoolIndex::default();
        for n in [2, 3, 1] {
            other.insert(transaction(n));
        }
        one.insert(transaction(3));
        assert_eq!((one.summary().count, other.summary().count), (2, 0));
        one.mark_stored(transaction(3).id());
        for n in [2, 3, 1] {
            assert!(other.holds(&transaction(n).id()) && !other.is_stored(&transaction(n).id()));
            other.mark_stored(transaction(n).id());
            assert!(other.is_stored(&transaction(n).id()));
        }
        assert_eq!(one.summary(), other.summary());
        assert_eq!((one.end(), other.end(), other.unstored_bytes()), (3, 3, 0));
    }

    #[test]
    fn what_is_removed_is_unknown_and_takes_its_old_position_when_it_comes_again() {
        let mut index = PoolIndex::of((0..3).map(|n| transaction(n).id()));
        let before = index.summary();
        index.remove(&[transaction(1).id(), transaction(9).id()]);
        assert!(!index.holds(&transaction(1).id()) && index.summary().count == 2);
        index.insert(transaction(1));
        assert!(!index.is_stored(&transaction(1).id()));
        assert_eq!(index.add_found([transaction(1).id()]), [false], "it waits for the disk already");
        assert!(index.is_stored(&transaction(1).id()));
        index.mark_stored(transaction(1).id());
        assert_eq!((index.summary(), index.end()), (before, 3));
    }

    #[test]
    fn what_is_forgotten_is_new_when_it_comes_again_and_what_waits_is_not_forgotten() {
        let id = |n| transaction(n).id();
        let mut index = PoolIndex::of((0..3).map(id));
        index.insert(transaction(3));
        assert_eq!(index.forget([id(0), id(2), id(3), id(9)]), [id(0), id(2)]);
        assert_eq!([0, 1, 2, 3].map(|n| index.holds(&id(n))), [false, true, false, true]);
        index.insert(transaction(0));
        index.mark_stored(id(3));
        index.mark_stored(id(0));
        assert_eq!([0, 1, 3].map(|n| index.position(&id(n))), [Some(4), Some(1), Some(3)]);
        assert_eq!((index.end(), index.count()), (5, 3));
        assert_eq!(index.summary(), PoolIndex::of([0, 1, 3].into_iter().map(id)).summary());
    }

    #[test]
    fn a_run_goes_on_beyond_positions_of_32_bits() {
        let id = |n| transaction(n).id();
        let mut index = PoolIndex { end: (1 << 32) - 1, ..PoolIndex::default() };
        (0..4).for_each(|n| index.insert(transaction(n)));
        index.mark_stored(id(0));
        index.mark_stored(id(1));
        let positions = |index: &PoolIndex| [0, 1, 2, 3].map(|n| index.position(&id(n)));
        assert_eq!(positions(&index), [Some((1 << 32) - 1), Some(1 << 32), None, None]);
        index.remove(&[id(1)]);
        index.insert(transaction(1));
        index.mark_stored(id(2));
        index.mark_stored(id(3));
        index.mark_stored(id(1));
        assert_eq!(positions(&index)[1..], [Some(1 << 32), Some((1 << 32) + 1), Some((1 << 32) + 2)]);
        assert_eq!(index.end(), (1 << 32) + 3);
    }

    #[test]
    fn what_another_program_puts_into_the_file_comes_before_what_waits() {
        let id = |n| transaction(n).id();
        let mut index = PoolIndex::of([0, 1].into_iter().map(id));
        index.remove(&[id(0)]);
        for n in [2, 3, 0, 4] {
            index.insert(transaction(n));
        }
        index.mark_stored(id(2));
        assert_eq!([0, 1, 2, 3, 4].map(|n| index.position(&id(n))), [None, Some(1), Some(2), None, None]);
        // The first is new, the second waits, the third is named twice, the fourth is known; then
        // one waits that was removed before.
        assert_eq!(index.add_found([id(5), id(3), id(5), id(1)]), [true, false, false, false]);
        assert_eq!(index.add_found([id(0)]), [false]);
        assert_eq!([3, 5, 0, 4].map(|n| index.position(&id(n))), [Some(4), Some(3), Some(0), None]);
        index.insert(transaction(6));
        // Gone before its turn came.
        assert_eq!(index.remove(&[id(3), id(4)]), [id(3)]);
        assert!(!index.holds(&id(3)));
        for n in [3, 0, 4, 6] {
            index.mark_stored(id(n));
        }
        assert_eq!([3, 0, 4, 6].map(|n| index.position(&id(n))), [Some(4), Some(0), Some(5), Some(6)]);
        assert_eq!((index.end(), index.unstored_bytes(), index.coming), (7, 0, 0));
        assert_eq!(index.summary(), PoolIndex::of((0..7).map(id)).summary());
    }

    #[test]
    fn what_waits_is_found_by_its_id() {
        let id = |n| transaction(n).id();
        let mut index = PoolIndex::of([0, 1].into_iter().map(id));
        index.remove(&[id(0)]);
        for n in [2, 0, 3, 4] {
            index.insert(transaction(n));
        }
        let waiting = |index: &PoolIndex, n| index.waiting(&id(n)).map(|(number, waiting)| (number, waiting.id()));
        assert_eq!(
            [2, 0, 3, 4].map(|n| waiting(&index, n)),
            [2, 0, 3, 4].map({
                let mut number = 0..;
                move |n| Some((number.next()?, id(n)))
            })
        );
        assert_eq!([1, 9].map(|n| waiting(&index, n)), [None, None], "on disk, and unknown");
        index.mark_stored(id(2));
        index.add_found([id(3)]);
        assert_eq!([2, 0, 3].map(|n| waiting(&index, n)), [None, Some((0, id(0))), None]);
        assert_eq!(waiting(&index, 4), Some((2, id(4))));
    }

    #[test]
    fn no_position_has_the_mark_of_a_former_one() {
        assert_eq!([0, 7, FORMER - 1, FORMER, u64::MAX].map(position), [0, 7, FORMER - 1, FORMER - 1, FORMER - 1]);
    }

    #[test]
    fn what_waits_is_numbered_and_has_positions_to_come() {
        let id = |n| transaction(n).id();
        let mut index = PoolIndex::of([0, 1].into_iter().map(id));
        assert_eq!((index.end(), index.coming_end()), (2, 2));
        (2..5).for_each(|n| index.insert(transaction(n)));
        assert_eq!((index.end(), index.coming_end(), index.unstored_bytes()), (2, 5, 3 * 7));
        index.mark_stored(id(2));
        assert_eq!((index.end(), index.coming_end(), index.unstored_bytes()), (3, 5, 2 * 7));
        let waiting = |from| index.unstored(from).map(|(number, waiting)| (number, waiting.id())).collect::<Vec<_>>();
        assert_eq!(waiting(0), [(1, id(3)), (2, id(4))]);
        assert_eq!(waiting(2), [(2, id(4))]);
        assert!(waiting(3).is_empty() && index.summary().count == 3);
    }
}
