//! The address book: one record per address, with its state and history.
//!
//! An address is **attempting** while a dial to it is under way, and **connected** while a link to
//! its node is open. One state per record keeps the two disjoint, and our own addresses out of
//! both.
//!
//! The book decides which address is displaced when it is full, how long a failed one backs off,
//! and when one is forgotten. The dialer, connections and membership change the states. As with
//! Bitcoin Core's address manager, an attacker must not displace the addresses that work.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rand::RngExt;
use rand::rngs::SmallRng;

use crate::address::{PeerAddress, RelayHint, Scope};
use crate::context::Context;
use crate::event::Event;
use crate::id::LinkId;
use crate::ip_prefix::SourceGroup;
use crate::limits::Limits;
use crate::timers::Timer;
use crate::util::generations::Generations;

/// How many known peers are dialled at once when the node starts. A node that knows more also backs
/// off longer from those that do not answer.
pub(crate) const FIRST_DIALS: u32 = 8;

/// How many forgotten addresses are remembered, in one of two generations.
const FORGOTTEN: usize = 4_096;
/// How many source groups of an address are remembered.
const SOURCES: usize = 4;

/// The state of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AddressState {
    /// To be dialled; its timer says when.
    Waiting,
    /// Due, but all dial slots are taken.
    Queued,
    /// A dial is under way.
    Attempting,
    /// A probe is under way, for the accepted link whose peer claims the address.
    Probing(LinkId),
    /// It leads to the node at the other end of this link: we dialled or probed it, or it is a
    /// further address of a linked node.
    Connected(LinkId),
    /// It leads to ourselves.
    Myself,
}

/// The source of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AddressSource {
    /// The user named it.
    Known,
    /// A node of this scope and group announced it as its own.
    SelfAnnounced(Scope, SourceGroup),
    /// A node of this scope and group named it as another node's: gossiped, unverified.
    Gossiped(Scope, SourceGroup),
}

impl AddressSource {
    /// Returns the nearest scope that its name may resolve to. The user may name anything, others
    /// nothing that is nearer to us than they are.
    fn reach(self) -> Scope {
        match self {
            Self::Known => Scope::Loopback,
            Self::SelfAnnounced(scope, _) | Self::Gossiped(scope, _) => scope,
        }
    }

    fn group(self) -> SourceGroup {
        match self {
            Self::Known => SourceGroup::User,
            Self::SelfAnnounced(_, group) | Self::Gossiped(_, group) => group,
        }
    }
}

/// The record of one address.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Whether the user named it: never forgotten.
    pub(crate) known: bool,
    /// The nearest scope that its name may resolve to, by its sources. An IP address is checked
    /// when it is learned, a name when it is resolved.
    pub(crate) reach: Scope,
    /// The nearest scope that its relays may resolve to, by the source of the relays.
    relays_reach: Scope,
    /// The groups that named it lately, the user first.
    pub(crate) sources: Vec<SourceGroup>,
    /// Whether a node announced it as its own: it is dialled before those that others named.
    pub(crate) self_announced: bool,
    /// Its state.
    pub(crate) state: AddressState,
    /// Whether it was reported that it leads to ourselves.
    led_to_us: bool,
    /// The accepted link whose peer claims the address, while that waits to be probed.
    pub(crate) claimed: Option<LinkId>,
    /// Dials that failed, or links that ended early, in a row.
    pub(crate) failures: u32,
    /// Until when its node is not asked for a slot, as it declined.
    pub(crate) declined_until: Option<Instant>,
    /// Until when it is banned for violations of its node.
    pub(crate) banned_until: Option<Instant>,
    /// How often in a row its node declined.
    pub(crate) declines: u32,
    /// When we last requested a slot there with high priority, or redirected an exercise peer.
    pub(crate) priority_requested_at: Option<Instant>,
    /// When the address was last seen to lead to a node.
    pub(crate) last_up: Option<Instant>,
    /// When a peer of another host last named it as its own.
    pub(crate) named_itself: Option<Instant>,
    /// Until when a live node counts as announcing it: it is not forgotten before.
    pub(crate) announced_until: Option<Instant>,
}

