//! What this node holds: the identities in the pool, which of them are on disk, and their sum.
//!
//! A transaction is *seen* if it is held here. It is held from the moment it is accepted; it is *stored* once the disk has it. The bodies of stored ones are
//! in the file alone; those of the few that wait for the disk are here, so that a link that catches up gets them too.

use std::collections::VecDeque;

use crate::store::position_map::PositionMap;
use crate::transaction::{IdMap, Transaction, TransactionId};
use crate::wire::Summary;

/// Marks the position of a transaction that waits for the disk and had that position before: it was lost. No pool has as many positions.
const AGAIN: u32 = 1 << 31;

/// The index of the pool.
///
/// Each transaction is looked up once: a position is given when it is accepted, since the disk takes in the same order. It is *stored* if its position is below
/// `end`. Only what another program puts into the file meanwhile comes in between, and shifts those that wait.
#[derive(Debug, Default)]
pub(crate) struct PoolIndex {
    positions: PositionMap,
    unstored: VecDeque<Unstored>,
    unstored_bytes: usize,
    /// The number, in the order of acceptance, of the oldest that waits for the disk.
    oldest_unstored: u64,
    /// Positions that the disk has.
    end: u64,
    /// How many of those that wait get a new position, one after another from `end` on.
    coming: u64,
    /// The positions of what was on disk and is not any more.
    lost: IdMap<u32>,
    /// Over what is on disk.
    stored_sum: SetDigest,
}

/// A transaction that waits for the disk.
#[derive(Debug)]
struct Unstored {
    transaction: Transaction,
    place: Place,
}

/// Which position a transaction that waits for the disk is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The next.
    Next,
    /// Its old one: it was lost.
    Again,
    /// It has one, since another program put it into the file.
    Found,
}

impl PoolIndex {
    /// The index of a pool as it was found on disk, in the order of its positions.
    pub(crate) fn of(pool: impl ExactSizeIterator<Item = TransactionId>) -> Self {
        let mut holdings = Self::default();
        holdings.positions.grow(pool.len());
        for id in pool {
            if !holdings.holds(&id) {
                holdings.place(id, None);
            }
        }
        holdings
    }

    /// Notes transactions that are on disk without our having ordered it; tells of each whether it is new here. One that waits for the disk here may be named first by
    /// somebody else: it has its position from then on, and waits all the same.
    pub(crate) fn found(&mut self, ids: impl IntoIterator<Item = TransactionId>) -> Vec<bool> {
        // Those that wait are shifted at the end; until then their positions mean nothing, but that they are not below this.
        let end = self.end;
        let mut find = |id: TransactionId| {
            let known = self.positions.get(&id);
            match known {
                Some(position) if u64::from(position) < end => return false,
                Some(_) => match self.unstored.iter_mut().find(|waiting| waiting.transaction.id() == id) {
                    Some(waiting) => {
                        self.coming -= u64::from(waiting.place == Place::Next);
                        waiting.place = Place::Found;
                    }
                    // Named twice.
                    None => return false,
                },
                None => {}
            }
            self.place(id, known.filter(|position| position & AGAIN != 0).map(|position| position & !AGAIN));
            known.is_none()
        };
        let new = ids.into_iter().map(&mut find).collect();
        self.shift();
        new
    }

    /// Gives an identity that the disk has a position: the one it had before, if it had one, else the next.
    fn place(&mut self, id: TransactionId, before: Option<u32>) {
        let place = before.or_else(|| self.lost.remove(&id)).unwrap_or_else(|| {
            self.end += 1;
            position(self.end - 1)
        });
        self.positions.set(id, place);
        self.stored_sum.add(&id);
    }

    /// Gives those that wait for a new position the ones from `end` on.
    fn shift(&mut self) {
        let waiting = self.unstored.iter().filter(|waiting| waiting.place == Place::Next);
        for (number, waiting) in (self.end..).zip(waiting) {
            self.positions.set(waiting.transaction.id(), position(number));
        }
    }

    /// Notes that transactions are gone from the disk: somebody removed them. They are unknown now, and may come again; then they take their old positions.
    /// Returns which of them are unknown now: one that waits for the disk again is not.
    pub(crate) fn lost(&mut self, ids: &[TransactionId]) -> Vec<TransactionId> {
        let mut gone = Vec::new();
        for id in ids {
            if let Some(position) = self.position(id) {
                self.positions.remove(id);
                self.lost.insert(*id, position as u32);
                self.stored_sum.subtract(id);
                gone.push(*id);
            }
        }
        gone
    }

