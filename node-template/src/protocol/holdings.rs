//! What this node holds: the identities in the pool, which of them are on disk, and their sum.
//!
//! A transaction is *seen* if it is held here. It is held from the moment it is accepted; it is *stored* once the disk has it. The bodies of stored ones are
//! in the file alone; those of the few that wait for the disk are here, so that a link that catches up gets them too.

use std::collections::VecDeque;

use super::message::Summary;
use super::transaction::{IdMap, Transaction, TransactionId};

/// Marks an identity that is accepted and not on disk yet. No pool has as many positions.
const UNSTORED: u32 = u32::MAX;

/// The index of the pool.
///
/// The map's order reaches no output, so its random keys disturb nothing, and they keep a stranger from choosing identities that collide.
#[derive(Debug, Default)]
pub(super) struct Holdings {
    positions: IdMap<u32>,
    unstored: VecDeque<Transaction>,
    unstored_bytes: usize,
    /// The number, in the order of acceptance, of the oldest that waits for the disk.
    oldest_unstored: u64,
    /// Positions given out so far.
    end: u64,
    /// The positions of what was on disk and is not any more.
    lost: IdMap<u32>,
    /// Over what is on disk.
    stored_sum: Sum,
}

impl Holdings {
    /// The index of a pool as it was found on disk, in the order of its positions.
    pub(super) fn of(pool: impl ExactSizeIterator<Item = TransactionId>) -> Self {
        let mut holdings = Self::default();
        holdings.positions.reserve(pool.len());
        for id in pool {
            holdings.found(id);
        }
        holdings
    }

    /// Notes a transaction that is on disk without our having ordered it; `true` if it is new here. One that waits for the disk here may be named first by
    /// somebody else: it has its position from then on, and waits all the same.
    pub(super) fn found(&mut self, id: TransactionId) -> bool {
        let known = self.positions.contains_key(&id);
        self.place(id);
        !known
    }

    /// Notes that transactions are gone from the disk: somebody removed them. They are unknown now, and may come again; then they take their old positions.
    /// Returns which of them are unknown now: one that waits for the disk again is not.
    pub(super) fn lost(&mut self, ids: &[TransactionId]) -> Vec<TransactionId> {
        let mut gone = Vec::new();
        for id in ids {
            if let Some(position) = self.positions.get(id).copied().filter(|position| *position != UNSTORED) {
                self.positions.remove(id);
                self.lost.insert(*id, position);
                self.stored_sum.subtract(id);
                gone.push(*id);
            }
        }
        gone
    }

    /// Holds a transaction that is new here, until the disk has it.
    pub(super) fn accept(&mut self, transaction: Transaction) {
        let previous = self.positions.insert(transaction.id(), UNSTORED);
        debug_assert!(previous.is_none(), "only what is not held is accepted");
        self.unstored_bytes += transaction.body_bytes();
        self.unstored.push_back(transaction);
    }

    /// Notes that the oldest transaction that waited for the disk is there now.
    pub(super) fn stored(&mut self, id: TransactionId) {
        let transaction = self.unstored.pop_front();
        self.oldest_unstored += 1;
        debug_assert_eq!(
            transaction.as_ref().map(Transaction::id),
            Some(id),
            "the pool stores in the order of the orders"
        );
        self.unstored_bytes -= transaction.map_or(0, |transaction| transaction.body_bytes());
        self.place(id);
    }

    /// Gives an identity that has no position its position: the next, or the one it had before it was lost. The pool's file counts in the same way.
    fn place(&mut self, id: TransactionId) {
        let position = self.positions.entry(id).or_insert(UNSTORED);
        if *position != UNSTORED {
            return;
        }
        // Mostly nothing is lost: then not even the map is asked.
        let before = if self.lost.is_empty() { None } else { self.lost.remove(&id) };
        *position = before.unwrap_or_else(|| {
            self.end += 1;
            u32::try_from(self.end - 1).unwrap_or(UNSTORED - 1).min(UNSTORED - 1)
        });
        self.stored_sum.add(&id);
    }