impl Peer {
    fn new(known: bool, reach: Scope, sources: Vec<SourceGroup>, state: AddressState) -> Self {
        Self {
            known,
            reach,
            relays_reach: reach,
            sources,
            self_announced: false,
            state,
            led_to_us: false,
            claimed: None,
            failures: 0,
            declined_until: None,
            banned_until: None,
            declines: 0,
            priority_requested_at: None,
            last_up: None,
            named_itself: None,
            announced_until: None,
        }
    }

    /// Returns the only group that named it.
    fn only_source(&self) -> Option<SourceGroup> {
        if let [group] = self.sources[..] { Some(group) } else { None }
    }

    /// Returns whether it may be forgotten by the rules of [`Limits`]: it is learned, not in use,
    /// no live node announces or claims it, and it never led to a node or not for a day.
    fn is_forgettable(&self, now: Instant, limits: &Limits) -> bool {
        !self.known
            && matches!(self.state, AddressState::Waiting | AddressState::Queued)
            && self.claimed.is_none()
            && self.announced_until.is_none_or(|until| until <= now)
            && match self.last_up {
                None => self.failures >= limits.forget_failures,
                Some(up) => now.saturating_duration_since(up) >= limits.forget_after,
            }
    }
}

/// All known addresses, our own included.
#[derive(Debug)]
pub(crate) struct AddressBook {
    peers: BTreeMap<PeerAddress, Peer>,
    /// Those that were forgotten lately, and when. Gossip does not begin their back-off again.
    forgotten: Generations<PeerAddress, Instant>,
    /// How many are attempting or probing.
    attempting: usize,
    /// How many the user named: they are outside the bound.
    known: usize,
}

impl Default for AddressBook {
    fn default() -> Self {
        Self { peers: BTreeMap::new(), forgotten: Generations::new(FORGOTTEN), attempting: 0, known: 0 }
    }
}

impl AddressBook {
    pub(crate) fn get(&self, address: &PeerAddress) -> Option<&Peer> {
        self.peers.get(address)
    }

    pub(crate) fn get_mut(&mut self, address: &PeerAddress) -> Option<&mut Peer> {
        self.peers.get_mut(address)
    }

