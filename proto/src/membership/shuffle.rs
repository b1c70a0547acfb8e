//! Shuffle: the exchange of addresses between nodes with a cap, and the peer cache.
//!
//! From time to time a node dials a random address, requests a few addresses with JOIN, receives
//! PEERS and closes the link. HyParView and CYCLON (Voulgaris, Gavidia and van Steen, 2005) shuffle
//! views in the same way; known peers are drawn more often here. So each address book becomes a
//! random sample of the network, addresses are tried before they are needed, and partitions hear of
//! each other. DECLINED carries addresses too.
//!
//! A node sends only addresses that it dialled or probed itself, and accepts only answers to its
//! own requests. The module decides whom to ask, which addresses to send, and which to take. Its
//! timers, JOIN and PEERS call it.

use std::time::{Duration, Instant};

use rand::RngExt;
use rand::seq::SliceRandom;

use crate::address::PeerAddress;
use crate::connections::Connections;
use crate::connections::table::Link;
use crate::context::Context;
use crate::dial_reason::DialReason;
use crate::event::Event;
use crate::id::LinkId;
use crate::io::{Lane, Output};
use crate::limits;
use crate::membership::state::{Membership, dial_for};
use crate::peers::Peers;
use crate::peers::address_book::{AddressSource, AddressState, Peer};
use crate::timers::Timer;
use crate::violation::Violation;
use crate::wire::close;
use crate::wire::{RememberedAddress, RememberedExercise, Sample, Want};

/// How many addresses a node sends at once.
const SAMPLE_SIZE: usize = 8;
/// The shortest time between two shuffles; each wait is drawn from one to two of it.
const SHUFFLE_INTERVAL: Duration = Duration::from_secs(20);
/// The same while a known peer was never tried: people expect their peers to be used soon.
const FIRST_SHUFFLE_INTERVAL: Duration = Duration::from_secs(3);
/// How long an address is passed on after it was last seen to lead to a node.
const FRESH: Duration = Duration::from_secs(600);
/// The shortest time between two requests to neighbors of a node that lacks links: an answer may
/// hold nothing new.
const NEIGHBOR_INTERVAL: Duration = Duration::from_secs(2);
/// How long after a change the peer cache is written: one write for several changes.
const PEER_CACHE_DELAY: Duration = Duration::from_secs(3);

impl Membership {
    /// Sets the time of the next shuffle: sooner until all known peers were tried once.
    pub(crate) fn schedule_shuffle(&mut self, cx: &mut Context, peers: &mut Peers) {
        let new = peers.book.iter().any(|(address, peer)| is_new(peer) && self.can_shuffle(cx, peers, address));
        let wait = if new { FIRST_SHUFFLE_INTERVAL } else { SHUFFLE_INTERVAL };
        cx.timers.set(Timer::Shuffle, cx.now + wait.mul_f64(cx.rng.random_range(1.0..2.0)));
    }

    /// Handles the shuffle timer: dials an address for a shuffle.
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

    /// Returns whether an address is neither in use nor waits after a failure.
    fn can_shuffle(&self, cx: &Context, peers: &Peers, address: &PeerAddress) -> bool {
        let idle =
            peers.book.get(address).is_some_and(|peer| peer.state == AddressState::Waiting && peer.failures == 0);
        idle || peers.book.is_idle(cx, address)
    }

    /// Returns the addresses from which the next shuffle draws. First come the known peers that
    /// were never tried. Otherwise in half of all cases known peers are drawn, in three of eight
    /// those that did not fail when last tried, in the rest all. Those that failed are not left out
    /// for ever: they may lie in another partition.
    fn shuffle_candidates(&mut self, cx: &mut Context, peers: &mut Peers) -> Vec<PeerAddress> {
        let idle: Vec<(&PeerAddress, &Peer)> =
            peers.book.iter().filter(|(address, _)| self.can_shuffle(cx, peers, address)).collect();
        let such = |wanted: &dyn Fn(&Peer) -> bool| {
            let such = idle.iter().filter(|(_, peer)| wanted(peer));
            such.map(|(address, _)| (*address).clone()).collect::<Vec<PeerAddress>>()
        };
        let (all, good) = (such(&|_| true), such(&|peer| peer.failures == 0));
        let (new, known) = (such(&is_new), such(&|peer| peer.known));
        let first = match cx.rng.random_range(0..8) {
            0..4 => known,
            4..7 => good,
            _ => Vec::new(),
        };
        [new, first, all].into_iter().find(|choice| !choice.is_empty()).unwrap_or_default()
    }

