//! Duplicate-connection resolution: which of two links to one node stays.
//!
//! Two links arise by simultaneous open, when a linked node has a second address, and when a peer
//! comes back before its old link is known to be dead. Links are compared by
//! [`PeerKey`](crate::connections::table::PeerKey): a proved node with itself, and a claim with
//! equal claims from the same address group. A proved link replaces all claims of its id at once,
//! and no claim replaces a proved link.
//!
//! The older link is pinged. If it answers, it stays; otherwise the newer one replaces it. A newer
//! link by WebSocket also replaces an older one over iroh, once it is established. BGP resolves its
//! connection collisions by the greater id alone (RFC 4271, section 6.8); here the id decides only
//! who closes.
//!
//! Handshake, lifecycle and liveness begin a resolution; a pong or a timer ends it.

use crate::connections::Connections;
use crate::connections::table::{Link, LinkState};
use crate::context::Context;
use crate::frame::Frame;
use crate::id::{LinkId, NodeId, Session};
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

    /// Compares a link whose native peer has just introduced itself with the others to its node.
    /// Returns whether it stays.
    pub(super) fn compare_claims(&mut self, cx: &mut Context, link: LinkId) -> bool {
        let Some(open) = self.links.get(link) else { return false };
        let (Some(peer), Some(key)) = (open.native(), open.key()) else { return false };
        if peer.proved {
            for claim in self.claims_of(peer.id) {
                cx.counters.claims_replaced += 1;
                self.links.close(cx, claim, close::GOING_AWAY, "another connection has proved the id that you claim");
            }
        } else if self.links.to_node(peer.id, None).is_some() {
            cx.counters.claims_replaced += 1;
            self.links.close(cx, link, close::POLICY, "another connection has proved the id that you claim");
            return false;
        }
        if let Some((other, _)) = self.links.to_peer(key, Some(link)) {
            self.resolve_duplicates(cx, other.min(link));
        }
        true
    }

    /// Returns the links whose peers have introduced themselves with an id and have not proved it.
    fn claims_of(&self, node: NodeId) -> Vec<LinkId> {
        let open = self.links.iter().filter(|(_, open)| !open.closing);
        let claims = |open: &Link| open.introduced().is_some_and(|peer| peer.id == node && !peer.proved);
        open.filter(|(_, open)| claims(open)).map(|(id, _)| id).collect()
    }

    /// Handles a pong: the oldest of several links to one node answered. The best link stays: one
    /// by WebSocket rather than one over iroh, of equal ones the oldest. One on standby is ours to
    /// close, or to use if it is the best. Of those in use, the node with the lower id closes all
    /// but the best, so that the two nodes do not close both.
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
        let others = self.duplicates_of(link);
        let best = self.best_of(cx, link, session, &others);
        let replaced = best != link && cx.config.node < id;
        for (other, standby) in others {
            let Some((_, run)) = self.links.get(other).and_then(Link::run) else { continue };
            if run != session && standby && self.proofs.is_announced(other) {
                // Its folder was copied, or it lies: its proof tells.
                self.promote(cx, peers, other, None);
            } else if run != session {
                let certain = self.links.get(other).is_some_and(Link::is_proved);
                self.refuse_copied_key(cx, peers, other, certain);
            } else if standby && self.is_better(other, best) {
                // It has proved nothing yet. Once it has, both links are in use.
                cx.raise(InternalEvent::StandbyFreed(other));
            } else if standby || (other != best && cx.config.node < id && !self.is_better(other, best)) {
                cx.counters.links_duplicate += 1;
                self.links.close(cx, other, close::NORMAL, "we are linked already");
            }
        }
        if replaced {
            cx.counters.links_duplicate += 1;
            self.links.close(cx, link, close::NORMAL, "we are linked by a better path");
        }
    }

    /// Returns the best of the links in use to one run of a node: `oldest`, unless another one is
    /// better, established and alive.
    fn best_of(&self, cx: &Context, oldest: LinkId, session: Session, others: &[(LinkId, bool)]) -> LinkId {
        let works = |open: &Link| {
            matches!(open.state, LinkState::Established(_))
                && open.run().is_some_and(|(_, run)| run == session)
                && cx.now.saturating_duration_since(open.heard) < cx.config.limits.ping_interval
        };
        let better = others.iter().map(|(other, _)| *other).filter(|other| self.is_better(*other, oldest));
        better.filter(|other| self.links.get(*other).is_some_and(works)).min().unwrap_or(oldest)
    }

    /// Returns whether the path of a link is better than that of another to the same node. Over
    /// iroh a message costs twice the time, and may go through a relay.
    pub(super) fn is_better(&self, link: LinkId, than: LinkId) -> bool {
        let over_iroh = |link| self.links.get(link).is_some_and(|open| open.authenticated.is_some());
        !over_iroh(link) && over_iroh(than)
    }

    /// Closes the older of two links, which did not answer in time; the newer one replaces it. What
    /// waits on standby has proved nothing yet, so a proved link stays until it has. It is asked
    /// again instead if it is not known to be silent, or if the other node decides.
    pub(crate) fn on_duplicate_due(&mut self, cx: &mut Context, link: LinkId) {
        let newer = self.duplicates_of(link);
        if !newer.is_empty() && (self.was_heard(cx, link) || self.is_left_to_other_end(cx, link, &newer)) {
            newer
                .iter()
                .filter(|(_, standby)| !standby)
                .for_each(|(other, _)| cx.output(Output::Ping { link: *other }));
            return self.resolve_duplicates(cx, link);
        }
        let proved = self.links.get(link).is_some_and(Link::is_proved);
        let replaced = newer.iter().any(|(_, standby)| !standby || !proved);
        if self.links.get(link).is_some() && replaced {
            cx.counters.links_dead += 1;
            self.links.close(cx, link, close::GOING_AWAY, "this link did not answer, a newer one does");
        }
        for (other, standby) in newer {
            if standby {
                cx.raise(InternalEvent::StandbyFreed(other));
            }
        }
    }

    /// Returns whether something came on a link since it was pinged, or it was not read.
    fn was_heard(&self, cx: &Context, link: LinkId) -> bool {
        let silent = self.links.get(link).map(|open| cx.now.saturating_duration_since(open.heard));
        silent.is_some_and(|silent| silent < cx.config.limits.duplicate_deadline)
    }

    /// Returns whether the node at the other end of several silent links decides which stays. After
    /// a simultaneous open each node may have another one as the older. If the other node stands
    /// still for a moment, both would otherwise close a different one. So the node with the lower
    /// id decides, as for links that answer.
    fn is_left_to_other_end(&self, cx: &Context, link: LinkId, others: &[(LinkId, bool)]) -> bool {
        let run = self.links.get(link).and_then(Link::run);
        let mut used = others.iter().filter(|(_, standby)| !standby).map(|(other, _)| *other).peekable();
        used.peek().is_some()
            && run.is_some_and(|(node, _)| node < cx.config.node)
            && used.all(|other| self.links.get(other).and_then(Link::run) == run && !self.was_heard(cx, other))
    }

    /// Returns the other links to the node of `link`, each with `true` if it is on standby.
    fn duplicates_of(&self, link: LinkId) -> Vec<(LinkId, bool)> {
        let Some(key) = self.links.get(link).and_then(Link::key) else { return Vec::new() };
        let others = self.links.iter().filter(|(other, open)| *other != link && !open.closing);
        others
            .filter_map(|(other, open)| match &open.state {
                LinkState::Standby(peer) => (self.holder_of(other, peer.id) == Some(link)).then_some((other, true)),
                _ => (open.key() == Some(key)).then_some((other, false)),
            })
            .collect()
    }

    /// Returns the link that keeps a dialled link on standby, or would: one to the proved node of
    /// that id, or one with an equal claim, unless the new link is to prove what that one only
    /// claims.
    pub(crate) fn holder_of(&self, link: LinkId, node: NodeId) -> Option<LinkId> {
        if let Some((proved, _)) = self.links.to_node(node, Some(link)) {
            return Some(proved);
        }
        let claim = self.links.get(link)?.key_of(node, false);
        let (equal, _) = self.links.to_peer(claim, Some(link))?;
        let undecided = self.links.get(equal).is_some_and(|open| matches!(open.state, LinkState::HelloSent(_)));
        (undecided || !self.proofs.is_announced(link)).then_some(equal)
    }

    /// Returns whether a link keeps another one on standby, or shares its slot with one that we
    /// dialled to the same node and that is not answered yet.
    pub(crate) fn holds_another(&self, link: LinkId) -> bool {
        let node = self.links.get(link).and_then(Link::native).map(|peer| peer.id);
        self.links.iter().any(|(other, open)| match &open.state {
            _ if open.closing || other == link => false,
            LinkState::Standby(peer) => self.holder_of(other, peer.id) == Some(link),
            LinkState::HelloSent(peer) => Some(peer.id) == node,
            _ => false,
        })
    }

    /// Returns the link to a node that was on standby until now.
    pub(super) fn standby_for(&self, node: NodeId) -> Option<LinkId> {
        let open = self.links.iter().filter(|(_, open)| !open.closing);
        let free = |link, open: &Link| match &open.state {
            LinkState::Standby(peer) => peer.id == node && self.holder_of(link, node).is_none(),
            _ => false,
        };
        open.filter(|(link, open)| free(*link, open)).map(|(link, _)| link).next()
    }
}

#[cfg(test)]
mod tests;