    /// Returns all addresses in their order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&PeerAddress, &Peer)> {
        self.peers.iter()
    }

    /// Returns how many addresses there are, without our own.
    pub(crate) fn others(&self) -> usize {
        self.peers.values().filter(|peer| peer.state != AddressState::Myself).count()
    }

    /// Adds an address; returns `false` if it is there already, or there is no room for it. One
    /// that the user names becomes a known peer also if it is there already.
    pub(crate) fn add(&mut self, address: &PeerAddress, source: AddressSource, now: Instant, limits: &Limits) -> bool {
        let known = source == AddressSource::Known;
        let replaces = !matches!(source, AddressSource::Gossiped(..));
        self.note_source(address, source.reach(), source.group());
        self.note_relays(address, source.reach(), replaces);
        let wait = |at: &Instant| now.saturating_duration_since(*at) < limits.backoff_max;
        let gossip = matches!(source, AddressSource::Gossiped(..));
        if gossip && self.forgotten.get(address).is_some_and(wait) {
            return false;
        }
        if let Some(peer) = self.peers.get_mut(address) {
            self.known += usize::from(known && !peer.known);
            peer.known |= known;
            return false;
        }
        if !known && !self.make_room(source, now, limits) {
            return false;
        }
        self.known += usize::from(known);
        let mut peer = Peer::new(known, source.reach(), vec![source.group()], AddressState::Waiting);
        peer.self_announced = matches!(source, AddressSource::SelfAnnounced(..));
        if !known && self.forgotten.get(address).is_some() {
            // One more failure, and it is forgotten again.
            peer.failures = limits.forget_failures.saturating_sub(1);
        }
        self.peers.insert(address.clone().with_relays(relays_within(address, source.reach())), peer);
        true
    }

    /// Takes the relays that a source of this scope names with an address, except those that are
    /// nearer to us than the source: a stranger must not have us dial our own host or network.
    ///
    /// `replaces`: the user or the node itself names them. The word of others only counts where
    /// there are none: otherwise a liar could cut a node off. An address without relays says
    /// nothing of them.
    pub(crate) fn note_relays(&mut self, address: &PeerAddress, reach: Scope, replaces: bool) {
        let mut relays = relays_within(address, reach).peekable();
        let held = self.peers.get_key_value(address);
        if relays.peek().is_none() || held.is_none_or(|(held, _)| !replaces && !held.relays().is_empty()) {
            return;
        }
        // The key has the relays, and equals the one before.
        let address = address.clone().with_relays(relays);
        if let Some(mut peer) = self.peers.remove(&address) {
            peer.relays_reach = reach;
            self.peers.insert(address, peer);
        }
    }

    /// Returns an address with the relays that are known for it.
    pub(crate) fn with_relays(&self, address: &PeerAddress) -> PeerAddress {
        self.peers.get_key_value(address).map_or(address, |(held, _)| held).clone()
    }

    /// Returns the nearest scope that an address may lead to. Of an IP address it is its own, and
    /// was checked when it was learned; of a node id it is that of its relays.
    pub(crate) fn reach_of(&self, address: &PeerAddress) -> Scope {
        let reach = |peer: &Peer| match address.node() {
            Some(_) => peer.relays_reach,
            None => peer.reach,
        };
        self.get(address).map_or(Scope::Public, reach).min(address.scope())
    }

    /// Returns how near an address may lead after a restart, when those that named it are not known
    /// any more. An IP address shows it itself.
    pub(crate) fn remembered_reach(&self, address: &PeerAddress) -> Scope {
        let is_looked_up = address.is_name() || address.node().is_some();
        let reach = Some(self.reach_of(address)).filter(|reach| is_looked_up && *reach < address.scope());
        reach.unwrap_or(Scope::Public)
    }

    /// Makes these addresses the known ones, with our own and the bootstrap node. Others that were
    /// known count as learned from now on. Relays that the user named before too are no new word:
    /// the node may have named others since.
    pub(crate) fn set_known(&mut self, cx: &Context, addresses: &[PeerAddress]) {
        for (address, peer) in &mut self.peers {
            let stays = cx.is_own(address) || cx.config.genesis.as_ref() == Some(address);
            if peer.known && !stays && !addresses.contains(address) {
                peer.known = false;
                self.known -= 1;
            }
        }
        for address in addresses.iter().filter(|address| cx.can_dial(address)) {
            let says_the_same = |said: &PeerAddress| said == address && said.relays() == address.relays();
            let is_old = address.node().is_some() && cx.config.known_peers.iter().any(says_the_same);
            let bare = (is_old && self.peers.contains_key(address)).then(|| address.clone().with_relays([]));
            let address = bare.as_ref().unwrap_or(address);
            self.add(address, AddressSource::Known, cx.now, &cx.config.limits);
            self.doubt_self(cx, address);
        }
    }

    /// Notes that a source of this scope and group named an address. Its name may resolve as near
    /// as the nearest source.
    pub(crate) fn note_source(&mut self, address: &PeerAddress, reach: Scope, group: SourceGroup) {
        let Some(peer) = self.peers.get_mut(address) else { return };
        peer.reach = peer.reach.min(reach);
        if !peer.sources.contains(&group) {
            if peer.sources.len() >= SOURCES {
                peer.sources.remove(usize::from(peer.sources[0] == SourceGroup::User));
            }
            peer.sources.push(group);
        }
    }

    /// Returns whether one more learned address has to displace another.
    pub(crate) fn is_full(&self, limits: &Limits) -> bool {
        self.peers.len() - self.known >= limits.peer_table
    }

    /// Displaces one learned address that failed or may be forgotten, if the book is full. Of those
    /// that never led to a node it is the one that failed most, otherwise the one that led to a
    /// node longest ago. A self-announced address may also displace one that never led to a node,
    /// unless another group announced that as its own. And any address may displace one that only
    /// the group named that named most: a liar could otherwise fill the book and keep all others
    /// out.
    fn make_room(&mut self, source: AddressSource, now: Instant, limits: &Limits) -> bool {
        if !self.is_full(limits) {
            return true;
        }
        let idle = self
            .peers
            .iter()
            .filter(|(_, peer)| !peer.known && matches!(peer.state, AddressState::Waiting | AddressState::Queued));
        let largest = self.largest_group(source.group());
        let untried = |peer: &Peer| {
            let crowded = largest.is_some_and(|group| peer.only_source() == Some(group));
            let own = !peer.self_announced || peer.only_source() == Some(source.group());
            peer.last_up.is_none() && (crowded || (own && matches!(source, AddressSource::SelfAnnounced(..))))
        };
        let worst = idle
            .filter(|(_, peer)| peer.failures > 0 || peer.is_forgettable(now, limits) || untried(peer))
            .min_by_key(|(_, peer)| (peer.last_up, u32::MAX - peer.failures))
            .map(|(address, _)| address.clone());
        worst.is_some_and(|address| self.peers.remove(&address).is_some())
    }

    /// Returns the group that alone named most of the learned addresses, if that are more than this
    /// one has named.
    fn largest_group(&self, than: SourceGroup) -> Option<SourceGroup> {
        let mut named: BTreeMap<SourceGroup, usize> = BTreeMap::new();
        for group in self.peers.values().filter(|peer| !peer.known).filter_map(Peer::only_source) {
            *named.entry(group).or_default() += 1;
        }
        let own = named.get(&than).copied().unwrap_or(0);
        let largest = named.into_iter().max_by_key(|(_, count)| *count)?;
        (largest.0 != than && largest.1 > own + 1).then_some(largest.0)
    }

    /// Changes the state of an address. An unknown one is added outside the bound, as a link to it
    /// is open already.
    pub(crate) fn set_state(&mut self, address: &PeerAddress, state: AddressState) {
        let peer = self
            .peers
            .entry(address.clone())
            .or_insert_with(|| Peer::new(false, Scope::Public, Vec::new(), AddressState::Waiting));
        let counts = |state| usize::from(matches!(state, AddressState::Attempting | AddressState::Probing(_)));
        self.attempting = self.attempting + counts(state) - counts(peer.state);
        peer.state = state;
    }

    /// Forgets an address if it may be forgotten; returns whether it did.
    pub(crate) fn forget(&mut self, address: &PeerAddress, now: Instant, limits: &Limits) -> bool {
        let gone = self.peers.get(address).is_some_and(|peer| peer.is_forgettable(now, limits));
        if gone {
            self.peers.remove(address);
            self.forgotten.insert(now, address.clone(), now);
        }
        gone
    }

    /// Returns how many dials and probes are under way.
    pub(crate) fn in_flight(&self) -> usize {
        self.attempting
    }

    /// Notes that a live node announces an address: it is not forgotten for this long.
    pub(crate) fn note_announced(&mut self, address: &PeerAddress, until: Instant) {
        if let Some(peer) = self.get_mut(address) {
            peer.announced_until = peer.announced_until.max(Some(until));
        }
    }

    /// Makes an address due at `at`, unless it is in use, or due earlier.
    pub(crate) fn dial_at(&self, cx: &mut Context, address: &PeerAddress, at: Instant) {
        let timer = Timer::Dial(address.clone());
        let waiting = self.get(address).is_some_and(|peer| peer.state == AddressState::Waiting);
        if waiting && cx.timers.due(&timer).is_none_or(|due| at < due) {
            cx.timers.set(timer, at);
        }
    }

    /// Moves the dial of an address that is due before `at` to then.
    pub(crate) fn dial_no_sooner(&self, cx: &mut Context, address: &PeerAddress, at: Instant) {
        let timer = Timer::Dial(address.clone());
        if cx.timers.due(&timer).is_some_and(|due| due < at) {
            cx.timers.set(timer, at);
        }
    }

    /// Returns whether an address is neither in use nor waits for a time: it may be dialled when a
    /// slot is wanted.
    pub(crate) fn is_idle(&self, cx: &Context, address: &PeerAddress) -> bool {
        self.get(address).is_some_and(|peer| peer.state == AddressState::Waiting)
            && cx.timers.due(&Timer::Dial(address.clone())).is_none()
    }

    /// Puts an address that failed, or whose link ended, back into the waiting ones, with back-off.
    /// Returns how long it waits; `None` if it is forgotten.
    pub(crate) fn back_off(&mut self, cx: &mut Context, address: &PeerAddress) -> Option<Duration> {
        self.set_state(address, AddressState::Waiting);
        let peer = self.get_mut(address)?;
        peer.failures = peer.failures.saturating_add(1);
        let wait = backoff(peer.failures, &cx.config.limits, &mut cx.rng);
        // An address that never led to a node may be of one that is about to start, and that will
        // dial us. Without the longer wait many nodes that start together would keep dialling each
        // other too early.
        let many = cx.config.known_peers.len() > FIRST_DIALS as usize;
        let wait = if many && peer.last_up.is_none() { wait + cx.config.limits.backoff_min } else { wait };
        if self.forget(address, cx.now, &cx.config.limits) {
            return None;
        }
        cx.timers.set(Timer::Dial(address.clone()), cx.now + wait);
        Some(wait)
    }

    /// Puts an address back as [`Self::back_off`] does, with the longest wait: a dial would soon
    /// fail for the same reason.
    pub(crate) fn back_off_long(&mut self, cx: &mut Context, address: &PeerAddress) {
        self.set_state(address, AddressState::Waiting);
        cx.timers.set(Timer::Dial(address.clone()), cx.now + cx.config.limits.backoff_max);
    }

    /// Notes that an address leads to ourselves. Another node may have it later, as one that moves
    /// to the standby of a pair: it is dialled again after the longest wait.
    pub(crate) fn found_self(&mut self, cx: &mut Context, address: &PeerAddress) {
        if self.get(address).is_some_and(|peer| peer.state == AddressState::Myself) {
            return;
        }
        self.set_state(address, AddressState::Myself);
        cx.timers.set(Timer::Dial(address.clone()), cx.now + cx.config.limits.backoff_max);
        if let Some(peer) = self.get_mut(address)
            && !std::mem::replace(&mut peer.led_to_us, true)
        {
            cx.notify(Event::SelfDialled { address: address.clone() });
        }
    }

    /// Lets an address that led to ourselves be dialled again, unless it is surely ours.
    pub(crate) fn doubt_self(&mut self, cx: &Context, address: &PeerAddress) {
        if !cx.is_own(address) && self.get(address).is_some_and(|peer| peer.state == AddressState::Myself) {
            self.set_state(address, AddressState::Waiting);
        }
    }

    /// Takes up another address of ours. What led to us by the old one may lead to another node
    /// now.
    pub(crate) fn change_own(&mut self, cx: &mut Context, new: &PeerAddress) {
        let old = std::mem::replace(&mut cx.config.address, new.clone());
        if old != *new
            && !cx.config.known_peers.contains(&old)
            && self.peers.remove(&old).is_some_and(|peer| peer.known)
        {
            self.known -= 1;
        }
        self.add(new, AddressSource::Known, cx.now, &cx.config.limits);
        self.set_state(new, AddressState::Myself);
        let ours = self.peers.iter().filter(|(_, peer)| peer.state == AddressState::Myself);
        for address in ours.map(|(address, _)| address.clone()).collect::<Vec<_>>() {
            self.doubt_self(cx, &address);
            self.dial_at(cx, &address, cx.now);
        }
    }

    /// Returns the links that lead to known peers.
    pub(crate) fn known_links(&self) -> BTreeSet<LinkId> {
        let known = |address: &PeerAddress| self.get(address).is_some_and(|peer| peer.known);
        self.connected().filter(|(address, _)| known(address)).map(|(_, link)| link).collect()
    }

    /// Returns the addresses being dialled.
    pub(crate) fn attempting(&self) -> impl Iterator<Item = &PeerAddress> {
        self.peers.iter().filter(|(_, peer)| peer.state == AddressState::Attempting).map(|(address, _)| address)
    }

    /// Returns the addresses that lead to the other end of an open link, with that link.
    pub(crate) fn connected(&self) -> impl Iterator<Item = (&PeerAddress, LinkId)> {
        self.peers.iter().filter_map(|(address, peer)| match peer.state {
            AddressState::Connected(link) => Some((address, link)),
            _ => None,
        })
    }

    /// Returns the addresses that lead to the other end of `link`.
    pub(crate) fn leading_to(&self, link: LinkId) -> Vec<PeerAddress> {
        self.connected().filter(|(_, at)| *at == link).map(|(address, _)| address.clone()).collect()
    }
}

