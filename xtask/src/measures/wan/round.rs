//! What a round of any case yields.

use std::time::Duration;

use crate::measures::wan::world::Joined;

/// What one round has measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Round {
    /// Of the cases with an invite.
    pub(crate) joined: Option<Joined>,
    /// The time without traffic, or until all is well; the case says which.
    pub(crate) gap: Option<Duration>,
    /// How many links by node id had a direct path at the end.
    pub(crate) direct: usize,
    /// How many were relayed.
    pub(crate) relayed: usize,
}
