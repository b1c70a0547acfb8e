//! A map from identities to positions, laid out for millions.
//!
//! The entries lie in a list, in the order in which they came. Look-ups go through a table of their
//! numbers: five bytes per entry, so that it is in the CPU cache where a table of identities would
//! not be.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::transaction::TransactionId;
use crate::util::chunked_vec::ChunkedVec;

/// How many bits a position has.
pub(crate) const POSITION_BITS: u32 = 48;

/// A position in six bytes: an entry has 38.
#[derive(Debug, Clone, Copy)]
struct Packed([u8; 6]);

impl Packed {
    fn of(position: u64) -> Self {
        debug_assert!(position >> POSITION_BITS == 0, "it has at most 48 bits");
        let [a, b, c, d, e, f, ..] = position.to_le_bytes();
        Self([a, b, c, d, e, f])
    }

    fn position(self) -> u64 {
        let Self([a, b, c, d, e, f]) = self;
        u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct PositionMap {
    entries: ChunkedVec<(TransactionId, Packed)>,
    /// Numbers of entries, by the hash of their identity.
    table: HashTable<u32>,
    /// Numbers of entries that are free.
    unused: Vec<u32>,
    /// Seeded: a stranger can grind identities until they share a bucket.
    hasher: RandomState,
}

impl PositionMap {
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    pub(crate) fn contains(&self, id: &TransactionId) -> bool {
        self.find(id).is_some()
    }

    pub(crate) fn get(&self, id: &TransactionId) -> Option<u64> {
        self.find(id).map(|entry| self.entries.at(entry as usize).1.position())
    }

    /// Sets the position of an identity, and returns whether it had none.
    pub(crate) fn set(&mut self, id: TransactionId, position: u64) -> bool {
        let found = self.find(&id);
        match found {
            Some(entry) => self.entries.set(entry as usize, (id, Packed::of(position))),
            None => self.add(id, position),
        }
        found.is_none()
    }

    /// Adds an identity that the caller knows to be new.
    pub(crate) fn add(&mut self, id: TransactionId, position: u64) {
        debug_assert!(!self.contains(&id), "it is new");
        if self.table.len() == self.table.capacity() {
            self.grow((self.table.len() + 1) * 2);
        }
        let row = (id, Packed::of(position));
        let entry = match self.unused.pop() {
            Some(entry) => {
                self.entries.set(entry as usize, row);
                entry
            }
            None => {
                self.entries.push(row);
                as_u32(self.entries.len() - 1)
            }
        };
        let Self { entries, table, hasher, .. } = self;
        table.insert_unique(hasher.hash_one(id), entry, |entry| hasher.hash_one(entries.at(*entry as usize).0));
    }

    pub(crate) fn remove(&mut self, id: &TransactionId) {
        let Self { entries, table, unused, hasher } = self;
        if let Ok(found) = table.find_entry(hasher.hash_one(id), |entry| entries.at(*entry as usize).0 == *id) {
            unused.push(found.remove().0);
        }
    }

    /// Makes room for a number of entries. The table is rebuilt in the order of the list: in the
    /// table's own order, each look-up of an identity would miss the CPU cache.
    pub(crate) fn grow(&mut self, room: usize) {
        if room <= self.table.capacity() {
            return;
        }
        let mut used = vec![true; self.entries.len()];
        self.unused.iter().for_each(|entry| used[*entry as usize] = false);
        let mut table = HashTable::with_capacity(room);
        let hash = |entry: &u32| self.hasher.hash_one(self.entries.at(*entry as usize).0);
        for ((number, (id, _)), _) in self.entries.iter().enumerate().zip(used).filter(|(_, used)| *used) {
            table.insert_unique(self.hasher.hash_one(id), as_u32(number), hash);
        }
        self.table = table;
    }

    fn find(&self, id: &TransactionId) -> Option<u32> {
        self.table.find(self.hasher.hash_one(id), |entry| self.entries.at(*entry as usize).0 == *id).copied()
    }
}

fn as_u32(number: usize) -> u32 {
    u32::try_from(number).expect("4 billion identities take more memory than there is")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn it_is_a_map() {
        let (mut positions, mut map) = (PositionMap::default(), BTreeMap::new());
        let id = |n: u32| {
            let mut id = [0; 32];
            // Some share what tables look at.
            id[..8].copy_from_slice(&u64::from(n / 2).to_ne_bytes());
            id[31] = (n % 2) as u8;
            TransactionId(id)
        };
        for turn in 0..30_000_u32 {
            // A walk over the numbers that meets each several times.
            let n = turn.wrapping_mul(2_654_435_761) >> 18;
            let position = u64::from(turn) << 33;
            match turn % 3 {
                0 | 1 => assert_eq!(positions.set(id(n), position), map.insert(n, position).is_none()),
                _ => {
                    positions.remove(&id(n / 2));
                    map.remove(&(n / 2));
                }
            }
            assert_eq!((positions.get(&id(n)), positions.len()), (map.get(&n).copied(), map.len()));
        }
        assert!(map.len() > 5_000 && map.iter().all(|(n, position)| positions.get(&id(*n)) == Some(*position)));
        assert_eq!(positions.entries.len(), positions.len() + positions.unused.len());
    }

    #[test]
    fn a_position_has_48_bits_and_an_entry_38_bytes() {
        let (id, most) = (TransactionId([1; 32]), (1 << POSITION_BITS) - 1);
        let mut positions = PositionMap::default();
        for position in [0, 1 << 31, 1 << 32, 1 << 47, most] {
            positions.set(id, position);
            assert_eq!(positions.get(&id), Some(position));
        }
        assert_eq!(size_of::<(TransactionId, Packed)>(), 38);
    }

    #[test]
    fn an_entry_that_was_removed_is_used_again() {
        let id = |n: u8| TransactionId([n; 32]);
        let mut positions = PositionMap::default();
        assert!(positions.set(id(1), 10) && positions.set(id(2), 20) && !positions.set(id(2), 21));
        assert!(positions.contains(&id(1)) && !positions.contains(&id(3)));
        positions.remove(&id(1));
        positions.remove(&id(1));
        assert_eq!((positions.len(), positions.contains(&id(1)), positions.unused.len()), (1, false, 1));
        positions.add(id(3), 30);
        assert_eq!((positions.entries.len(), positions.unused.len()), (2, 0));
        assert_eq!([1, 2, 3].map(|n| positions.get(&id(n))), [None, Some(21), Some(30)]);
    }

    #[test]
    fn room_is_made_for_what_is_there_and_asked_for() {
        let mut positions = PositionMap::default();
        positions.grow(1_000);
        let capacity = positions.table.capacity();
        assert!((1_000..4_000).contains(&capacity), "{capacity}");
        positions.set(TransactionId([1; 32]), 1);
        positions.set(TransactionId([2; 32]), 2);
        positions.remove(&TransactionId([1; 32]));
        positions.grow(capacity);
        assert_eq!(positions.table.capacity(), capacity, "it is enough");
        positions.grow(capacity + 1);
        assert!(positions.table.capacity() > capacity);
        assert_eq!((positions.len(), positions.get(&TransactionId([2; 32]))), (1, Some(2)));
        assert_eq!(positions.get(&TransactionId([1; 32])), None, "what was removed does not come back");
    }

    #[test]
    fn a_full_table_doubles() {
        let mut positions = PositionMap::default();
        let mut capacities = vec![0];
        for n in 0..1_000_u32 {
            let mut id = [0; 32];
            id[..4].copy_from_slice(&n.to_ne_bytes());
            positions.add(TransactionId(id), n.into());
            if positions.table.capacity() != capacities[capacities.len() - 1] {
                capacities.push(positions.table.capacity());
            }
        }
        assert!(capacities.len() <= 11 && positions.table.capacity() < 4_000, "{capacities:?}");
    }
}
