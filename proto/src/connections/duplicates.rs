//! Duplicate-connection resolution: which of two links to one node stays.
//!
//! Two links arise by simultaneous open, when a linked node has a second address, and when a peer
//! comes back before its old link is known to be dead. The older link is pinged. If it answers, it
//! stays; otherwise the newer one replaces it. BGP resolves its connection collisions by the
//! greater id alone (RFC 4271, section 6.8); here the id decides only who closes.
//!
//! Handshake, lifecycle and liveness begin a resolution; a pong or a timer ends it.

use crate::connections::Connections;
use crate::connections::table::{Link, LinkState};
use crate::context::Context;
use crate::frame::Frame;
use crate::id::{LinkId, NodeId};
use crate::internal_event::InternalEvent;
use crate::io::Lane;
use crate::io::Output;
use crate::peers::Peers;
use crate::peers::address_book::AddressState;
use crate::timers::Timer;
use crate::wire::close;

impl Connections {
    /// Takes a dialled link from standby into use: sends our HANDSHAKE, and `join` after it.
    pub(crate) fn promote(&mut self, cx: &mut Context, peers: &mut Peers, link: LinkId, join: Option<Frame>) {
        let Some(opened) = self.links.get(link) else { return };
        if let LinkState::Standby(peer) = &opened.state {
            let (state, dialled) = (LinkState::HelloSent(peer.clone()), opened.dialled.clone());
            self.links.set_native(link, state);
            if let Some(address) = dialled {
                cx.timers.cancel(&Timer::Dial(address.clone()));
                peers.book.set_state(&address, AddressState::Connected(link));
            }
            cx.timers.set(Timer::Silence(link), cx.now + cx.config.limits.dial_timeout);
            self.send_handshake(cx, link);
            if let Some(join) = join {
                cx.send(vec![link], join, Lane::Control);
            }
        }
    }

    /// Begins to resolve two links to one node: pings the older one.
    pub(super) fn resolve_duplicates(&mut self, cx: &mut Context, older: LinkId) {
        cx.output(Output::Ping { link: older });
        if cx.timers.due(&Timer::Duplicate(older)).is_none() {
            cx.timers.set(Timer::Duplicate(older), cx.now + cx.config.limits.duplicate_deadline);
        }
    }

    /// Handles a pong. If the older of two links answered, the newer one is closed. One on standby
    /// is ours to close. Of two in use, the node with the lower id closes the newer, so that the
    /// two nodes do not close both.
    pub(crate) fn on_pong(&mut self, cx: &mut Context, peers: &mut Peers, link: LinkId) {
        self.links.hear(cx.now, link);
        if cx.timers.due(&Timer::Duplicate(link)).is_none() {
            return;
        }
        cx.timers.cancel(&Timer::Duplicate(link));
        let Some((id, session)) = self.links.get(link).and_then(Link::native).map(|peer| (peer.id, peer.session))
        else {
            return;
        };
        for (other, standby) in self.duplicates_of(link) {
            let Some((_, run)) = self.links.get(other).and_then(Link::run) else { continue };
            if run != session {
                self.refuse_copied_key(cx, peers, other);
            } else if standby || cx.config.node < id {
                cx.counters.links_duplicate += 1;
                self.links.close(cx, other, close::NORMAL, "we are linked already");
            }
        }
    }

    /// Closes the older of two links, which did not answer in time; the newer one replaces it.
    pub(crate) fn on_duplicate_due(&mut self, cx: &mut Context, link: LinkId) {
        let newer = self.duplicates_of(link);
        if self.links.get(link).is_some() && !newer.is_empty() {
            cx.counters.links_dead += 1;
            self.links.close(cx, link, close::GOING_AWAY, "this link did not answer, a newer one does");
        }
        for (other, standby) in newer {
            if standby {
                cx.raise(InternalEvent::StandbyFreed(other));
            }
        }
    }

    /// Returns the other links to the node of `link`, each with `true` if it is on standby.
    fn duplicates_of(&self, link: LinkId) -> Vec<(LinkId, bool)> {
        let Some(id) = self.links.get(link).and_then(Link::native).map(|peer| peer.id) else {
            return Vec::new();
        };
        let others = self.links.iter().filter(|(other, open)| *other != link && !open.closing);
        others
            .filter_map(|(other, open)| match &open.state {
                LinkState::Standby(peer) if peer.id == id => Some((other, true)),
                _ => open.native().filter(|peer| peer.id == id).map(|_| (other, false)),
            })
            .collect()
    }

    /// Returns the link to a node that is on standby while an older one lives.
    pub(super) fn standby_for(&self, id: NodeId) -> Option<LinkId> {
        self.links.iter().find_map(|(other, open)| match &open.state {
            LinkState::Standby(peer) if peer.id == id && !open.closing => Some(other),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests;
