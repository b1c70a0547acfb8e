//! Nodes heard of on the local network: whom to dial of them, and what they are told of us.
//!
//! A record is one datagram, which anybody near can forge. So it is a hint and nothing more: it closes no link and clears no backoff, an address in it enters the
//! peer table no faster than on one peer's word, and the node behind it counts once its identity was read. A record that ends says only that its node should not be
//! preferred any longer; links live and die by themselves.
//!
//! Without a cap everybody heard of is dialled, by the one of two nodes with the smaller id at once and by the other a moment later, lest they dial each other at
//! the same time. With a cap the addresses wait in the table until a place is wanted, and those are asked first that say they have most places.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rand::RngExt;

use crate::address::{PeerAddress, Scope};
use crate::event::{Event, PeerName};
use crate::id::{NodeId, Session};
use crate::membership::slot_search as seeking;
use crate::peers::address_book::AddressSource;
use crate::timers::Timer;
use crate::wire::mdns_record::{InvalidRecord, Record};
use crate::{Node, Output, limits};

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
/// How many finds are told one by one in …
const TOLD: u32 = 20;
/// … this time: whoever floods the network with records shall not flood the log.
const TOLD_WITHIN: Duration = Duration::from_secs(10);

/// What is heard on the local network, and what is said there.
#[derive(Debug, Default)]
pub(crate) struct LanDiscovery {
    records: BTreeMap<Session, Heard>,
    /// Until when the dials on the word of records are paid for (a virtual clock, as for a peer's word).
    used_until: Option<Instant>,
    /// Whether the next choice of a node to ask for a place does not heed what records say of free places. Every other one does not, so that a liar with many
    /// places is not all that we see.
    heedless: bool,
    /// Whether the shell announces us, and with how many free places it does.
    advertised: Option<Option<u32>>,
    /// Since when finds are told, and how many it were.
    told: Option<(Instant, u32)>,
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

impl Node {
    /// A record was heard, for the first time or with news; `scope` says from how far away it can have come.
    pub(crate) fn on_discovered(&mut self, now: Instant, record: Result<Record, InvalidRecord>, scope: Scope) {
        if self.cx.shutting_down || record.as_ref().is_ok_and(|record| record.session == self.cx.config.session) {
            return;
        }
        self.cx.counters.records_heard += 1;
        let Ok(record) = record else {
            self.cx.counters.records_malformed += 1;
            return;
        };
        // Open and closed networks of one name are two networks.
        if record.network != self.cx.config.network || record.address.is_secure() != self.cx.config.address.is_secure()
        {
            self.cx.counters.records_foreign += 1;
        } else if !scope.may_tell(record.address.scope()) {
            self.cx.counters.records_out_of_scope += 1;
        } else {
            self.note_record(now, record, scope);
            self.discover(now);
        }
    }

    /// A record ended: its node said goodbye, or was not heard of for long. It is not preferred any more; that is all.
    pub(crate) fn on_undiscovered(&mut self, session: Session) {
        self.cx.counters.records_ended += u64::from(self.lan.records.remove(&session).is_some());
    }

    fn note_record(&mut self, now: Instant, record: Record, scope: Scope) {
        let Record { node, session, address, free, .. } = record;
        if let Some(heard) = self.lan.records.get_mut(&session)
            && heard.address == address
        {
            (heard.node, heard.free) = (node, free);
            return;
        }
        if !self.lan.records.contains_key(&session) && self.lan.records.len() >= limits::RECORDS {
            self.cx.counters.records_without_room += 1;
            let linked = self.linked_ids();
            let records = self.lan.records.iter();
            let oldest = records.min_by_key(|(_, heard)| (linked.contains(&heard.node), heard.since));
            if let Some(session) = oldest.map(|(session, _)| *session) {
                self.lan.records.remove(&session);
            }
        }
        self.tell_found(now, node, &address, free);
        // Perhaps a node that was away: no need to wait for the rest of its backoff.
        if self.cx.config.max_peers.is_none()
            && self.book.get(&address).is_some()
            && !self.linked_ids().contains(&node)
            && self.spend_on_record(now, &address).is_ok()
        {
            self.dial_at(&address, now + DEFER);
        }
        self.lan.records.insert(session, Heard { node, address, scope, free, since: now, tried: None });
    }

    fn tell_found(&mut self, now: Instant, node: NodeId, address: &PeerAddress, free: Option<u32>) {
        let (since, count) = self.lan.told.unwrap_or((now, 0));
        let over = now.saturating_duration_since(since) >= TOLD_WITHIN;
        self.lan.told = Some(if over { (now, 1) } else { (since, count.saturating_add(1)) });
        if over || count < TOLD {
            let peer = PeerName { node: Some(node), address: Some(address.clone()) };
            self.cx.notify(Event::LanPeerFound { peer, free });
        }
    }

