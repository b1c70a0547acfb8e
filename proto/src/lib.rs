//! The sans-IO core of a peer-to-peer node: inputs in, outputs out. It knows no socket, file,
//! clock, runtime or thread.

#![cfg_attr(not(test), deny(clippy::disallowed_methods))]

pub mod address;
pub mod counters;
pub mod event;
pub mod frame;
pub mod id;
pub mod json;
pub mod limits;
pub mod signature;
pub mod transaction;
pub mod util;
pub mod wire;

mod config;
mod connections;
mod context;
mod exercise;
mod gossip;
mod image_search;
mod internal_event;
mod io;
mod ip_prefix;
mod membership;
mod node;
mod peers;
mod presence;
mod status;
mod store;
mod sync;
mod timers;
mod violation;

#[cfg(test)]
mod testing;

pub use config::Config;
pub use io::{BroadcastReceipt, Direction, Input, Lane, Output, RequestId, SearchEnd, Submission};
pub use node::Node;
pub use peers::access;
pub use status::links::{LinkKind, LinkRow};
pub use wire::mdns_record;
