//! How a node is called in a row or a picture.

use meshpool::protocol::wire::Member;

use crate::support::terminal::plain;

/// How a node is called in a row or a picture: by its address without scheme, else by the beginning of its id.
pub(crate) fn label(member: &Member) -> String {
    let address = member
        .address
        .as_deref()
        .map(|address| plain(address.trim_start_matches("ws://").trim_start_matches("wss://")));
    address.unwrap_or_else(|| short(&member.node))
}

pub(crate) fn short(id: &str) -> String {
    plain(id).chars().take(8).collect()
}
