//! Read-only views of the components, for STATUS, NETWORK and applications.
//!
//! `peers.rs` makes the rows of the address book, `links.rs` those of the open links, `network.rs`
//! the list of nodes. Nothing in the core depends on them.

use crate::address::Scope;
use crate::connections::table::LinkTable;
use crate::id::LinkId;
use crate::violation::{Violation, ViolationKind};

pub(crate) mod links;
pub(crate) mod network;
pub(crate) mod peers;

/// Refuses a question that did not come from this host: the answer names addresses and costs more
/// than the question.
pub(crate) fn check_local(links: &LinkTable, link: LinkId, kind: &str) -> Result<(), Violation> {
    match links.scope_of(link) {
        Scope::Loopback => Ok(()),
        _ => {
            let text = format!("{kind}: only clients on this host are answered");
            Err(Violation::new(ViolationKind::Unsolicited, text))
        }
    }
}

#[cfg(test)]
mod tests;