    /// Takes the addresses of nodes that are not linked into the peer table, as fast as records are believed: without a cap they are dialled, else they are there
    /// when a place is wanted.
    pub(crate) fn discover(&mut self, now: Instant) {
        if self.cx.shutting_down || self.lan.records.is_empty() {
            return;
        }
        let capped = self.cx.config.max_peers.is_some();
        let mut next = now + LOOK_EVERY;
        let mut due = Vec::new();
        let linked = self.linked_ids();
        for (session, heard) in &self.lan.records {
            let old = heard.tried.is_none_or(|tried| now.saturating_duration_since(tried) >= AGAIN);
            if linked.contains(&heard.node) || self.book.get(&heard.address).is_some() || !old {
                continue;
            }
            let first = if capped { GATHER } else { Duration::ZERO };
            let at = heard.since + if self.cx.config.node < heard.node { first } else { DEFER };
            if at <= now {
                due.push((*session, heard.address.clone()));
            } else {
                next = next.min(at);
            }
        }
        while !due.is_empty() {
            let (session, address) = due.swap_remove(self.cx.rng.random_range(0..due.len()));
            if let Err(allowed) = self.spend_on_record(now, &address) {
                next = next.min(allowed);
                break;
            }
            let Some(heard) = self.lan.records.get_mut(&session) else { continue };
            heard.tried = Some(now);
            let added = self.book.add(&address, AddressSource::Hearsay(heard.scope), now, &self.cx.config.limits);
            self.cx.counters.addresses_without_room += u64::from(!added && self.book.get(&address).is_none());
            if added && !capped {
                self.dial_at(&address, now);
            }
        }
        self.cx.timers.set(Timer::Discover, next);
        self.seek(now);
    }

    /// Counts an address against what records may make us dial; `Err` says when the next one is allowed. Loopback addresses, which only this host can tell, are
    /// exempt.
    fn spend_on_record(&mut self, now: Instant, address: &PeerAddress) -> Result<(), Instant> {
        if address.scope() == Scope::Loopback {
            return Ok(());
        }
        let limits = &self.cx.config.limits;
        let tolerance = limits.gossip_interval * limits.gossip_burst.saturating_sub(1);
        let used = self.lan.used_until.unwrap_or(now).max(now);
        match used.checked_sub(tolerance) {
            Some(allowed) if allowed > now => Err(allowed),
            _ => {
                self.lan.used_until = Some(used + limits.gossip_interval);
                Ok(())
            }
        }
    }

    /// With a cap: whom to ask for a place of those heard of, the one that says it has most. One that says it has none is asked only while we lack links.
    pub(crate) fn freest_discovered(&mut self, now: Instant) -> Option<PeerAddress> {
        let lacking = self.places_taken(now, None) < seeking::LEAST;
        let linked = self.linked_ids();
        let ready = self.lan.records.values().filter(|heard| {
            !linked.contains(&heard.node) && (lacking || heard.free != Some(0)) && self.is_ready(&heard.address)
        });
        // Who has no cap has room for all.
        let places = |heard: &&Heard| heard.free.unwrap_or(u32::MAX);
        let ready: Vec<&Heard> = ready.collect();
        let most = ready.iter().map(places).max()?;
        let freest: Vec<PeerAddress> =
            ready.iter().filter(|heard| places(heard) == most).map(|heard| heard.address.clone()).collect();
        self.lan.heedless = !self.lan.heedless;
        if self.lan.heedless { self.pick(&freest) } else { None }
    }

    fn linked_ids(&self) -> BTreeSet<NodeId> {
        let open = self.links.iter().filter(|(_, link)| !link.closing);
        open.filter_map(|(_, link)| link.full()).map(|peer| peer.id).collect()
    }

    /// The shell listens, and can announce us: from now on it is told how many places are free.
    pub(crate) fn on_discovering(&mut self, now: Instant) {
        self.lan.records.clear();
        self.lan.advertised = None;
        self.advertise(now);
    }

    pub(crate) fn advertise(&mut self, now: Instant) {
        if self.cx.shutting_down {
            return;
        }
        let free = self.places_free(now);
        if self.lan.advertised != Some(free) {
            self.lan.advertised = Some(free);
            self.cx.output(Output::AdvertiseSlots { free });
        }
        if free.is_some() {
            self.cx.timers.set(Timer::Advertise, now + ADVERTISE_EVERY);
        }
    }
}
