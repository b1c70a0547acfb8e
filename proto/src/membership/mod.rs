//! Membership: which nodes this node is linked to.
//!
//! Without a cap on peers (`max_peers`) the network is a full mesh: every address that a peer names
//! is dialled. With a cap each node keeps an **active view** of so many links and a larger table of
//! addresses, as in HyParView (Leitão, Pereira and Rodrigues, DSN 2007). The address book is the
//! passive view.
//!
//! | component | decides |
//! |---|---|
//! | `slots` | who gets a slot, who is declined, whose slot is swapped |
//! | `slot_search` | how many slots are wanted, and who is asked for one |
//! | `shuffle` | which addresses nodes exchange, and when |
//! | `bootstrap` | how a new node joins through its bootstrap node |
//! | `partitions` | which partition this node is in |
//! | `healing` | which link joins two partitions |
//! | `rewiring` | which links move to a random node |
//!
//! The node calls it with messages, timers and the [internal events](crate::internal_event) of
//! connections. It calls connections to admit and to close links, and the dialer to open them.

use std::time::Duration;

use crate::address::{PeerAddress, Scope};
use crate::connections::{Closed, Connections};
use crate::context::Context;
use crate::dial_reason::DialReason;
use crate::event::Event;
use crate::id::{LinkId, Session};
use crate::internal_event::DialOutcome;
use crate::peers::Peers;
use crate::peers::address_book::AddressSource;
use crate::wire::close;

mod bootstrap;
mod healing;
mod partitions;
mod rewiring;
mod shuffle;
mod slot_search;
mod slots;
mod state;

pub(crate) use state::Membership;

impl Membership {
    /// Handles the end of a dial that led to no link that is used.
    pub(crate) fn on_dial_ended(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        conns: &mut Connections,
        address: &PeerAddress,
        reason: Option<DialReason>,
        outcome: DialOutcome,
    ) {
        match outcome {
            DialOutcome::Failed(error) => self.on_dial_missed(cx, peers, conns, address, reason.as_ref(), &error),
            DialOutcome::Useless(why) => self.on_dial_missed(cx, peers, conns, address, reason.as_ref(), why),
            DialOutcome::Ourselves { link } => {
                if reason == Some(DialReason::Bootstrap) {
                    self.on_bootstrap_ourselves(cx, peers, conns, address);
                }
                peers.book.found_self(cx, address);
                conns.links.close(cx, link, close::NORMAL, "this is myself");
                self.on_dial_missed(cx, peers, conns, address, reason.as_ref(), "it is this node itself");
            }
        }
    }

    /// Handles an exercise peer that answered a dial; returns whether it gets a slot.
    pub(crate) fn on_exercise_dialled(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        conns: &mut Connections,
        link: LinkId,
        reason: Option<DialReason>,
        redirects: bool,
    ) -> bool {
        if reason == Some(DialReason::Bootstrap) {
            let why = "a node of the exercise, or another program, answers there";
            self.on_bootstrap_failed(cx, peers, conns, why);
        }
        if reason == Some(DialReason::Walk) {
            self.on_walk_missed(cx, peers, conns);
        }
        if redirects {
            self.redirect_exercise(cx, peers, conns, link);
        }
        !redirects
    }

    /// Handles an exercise peer that introduced itself.
    pub(crate) fn on_exercise_introduced(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        conns: &mut Connections,
        link: LinkId,
        addresses: &[PeerAddress],
    ) {
        if !self.admit_exercise(cx, peers, conns, link, addresses) {
            self.learn(cx, peers, conns, link, addresses);
        }
    }

    /// Gives a link that was on standby its slot, unless the last one was taken meanwhile.
    pub(crate) fn admit_standby(&mut self, cx: &mut Context, peers: &mut Peers, conns: &mut Connections, link: LinkId) {
        let id = conns.links.get(link).and_then(|link| link.name().node);
        let counted = id.is_some_and(|id| conns.links.to_node(id, Some(link)).is_some());
        if !counted && self.is_full(cx, conns, None) {
            return conns.links.close(cx, link, close::NORMAL, "the last slot here was taken meanwhile");
        }
        let join = self.join_frame(cx, peers, conns, link);
        conns.promote(cx, peers, link, join);
    }

