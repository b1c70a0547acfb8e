//! The index of the pool: the identity of each transaction and the location of its row. No bodies.
//!
//! Invariants: an identity gets one position when it becomes known, and keeps it as long as the
//! process runs, even if its row is lost. Positions have no gaps. An entry takes 44 bytes, and at
//! most 11.5 in the hash table: pools are large, and a map of identities would double that.
//!
//! The table lags behind the lists: inserting into it costs more than the rest of an append, and
//! look-ups are rare. It is updated before a look-up, when the writer is idle, and when it lags by
//! a million.

use std::hash::BuildHasher;
use std::ops::Range;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::protocol::transaction::TransactionId;
use crate::protocol::util::chunked_vec::ChunkedVec;

/// The location of a row in the file. Three words of four bytes, so that an entry has no padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Location {
    offset_high: u32,
    offset_low: u32,
    /// In bytes of the file; 0 if the row is lost.
    length: u32,
}

impl Location {
    /// No row: another program removed it, and it could not be restored.
    pub(crate) const LOST: Self = Self { offset_high: 0, offset_low: 0, length: 0 };

    /// Rows are shorter than 4 GiB: the scanner has a far lower limit.
    pub(crate) fn new(offset: u64, length: usize) -> Self {
        debug_assert!(length > 0 && u32::try_from(length).is_ok(), "a row has between 2 bytes and 4 GiB");
        Self { offset_high: (offset >> 32) as u32, offset_low: offset as u32, length: length as u32 }
    }

    pub(crate) fn offset(self) -> u64 {
        u64::from(self.offset_high) << 32 | u64::from(self.offset_low)
    }

    pub(crate) fn length(self) -> usize {
        self.length as usize
    }

    pub(crate) fn range(self) -> Range<u64> {
        self.offset()..self.offset() + self.length() as u64
    }

    pub(crate) fn is_lost(self) -> bool {
        self.length == 0
    }
}

/// In place of the identity of a forgotten row. No object has this hash.
const FORGOTTEN: TransactionId = TransactionId([0; 32]);

/// How far the table may lag. Updating it then takes 50 ms, for which readers wait.
const MAX_LAG: usize = 1 << 20;

/// Identities and locations by position, and positions by identity.
#[derive(Debug)]
pub(crate) struct Index {
    ids: ChunkedVec<TransactionId>,
    locations: ChunkedVec<Location>,
    /// The low bits of the positions before `indexed`, by the hash of their identity.
    table: HashTable<u32>,
    indexed: usize,
    /// The positions before this one are forgotten, and their entries may be freed.
    first: usize,
    /// Whether a row was ever lost, whose identity may get a location at its old position.
    any_lost: bool,
    /// How many rows are lost and not back.
    missing: usize,
    /// Seeded: an attacker could search for identities that share a slot.
    hasher: RandomState,
}

impl Index {
    pub(crate) fn new() -> Self {
        Self {
            ids: ChunkedVec::default(),
            locations: ChunkedVec::default(),
            table: HashTable::new(),
            indexed: 0,
            first: 0,
            any_lost: false,
            missing: 0,
            hasher: RandomState::default(),
        }
    }

    /// Returns the number of positions, lost rows included.
    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    pub(crate) fn id(&self, position: usize) -> TransactionId {
        self.ids.at(position)
    }

    pub(crate) fn location(&self, position: usize) -> Location {
        if position < self.first { Location::LOST } else { self.locations.at(position) }
    }

    /// Returns the first position that is not forgotten.
    pub(crate) fn first(&self) -> usize {
        self.first
    }

    /// Returns no location for each position that is not forgotten.
    pub(crate) fn no_locations(&self) -> ChunkedVec<Location> {
        ChunkedVec::filled(Location::LOST, self.first..self.len())
    }

    /// Forgets an identity for good. Returns the location of its row, which stays in the file for
    /// now; `None` if it has none.
    pub(crate) fn forget(&mut self, id: &TransactionId) -> Option<Location> {
        let position = self.position(id)?;
        let hash = self.hash(id);
        if let Ok(slot) = self.table.find_entry(hash, |found| *found == low(position)) {
            slot.remove();
        }
        let location = self.locations.at(position);
        self.missing -= usize::from(location.is_lost());
        self.locations.set(position, Location::LOST);
        self.ids.set(position, FORGOTTEN);
        while self.first < self.len() && self.ids.at(self.first) == FORGOTTEN {
            self.first += 1;
        }
        // Also the last one stays, so that there is an end.
        self.first = self.first.min(self.len() - 1);
        self.ids.free_before(self.first);
        self.locations.free_before(self.first);
        (!location.is_lost()).then_some(location)
    }

