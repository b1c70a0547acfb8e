//! When an address is dialled: slots, backoff, and the bounds on what one peer's word, or many words about one host, can make us do.
//!
//! Every address of the table that is neither in use nor our own has a timer. So nothing is ever forgotten silently: an address waits for its timer, stands in
//! the queue for a slot, is being dialled, or leads to an open link.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::address::{PeerAddress, Scope};
use crate::event::Event;
use crate::id::LinkId;
use crate::peers::address_book::{AddressState, backoff};
use crate::timers::Timer;
use crate::{Node, Output};

/// So many addresses that a person named are probed at once when nodes that claim them come in; …
const PROBES_AT_ONCE: u32 = 4;
/// … the others later, …
const PROBE_LATER: Duration = Duration::from_secs(1);
/// … one in this time, for the links come first where many nodes start together, and nobody depends on us to hear of addresses that people named.
const PROBE_EVERY: Duration = Duration::from_millis(100);
/// So many of them wait at most, for 6 s: enough for a hundred nodes that start together, half of which dial a node, and too little to keep it from anybody.
const PROBES_WAITING: u32 = 50;

/// So many of the addresses that a person named are dialled at once when we start; …
const FIRST_DIALS: u32 = 8;
/// … after that it is one in this time: who starts together with us may link to us meanwhile.
const DIAL_EVERY: Duration = Duration::from_millis(2);

/// What the schedule remembers besides the peer table.
#[derive(Debug, Default)]
pub(crate) struct Dialer {
    /// Until when the probes of addresses that a person named are used up (a virtual clock, as in GCRA).
    probes_used_until: Option<Instant>,
    /// Addresses that are due while all slots are taken, in their order.
    queue: VecDeque<PeerAddress>,
    /// When each host beyond loopback was dialled lately, within `host_window`.
    hosts: BTreeMap<String, VecDeque<Instant>>,
}

impl Node {
    /// Makes the addresses due that a person named. Each node begins with those that follow its own, and goes round: so two that start together dial each other at
    /// different times, of which the first is enough.
    pub(crate) fn dial_known(&mut self, now: Instant) {
        let mut known = self.cx.config.known_peers.clone();
        known.sort_unstable();
        let next = known.partition_point(|address| *address <= self.cx.config.address);
        known.rotate_left(next);
        for (turn, address) in (0..).zip(known) {
            self.dial_at(&address, now + DIAL_EVERY * u32::saturating_sub(turn, FIRST_DIALS - 1));
        }
    }

    /// Makes an address due at `at`, unless it is in use, or due earlier.
    pub(crate) fn dial_at(&mut self, address: &PeerAddress, at: Instant) {
        let timer = Timer::Dial(address.clone());
        let waiting = self.book.get(address).is_some_and(|peer| peer.state == AddressState::Waiting);
        if waiting && self.cx.timers.due(&timer).is_none_or(|due| at < due) {
            self.cx.timers.set(timer, at);
        }
    }

    /// An address's timer fired: dial it, queue it, or put it off.
    pub(crate) fn on_dial_due(&mut self, now: Instant, address: PeerAddress) {
        if self.cx.shutting_down || self.book.get(&address).is_none_or(|peer| peer.state != AddressState::Waiting) {
            return;
        }
        if self.book.forget(&address, now, &self.cx.config.limits) {
            self.membership.seeking.flying.remove(&address);
            return;
        }
        if let Some(until) = self.kept_from(now, &address) {
            self.cx.timers.set(Timer::Dial(address), until);
            return;
        }
        if let Some(link) = self.claimed_by(&address)
            && self.probe(now, link, &address)
        {
            return;
        }
        if self.cx.config.max_peers.is_some() && !self.membership.seeking.flying.contains_key(&address) {
            return self.on_ready(now, &address);
        }
        if self.book.in_flight() >= self.cx.config.limits.dials_in_flight {
            self.book.set_state(&address, AddressState::Queued);
            self.dialer.queue.push_back(address);
        } else if let Err(allowed) = self.spend_on_host(now, &address) {
            self.cx.counters.dials_put_off += 1;
            self.cx.timers.set(Timer::Dial(address), allowed);
        } else {
            let reach = self.reach_of(&address);
            self.book.set_state(&address, AddressState::Attempting);
            self.cx.counters.dials += 1;
            self.cx.notify(Event::Dialling { address: address.clone() });
            self.cx.output(Output::Dial { address, reach });
        }
    }

    /// Asks who answers at the address that the peer at the other end of an accepted link claims; `false` if that can not be asked now.
    pub(crate) fn probe(&mut self, now: Instant, link: LinkId, address: &PeerAddress) -> bool {
        let room = self.book.in_flight() < self.cx.config.limits.dials_in_flight;
        let idle = self
            .book
            .get(address)
            .is_some_and(|peer| matches!(peer.state, AddressState::Waiting | AddressState::Queued));
        if !room || !idle || self.spend_on_host(now, address).is_err() {
            return false;
        }
        self.cx.timers.cancel(&Timer::Dial(address.clone()));
        self.book.set_state(address, AddressState::Probing(link));
        self.cx.counters.probes += 1;
        self.cx.output(Output::Probe { link, address: address.clone(), reach: self.reach_of(address) });
        true
    }