    /// Has the next shuffle go to an address, at `at` if none is due before.
    pub(crate) fn shuffle_soon(&mut self, cx: &mut Context, address: &PeerAddress, at: Instant) {
        self.search.visit_next = Some(address.clone());
        if cx.timers.due(&Timer::Shuffle).is_none_or(|due| at < due) {
            cx.timers.set(Timer::Shuffle, at);
        }
    }

    /// Requests addresses from a random neighbor.
    pub(crate) fn ask_neighbor(&mut self, cx: &mut Context, conns: &mut Connections, want: Want) {
        if self.search.next_ask.is_some_and(|at| cx.now < at) {
            return;
        }
        let native = conns
            .links
            .iter()
            .filter(|(id, link)| link.native().is_some() && link.takes_transactions() && !self.asked.contains(id));
        let native: Vec<LinkId> = native.map(|(id, _)| id).collect();
        if !native.is_empty() {
            let link = native[cx.rng.random_range(0..native.len())];
            self.search.next_ask = Some(cx.now + NEIGHBOR_INTERVAL);
            self.request_peers(cx, link, want);
        }
    }

    /// Requests addresses from the other end of a link.
    pub(crate) fn request_peers(&mut self, cx: &mut Context, link: LinkId, want: Want) {
        self.asked.insert(link);
        let root = cx.config.max_peers.map(|_| self.partitions.root());
        let join = crate::wire::Join { insist: false, want: Some(want), moved_by: None, root };
        cx.send(vec![link], join.to_frame(), Lane::Control);
    }

    /// Handles a request for addresses: sends PEERS.
    pub(crate) fn on_peers_requested(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        conns: &mut Connections,
        link: LinkId,
        want: Want,
    ) {
        if conns.links.get(link).is_none() {
            return;
        }
        let addresses = match want {
            Want::Random => self.sample_for(cx, peers, conns, link),
            Want::Neighbours => {
                let mut neighbors = self.neighbor_addresses(cx, conns, link);
                neighbors.truncate(SAMPLE_SIZE);
                neighbors
            }
        };
        let (free, root) = (self.free_slots(cx, conns), cx.config.max_peers.map(|_| self.partitions.root()));
        let sample = Sample { addresses, dropped: 0, free, root };
        cx.send(vec![link], sample.to_frame(), Lane::Control);
    }

