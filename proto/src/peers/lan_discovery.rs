//! Discovery on the local network by multicast DNS (RFC 6762, DNS-SD in RFC 6763): which nodes to
//! dial, and what is announced of us.
//!
//! A record is one datagram, which any host near can forge. So it is only a hint: it closes no link
//! and clears no back-off. An address in it enters the address book no faster than one in a peer's
//! message, and its node counts once its upgrade identity was read. The end of a record only ends
//! its preference; links do not depend on records.
//!
//! In a full mesh every discovered node is dialled. The node with the lower id dials at once, the
//! other a moment later, so that they do not dial each other at the same time. With a cap the
//! addresses wait in the address book until a slot is wanted, and those with most free slots are
//! asked first.
//!
//! The runtime reports records and their end through the node; the slot search asks for the address
//! with most free slots.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rand::RngExt;

use crate::address::{PeerAddress, Scope};
use crate::context::Context;
use crate::event::{Event, PeerName};
use crate::id::{NodeId, Session};
use crate::io::Output;
use crate::ip_prefix::SourceGroup;
use crate::limits;
use crate::peers::address_book::{AddressBook, AddressSource};
use crate::timers::Timer;
use crate::util::log_throttle::Window;
use crate::util::rate_limit::RateLimit;
use crate::wire::mdns_record::{InvalidRecord, Record};

#[cfg(test)]
mod tests;

/// How long the node with the greater id waits for the other one to dial.
const DEFER: Duration = Duration::from_secs(1);
/// How long records are gathered, with a cap, before one is chosen. All answers to one query come
/// within 0.12 s (RFC 6762, section 6).
const GATHER: Duration = Duration::from_millis(300);
/// The time between two scans of the records for nodes that are not linked.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How long until an address that the address book forgot is added again, while its record lives.
const AGAIN: Duration = Duration::from_secs(60);
/// The time between two checks of our free slots, which are announced if they changed.
const ADVERTISE_EVERY: Duration = Duration::from_secs(5);
/// How many discovered nodes are logged within [`LOG_WINDOW`]: a flood of records must not fill the
/// log.
const LOGGED: u32 = 20;
/// The window in which [`LOGGED`] lines are allowed.
const LOG_WINDOW: Duration = Duration::from_secs(10);

/// The records of the local network, and the announcement of this node.
#[derive(Debug)]
pub(crate) struct LanDiscovery {
    records: BTreeMap<Session, Heard>,
    /// The rate limit of the addresses that records add: as of one peer.
    rate: RateLimit,
    /// Whether the last choice followed the free slots in records. Only every other one does, so
    /// that a liar that announces many slots does not get every request.
    by_records: bool,
    /// The free slots that the runtime announces; `None` if it announces nothing.
    advertised: Option<Option<u32>>,
    log: Window,
}

impl Default for LanDiscovery {
    fn default() -> Self {
        Self {
            records: BTreeMap::new(),
            rate: RateLimit::default(),
            by_records: false,
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
    /// The scope from which it can have come.
    scope: Scope,
    free: Option<u32>,
    /// When it was first heard.
    since: Instant,
    /// When its address was last added to the address book.
    tried: Option<Instant>,
}

impl LanDiscovery {
    /// Handles a new or changed record. `scope` is the one from which it can have come. Returns
    /// whether the records are to be scanned.
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
        // Records are for WebSocket: the reader of one has a path to its node.
        let Some(record) = record.ok().filter(|record| record.address.node().is_none()) else {
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

    /// Forgets a record whose node said goodbye or was silent for long: it is not preferred any
    /// more.
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
        self.log_discovered(cx, node, &address, free);
        // The node may have restarted, so it is dialled before the end of its back-off.
        if cx.config.max_peers.is_none()
            && book.get(&address).is_some()
            && !linked.contains(&node)
            && self.spend_on_record(cx, &address).is_ok()
        {
            book.dial_at(cx, &address, cx.now + DEFER);
        }
        self.records.insert(session, Heard { node, address, scope, free, since: cx.now, tried: None });
    }

    fn log_discovered(&mut self, cx: &mut Context, node: NodeId, address: &PeerAddress, free: Option<u32>) {
        if self.log.admit(cx.now) {
            let peer = PeerName { node: Some(node), address: Some(address.clone()) };
            cx.notify(Event::LanPeerFound { peer, free });
        }
    }

    /// Adds the addresses of nodes that are not linked to the address book, within the rate limit
    /// of records. In a full mesh they are dialled; with a cap they are there when a slot is
    /// wanted. Returns whether there were records.
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
            let added = book.add(
                &address,
                AddressSource::Gossiped(heard.scope, SourceGroup::LocalNetwork),
                cx.now,
                &cx.config.limits,
            );
            cx.counters.addresses_without_room += u64::from(!added && book.get(&address).is_none());
            if added && !capped {
                book.dial_at(cx, &address, cx.now);
            }
        }
        cx.timers.set(Timer::Discover, next);
        true
    }

    /// Counts an address against the rate limit of records; `Err` holds when the next one is
    /// allowed. Loopback addresses, which only this host can announce, are exempt.
    fn spend_on_record(&mut self, cx: &Context, address: &PeerAddress) -> Result<(), Instant> {
        if address.scope() == Scope::Loopback {
            return Ok(());
        }
        let (interval, burst) = (cx.config.limits.gossip_interval, cx.config.limits.gossip_burst.max(1));
        self.rate.spend(cx.now, interval, interval * burst)
    }

    /// Returns the address of a node that announces most free slots, every other time. A node that
    /// announces none is returned only while links are lacking.
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
        // A node without a cap has a slot for every node.
        let slots = |heard: &&Heard| heard.free.unwrap_or(u32::MAX);
        let ready: Vec<&Heard> = ready.collect();
        let most = ready.iter().map(slots).max()?;
        let freest: Vec<PeerAddress> =
            ready.iter().filter(|heard| slots(heard) == most).map(|heard| heard.address.clone()).collect();
        self.by_records = !self.by_records;
        if self.by_records { cx.pick(&freest) } else { None }
    }

    /// Handles the start of discovery: the runtime listens, and can announce us.
    pub(crate) fn on_started(&mut self, cx: &mut Context, free: Option<u32>) {
        self.records.clear();
        self.advertised = None;
        self.advertise(cx, free);
    }

    /// Has the number of free slots announced, if it changed; `None` stands for no cap.
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
