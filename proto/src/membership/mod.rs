//! Membership: which nodes this node is linked to.
//!
//! Without a cap on peers (`max_peers`) the network is a full mesh: every address that a peer names
//! is dialled. With a cap each node keeps an **active view** of so many links and a larger table of
//! addresses, as in HyParView (Leitão, Pereira and Rodrigues, DSN 2007). The address book is the
//! passive view.
//!
//! | component | decides |
//! |---|---|
//! | `slots` | who gets a slot, who is declined, whose slot is swapped |
//! | `slot_search` | how many slots are wanted, and who is asked for one |
//! | `shuffle` | which addresses nodes exchange, and when |
//! | `bootstrap` | how a new node joins through its bootstrap node |
//! | `partitions` | which partition this node is in |
//! | `healing` | which link joins two partitions |
//! | `rewiring` | which links move to a random node |
//!
//! The node calls it with messages, timers and the [internal events](crate::internal_event) of
//! connections. It calls connections to admit and to close links, and the dialer to open them.

use std::time::{Duration, Instant};

use rand::RngExt;

use crate::address::{PeerAddress, Scope};
use crate::connections::table::Link;
use crate::connections::{Closed, Connections};
use crate::context::Context;
use crate::dial_reason::DialReason;
use crate::event::Event;
use crate::id::{LinkId, NodeId, Session};
use crate::internal_event::DialOutcome;
use crate::ip_prefix::{IpPrefix, SourceGroup};
use crate::peers::Peers;
use crate::peers::address_book::{AddressSource, Peer};
use crate::wire::close;

mod bootstrap;
mod healing;
mod member_search;
mod partitions;
mod rewiring;
mod shuffle;
mod slot_search;
mod slots;
mod state;
mod topic_links;

pub(crate) use state::Membership;

/// An announced node is dialled after one to two times this, unless it has dialled us.
const CANDIDATE_DELAY: Duration = Duration::from_secs(1);
/// How often the back-off of an address ends because a peer elsewhere names it as its own, or
/// refers this node to it.
const OWN_EVERY: Duration = Duration::from_secs(60);
/// An address is kept for this long at most after it was announced.
const ANNOUNCED_MOST: Duration = Duration::from_secs(600);

impl Membership {
    /// Handles the end of a dial that led to no link that is used.
    pub(crate) fn on_dial_ended(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        conns: &mut Connections,
        address: &PeerAddress,
        reason: Option<DialReason>,
        outcome: DialOutcome,
    ) {
        match outcome {
            DialOutcome::Failed(error) => self.on_dial_missed(cx, peers, conns, address, reason.as_ref(), error),
            DialOutcome::Useless(why) => self.on_dial_missed(cx, peers, conns, address, reason.as_ref(), why),
            DialOutcome::Ourselves { link } => {
                if reason == Some(DialReason::Bootstrap) {
                    self.on_bootstrap_ourselves(cx, peers, conns, address);
                }
                peers.book.found_self(cx, address);
                conns.links.close(cx, link, close::NORMAL, "this is myself");
                self.on_dial_missed(cx, peers, conns, address, reason.as_ref(), "it is this node itself");
            }
        }
    }

    /// Handles an exercise peer that answered a dial; returns whether it gets a slot.
    pub(crate) fn on_exercise_dialled(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        conns: &mut Connections,
        link: LinkId,
        reason: Option<DialReason>,
        redirects: bool,
    ) -> bool {
        if reason == Some(DialReason::Bootstrap) {
            let why = "a node of the exercise, or another program, answers there";
            self.on_bootstrap_failed(cx, peers, conns, why);
        }
        if reason == Some(DialReason::Walk) {
            self.on_walk_missed(cx, peers, conns);
        }
        if redirects {
            self.redirect_exercise(cx, conns, link);
        }
        !redirects
    }

    /// Handles an exercise peer that introduced itself.
    pub(crate) fn on_exercise_introduced(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        conns: &mut Connections,
        link: LinkId,
        addresses: &[PeerAddress],
    ) {
        if !self.admit_exercise(cx, peers, conns, link, addresses) {
            self.learn(cx, peers, conns, link, addresses);
        }
    }