    /// Forgets the request for addresses on a link that has ended; returns whether it was answered.
    pub(crate) fn was_answered(&mut self, link: LinkId) -> bool {
        !self.asked.remove(&link)
    }

    /// Sets the new state of each address that led to the other end of a closed link.
    pub(crate) fn release_addresses(&mut self, cx: &mut Context, peers: &mut Peers, closed: &Closed, answered: bool) {
        for address in peers.book.leading_to(closed.id) {
            match closed.heir {
                Some(heir) => {
                    peers.book.set_state(&address, crate::peers::address_book::AddressState::Connected(heir));
                }
                None if self.settle_address(cx, peers, &address, &closed.link, closed.reason.as_ref(), answered) => {}
                None => Connections::redial_later(cx, peers, &address, &closed.link),
            }
        }
    }

    /// Takes the addresses that an admitted peer named into the address book.
    pub(crate) fn learn(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        conns: &mut Connections,
        link: LinkId,
        addresses: &[PeerAddress],
    ) {
        if cx.config.max_peers.is_some() {
            return self.learn_for_slots(cx, peers, conns, link, addresses);
        }
        let (mut new, mut displacing) = (0, cx.config.limits.gossip_burst);
        let scope = conns.links.scope_of(link);
        // A native peer names itself first. A HANDSHAKE with two addresses passes the second one on
        // for an exercise peer. An exercise peer may name itself last.
        let native = conns.links.get(link).is_some_and(|link| link.native().is_some());
        let last = addresses.last().filter(|_| addresses.len() == 2 || !native);
        let own: Vec<&PeerAddress> = addresses.first().into_iter().chain(last).collect();
        for address in addresses {
            if !conns.may_learn(cx, &mut peers.book, link, address) {
                continue;
            }
            if peers.book.get(address).is_none() {
                let hello = own.contains(&address);
                let source = if hello { AddressSource::Hello(scope) } else { AddressSource::Hearsay(scope) };
                let displaces = !hello && peers.book.is_full(&cx.config.limits);
                if (displaces && displacing == 0) || !peers.book.add(address, source, cx.now, &cx.config.limits) {
                    // If no entry can be displaced now, none can for the rest of this HANDSHAKE.
                    displacing = if displaces { 0 } else { displacing };
                    cx.counters.addresses_without_room += 1;
                    continue;
                }
                displacing -= u32::from(displaces);
                new += 1;
                let at = allowed_by_gossip_rate(cx, conns, link, address);
                peers.book.dial_at(cx, address, at);
            } else if own.contains(&address) {
                // A peer that announces its own address is alive: earlier failures no longer count.
                if let Some(peer) = peers.book.get_mut(address) {
                    peer.failures = 0;
                }
                let claimed = peers.book.get(address).is_some_and(|peer| peer.claimed == Some(link));
                if !claimed {
                    peers.book.dial_at(cx, address, cx.now);
                }
            } else if peers
                .book
                .get(address)
                .is_some_and(|peer| peer.declined_until.is_none_or(|until| cx.now >= until))
            {
                peers.book.dial_at(cx, address, cx.now + Duration::from_secs(1));
            }
        }
        if new > 0 {
            cx.notify(Event::AddressesLearned { peer: conns.links.name_of(link), addresses: new });
        }
    }

    /// Returns the lowest known session of our partition; `None` without a cap, where no beacons
    /// are sent.
    pub(crate) fn partition(&self, cx: &Context) -> Option<Session> {
        cx.config.max_peers.map(|_| self.partitions.root())
    }
}

/// Returns when a new address may be dialled that a peer named: at once for the first
/// `gossip_burst`, then one per `gossip_interval` (GCRA). Loopback addresses, which only loopback
/// peers may name, are exempt.
fn allowed_by_gossip_rate(
    cx: &Context,
    conns: &mut Connections,
    link: LinkId,
    address: &PeerAddress,
) -> std::time::Instant {
    let limits = &cx.config.limits;
    let Some(link) = conns.links.get_mut(link).filter(|_| address.scope() != Scope::Loopback) else {
        return cx.now;
    };
    let tolerance = limits.gossip_interval * limits.gossip_burst.saturating_sub(1);
    let used = link.word_used_until.unwrap_or(cx.now).max(cx.now);
    link.word_used_until = Some(used + limits.gossip_interval);
    cx.now.max(used.checked_sub(tolerance).unwrap_or(cx.now))
}
