//! Admission: closes links that the access rules or a ban exclude, and penalizes violations.
//!
//! The other components of connections call it when they learn more of a peer, and the node calls
//! it with violations and new rules. The rules are in `peers::access_control`, scores and bans in
//! `peers::reputation`.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use crate::access::Access;
use crate::address::PeerAddress;
use crate::causes::ConnectionRefusal;
use crate::connections::Connections;
use crate::connections::table::{Link, LinkState};
use crate::context::Context;
use crate::event::Event;
use crate::id::{LinkId, NodeId};
use crate::io::Output;
use crate::limits;
use crate::peers::Peers;
use crate::peers::access_control::Refused;
use crate::peers::reputation::Scored;
use crate::violation::{Violation, ViolationKind};
use crate::wire::close;

impl Connections {
    /// Adds a violation to the score of a peer. From half of [`limits::BAN_SCORE`] its link pauses;
    /// at the whole it is banned.
    pub(crate) fn penalize(&mut self, cx: &mut Context, peers: &mut Peers, link: LinkId, violation: &Violation) {
        let Violation { kind, text } = violation;
        self.links.log_fault(cx, link, text.clone());
        let Some(open) = self.links.get_mut(link) else { return };
        cx.counters.violations += 1;
        let score = match open.scored() {
            Some(who) => peers.reputation.add(cx.now, who, kind.points()),
            None => open.score.add(cx.now, kind.points()),
        };
        if score >= limits::BAN_SCORE {
            cx.counters.bans += 1;
            self.ban(cx, peers, link, violation);
        } else if score >= limits::BAN_SCORE / 2 && !open.closing {
            cx.output(Output::PauseReading { link, time: limits::VIOLATION_PAUSE });
        }
    }

    /// Penalizes a frame that broke the rules of WebSocket; the runtime closes the link.
    pub(crate) fn on_protocol_error(&mut self, cx: &mut Context, peers: &mut Peers, link: LinkId, what: &str) {
        cx.counters.frames_broken += 1;
        self.penalize(cx, peers, link, &Violation::new(ViolationKind::Malformed, what));
    }

    /// Closes the link of a peer and bans it, unless it is a known peer or on this host.
    fn ban(&mut self, cx: &mut Context, peers: &mut Peers, link: LinkId, cause: &Violation) {
        let known = self.is_known(peers, link);
        let peer = self.links.name_of(link);
        let scored = self.links.get(link).and_then(Link::scored).filter(|_| !known);
        self.links.close(cx, link, close::POLICY, "too many messages that break the rules");
        let time = scored.map(|who| peers.reputation.ban(cx.now, who, cause));
        let (from, others) = match scored {
            Some(Scored::AddressGroup(address_group)) => (Some(address_group), "your address"),
            Some(Scored::Node(_)) | None => (None, "your node"),
        };
        cx.notify(Event::Banned { peer, from, cause: cause.clone(), time });
        let (Some(scored), Some(time)) = (scored, time) else { return };
        let proved = self.links.get(link).and_then(Link::native).filter(|peer| peer.proved);
        if let Some(node) = proved.map(|peer| peer.id) {
            peers.reputation.ban_node(cx.now, node, time, cause);
        }
        for address in self.addresses_of(peers, link) {
            if let Some(peer) = peers.book.get_mut(&address) {
                peer.banned_until = Some(cx.now + time);
            }
        }
        let reason = format!("another connection from {others} broke the rules");
        let others = self.links.iter().filter(|(other, open)| *other != link && open.scored() == Some(scored));
        let others: Vec<LinkId> =
            others.map(|(other, _)| other).filter(|other| !self.is_known(peers, *other)).collect();
        for other in others {
            self.links.close(cx, other, close::POLICY, &reason);
        }
    }

    /// Returns whether the addresses that lead to a link are those of its peer: one that dialled us
    /// may claim those of another node unless it has proved its id.
    fn has_addresses(&self, link: LinkId) -> bool {
        self.links.get(link).is_some_and(|open| open.dialled.is_some() || open.is_proved())
    }

    fn addresses_of(&self, peers: &Peers, link: LinkId) -> Vec<PeerAddress> {
        if self.has_addresses(link) { peers.book.leading_to(link) } else { Vec::new() }
    }

    /// Returns the links that lead to known peers.
    pub(crate) fn known_links(&self, peers: &Peers) -> BTreeSet<LinkId> {
        peers.book.known_links().into_iter().filter(|link| self.has_addresses(*link)).collect()
    }

    /// Returns whether a known peer is at the other end of a link. A claim proves nothing: its
    /// address must have been dialled, or be the verified one of a node that proved its id.
    fn is_known(&self, peers: &Peers, link: LinkId) -> bool {
        let Some(open) = self.links.get(link) else { return false };
        let known = |address: &PeerAddress| peers.book.get(address).is_some_and(|peer| peer.known);
        let proved = || open.native().filter(|peer| peer.proved);
        match &open.dialled {
            Some(address) => known(address),
            None => proved().is_some_and(|peer| peer.address.iter().chain(&peer.wan).any(known)),
        }
    }

