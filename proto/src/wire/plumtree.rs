//! PRUNE and GRAFT: make a link lazy or eager for some origins (Plumtree).

use crate::frame::Frame;
use crate::transaction::Origin;
use crate::wire::codec::list_frame;

/// Returns the PRUNE frame for at most [`ORIGINS`](crate::limits::ORIGINS) origins.
pub fn prune_frame(origins: &[Origin]) -> Frame {
    list_frame("PRUNE", origins)
}

/// Returns the GRAFT frame for at most [`ORIGINS`](crate::limits::ORIGINS) origins.
pub fn graft_frame(origins: &[Origin]) -> Frame {
    list_frame("GRAFT", origins)
}
