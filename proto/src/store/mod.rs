//! What this node holds.

pub(crate) mod pool_index;
pub(crate) mod position_map;
pub(crate) mod replay;
pub(crate) mod sorted_blocks;
pub(crate) mod sync_set;
