//! Filling the active view: how many slots a node with a cap wants, whom it asks, and with what
//! priority.
//!
//! An address is **idle** if it is neither in use nor waiting for a timer. A wanted slot is
//! requested at an idle address, first at those that were just named (hints). With fewer than two
//! slots the demand is urgent. Otherwise it is in the background and covers only slots of our own
//! choice, at most half of all, rounded up. A background search slows down with each refusal, so
//! that a full network comes to rest.
//!
//! Every change of slots, addresses or links calls [`Membership::fill_slots`], and so does its
//! timer.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::RngExt;
use rand::seq::SliceRandom;

use crate::address::PeerAddress;
use crate::causes::{DialError, LinkEnd};
use crate::connections::table::{Link, LinkState, PendingPeer};
use crate::connections::{Closed, Connections};
use crate::context::Context;
use crate::dial_reason::DialReason;
use crate::event::Event;
use crate::frame::Frame;
use crate::id::LinkId;
use crate::io::Lane;
use crate::ip_prefix::NetworkGroup;
use crate::limits;
use crate::membership::state::{BACKGROUND_MIN, Membership, dial_for};
use crate::peers::Peers;
use crate::peers::address_book::{AddressSource, AddressState};
use crate::timers::Timer;
use crate::wire::close;
use crate::wire::{Handshake, Join, Want};

/// How many slots a node wants urgently: one link alone is a single point of failure.
pub(crate) const MIN_SLOTS: usize = 2;
/// The time between two rounds of an urgent search.
const URGENT_INTERVAL: Duration = Duration::from_secs(1);
/// How many attempts an urgent search makes within [`URGENT_INTERVAL`], no matter who named the
/// addresses.
const URGENT_DIALS: u32 = 10;
/// How many refusals in a row a node with too few links accepts before it requests a slot with high
/// priority, although there are other nodes to ask.
const PRIORITY_REFUSALS: u32 = 3;
/// The time between two high priority requests at one address, or two redirects of one exercise
/// peer. It equals the limit of the other end.
const PRIORITY_INTERVAL: Duration = Duration::from_secs(10);
/// After each so many refusals in a row, nodes that had no slot are asked again half as often.
const SLOWDOWN_REFUSALS: u32 = 16;
/// The longest time between two requests to nodes that had no slot.
const ASK_AGAIN_MAX: Duration = Duration::from_secs(10);
/// How long an address is not dialled after we released its link: the slot is for another node now.
const RELEASED_WAIT: Duration = Duration::from_secs(60);

/// How much a slot is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Demand {
    None,
    Background,
    Urgent,
}

impl Membership {
    fn pending_slots(&self, peers: &Peers) -> usize {
        peers.dialer.reasons().filter(|reason| reason.is_slot()).count()
    }

    /// Returns how many high priority requests are under way. Each fills two slots: its own, and
    /// one for the node that is referred to us.
    fn pending_priority(&self, peers: &Peers, conns: &Connections) -> usize {
        let waits =
            |link: LinkId| conns.links.get(link).is_some_and(|open| matches!(open.state, LinkState::HelloSent(_)));
        let open = conns.reasons().filter(|(link, reason)| reason.is_high_priority() && waits(*link));
        peers.dialer.reasons().filter(|reason| reason.is_high_priority()).count() + open.count()
    }

    fn demand(&self, cx: &Context, peers: &Peers, conns: &Connections) -> Demand {
        let Some(most) = cx.config.max_peers.map(|most| most as usize) else { return Demand::None };
        let (taken, pending) =
            (self.slots_taken(cx, conns, None), self.pending_slots(peers) + self.pending_priority(peers, conns));
        if taken + pending >= most {
            Demand::None
        } else if taken + pending < MIN_SLOTS + self.exercise_slots(cx, conns) {
            Demand::Urgent
        } else if self.slots_dialled(conns) + pending < most.div_ceil(2) {
            Demand::Background
        } else {
            Demand::None
        }
    }

