//! How a node with a cap looks for places: how many it wants, whom it asks next, and when it insists.
//!
//! It does not dial everything it hears of. An address of its table whose timer is not set is *ready*; a place that is wanted is sought at a ready address,
//! at those first that were just named to us. With fewer than two places the search is urgent; else it is gentle, only for places of our own choice (at
//! most half of all, rounded up), and slower with each refusal, so that a full network comes to rest.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use rand::RngExt;

use crate::Lane;
use crate::Node;
use crate::address::PeerAddress;
use crate::connections::table::{Link, PendingPeer, Role};
use crate::event::Event;
use crate::id::{LinkId, NodeId};
use crate::membership::slots::Group;
use crate::peers::address_book::{AddressSource, AddressState};
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

/// What a dial is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A place.
    Place {
        /// Whether the other is to split a link for us.
        insist: bool,
        /// Who sent us there.
        moved_by: Option<NodeId>,
    },
    /// Some addresses, from a random node.
    Visit,
    /// The same, as a step of a random walk: the next one leads on from there.
    Walk,
    /// The address of a node to begin with, from the genesis node.
    Bootstrap,
    /// To tell a plain peer of others: we have no place for it.
    Redirect,
}

/// The search.
#[derive(Debug)]
pub(crate) struct SlotSearch {
    /// What the dials under way are for; the others are for a place.
    pub(crate) flying: BTreeMap<PeerAddress, Purpose>,
    /// What open links were dialled for.
    pub(crate) open: BTreeMap<LinkId, Purpose>,
    hints: VecDeque<PeerAddress>,
    refusals: u32,
    pace: Duration,
    gentle_at: Option<Instant>,
    /// The second in which urgent dials are counted, and how many it had.
    urgent: Option<(Instant, u32)>,
    /// When somebody may be asked for a place once more, before its time.
    again_at: Option<Instant>,
    /// When a neighbour may be asked for addresses again.
    pub(crate) next_ask: Option<Instant>,
    /// Whom the next visit goes to, if it can be dialled then.
    pub(crate) visit_next: Option<PeerAddress>,
    /// The node that leads to another part of the network, to be dialled as soon as it is idle, and until when.
    pub(crate) merge: Option<(PeerAddress, Instant)>,
}

impl Default for SlotSearch {
    fn default() -> Self {
        Self {
            flying: BTreeMap::new(),
            open: BTreeMap::new(),
            hints: VecDeque::new(),
            refusals: 0,
            pace: PACE_MIN,
            gentle_at: None,
            urgent: None,
            again_at: None,
            next_ask: None,
            visit_next: None,
            merge: None,
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
    pub(crate) fn hint_free(&mut self, address: PeerAddress) {
        self.hint(&[address]);
        (self.pace, self.gentle_at) = (PACE_MIN, None);
    }

    /// Somebody had no place for us.
    pub(crate) fn refused(&mut self) {
        self.refusals = self.refusals.saturating_add(1);
        self.pace = (self.pace * 2).min(PACE_MAX);
    }

    /// Whether a place is kept for a link to another part of the network.
    pub(crate) fn merges(&self, now: Instant) -> bool {
        self.merge.as_ref().is_some_and(|(_, until)| now < *until)
    }

    /// A place was won.
    pub(crate) fn placed(&mut self) {
        self.refusals = 0;
        self.pace = PACE_MIN;
    }
}

/// How much a place is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    Nothing,
    Gentle,
    Urgent,
}

impl Node {
    fn flying_places(&self) -> usize {
        self.membership.seeking.flying.values().filter(|purpose| matches!(purpose, Purpose::Place { .. })).count()
    }

    /// How many requests for somebody else's place are under way. Each brings two: that one, and whoever had it comes here.
    fn insisting(&self) -> usize {
        let SlotSearch { flying, open, .. } = &self.membership.seeking;
        let insists = |purpose: &Purpose| matches!(purpose, Purpose::Place { insist: true, .. });
        let waits = |link: LinkId| self.links.get(link).and_then(Link::full).is_some_and(|peer| !peer.hello_received);
        let open = open.iter().filter(|(link, purpose)| insists(purpose) && waits(**link));
        flying.values().filter(|purpose| insists(purpose)).count() + open.count()
    }

