//! What nodes with a cap tell each other of third ones: PEERS, asked for by JOIN, in DECLINED unasked.
//!
//! Now and then a node visits a random address of its table, known peers more often: it swaps a few addresses and goes. So each table becomes a random sample of
//! the network, addresses are tried before they are needed, and parts that formed apart hear of each other (`islands.rs`). Only addresses that we dialled or
//! probed ourselves are told, and only what was asked for is taken.

use std::time::{Duration, Instant};

use rand::RngExt;
use rand::seq::SliceRandom;

use crate::address::PeerAddress;
use crate::connections::Connections;
use crate::connections::table::Link;
use crate::context::Context;
use crate::event::Event;
use crate::id::LinkId;
use crate::membership::{Membership, dial_for};
use crate::peers::Peers;
use crate::peers::address_book::{AddressSource, AddressState, Peer};
use crate::peers::dial_reason::DialReason;
use crate::timers::Timer;
use crate::violation::Violation;
use crate::wire::close;
use crate::wire::{Sample, Want};
use crate::{Lane, Output, limits};

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

impl Membership {
    /// Until all known peers were tried once visits follow each other sooner.
    pub(crate) fn schedule_shuffle(&mut self, cx: &mut Context, peers: &mut Peers) {
        let new = peers.book.iter().any(|(address, peer)| is_new(peer) && self.can_shuffle(cx, peers, address));
        let wait = if new { FIRST_VISIT } else { VISIT_EVERY };
        cx.timers.set(Timer::Shuffle, cx.now + wait.mul_f64(cx.rng.random_range(1.0..2.0)));
    }

    pub(crate) fn on_shuffle_due(&mut self, cx: &mut Context, peers: &mut Peers, conns: &mut Connections) {
        if cx.shutting_down || self.bootstrap.is_joining() {
            return self.schedule_shuffle(cx, peers);
        }
        let choice = match self.search.visit_next.take().filter(|next| self.can_shuffle(cx, peers, next)) {
            Some(next) => vec![next],
            None => self.shuffle_candidates(cx, peers),
        };
        if let Some(address) = cx.pick(&choice)
            && dial_for(cx, peers, conns, &address, DialReason::Shuffle)
        {
            cx.counters.shuffles += 1;
        }
        self.schedule_shuffle(cx, peers);
    }

    /// Whether an address is neither in use nor waiting because it failed.
    fn can_shuffle(&self, cx: &Context, peers: &Peers, address: &PeerAddress) -> bool {
        let idle =
            peers.book.get(address).is_some_and(|peer| peer.state == AddressState::Waiting && peer.failures == 0);
        idle || peers.book.is_idle(cx, address)
    }

    /// Among whom the next visit's address is drawn: the known peers that never led anywhere; else by the toss of a coin the known ones or those that were of
    /// use when last tried; else all. Those that failed must not be left out for ever: they may be the other side of a cut.
    fn shuffle_candidates(&mut self, cx: &mut Context, peers: &mut Peers) -> Vec<PeerAddress> {
        let idle: Vec<(&PeerAddress, &Peer)> =
            peers.book.iter().filter(|(address, _)| self.can_shuffle(cx, peers, address)).collect();
        let such = |wanted: &dyn Fn(&Peer) -> bool| {
            let such = idle.iter().filter(|(_, peer)| wanted(peer));
            such.map(|(address, _)| (*address).clone()).collect::<Vec<PeerAddress>>()
        };
        let (all, well) = (such(&|_| true), such(&|peer| peer.failures == 0));
        let (new, known) = (such(&is_new), such(&|peer| peer.known));
        let first = match cx.rng.random_range(0..8) {
            0..4 => known,
            4..7 => well,
            _ => Vec::new(),
        };
        [new, first, all].into_iter().find(|choice| !choice.is_empty()).unwrap_or_default()
    }

    /// Visits an address soon instead of a random one later: there is something to settle with it.
    pub(crate) fn shuffle_soon(&mut self, cx: &mut Context, address: &PeerAddress, at: Instant) {
        self.search.visit_next = Some(address.clone());
        if cx.timers.due(&Timer::Shuffle).is_none_or(|due| at < due) {
            cx.timers.set(Timer::Shuffle, at);
        }
    }

