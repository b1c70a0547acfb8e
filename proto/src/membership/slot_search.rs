//! How a node with a cap looks for places: how many it wants, whom it asks next, and when it insists.
//!
//! It does not dial everything it hears of. An address of its table whose timer is not set is *ready*; a place that is wanted is sought at a ready address,
//! at those first that were just named to us. With fewer than two places the search is urgent; else it is gentle, only for places of our own choice (at
//! most half of all, rounded up), and slower with each refusal, so that a full network comes to rest.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use rand::RngExt;

use crate::Lane;
use crate::address::PeerAddress;
use crate::connections::Connections;
use crate::connections::table::{Link, LinkState, PendingPeer};
use crate::context::Context;
use crate::event::Event;
use crate::frame::Frame;
use crate::id::LinkId;
use crate::ip_prefix::AddressGroup;
use crate::membership::{Membership, dial_for};
use crate::peers::Peers;
use crate::peers::address_book::{AddressSource, AddressState};
use crate::peers::dial_reason::DialReason;
use crate::timers::Timer;
use crate::wire::close;
use crate::wire::{Handshake, Join, Want};

/// How many places a node wants at once, if there are as many others.
pub(crate) const LEAST: usize = 2;
/// The shortest time between two gentle attempts …
const PACE_MIN: Duration = Duration::from_millis(500);
/// … and the longest. It doubles with each refusal and begins anew with each place won or lost.
const PACE_MAX: Duration = Duration::from_secs(60);
/// How often an urgent search looks again.
const URGENT: Duration = Duration::from_secs(1);
/// How many dials an urgent search makes within that time.
const URGENT_DIALS: u32 = 10;
/// How many nodes may refuse a node without a link before it insists, although there are others to ask.
const REFUSALS: u32 = 3;
/// One node is insisted at, and one plain peer sent on, once in this time.
const PRESS_EVERY: Duration = Duration::from_secs(10);
/// After so many refusals in a row those that had no place are asked again half as often, and so on …
const REFUSALS_TO_SLOW: u32 = 16;
/// … down to once in this time.
const ASK_AGAIN_MAX: Duration = Duration::from_secs(10);
/// How many addresses are kept that were just named to us.
const HINTS: usize = 32;
/// How long an address rests whose link we gave up.
const REST: Duration = Duration::from_secs(60);

/// The search.
#[derive(Debug)]
pub(crate) struct SlotSearch {
    hints: VecDeque<PeerAddress>,
    refusals: u32,
    pace: Duration,
    background_at: Option<Instant>,
    /// The second in which urgent dials are counted, and how many it had.
    urgent: Option<(Instant, u32)>,
    /// When somebody may be asked for a place once more, before its time.
    again_at: Option<Instant>,
    /// When a neighbour may be asked for addresses again.
    pub(crate) next_ask: Option<Instant>,
    /// Whom the next visit goes to, if it can be dialled then.
    pub(crate) visit_next: Option<PeerAddress>,
    /// The node that leads to another part of the network, to be dialled as soon as it is idle, and until when.
    pub(crate) healing: Option<(PeerAddress, Instant)>,
}

impl Default for SlotSearch {
    fn default() -> Self {
        Self {
            hints: VecDeque::new(),
            refusals: 0,
            pace: PACE_MIN,
            background_at: None,
            urgent: None,
            again_at: None,
            next_ask: None,
            visit_next: None,
            healing: None,
        }
    }
}

impl SlotSearch {
    /// These are asked before all others.
    pub(crate) fn hint(&mut self, addresses: &[PeerAddress]) {
        for address in addresses.iter().rev() {
            self.hints.retain(|hint| hint != address);
            self.hints.push_front(address.clone());
        }
        self.hints.truncate(HINTS);
    }

    /// Somebody has a free place: it is asked before all others, and without waiting.
    pub(crate) fn hint_free_slot(&mut self, address: PeerAddress) {
        self.hint(&[address]);
        (self.pace, self.background_at) = (PACE_MIN, None);
    }

    /// Somebody had no place for us.
    pub(crate) fn refused(&mut self) {
        self.refusals = self.refusals.saturating_add(1);
        self.pace = (self.pace * 2).min(PACE_MAX);
    }

    /// Whether a place is kept for a link to another part of the network.
    pub(crate) fn is_healing(&self, now: Instant) -> bool {
        self.healing.as_ref().is_some_and(|(_, until)| now < *until)
    }

