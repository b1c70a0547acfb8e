//! Whom to be linked to.

pub(crate) mod bootstrap;
pub(crate) mod partitions;
pub(crate) mod rewiring;
pub(crate) mod shuffle;
pub(crate) mod slot_search;
pub(crate) mod slots;
