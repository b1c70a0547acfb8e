//! Anti-entropy by set reconciliation.

pub(crate) mod broadcast_sync;
pub(crate) mod negentropy;
pub(crate) mod pool_sync;
