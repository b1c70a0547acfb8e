//! The iroh transport: links by node id, through NATs.
//!
//! The engine (crate `iroh`) finds a path between two nodes: at first over a relay that both know,
//! then straight through their NATs where these allow it. It encrypts from end to end and proves
//! the key of either end, so the node id of such a link needs no further proof.
//!
//! ```text
//! link - WebSocket library - write buffer - read buffer - TLS or none - bounded stream - QUIC
//! ```
//!
//! What is above the byte stream is the same as over TCP: upgrade, frames, close codes, pings.
//!
//! | file | what it has |
//! |---|---|
//! | `endpoint` | the node's endpoint: dialling, accepting, its home relay |
//! | `connection` | the open connections: the other end's id, and the path in use |
//! | `congestion` | what a path may send at once |
//! | `identity` | what makes this node known to others |
//! | `known_relays` | the relays that are known, and which one is used |
//! | `lookup` | finds nodes by their id in a DHT, if the user wants it |
//! | `outage` | what is done while no relay is connected |
//! | `relay_ping`, `relay_url` | whether a relay answers, and its name for the engine |
//! | `relay_watch` | detects silent relays |
//! | `sent_watch` | detects an engine that sends nothing to any relay |
//! | `stream` | a QUIC stream as a byte stream |
//! | `address_discovery` | tells nodes behind NATs their public address, beside `crate::relay` |
//!
//! No server of others is ever contacted, unless the user wants the DHT: relays are those of the
//! user and of the mesh, and names are resolved by the system alone.

pub(crate) mod address_discovery;
mod congestion;
pub(crate) mod connection;
pub(crate) mod endpoint;
pub(crate) mod identity;
mod known_relays;
pub(crate) mod lookup;
mod outage;
mod relay_ping;
mod relay_url;
mod relay_watch;
mod sent_watch;
pub(crate) mod stream;