    /// Closes a link that has just opened if its other end is banned; returns whether it did.
    pub(super) fn refuse_banned(&mut self, cx: &mut Context, peers: &mut Peers, link: LinkId) -> bool {
        let known = self.is_known(peers, link);
        let scored = self.links.get(link).and_then(Link::scored).filter(|_| !known);
        let Some(ban) = scored.and_then(|who| peers.reputation.ban_of(cx.now, who)).cloned() else {
            return false;
        };
        for address in self.addresses_of(peers, link) {
            if let Some(peer) = peers.book.get_mut(&address) {
                peer.banned_until = Some(ban.until);
            }
        }
        self.close_banned(cx, peers, link, ban.left(cx.now).unwrap_or_default(), ban.cause);
        true
    }

    /// Closes an accepted link if the id that its peer names is banned; returns whether it did.
    pub(super) fn refuse_banned_node(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        link: LinkId,
        node: NodeId,
    ) -> bool {
        let accepted = self.links.get(link).is_some_and(|open| open.dialled.is_none() && open.address_group.is_some());
        let Some(ban) = peers.reputation.ban_of_node(cx.now, node).filter(|_| accepted).cloned() else {
            return false;
        };
        self.close_banned(cx, peers, link, ban.left(cx.now).unwrap_or_default(), ban.cause);
        true
    }

    fn close_banned(&mut self, cx: &mut Context, peers: &mut Peers, link: LinkId, left: Duration, cause: Violation) {
        cx.counters.links_banned += 1;
        let reason = format!("you broke the rules; come back in {} s", left.as_secs() + 1);
        self.links.close(cx, link, close::POLICY, &reason);
        let address_group = self.links.get(link).and_then(|open| open.address_group);
        peers.refusals.log(cx, address_group, ConnectionRefusal::Banned { left, cause });
    }

    /// Handles new access rules: closes the links that they exclude.
    pub(crate) fn on_access_changed(&mut self, cx: &mut Context, peers: &mut Peers, access: Access) {
        peers.access.set_rules(access);
        let open: Vec<LinkId> = self.links.iter().filter(|(_, link)| !link.closing).map(|(id, _)| id).collect();
        for link in open {
            let Some(open) = self.links.get(link) else { continue };
            let (own, remote) = (cx.config.node, open.remote);
            let refused = match &open.state {
                LinkState::ExerciseInbound { .. } | LinkState::ExerciseOutbound { .. } => {
                    peers.access.exercise_refusal(own, link, remote)
                }
                _ => peers.access.refusal(own, link, remote, open.name().node),
            };
            self.refuse(cx, peers, link, None, refused);
        }
    }

    /// Checks a link that was just accepted, as far as its peer is known; returns whether it is
    /// closed.
    pub(super) fn refuse_accepted(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        link: LinkId,
        remote: IpAddr,
    ) -> bool {
        let refused = peers.access.refusal(cx.config.node, link, remote, None);
        self.refuse(cx, peers, link, None, refused)
    }

    /// Checks a native peer that introduces itself; returns whether its link is closed.
    pub(super) fn refuse_native(&mut self, cx: &mut Context, peers: &mut Peers, link: LinkId, node: NodeId) -> bool {
        let open = self.links.get(link);
        let refused = open.and_then(|open| peers.access.refusal(cx.config.node, link, open.remote, Some(node)));
        self.refuse(cx, peers, link, Some(node), refused)
    }

    /// Checks an exercise peer that introduces itself; returns whether its link is closed.
    pub(super) fn refuse_exercise(&mut self, cx: &mut Context, peers: &mut Peers, link: LinkId) -> bool {
        let open = self.links.get(link);
        let refused = open.and_then(|open| peers.access.exercise_refusal(cx.config.node, link, open.remote));
        self.refuse(cx, peers, link, None, refused)
    }

    /// Checks a client that sends something; returns whether its link is closed.
    pub(crate) fn refuse_client(&mut self, cx: &mut Context, peers: &mut Peers, link: LinkId) -> bool {
        let client = self.links.get(link).filter(|open| matches!(open.state, LinkState::Client));
        let refused = client.and_then(|open| peers.access.client_refusal(link, open.remote));
        self.refuse(cx, peers, link, None, refused)
    }

    /// Closes the link of a peer that is not admitted; its address gets the longest back-off.
    /// `named`: the node that it introduced itself as, if its link does not say so. Returns whether
    /// it did.
    pub(super) fn refuse(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        link: LinkId,
        named: Option<NodeId>,
        refused: Option<Refused>,
    ) -> bool {
        let (Some(refused), Some(open)) = (refused, self.links.get(link)) else { return false };
        let (mut name, remote, dialled) = (open.name(), open.remote, open.dialled.clone());
        name.node = name.node.or(named);
        self.links.close(cx, link, close::POLICY, &refused.1);
        if let Some(address) = dialled {
            peers.book.back_off_long(cx, &address);
        }
        peers.access.log_link(cx, &name, remote, &refused);
        true
    }
}

#[cfg(test)]
mod tests;
