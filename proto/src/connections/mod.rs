//! Links to other nodes: how they open, who is at the other end, which of two stays, how they end.
//!
//! A link opens (`lifecycle.rs`), is checked against the access rules and bans (`admission.rs`), both ends send their
//! HANDSHAKE (`handshake.rs`), a second link to the same node is resolved (`duplicates.rs`), and too many accepted ones
//! make one go (`eviction.rs`). Pings find links that are dead (`liveness.rs`). Which peers get a slot is decided by
//! membership, one layer up: it learns of peers by [internal events](crate::internal_event).

use std::collections::BTreeMap;

use crate::id::LinkId;
use crate::peers::dial_reason::DialReason;
use table::{Link, LinkTable};

mod admission;
mod duplicates;
mod eviction;
mod handshake;
mod lifecycle;
mod liveness;
pub(crate) mod table;

pub(crate) use lifecycle::Closed;

/// The open links and what is decided by them alone.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    pub(crate) links: LinkTable,
    /// Why the other end was dialled, of links that were dialled for something.
    reasons: BTreeMap<LinkId, DialReason>,
}

impl Connections {
    /// Returns why the other end of a link was dialled.
    pub(crate) fn reason(&self, link: LinkId) -> Option<&DialReason> {
        self.reasons.get(&link)
    }

    /// Returns the links that were dialled for something, and for what.
    pub(crate) fn reasons(&self) -> impl Iterator<Item = (LinkId, &DialReason)> {
        self.reasons.iter().map(|(link, reason)| (*link, reason))
    }

    /// Returns whether the native peer at the other end of a link still waits for its address to be verified.
    pub(crate) fn is_unverified(&self, link: LinkId) -> bool {
        self.links.get(link).and_then(Link::native).is_some_and(|peer| peer.address.is_none())
    }
}