    /// Gives a link that was on standby its slot, unless the last one was taken meanwhile.
    pub(crate) fn admit_standby(&mut self, cx: &mut Context, peers: &mut Peers, conns: &mut Connections, link: LinkId) {
        let id = conns.links.get(link).and_then(|link| link.name().node);
        let counted = id.is_some_and(|id| conns.holder_of(link, id).is_some());
        if !counted && self.is_full(cx, conns, None) {
            return conns.links.close(cx, link, close::NORMAL, "the last slot here was taken meanwhile");
        }
        let join = self.join_frame(cx, peers, conns, link);
        conns.promote(cx, peers, link, join);
    }

    /// Forgets the requests for addresses on a link that has ended; returns whether ours was
    /// answered.
    pub(crate) fn was_answered(&mut self, link: LinkId) -> bool {
        !self.asked.remove(&link)
    }

    /// Sets the new state of each address that led to the other end of a closed link.
    pub(crate) fn release_addresses(&mut self, cx: &mut Context, peers: &mut Peers, closed: &Closed, answered: bool) {
        for address in peers.book.leading_to(closed.id) {
            match closed.heir {
                Some(heir) => {
                    peers.book.set_state(&address, crate::peers::address_book::AddressState::Connected(heir));
                }
                None if self.settle_address(cx, peers, &address, &closed.link, closed.reason.as_ref(), answered) => {}
                None => Connections::redial_later(cx, peers, &address, &closed.link),
            }
        }
    }

    /// Takes the addresses that an admitted peer named into the address book.
    pub(crate) fn learn(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        conns: &mut Connections,
        link: LinkId,
        addresses: &[PeerAddress],
    ) {
        if cx.config.max_peers.is_some() {
            return self.learn_for_slots(cx, peers, conns, link, addresses);
        }
        let (mut new, mut displacing) = (0, cx.config.limits.gossip_burst);
        let (scope, group) = conns.links.source_of(link);
        // A native peer names itself first. A HANDSHAKE with two addresses passes the second one on
        // for an exercise peer. An exercise peer may name itself last.
        let native = conns.links.get(link).is_some_and(|link| link.native().is_some());
        let last = addresses.last().filter(|_| addresses.len() == 2 || !native);
        let own: Vec<&PeerAddress> = addresses.first().into_iter().chain(last).collect();
        for address in addresses {
            if !conns.may_learn(cx, &mut peers.book, link, address) {
                continue;
            }
            if peers.book.get(address).is_none() {
                let hello = own.contains(&address);
                let source = if hello {
                    AddressSource::SelfAnnounced(scope, group)
                } else {
                    AddressSource::Gossiped(scope, group)
                };
                let displaces = !hello && peers.book.is_full(&cx.config.limits);
                if (displaces && displacing == 0) || !peers.book.add(address, source, cx.now, &cx.config.limits) {
                    // If no entry can be displaced now, none can for the rest of this HANDSHAKE.
                    displacing = if displaces { 0 } else { displacing };
                    cx.counters.addresses_without_room += 1;
                    continue;
                }
                displacing -= u32::from(displaces);
                new += 1;
                let at = self.gossip.reserve(cx, group, address);
                peers.book.dial_at(cx, address, at);
            } else if own.contains(&address) {
                let claimed = peers.book.get(address).is_some_and(|peer| peer.claimed == Some(link));
                if !claimed && self.may_shorten(cx, peers, conns, link, address) {
                    peers.book.dial_at(cx, address, cx.now);
                }
            } else if peers.book.is_idle(cx, address)
                && peers.book.get(address).and_then(|peer| peer.declined_until).is_none_or(|until| until <= cx.now)
            {
                // One that waits keeps its time: the word of others never shortens a back-off.
                peers.book.dial_at(cx, address, cx.now + Duration::from_secs(1));
            }
        }
        if new > 0 {
            cx.notify(Event::AddressesLearned { peer: conns.links.name_of(link), addresses: new });
        }
    }

    /// Returns whether a peer that names its own address may end the back-off of that address. It
    /// is alive, so earlier failures do not count, if it speaks from the host that it names.
    /// Otherwise it may aim us at a third party: then it may once in [`OWN_EVERY`], and failures
    /// count.
    fn may_shorten(
        &mut self,
        cx: &Context,
        peers: &mut Peers,
        conns: &Connections,
        link: LinkId,
        address: &PeerAddress,
    ) -> bool {
        let Some(open) = conns.links.get(link) else { return false };
        let same_host = match open.address_group {
            None => address.scope() == Scope::Loopback,
            Some(address_group) => IpPrefix::address_group_at(address) == Some(address_group),
        };
        let Some(peer) = peers.book.get_mut(address) else { return false };
        peer.self_announced = true;
        if same_host {
            peer.failures = 0;
        }
        let rarely = may_name(cx.now, peer);
        same_host || rarely
    }

