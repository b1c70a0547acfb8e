//! PRUNE and GRAFT: a neighbour's place in the trees of origins.

use crate::frame::Frame;
use crate::transaction::Origin;
use crate::wire::list_frame;

/// The PRUNE frame for at most [`ORIGINS`](crate::limits::ORIGINS) origins.
pub fn prune_frame(origins: &[Origin]) -> Frame {
    list_frame("PRUNE", origins)
}

/// The GRAFT frame for at most [`ORIGINS`](crate::limits::ORIGINS) origins.
pub fn graft_frame(origins: &[Origin]) -> Frame {
    list_frame("GRAFT", origins)
}
