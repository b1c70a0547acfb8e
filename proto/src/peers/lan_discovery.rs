//! Nodes heard of on the local network by multicast DNS: which of them to dial, and what is announced of us.
//!
//! A record is one datagram, which anybody near can forge. So it is a hint and nothing more: it closes no link and
//! clears no back-off, an address in it enters the address book no faster than one in a peer's message, and its node
//! counts once its upgrade identity was read. A record that ends says only that its node should not be preferred any
//! longer; links live and die by themselves.
//!
//! In a full mesh every node heard of is dialled: by the one of two nodes with the smaller id at once, by the other a
//! moment later, so that they do not dial each other at the same time. With a partial view the addresses wait in the
//! address book until a slot is wanted, and those with most free slots are asked first.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rand::RngExt;

use crate::address::{PeerAddress, Scope};
use crate::context::Context;
use crate::event::{Event, PeerName};
use crate::id::{NodeId, Session};
use crate::peers::address_book::{AddressBook, AddressSource};
use crate::timers::Timer;
use crate::util::log_throttle::Window;
use crate::wire::mdns_record::{InvalidRecord, Record};
use crate::{Output, limits};

#[cfg(test)]
mod tests;

/// How long the node with the greater id leaves it to the other to dial.
const DEFER: Duration = Duration::from_secs(1);
/// How long records are gathered, with a cap, before one of them is chosen: all answers to one question come within 0.12 s (RFC 6762, section 6).
const GATHER: Duration = Duration::from_millis(300);
/// How often the records are looked through for nodes that are not linked.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// An address that the peer table gave up is tried anew after this long, while its record lives.
const AGAIN: Duration = Duration::from_secs(60);
/// The shortest time between two announcements of our free places.
const ADVERTISE_EVERY: Duration = Duration::from_secs(5);
/// How many finds are logged one by one within [`LOG_WINDOW`]: a flood of records must not flood the log.
const LOGGED: u32 = 20;
const LOG_WINDOW: Duration = Duration::from_secs(10);

/// What is heard on the local network, and what is said there.
#[derive(Debug)]
pub(crate) struct LanDiscovery {
    records: BTreeMap<Session, Heard>,
    /// Until when the dials on the word of records are paid for (a virtual clock, as for a peer's word).
    used_until: Option<Instant>,
    /// Whether the next choice of a node to ask for a place does not heed what records say of free places. Every other one does not, so that a liar with many
    /// places is not all that we see.
    heedless: bool,
    /// Whether the shell announces us, and with how many free places it does.
    advertised: Option<Option<u32>>,
    log: Window,
}

impl Default for LanDiscovery {
    fn default() -> Self {
        Self {
            records: BTreeMap::new(),
            used_until: None,
            heedless: false,
            advertised: None,
            log: Window::new(LOGGED, LOG_WINDOW),
        }
    }
}

/// One record.
#[derive(Debug)]
struct Heard {
    node: NodeId,
    address: PeerAddress,
    /// From how far away it came.
    scope: Scope,
    free: Option<u32>,
    /// When it was first heard.
    since: Instant,
    /// When its address was last put into the peer table.
    tried: Option<Instant>,
}

impl LanDiscovery {
    /// Takes a record in, heard for the first time or with news. `scope` says from how far away it can have come.
    /// Returns whether the records are to be looked through.
    pub(crate) fn on_discovered(
        &mut self,
        cx: &mut Context,
        book: &mut AddressBook,
        linked: &BTreeSet<NodeId>,
        record: Result<Record, InvalidRecord>,
        scope: Scope,
    ) -> bool {
        if cx.shutting_down || record.as_ref().is_ok_and(|record| record.session == cx.config.session) {
            return false;
        }
        cx.counters.records_heard += 1;
        let Ok(record) = record else {
            cx.counters.records_malformed += 1;
            return false;
        };
        // Open and closed networks of one name are two networks.
        if record.network != cx.config.network || record.address.is_secure() != cx.config.address.is_secure() {
            cx.counters.records_foreign += 1;
        } else if !scope.may_tell(record.address.scope()) {
            cx.counters.records_out_of_scope += 1;
        } else {
            self.note_record(cx, book, linked, record, scope);
            return true;
        }
        false
    }

    /// Forgets a record: its node said goodbye, or was not heard of for long. It is not preferred any more.
    pub(crate) fn on_expired(&mut self, cx: &mut Context, session: Session) {
        cx.counters.records_ended += u64::from(self.records.remove(&session).is_some());
    }

    fn note_record(
        &mut self,
        cx: &mut Context,
        book: &AddressBook,
        linked: &BTreeSet<NodeId>,
        record: Record,
        scope: Scope,
    ) {
        let Record { node, session, address, free, .. } = record;
        if let Some(heard) = self.records.get_mut(&session)
            && heard.address == address
        {
            (heard.node, heard.free) = (node, free);
            return;
        }
        if !self.records.contains_key(&session) && self.records.len() >= limits::RECORDS {
            cx.counters.records_without_room += 1;
            let records = self.records.iter();
            let oldest = records.min_by_key(|(_, heard)| (linked.contains(&heard.node), heard.since));
            if let Some(session) = oldest.map(|(session, _)| *session) {
                self.records.remove(&session);
            }
        }
        self.log_found(cx, node, &address, free);
        // Perhaps a node that was away: no need to wait for the rest of its backoff.
        if cx.config.max_peers.is_none()
            && book.get(&address).is_some()
            && !linked.contains(&node)
            && self.spend_on_record(cx, &address).is_ok()
        {
            book.dial_at(cx, &address, cx.now + DEFER);
        }
        self.records.insert(session, Heard { node, address, scope, free, since: cx.now, tried: None });
    }

