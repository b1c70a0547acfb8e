//! The sans-IO core of meshpool: a peer-to-peer mesh that replicates a pool of JSON transactions.
//!
//! The core knows no socket, file, clock, runtime or thread. Time comes in with every call and
//! randomness from a seed, and no order of a hash map reaches an output. Equal inputs therefore
//! give equal outputs, so that a simulator can run many nodes in virtual time.
//!
//! # Driving a node
//!
//! A runtime owns a [`Node`] and drives it with three calls:
//!
//! 1. [`Node::handle`] takes one [`Input`]: a message, an opened link, a finished dial, or a
//!    timeout.
//! 2. [`Node::poll_output`] returns the next [`Output`]: a dial, a frame to send, a row to store.
//!    It is called until it returns `None`.
//! 3. [`Node::poll_timeout`] returns when [`Input::Timeout`] is due. It may change with every
//!    input.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Instant;
//!
//! use meshpool_proto::address::PeerAddress;
//! use meshpool_proto::id::{NodeId, Session};
//! use meshpool_proto::signature::Unsigned;
//! use meshpool_proto::{Config, Input, Node, Output};
//!
//! let peer = PeerAddress::new("localhost", 3001)?;
//! let config = Config {
//!     node: NodeId([1; 32]),
//!     session: Session::from_random([1; 16]),
//!     agent: "example".to_owned(),
//!     network: "example".to_owned(),
//!     address: PeerAddress::new("localhost", 3000)?,
//!     known_peers: vec![peer.clone()],
//!     wan: false,
//!     relays: false,
//!     remembered_peers: Vec::new(),
//!     remembered_exercise: Vec::new(),
//!     max_peers: None,
//!     genesis: None,
//!     since: 0,
//!     limits: Default::default(),
//!     signer: Arc::new(Unsigned),
//!     seed: 7,
//! };
//! let mut node = Node::new(Instant::now(), config, Vec::new());
//!
//! // The first dial is due at once.
//! let due = node.poll_timeout().expect("a timer is set");
//! node.handle(due, Input::Timeout);
//! let mut dialled = Vec::new();
//! while let Some(output) = node.poll_output() {
//!     if let Output::Dial { address, .. } = output {
//!         dialled.push(address);
//!     }
//! }
//! assert_eq!(dialled, [peer]);
//! # Ok::<(), meshpool_proto::address::InvalidAddress>(())
//! ```
//!
//! # Layers
//!
//! A file uses files of lower layers and of its own folder only. Calls go down; events go up
//! through one queue, which the node drains after each input.
//!
//! | layer | modules | content |
//! |---|---|---|
//! | 8 | `node` | the components, and the routers of inputs, events, messages and timers |
//! | 7 | `gossip` | flooding, Plumtree trees, broadcasts, acknowledgements |
//! | 7 | `sync` | anti-entropy: set reconciliation of pools and broadcasts |
//! | 7 | `topics` | topics beside the default one: a store, gossip and sync for each |
//! | 7 | `exercise` | the special treatment of exercise peers |
//! | 6 | `store` | the pool index, the sync set, replay |
//! | 6 | `membership` | the full mesh, or the active view of HyParView |
//! | 6 | `presence`, `image_search` | which nodes are in the network; FIND and FOUND |
//! | 6 | `status` | read-only views for STATUS, NETWORK and applications |
//! | 5 | `connections` | links: handshake, duplicates, eviction, liveness |
//! | 4 | `peers` | the address book, dials, scores and bans, access rules |
//! | 3 | `context`, `internal_event`, `io`, [`trace`], `event`, `dial_reason`, `timers` | what all borrow |
//! | 3 | `message_rules` | who may send what, how often, and what happens above that |
//! | 2 | [`wire`], [`transaction`], [`signature`], [`frame`], [`json`] | messages, values with rules |
//! | 2 | [`causes`] | why something failed or was refused |
//! | 1 | [`access`], [`id`], [`topic_name`], [`address`], [`limits`], [`counters`], `violation`, [`util`] | values |
//!
//! Every quantity that a stranger can drive has a named bound, most of them in [`limits`].

#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

pub mod access;
pub mod address;
pub mod causes;
pub mod counters;
pub mod event;
pub mod frame;
pub mod id;
pub mod json;
pub mod limits;
pub mod signature;
pub mod trace;
pub mod transaction;
pub mod util;
pub mod wire;

mod config;
mod connections;
mod context;
mod dial_reason;
mod exercise;
mod gossip;
mod image_search;
mod internal_event;
mod io;
mod ip_prefix;
mod membership;
mod message_rules;
mod node;
mod peers;
mod presence;
mod status;
mod store;
mod sync;
mod timers;
pub mod topic_name;
mod topics;
mod violation;

#[cfg(test)]
mod testing;

pub use config::Config;
pub use io::{
    BroadcastReceipt, Challenge, Direction, HeldItem, Input, Lane, Output, RequestId, Retention, SearchEnd, Submission,
    TopicInput, TopicOutput, TopicSettings, TopicStatus,
};
pub use ip_prefix::{InvalidRange, IpPrefix, SourceGroup};
pub use node::Node;
pub use peers::dial_allowance;
pub use status::links::{LinkKind, LinkRow};
pub use status::location::Location;
pub use violation::{Violation, ViolationKind};
pub use wire::mdns_record;