    /// Dials for the slots that are wanted, at most eight in one call; returns the first address
    /// dialled.
    pub(crate) fn fill_slots(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        conns: &mut Connections,
    ) -> Option<PeerAddress> {
        if cx.config.max_peers.is_none() || cx.shutting_down || self.bootstrap.is_joining() {
            return None;
        }
        let mut first = None;
        for _ in 0..8 {
            let dialled = match self.demand(cx, peers, conns) {
                Demand::None => break,
                Demand::Background => self.search_in_background(cx, peers, conns),
                Demand::Urgent => self.search_urgently(cx, peers, conns),
            };
            if dialled.is_none() {
                break;
            }
            first = first.or(dialled);
        }
        let again = match self.demand(cx, peers, conns) {
            Demand::None => None,
            Demand::Background => Some(self.search.background_at.unwrap_or(cx.now).max(cx.now + BACKGROUND_MIN)),
            Demand::Urgent => Some(cx.now + URGENT_INTERVAL),
        };
        // The node for which a slot is reserved may never come: the search goes on when the time is
        // over.
        let Some(again) = again.into_iter().chain(self.reserved_until(cx)).min() else { return first };
        if cx.timers.due(&Timer::SlotSearch).is_none_or(|due| again < due) {
            cx.timers.set(Timer::SlotSearch, again);
        }
        first
    }

    fn search_in_background(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        conns: &mut Connections,
    ) -> Option<PeerAddress> {
        let search = &self.search;
        if self.pending_slots(peers) > 0 || search.background_at.is_some_and(|at| cx.now < at) {
            return None;
        }
        let interval = search.interval;
        self.search.background_at = Some(cx.now + interval.mul_f64(cx.rng.random_range(0.7..1.3)));
        let address = self.idle_address(cx, peers, conns)?;
        dial_for(cx, peers, conns, &address, DialReason::slot()).then_some(address)
    }

    /// Counts an urgent attempt; returns `false` if [`URGENT_DIALS`] were made in this interval.
    fn spend_urgent(&mut self, cx: &mut Context) -> bool {
        let (since, count) = self.search.urgent.unwrap_or((cx.now, 0));
        let over = cx.now.saturating_duration_since(since) >= URGENT_INTERVAL;
        self.search.urgent = Some(if over { (cx.now, 1) } else { (since, count.saturating_add(1)) });
        over || count < URGENT_DIALS
    }

    fn search_urgently(&mut self, cx: &mut Context, peers: &mut Peers, conns: &mut Connections) -> Option<PeerAddress> {
        let most = cx.config.max_peers.unwrap_or(u32::MAX);
        let taken = self.slots_taken(cx, conns, None).saturating_sub(self.exercise_slots(cx, conns));
        // With a cap of two, one link needs no priority: the sum of all degrees is even, so another
        // node has a free slot too.
        let needs_priority = taken == 0 || (taken == 1 && most > 2);
        if !self.spend_urgent(cx) {
            return None;
        }
        let idle = self.idle_address(cx, peers, conns);
        let refused = self.search.refusals >= PRIORITY_REFUSALS;
        if let Some(address) = idle {
            let high_priority = needs_priority && refused && self.spend_priority(cx, peers, &address);
            return dial_for(cx, peers, conns, &address, DialReason::Slot { high_priority, referred_by: None })
                .then_some(address);
        }
        let dialled = self.ask_again(cx, peers, conns, taken, needs_priority);
        if dialled.is_none() {
            self.ask_neighbor(cx, conns, Want::Neighbours);
        }
        dialled
    }

    /// Asks a node that declined again before its time, as no address is idle and a slot is urgent:
    /// it may have a free slot by now. Without any link, known peers that did not answer are asked
    /// too. Returns the address that is dialled.
    fn ask_again(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        conns: &mut Connections,
        taken: usize,
        high_priority: bool,
    ) -> Option<PeerAddress> {
        if self.pending_slots(peers) > 0 || self.search.again_at.is_some_and(|at| cx.now < at) {
            return None;
        }
        let choice: Vec<PeerAddress> = peers
            .book
            .iter()
            .filter(|(_, peer)| {
                let answers = peer.failures == 0 || (peer.known && taken == 0);
                let recent = peer
                    .priority_requested_at
                    .is_some_and(|at| cx.now.saturating_duration_since(at) < PRIORITY_INTERVAL);
                peer.state == AddressState::Waiting && answers && !recent
            })
            .map(|(address, _)| address.clone())
            .collect();
        let address = cx.pick(&choice)?;
        let search = &mut self.search;
        let interval = URGENT_INTERVAL * (1 << (search.refusals / SLOWDOWN_REFUSALS).min(8));
        search.again_at = Some(cx.now + interval.min(ASK_AGAIN_MAX));
        self.spend_priority(cx, peers, &address);
        if high_priority {
            cx.notify(Event::RequestingSlot { address: address.clone() });
        }
        let again = DialReason::Slot { high_priority, referred_by: None };
        dial_for(cx, peers, conns, &address, again).then_some(address)
    }

