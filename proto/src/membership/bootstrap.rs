//! Joining through a bootstrap node (the setting GENESIS), once after the start.
//!
//! The new node requests random live addresses from the bootstrap node and closes that link. It
//! links to one of the addresses, requests the neighbors of that node, and then searches as every
//! node does. So newcomers do not gather around the bootstrap node. If the bootstrap node knows no
//! other node, the newcomer links to it. If it is down, known peers and the peer cache are used.
//!
//! The search timer begins it. Dials, links and PEERS for [`DialReason::Bootstrap`] are handed in.

use crate::address::PeerAddress;
use crate::causes::DialError;
use crate::connections::Connections;
use crate::context::Context;
use crate::dial_reason::DialReason;
use crate::event::{BootstrapStep, Event};
use crate::id::LinkId;
use crate::membership::slot_search::MIN_SLOTS;
use crate::membership::state::{Membership, dial_for};
use crate::peers::Peers;
use crate::peers::address_book::{AddressSource, AddressState};
use crate::wire::Want;

impl Membership {
    /// Begins to join through the bootstrap node, if there is one.
    pub(crate) fn begin_bootstrap(&mut self, cx: &mut Context, peers: &mut Peers, conns: &mut Connections) {
        if std::mem::replace(&mut self.bootstrap.begun, true) {
            return;
        }
        let genesis = cx.config.genesis.clone().filter(|address| cx.can_dial(address));
        let Some(address) = genesis else { return self.finish_bootstrap(cx, peers, conns) };
        if cx.is_own(&address) {
            cx.notify(Event::Bootstrap(BootstrapStep::Ourselves { address }));
            return self.finish_bootstrap(cx, peers, conns);
        }
        // It counts as a known peer: it is never forgotten, and is found though it starts last.
        peers.book.add(&address, AddressSource::Known, cx.now, &cx.config.limits);
        cx.notify(Event::Bootstrap(BootstrapStep::Asking { address: address.clone() }));
        if !dial_for(cx, peers, conns, &address, DialReason::Bootstrap) {
            self.finish_bootstrap(cx, peers, conns);
        }
    }

    /// Handles a bootstrap node that cannot be asked: the node searches without it.
    pub(crate) fn on_bootstrap_failed(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        conns: &mut Connections,
        error: impl Into<DialError>,
    ) {
        if let Some(address) = cx.config.genesis.clone().filter(|_| self.bootstrap.joining) {
            let others = peers.book.others().saturating_sub(1);
            cx.notify(Event::Bootstrap(BootstrapStep::Failed { address, error: error.into(), others }));
            self.finish_bootstrap(cx, peers, conns);
        }
    }

    /// Handles a bootstrap address that leads to this node itself, as the upgrade identity shows.
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

    /// Handles the addresses that the bootstrap node named. The first is tried once that link is
    /// closed.
    pub(crate) fn on_bootstrap_named(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        conns: &mut Connections,
        named: &[PeerAddress],
    ) {
        let Some(address) = cx.config.genesis.clone().filter(|_| self.bootstrap.joining) else { return };
        let others = named.iter().filter(|address| !cx.is_own(address)).cloned();
        self.bootstrap.named = others.collect();
        if self.bootstrap.named.is_empty() {
            cx.notify(Event::Bootstrap(BootstrapStep::Alone { address: address.clone() }));
            self.bootstrap.named.push_back(address);
        }
        self.try_next_named(cx, peers, conns);
    }

    /// Tries the next address, unless one is being tried or the link to the bootstrap node is still
    /// open.
    pub(crate) fn try_next_named(&mut self, cx: &mut Context, peers: &mut Peers, conns: &mut Connections) {
        if !self.bootstrap.joining || self.bootstrap.trying.is_some() {
            return;
        }
        let asks = |reason: &DialReason| *reason == DialReason::Bootstrap;
        if conns.reasons().any(|(_, reason)| asks(reason)) || peers.dialer.reasons().any(asks) {
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

    /// Handles an address that cannot be dialled, or has no slot: tries the next one.
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

    /// Handles a new slot. If its node is the one being tried, its neighbors are requested; by
    /// simultaneous open the link may be one that it dialled. A node with two links has joined,
    /// wherever they lead.
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
            if conns.links.peers() >= MIN_SLOTS {
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

    /// Handles the neighbors that the tried node named.
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

    /// Ends joining: from here on the node searches, or dials all addresses, as every node does.
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

#[cfg(test)]
mod tests;
