//! The pool in memory: for each transaction its identity and where its row stands in the file. No bodies.
//!
//! Invariants: an identity has one position, given when it first became known to this process, and keeps it for as long as the process lives,
//! also when its row is lost. Positions have no gaps. An entry takes 44 bytes and at most 11.5 in the table that finds it: pools are large, and a
//! map of identities would double that.
//!
//! The table is behind the lists: to put an identity into it costs more than all else that is done for its row here, and hardly anybody looks for one. So it catches
//! up when somebody does, when there is nothing else to do, and when it is a million behind.

use std::hash::BuildHasher;
use std::ops::Range;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::protocol::transaction::TransactionId;
use crate::protocol::util::chunked_vec::ChunkedVec;

/// Where a row stands in the file. Three words of four bytes, so that an entry has no padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    offset_high: u32,
    offset_low: u32,
    /// In bytes, as laid out in the file; 0 if the row is lost.
    length: u32,
}

impl Place {
    /// No row: another program removed it, and it could not be put back.
    pub(crate) const LOST: Self = Self { offset_high: 0, offset_low: 0, length: 0 };

    /// A row at an offset. Rows are shorter than 4 GiB: the scanner refuses far shorter ones.
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

    /// Where it begins and ends.
    pub(crate) fn range(self) -> Range<u64> {
        self.offset()..self.offset() + self.length() as u64
    }

    pub(crate) fn is_lost(self) -> bool {
        self.length == 0
    }
}

/// How far the table may fall behind: to catch up takes a twentieth of a second then, for which readers wait.
const BEHIND: usize = 1 << 20;

/// Identities and places, by position; and the position of an identity.
#[derive(Debug)]
pub(crate) struct Index {
    ids: ChunkedVec<TransactionId>,
    places: ChunkedVec<Place>,
    /// The positions before `settled`, found by the hash of their identity.
    table: HashTable<u32>,
    settled: usize,
    /// Whether a row was ever lost, so that its identity may get a place at its old position.
    any_lost: bool,
    /// Seeded: identities are hashes, but a stranger can grind them until they share a slot.
    hasher: RandomState,
}

impl Index {
    pub(crate) fn new() -> Self {
        Self {
            ids: ChunkedVec::default(),
            places: ChunkedVec::default(),
            table: HashTable::new(),
            settled: 0,
            any_lost: false,
            hasher: RandomState::default(),
        }
    }

    /// How many positions there are, those of lost rows included.
    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    pub(crate) fn id(&self, position: usize) -> TransactionId {
        self.ids.at(position)
    }

    pub(crate) fn place(&self, position: usize) -> Place {
        self.places.at(position)
    }

    /// Whether an identity is known and its row is not lost.
    pub(crate) fn is_live(&mut self, id: &TransactionId) -> bool {
        self.position(id).is_some_and(|position| !self.place(position).is_lost())
    }

    /// Whether a row was ever lost.
    pub(crate) fn any_lost(&self) -> bool {
        self.any_lost
    }

    /// Notes where the row of an identity stands that has no position yet; tells the position that it gets.
    pub(crate) fn append(&mut self, id: TransactionId, place: Place) -> usize {
        if self.len() - self.settled >= BEHIND {
            self.settle();
        }
        self.push(id, place);
        self.len() - 1
    }

    /// Has the table catch up with the lists.
    pub(crate) fn settle(&mut self) {
        let Self { ids, table, settled, hasher, .. } = self;
        if table.capacity() < ids.len() {
            // Anew, in the order of the identities: in the table's own each would be looked up where no cache has it.
            (*table, *settled) = (HashTable::with_capacity(ids.len() + ids.len() / 2), 0);
        }
        let hash = |position: &u32| hasher.hash_one(ids.at(*position as usize));
        for position in std::mem::replace(settled, ids.len())..ids.len() {
            table.insert_unique(hash(&as_u32(position)), as_u32(position), hash);
        }
    }

    /// Notes where an identity's row stands, and gives it a position if it has none; tells the position.
    pub(crate) fn place_at(&mut self, id: TransactionId, place: Place) -> usize {
        let (position, is_new) = self.position_or_next(id);
        if is_new {
            self.push(id, place);
        } else {
            self.places.set(position, place);
        }
        position
    }

    /// Exchanges all places, after the file was replaced.
    pub(crate) fn set_places(&mut self, places: ChunkedVec<Place>) {
        debug_assert_eq!(places.len(), self.len(), "one place for each position");
        self.any_lost |= places.iter().any(Place::is_lost);
        self.places = places;
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = TransactionId> {
        self.ids.iter()
    }

    pub(crate) fn position(&mut self, id: &TransactionId) -> Option<usize> {
        self.settle();
        let found = self.table.find(self.hash(id), |position| self.ids.at(*position as usize) == *id);
        found.map(|position| *position as usize)
    }

    /// Gives a new identity the next position; one that is known keeps its own. Tells whether it was new.
    pub(crate) fn insert(&mut self, id: TransactionId, place: Place) -> bool {
        let (_, is_new) = self.position_or_next(id);
        if is_new {
            self.push(id, place);
        }
        is_new
    }

    /// The position of an identity. A new one gets the next, and the caller pushes it.
    fn position_or_next(&mut self, id: TransactionId) -> (usize, bool) {
        self.settle();
        let Self { ids, table, settled, hasher, .. } = self;
        let hash = |position: &u32| hasher.hash_one(ids.at(*position as usize));
        match table.entry(hasher.hash_one(id), |position| ids.at(*position as usize) == id, hash) {
            Entry::Occupied(slot) => (*slot.get() as usize, false),
            Entry::Vacant(slot) => {
                slot.insert(as_u32(ids.len()));
                *settled += 1;
                (ids.len(), true)
            }
        }
    }

    fn push(&mut self, id: TransactionId, place: Place) {
        self.ids.push(id);
        self.places.push(place);
    }

    fn hash(&self, id: &TransactionId) -> u64 {
        self.hasher.hash_one(id)
    }
}

fn as_u32(position: usize) -> u32 {
    u32::try_from(position).expect("4 billion rows would take a file of terabytes")
}
