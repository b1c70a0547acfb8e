//! The dialer: when an address is dialled or probed, and how many at once.
//!
//! Every address in the book that is neither in use nor our own has a timer, or waits until a slot
//! is wanted. When it is due it is dialled, [queued](crate::peers::dial_queue) until one of the
//! dials allowed at once ends, or put off. So no address is lost silently. How often one host is
//! dialled is counted once its IP address is known, by the
//! [`allowance`](crate::peers::dial_allowance).
//!
//! The timers of addresses, membership (for a [`DialReason`]), handshakes (to verify an address)
//! and the node (when its line is back) call it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::RngExt;

use crate::address::PeerAddress;
use crate::context::Context;
use crate::dial_reason::DialReason;
use crate::event::Event;
use crate::id::LinkId;
use crate::io::Output;
use crate::ip_prefix::SourceGroup;
use crate::peers::address_book::{AddressBook, AddressState, FIRST_DIALS, Peer};
use crate::peers::dial_queue::DialQueue;
use crate::peers::reputation::Reputation;
use crate::timers::Timer;
use crate::util::rate_limit::RateLimit;

/// How many known addresses that peers claim are probed without delay. Links
/// come first when many nodes start together, and other nodes know these addresses anyway.
const PROBES_AT_ONCE: u32 = 4;
/// The delay of the other probes, in which the start of many nodes settles.
const PROBE_LATER: Duration = Duration::from_secs(1);
/// The time between two delayed probes.
const PROBE_EVERY: Duration = Duration::from_millis(100);
/// How many probes wait at most, for 6 s. It is enough for a hundred nodes that start together,
/// half of which dial this one, and too short to put off other probes for long.
const PROBES_WAITING: u32 = 50;
/// The time between two dials of known peers at the start, after the first [`FIRST_DIALS`]: a node
/// that starts together with us may link to us meanwhile.
const DIAL_EVERY: Duration = Duration::from_millis(2);

/// The time between two rounds of dials because the line of this node is back: a relay may come and
/// go.
const REDIAL_EVERY: Duration = Duration::from_secs(10);
/// The time over which the dials of such a round are spread: a relay that is back is so for all its
/// nodes.
const REDIAL_WITHIN: Duration = Duration::from_secs(1);
/// How many addresses such a round has.
const REDIALS: usize = 32;

/// The dials and probes under way, those that wait for one of the limited number, and why.
#[derive(Debug, Default)]
pub(crate) struct Dialer {
    /// The reasons of dials under way that have one: their addresses are attempting or queued.
    pending: BTreeMap<PeerAddress, DialReason>,
    /// The rate limit of the probes of known addresses.
    probes: RateLimit,
    /// Addresses that are due while the dials allowed at once are under way.
    queue: DialQueue,
    /// When the line of this node was back last.
    redialled: Option<Instant>,
}

/// What was done with an address that was due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// It is being dialled or probed, waits for one of the dials allowed at once, or was put off.
    Settled,
    /// It is idle: with a cap it is dialled for a reason only.
    Idle,
}

impl Dialer {
    /// Takes the reason for which an address is being dialled, if there is one.
    pub(crate) fn take_reason(&mut self, address: &PeerAddress) -> Option<DialReason> {
        self.pending.remove(address)
    }

    /// Takes the reason of a dial that ended before its turn came: its node linked to this one, or
    /// the address was banned or displaced meanwhile. A reason that stayed would count as a dial
    /// under way, for which other searches wait.
    pub(crate) fn take_unused(&mut self, book: &AddressBook) -> Option<(PeerAddress, DialReason)> {
        let state = |address: &PeerAddress| book.get(address).map(|peer| peer.state);
        let unused =
            |address: &PeerAddress| !matches!(state(address), Some(AddressState::Attempting | AddressState::Queued));
        let address = self.pending.keys().find(|address| unused(address))?.clone();
        self.pending.remove_entry(&address)
    }

    /// Returns the reasons of all dials under way that have one.
    pub(crate) fn reasons(&self) -> impl Iterator<Item = &DialReason> {
        self.pending.values()
    }

