//! Links to other nodes: the handshake, duplicates, eviction, and how links end.

pub(crate) mod duplicates;
pub(crate) mod eviction;
pub(crate) mod handshake;
pub(crate) mod lifecycle;
pub(crate) mod table;