/// Returns the relays of an address that a source of this scope may name.
fn relays_within(address: &PeerAddress, reach: Scope) -> impl Iterator<Item = RelayHint> {
    address.relays().iter().filter(move |relay| reach.may_tell(relay.scope())).cloned()
}

/// Returns the wait after a number of failures in a row (1 or more): exponential from `backoff_min`
/// to `backoff_max`, with full jitter. It is at least a tenth of the span, so that a dead node is
/// not dialled many times at once by chance.
pub(crate) fn backoff(failures: u32, limits: &Limits, rng: &mut SmallRng) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let span = limits.backoff_min.saturating_mul(1 << doublings).min(limits.backoff_max);
    span.mul_f64(rng.random_range(0.1..1.0))
}

#[cfg(test)]
mod tests {
    mod relays;
    mod states;

    use rand::SeedableRng;

    use super::*;

    fn address(port: u16) -> PeerAddress {
        PeerAddress::new("localhost", port).expect("an address")
    }

    #[test]
    fn the_backoff_doubles_from_its_least_to_its_most() {
        let limits = Limits::default();
        let mut rng = SmallRng::seed_from_u64(1);
        for failures in 1..40 {
            let most = Duration::from_millis(500 << (failures - 1).min(7)).min(Duration::from_secs(60));
            for _ in 0..100 {
                let wait = backoff(failures, &limits, &mut rng);
                assert!(wait >= most / 10 && wait <= most, "{failures}: {wait:?}");
            }
        }
    }

