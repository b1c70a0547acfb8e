//! A node's folder: its key, its known peers, its peer cache, its access lists.

pub mod edit;
pub mod files;
pub mod known_peers;
pub mod node_key;
pub(crate) mod peer_cache;
pub mod replace;