    /// Counts a high priority request at an address, or the redirect of an exercise peer; returns
    /// `false` if the last one was less than [`PRIORITY_INTERVAL`] ago.
    fn spend_priority(&mut self, cx: &mut Context, peers: &mut Peers, address: &PeerAddress) -> bool {
        let Some(peer) = peers.book.get_mut(address) else { return false };
        let free =
            peer.priority_requested_at.is_none_or(|at| cx.now.saturating_duration_since(at) >= PRIORITY_INTERVAL);
        if free {
            peer.priority_requested_at = Some(cx.now);
        }
        free
    }

    /// Returns whether a request for a slot is under way, or there is an address for one.
    pub(crate) fn can_search(&self, cx: &Context, peers: &Peers) -> bool {
        self.pending_slots(peers) > 0 || peers.book.iter().any(|(address, _)| peers.book.is_idle(cx, address))
    }

    /// Returns an idle address for a request: a hint, otherwise one with free slots on the local
    /// network, otherwise a random one. A random one is drawn from network groups without a link
    /// first, so that an attacker with many addresses in one group cannot fill all slots (as
    /// Bitcoin Core's outbound net groups).
    fn idle_address(&mut self, cx: &mut Context, peers: &mut Peers, conns: &mut Connections) -> Option<PeerAddress> {
        while let Some(hint) = self.search.hints.pop_front() {
            if peers.book.is_idle(cx, &hint) {
                return Some(hint);
            }
        }
        let lacking = self.slots_taken(cx, conns, None) < MIN_SLOTS;
        if let Some(address) = peers.lan.freest(cx, &peers.book, &conns.links.native_ids(), lacking) {
            return Some(address);
        }
        let idle: Vec<PeerAddress> = peers
            .book
            .iter()
            .map(|(address, _)| address)
            .filter(|address| peers.book.is_idle(cx, address))
            .cloned()
            .collect();
        let linked: BTreeSet<NetworkGroup> =
            peers.book.connected().filter_map(|(address, _)| NetworkGroup::of(address)).collect();
        if linked.is_empty() {
            return cx.pick(&idle);
        }
        let other = |address: &&PeerAddress| NetworkGroup::of(address).is_none_or(|group| !linked.contains(&group));
        let others: Vec<PeerAddress> = idle.iter().filter(other).cloned().collect();
        cx.pick(if others.is_empty() { &idle } else { &others })
    }

    /// Handles the timer of an address: with a cap it is not dialled for that, but may be asked for
    /// a slot.
    pub(crate) fn on_address_idle(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        conns: &mut Connections,
        address: &PeerAddress,
    ) {
        if let Some(peer) = peers.book.get_mut(address) {
            peer.declined_until = None;
        }
        self.fill_slots(cx, peers, conns);
    }

    /// Returns the JOIN that follows our HANDSHAKE on a link that we dialled, if one does.
    pub(crate) fn join_frame(&self, cx: &Context, peers: &Peers, conns: &Connections, link: LinkId) -> Option<Frame> {
        let (insist, want, moved_by) = match conns.reason(link) {
            Some(DialReason::Slot { high_priority, referred_by }) => (*high_priority, None, *referred_by),
            Some(reason) if reason.is_for_addresses() => (false, Some(Want::Random), None),
            _ => (self.is_declined_and_alone(cx, peers, conns, link), None, None),
        };
        if cx.config.max_peers.is_none() && !insist && want.is_none() {
            return None;
        }
        Some(Join { insist, want, moved_by, root: self.partition(cx) }.to_frame())
    }

    /// Returns whether a node without a cap has no link and was declined by this peer: it requests
    /// a slot with high priority then.
    fn is_declined_and_alone(&self, cx: &Context, peers: &Peers, conns: &Connections, link: LinkId) -> bool {
        let dialled = conns.links.get(link).and_then(|link| link.dialled.as_ref());
        let declined = dialled.and_then(|address| peers.book.get(address)).is_some_and(|peer| peer.declines > 0);
        cx.config.max_peers.is_none() && declined && conns.links.peers() == 0
    }

