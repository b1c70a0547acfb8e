//! A part of a pool, as it is read.

use crate::protocol::transaction::Transaction;

/// A part of the pool.
#[derive(Debug, Clone)]
pub struct Chunk {
    /// In the order of their positions, without lost ones.
    pub transactions: Vec<Transaction>,
    /// The position after the last of them.
    pub next: u64,
    /// Whether this is the requested end, or the end of the pool.
    pub end: bool,
}