    /// Notes that the row of an identity is lost. It keeps its position.
    pub(crate) fn lose(&mut self, id: &TransactionId) {
        if let Some(position) = self.position(id) {
            self.missing += usize::from(!self.location(position).is_lost());
            self.locations.set(position, Location::LOST);
            self.any_lost = true;
        }
    }

    /// Returns whether an identity is known and its row is not lost.
    pub(crate) fn is_live(&mut self, id: &TransactionId) -> bool {
        self.position(id).is_some_and(|position| !self.location(position).is_lost())
    }

    /// Returns whether a row was ever lost.
    pub(crate) fn any_lost(&self) -> bool {
        self.any_lost
    }

    /// Returns how many rows are lost and not back. Forgotten ones do not count.
    pub(crate) fn missing(&self) -> usize {
        self.missing
    }

    /// Adds an identity that has no position yet. Returns its position.
    pub(crate) fn append(&mut self, id: TransactionId, location: Location) -> usize {
        if self.len() - self.indexed >= MAX_LAG {
            self.update_table();
        }
        self.push(id, location);
        self.len() - 1
    }

    /// Adds the positions to the table that it lacks.
    pub(crate) fn update_table(&mut self) {
        let Self { ids, table, indexed, hasher, first, .. } = self;
        if table.capacity() < ids.len() - *first {
            // Rebuilt in the order of positions: the order of the old table would miss the CPU
            // cache for each.
            let kept = ids.len() - *first;
            (*table, *indexed) = (HashTable::with_capacity(kept + kept / 2), 0);
        }
        let hash = |low: &u32| hasher.hash_one(ids.at(whole(*first, *low)));
        let from = std::mem::replace(indexed, ids.len()).max(*first);
        for position in (from..ids.len()).filter(|position| ids.at(*position) != FORGOTTEN) {
            table.insert_unique(hash(&low(position)), low(position), hash);
        }
    }

    /// Sets the location of an identity's row, which gets a position if it has none. Returns the
    /// position.
    pub(crate) fn set_location(&mut self, id: TransactionId, location: Location) -> usize {
        let (position, is_new) = self.position_or_next(id);
        if is_new {
            self.push(id, location);
        } else {
            self.missing -= usize::from(self.locations.at(position).is_lost());
            self.locations.set(position, location);
        }
        position
    }

    /// Replaces all locations, after the file was replaced.
    pub(crate) fn set_locations(&mut self, locations: ChunkedVec<Location>) {
        debug_assert_eq!(locations.len(), self.len(), "one location for each position");
        let is_missing = |position: &usize| locations.at(*position).is_lost() && self.ids.at(*position) != FORGOTTEN;
        self.missing = (self.first..self.len()).filter(is_missing).count();
        self.any_lost |= self.missing > 0;
        self.locations = locations;
        self.locations.free_before(self.first);
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = TransactionId> {
        self.ids.iter()
    }

    pub(crate) fn position(&mut self, id: &TransactionId) -> Option<usize> {
        self.update_table();
        let found = self.table.find(self.hash(id), |low| self.ids.at(whole(self.first, *low)) == *id);
        found.map(|low| whole(self.first, *low))
    }

    /// Adds an identity unless it is known. Returns whether it was new.
    pub(crate) fn insert(&mut self, id: TransactionId, location: Location) -> bool {
        let (_, is_new) = self.position_or_next(id);
        if is_new {
            self.push(id, location);
        }
        is_new
    }

    /// Returns the position of an identity. A new one gets the next position, and the caller pushes
    /// it.
    fn position_or_next(&mut self, id: TransactionId) -> (usize, bool) {
        self.update_table();
        let Self { ids, table, indexed, hasher, first, .. } = self;
        let hash = |low: &u32| hasher.hash_one(ids.at(whole(*first, *low)));
        match table.entry(hasher.hash_one(id), |low| ids.at(whole(*first, *low)) == id, hash) {
            Entry::Occupied(slot) => (whole(*first, *slot.get()), false),
            Entry::Vacant(slot) => {
                slot.insert(low(ids.len()));
                *indexed += 1;
                (ids.len(), true)
            }
        }
    }

    fn push(&mut self, id: TransactionId, location: Location) {
        self.ids.push(id);
        self.locations.push(location);
    }

    fn hash(&self, id: &TransactionId) -> u64 {
        self.hasher.hash_one(id)
    }
}

/// Returns the low bits of a position. A topic counts beyond them in a long run; but of those that
/// are not forgotten, 4 billion would take a file of terabytes.
fn low(position: usize) -> u32 {
    position as u32
}

/// Returns the position with these low bits, if the first that is not forgotten is `first`.
fn whole(first: usize, low: u32) -> usize {
    first + low.wrapping_sub(first as u32) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: usize) -> TransactionId {
        let mut bytes = [7; 32];
        bytes[..8].copy_from_slice(&n.to_be_bytes());
        TransactionId(bytes)
    }