    /// Handles a dialled link to a native peer, the only one to it: requests what it was dialled
    /// for.
    pub(crate) fn on_native_dialled(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        conns: &mut Connections,
        link: LinkId,
        reason: Option<DialReason>,
    ) {
        let Some(opened) = conns.links.get_mut(link) else { return };
        let id = opened.name().node;
        if let Some(address) = &opened.dialled {
            peers.book.set_state(address, AddressState::Connected(link));
        }
        match reason {
            Some(DialReason::Shuffle | DialReason::Walk | DialReason::Bootstrap) => {
                if let Some(id) = id {
                    opened.state = LinkState::AwaitingAdmission(PendingPeer {
                        id,
                        node: None,
                        addresses: Vec::new(),
                        requests_priority: false,
                    });
                }
                conns.set_reason(link, reason);
                self.asked.insert(link);
                cx.timers.set(Timer::Silence(link), cx.now + cx.config.limits.dial_timeout);
                conns.send_handshake(cx, link);
                if let Some(join) = self.join_frame(cx, peers, conns, link) {
                    cx.send(vec![link], join, Lane::Control);
                }
            }
            Some(DialReason::Redirect) => {
                conns.links.close(cx, link, close::NORMAL, "you are a native peer, as we are: dial us")
            }
            _ if self.is_full(cx, conns, None) => {
                conns.links.close(cx, link, close::NORMAL, "the last slot here was taken meanwhile")
            }
            _ => {
                conns.set_reason(link, reason);
                self.admit_standby(cx, peers, conns, link);
            }
        }
    }

    /// Handles a dial that led to no new peer.
    pub(crate) fn on_dial_missed(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        conns: &mut Connections,
        address: &PeerAddress,
        reason: Option<&DialReason>,
        why: impl Into<DialError>,
    ) {
        if reason == Some(&DialReason::Bootstrap) {
            self.on_bootstrap_failed(cx, peers, conns, why);
        }
        match reason {
            Some(DialReason::Walk) => self.on_walk_missed(cx, peers, conns),
            Some(DialReason::Slot { .. }) => self.on_rewire_missed(cx, address),
            _ => {}
        }
        self.on_bootstrap_missed(cx, peers, conns, address);
        self.fill_slots(cx, peers, conns);
    }

    /// Handles the end of a link after all other components did: goes on with what it was dialled
    /// for.
    pub(crate) fn on_link_closed(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        conns: &mut Connections,
        closed: &Closed,
        answered: bool,
        cause: &LinkEnd,
    ) {
        if cx.shutting_down {
            return;
        }
        if closed.reason == Some(DialReason::Bootstrap) && !answered {
            self.on_bootstrap_failed(cx, peers, conns, DialError::Ended(cause.clone()));
        }
        if closed.reason == Some(DialReason::Walk) && !answered {
            self.on_walk_missed(cx, peers, conns);
        }
        match &closed.link.dialled {
            Some(address) => self.on_bootstrap_missed(cx, peers, conns, address),
            None => self.try_next_named(cx, peers, conns),
        }
        if closed.link.takes_transactions() || closed.link.closing {
            self.save_peer_cache_later(cx);
        }
        self.heal_partition(cx, peers, conns);
        self.fill_slots(cx, peers, conns);
    }

    /// Sets the state of an address whose link has ended and was declined, answered or released.
    /// Returns `false` if none of these holds: the address backs off as after a failure.
    pub(crate) fn settle_address(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        address: &PeerAddress,
        closed: &Link,
        reason: Option<&DialReason>,
        answered: bool,
    ) -> bool {
        if cx.shutting_down {
            return false;
        }
        let declined = peers.book.get(address).and_then(|peer| peer.declined_until).filter(|until| cx.now < *until);
        let until = match (declined, reason) {
            (Some(until), _) => Some(until),
            (None, Some(DialReason::Shuffle | DialReason::Walk | DialReason::Bootstrap)) if answered => None,
            (None, _) if closed.is_released() && cx.config.max_peers.is_some() => Some(cx.now + RELEASED_WAIT),
            _ => return false,
        };
        peers.book.set_state(address, AddressState::Waiting);
        if let Some(peer) = peers.book.get_mut(address) {
            peer.failures = 0;
            peer.last_up = Some(cx.now);
        }
        match until {
            Some(until) => cx.timers.set(Timer::Dial(address.clone()), until),
            None if cx.config.max_peers.is_none() => cx.timers.set(Timer::Dial(address.clone()), cx.now),
            None => {}
        }
        true
    }

