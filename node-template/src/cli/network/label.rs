//! The name of a node in a row or a picture.

use crate::protocol::wire::Member;

use crate::cli::terminal::strip_control;

/// Returns a node's address without scheme, or the beginning of its id if it has none.
pub(crate) fn label(member: &Member) -> String {
    let address = member.address.as_deref().map(plain);
    address.unwrap_or_else(|| short(&member.node))
}

pub(crate) fn short(id: &str) -> String {
    strip_control(id).chars().take(8).collect()
}

/// Returns an address without its scheme.
pub(crate) fn plain(address: &str) -> String {
    strip_control(address.trim_start_matches("ws://").trim_start_matches("wss://"))
}
