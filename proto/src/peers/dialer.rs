//! The dialer: when an address is dialled or probed, how many at once, and how often one host.
//!
//! Every address in the book that is neither in use nor our own has a timer, or waits until a slot
//! is wanted. When it is due it is dialled, queued until one of the dials allowed at once ends, or
//! put off. So no address is lost silently.
//!
//! The timers of addresses, membership (for a [`DialReason`]) and handshakes (to verify an address)
//! call it.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::address::{PeerAddress, Scope};
use crate::context::Context;
use crate::dial_reason::DialReason;
use crate::event::Event;
use crate::id::LinkId;
use crate::io::Output;
use crate::peers::address_book::{AddressBook, AddressState, FIRST_DIALS};
use crate::peers::reputation::Reputation;
use crate::timers::Timer;

/// How many known addresses that peers claim are probed without delay (the burst of a GCRA). Links
/// come first when many nodes start together, and other nodes know these addresses anyway.
const PROBES_AT_ONCE: u32 = 4;
/// The delay of the other probes, in which the start of many nodes settles.
const PROBE_LATER: Duration = Duration::from_secs(1);
/// The time between two delayed probes (the rate of the GCRA).
const PROBE_EVERY: Duration = Duration::from_millis(100);
/// How many probes wait at most, for 6 s. It is enough for a hundred nodes that start together,
/// half of which dial this one, and too short to put off other probes for long.
const PROBES_WAITING: u32 = 50;
/// The time between two dials of known peers at the start, after the first [`FIRST_DIALS`]: a node
/// that starts together with us may link to us meanwhile.
const DIAL_EVERY: Duration = Duration::from_millis(2);

/// The dials and probes under way, those that wait for one of the limited number, and why.
#[derive(Debug, Default)]
pub(crate) struct Dialer {
    /// The reasons of dials under way that have one.
    pending: BTreeMap<PeerAddress, DialReason>,
    /// The virtual clock (GCRA) of the probes of known addresses.
    probes_used_until: Option<Instant>,
    /// Addresses that are due while all dials allowed at once are under way, the first one first.
    queue: VecDeque<PeerAddress>,
    /// When each host beyond loopback was dialled lately, within `host_window`.
    hosts: BTreeMap<String, VecDeque<Instant>>,
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

    /// Returns the reasons of all dials under way that have one.
    pub(crate) fn reasons(&self) -> impl Iterator<Item = &DialReason> {
        self.pending.values()
    }

    /// Makes known peers due. Each node begins with those that follow its own address, in a ring.
    /// So two nodes that start together dial each other at different times, and the first dial is
    /// enough.
    pub(crate) fn dial_known(&self, cx: &mut Context, book: &AddressBook) {
        let mut known = cx.config.known_peers.clone();
        known.sort_unstable();
        let next = known.partition_point(|address| *address <= cx.config.address);
        known.rotate_left(next);
        for (turn, address) in (0..).zip(known) {
            book.dial_at(cx, &address, cx.now + DIAL_EVERY * u32::saturating_sub(turn, FIRST_DIALS - 1));
        }
    }

