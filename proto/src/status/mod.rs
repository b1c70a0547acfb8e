//! Read-only views of the components, for STATUS, NETWORK and applications.
//!
//! `peers.rs` makes the rows of the address book, `links.rs` those of the open links, `network.rs`
//! the list of nodes, and `location.rs` says where one is reached. Nothing in the core depends on
//! them.

pub(crate) mod links;
pub(crate) mod location;
pub(crate) mod network;
pub(crate) mod peers;

#[cfg(test)]
mod tests;
