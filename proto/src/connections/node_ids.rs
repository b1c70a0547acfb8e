//! Node ids as addresses: `iroh:<node id>` leads to the node that proves the id, by construction.
//!
//! So a probe would show nothing that the link does not show: an id is confirmed on a proved link
//! to its node, or not at all. While such a link is open the id is not dialled.
//!
//! Handshake reports nodes that introduced themselves, and membership announcements; what begins a
//! dial asks whether the node is linked.

use crate::address::PeerAddress;
use crate::connections::Connections;
use crate::context::Context;
use crate::id::LinkId;
use crate::peers::Peers;
use crate::peers::address_book::{AddressBook, AddressSource, AddressState};
use crate::timers::Timer;
use crate::violation::{Violation, ViolationKind};
use crate::wire::NodeInfo;

impl Connections {
    /// Notes the id of a native peer that introduced itself as an address: over iroh it is one, and
    /// over WebSocket if the node says so and has proved the id. Then no probe is needed, and it is
    /// not dialled while the link is open.
    pub(super) fn note_id_as_address(&mut self, cx: &mut Context, peers: &mut Peers, link: LinkId, node: &NodeInfo) {
        let claimed = node.address.as_ref().filter(|address| address.node().is_some());
        if claimed.is_some_and(|address| address.node() != Some(node.id)) {
            let text = "HANDSHAKE: its address is the id of another node";
            self.penalize(cx, peers, link, &Violation::new(ViolationKind::FalseAddress, text));
        }
        let claimed = claimed.filter(|address| address.node() == Some(node.id));
        if !cx.config.wan {
            cx.counters.addresses_not_dialable += u64::from(claimed.is_some());
            return;
        }
        let Some(open) = self.links.get(link).filter(|open| open.is_proved() && !open.closing) else { return };
        // Without a word of the node the relays that are known stay.
        let by_transport = || open.authenticated.map(|node| PeerAddress::of_node(node, []));
        let Some(address) = claimed.cloned().or_else(by_transport) else { return };
        self.note_announced_id(cx, peers, link, &address);
        if let Some(peer) = peers.book.get_mut(&address) {
            peer.last_up = Some(cx.now);
        }
    }

    /// Notes the id that the proved node at the other end of a link announced as its address.
    pub(crate) fn note_announced_id(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        link: LinkId,
        address: &PeerAddress,
    ) {
        if address.node().is_some() {
            let (scope, group) = self.links.source_of(link);
            peers.book.add(address, AddressSource::SelfAnnounced(scope, group), cx.now, &cx.config.limits);
            self.leads_to_linked(cx, &mut peers.book, address);
            let address = peers.book.with_relays(address);
            self.confirm_address(link, &address);
        }
    }

    /// Returns whether an address is the id of a node that is linked, or that a link being opened
    /// leads to, and notes that in the address book: it is not dialled until the link ends.
    pub(crate) fn leads_to_linked(&self, cx: &mut Context, book: &mut AddressBook, address: &PeerAddress) -> bool {
        let Some(node) = address.node() else { return false };
        let opening = || self.links.iter().find(|(_, open)| open.authenticated == Some(node) && !open.closing);
        let linked = self.links.to_node(node, None).map(|(link, _)| link).or_else(|| opening().map(|(link, _)| link));
        if let Some(link) = linked
            && matches!(book.get(address).map(|peer| peer.state), Some(AddressState::Waiting | AddressState::Queued))
        {
            cx.timers.cancel(&Timer::Dial(address.clone()));
            book.set_state(address, AddressState::Connected(link));
        }
        linked.is_some()
    }
}