    #[test]
    fn a_full_table_gives_up_the_address_that_failed_most() {
        let limits = Limits { peer_table: 2, ..Limits::default() };
        let now = Instant::now();
        let mut table = AddressBook::default();
        assert!(
            table.add(&address(1), AddressSource::Known, now, &limits)
                && !table.add(&address(1), AddressSource::Gossiped(Scope::Loopback, SourceGroup::Host), now, &limits)
        );
        assert!(
            table.add(&address(2), AddressSource::Gossiped(Scope::Loopback, SourceGroup::Host), now, &limits)
                && table.add(&address(3), AddressSource::Gossiped(Scope::Loopback, SourceGroup::Host), now, &limits)
        );
        assert!(
            !table.add(&address(4), AddressSource::Gossiped(Scope::Loopback, SourceGroup::Host), now, &limits),
            "nothing has failed yet"
        );
        table.get_mut(&address(2)).expect("there").failures = 1;
        table.get_mut(&address(3)).expect("there").failures = 2;
        assert!(table.add(&address(4), AddressSource::Gossiped(Scope::Loopback, SourceGroup::Host), now, &limits));
        assert!(table.get(&address(3)).is_none() && table.get(&address(2)).is_some());
        assert!(table.add(&address(5), AddressSource::Known, now, &limits), "known peers always have room");
    }