    /// Asks a random neighbour for addresses.
    pub(crate) fn ask_neighbor(&mut self, cx: &mut Context, conns: &mut Connections, want: Want) {
        if self.search.next_ask.is_some_and(|at| cx.now < at) {
            return;
        }
        let full = conns
            .links
            .iter()
            .filter(|(id, link)| link.native().is_some() && link.takes_transactions() && !self.asked.contains(id));
        let full: Vec<LinkId> = full.map(|(id, _)| id).collect();
        if !full.is_empty() {
            let link = full[cx.rng.random_range(0..full.len())];
            self.search.next_ask = Some(cx.now + ASK_SOMEBODY_EVERY);
            self.request_peers(cx, link, want);
        }
    }

    /// Asks the other end of a link for addresses.
    pub(crate) fn request_peers(&mut self, cx: &mut Context, link: LinkId, want: Want) {
        self.asked.insert(link);
        let root = cx.config.max_peers.map(|_| self.partitions.root());
        let join = crate::wire::Join { insist: false, want: Some(want), moved_by: None, root };
        cx.send(vec![link], join.to_frame(), Lane::Control);
    }

    /// Somebody wants addresses.
    pub(crate) fn on_peers_requested(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        conns: &mut Connections,
        link: LinkId,
        want: Want,
    ) {
        let Some(open) = conns.links.get_mut(link) else { return };
        let used = open.joins_used_until.unwrap_or(cx.now).max(cx.now);
        if used > cx.now + ASK_EVERY * ASKS_AT_ONCE {
            return conns.penalize(cx, peers, link, &Violation::breach("JOIN: you ask for addresses too often"));
        }
        open.joins_used_until = Some(used + ASK_EVERY);
        let addresses = match want {
            Want::Random => self.sample_for(cx, peers, conns, link),
            Want::Neighbours => {
                let mut neighbours = self.neighbor_addresses(cx, conns, link);
                neighbours.truncate(TOLD);
                neighbours
            }
        };
        let (free, root) = (self.free_slots(cx, conns), cx.config.max_peers.map(|_| self.partitions.root()));
        let sample = Sample { addresses, dropped: 0, free, root };
        cx.send(vec![link], sample.to_frame(), Lane::Control);
    }

    /// Addresses that we asked for.
    pub(crate) fn on_peers(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        conns: &mut Connections,
        link: LinkId,
        sample: Sample,
    ) {
        if !self.asked.remove(&link) {
            cx.counters.answers_unsolicited += 1;
            return conns.penalize(cx, peers, link, &Violation::breach("PEERS: nobody asked; ignored"));
        }
        cx.counters.addresses_dropped += sample.dropped as u64;
        let told: Vec<PeerAddress> =
            sample.addresses.iter().filter(|at| conns.may_learn(cx, &mut peers.book, link, at)).cloned().collect();
        self.add_addresses(cx, peers, conns, link, &told);
        let purpose = conns.reason(link).cloned();
        let address = conns.links.name_of(link).address;
        match purpose {
            Some(DialReason::Bootstrap) => {
                conns.links.close(cx, link, close::NORMAL, "thank you, goodbye");
                self.on_bootstrap_named(cx, peers, conns, &told);
            }
            Some(DialReason::Walk) => {
                conns.links.close(cx, link, close::NORMAL, "thank you, goodbye");
                if let Some(address) = address.clone() {
                    self.on_walked(cx, peers, conns, address, &told, sample.free);
                }
            }
            Some(DialReason::Shuffle) => {
                conns.links.close(cx, link, close::NORMAL, "thank you, goodbye");
                if let Some(address) = address.clone().filter(|_| sample.free.is_none_or(|free| free > 0)) {
                    self.search.hint_free_slot(address);
                }
            }
            _ => {
                self.search.hint(&told);
                self.on_bootstrap_neighbors(cx, conns, link, told.len());
            }
        }
        if let (Some(address), Some(root)) = (address, sample.root) {
            self.on_partition_learned(cx, peers, conns, link, &address, root);
        }
        self.fill_slots(cx, peers, conns);
    }