    /// Makes known peers due. Each node begins with those that follow its own address, in a ring.
    /// So two nodes that start together dial each other at different times, and the first dial is
    /// enough.
    pub(crate) fn dial_known(&self, cx: &mut Context, book: &AddressBook) {
        let mut known = cx.config.known_peers.clone();
        known.retain(|address| cx.can_dial(address));
        known.sort_unstable();
        let next = known.partition_point(|address| *address <= cx.config.address);
        known.rotate_left(next);
        for (turn, address) in (0..).zip(known) {
            book.dial_at(cx, &address, cx.now + DIAL_EVERY * u32::saturating_sub(turn, FIRST_DIALS - 1));
        }
    }

    /// Dials what failed while the line of this node was cut, or its relay away: addresses that led
    /// to a node before, and node ids that the user named. Their dials say nothing of the nodes, so
    /// they no longer count. Others may be dead for days.
    pub(crate) fn on_line_back(&mut self, cx: &mut Context, book: &mut AddressBook) {
        if self.redialled.is_some_and(|at| cx.now.saturating_duration_since(at) < REDIAL_EVERY) {
            return;
        }
        self.redialled = Some(cx.now);
        let failed = |peer: &Peer| {
            peer.failures > 0
                && peer.declined_until.is_none_or(|until| until <= cx.now)
                && matches!(peer.state, AddressState::Waiting | AddressState::Queued | AddressState::Attempting)
        };
        let counts =
            |address: &PeerAddress, peer: &Peer| peer.last_up.is_some() || (peer.known && address.node().is_some());
        let mut lost: Vec<_> = book
            .iter()
            .filter(|(address, peer)| failed(peer) && counts(address, peer))
            .map(|(address, peer)| (peer.known, peer.last_up, address.clone()))
            .collect();
        lost.sort_by_key(|(known, last_up, _)| std::cmp::Reverse((*known, *last_up)));
        for (_, _, address) in lost.into_iter().take(REDIALS) {
            if let Some(peer) = book.get_mut(&address) {
                peer.failures = 0;
            }
            let at = cx.now + REDIAL_WITHIN.mul_f64(cx.rng.random_range(0.0..1.0));
            book.dial_at(cx, &address, at);
        }
    }

    /// Dials an address for a reason; returns `false` if it is in use, or may not be dialled now.
    pub(crate) fn dial_for(
        &mut self,
        cx: &mut Context,
        book: &mut AddressBook,
        reputation: &Reputation,
        unverified: &dyn Fn(LinkId) -> Option<SourceGroup>,
        address: &PeerAddress,
        reason: DialReason,
    ) -> bool {
        if cx.shutting_down || book.get(address).is_none_or(|peer| peer.state != AddressState::Waiting) {
            return false;
        }
        cx.timers.cancel(&Timer::Dial(address.clone()));
        self.pending.insert(address.clone(), reason);
        self.on_due(cx, book, reputation, unverified, address.clone());
        let state = book.get(address).map(|peer| peer.state);
        let under_way = matches!(state, Some(AddressState::Attempting | AddressState::Queued));
        if !under_way {
            self.pending.remove(address);
        }
        under_way
    }

    /// Handles the timer of an address: dials it, queues it, or puts it off. `unverified`
    /// returns the group of the peer at the other end of a link, which claims the address, if it
    /// still waits to be verified.
    pub(crate) fn on_due(
        &mut self,
        cx: &mut Context,
        book: &mut AddressBook,
        reputation: &Reputation,
        unverified: &dyn Fn(LinkId) -> Option<SourceGroup>,
        address: PeerAddress,
    ) -> Due {
        if cx.shutting_down || book.get(&address).is_none_or(|peer| peer.state != AddressState::Waiting) {
            return Due::Settled;
        }
        if !cx.can_dial(&address) {
            return Due::Settled;
        }
        if book.forget(&address, cx.now, &cx.config.limits) {
            return Due::Settled;
        }
        if let Some(until) = reputation.banned_until(cx.now, book, &address) {
            cx.timers.set(Timer::Dial(address), until);
            return Due::Settled;
        }
        let claimed = book.get_mut(&address).and_then(|peer| peer.claimed.take());
        if let Some((link, source)) = claimed.and_then(|link| Some((link, unverified(link)?)))
            && self.probe(cx, book, (link, source), &address)
        {
            return Due::Settled;
        }
        if cx.config.max_peers.is_some() && !self.pending.contains_key(&address) {
            return Due::Idle;
        }
        if book.in_flight() >= cx.config.limits.dials_in_flight || !self.queue.begin(cx.now, book, &address) {
            book.set_state(&address, AddressState::Queued);
            self.queue.push(cx.now, book, address);
            self.schedule_next(cx);
        } else {
            let (reach, sources) = (book.reach_of(&address), sources_of(book, &address));
            let address = book.with_relays(&address);
            book.set_state(&address, AddressState::Attempting);
            cx.counters.dials += 1;
            cx.notify(Event::Dialling { address: address.clone() });
            cx.output(Output::Dial { address, reach, sources });
        }
        Due::Settled
    }

