//! Where a node can be reached for a request.

use crate::address::{PeerAddress, Scope};
use crate::connections::table::LinkTable;
use crate::context::Context;
use crate::id::NodeId;
use crate::ip_prefix::SourceGroup;
use crate::presence::announcer::Presence;

/// Where a node can be reached, as far as this node knows by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// It is this node.
    Myself,
    /// Nobody announced it, and no link leads to it.
    Unknown,
    /// It is in the network, and names no address that makes sense from here.
    NoAddress,
    /// It accepts connections there.
    At {
        /// Its address.
        address: PeerAddress,
        /// How near to this node the address may lead.
        reach: Scope,
        /// Who named the address.
        source: SourceGroup,
    },
}

/// Returns where a node can be reached: by the verified address of a link to it, or by the address
/// that it announced.
pub(crate) fn locate(cx: &Context, links: &LinkTable, presence: &Presence, node: NodeId) -> Location {
    if node == cx.config.node {
        return Location::Myself;
    }
    let linked = links.to_node(node, None);
    if let Some((link, address)) = linked.and_then(|(link, peer)| Some((link, peer.address.clone()?))) {
        let (scope, source) = links.source_of(link);
        return Location::At { reach: scope.min(address.scope()), source, address };
    }
    match presence.location_of(node) {
        Some((address, scope, source)) => {
            Location::At { reach: scope.min(address.scope()), source, address: address.clone() }
        }
        None if linked.is_some() || presence.knows(node) => Location::NoAddress,
        None => Location::Unknown,
    }
}
