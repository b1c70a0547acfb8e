//! How two nodes get to know each other: HANDSHAKE.
//!
//! A new node sends its HANDSHAKE on the link that it dials. The accepting full peer first probes the address that the newcomer claims, then answers with its own
//! HANDSHAKE, in which every address verified so far stands. Of two newcomers the one verified later is therefore told of the earlier one, and dials it:
//! that is what makes the mesh complete. If verifying takes longer than [`ANSWER_AFTER`] the answer goes out without, and a second HANDSHAKE follows it.

use std::time::{Duration, Instant};

use crate::address::{PeerAddress, Scope};
use crate::connections::table::{Link, NativePeer, Role};
use crate::event::Event;
use crate::frame::Frame;
use crate::id::{LinkId, UpgradeIdentity};
use crate::peers::address_book::{AddressSource, AddressState};
use crate::timers::Timer;
use crate::violation::ViolationKind;
use crate::wire::close;
use crate::wire::{Handshake, NodeInfo, PROTOCOL};
use crate::{Lane, Node};

/// How long a full peer waits at most for our HANDSHAKE while its address is being verified. A local probe takes a millisecond; a newcomer behind a
/// firewall must not wait for the dial's time-out.
const ANSWER_AFTER: Duration = Duration::from_secs(1);

impl Node {
    pub(crate) fn on_handshake(&mut self, now: Instant, link: LinkId, handshake: Handshake) {
        self.cx.counters.addresses_dropped += handshake.dropped as u64;
        let accepted = match &handshake.node {
            Some(node) => self.on_full_handshake(now, link, node, &handshake.addresses),
            None => self.on_plain_handshake(now, link, &handshake.addresses),
        };
        if accepted {
            self.learn(now, link, &handshake.addresses);
        }
    }

    /// A node of the exercise introduces itself; says whether its addresses count.
    pub(crate) fn on_plain_handshake(&mut self, now: Instant, link: LinkId, addresses: &[PeerAddress]) -> bool {
        if self.refuses_plain(now, link) {
            return false;
        }
        let suggested = self.own_address_of(addresses);
        let Some(opened) = self.links.get_mut(link) else {
            return false;
        };
        if matches!(opened.role, Role::Client) {
            opened.role = Role::Exercise { address: suggested };
            self.cx.timers.cancel(&Timer::Silence(link));
        }
        let plain = matches!(self.links.get(link).map(|link| &link.role), Some(Role::Exercise { .. }));
        plain && !self.place_plain(now, link, addresses)
    }

    /// Which of a plain peer's addresses is its own. It lists whom it has just dialled, us, behind all others, and itself before or behind them: so
    /// whoever stands behind us is itself, and where nobody does it is the first. Of one that lists otherwise it is the first or the last that leads
    /// neither to ourselves nor to a full peer.
    pub(crate) fn own_address_of(&self, addresses: &[PeerAddress]) -> Option<PeerAddress> {
        let state = |address: &PeerAddress| self.book.get(address).map(|peer| peer.state);
        let ourselves =
            |address: &PeerAddress| *address == self.cx.config.address || state(address) == Some(AddressState::Myself);
        if let [.., before, last] = addresses
            && ourselves(before)
            && !ourselves(last)
        {
            return Some(last.clone());
        }
        let full = |link: LinkId| self.links.get(link).is_some_and(|link| link.full().is_some());
        let other = |address: &PeerAddress| {
            ourselves(address) || matches!(state(address), Some(AddressState::Connected(link)) if full(link))
        };
        let mut ends = addresses.first().into_iter().chain(addresses.last());
        ends.find(|address| !other(address)).cloned()
    }

