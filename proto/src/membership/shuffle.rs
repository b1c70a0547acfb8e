//! What nodes with a cap tell each other of third ones: PEERS, asked for by JOIN, in DECLINED unasked.
//!
//! Now and then a node visits a random address of its table, known peers more often: it swaps a few addresses and goes. So each table becomes a random sample of
//! the network, addresses are tried before they are needed, and parts that formed apart hear of each other (`islands.rs`). Only addresses that we dialled or
//! probed ourselves are told, and only what was asked for is taken.

use std::time::{Duration, Instant};

use rand::RngExt;
use rand::seq::SliceRandom;

use crate::address::PeerAddress;
use crate::connections::table::{Link, Role};
use crate::event::Event;
use crate::id::LinkId;
use crate::membership::slot_search::Purpose;
use crate::peers::address_book::{AddressSource, AddressState, Peer};
use crate::timers::Timer;
use crate::wire::close;
use crate::wire::{Sample, Want};
use crate::{Lane, Node, Output, limits};

/// How many addresses a node tells at once.
const TOLD: usize = 8;
/// The shortest time between two visits; each wait is drawn from one to two of it.
const VISIT_EVERY: Duration = Duration::from_secs(20);
/// How soon the first visit is.
const FIRST_VISIT: Duration = Duration::from_secs(3);
/// How long an address counts as good after it was last of use.
const FRESH: Duration = Duration::from_secs(600);
/// How many requests for addresses a link may bring at once …
const ASKS_AT_ONCE: u32 = 8;
/// … and how long one more takes after that.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How often a node that lacks links asks a neighbour: an answer may leave it as it was.
const ASK_SOMEBODY_EVERY: Duration = Duration::from_secs(2);
/// How long after a change what is remembered over a restart is written.
const REMEMBER_AFTER: Duration = Duration::from_secs(3);

impl Node {
    /// Until all known peers were tried once visits follow each other sooner.
    pub(crate) fn schedule_visit(&mut self, now: Instant) {
        let new = self.book.iter().any(|(address, peer)| is_new(peer) && self.can_visit(address));
        let wait = if new { FIRST_VISIT } else { VISIT_EVERY };
        self.cx.timers.set(Timer::Visit, now + wait.mul_f64(self.cx.rng.random_range(1.0..2.0)));
    }

    pub(crate) fn on_visit_due(&mut self, now: Instant) {
        if self.cx.shutting_down || self.membership.genesis.is_joining() {
            return self.schedule_visit(now);
        }
        let choice = match self.membership.seeking.visit_next.take().filter(|next| self.can_visit(next)) {
            Some(next) => vec![next],
            None => self.whom_to_visit(),
        };
        if let Some(address) = self.pick(&choice)
            && self.dial_for(now, &address, Purpose::Visit)
        {
            self.cx.counters.shuffles += 1;
        }
        self.schedule_visit(now);
    }

    /// Whether an address is neither in use nor waiting because it failed.
    fn can_visit(&self, address: &PeerAddress) -> bool {
        let idle = self.book.get(address).is_some_and(|peer| peer.state == AddressState::Waiting && peer.failures == 0);
        idle || self.is_ready(address)
    }

    /// Among whom the next visit's address is drawn: the known peers that never led anywhere; else by the toss of a coin the known ones or those that were of
    /// use when last tried; else all. Those that failed must not be left out for ever: they may be the other side of a cut.
    fn whom_to_visit(&mut self) -> Vec<PeerAddress> {
        let idle: Vec<(&PeerAddress, &Peer)> =
            self.book.iter().filter(|(address, _)| self.can_visit(address)).collect();
        let such = |wanted: &dyn Fn(&Peer) -> bool| {
            let such = idle.iter().filter(|(_, peer)| wanted(peer));
            such.map(|(address, _)| (*address).clone()).collect::<Vec<PeerAddress>>()
        };
        let (all, well) = (such(&|_| true), such(&|peer| peer.failures == 0));
        let (new, known) = (such(&is_new), such(&|peer| peer.known));
        let first = match self.cx.rng.random_range(0..8) {
            0..4 => known,
            4..7 => well,
            _ => Vec::new(),
        };
        [new, first, all].into_iter().find(|choice| !choice.is_empty()).unwrap_or_default()
    }

