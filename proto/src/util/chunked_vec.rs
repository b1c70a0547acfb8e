//! A list that grows without moving: a vector would hold up to twice what it needs, and both halves
//! while it grows. Its first values can be freed, and the others keep their indices.

use std::ops::Range;

/// See the module.
#[derive(Debug)]
pub struct ChunkedVec<T> {
    /// How many chunks were freed before these.
    freed: usize,
    chunks: Vec<Vec<T>>,
}

const CHUNK: usize = 4_096;

impl<T> Default for ChunkedVec<T> {
    fn default() -> Self {
        Self { freed: 0, chunks: Vec::new() }
    }
}

impl<T: Copy> ChunkedVec<T> {
    /// A list of equal values at these indices. What is before counts as freed.
    pub fn filled(value: T, indices: Range<usize>) -> Self {
        let mut list = Self { freed: indices.start / CHUNK, chunks: Vec::new() };
        for _ in list.len()..indices.end {
            list.push(value);
        }
        list
    }

    /// Returns the number of values, freed ones included.
    pub fn len(&self) -> usize {
        self.freed * CHUNK + self.held()
    }

    /// Returns the number of values in memory.
    pub fn held(&self) -> usize {
        self.chunks.last().map_or(0, |last| (self.chunks.len() - 1) * CHUNK + last.len())
    }

    /// Returns whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends a value.
    pub fn push(&mut self, value: T) {
        match self.chunks.last_mut() {
            Some(last) if last.len() < CHUNK => last.push(value),
            None => self.chunks.push(vec![value]),
            Some(_) => {
                // Only the first grows: short lists are many in a simulator.
                let mut chunk = Vec::with_capacity(CHUNK);
                chunk.push(value);
                self.chunks.push(chunk);
            }
        }
    }

    /// Returns the value at an index below [`len`](Self::len) that was not freed.
    pub fn at(&self, index: usize) -> T {
        self.chunks[index / CHUNK - self.freed][index % CHUNK]
    }

    /// Replaces the value at an index below [`len`](Self::len) that was not freed.
    pub fn set(&mut self, index: usize, value: T) {
        self.chunks[index / CHUNK - self.freed][index % CHUNK] = value;
    }

    /// Frees the chunks before an index. Their values can no longer be asked for.
    pub fn free_before(&mut self, index: usize) {
        let whole = (index.min(self.len()) / CHUNK).saturating_sub(self.freed);
        self.chunks.drain(..whole);
        self.freed += whole;
    }

    /// Iterates over the values in memory in their order.
    pub fn iter(&self) -> impl Iterator<Item = T> {
        self.chunks.iter().flatten().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_freed_leaves_the_others_where_they_are() {
        let mut list = ChunkedVec::default();
        (0..3 * CHUNK).for_each(|n| list.push(n));
        list.free_before(2 * CHUNK - 1);
        assert_eq!((list.len(), list.at(CHUNK), list.at(3 * CHUNK - 1)), (3 * CHUNK, CHUNK, 3 * CHUNK - 1));
        assert_eq!((list.held(), list.chunks.len()), (2 * CHUNK, 2), "also the chunk itself is gone");
        list.push(7);
        list.set(CHUNK, 9);
        assert_eq!((list.at(3 * CHUNK), list.at(CHUNK)), (7, 9));
        list.free_before(CHUNK);
        list.free_before(4 * CHUNK);
        assert_eq!((list.held(), list.len(), list.is_empty()), (1, 3 * CHUNK + 1, false), "the last one stays");
    }

    #[test]
    fn a_list_is_filled_from_an_index_on() {
        let list = ChunkedVec::filled(9, 1_000_000 * CHUNK + 5..1_000_001 * CHUNK + 1);
        assert_eq!((list.held(), list.len()), (CHUNK + 1, 1_000_001 * CHUNK + 1));
        assert_eq!(list.at(1_000_000 * CHUNK + 5), 9);
    }

    #[test]
    fn it_is_a_list_over_the_bounds_of_its_chunks() {
        let mut list = ChunkedVec::default();
        assert!(list.is_empty() && list.iter().count() == 0);
        for n in 0..2 * CHUNK + 1 {
            list.push(n);
            assert_eq!(list.len(), n + 1);
        }
        assert!(!list.is_empty() && list.iter().eq(0..2 * CHUNK + 1));
        for n in [0, CHUNK - 1, CHUNK, 2 * CHUNK] {
            assert_eq!(list.at(n), n);
            list.set(n, n + 7);
            assert_eq!(list.at(n), n + 7);
        }
        assert_eq!(list.chunks.iter().map(Vec::len).collect::<Vec<_>>(), [CHUNK, CHUNK, 1]);
        assert_eq!(list.chunks[2].capacity(), CHUNK, "it is not moved when it grows");
        let short = ChunkedVec::filled(9, 0..3);
        assert!(short.iter().eq([9, 9, 9]) && short.chunks[0].capacity() < CHUNK, "many lists are short");
        assert_eq!(ChunkedVec::filled(0, 0..0).chunks.len(), 0);
    }
}