    /// Handles the announcement of a live node: its address is a candidate for a node that lacks
    /// links. So a node that nobody can dial, or that joined first, is linked to those that come
    /// later, also when the node between them goes.
    pub(crate) fn on_node_announced(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        conns: &mut Connections,
        link: LinkId,
        (address, source, node): (&PeerAddress, SourceGroup, NodeId),
        patience: Duration,
    ) {
        if !cx.can_dial(address) {
            cx.counters.addresses_not_dialable += 1;
            return;
        }
        let named_by = conns.links.get(link).and_then(Link::native).map(|peer| peer.id);
        let lacks = self.lacks_links(cx, conns) || cx.config.max_peers.is_none();
        if named_by == Some(node) && conns.links.get(link).is_some_and(Link::is_proved) {
            conns.note_announced_id(cx, peers, link, address);
        }
        // A relay near the node between us may be far from here.
        let scope = match address.node() {
            Some(_) if named_by != Some(node) => Scope::Public,
            _ => conns.links.scope_of(link),
        };
        let linked = |address| conns.links.iter().any(|(_, link)| link.is_at(address));
        if !cx.is_own(address) && named_by.is_some() && lacks && !linked(address) {
            let (_, group) = conns.links.source_of(link);
            if Self::add_candidate(cx, peers, address, scope, source) {
                let allowed = self.gossip.reserve(cx, group, address);
                Self::dial_candidate(cx, peers, address, allowed);
            }
        }
        // The node has signed it: the relays are its own word.
        peers.book.note_relays(address, scope, true);
        peers.book.note_announced(address, cx.now + patience.min(ANNOUNCED_MOST));
        if cx.config.max_peers.is_some() {
            self.fill_slots(cx, peers, conns);
        }
    }

    /// Takes an announced address into the address book. Without a cap it is dialled in a moment:
    /// mostly its node dials us first. With a cap it is asked for a slot like any other.
    fn add_candidate(
        cx: &mut Context,
        peers: &mut Peers,
        address: &PeerAddress,
        scope: Scope,
        group: SourceGroup,
    ) -> bool {
        let new = peers.book.get(address).is_none();
        let added = peers.book.add(address, AddressSource::Gossiped(scope, group), cx.now, &cx.config.limits);
        cx.counters.addresses_without_room += u64::from(new && !added);
        added
    }

    fn dial_candidate(cx: &mut Context, peers: &mut Peers, address: &PeerAddress, allowed: Instant) {
        if cx.config.max_peers.is_none() {
            let at = cx.now + CANDIDATE_DELAY.mul_f64(cx.rng.random_range(1.0..2.0));
            peers.book.dial_at(cx, address, at.max(allowed));
        }
    }

    /// Takes nodes that were announced earlier as candidates.
    pub(crate) fn on_links_lacking(
        cx: &mut Context,
        peers: &mut Peers,
        announced: &[(PeerAddress, Scope, SourceGroup)],
    ) {
        for (address, scope, group) in announced {
            if Self::add_candidate(cx, peers, address, *scope, *group) {
                Self::dial_candidate(cx, peers, address, cx.now);
            }
        }
    }

    /// Returns whether links are lacking so that any announced node is a candidate: with a cap
    /// below [`slot_search::MIN_SLOTS`], otherwise without any link.
    pub(crate) fn lacks_links(&self, cx: &Context, conns: &Connections) -> bool {
        match cx.config.max_peers {
            Some(most) => self.slots_taken(cx, conns, None) < slot_search::MIN_SLOTS.min(most as usize),
            None => conns.links.peers() == 0,
        }
    }

    /// Returns the lowest known session of our partition; `None` without a cap, where no beacons
    /// are sent.
    pub(crate) fn partition(&self, cx: &Context) -> Option<Session> {
        cx.config.max_peers.map(|_| self.partitions.root())
    }
}

/// Returns whether the word of others may end the back-off of an address now, and notes it: once in
/// [`OWN_EVERY`].
fn may_name(now: Instant, peer: &mut Peer) -> bool {
    let rarely = peer.named_itself.is_none_or(|at| now.saturating_duration_since(at) >= OWN_EVERY);
    if rarely {
        peer.named_itself = Some(now);
    }
    rarely
}

#[cfg(test)]
mod tests;