    /// Visits an address soon instead of a random one later: there is something to settle with it.
    pub(crate) fn visit_soon(&mut self, address: &PeerAddress, at: Instant) {
        self.membership.seeking.visit_next = Some(address.clone());
        if self.cx.timers.due(&Timer::Visit).is_none_or(|due| at < due) {
            self.cx.timers.set(Timer::Visit, at);
        }
    }

    /// Asks a random neighbour for addresses.
    pub(crate) fn ask_somebody(&mut self, now: Instant, want: Want) {
        if self.membership.seeking.next_ask.is_some_and(|at| now < at) {
            return;
        }
        let full = self.links.iter().filter(|(id, link)| {
            link.full().is_some() && link.takes_transactions() && !self.membership.asked.contains(id)
        });
        let full: Vec<LinkId> = full.map(|(id, _)| id).collect();
        if !full.is_empty() {
            let link = full[self.cx.rng.random_range(0..full.len())];
            self.membership.seeking.next_ask = Some(now + ASK_SOMEBODY_EVERY);
            self.ask(now, link, want);
        }
    }

    /// Asks the other end of a link for addresses.
    pub(crate) fn ask(&mut self, _now: Instant, link: LinkId, want: Want) {
        self.membership.asked.insert(link);
        let root = self.cx.config.max_peers.map(|_| self.membership.island.root());
        let join = crate::wire::Join { insist: false, want: Some(want), moved_by: None, root };
        self.cx.send(vec![link], join.to_frame(), Lane::Control);
    }

    /// Somebody wants addresses.
    pub(crate) fn on_want_peers(&mut self, now: Instant, link: LinkId, want: Want) {
        let Some(open) = self.links.get_mut(link) else { return };
        let used = open.joins_used_until.unwrap_or(now).max(now);
        if used > now + ASK_EVERY * ASKS_AT_ONCE {
            return self.fault(link, "JOIN: you ask for addresses too often");
        }
        open.joins_used_until = Some(used + ASK_EVERY);
        let addresses = match want {
            Want::Random => self.sample_for(now, link),
            Want::Neighbours => {
                let mut neighbours = self.neighbour_addresses(link);
                neighbours.truncate(TOLD);
                neighbours
            }
        };
        let (free, root) = (self.places_free(now), self.cx.config.max_peers.map(|_| self.membership.island.root()));
        let sample = Sample { addresses, dropped: 0, free, root };
        self.cx.send(vec![link], sample.to_frame(), Lane::Control);
    }

    /// Addresses that we asked for.
    pub(crate) fn on_peers(&mut self, now: Instant, link: LinkId, sample: Sample) {
        if !self.membership.asked.remove(&link) {
            self.cx.counters.answers_unsolicited += 1;
            return self.fault(link, "PEERS: nobody asked; ignored");
        }
        self.cx.counters.addresses_dropped += sample.dropped as u64;
        let told: Vec<PeerAddress> = sample.addresses.iter().filter(|at| self.may_learn(link, at)).cloned().collect();
        self.hear_of(now, link, &told);
        let purpose = self.membership.seeking.open.get(&link).cloned();
        let address = self.links.name_of(link).address;
        match purpose {
            Some(Purpose::Bootstrap) => {
                self.links.close(&mut self.cx, link, close::NORMAL, "thank you, goodbye");
                self.on_genesis_named(now, &told);
            }
            Some(Purpose::Walk) => {
                self.links.close(&mut self.cx, link, close::NORMAL, "thank you, goodbye");
                if let Some(address) = address.clone() {
                    self.on_walked(now, address, &told, sample.free);
                }
            }
            Some(Purpose::Visit) => {
                self.links.close(&mut self.cx, link, close::NORMAL, "thank you, goodbye");
                if let Some(address) = address.clone().filter(|_| sample.free.is_none_or(|free| free > 0)) {
                    self.membership.seeking.hint_free(address);
                }
            }
            _ => {
                self.membership.seeking.hint(&told);
                self.on_genesis_neighbours(link, told.len());
            }
        }
        if let (Some(address), Some(root)) = (address, sample.root) {
            self.on_root_of(now, link, &address, root);
        }
        self.seek(now);
    }

    /// Takes addresses into the table; they are dialled when a place is wanted.
    pub(crate) fn hear_of(&mut self, now: Instant, link: LinkId, addresses: &[PeerAddress]) -> usize {
        let mut new = 0;
        for address in addresses {
            if self.book.get(address).is_none() {
                let added =
                    self.book.add(address, AddressSource::Hearsay(self.scope_of(link)), now, &self.cx.config.limits);
                new += usize::from(added);
                self.cx.counters.addresses_without_room += u64::from(!added);
                if added && self.cx.config.max_peers.is_none() {
                    self.dial_at(address, now);
                }
            }
        }
        new
    }