    fn need(&self, now: Instant) -> Need {
        let Some(most) = self.cx.config.max_peers.map(|most| most as usize) else { return Need::Nothing };
        let (taken, flying) = (self.places_taken(now, None), self.flying_places() + self.insisting());
        if taken + flying >= most {
            Need::Nothing
        } else if taken + flying < LEAST + self.plain_places() {
            Need::Urgent
        } else if self.places_dialled() + flying < most.div_ceil(2) {
            Need::Gentle
        } else {
            Need::Nothing
        }
    }

    /// Dials for the places that are wanted. Returns the first address that was dialled.
    pub(crate) fn seek(&mut self, now: Instant) -> Option<PeerAddress> {
        if self.cx.config.max_peers.is_none() || self.cx.shutting_down || self.membership.genesis.is_joining() {
            return None;
        }
        let mut first = None;
        for _ in 0..8 {
            let dialled = match self.need(now) {
                Need::Nothing => break,
                Need::Gentle => self.seek_gently(now),
                Need::Urgent => self.seek_urgently(now),
            };
            if dialled.is_none() {
                break;
            }
            first = first.or(dialled);
        }
        let again = match self.need(now) {
            Need::Nothing => None,
            Need::Gentle => Some(self.membership.seeking.gentle_at.unwrap_or(now).max(now + PACE_MIN)),
            Need::Urgent => Some(now + URGENT),
        };
        // Whoever a place is held for may never come.
        let Some(again) = again.into_iter().chain(self.held_until(now)).min() else { return first };
        if self.cx.timers.due(&Timer::Seek).is_none_or(|due| again < due) {
            self.cx.timers.set(Timer::Seek, again);
        }
        first
    }

    fn seek_gently(&mut self, now: Instant) -> Option<PeerAddress> {
        let seeking = &self.membership.seeking;
        if self.flying_places() > 0 || seeking.gentle_at.is_some_and(|at| now < at) {
            return None;
        }
        let pace = seeking.pace;
        self.membership.seeking.gentle_at = Some(now + pace.mul_f64(self.cx.rng.random_range(0.7..1.3)));
        let address = self.ready_address(now)?;
        self.dial_for(now, &address, Purpose::Place { insist: false, moved_by: None }).then_some(address)
    }

    /// Counts an urgent dial; `false`: there were enough in this second, whoever named the addresses.
    fn spend_urgent(&mut self, now: Instant) -> bool {
        let (since, count) = self.membership.seeking.urgent.unwrap_or((now, 0));
        let over = now.saturating_duration_since(since) >= URGENT;
        self.membership.seeking.urgent = Some(if over { (now, 1) } else { (since, count.saturating_add(1)) });
        over || count < URGENT_DIALS
    }

    fn seek_urgently(&mut self, now: Instant) -> Option<PeerAddress> {
        let most = self.cx.config.max_peers.unwrap_or(u32::MAX);
        let taken = self.places_taken(now, None).saturating_sub(self.plain_places());
        // With one link of two places a free one is left somewhere: all degrees together are even.
        let alone = taken == 0 || (taken == 1 && most > 2);
        if !self.spend_urgent(now) {
            return None;
        }
        let ready = self.ready_address(now);
        let refused = self.membership.seeking.refusals >= REFUSALS;
        if let Some(address) = ready {
            let insist = alone && refused && self.press(now, &address);
            return self.dial_for(now, &address, Purpose::Place { insist, moved_by: None }).then_some(address);
        }
        let dialled = self.ask_again(now, taken, alone);
        if dialled.is_none() {
            self.ask_somebody(now, Want::Neighbours);
        }
        dialled
    }