    /// Begins a probe: which node answers at the address that the peer of an accepted link claims?
    /// It is counted for the group of that peer alone, even if others named the address too: a
    /// claim must not spend what others have left. Returns `false` if it cannot be probed now.
    pub(crate) fn probe(
        &mut self,
        cx: &mut Context,
        book: &mut AddressBook,
        (link, source): (LinkId, SourceGroup),
        address: &PeerAddress,
    ) -> bool {
        let room = book.in_flight() < cx.config.limits.dials_in_flight;
        let state = book.get(address).map(|peer| peer.state);
        let idle = matches!(state, Some(AddressState::Waiting | AddressState::Queued));
        if !room || !idle {
            return false;
        }
        cx.timers.cancel(&Timer::Dial(address.clone()));
        book.set_state(address, AddressState::Probing(link));
        cx.counters.probes += 1;
        let (reach, address) = (book.reach_of(address), book.with_relays(address));
        cx.output(Output::Probe { link, address, reach, sources: vec![source] });
        true
    }

    /// Delays the probe of a known address that the peer of an accepted link claims, if there were
    /// too many. Returns whether it did. Its timer begins the probe; until then it is not dialled,
    /// and later claims do not delay it again.
    pub(crate) fn probe_later(
        &mut self,
        cx: &mut Context,
        book: &mut AddressBook,
        link: LinkId,
        address: &PeerAddress,
    ) -> bool {
        let now = cx.now;
        let Some(peer) = book.get_mut(address).filter(|peer| peer.known && peer.state == AddressState::Waiting) else {
            return false;
        };
        let (burst, longest) = (PROBE_EVERY * PROBES_AT_ONCE, PROBE_EVERY * PROBES_WAITING);
        let before = self.probes;
        let turn = self.probes.reserve(now, PROBE_EVERY, burst);
        if turn > now + longest {
            // It is not delayed, so it takes no turn.
            self.probes = before;
        }
        if turn <= now || turn > now + longest {
            peer.claimed = None;
            return false;
        }
        let at = turn + PROBE_LATER;
        let timer = Timer::Dial(address.clone());
        let due = peer.claimed.replace(link).and_then(|_| cx.timers.due(&timer));
        cx.timers.set(timer, due.map_or(at, |due| due.min(at)));
        true
    }

    /// Begins the next dials in the queue: one under way has ended, or counts no longer.
    pub(crate) fn on_dial_ended(
        &mut self,
        cx: &mut Context,
        book: &mut AddressBook,
        reputation: &Reputation,
        unverified: &dyn Fn(LinkId) -> Option<SourceGroup>,
    ) {
        while book.in_flight() < cx.config.limits.dials_in_flight {
            let Some(address) = self.queue.pop(cx.now, book) else { break };
            if book.get(&address).is_some_and(|peer| peer.state == AddressState::Queued) {
                book.set_state(&address, AddressState::Waiting);
                // With a cap only dials with a reason are queued, so this is never idle.
                self.on_due(cx, book, reputation, unverified, address);
            }
        }
        self.schedule_next(cx);
    }

    /// Notes that a dial failed, before [`Self::on_dial_ended`].
    pub(crate) fn on_dial_failed(&mut self, now: Instant, address: &PeerAddress) {
        self.queue.on_failed(now, address);
    }

    fn schedule_next(&mut self, cx: &mut Context) {
        if let Some(due) = self.queue.next_due(cx.now) {
            cx.timers.set(Timer::NextDial, due);
        }
    }
}

/// Returns the groups that named an address.
fn sources_of(book: &AddressBook, address: &PeerAddress) -> Vec<SourceGroup> {
    book.get(address).map(|peer| peer.sources.clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
