//! A genesis node: whom a new node asks for another to begin with, once.
//!
//! It asks for random live nodes and says goodbye, links to one of those, asks it for its neighbours, and goes on as everybody does. If genesis knows
//! nobody the node stays with it; if it is down, known and remembered peers serve. Afterwards genesis is an address like any other.

use std::collections::VecDeque;

use crate::address::PeerAddress;
use crate::connections::Connections;
use crate::context::Context;
use crate::event::{BootstrapStep, Event};
use crate::id::LinkId;
use crate::membership::slot_search::LEAST;
use crate::membership::{Membership, dial_for};
use crate::peers::Peers;
use crate::peers::address_book::{AddressSource, AddressState};
use crate::peers::dial_reason::DialReason;
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

impl Membership {
    /// Begins to join through the genesis node, if there is one.
    pub(crate) fn begin_bootstrap(&mut self, cx: &mut Context, peers: &mut Peers, conns: &mut Connections) {
        if std::mem::replace(&mut self.bootstrap.begun, true) {
            return;
        }
        let Some(address) = cx.config.genesis.clone() else { return self.finish_bootstrap(cx, peers, conns) };
        if address == cx.config.address {
            cx.notify(Event::Bootstrap(BootstrapStep::Ourselves { address }));
            return self.finish_bootstrap(cx, peers, conns);
        }
        // A person named it: it is never forgotten, and is found though it starts last.
        peers.book.add(&address, AddressSource::Known, cx.now, &cx.config.limits);
        cx.notify(Event::Bootstrap(BootstrapStep::Asking { address: address.clone() }));
        if !dial_for(cx, peers, conns, &address, DialReason::Bootstrap) {
            self.finish_bootstrap(cx, peers, conns);
        }
    }

    /// The genesis node can not be asked.
    pub(crate) fn on_bootstrap_failed(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        conns: &mut Connections,
        error: &str,
    ) {
        if let Some(address) = cx.config.genesis.clone().filter(|_| self.bootstrap.joining) {
            let others = peers.book.others().saturating_sub(1);
            cx.notify(Event::Bootstrap(BootstrapStep::Failed { address, error: error.to_owned(), others }));
            self.finish_bootstrap(cx, peers, conns);
        }
    }

    /// The genesis node's address is one more name of ours, as its identity shows: that is said once.
    pub(crate) fn on_bootstrap_ourselves(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        conns: &mut Connections,
        address: &PeerAddress,
    ) {
        peers.book.set_state(address, AddressState::Myself);
        cx.notify(Event::Bootstrap(BootstrapStep::Ourselves { address: address.clone() }));
        self.finish_bootstrap(cx, peers, conns);
    }

    /// The genesis node named these; who is first is tried once the link to genesis is closed.
    pub(crate) fn on_bootstrap_named(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        conns: &mut Connections,
        named: &[PeerAddress],
    ) {
        let Some(address) = cx.config.genesis.clone().filter(|_| self.bootstrap.joining) else { return };
        let others = named.iter().filter(|address| **address != cx.config.address).cloned();
        self.bootstrap.named = others.collect();
        if self.bootstrap.named.is_empty() {
            cx.notify(Event::Bootstrap(BootstrapStep::Alone { address: address.clone() }));
            self.bootstrap.named.push_back(address);
        }
        self.try_next_named(cx, peers, conns);
    }

    /// Tries the next node that genesis named, unless one is being tried or the link over which it was named is still open.
    pub(crate) fn try_next_named(&mut self, cx: &mut Context, peers: &mut Peers, conns: &mut Connections) {
        if !self.bootstrap.joining || self.bootstrap.trying.is_some() {
            return;
        }
        let asking = |purpose: &DialReason| *purpose == DialReason::Bootstrap;
        if conns.reasons().any(|(_, reason)| asking(reason)) || peers.dialer.reasons().any(asking) {
            return;
        }
        while let Some(address) = self.bootstrap.named.pop_front() {
            if dial_for(cx, peers, conns, &address, DialReason::slot()) {
                if Some(&address) != cx.config.genesis.as_ref() {
                    cx.notify(Event::Bootstrap(BootstrapStep::Named { address: address.clone() }));
                }
                self.bootstrap.trying = Some(address);
                return;
            }
        }
        self.finish_bootstrap(cx, peers, conns);
    }

    /// A node that genesis named can not be dialled, or has no place: the next one.
    pub(crate) fn on_bootstrap_missed(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        conns: &mut Connections,
        address: &PeerAddress,
    ) {
        if self.bootstrap.trying.as_ref() == Some(address) {
            self.bootstrap.trying = None;
        }
        self.try_next_named(cx, peers, conns);
    }

    /// A place was won: if it is at the node that genesis named, some of its neighbours are next. It may have dialled us in the same moment, and its link be the
    /// one that stays; and whoever has two links has joined, wherever they lead.
    pub(crate) fn on_bootstrap_slot(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        conns: &mut Connections,
        link: LinkId,
    ) {
        if !self.bootstrap.joining {
            return;
        }
        let name = conns.links.name_of(link).address;
        let address = conns.links.get(link).and_then(|link| link.dialled.clone()).or(name);
        if address.is_none() || address != self.bootstrap.trying {
            if conns.links.peers() >= LEAST {
                self.finish_bootstrap(cx, peers, conns);
            }
            return;
        }
        let peer = conns.links.name_of(link);
        cx.notify(Event::Bootstrap(BootstrapStep::Joined { peer }));
        if address != cx.config.genesis {
            self.request_peers(cx, link, Want::Neighbours);
        }
        self.finish_bootstrap(cx, peers, conns);
    }

    /// The node that genesis named told of its neighbours.
    pub(crate) fn on_bootstrap_neighbors(
        &mut self,
        cx: &mut Context,
        conns: &mut Connections,
        link: LinkId,
        addresses: usize,
    ) {
        let trying = self.bootstrap.trying.take();
        if trying.is_some() && trying == conns.links.get(link).and_then(|link| link.dialled.clone()) {
            let peer = conns.links.name_of(link);
            cx.notify(Event::Bootstrap(BootstrapStep::Neighbours { peer, addresses }));
        }
    }

    /// From here on the node searches as all do.
    pub(crate) fn finish_bootstrap(&mut self, cx: &mut Context, peers: &mut Peers, conns: &mut Connections) {
        self.bootstrap.joining = false;
        self.bootstrap.named.clear();
        if cx.config.max_peers.is_none() {
            let waiting = peers.book.iter().filter(|(_, peer)| peer.state == AddressState::Waiting);
            let waiting: Vec<PeerAddress> = waiting.map(|(address, _)| address.clone()).collect();
            for address in waiting {
                peers.book.dial_at(cx, &address, cx.now);
            }
        }
        self.fill_slots(cx, peers, conns);
    }
}