    /// A place was won.
    pub(crate) fn placed(&mut self) {
        self.refusals = 0;
        self.pace = PACE_MIN;
    }
}

/// How much a place is wanted.
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

    /// How many requests for somebody else's place are under way. Each brings two: that one, and whoever had it comes here.
    fn pending_priority(&self, peers: &Peers, conns: &Connections) -> usize {
        let waits =
            |link: LinkId| conns.links.get(link).is_some_and(|open| matches!(open.state, LinkState::HelloSent(_)));
        let open = conns.reasons().filter(|(link, reason)| reason.is_high_priority() && waits(*link));
        peers.dialer.reasons().filter(|reason| reason.is_high_priority()).count() + open.count()
    }

    fn demand(&self, cx: &Context, peers: &Peers, conns: &Connections) -> Demand {
        let Some(most) = cx.config.max_peers.map(|most| most as usize) else { return Demand::None };
        let (taken, flying) =
            (self.slots_taken(cx, conns, None), self.pending_slots(peers) + self.pending_priority(peers, conns));
        if taken + flying >= most {
            Demand::None
        } else if taken + flying < LEAST + self.exercise_slots(conns) {
            Demand::Urgent
        } else if self.slots_dialled(conns) + flying < most.div_ceil(2) {
            Demand::Background
        } else {
            Demand::None
        }
    }

    /// Dials for the places that are wanted. Returns the first address that was dialled.
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
            Demand::Background => Some(self.search.background_at.unwrap_or(cx.now).max(cx.now + PACE_MIN)),
            Demand::Urgent => Some(cx.now + URGENT),
        };
        // Whoever a place is held for may never come.
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
        let pace = search.pace;
        self.search.background_at = Some(cx.now + pace.mul_f64(cx.rng.random_range(0.7..1.3)));
        let address = self.idle_address(cx, peers, conns)?;
        dial_for(cx, peers, conns, &address, DialReason::slot()).then_some(address)
    }

    /// Counts an urgent dial; `false`: there were enough in this second, whoever named the addresses.
    fn spend_urgent(&mut self, cx: &mut Context) -> bool {
        let (since, count) = self.search.urgent.unwrap_or((cx.now, 0));
        let over = cx.now.saturating_duration_since(since) >= URGENT;
        self.search.urgent = Some(if over { (cx.now, 1) } else { (since, count.saturating_add(1)) });
        over || count < URGENT_DIALS
    }

    fn search_urgently(&mut self, cx: &mut Context, peers: &mut Peers, conns: &mut Connections) -> Option<PeerAddress> {
        let most = cx.config.max_peers.unwrap_or(u32::MAX);
        let taken = self.slots_taken(cx, conns, None).saturating_sub(self.exercise_slots(conns));
        // With one link of two places a free one is left somewhere: all degrees together are even.
        let alone = taken == 0 || (taken == 1 && most > 2);
        if !self.spend_urgent(cx) {
            return None;
        }
        let ready = self.idle_address(cx, peers, conns);
        let refused = self.search.refusals >= REFUSALS;
        if let Some(address) = ready {
            let high_priority = alone && refused && self.press(cx, peers, &address);
            return dial_for(cx, peers, conns, &address, DialReason::Slot { high_priority, referred_by: None })
                .then_some(address);
        }
        let dialled = self.ask_again(cx, peers, conns, taken, alone);
        if dialled.is_none() {
            self.ask_neighbor(cx, conns, Want::Neighbours);
        }
        dialled
    }

    /// Nobody is ready, and one of the first two places is wanted: whoever had none is asked again before its time, one a second at most, for a place that is
    /// left may be there by now; and with no link at all also a known peer that did not answer. Returns who is dialled.
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
                let pressed = peer.pressed.is_some_and(|at| cx.now.saturating_duration_since(at) < PRESS_EVERY);
                peer.state == AddressState::Waiting && answers && !pressed
            })
            .map(|(address, _)| address.clone())
            .collect();
        let address = cx.pick(&choice)?;
        let search = &mut self.search;
        let slower = URGENT * (1 << (search.refusals / REFUSALS_TO_SLOW).min(8));
        search.again_at = Some(cx.now + slower.min(ASK_AGAIN_MAX));
        self.press(cx, peers, &address);
        if high_priority {
            cx.notify(Event::RequestingSlot { address: address.clone() });
        }
        let again = DialReason::Slot { high_priority, referred_by: None };
        dial_for(cx, peers, conns, &address, again).then_some(address)
    }

    /// Notes that we insist at an address, or send a plain peer on; `false` if that was done a moment ago.
    fn press(&mut self, cx: &mut Context, peers: &mut Peers, address: &PeerAddress) -> bool {
        let Some(peer) = peers.book.get_mut(address) else { return false };
        let free = peer.pressed.is_none_or(|at| cx.now.saturating_duration_since(at) >= PRESS_EVERY);
        if free {
            peer.pressed = Some(cx.now);
        }
        free
    }

    /// Whether there is anybody whom we could ask for a place, or are asking.
    pub(crate) fn can_search(&self, cx: &Context, peers: &Peers) -> bool {
        self.pending_slots(peers) > 0 || peers.book.iter().any(|(address, _)| peers.book.is_idle(cx, address))
    }

    /// An address to ask for a place: one just named, else one near by that says it has room, else any; of any, rather one of a group to which no link leads, lest somebody with many addresses
    /// in one place is all that we see.
    fn idle_address(&mut self, cx: &mut Context, peers: &mut Peers, conns: &mut Connections) -> Option<PeerAddress> {
        while let Some(hint) = self.search.hints.pop_front() {
            if peers.book.is_idle(cx, &hint) {
                return Some(hint);
            }
        }
        let lacking = self.slots_taken(cx, conns, None) < LEAST;
        if let Some(address) = peers.lan.freest(cx, &peers.book, &conns.links.native_ids(), lacking) {
            return Some(address);
        }
        let ready: Vec<PeerAddress> = peers
            .book
            .iter()
            .map(|(address, _)| address)
            .filter(|address| peers.book.is_idle(cx, address))
            .cloned()
            .collect();
        let linked: BTreeSet<AddressGroup> =
            peers.book.connected().filter_map(|(address, _)| AddressGroup::of(address)).collect();
        if linked.is_empty() {
            return cx.pick(&ready);
        }
        let other = |address: &&PeerAddress| AddressGroup::of(address).is_none_or(|group| !linked.contains(&group));
        let others: Vec<PeerAddress> = ready.iter().filter(other).cloned().collect();
        cx.pick(if others.is_empty() { &ready } else { &others })
    }

    /// The timer of an address ended. With a cap it is not dialled for that: it is ready if a place is wanted.
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

    /// A node without a cap dials everybody in any case; if it has no link and was declined, it insists.
    fn is_declined_and_alone(&self, cx: &Context, peers: &Peers, conns: &Connections, link: LinkId) -> bool {
        let dialled = conns.links.get(link).and_then(|link| link.dialled.as_ref());
        let declined = dialled.and_then(|address| peers.book.get(address)).is_some_and(|peer| peer.declines > 0);
        cx.config.max_peers.is_none() && declined && conns.links.peers() == 0
    }

    /// A link that we dialled is open, and it is the only one to its node.
    pub(crate) fn on_native_dialled(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        conns: &mut Connections,
        link: LinkId,
        purpose: Option<DialReason>,
    ) {
        let Some(opened) = conns.links.get_mut(link) else { return };
        let id = opened.name().node;
        if let Some(address) = &opened.dialled {
            peers.book.set_state(address, AddressState::Connected(link));
        }
        match purpose {
            Some(DialReason::Shuffle | DialReason::Walk | DialReason::Bootstrap) => {
                if let Some(id) = id {
                    opened.state = LinkState::AwaitingAdmission(PendingPeer {
                        id,
                        node: None,
                        addresses: Vec::new(),
                        requests_priority: false,
                    });
                }
                conns.set_reason(link, purpose);
                self.asked.insert(link);
                cx.timers.set(Timer::Silence(link), cx.now + cx.config.limits.dial_timeout);
                conns.send_handshake(cx, link);
                if let Some(join) = self.join_frame(cx, peers, conns, link) {
                    cx.send(vec![link], join, Lane::Control);
                }
            }
            Some(DialReason::Redirect) => {
                conns.links.close(cx, link, close::NORMAL, "you are a full peer, as we are: dial us")
            }
            _ if self.is_full(cx, conns, None) => {
                conns.links.close(cx, link, close::NORMAL, "the last place here was taken meanwhile")
            }
            _ => {
                conns.set_reason(link, purpose);
                self.admit_standby(cx, peers, conns, link);
            }
        }
    }

    /// A dial led to nobody new.
    pub(crate) fn on_dial_missed(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        conns: &mut Connections,
        address: &PeerAddress,
        purpose: Option<&DialReason>,
        why: &str,
    ) {
        if purpose == Some(&DialReason::Bootstrap) {
            self.on_bootstrap_failed(cx, peers, conns, why);
        }
        match purpose {
            Some(DialReason::Walk) => self.on_walk_missed(cx, peers, conns),
            Some(DialReason::Slot { .. }) => self.on_rewire_missed(cx, address),
            _ => {}
        }
        self.on_bootstrap_missed(cx, peers, conns, address);
        self.fill_slots(cx, peers, conns);
    }

    /// A link is gone, and the tables know it: what follows for the search.
    pub(crate) fn on_link_closed(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        conns: &mut Connections,
        closed: &Link,
        purpose: Option<&DialReason>,
        answered: bool,
        cause: &str,
    ) {
        if cx.shutting_down {
            return;
        }
        if purpose == Some(&DialReason::Bootstrap) && !answered {
            self.on_bootstrap_failed(cx, peers, conns, cause);
        }
        if purpose == Some(&DialReason::Walk) && !answered {
            self.on_walk_missed(cx, peers, conns);
        }
        match &closed.dialled {
            Some(address) => self.on_bootstrap_missed(cx, peers, conns, address),
            None => self.try_next_named(cx, peers, conns),
        }
        if closed.takes_transactions() || closed.closing {
            self.save_peer_cache_later(cx);
        }
        self.heal_partition(cx, peers, conns);
        self.fill_slots(cx, peers, conns);
    }

    /// A link is gone: where does what led there stand now? `false`: as everywhere, it failed and waits.
    pub(crate) fn settle_address(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        address: &PeerAddress,
        closed: &Link,
        purpose: Option<&DialReason>,
        answered: bool,
    ) -> bool {
        if cx.shutting_down {
            return false;
        }
        let declined = peers.book.get(address).and_then(|peer| peer.declined_until).filter(|until| cx.now < *until);
        let until = match (declined, purpose) {
            (Some(until), _) => Some(until),
            (None, Some(DialReason::Shuffle | DialReason::Walk | DialReason::Bootstrap)) if answered => None,
            (None, _) if closed.closing && cx.config.max_peers.is_some() => Some(cx.now + REST),
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

    /// A node of the exercise introduced itself to a node with a cap: it is dialled back if there is a place for it, else dialled once and sent on. Says
    /// whether anything was done.
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
        peers.book.add(&address, AddressSource::Hello(conns.links.scope_of(link)), cx.now, &cx.config.limits);
        let idle = peers.book.get(&address).is_some_and(|peer| peer.state == AddressState::Waiting);
        if idle && self.admits_exercise(cx, conns) {
            if let Some(peer) = peers.book.get_mut(&address) {
                peer.failures = 0;
            }
            dial_for(cx, peers, conns, &address, DialReason::slot());
        } else if idle {
            if self.press(cx, peers, &address) {
                dial_for(cx, peers, conns, &address, DialReason::Redirect);
            }
            conns.links.close(cx, link, close::TRY_AGAIN_LATER, "this node has no free place");
        }
        let told: Vec<PeerAddress> =
            addresses.iter().filter(|told| conns.may_learn(cx, &mut peers.book, link, told)).cloned().collect();
        self.add_addresses(cx, peers, conns, link, &told);
        true
    }

    /// We dialled a node of the exercise and have no place for it: it is told of others, on the only link on which it listens, and sent there.
    pub(crate) fn redirect_exercise(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        conns: &mut Connections,
        link: LinkId,
    ) {
        let addresses = self.sample_for(cx, peers, conns, link);
        let others = addresses.len();
        // Without what we say of ourselves: else it, or a reader of its list, might come back.
        let frame = Handshake { addresses, dropped: 0, node: None }.to_frame();
        cx.send(vec![link], frame, Lane::Control);
        conns.links.close(cx, link, close::TRY_AGAIN_LATER, "this node has no free place");
        cx.counters.exercise_redirected += 1;
        cx.notify(Event::Declined { peer: conns.links.name_of(link), others });
    }
}