    /// Holds a transaction that is new here, until the disk has it.
    pub(crate) fn accept(&mut self, transaction: Transaction) {
        // Mostly nothing is lost: then not even the map is asked.
        let before = if self.lost.is_empty() { None } else { self.lost.remove(&transaction.id()) };
        let (place, position) = match before {
            Some(position) => (Place::Again, position | AGAIN),
            None => {
                self.coming += 1;
                (Place::Next, position(self.end + self.coming - 1))
            }
        };
        self.positions.add(transaction.id(), position);
        self.unstored_bytes += transaction.body_bytes();
        self.unstored.push_back(Unstored { transaction, place });
    }

    /// Notes that the oldest transaction that waited for the disk is there now.
    pub(crate) fn stored(&mut self, id: TransactionId) {
        let Some(Unstored { transaction, place }) = self.unstored.pop_front() else {
            debug_assert!(false, "the pool stores what was ordered");
            return;
        };
        debug_assert_eq!(transaction.id(), id, "the pool stores in the order of the orders");
        self.oldest_unstored += 1;
        self.unstored_bytes -= transaction.body_bytes();
        match place {
            Place::Next => {
                self.end += 1;
                self.coming -= 1;
            }
            Place::Again => {
                if let Some(position) = self.positions.get(&id) {
                    self.positions.set(id, position & !AGAIN);
                }
            }
            Place::Found if self.holds(&id) => return,
            // It was in the file already, was lost, and is there again.
            Place::Found => {
                self.place(id, None);
                return self.shift();
            }
        }
        self.stored_sum.add(&id);
    }

    /// Whether a transaction is held, on disk or not.
    pub(crate) fn holds(&self, id: &TransactionId) -> bool {
        self.positions.contains(id)
    }

    /// The position of a transaction that is on disk.
    pub(crate) fn position(&self, id: &TransactionId) -> Option<u64> {
        // The mark is above every position.
        self.positions.get(id).map(u64::from).filter(|position| *position < self.end)
    }

    /// Whether a transaction is on disk.
    pub(crate) fn has_stored(&self, id: &TransactionId) -> bool {
        self.position(id).is_some()
    }

    /// How many different transactions are held.
    pub(crate) fn count(&self) -> u64 {
        self.positions.len() as u64
    }

    /// How many positions on disk there are: the position of the next one.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// What waits for the disk, oldest first, each with its number in the order of acceptance; from the number `from` on.
    pub(crate) fn unstored(&self, from: u64) -> impl Iterator<Item = (u64, &Transaction)> {
        let skipped = from.saturating_sub(self.oldest_unstored);
        let waiting = (self.oldest_unstored..).zip(self.unstored.iter().map(|waiting| &waiting.transaction));
        waiting.skip(usize::try_from(skipped).unwrap_or(usize::MAX))
    }

    /// How many bytes wait for the disk.
    pub(crate) fn unstored_bytes(&self) -> usize {
        self.unstored_bytes
    }

    /// What is on disk.
    pub(crate) fn stored_summary(&self) -> Summary {
        Summary { count: self.count() - self.unstored.len() as u64, sum: self.stored_sum.to_hex() }
    }
}

/// A number as a position: two billion identities would take 100 GB of memory.
fn position(number: u64) -> u32 {
    u32::try_from(number).map_or(AGAIN - 1, |number| number.min(AGAIN - 1))
}

/// A sum of identities as 256-bit numbers, modulo 2^256: the same for the same set in any order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SetDigest([u64; 4]);

impl SetDigest {
    pub(crate) fn add(&mut self, id: &TransactionId) {
        let mut carry = false;
        // The least significant eight bytes stand last.
        for (limb, bytes) in self.0.iter_mut().rev().zip(id.0.rchunks_exact(8)) {
            let more = u64::from_be_bytes(bytes.try_into().expect("a chunk of eight"));
            (*limb, carry) = limb.carrying_add(more, carry);
        }
    }

