//! Nodes in network namespaces, and frames that no WebSocket library would send.

pub(crate) mod frames;
pub(crate) mod netns;
pub(crate) mod node;
