//! How transactions and broadcasts spread.

mod ack_waiters;
pub(crate) mod broadcasts;
pub(crate) mod plumtree;
pub(crate) mod transactions;
mod trees;