    /// A full peer introduces itself, on either side of a link; says whether its addresses count.
    pub(crate) fn on_full_handshake(
        &mut self,
        now: Instant,
        link: LinkId,
        node: &NodeInfo,
        addresses: &[PeerAddress],
    ) -> bool {
        let Some(opened) = self.links.get(link) else {
            return false;
        };
        let dialled = opened.dialled.clone();
        if node.id == self.cx.config.node && node.session == self.cx.config.session {
            self.links.close(&mut self.cx, link, close::NORMAL, "this is myself");
            return false;
        }
        if node.network != self.cx.config.network {
            self.refuse_network(now, link, node);
            return false;
        }
        if self.refuses_full(now, link, node.id) {
            return false;
        }
        if node.id == self.cx.config.node {
            self.warn_of_copy(now, link);
            return false;
        }
        let Some(opened) = self.links.get(link) else { return false };
        if let Some(peer) = opened.full() {
            if (peer.id, peer.session) != (node.id, node.session) {
                self.offend(
                    link,
                    ViolationKind::Contradiction,
                    "HANDSHAKE: it names another node than the one that answered",
                );
                self.links.close(
                    &mut self.cx,
                    link,
                    close::POLICY,
                    "your HANDSHAKE names another node than your identity",
                );
                return false;
            }
            if peer.hello_received {
                return true;
            }
        } else if dialled.is_some() {
            // We dialled a node without identity, so this is no full peer; a sibling `node` from there proves nothing.
            return matches!(opened.role, Role::Exercise { .. });
        } else if self.turns_node_away(now, link, node.id) || self.waits_for_join(now, link, node, addresses) {
            return false;
        }
        self.welcome(now, link, node);
        true
    }

    /// A full peer is let in.
    pub(crate) fn welcome(&mut self, now: Instant, link: LinkId, node: &NodeInfo) {
        let known = self.links.get(link).is_some_and(|link| link.full().is_some());
        let twin = self.links.to_node(node.id, Some(link)).map(|(id, _)| id);
        self.admit(link, node);
        if let Some(twin) = twin {
            // Two links are in use: the older one is asked whether it still lives.
            self.begin_duel(now, twin.min(link));
        }
        if known {
            self.ready(now, link);
        } else {
            self.verify_claim(now, link, node);
        }
    }

    pub(crate) fn admit(&mut self, link: LinkId, node: &NodeInfo) {
        self.cx.timers.cancel(&Timer::Silence(link));
        let Some(opened) = self.links.get(link) else { return };
        let peer = match &opened.role {
            Role::Native(peer) => NativePeer { hello_received: true, ..peer.clone() },
            _ => NativePeer {
                id: node.id,
                session: node.session,
                address: None,
                hello_received: true,
                hello_sent: false,
            },
        };
        self.links.set_full(link, peer);
    }

    pub(crate) fn refuse_network(&mut self, now: Instant, link: LinkId, node: &NodeInfo) {
        let name = self.links.name_of(link);
        let reason = format!("this is the network '{}', yours is '{}'", self.cx.config.network, node.network);
        self.links.close(&mut self.cx, link, close::TRY_AGAIN_LATER, &reason);
        let text = format!(
            "{name} belongs to the network '{}', this node to '{}'; set NETWORK alike to link them",
            node.network, self.cx.config.network
        );
        if let Some(address) = self.links.get(link).and_then(|link| link.dialled.clone()) {
            self.put_back_long(now, &address);
        }
        self.links.warn(&mut self.cx, link, text);
    }

    /// Probes the address that the peer of an accepted link claims, unless it is known to be right or may not be told.
    pub(crate) fn verify_claim(&mut self, now: Instant, link: LinkId, node: &NodeInfo) {
        let claimed = node.address.as_ref().filter(|address| self.may_learn(link, address));
        let probing = claimed.is_some_and(|address| {
            let source = AddressSource::Hello(self.scope_of(link));
            self.book.add(address, source, now, &self.cx.config.limits);
            let leads_there = match self.book.get(address).map(|peer| peer.state) {
                Some(AddressState::Connected(at)) => {
                    self.links.get(at).and_then(Link::full).is_some_and(|peer| peer.id == node.id)
                }
                _ => false,
            };
            if leads_there {
                self.confirm(link, address);
            }
            let later = !leads_there && self.cx.config.max_peers.is_none() && self.probe_later(now, link, address);
            !leads_there && !later && self.probe(now, link, address)
        });
        if probing {
            self.cx.timers.set(Timer::Answer(link), now + ANSWER_AFTER);
        } else {
            self.answer(now, link);
        }
    }

    /// Notes that an address leads to the full peer at the other end of a link.
    pub(crate) fn confirm(&mut self, link: LinkId, address: &PeerAddress) {
        if let Some(Link { role: Role::Native(peer), .. }) = self.links.get_mut(link) {
            peer.address.get_or_insert_with(|| address.clone());
        }
    }