    /// With a cap: takes what a HANDSHAKE names into the table, as far as it goes in a PEERS.
    pub(crate) fn learn_quietly(&mut self, now: Instant, link: LinkId, addresses: &[PeerAddress]) {
        let few = addresses.iter().take(limits::SAMPLE_ADDRESSES);
        let told: Vec<PeerAddress> = few.filter(|address| self.may_learn(link, address)).cloned().collect();
        let new = self.hear_of(now, link, &told);
        if new > 0 {
            self.cx.notify(Event::AddressesLearned { peer: self.links.name_of(link), addresses: new });
        }
        self.seek(now);
    }

    /// The addresses of the nodes that we are linked to, as far as the other end of `link` may be told, in random order.
    pub(crate) fn neighbour_addresses(&mut self, link: LinkId) -> Vec<PeerAddress> {
        let Some(to) = self.links.get(link) else { return Vec::new() };
        let (scope, asker) = (to.scope, asker_of(to));
        let open = self.links.iter().filter(|(id, open)| *id != link && open.takes_transactions());
        let addresses = open.filter_map(|(_, open)| match &open.role {
            Role::Native(peer) => peer.address.clone(),
            Role::Exercise { .. } => open.dialled.clone(),
            _ => None,
        });
        let mut addresses: Vec<PeerAddress> =
            addresses.filter(|address| scope.may_tell(address.scope()) && Some(address) != asker.as_ref()).collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses.shuffle(&mut self.cx.rng);
        addresses
    }

    /// A few addresses for the other end of `link`: who has a free place, neighbours, and others that were of use lately.
    pub(crate) fn sample_for(&mut self, now: Instant, link: LinkId) -> Vec<PeerAddress> {
        let Some(to) = self.links.get(link) else { return Vec::new() };
        let (scope, asker) = (to.scope, asker_of(to));
        let mut sample: Vec<PeerAddress> = self.membership.lately_left(now).take(2).cloned().collect();
        sample.extend(self.neighbour_addresses(link).into_iter().take(TOLD - 2));
        let fresh = |up: Instant| now.saturating_duration_since(up) < FRESH;
        let mut others: Vec<PeerAddress> = self
            .book
            .iter()
            .filter(|(_, peer)| {
                peer.state == AddressState::Waiting && peer.failures == 0 && peer.last_up.is_some_and(fresh)
            })
            .map(|(address, _)| address.clone())
            .collect();
        others.shuffle(&mut self.cx.rng);
        sample.extend(others);
        let mut seen = std::collections::BTreeSet::new();
        sample.retain(|address| {
            scope.may_tell(address.scope())
                && Some(address) != asker.as_ref()
                && *address != self.cx.config.address
                && seen.insert(address.clone())
        });
        sample.truncate(TOLD);
        sample
    }

    /// What is remembered over a restart changed.
    pub(crate) fn note_change(&mut self, now: Instant) {
        let remembers = self.cx.config.max_peers.is_some() || self.cx.config.genesis.is_some();
        if remembers && !self.cx.shutting_down && self.cx.timers.due(&Timer::Remember).is_none() {
            self.cx.timers.set(Timer::Remember, now + REMEMBER_AFTER);
        }
    }

    /// Orders what led to nodes lately to be kept.
    pub(crate) fn remember(&mut self) {
        let mut up: Vec<_> = self
            .book
            .iter()
            .filter_map(|(address, peer)| match peer.state {
                AddressState::Myself => None,
                AddressState::Connected(_) => Some((None, address)),
                _ => peer.last_up.map(|up| (Some(std::cmp::Reverse(up)), address)),
            })
            .collect();
        up.sort_unstable();
        let addresses = up.into_iter().take(limits::PEER_CACHE).map(|(_, address)| address.clone()).collect();
        self.cx.output(Output::SavePeerCache { addresses });
    }
}

/// Whether a person named an address that has led nowhere so far, and has not failed.
fn is_new(peer: &Peer) -> bool {
    peer.known && peer.last_up.is_none() && peer.failures == 0 && peer.state == AddressState::Waiting
}

/// Where the other end of a link says that it is: it need not be told of itself.
fn asker_of(link: &Link) -> Option<PeerAddress> {
    link.name().address
}
