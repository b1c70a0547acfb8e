//! How transactions and broadcasts spread.

pub(crate) mod broadcasts;
pub(crate) mod plumtree;
pub(crate) mod transactions;
