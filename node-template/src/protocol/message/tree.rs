//! PRUNE and GRAFT: a neighbour's place in the trees of origins.

use super::list_frame;
use crate::protocol::frame::Frame;
use crate::protocol::transaction::Origin;

/// The PRUNE frame for at most [`ORIGINS`](crate::protocol::limits::ORIGINS) origins.
pub fn prune_frame(origins: &[Origin]) -> Frame {
    list_frame("PRUNE", origins)
}

/// The GRAFT frame for at most [`ORIGINS`](crate::protocol::limits::ORIGINS) origins.
pub fn graft_frame(origins: &[Origin]) -> Frame {
    list_frame("GRAFT", origins)
}
