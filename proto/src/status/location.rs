//! Where a node can be reached for a request.

use crate::address::{PeerAddress, Scope};
use crate::connections::table::{LinkState, LinkTable};
use crate::context::Context;
use crate::id::{LinkId, NodeId, Nonce};
use crate::io::{Lane, Output};
use crate::ip_prefix::SourceGroup;
use crate::presence::announcer::Presence;
use crate::wire::CallBack;

/// Where a node can be reached, as far as this node knows by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// It is this node.
    Myself,
    /// Nobody announced it, and no link leads to it.
    Unknown,
    /// It has just linked, and its address is being verified: ask again after the next input. This
    /// takes a second at most.
    Linking,
    /// It is in the network, and names no address that makes sense from here.
    NoAddress,
    /// No connection to it is known to succeed, and it opens one when it is asked to.
    CallsBack,
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

/// Returns where a node can be reached: by the verified address of a link to it, by the link that
/// it dialled, or by the address that it announced.
pub(crate) fn locate(cx: &Context, links: &LinkTable, presence: &Presence, node: NodeId) -> Location {
    if node == cx.config.node {
        return Location::Myself;
    }
    let linked = links.to_node(node, None);
    if let Some((link, address)) = linked.and_then(|(link, peer)| Some((link, peer.any_address()?.clone()))) {
        let (scope, source) = links.source_of(link);
        return Location::At { reach: scope.min(address.scope()), source, address };
    }
    if linked.and_then(|(link, _)| links.get(link)).is_some_and(|open| matches!(open.state, LinkState::Verifying(_))) {
        return Location::Linking;
    }
    if calls_back(links, node).is_some() {
        return Location::CallsBack;
    }
    match presence.location_of(node).filter(|(address, ..)| cx.can_dial(address)) {
        Some((address, scope, source)) => {
            Location::At { reach: scope.min(address.scope()), source, address: address.clone() }
        }
        None if linked.is_some() || presence.knows(node) => Location::NoAddress,
        None => Location::Unknown,
    }
}

/// Returns the link on which a node can be asked for a connection: the node dialled it, so it knows
/// where this node is.
fn calls_back(links: &LinkTable, node: NodeId) -> Option<LinkId> {
    let (link, peer) = links.to_node(node, None)?;
    let open = links.get(link)?;
    let established = matches!(open.state, LinkState::Established(_));
    (established && peer.calls_back && open.dialled.is_none()).then_some(link)
}

/// Asks a node for a connection. Returns whether that is possible.
pub(crate) fn call_back(cx: &mut Context, links: &LinkTable, node: NodeId, nonce: Nonce) -> bool {
    let link = calls_back(links, node);
    if let Some(link) = link {
        cx.send(vec![link], CallBack { nonce }.to_frame(), Lane::Control);
    }
    link.is_some()
}

/// Handles CALLBACK. Only a node that we dialled is called back, and only where we dialled it: so
/// it aims us at nobody else.
pub(crate) fn on_call_back(cx: &mut Context, links: &LinkTable, link: LinkId, call_back: CallBack) {
    let Some(open) = links.get(link).filter(|open| !open.closing && open.is_proved()) else { return };
    let (Some(address), Some(peer)) = (&open.dialled, open.native()) else { return };
    let (scope, source) = links.source_of(link);
    let (node, address, nonce) = (peer.id, address.clone(), call_back.nonce);
    cx.output(Output::CallBack { node, reach: scope.min(address.scope()), address, source, nonce });
}
