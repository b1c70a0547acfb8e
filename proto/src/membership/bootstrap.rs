//! A genesis node: whom a new node asks for another to begin with, once.
//!
//! It asks for random live nodes and says goodbye, links to one of those, asks it for its neighbours, and goes on as everybody does. If genesis knows
//! nobody the node stays with it; if it is down, known and remembered peers serve. Afterwards genesis is an address like any other.

use std::collections::VecDeque;
use std::time::Instant;

use crate::Node;
use crate::address::PeerAddress;
use crate::event::{BootstrapStep, Event};
use crate::id::LinkId;
use crate::membership::slot_search::{LEAST, Purpose};
use crate::peers::address_book::{AddressSource, AddressState};
use crate::wire::Want;

/// How far joining through genesis has come.
#[derive(Debug, Default)]
pub(crate) struct Bootstrap {
    joining: bool,
    begun: bool,
    /// Whom genesis named, and has not been tried.
    named: VecDeque<PeerAddress>,
    /// Who is being tried.
    trying: Option<PeerAddress>,
}

impl Bootstrap {
    /// Before the beginning: nothing is searched yet.
    pub(crate) fn wait(&mut self) {
        self.joining = true;
    }

    /// Whether other searches wait for it.
    pub(crate) fn is_joining(&self) -> bool {
        self.joining
    }
}

impl Node {
    /// Begins to join through the genesis node, if there is one.
    pub(crate) fn begin_genesis(&mut self, now: Instant) {
        if std::mem::replace(&mut self.membership.genesis.begun, true) {
            return;
        }
        let Some(address) = self.cx.config.genesis.clone() else { return self.finish_genesis(now) };
        if address == self.cx.config.address {
            self.cx.notify(Event::Bootstrap(BootstrapStep::Ourselves { address }));
            return self.finish_genesis(now);
        }
        // A person named it: it is never forgotten, and is found though it starts last.
        self.book.add(&address, AddressSource::Known, now, &self.cx.config.limits);
        self.cx.notify(Event::Bootstrap(BootstrapStep::Asking { address: address.clone() }));
        if !self.dial_for(now, &address, Purpose::Bootstrap) {
            self.finish_genesis(now);
        }
    }

    /// The genesis node can not be asked.
    pub(crate) fn on_genesis_failed(&mut self, now: Instant, error: &str) {
        if let Some(address) = self.cx.config.genesis.clone().filter(|_| self.membership.genesis.joining) {
            let others = self.book.others().saturating_sub(1);
            self.cx.notify(Event::Bootstrap(BootstrapStep::Failed { address, error: error.to_owned(), others }));
            self.finish_genesis(now);
        }
    }

    /// The genesis node's address is one more name of ours, as its identity shows: that is said once.
    pub(crate) fn on_genesis_ourselves(&mut self, now: Instant, address: &PeerAddress) {
        self.book.set_state(address, AddressState::Myself);
        self.cx.notify(Event::Bootstrap(BootstrapStep::Ourselves { address: address.clone() }));
        self.finish_genesis(now);
    }

    /// The genesis node named these; who is first is tried once the link to genesis is closed.
    pub(crate) fn on_genesis_named(&mut self, now: Instant, named: &[PeerAddress]) {
        let Some(address) = self.cx.config.genesis.clone().filter(|_| self.membership.genesis.joining) else { return };
        let others = named.iter().filter(|address| **address != self.cx.config.address).cloned();
        self.membership.genesis.named = others.collect();
        if self.membership.genesis.named.is_empty() {
            self.cx.notify(Event::Bootstrap(BootstrapStep::Alone { address: address.clone() }));
            self.membership.genesis.named.push_back(address);
        }
        self.next_genesis(now);
    }

    /// Tries the next node that genesis named, unless one is being tried or the link over which it was named is still open.
    pub(crate) fn next_genesis(&mut self, now: Instant) {
        if !self.membership.genesis.joining || self.membership.genesis.trying.is_some() {
            return;
        }
        let asking = |purpose: &Purpose| *purpose == Purpose::Bootstrap;
        let seeking = &self.membership.seeking;
        if seeking.open.values().any(asking) || seeking.flying.values().any(asking) {
            return;
        }
        while let Some(address) = self.membership.genesis.named.pop_front() {
            if self.dial_for(now, &address, Purpose::Place { insist: false, moved_by: None }) {
                if Some(&address) != self.cx.config.genesis.as_ref() {
                    self.cx.notify(Event::Bootstrap(BootstrapStep::Named { address: address.clone() }));
                }
                self.membership.genesis.trying = Some(address);
                return;
            }
        }
        self.finish_genesis(now);
    }

    /// A node that genesis named can not be dialled, or has no place: the next one.
    pub(crate) fn on_genesis_miss(&mut self, now: Instant, address: &PeerAddress) {
        if self.membership.genesis.trying.as_ref() == Some(address) {
            self.membership.genesis.trying = None;
        }
        self.next_genesis(now);
    }

    /// A place was won: if it is at the node that genesis named, some of its neighbours are next. It may have dialled us in the same moment, and its link be the
    /// one that stays; and whoever has two links has joined, wherever they lead.
    pub(crate) fn on_genesis_place(&mut self, now: Instant, link: LinkId) {
        if !self.membership.genesis.joining {
            return;
        }
        let name = self.links.name_of(link).address;
        let address = self.links.get(link).and_then(|link| link.dialled.clone()).or(name);
        if address.is_none() || address != self.membership.genesis.trying {
            if self.links.peers() >= LEAST {
                self.finish_genesis(now);
            }
            return;
        }
        let peer = self.links.name_of(link);
        self.cx.notify(Event::Bootstrap(BootstrapStep::Joined { peer }));
        if address != self.cx.config.genesis {
            self.ask(now, link, Want::Neighbours);
        }
        self.finish_genesis(now);
    }

    /// The node that genesis named told of its neighbours.
    pub(crate) fn on_genesis_neighbours(&mut self, link: LinkId, addresses: usize) {
        let trying = self.membership.genesis.trying.take();
        if trying.is_some() && trying == self.links.get(link).and_then(|link| link.dialled.clone()) {
            let peer = self.links.name_of(link);
            self.cx.notify(Event::Bootstrap(BootstrapStep::Neighbours { peer, addresses }));
        }
    }

    /// From here on the node searches as all do.
    pub(crate) fn finish_genesis(&mut self, now: Instant) {
        self.membership.genesis.joining = false;
        self.membership.genesis.named.clear();
        if self.cx.config.max_peers.is_none() {
            let waiting = self.book.iter().filter(|(_, peer)| peer.state == AddressState::Waiting);
            let waiting: Vec<PeerAddress> = waiting.map(|(address, _)| address.clone()).collect();
            for address in waiting {
                self.dial_at(&address, now);
            }
        }
        self.seek(now);
    }
}