    /// Dials an address for a reason; returns `false` if it is in use, or may not be dialled now.
    pub(crate) fn dial_for(
        &mut self,
        cx: &mut Context,
        book: &mut AddressBook,
        reputation: &Reputation,
        unverified: &dyn Fn(LinkId) -> bool,
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

    /// Handles the timer of an address: dials it, queues it, or puts it off. `unverified` says
    /// whether the peer at the other end of a link, which claims the address, still waits to be
    /// verified.
    pub(crate) fn on_due(
        &mut self,
        cx: &mut Context,
        book: &mut AddressBook,
        reputation: &Reputation,
        unverified: &dyn Fn(LinkId) -> bool,
        address: PeerAddress,
    ) -> Due {
        if cx.shutting_down || book.get(&address).is_none_or(|peer| peer.state != AddressState::Waiting) {
            return Due::Settled;
        }
        if book.forget(&address, cx.now, &cx.config.limits) {
            self.pending.remove(&address);
            return Due::Settled;
        }
        if let Some(until) = reputation.banned_until(cx.now, book, &address) {
            cx.timers.set(Timer::Dial(address), until);
            return Due::Settled;
        }
        let claimed = book.get_mut(&address).and_then(|peer| peer.claimed.take());
        if let Some(link) = claimed.filter(|link| unverified(*link))
            && self.probe(cx, book, link, &address)
        {
            return Due::Settled;
        }
        if cx.config.max_peers.is_some() && !self.pending.contains_key(&address) {
            return Due::Idle;
        }
        if book.in_flight() >= cx.config.limits.dials_in_flight {
            book.set_state(&address, AddressState::Queued);
            self.queue.push_back(address);
        } else if let Err(allowed) = self.spend_on_host(cx, &address) {
            cx.counters.dials_put_off += 1;
            cx.timers.set(Timer::Dial(address), allowed);
        } else {
            let reach = reach_of(book, &address);
            book.set_state(&address, AddressState::Attempting);
            cx.counters.dials += 1;
            cx.notify(Event::Dialling { address: address.clone() });
            cx.output(Output::Dial { address, reach });
        }
        Due::Settled
    }

    /// Begins a probe: which node answers at the address that the peer of an accepted link claims?
    /// Returns `false` if it cannot be probed now.
    pub(crate) fn probe(
        &mut self,
        cx: &mut Context,
        book: &mut AddressBook,
        link: LinkId,
        address: &PeerAddress,
    ) -> bool {
        let room = book.in_flight() < cx.config.limits.dials_in_flight;
        let state = book.get(address).map(|peer| peer.state);
        let idle = matches!(state, Some(AddressState::Waiting | AddressState::Queued));
        if !room || !idle || self.spend_on_host(cx, address).is_err() {
            return false;
        }
        cx.timers.cancel(&Timer::Dial(address.clone()));
        book.set_state(address, AddressState::Probing(link));
        cx.counters.probes += 1;
        cx.output(Output::Probe { link, address: address.clone(), reach: reach_of(book, address) });
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
        let (tolerance, longest) = (PROBE_EVERY * (PROBES_AT_ONCE - 1), now + PROBE_EVERY * PROBES_WAITING);
        let used = self.probes_used_until.unwrap_or(now).max(now);
        self.probes_used_until = Some((used + PROBE_EVERY).min(longest + tolerance + PROBE_EVERY));
        let Some(turn) = used.checked_sub(tolerance).filter(|turn| *turn > now && *turn <= longest) else {
            peer.claimed = None;
            return false;
        };
        let at = turn + PROBE_LATER;
        let timer = Timer::Dial(address.clone());
        let due = peer.claimed.replace(link).and_then(|_| cx.timers.due(&timer));
        cx.timers.set(timer, due.map_or(at, |due| due.min(at)));
        true
    }

    /// Begins the next dials in the queue after one under way has ended.
    pub(crate) fn on_dial_ended(
        &mut self,
        cx: &mut Context,
        book: &mut AddressBook,
        reputation: &Reputation,
        unverified: &dyn Fn(LinkId) -> bool,
    ) {
        while book.in_flight() < cx.config.limits.dials_in_flight {
            let Some(address) = self.queue.pop_front() else {
                break;
            };
            if book.get(&address).is_some_and(|peer| peer.state == AddressState::Queued) {
                book.set_state(&address, AddressState::Waiting);
                // With a cap only dials with a reason are queued, so this is never idle.
                self.on_due(cx, book, reputation, unverified, address);
            }
        }
    }

    /// Counts a dial against the limit of its host; `Err` holds when the next one is allowed.
    fn spend_on_host(&mut self, cx: &Context, address: &PeerAddress) -> Result<(), Instant> {
        if address.scope() == Scope::Loopback {
            return Ok(());
        }
        let window = cx.config.limits.host_window;
        self.hosts.retain(|_, dials| {
            dials.retain(|at| cx.now.saturating_duration_since(*at) < window);
            !dials.is_empty()
        });
        let dials = self.hosts.entry(address.host()).or_default();
        match dials.front() {
            Some(first) if dials.len() >= cx.config.limits.host_dials as usize => Err(*first + window),
            _ => {
                dials.push_back(cx.now);
                Ok(())
            }
        }
    }
}

/// Returns the nearest scope that an address may lead to. Of an IP address it is its own, and was
/// checked when it was learned.
fn reach_of(book: &AddressBook, address: &PeerAddress) -> Scope {
    book.get(address).map_or(Scope::Public, |peer| peer.reach).min(address.scope())
}

#[cfg(test)]
mod tests;
