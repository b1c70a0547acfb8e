//! A node's folder: its key, its known peers, its peer cache, its access lists.

pub(crate) mod edit;
pub(crate) mod files;
pub(crate) mod known_peers;
pub(crate) mod node_key;
pub(crate) mod peer_cache;
pub(crate) mod replace;