    fn log_found(&mut self, cx: &mut Context, node: NodeId, address: &PeerAddress, free: Option<u32>) {
        if self.log.admit(cx.now) {
            let peer = PeerName { node: Some(node), address: Some(address.clone()) };
            cx.notify(Event::LanPeerFound { peer, free });
        }
    }

    /// Takes the addresses of nodes that are not linked into the address book, as fast as records are believed. In a
    /// full mesh they are dialled; otherwise they are there when a slot is wanted. Returns whether there were records.
    pub(crate) fn look_through(&mut self, cx: &mut Context, book: &mut AddressBook, linked: &BTreeSet<NodeId>) -> bool {
        if cx.shutting_down || self.records.is_empty() {
            return false;
        }
        let capped = cx.config.max_peers.is_some();
        let mut next = cx.now + LOOK_EVERY;
        let mut due = Vec::new();
        for (session, heard) in &self.records {
            let old = heard.tried.is_none_or(|tried| cx.now.saturating_duration_since(tried) >= AGAIN);
            if linked.contains(&heard.node) || book.get(&heard.address).is_some() || !old {
                continue;
            }
            let first = if capped { GATHER } else { Duration::ZERO };
            let at = heard.since + if cx.config.node < heard.node { first } else { DEFER };
            if at <= cx.now {
                due.push((*session, heard.address.clone()));
            } else {
                next = next.min(at);
            }
        }
        while !due.is_empty() {
            let (session, address) = due.swap_remove(cx.rng.random_range(0..due.len()));
            if let Err(allowed) = self.spend_on_record(cx, &address) {
                next = next.min(allowed);
                break;
            }
            let Some(heard) = self.records.get_mut(&session) else { continue };
            heard.tried = Some(cx.now);
            let added = book.add(&address, AddressSource::Hearsay(heard.scope), cx.now, &cx.config.limits);
            cx.counters.addresses_without_room += u64::from(!added && book.get(&address).is_none());
            if added && !capped {
                book.dial_at(cx, &address, cx.now);
            }
        }
        cx.timers.set(Timer::Discover, next);
        true
    }

    /// Counts an address against what records may make us dial; `Err` says when the next one is allowed. Loopback
    /// addresses, which only this host can announce, are exempt.
    fn spend_on_record(&mut self, cx: &Context, address: &PeerAddress) -> Result<(), Instant> {
        if address.scope() == Scope::Loopback {
            return Ok(());
        }
        let limits = &cx.config.limits;
        let tolerance = limits.gossip_interval * limits.gossip_burst.saturating_sub(1);
        let used = self.used_until.unwrap_or(cx.now).max(cx.now);
        match used.checked_sub(tolerance) {
            Some(allowed) if allowed > cx.now => Err(allowed),
            _ => {
                self.used_until = Some(used + limits.gossip_interval);
                Ok(())
            }
        }
    }

    /// Returns the address of a node that announces most free slots, every other time. A node that announces none is
    /// returned only while links are lacking.
    pub(crate) fn freest(
        &mut self,
        cx: &mut Context,
        book: &AddressBook,
        linked: &BTreeSet<NodeId>,
        lacking: bool,
    ) -> Option<PeerAddress> {
        let ready = self.records.values().filter(|heard| {
            !linked.contains(&heard.node) && (lacking || heard.free != Some(0)) && book.is_idle(cx, &heard.address)
        });
        // Who has no cap has room for all.
        let places = |heard: &&Heard| heard.free.unwrap_or(u32::MAX);
        let ready: Vec<&Heard> = ready.collect();
        let most = ready.iter().map(places).max()?;
        let freest: Vec<PeerAddress> =
            ready.iter().filter(|heard| places(heard) == most).map(|heard| heard.address.clone()).collect();
        self.heedless = !self.heedless;
        if self.heedless { cx.pick(&freest) } else { None }
    }

    /// Begins: the runtime listens, and can announce us.
    pub(crate) fn on_started(&mut self, cx: &mut Context, free: Option<u32>) {
        self.records.clear();
        self.advertised = None;
        self.advertise(cx, free);
    }

    /// Has the number of free slots announced, where it changed; `None`: this node links to all.
    pub(crate) fn advertise(&mut self, cx: &mut Context, free: Option<u32>) {
        if cx.shutting_down {
            return;
        }
        if self.advertised != Some(free) {
            self.advertised = Some(free);
            cx.output(Output::AdvertiseSlots { free });
        }
        if free.is_some() {
            cx.timers.set(Timer::Advertise, cx.now + ADVERTISE_EVERY);
        }
    }
}
