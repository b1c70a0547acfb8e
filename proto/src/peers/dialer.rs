//! When an address is dialled: how many at once, which host how often, and for what.
//!
//! Every address of the table that is neither in use nor our own has a timer, or waits until a slot is wanted. An
//! address waits for its timer, is queued until one of the dials allowed at once ends, is being dialled, or leads to
//! an open link. So none is forgotten silently.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::Output;
use crate::address::{PeerAddress, Scope};
use crate::context::Context;
use crate::event::Event;
use crate::id::LinkId;
use crate::peers::address_book::{AddressBook, AddressState, FIRST_DIALS};
use crate::peers::dial_reason::DialReason;
use crate::peers::reputation::Reputation;
use crate::timers::Timer;

/// How many claimed known addresses are probed at once when nodes that claim them come in. The others wait
/// [`PROBE_LATER`] and then [`PROBE_EVERY`] for each before them: links come first where many nodes start together,
/// and no other node depends on us to hear of addresses that people named.
const PROBES_AT_ONCE: u32 = 4;
const PROBE_LATER: Duration = Duration::from_secs(1);
const PROBE_EVERY: Duration = Duration::from_millis(100);
/// How many of them wait at most, for 6 s: enough for a hundred nodes that start together, half of which dial a node,
/// and too little to keep it from any other.
const PROBES_WAITING: u32 = 50;
/// The time between two dials of known peers at the start, after the first [`FIRST_DIALS`]: a node that starts
/// together with us may link to us meanwhile.
const DIAL_EVERY: Duration = Duration::from_millis(2);

/// The dials and probes under way, those that wait for one of the limited number, and why.
#[derive(Debug, Default)]
pub(crate) struct Dialer {
    /// Why addresses are dialled that are dialled for something.
    pending: BTreeMap<PeerAddress, DialReason>,
    /// Until when the probes of known addresses are used up (GCRA).
    probes_used_until: Option<Instant>,
    /// Addresses that are due while all dials allowed at once are under way, in their order.
    queue: VecDeque<PeerAddress>,
    /// When each host beyond loopback was dialled lately, within `host_window`.
    hosts: BTreeMap<String, VecDeque<Instant>>,
}

/// What became of an address whose time to be dialled has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// It is being dialled or probed, waits for one of the dials allowed at once, or was put off.
    Settled,
    /// It is not dialled without a reason: whoever needs a slot may dial it.
    Idle,
}

impl Dialer {
    /// Returns why an address is being dialled, if it is for something.
    pub(crate) fn take_reason(&mut self, address: &PeerAddress) -> Option<DialReason> {
        self.pending.remove(address)
    }

    /// Returns the reasons of all dials under way that have one.
    pub(crate) fn reasons(&self) -> impl Iterator<Item = &DialReason> {
        self.pending.values()
    }

    /// Makes known peers due. Each node begins with those that follow its own address, in a ring: two that start
    /// together dial each other at different times, of which the first is enough.
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

    /// Handles the timer of an address: dials it, queues it, or puts it off. `unverified` says whether the peer at the
    /// other end of a link, which claims the address, still waits to be verified.
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

    /// Asks who answers at the address that the peer of an accepted link claims; returns `false` if that cannot be
    /// asked now.
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

    /// Puts off the probe of a known address that the peer of an accepted link claims, if too many such came in just
    /// now. Its timer says when it is probed; until then it is not dialled, so later claims do not put it off again.
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
                // Only what has a reason is queued by a node that dials for reasons alone.
                self.on_due(cx, book, reputation, unverified, address);
            }
        }
    }

    /// Counts a dial against its host's allowance; `Err` says when the next one is allowed.
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

/// Returns how near an address may lead. An IP address says so itself, and was checked when it was learned.
fn reach_of(book: &AddressBook, address: &PeerAddress) -> Scope {
    book.get(address).map_or(Scope::Public, |peer| peer.reach).min(address.scope())
}

#[cfg(test)]
mod tests;