    #[test]
    fn a_group_that_filled_the_table_gives_way_to_others_and_to_no_more_than_its_share() {
        let limits = Limits { peer_table: 10, ..Limits::default() };
        let now = Instant::now();
        let mut table = AddressBook::default();
        let by = |last: u8| AddressSource::Gossiped(Scope::Public, SourceGroup::of([192, 0, 2, last].into()));
        for port in 1..=20 {
            assert_eq!(table.add(&address(port), by(1), now, &limits), port <= 10, "{port}");
        }
        let added = (100..120).filter(|port| table.add(&address(*port), by(2), now, &limits)).count();
        assert_eq!((added, table.others()), (5, 10), "half of it");
        // What worked stays.
        table.get_mut(&address(100)).expect("there").last_up = Some(now);
        let added = (200..220).filter(|port| table.add(&address(*port), by(3), now, &limits)).count();
        assert!(added == 3 && table.get(&address(100)).is_some());
    }

    #[test]
    fn an_address_that_was_learned_becomes_a_known_peer_and_counts_as_one() {
        let limits = Limits { peer_table: 1, ..Limits::default() };
        let now = Instant::now();
        let mut table = AddressBook::default();
        let gossiped = AddressSource::Gossiped(Scope::Public, SourceGroup::Host);
        assert!(table.add(&address(1), gossiped, now, &limits) && table.is_full(&limits));
        for _ in 0..2 {
            assert!(!table.add(&address(1), AddressSource::Known, now, &limits), "it is there");
            assert!(table.known == 1 && !table.is_full(&limits), "it takes no room of learned ones");
        }
        assert!(!table.add(&address(1), gossiped, now, &limits));
        let peer = table.get_mut(&address(1)).expect("there");
        assert!(peer.known && peer.reach == Scope::Loopback);
        peer.failures = 100;
        assert!(!table.forget(&address(1), now + limits.forget_after, &limits));
    }