    /// Handles an exercise peer that introduced itself to a node with a cap: dials it back for a
    /// slot, or to redirect it if there is none. Returns `false` without a cap.
    pub(crate) fn admit_exercise(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        conns: &mut Connections,
        link: LinkId,
        addresses: &[PeerAddress],
    ) -> bool {
        if cx.config.max_peers.is_none() {
            return false;
        }
        let Some(address) = conns.links.get(link).and_then(Link::exercise_address) else {
            return true;
        };
        let address = address.clone();
        if !conns.may_learn(cx, &mut peers.book, link, &address) {
            return true;
        }
        let (scope, group) = conns.links.source_of(link);
        peers.book.add(&address, AddressSource::SelfAnnounced(scope, group), cx.now, &cx.config.limits);
        let waits = peers.book.get(&address).is_some_and(|peer| peer.state == AddressState::Waiting);
        let shortens = waits && self.may_shorten(cx, peers, conns, link, &address);
        let may_dial = shortens || peers.book.is_idle(cx, &address);
        if waits && self.admits_exercise(cx, conns, &address) {
            if may_dial {
                dial_for(cx, peers, conns, &address, DialReason::Exercise);
            }
        } else if waits {
            if may_dial && self.spend_priority(cx, peers, &address) {
                dial_for(cx, peers, conns, &address, DialReason::Redirect);
            }
            conns.links.close(cx, link, close::TRY_AGAIN_LATER, "this node has no free slot");
        }
        let named: Vec<PeerAddress> =
            addresses.iter().filter(|at| conns.may_learn(cx, &mut peers.book, link, at)).cloned().collect();
        self.add_addresses(cx, peers, conns, link, &named);
        true
    }

    /// Dials an exercise peer again that had a slot here: for a slot, or to redirect it if there is
    /// none. It may have lost all its links, and dials nobody by itself. Returns whether it is
    /// dialled.
    pub(crate) fn dial_exercise(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        conns: &mut Connections,
        address: &PeerAddress,
    ) -> bool {
        let reason = if self.admits_exercise(cx, conns, address) { DialReason::Exercise } else { DialReason::Redirect };
        dial_for(cx, peers, conns, address, reason)
    }

    /// Dials an exercise peer that nobody serves, for a free slot or for that of the link
    /// `swapped`. The peer there is served elsewhere, or a liar says so: it hears of others.
    /// Returns whether it is dialled.
    pub(crate) fn serve_exercise(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        conns: &mut Connections,
        address: &PeerAddress,
        swapped: Option<LinkId>,
    ) -> bool {
        if peers.book.get(address).is_none_or(|peer| peer.state != AddressState::Waiting) {
            return false;
        }
        if let Some(link) = swapped {
            refer(cx, conns, link);
            conns.links.close(cx, link, close::TRY_AGAIN_LATER, "the slot is for a node that has none");
            self.hold_for_exercise(cx, address);
        }
        self.admits_exercise(cx, conns, address) && self.dial_exercise(cx, peers, conns, address)
    }

    /// Redirects an exercise peer for which there is no slot: sends it other addresses and closes.
    /// It reads only links that it accepted, so it was dialled for that.
    pub(crate) fn redirect_exercise(&mut self, cx: &mut Context, conns: &mut Connections, link: LinkId) {
        let others = refer(cx, conns, link);
        conns.links.close(cx, link, close::TRY_AGAIN_LATER, "this node has no free slot");
        cx.counters.exercise_redirected += 1;
        cx.notify(Event::Declined { peer: conns.links.name_of(link), others });
    }
}

/// Sends an exercise peer the addresses of other nodes; returns of how many. It may die of an
/// address where nobody listens, so only those of open links are named.
fn refer(cx: &mut Context, conns: &Connections, link: LinkId) -> usize {
    let mut addresses = conns.listening(cx, link);
    addresses.shuffle(&mut cx.rng);
    addresses.truncate(limits::SAMPLE_ADDRESSES);
    let others = addresses.len();
    // Our own address and `node` are left out, so that no reader of the list comes back to us.
    cx.send(vec![link], Handshake { addresses, dropped: 0, node: None }.to_frame(), Lane::Control);
    others
}

#[cfg(test)]
mod tests;