    /// Takes addresses into the table; they are dialled when a place is wanted.
    pub(crate) fn add_addresses(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        conns: &mut Connections,
        link: LinkId,
        addresses: &[PeerAddress],
    ) -> usize {
        let mut new = 0;
        for address in addresses {
            if peers.book.get(address).is_none() {
                let added = peers.book.add(
                    address,
                    AddressSource::Hearsay(conns.links.scope_of(link)),
                    cx.now,
                    &cx.config.limits,
                );
                new += usize::from(added);
                cx.counters.addresses_without_room += u64::from(!added);
                if added && cx.config.max_peers.is_none() {
                    peers.book.dial_at(cx, address, cx.now);
                }
            }
        }
        new
    }

    /// With a cap: takes what a HANDSHAKE names into the table, as far as it goes in a PEERS.
    pub(crate) fn learn_for_slots(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        conns: &mut Connections,
        link: LinkId,
        addresses: &[PeerAddress],
    ) {
        let few = addresses.iter().take(limits::SAMPLE_ADDRESSES);
        let told: Vec<PeerAddress> =
            few.filter(|address| conns.may_learn(cx, &mut peers.book, link, address)).cloned().collect();
        let new = self.add_addresses(cx, peers, conns, link, &told);
        if new > 0 {
            cx.notify(Event::AddressesLearned { peer: conns.links.name_of(link), addresses: new });
        }
        self.fill_slots(cx, peers, conns);
    }

    /// The addresses of the nodes that we are linked to, as far as the other end of `link` may be told, in random order.
    pub(crate) fn neighbor_addresses(
        &mut self,
        cx: &mut Context,
        conns: &mut Connections,
        link: LinkId,
    ) -> Vec<PeerAddress> {
        let Some(to) = conns.links.get(link) else { return Vec::new() };
        let (scope, asker) = (to.scope, asker_of(to));
        let open = conns.links.iter().filter(|(id, open)| *id != link && open.takes_transactions());
        let addresses = open.filter_map(|(_, open)| open.verified_address().cloned());
        let mut addresses: Vec<PeerAddress> =
            addresses.filter(|address| scope.may_tell(address.scope()) && Some(address) != asker.as_ref()).collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses.shuffle(&mut cx.rng);
        addresses
    }

    /// A few addresses for the other end of `link`: who has a free place, neighbours, and others that were of use lately.
    pub(crate) fn sample_for(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        conns: &mut Connections,
        link: LinkId,
    ) -> Vec<PeerAddress> {
        let Some(to) = conns.links.get(link) else { return Vec::new() };
        let (scope, asker) = (to.scope, asker_of(to));
        let mut sample: Vec<PeerAddress> = self.slots.lately_referred(cx.now).take(2).cloned().collect();
        sample.extend(self.neighbor_addresses(cx, conns, link).into_iter().take(TOLD - 2));
        let fresh = |up: Instant| cx.now.saturating_duration_since(up) < FRESH;
        let mut others: Vec<PeerAddress> = peers
            .book
            .iter()
            .filter(|(_, peer)| {
                peer.state == AddressState::Waiting && peer.failures == 0 && peer.last_up.is_some_and(fresh)
            })
            .map(|(address, _)| address.clone())
            .collect();
        others.shuffle(&mut cx.rng);
        sample.extend(others);
        let mut seen = std::collections::BTreeSet::new();
        sample.retain(|address| {
            scope.may_tell(address.scope())
                && Some(address) != asker.as_ref()
                && *address != cx.config.address
                && seen.insert(address.clone())
        });
        sample.truncate(TOLD);
        sample
    }

    /// What is remembered over a restart changed.
    pub(crate) fn save_peer_cache_later(&mut self, cx: &mut Context) {
        let remembers = cx.config.max_peers.is_some() || cx.config.genesis.is_some();
        if remembers && !cx.shutting_down && cx.timers.due(&Timer::PeerCache).is_none() {
            cx.timers.set(Timer::PeerCache, cx.now + REMEMBER_AFTER);
        }
    }

    /// Orders what led to nodes lately to be kept.
    pub(crate) fn save_peer_cache(&mut self, cx: &mut Context, peers: &mut Peers) {
        let mut up: Vec<_> = peers
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
        cx.output(Output::SavePeerCache { addresses });
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