    /// Nobody is ready, and one of the first two places is wanted: whoever had none is asked again before its time, one a second at most, for a place that is
    /// left may be there by now; and with no link at all also a known peer that did not answer. Returns who is dialled.
    fn ask_again(&mut self, now: Instant, taken: usize, insist: bool) -> Option<PeerAddress> {
        if self.flying_places() > 0 || self.membership.seeking.again_at.is_some_and(|at| now < at) {
            return None;
        }
        let choice: Vec<PeerAddress> = self
            .book
            .iter()
            .filter(|(_, peer)| {
                let answers = peer.failures == 0 || (peer.known && taken == 0);
                let pressed = peer.pressed.is_some_and(|at| now.saturating_duration_since(at) < PRESS_EVERY);
                peer.state == AddressState::Waiting && answers && !pressed
            })
            .map(|(address, _)| address.clone())
            .collect();
        let address = self.pick(&choice)?;
        let seeking = &mut self.membership.seeking;
        let slower = URGENT * (1 << (seeking.refusals / REFUSALS_TO_SLOW).min(8));
        seeking.again_at = Some(now + slower.min(ASK_AGAIN_MAX));
        self.press(now, &address);
        if insist {
            self.cx.notify(Event::RequestingSlot { address: address.clone() });
        }
        let again = Purpose::Place { insist, moved_by: None };
        self.dial_for(now, &address, again).then_some(address)
    }

    /// Notes that we insist at an address, or send a plain peer on; `false` if that was done a moment ago.
    fn press(&mut self, now: Instant, address: &PeerAddress) -> bool {
        let Some(peer) = self.book.get_mut(address) else { return false };
        let free = peer.pressed.is_none_or(|at| now.saturating_duration_since(at) >= PRESS_EVERY);
        if free {
            peer.pressed = Some(now);
        }
        free
    }

    pub(crate) fn pick(&mut self, choice: &[PeerAddress]) -> Option<PeerAddress> {
        (!choice.is_empty()).then(|| choice[self.cx.rng.random_range(0..choice.len())].clone())
    }

    pub(crate) fn is_ready(&self, address: &PeerAddress) -> bool {
        self.book.get(address).is_some_and(|peer| peer.state == AddressState::Waiting)
            && self.cx.timers.due(&Timer::Dial(address.clone())).is_none()
    }

    /// Whether there is anybody whom we could ask for a place, or are asking.
    pub(crate) fn has_somebody_to_dial(&self) -> bool {
        self.flying_places() > 0 || self.book.iter().any(|(address, _)| self.is_ready(address))
    }

    /// An address to ask for a place: one just named, else one near by that says it has room, else any; of any, rather one of a group to which no link leads, lest somebody with many addresses
    /// in one place is all that we see.
    fn ready_address(&mut self, now: Instant) -> Option<PeerAddress> {
        while let Some(hint) = self.membership.seeking.hints.pop_front() {
            if self.is_ready(&hint) {
                return Some(hint);
            }
        }
        if let Some(address) = self.freest_discovered(now) {
            return Some(address);
        }
        let ready: Vec<PeerAddress> =
            self.book.iter().map(|(address, _)| address).filter(|address| self.is_ready(address)).cloned().collect();
        let linked: BTreeSet<Group> = self.book.connected().filter_map(|(address, _)| Group::of(address)).collect();
        if linked.is_empty() {
            return self.pick(&ready);
        }
        let other = |address: &&PeerAddress| Group::of(address).is_none_or(|group| !linked.contains(&group));
        let others: Vec<PeerAddress> = ready.iter().filter(other).cloned().collect();
        self.pick(if others.is_empty() { &ready } else { &others })
    }

    /// Dials an address for a purpose; `false` if it is in use, or may not be dialled now.
    pub(crate) fn dial_for(&mut self, now: Instant, address: &PeerAddress, purpose: Purpose) -> bool {
        if self.cx.shutting_down || self.book.get(address).is_none_or(|peer| peer.state != AddressState::Waiting) {
            return false;
        }
        self.cx.timers.cancel(&Timer::Dial(address.clone()));
        self.membership.seeking.flying.insert(address.clone(), purpose);
        self.on_dial_due(now, address.clone());
        let under_way = self
            .book
            .get(address)
            .is_some_and(|peer| matches!(peer.state, AddressState::Attempting | AddressState::Queued));
        if !under_way {
            self.membership.seeking.flying.remove(address);
        }
        under_way
    }