    #[test]
    fn positions_beyond_32_bits_are_found_by_their_low_bits() {
        let most = u32::MAX as usize;
        for (first, position) in
            [(0, 0), (0, most), (5, most + 5), (most, most), (most, most + 7), (most + 9, 2 * most)]
        {
            assert_eq!(whole(first, low(position)), position);
        }
    }

    #[test]
    fn what_is_forgotten_is_unknown_and_its_room_is_freed() {
        let mut index = Index::new();
        let location = |n: usize| Location::new(n as u64 * 10, 5);
        let count = 10_000;
        (0..count).for_each(|n| _ = index.append(id(n), location(n)));
        for n in (0..count - 5).filter(|n| n % 3 != 1) {
            assert_eq!(index.forget(&id(n)), Some(location(n)));
        }
        assert_eq!((index.first(), index.len(), index.forget(&id(0))), (1, count, None));
        (1..count - 5).step_by(3).for_each(|n| _ = index.forget(&id(n)));
        assert_eq!((index.first(), index.len()), (count - 5, count));
        assert!(index.location(0).is_lost() && index.position(&id(4)).is_none());
        assert_eq!(index.position(&id(count - 1)), Some(count - 1));
        assert_eq!(index.append(id(4), location(4)), count, "it comes again, at a new position");
        assert_eq!((index.position(&id(4)), index.is_live(&id(4))), (Some(count), true));
        // A table that is built again knows no more of it.
        (count..3 * count).for_each(|n| _ = index.append(id(n + 1), location(n)));
        assert_eq!((index.position(&id(3)), index.position(&id(2 * count))), (None, Some(2 * count)));
        index.set_locations(ChunkedVec::filled(location(1), index.first()..index.len()));
        assert!(index.location(5).is_lost());
        assert_eq!(index.missing(), 0, "what is forgotten is not missing");
        index.set_locations(index.no_locations());
        assert_eq!(index.missing(), index.len() - index.first());
        index.set_location(id(3 * count), location(1));
        assert_eq!(index.missing(), index.len() - index.first() - 1);
        (0..=3 * count).for_each(|n| _ = index.forget(&id(n)));
        assert_eq!((index.first(), index.len()), (3 * count, 3 * count + 1), "the end stays");
    }

    #[test]
    fn forgotten_positions_take_no_memory_and_no_reload_counts_them_again() {
        let mut index = Index::new();
        let location = Location::new(7, 5);
        for n in 0..200_000 {
            index.append(id(n), location);
            if n >= 100 {
                assert_eq!(index.forget(&id(n - 100)), Some(location));
            }
            if n % 10_000 == 0 {
                let mut read = index.no_locations();
                (index.first()..index.len()).for_each(|position| read.set(position, location));
                assert!(read.held() < 10_000, "{}", read.held());
                index.set_locations(read);
            }
            assert!(index.ids.held() < 10_000 && index.locations.held() < 10_000, "{n}");
        }
        assert_eq!((index.first(), index.len()), (199_900, 200_000));
        assert_eq!(index.forget(&id(199_995)), Some(location));
        let mut read = index.no_locations();
        (199_900..200_000).filter(|n| *n != 199_995).for_each(|position| read.set(position, location));
        index.set_locations(read);
        assert!(!index.any_lost(), "what is forgotten is not lost");
        // Of a lost row the identity stays, until it is forgotten too.
        let lost: Vec<usize> = (199_900..199_990).collect();
        lost.iter().for_each(|n| index.lose(&id(*n)));
        assert!(index.any_lost() && index.first() == 199_900 && index.missing() == lost.len());
        assert!(lost.iter().all(|n| index.forget(&id(*n)).is_none()));
        assert_eq!((index.first(), index.missing()), (199_990, 0));
    }
}
