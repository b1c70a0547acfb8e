//! The relay that a node with a public address serves on its own port: it passes packets between
//! nodes that have no other path. The packets are encrypted from end to end, so a relay sees who
//! talks to whom and how much, and nothing of what is said.
//!
//! A client asks for the subprotocol `iroh-relay-v2` and proves its key. The library has no bound
//! on clients; the bounds here keep a relay from being a burden to its node or an open proxy: the
//! access rules of the node, a number of clients in all and of each address group, and a rate.
//!
//! It is a subprotocol of the node's port. `transport/iroh` has the other half: address discovery
//! on the UDP port of the same number, and how this node uses the relays of others.

mod service;
mod socket;

pub(crate) use service::RelayService;
#[cfg(feature = "web")]
pub(crate) use service::described;
