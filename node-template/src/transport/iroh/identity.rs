//! What makes a node known to others.

use meshpool_proto::id::NodeId;

/// What makes a node known to others.
#[derive(Debug)]
pub(crate) struct WanIdentity {
    pub(crate) node: NodeId,
    /// The seed of the node's key (RFC 8032, section 5.1.5): the engine's keys are of the same
    /// kind.
    pub(crate) seed: [u8; 32],
}