    /// Handles PEERS, the answer to our request: takes the addresses, and goes on with what the
    /// link was dialled for.
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
        let named: Vec<PeerAddress> =
            sample.addresses.iter().filter(|at| conns.may_learn(cx, &mut peers.book, link, at)).cloned().collect();
        self.add_addresses(cx, peers, conns, link, &named);
        let reason = conns.reason(link).cloned();
        let address = conns.links.name_of(link).address;
        match reason {
            Some(DialReason::Bootstrap) => {
                conns.links.close(cx, link, close::NORMAL, "thank you, goodbye");
                self.on_bootstrap_named(cx, peers, conns, &named);
            }
            Some(DialReason::Walk) => {
                conns.links.close(cx, link, close::NORMAL, "thank you, goodbye");
                if let Some(address) = address.clone() {
                    self.on_walked(cx, peers, conns, address, &named, sample.free);
                }
            }
            Some(DialReason::Shuffle) => {
                conns.links.close(cx, link, close::NORMAL, "thank you, goodbye");
                if let Some(address) = address.clone().filter(|_| sample.free.is_none_or(|free| free > 0)) {
                    self.search.hint_free_slot(address);
                }
            }
            _ => {
                self.search.hint(&named);
                self.on_bootstrap_neighbors(cx, conns, link, named.len());
            }
        }
        if let (Some(address), Some(root)) = (address, sample.root) {
            self.on_partition_learned(cx, peers, conns, link, &address, root);
        }
        self.fill_slots(cx, peers, conns);
    }

    /// Adds addresses to the address book; returns how many were new. With a cap they are dialled
    /// when a slot is wanted.
    pub(crate) fn add_addresses(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        conns: &mut Connections,
        link: LinkId,
        addresses: &[PeerAddress],
    ) -> usize {
        let (scope, group) = conns.links.source_of(link);
        let mut new = 0;
        for address in addresses {
            if peers.book.get(address).is_none() {
                let source = AddressSource::Gossiped(scope, group);
                let added = peers.book.add(address, source, cx.now, &cx.config.limits);
                new += usize::from(added);
                cx.counters.addresses_without_room += u64::from(!added);
                if added && cx.config.max_peers.is_none() {
                    let at = self.gossip.reserve(cx, group, address);
                    peers.book.dial_at(cx, address, at);
                }
            }
        }
        new
    }

    /// Adds the addresses that a HANDSHAKE names, with a cap: at most as many as PEERS may hold.
    pub(crate) fn learn_for_slots(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        conns: &mut Connections,
        link: LinkId,
        addresses: &[PeerAddress],
    ) {
        let few = addresses.iter().take(limits::SAMPLE_ADDRESSES);
        let named: Vec<PeerAddress> =
            few.filter(|address| conns.may_learn(cx, &mut peers.book, link, address)).cloned().collect();
        let new = self.add_addresses(cx, peers, conns, link, &named);
        if new > 0 {
            cx.notify(Event::AddressesLearned { peer: conns.links.name_of(link), addresses: new });
        }
        self.fill_slots(cx, peers, conns);
    }

    /// Returns the addresses of our peers that the other end of `link` may learn, in random order.
    pub(crate) fn neighbor_addresses(
        &mut self,
        cx: &mut Context,
        conns: &mut Connections,
        link: LinkId,
    ) -> Vec<PeerAddress> {
        let Some(to) = conns.links.get(link) else { return Vec::new() };
        let (scope, asker) = (to.scope, asker_of(to));
        let open = conns.links.iter().filter(|(id, open)| *id != link && open.takes_transactions());
        let addresses = open.filter_map(|(_, open)| open.address_for(scope).cloned());
        let other = |address: &PeerAddress| Some(address) != asker.as_ref() && !to.is_at(address);
        let mut addresses: Vec<PeerAddress> =
            addresses.filter(|address| scope.may_tell(address.scope()) && other(address)).collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses.shuffle(&mut cx.rng);
        addresses
    }

    /// Returns a sample of addresses for the other end of `link`: nodes that have a free slot, then
    /// neighbors, then others that answered lately.
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
        sample.extend(self.neighbor_addresses(cx, conns, link).into_iter().take(SAMPLE_SIZE - 2));
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
                && !conns.links.get(link).is_some_and(|to| to.is_at(address))
                && !cx.is_own(address)
                && seen.insert(address.clone())
        });
        sample.truncate(SAMPLE_SIZE);
        sample
    }

    /// Schedules a write of the peer cache, which changed.
    pub(crate) fn save_peer_cache_later(&mut self, cx: &mut Context) {
        if !cx.shutting_down && cx.timers.due(&Timer::PeerCache).is_none() {
            cx.timers.set(Timer::PeerCache, cx.now + PEER_CACHE_DELAY);
        }
    }

    /// Emits the peer cache: the linked addresses, then those that led to a node last. A node
    /// without a cap and without a bootstrap node is told of its native peers by any of them, and
    /// remembers exercise peers only.
    pub(crate) fn save_peer_cache(&mut self, cx: &mut Context, peers: &mut Peers, exercise: Vec<RememberedExercise>) {
        if cx.config.max_peers.is_none() && cx.config.genesis.is_none() {
            return cx.output(Output::SavePeerCache { addresses: Vec::new(), exercise });
        }
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
        let remembered = |address: &PeerAddress| RememberedAddress {
            address: address.clone(),
            reach: peers.book.remembered_reach(address),
        };
        let addresses = up.into_iter().take(limits::PEER_CACHE).map(|(_, address)| remembered(address)).collect();
        cx.output(Output::SavePeerCache { addresses, exercise });
    }
}

/// Returns whether an address is a known peer that was never tried.
fn is_new(peer: &Peer) -> bool {
    peer.known && peer.last_up.is_none() && peer.failures == 0 && peer.state == AddressState::Waiting
}

/// Returns the address of the other end of a link: it is not sent to itself.
fn asker_of(link: &Link) -> Option<PeerAddress> {
    link.name().address
}

#[cfg(test)]
mod tests;
