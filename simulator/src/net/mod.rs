//! The network between the actors, in virtual time.

pub mod address;
pub mod clock;
pub mod delivery_stats;
pub mod endpoint;
pub mod event;
pub mod frame_cache;
pub mod network;
mod node_ids;
pub mod trace_hash;
pub mod wire;