    /// An address was seen to lead to the full peer of an open link. If the peer has had its answer already, it missed who was verified meanwhile: so a
    /// second HANDSHAKE follows.
    pub(crate) fn verified(&mut self, now: Instant, link: LinkId, address: &PeerAddress) {
        self.cx.timers.cancel(&Timer::Dial(address.clone()));
        self.book.set_state(address, AddressState::Connected(link));
        if let Some(peer) = self.book.get_mut(address) {
            peer.last_up = Some(now);
        }
        let missed =
            self.links.get(link).and_then(Link::full).is_some_and(|peer| peer.address.is_none() && peer.hello_sent);
        self.confirm(link, address);
        if missed {
            self.send_handshake(link);
        }
    }

    pub(crate) fn on_probed(
        &mut self,
        now: Instant,
        link: LinkId,
        address: PeerAddress,
        identity: Option<UpgradeIdentity>,
    ) {
        if self.on_guest_probed(now, link, &address, identity) {
            return self.fill_slots(now);
        }
        if self.book.get(&address).is_some_and(|peer| matches!(peer.state, AddressState::Probing(_))) {
            let claimed = self.links.get(link).filter(|link| !link.closing).and_then(Link::full);
            let right =
                claimed.is_some_and(|peer| identity == Some(UpgradeIdentity { node: peer.id, session: peer.session }));
            match identity {
                _ if right => self.verified(now, link, &address),
                Some(identity) if identity.session == self.cx.config.session => self.found_self(&address),
                Some(other) => {
                    // A node that has just started again says another session, and a closing link proves nothing.
                    if claimed.is_some_and(|peer| peer.id != other.node) {
                        self.offend(
                            link,
                            ViolationKind::FalseAddress,
                            "HANDSHAKE: another node answers at its address",
                        );
                    }
                    self.book.set_state(&address, AddressState::Waiting);
                    self.dial_at(&address, now);
                }
                None => {
                    self.put_back(now, &address);
                }
            }
            if !right {
                let text = format!(
                    "nobody with its id answers at {address}, the address that it claims; other nodes will not be told of it"
                );
                self.links.log_fault(&mut self.cx, link, text);
            }
        }
        if self.cx.timers.due(&Timer::Answer(link)).is_some() {
            self.answer(now, link);
        }
        self.fill_slots(now);
    }

    /// Sends the HANDSHAKE that answers a full peer's, and opens the flow of transactions.
    pub(crate) fn answer(&mut self, now: Instant, link: LinkId) {
        self.cx.timers.cancel(&Timer::Answer(link));
        let Some(Link { role: Role::Native(peer), closing: false, .. }) = self.links.get_mut(link) else {
            return;
        };
        if !std::mem::replace(&mut peer.hello_sent, true) {
            self.send_handshake(link);
            self.ready(now, link);
        }
    }

    /// A link to a full peer is open for transactions: both HANDSHAKEs went their way. If it is the first to that node, their pools are compared.
    pub(crate) fn ready(&mut self, now: Instant, link: LinkId) {
        let Some(id) = self.links.get(link).and_then(Link::full).map(|peer| peer.id) else {
            return;
        };
        let other = self.links.to_node(id, Some(link)).and_then(|(other, _)| self.links.get(other));
        if !other.is_some_and(Link::takes_transactions) {
            self.notify_up(link);
            self.on_place(now, link);
            // One side begins; if the pools differ the other answers in kind.
            if self.cx.config.node < id {
                self.compare_pools(now, link);
            }
            self.compare_broadcasts(now, link);
            self.introduce_ourselves(now, link);
        }
    }

    pub(crate) fn send_handshake(&mut self, link: LinkId) {
        let Some(opened) = self.links.get(link) else { return };
        debug_assert!(
            opened.dialled.is_some() || opened.full().is_some(),
            "a plain peer reads only what arrives on links that it accepted"
        );
        let mut addresses = vec![self.cx.config.address.clone()];
        // The one just dialled stands second, where no limit cuts it off; of a node with several names one is told.
        addresses.extend(opened.dialled.clone());
        for (_, other) in self.links.iter().filter(|(id, other)| *id != link && !other.closing) {
            let open = match &other.role {
                Role::Native(peer) => &peer.address,
                Role::Exercise { .. } => &other.dialled,
                Role::Standby(_) | Role::AwaitingAdmission(_) | Role::Client => &None,
            };
            addresses.extend(
                open.clone().filter(|address| opened.scope.may_tell(address.scope()) && !addresses.contains(address)),
            );
        }
        addresses.truncate(crate::limits::HANDSHAKE_ADDRESSES);
        let frame = self.handshake(addresses);
        self.cx.send(vec![link], frame, Lane::Control);
    }