    /// The timer of an address ended. With a cap it is not dialled for that: it is ready if a place is wanted.
    pub(crate) fn on_ready(&mut self, now: Instant, address: &PeerAddress) {
        if let Some(peer) = self.book.get_mut(address) {
            peer.declined_until = None;
        }
        self.seek(now);
    }

    /// A dial came to nothing.
    pub(crate) fn on_flight_failed(&mut self, now: Instant, address: &PeerAddress, error: &str) {
        match self.membership.seeking.flying.remove(address) {
            Some(Purpose::Bootstrap) => self.on_genesis_failed(now, error),
            Some(Purpose::Walk) => self.on_walk_missed(now),
            Some(Purpose::Place { .. }) => self.on_move_missed(now, address),
            _ => {}
        }
        self.on_genesis_miss(now, address);
        self.seek(now);
    }

    /// After our HANDSHAKE: what we want.
    pub(crate) fn send_join(&mut self, link: LinkId) {
        let (insist, want, moved_by) = match self.membership.seeking.open.get(&link) {
            Some(Purpose::Place { insist, moved_by }) => (*insist, None, *moved_by),
            Some(Purpose::Visit | Purpose::Walk | Purpose::Bootstrap) => (false, Some(Want::Random), None),
            Some(Purpose::Redirect) | None => (self.insists_without_cap(link), None, None),
        };
        if self.cx.config.max_peers.is_none() && !insist && want.is_none() {
            return;
        }
        let root = self.cx.config.max_peers.map(|_| self.membership.island.root());
        self.cx.send(vec![link], Join { insist, want, moved_by, root }.to_frame(), Lane::Control);
    }

    /// A node without a cap dials everybody in any case; if it has no link and was declined, it insists.
    fn insists_without_cap(&self, link: LinkId) -> bool {
        let dialled = self.links.get(link).and_then(|link| link.dialled.as_ref());
        let declined = dialled.and_then(|address| self.book.get(address)).is_some_and(|peer| peer.declines > 0);
        self.cx.config.max_peers.is_none() && declined && self.links.peers() == 0
    }

    /// A link that we dialled is open, and it is the only one to its node.
    pub(crate) fn use_dialled(&mut self, now: Instant, link: LinkId, purpose: Option<Purpose>) {
        let Some(opened) = self.links.get_mut(link) else { return };
        let id = opened.name().node;
        if let Some(address) = &opened.dialled {
            self.book.set_state(address, AddressState::Connected(link));
        }
        match purpose {
            Some(Purpose::Visit | Purpose::Walk | Purpose::Bootstrap) => {
                if let Some(id) = id {
                    opened.role =
                        Role::AwaitingAdmission(PendingPeer { id, node: None, addresses: Vec::new(), insists: false });
                }
                self.membership.seeking.open.extend(purpose.map(|purpose| (link, purpose)));
                self.membership.asked.insert(link);
                self.cx.timers.set(Timer::Silence(link), now + self.cx.config.limits.dial_timeout);
                self.send_handshake(link);
                self.send_join(link);
            }
            Some(Purpose::Redirect) => {
                self.links.close(&mut self.cx, link, close::NORMAL, "you are a full peer, as we are: dial us")
            }
            _ if self.is_full(now, None) => {
                self.links.close(&mut self.cx, link, close::NORMAL, "the last place here was taken meanwhile")
            }
            _ => {
                self.membership.seeking.open.extend(purpose.map(|purpose| (link, purpose)));
                self.promote(now, link);
            }
        }
    }

    /// A dial led to nobody new.
    pub(crate) fn on_missed(&mut self, now: Instant, address: &PeerAddress, purpose: Option<&Purpose>, why: &str) {
        if purpose == Some(&Purpose::Bootstrap) {
            self.on_genesis_failed(now, why);
        }
        match purpose {
            Some(Purpose::Walk) => self.on_walk_missed(now),
            Some(Purpose::Place { .. }) => self.on_move_missed(now, address),
            _ => {}
        }
        self.on_genesis_miss(now, address);
        self.seek(now);
    }