    /// Whether a transaction is held, on disk or not.
    pub(super) fn holds(&self, id: &TransactionId) -> bool {
        self.positions.contains_key(id)
    }

    /// The position of a transaction that is on disk.
    pub(super) fn position(&self, id: &TransactionId) -> Option<u64> {
        self.positions.get(id).filter(|position| **position != UNSTORED).map(|position| u64::from(*position))
    }

    /// Whether a transaction is on disk.
    pub(super) fn has_stored(&self, id: &TransactionId) -> bool {
        self.positions.get(id).is_some_and(|position| *position != UNSTORED)
    }

    /// How many different transactions are held.
    pub(super) fn count(&self) -> u64 {
        self.positions.len() as u64
    }

    /// How many positions on disk there are: the position of the next one.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// What waits for the disk, oldest first, each with its number in the order of acceptance; from the number `from` on.
    pub(super) fn unstored(&self, from: u64) -> impl Iterator<Item = (u64, &Transaction)> {
        let skipped = from.saturating_sub(self.oldest_unstored);
        let waiting = (self.oldest_unstored..).zip(&self.unstored);
        waiting.skip(usize::try_from(skipped).unwrap_or(usize::MAX))
    }

    /// How many bytes wait for the disk.
    pub(super) fn unstored_bytes(&self) -> usize {
        self.unstored_bytes
    }

    /// What is on disk.
    pub(super) fn stored_summary(&self) -> Summary {
        Summary { count: self.count() - self.unstored.len() as u64, sum: self.stored_sum.to_hex() }
    }
}

/// A sum of identities as 256-bit numbers, modulo 2^256: the same for the same set in any order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sum([u64; 4]);

impl Sum {
    pub(super) fn add(&mut self, id: &TransactionId) {
        let mut carry = false;
        // The least significant eight bytes stand last.
        for (limb, bytes) in self.0.iter_mut().rev().zip(id.0.rchunks_exact(8)) {
            let more = u64::from_be_bytes(bytes.try_into().expect("a chunk of eight"));
            (*limb, carry) = limb.carrying_add(more, carry);
        }
    }

    pub(super) fn subtract(&mut self, id: &TransactionId) {
        let mut borrow = false;
        for (limb, bytes) in self.0.iter_mut().rev().zip(id.0.rchunks_exact(8)) {
            let less = u64::from_be_bytes(bytes.try_into().expect("a chunk of eight"));
            (*limb, borrow) = limb.borrowing_sub(less, borrow);
        }
    }

    pub(super) fn to_hex(self) -> String {
        self.0.iter().map(|limb| format!("{limb:016x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::json::Parser;
    use super::*;

    fn transaction(n: u32) -> Transaction {
        Transaction::parse(&mut Parser::new(), &format!(r#"{{"n":{n}}}"#)).expect("a transaction")
    }

    #[test]
    fn the_sum_carries_and_wraps() {
        let mut sum = Sum::default();
        sum.add(&TransactionId([255; 32]));
        let mut one = [0; 32];
        one[31] = 1;
        sum.add(&TransactionId(one));
        assert_eq!(sum, Sum::default());
        sum.add(&TransactionId([255; 32]));
        sum.add(&TransactionId([255; 32]));
        assert_eq!(sum.to_hex(), format!("{}e", "f".repeat(63)));
    }

    #[test]
    fn equal_sets_have_equal_summaries_in_any_order_of_storing() {
        let mut one = Holdings::of([1, 2].into_iter().map(|n| transaction(n).id()));
        let mut other = Holdings::default();
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
        let mut holdings = Holdings::of((0..3).map(|n| transaction(n).id()));
        let before = holdings.stored_summary();
        holdings.lost(&[transaction(1).id(), transaction(9).id()]);
        assert!(!holdings.holds(&transaction(1).id()) && holdings.stored_summary().count == 2);
        holdings.accept(transaction(1));
        assert!(!holdings.found(transaction(1).id()), "it waits for the disk already");
        assert!(holdings.has_stored(&transaction(1).id()));
        holdings.stored(transaction(1).id());
        assert_eq!((holdings.stored_summary(), holdings.end()), (before, 3));
    }
}
