//! Two links to one node: which of them stays.
//!
//! It happens when two nodes dial each other at once, when an address turns out to be another name of a node that is linked already, and when a peer comes back
//! before we know that its old link is dead. The older link is asked to answer a ping; if it does not, the newer one takes its place.

use std::time::Instant;

use crate::connections::table::{Link, NativePeer, Role};
use crate::id::{LinkId, NodeId};
use crate::peers::address_book::AddressState;
use crate::timers::Timer;
use crate::wire::close;
use crate::{Node, Output};

impl Node {
    /// Makes a link that we dialled the link to its node: our HANDSHAKE goes out.
    pub(crate) fn promote(&mut self, now: Instant, link: LinkId) {
        let id = self.links.get(link).and_then(|link| link.name().node);
        let counted = id.is_some_and(|id| self.links.to_node(id, Some(link)).is_some());
        if !counted && self.is_full(now, None) {
            return self.links.close(&mut self.cx, link, close::NORMAL, "the last place here was taken meanwhile");
        }
        let Some(opened) = self.links.get(link) else { return };
        if let Role::Standby(peer) = &opened.role {
            let (peer, dialled) = (NativePeer { hello_sent: true, ..peer.clone() }, opened.dialled.clone());
            self.links.set_full(link, peer);
            if let Some(address) = dialled {
                self.cx.timers.cancel(&Timer::Dial(address.clone()));
                self.book.set_state(&address, AddressState::Connected(link));
            }
            self.cx.timers.set(Timer::Silence(link), now + self.cx.config.limits.dial_timeout);
            self.send_handshake(link);
            self.send_join(link);
        }
    }

    /// Two links to one node: the older one has to answer a ping.
    pub(crate) fn begin_duel(&mut self, now: Instant, older: LinkId) {
        self.cx.output(Output::Ping { link: older });
        if self.cx.timers.due(&Timer::Duel(older)).is_none() {
            self.cx.timers.set(Timer::Duel(older), now + self.cx.config.limits.duel);
        }
    }

    /// The older link answered, so both live. A link that we dialled and have not used yet is ours to close; of two that are in use the node with the
    /// smaller id closes the newer, and the other waits, lest each closes the one that the other keeps.
    pub(crate) fn on_pong(&mut self, now: Instant, link: LinkId) {
        self.links.hear(now, link);
        if self.cx.timers.due(&Timer::Duel(link)).is_none() {
            return;
        }
        self.cx.timers.cancel(&Timer::Duel(link));
        let Some((id, session)) = self.links.get(link).and_then(Link::full).map(|peer| (peer.id, peer.session)) else {
            return;
        };
        for (other, candidate) in self.twins(link) {
            let same_run = match self.links.get(other).map(|other| &other.role) {
                Some(Role::Standby(peer) | Role::Native(peer)) => peer.session == session,
                _ => continue,
            };
            if !same_run {
                self.warn_of_copy(now, other);
            } else if candidate || self.cx.config.node < id {
                self.cx.counters.links_duplicate += 1;
                self.links.close(&mut self.cx, other, close::NORMAL, "we are linked already");
            }
        }
    }

    /// The older link did not answer in time: it is closed, and the newer takes its place.
    pub(crate) fn on_duel_over(&mut self, now: Instant, link: LinkId) {
        let newer = self.twins(link);
        if self.links.get(link).is_some() && !newer.is_empty() {
            self.cx.counters.links_dead += 1;
            self.links.close(&mut self.cx, link, close::GOING_AWAY, "this link did not answer, a newer one does");
        }
        for (other, candidate) in newer {
            if candidate {
                self.promote(now, other);
            }
        }
    }

    /// The other links to the node of `link`, each with whether it is a candidate.
    pub(crate) fn twins(&self, link: LinkId) -> Vec<(LinkId, bool)> {
        let Some(id) = self.links.get(link).and_then(Link::full).map(|peer| peer.id) else {
            return Vec::new();
        };
        let others = self.links.iter().filter(|(other, open)| *other != link && !open.closing);
        others
            .filter_map(|(other, open)| match &open.role {
                Role::Standby(peer) if peer.id == id => Some((other, true)),
                Role::Native(peer) if peer.id == id => Some((other, false)),
                _ => None,
            })
            .collect()
    }

    /// A link that we dialled and held back while an older one to the same node lived.
    pub(crate) fn candidate_for(&self, id: NodeId) -> Option<LinkId> {
        self.links.iter().find_map(|(other, open)| match &open.role {
            Role::Standby(peer) if peer.id == id && !open.closing => Some(other),
            _ => None,
        })
    }
}