    /// A link is gone, and the tables know it: what follows for the search.
    pub(crate) fn after_link(
        &mut self,
        now: Instant,
        closed: &Link,
        purpose: Option<&Purpose>,
        answered: bool,
        cause: &str,
    ) {
        if self.cx.shutting_down {
            return;
        }
        if purpose == Some(&Purpose::Bootstrap) && !answered {
            self.on_genesis_failed(now, cause);
        }
        if purpose == Some(&Purpose::Walk) && !answered {
            self.on_walk_missed(now);
        }
        match &closed.dialled {
            Some(address) => self.on_genesis_miss(now, address),
            None => self.next_genesis(now),
        }
        if closed.takes_transactions() || closed.closing {
            self.note_change(now);
        }
        self.merge(now);
        self.seek(now);
    }

    /// A link is gone: where does what led there stand now? `false`: as everywhere, it failed and waits.
    pub(crate) fn settle_place(
        &mut self,
        now: Instant,
        address: &PeerAddress,
        closed: &Link,
        purpose: Option<&Purpose>,
        answered: bool,
    ) -> bool {
        if self.cx.shutting_down {
            return false;
        }
        let declined = self.book.get(address).and_then(|peer| peer.declined_until).filter(|until| now < *until);
        let until = match (declined, purpose) {
            (Some(until), _) => Some(until),
            (None, Some(Purpose::Visit | Purpose::Walk | Purpose::Bootstrap)) if answered => None,
            (None, _) if closed.closing && self.cx.config.max_peers.is_some() => Some(now + REST),
            _ => return false,
        };
        self.book.set_state(address, AddressState::Waiting);
        if let Some(peer) = self.book.get_mut(address) {
            peer.failures = 0;
            peer.last_up = Some(now);
        }
        match until {
            Some(until) => self.cx.timers.set(Timer::Dial(address.clone()), until),
            None if self.cx.config.max_peers.is_none() => self.cx.timers.set(Timer::Dial(address.clone()), now),
            None => {}
        }
        true
    }

    /// A node of the exercise introduced itself to a node with a cap: it is dialled back if there is a place for it, else dialled once and sent on. Says
    /// whether anything was done.
    pub(crate) fn place_plain(&mut self, now: Instant, link: LinkId, addresses: &[PeerAddress]) -> bool {
        if self.cx.config.max_peers.is_none() {
            return false;
        }
        let Some(Role::Exercise { address: Some(address) }) = self.links.get(link).map(|link| &link.role) else {
            return true;
        };
        let address = address.clone();
        if !self.may_learn(link, &address) {
            return true;
        }
        self.book.add(&address, AddressSource::Hello(self.scope_of(link)), now, &self.cx.config.limits);
        let idle = self.book.get(&address).is_some_and(|peer| peer.state == AddressState::Waiting);
        if idle && self.takes_plain(now) {
            if let Some(peer) = self.book.get_mut(&address) {
                peer.failures = 0;
            }
            self.dial_for(now, &address, Purpose::Place { insist: false, moved_by: None });
        } else if idle {
            if self.press(now, &address) {
                self.dial_for(now, &address, Purpose::Redirect);
            }
            self.links.close(&mut self.cx, link, close::TRY_AGAIN_LATER, "this node has no free place");
        }
        let told: Vec<PeerAddress> = addresses.iter().filter(|told| self.may_learn(link, told)).cloned().collect();
        self.hear_of(now, link, &told);
        true
    }

    /// We dialled a node of the exercise and have no place for it: it is told of others, on the only link on which it listens, and sent there.
    pub(crate) fn redirect_plain(&mut self, now: Instant, link: LinkId) {
        let addresses = self.sample_for(now, link);
        let others = addresses.len();
        // Without what we say of ourselves: else it, or a reader of its list, might come back.
        let frame = Handshake { addresses, dropped: 0, node: None }.to_frame();
        self.cx.send(vec![link], frame, Lane::Control);
        self.links.close(&mut self.cx, link, close::TRY_AGAIN_LATER, "this node has no free place");
        self.cx.counters.exercise_redirected += 1;
        self.cx.notify(Event::Declined { peer: self.links.name_of(link), others });
    }
}
