//! The one thing that the simulator's rules ask of its network: where a node can be dialled.

use meshpool_proto::address::PeerAddress;

/// Nodes side by side on this host.
#[derive(Debug)]
pub struct Network;

impl Network {
    /// The address of a node.
    pub fn address(node: usize) -> PeerAddress {
        let port = 4_001 + u16::try_from(node).expect("there are few nodes");
        PeerAddress::new("localhost", port).expect("a name and a port are an address")
    }
}
