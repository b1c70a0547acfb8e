//! Nodes in network namespaces, their pool files, and frames that no WebSocket library would send.

pub(crate) mod frames;
pub(crate) mod netns;
pub(crate) mod node;
pub(crate) mod pool_files;
