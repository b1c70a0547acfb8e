//! Links to other nodes, from their opening to their end.
//!
//! | component | decides |
//! |---|---|
//! | `lifecycle` | what follows when a link opens and when it ends |
//! | `admission` | which links access rules and bans exclude, and the penalty of a violation |
//! | `handshake` | which node is at the other end, and whether its address is true |
//! | `duplicates` | which of two links to one node stays |
//! | `eviction` | which accepted link is closed when there are too many |
//! | `liveness` | when a silent link is dead |
//!
//! The node calls it with what happens on links. It uses the address book, the dialer, the scores
//! and the access rules of [`peers`](crate::peers). Which peers get a slot is decided one layer up,
//! by membership, which learns of peers by [internal events](crate::internal_event).

use std::collections::BTreeMap;

use crate::dial_reason::DialReason;
use crate::id::LinkId;
use table::{Link, LinkTable};

mod admission;
mod closed;
mod duplicates;
mod eviction;
mod handshake;
mod lifecycle;
mod liveness;
pub(crate) mod table;

pub(crate) use closed::Closed;

/// The open links.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    pub(crate) links: LinkTable,
    /// The reasons of links that were dialled for one.
    reasons: BTreeMap<LinkId, DialReason>,
}

impl Connections {
    /// Returns why the other end of a link was dialled.
    pub(crate) fn reason(&self, link: LinkId) -> Option<&DialReason> {
        self.reasons.get(&link)
    }

    /// Returns the links that were dialled for a reason, each with it.
    pub(crate) fn reasons(&self) -> impl Iterator<Item = (LinkId, &DialReason)> {
        self.reasons.iter().map(|(link, reason)| (*link, reason))
    }

    /// Returns whether the native peer at the other end of a link still waits for its address to be
    /// verified.
    pub(crate) fn is_unverified(&self, link: LinkId) -> bool {
        self.links.get(link).and_then(Link::native).is_some_and(|peer| peer.address.is_none())
    }
}