    pub(crate) fn handshake(&self, addresses: Vec<PeerAddress>) -> Frame {
        let node = NodeInfo {
            id: self.cx.config.node,
            session: self.cx.config.session,
            agent: self.cx.config.agent.clone(),
            protocol: PROTOCOL,
            network: self.cx.config.network.clone(),
            address: Some(self.cx.config.address.clone()),
            max_peers: self.cx.config.max_peers,
        };
        Handshake { addresses, dropped: 0, node: Some(node) }.to_frame()
    }

    /// Tells the full peers of a node of the exercise that we have just linked to. It dials only those of whom it hears when it starts, and may be cut off from
    /// some just then; they dial it instead.
    pub(crate) fn pass_on(&mut self, address: &PeerAddress) {
        let scope = address.scope();
        let full = self
            .links
            .iter()
            .filter(|(_, link)| link.full().is_some() && link.takes_transactions() && link.scope.may_tell(scope));
        let links: Vec<LinkId> = full.map(|(id, _)| id).collect();
        if !links.is_empty() {
            let frame = self.handshake(vec![self.cx.config.address.clone(), address.clone()]);
            self.cx.send(links, frame, Lane::Control);
        }
    }

    /// Takes the addresses of a HANDSHAKE into the table and makes them due. Of a full table only a few others give way: to
    /// find each costs a look at all.
    pub(crate) fn learn(&mut self, now: Instant, link: LinkId, addresses: &[PeerAddress]) {
        if self.cx.config.max_peers.is_some() {
            return self.learn_quietly(now, link, addresses);
        }
        let (mut new, mut displacing) = (0, self.cx.config.limits.gossip_burst);
        let scope = self.scope_of(link);
        // A full peer says first who it is, and of two addresses the second is one that it passes on; a plain one may stand last.
        let full = self.links.get(link).is_some_and(|link| link.full().is_some());
        let last = addresses.last().filter(|_| addresses.len() == 2 || !full);
        let own: Vec<&PeerAddress> = addresses.first().into_iter().chain(last).collect();
        for address in addresses {
            if !self.may_learn(link, address) {
                continue;
            }
            if self.book.get(address).is_none() {
                let hello = own.contains(&address);
                let source = if hello { AddressSource::Hello(scope) } else { AddressSource::Hearsay(scope) };
                let displaces = !hello && self.book.is_full(&self.cx.config.limits);
                if (displaces && displacing == 0) || !self.book.add(address, source, now, &self.cx.config.limits) {
                    // Where nothing gives way now, nothing does for the rest of this HANDSHAKE.
                    displacing = if displaces { 0 } else { displacing };
                    self.cx.counters.addresses_without_room += 1;
                    continue;
                }
                displacing -= u32::from(displaces);
                new += 1;
                let at = self.allowed_on_word(now, link, address);
                self.dial_at(address, at);
            } else if own.contains(&address) {
                // Who says hello is alive: whatever was held against its address is forgotten.
                if let Some(peer) = self.book.get_mut(address) {
                    peer.failures = 0;
                }
                let claimed = self.book.get(address).is_some_and(|peer| peer.claimed == Some(link));
                if !claimed {
                    self.dial_at(address, now);
                }
            } else if self.book.get(address).is_some_and(|peer| peer.declined_until.is_none_or(|until| now >= until)) {
                self.dial_at(address, now + Duration::from_secs(1));
            }
        }
        if new > 0 {
            self.cx.notify(Event::AddressesLearned { peer: self.links.name_of(link), addresses: new });
        }
    }

    /// From how far away the other end of a link comes.
    pub(crate) fn scope_of(&self, link: LinkId) -> Scope {
        self.links.get(link).map_or(Scope::Public, |link| link.scope)
    }

    /// Whether the other end of `link` may tell us this address, and whether it is worth knowing.
    pub(crate) fn may_learn(&mut self, link: LinkId, address: &PeerAddress) -> bool {
        let scope = self.scope_of(link);
        let in_scope = scope.may_tell(address.scope());
        if in_scope {
            self.book.widen(address, scope);
        } else {
            self.cx.counters.addresses_out_of_scope += 1;
        }
        in_scope && *address != self.cx.config.address
    }
}
