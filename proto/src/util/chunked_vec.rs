//! A list that grows without moving: a vector would hold up to twice what it needs, and both halves
//! while it grows.

/// See the module.
#[derive(Debug)]
pub struct ChunkedVec<T> {
    chunks: Vec<Vec<T>>,
}

const CHUNK: usize = 4_096;

impl<T> Default for ChunkedVec<T> {
    fn default() -> Self {
        Self { chunks: Vec::new() }
    }
}

impl<T: Copy> ChunkedVec<T> {
    /// A list of `length` equal values.
    pub fn filled(value: T, length: usize) -> Self {
        let mut list = Self::default();
        for _ in 0..length {
            list.push(value);
        }
        list
    }

    /// Returns the number of values.
    pub fn len(&self) -> usize {
        self.chunks.last().map_or(0, |last| (self.chunks.len() - 1) * CHUNK + last.len())
    }

    /// Returns whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
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

    /// Returns the value at an index below [`len`](Self::len).
    pub fn at(&self, index: usize) -> T {
        self.chunks[index / CHUNK][index % CHUNK]
    }

    /// Replaces the value at an index below [`len`](Self::len).
    pub fn set(&mut self, index: usize, value: T) {
        self.chunks[index / CHUNK][index % CHUNK] = value;
    }

    /// Iterates over the values in their order.
    pub fn iter(&self) -> impl Iterator<Item = T> {
        self.chunks.iter().flatten().copied()
    }
}