    /// Puts off the probe of an address that the peer of an accepted link claims, if a person named it and too many such came in just now. Its timer says when it is probed;
    /// until then it is not dialled, so claims that follow do not put it off again.
    pub(crate) fn probe_later(&mut self, now: Instant, link: LinkId, address: &PeerAddress) -> bool {
        let Some(peer) = self.book.get_mut(address).filter(|peer| peer.known && peer.state == AddressState::Waiting)
        else {
            return false;
        };
        let (tolerance, longest) = (PROBE_EVERY * (PROBES_AT_ONCE - 1), now + PROBE_EVERY * PROBES_WAITING);
        let used = self.dialer.probes_used_until.unwrap_or(now).max(now);
        self.dialer.probes_used_until = Some((used + PROBE_EVERY).min(longest + tolerance + PROBE_EVERY));
        let Some(turn) = used.checked_sub(tolerance).filter(|turn| *turn > now && *turn <= longest) else {
            peer.claimed = None;
            return false;
        };
        let at = turn + PROBE_LATER;
        let timer = Timer::Dial(address.clone());
        let due = peer.claimed.replace(link).and_then(|_| self.cx.timers.due(&timer));
        self.cx.timers.set(timer, due.map_or(at, |due| due.min(at)));
        true
    }

    /// The link whose peer claims the address, if that is still to be looked into.
    fn claimed_by(&mut self, address: &PeerAddress) -> Option<LinkId> {
        let link = self.book.get_mut(address)?.claimed.take()?;
        self.links.get(link)?.full().filter(|peer| peer.address.is_none()).map(|_| link)
    }

    /// How near an address may lead. What is no name says so itself, and was looked at when it was told.
    fn reach_of(&self, address: &PeerAddress) -> Scope {
        self.book.get(address).map_or(Scope::Public, |peer| peer.reach).min(address.scope())
    }

    /// A dial or a probe ended: the next in the queue takes its slot.
    pub(crate) fn fill_slots(&mut self, now: Instant) {
        while self.book.in_flight() < self.cx.config.limits.dials_in_flight {
            let Some(address) = self.dialer.queue.pop_front() else {
                break;
            };
            if self.book.get(&address).is_some_and(|peer| peer.state == AddressState::Queued) {
                self.book.set_state(&address, AddressState::Waiting);
                self.on_dial_due(now, address);
            }
        }
    }

    /// A dial came to nothing.
    pub(crate) fn on_dial_failed(&mut self, now: Instant, address: PeerAddress, error: String) {
        self.cx.counters.dials_failed += 1;
        let retry_in = self.put_back(now, &address);
        self.cx.notify(Event::DialFailed { address: address.clone(), error: error.clone(), retry_in });
        self.fill_slots(now);
        self.on_flight_failed(now, &address, &error);
    }

    /// Puts an address that failed, or whose link ended, back into the waiting ones, with backoff. Returns how long it waits; `None` if it is forgotten.
    pub(crate) fn put_back(&mut self, now: Instant, address: &PeerAddress) -> Option<Duration> {
        self.book.set_state(address, AddressState::Waiting);
        let peer = self.book.get_mut(address)?;
        peer.failures = peer.failures.saturating_add(1);
        let wait = backoff(peer.failures, &self.cx.config.limits, &mut self.cx.rng);
        // Where nobody was ever seen, somebody may be about to start, who then dials us: many that start together would else dial each other in vain, again and again.
        let many = self.cx.config.known_peers.len() > FIRST_DIALS as usize;
        let wait = if many && peer.last_up.is_none() { wait + self.cx.config.limits.backoff_min } else { wait };
        if self.book.forget(address, now, &self.cx.config.limits) {
            return None;
        }
        self.cx.timers.set(Timer::Dial(address.clone()), now + wait);
        Some(wait)
    }

    /// As [`Self::put_back`], with the longest wait: dialling soon would lead to the same end.
    pub(crate) fn put_back_long(&mut self, now: Instant, address: &PeerAddress) {
        self.book.set_state(address, AddressState::Waiting);
        self.cx.timers.set(Timer::Dial(address.clone()), now + self.cx.config.limits.backoff_max);
    }

    /// Counts a dial against its host's allowance; `Err` says when the next one is allowed.
    fn spend_on_host(&mut self, now: Instant, address: &PeerAddress) -> Result<(), Instant> {
        if address.scope() == Scope::Loopback {
            return Ok(());
        }
        let window = self.cx.config.limits.host_window;
        self.dialer.hosts.retain(|_, dials| {
            dials.retain(|at| now.saturating_duration_since(*at) < window);
            !dials.is_empty()
        });
        let dials = self.dialer.hosts.entry(address.host()).or_default();
        match dials.front() {
            Some(first) if dials.len() >= self.cx.config.limits.host_dials as usize => Err(*first + window),
            _ => {
                dials.push_back(now);
                Ok(())
            }
        }
    }

    /// When a new address may be dialled on a peer's word: at once for the first `gossip_burst`, then one per `gossip_interval` (a GCRA). Loopback addresses,
    /// which only loopback peers may tell, are exempt.
    pub(crate) fn allowed_on_word(&mut self, now: Instant, link: LinkId, address: &PeerAddress) -> Instant {
        let limits = &self.cx.config.limits;
        let Some(link) = self.links.get_mut(link).filter(|_| address.scope() != Scope::Loopback) else {
            return now;
        };
        let tolerance = limits.gossip_interval * limits.gossip_burst.saturating_sub(1);
        let used = link.word_used_until.unwrap_or(now).max(now);
        link.word_used_until = Some(used + limits.gossip_interval);
        now.max(used.checked_sub(tolerance).unwrap_or(now))
    }
}

#[cfg(test)]
mod tests;