    #[test]
    fn learned_addresses_are_forgotten_and_known_ones_are_not() {
        let limits = Limits::default();
        let now = Instant::now();
        let mut table = AddressBook::default();
        for (port, source) in [
            (1, AddressSource::Known),
            (2, AddressSource::Gossiped(Scope::Loopback, SourceGroup::Host)),
            (3, AddressSource::Gossiped(Scope::Loopback, SourceGroup::Host)),
        ] {
            table.add(&address(port), source, now, &limits);
            table.get_mut(&address(port)).expect("there").failures = 100;
        }
        table.get_mut(&address(3)).expect("there").last_up = Some(now);
        let later = now + limits.forget_after;
        assert!(!table.forget(&address(1), later, &limits), "known");
        assert!(table.forget(&address(2), now, &limits), "never of use");
        assert!(!table.forget(&address(3), now, &limits), "of use a moment ago");
        assert!(table.forget(&address(3), later, &limits));
    }

    #[test]
    fn known_peers_change_and_what_was_learned_stays() {
        let mut cx = crate::testing::parts::context();
        let limits = Limits { peer_table: 2, ..Limits::default() };
        cx.config.limits = limits.clone();
        cx.config.genesis = Some(address(9));
        let mut table = AddressBook::default();
        for port in [1, 2, 9] {
            table.add(&address(port), AddressSource::Known, cx.now, &limits);
        }
        cx.config.address = address(1);
        table.set_state(&address(1), AddressState::Myself);
        table.add(&address(3), AddressSource::SelfAnnounced(Scope::Public, SourceGroup::Host), cx.now, &limits);
        table.set_known(&cx, &[address(3), address(4)]);
        let known = |table: &AddressBook| {
            let known = table.iter().filter(|(_, peer)| peer.known).map(|(address, _)| address.port());
            known.collect::<Vec<_>>()
        };
        assert_eq!((known(&table), table.known), (vec![1, 3, 4, 9], 4));
        assert!(table.get(&address(2)).is_some(), "it counts as learned");
        assert_eq!(table.get(&address(3)).expect("there").reach, Scope::Loopback, "as near as a person may name");
        table.set_known(&cx, &[address(3), address(4)]);
        assert_eq!((known(&table), table.known), (vec![1, 3, 4, 9], 4), "the same again");
        table.set_known(&cx, &[]);
        assert_eq!((known(&table), table.known), (vec![1, 9], 2));
    }
}