    pub(crate) fn subtract(&mut self, id: &TransactionId) {
        let mut borrow = false;
        for (limb, bytes) in self.0.iter_mut().rev().zip(id.0.rchunks_exact(8)) {
            let less = u64::from_be_bytes(bytes.try_into().expect("a chunk of eight"));
            (*limb, borrow) = limb.borrowing_sub(less, borrow);
        }
    }

    pub(crate) fn to_hex(self) -> String {
        self.0.iter().map(|limb| format!("{limb:016x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Parser;

    fn transaction(n: u32) -> Transaction {
        Transaction::parse(&mut Parser::new(), &format!(r#"{{"n":{n}}}"#)).expect("a transaction")
    }

    #[test]
    fn the_sum_carries_and_wraps() {
        let mut sum = SetDigest::default();
        sum.add(&TransactionId([255; 32]));
        let mut one = [0; 32];
        one[31] = 1;
        sum.add(&TransactionId(one));
        assert_eq!(sum, SetDigest::default());
        sum.add(&TransactionId([255; 32]));
        sum.add(&TransactionId([255; 32]));
        assert_eq!(sum.to_hex(), format!("{}e", "f".repeat(63)));
    }

    #[test]
    fn equal_sets_have_equal_summaries_in_any_order_of_storing() {
        let mut one = PoolIndex::of([1, 2].into_iter().map(|n| transaction(n).id()));
        let mut other = PoolIndex::default();
        for n in [2, 3, 1] {
            other.accept(transaction(n));
        }
        one.accept(transaction(3));
        assert_eq!((one.stored_summary().count, other.stored_summary().count), (2, 0));
        one.stored(transaction(3).id());
        for n in [2, 3, 1] {
            assert!(other.holds(&transaction(n).id()) && !other.has_stored(&transaction(n).id()));
            other.stored(transaction(n).id());
            assert!(other.has_stored(&transaction(n).id()));
        }
        assert_eq!(one.stored_summary(), other.stored_summary());
        assert_eq!((one.end(), other.end(), other.unstored_bytes()), (3, 3, 0));
    }

    #[test]
    fn what_is_lost_is_unknown_and_takes_its_old_position_when_it_comes_again() {
        let mut holdings = PoolIndex::of((0..3).map(|n| transaction(n).id()));
        let before = holdings.stored_summary();
        holdings.lost(&[transaction(1).id(), transaction(9).id()]);
        assert!(!holdings.holds(&transaction(1).id()) && holdings.stored_summary().count == 2);
        holdings.accept(transaction(1));
        assert!(!holdings.has_stored(&transaction(1).id()));
        assert_eq!(holdings.found([transaction(1).id()]), [false], "it waits for the disk already");
        assert!(holdings.has_stored(&transaction(1).id()));
        holdings.stored(transaction(1).id());
        assert_eq!((holdings.stored_summary(), holdings.end()), (before, 3));
    }

    #[test]
    fn what_another_program_puts_into_the_file_comes_before_what_waits() {
        let id = |n| transaction(n).id();
        let mut holdings = PoolIndex::of([0, 1].into_iter().map(id));
        holdings.lost(&[id(0)]);
        for n in [2, 3, 0, 4] {
            holdings.accept(transaction(n));
        }
        holdings.stored(id(2));
        assert_eq!([0, 1, 2, 3, 4].map(|n| holdings.position(&id(n))), [None, Some(1), Some(2), None, None]);
        // The first is new, the second waits, the third is named twice, the fourth is known; then one waits that was lost before.
        assert_eq!(holdings.found([id(5), id(3), id(5), id(1)]), [true, false, false, false]);
        assert_eq!(holdings.found([id(0)]), [false]);
        assert_eq!([3, 5, 0, 4].map(|n| holdings.position(&id(n))), [Some(4), Some(3), Some(0), None]);
        holdings.accept(transaction(6));
        // Gone before its turn came.
        assert_eq!(holdings.lost(&[id(3), id(4)]), [id(3)]);
        assert!(!holdings.holds(&id(3)));
        for n in [3, 0, 4, 6] {
            holdings.stored(id(n));
        }
        assert_eq!([3, 0, 4, 6].map(|n| holdings.position(&id(n))), [Some(4), Some(0), Some(5), Some(6)]);
        assert_eq!((holdings.end(), holdings.unstored_bytes(), holdings.coming), (7, 0, 0));
        assert_eq!(holdings.stored_summary(), PoolIndex::of((0..7).map(id)).stored_summary());
    }
}
