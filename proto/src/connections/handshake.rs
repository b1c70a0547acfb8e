//! HANDSHAKE: how two nodes introduce themselves, and how a claimed address is verified.
//!
//! A node sends its HANDSHAKE on the link that it dials. The accepting native peer first dials back
//! the address that the newcomer claims (as AutoNAT in libp2p). It then answers with its own
//! HANDSHAKE, which names every address verified so far. Of two newcomers the one verified later
//! therefore learns of the earlier one and dials it, which completes the mesh. If verification
//! takes longer than [`ANSWER_AFTER`] the answer goes out first, and a second HANDSHAKE follows the
//! verification. The first HANDSHAKE of either end proves its id, see `proof`.
//!
//! The node calls it with HANDSHAKE messages and finished probes; membership admits peers through
//! [`Connections::accept`].

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::address::{PeerAddress, Scope};
use crate::connections::Connections;
use crate::connections::proof::Refused;
use crate::connections::table::{Link, LinkState, NativePeer};
use crate::context::Context;
use crate::event::Event;
use crate::frame::Frame;
use crate::id::{LinkId, UpgradeIdentity};
use crate::internal_event::InternalEvent;
use crate::io::Lane;
use crate::peers::Peers;
use crate::peers::address_book::{AddressBook, AddressSource, AddressState};
use crate::timers::Timer;
use crate::topic_name::TopicSet;
use crate::violation::{Violation, ViolationKind};
use crate::wire::close;
use crate::wire::{DialBack, Handshake, NodeInfo, PROTOCOL, Proof};

/// How long the answer waits for the verification of an address. A local probe takes a millisecond;
/// a newcomer behind a firewall must not wait for the dial to time out.
const ANSWER_AFTER: Duration = Duration::from_secs(1);
/// Within this time an exercise peer answers a mark, unless it stands still or its host is gone.
const MARK_ANSWER: Duration = Duration::from_secs(1);

impl Connections {
    /// Handles a HANDSHAKE.
    pub(crate) fn on_handshake(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        link: LinkId,
        handshake: Handshake,
    ) -> Result<(), Violation> {
        cx.counters.addresses_dropped += handshake.dropped as u64;
        match handshake.node {
            Some(node) => self.on_native_handshake(cx, peers, link, node, handshake.addresses),
            None => {
                self.on_exercise_handshake(cx, peers, link, handshake.addresses);
                Ok(())
            }
        }
    }

    fn on_exercise_handshake(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        link: LinkId,
        mut addresses: Vec<PeerAddress>,
    ) {
        let named = addresses.len();
        addresses.retain(|address| address.node().is_none());
        cx.counters.addresses_dropped += (named - addresses.len()) as u64;
        if self.refuse_exercise(cx, peers, link) || self.end_refused(cx, link) {
            return;
        }
        let own = self.exercise_address(cx, &peers.book, &addresses);
        let Some(opened) = self.links.get_mut(link) else { return };
        if matches!(opened.state, LinkState::Client) {
            opened.state = LinkState::ExerciseInbound { address: own };
            cx.timers.cancel(&Timer::Silence(link));
        }
        if opened.is_exercise() {
            cx.raise(InternalEvent::ExerciseIntroduced { link, addresses });
        }
    }

    /// Returns which of an exercise peer's addresses is its own. It lists the node that it has just
    /// dialled, us, after all others, and itself before or after them. An address after ours is its
    /// own; otherwise the first is. For a peer with another order it is the first or the last
    /// address that leads neither to us nor to a native peer.
    fn exercise_address(&self, cx: &Context, book: &AddressBook, addresses: &[PeerAddress]) -> Option<PeerAddress> {
        let state = |address: &PeerAddress| book.get(address).map(|peer| peer.state);
        let ourselves = |address: &PeerAddress| cx.is_own(address) || state(address) == Some(AddressState::Myself);
        if let [.., before, last] = addresses
            && ourselves(before)
            && !ourselves(last)
        {
            return Some(last.clone());
        }
        let native = |link: LinkId| self.links.get(link).is_some_and(|link| link.native().is_some());
        let other = |address: &PeerAddress| {
            ourselves(address) || matches!(state(address), Some(AddressState::Connected(link)) if native(link))
        };
        let mut ends = addresses.first().into_iter().chain(addresses.last());
        ends.find(|address| !other(address)).cloned()
    }

    /// Handles the HANDSHAKE of a native peer, on either side of a link.
    fn on_native_handshake(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        link: LinkId,
        node: NodeInfo,
        addresses: Vec<PeerAddress>,
    ) -> Result<(), Violation> {
        let Some(opened) = self.links.get(link) else { return Ok(()) };
        let dialled = opened.dialled.is_some();
        let pending = opened.pending().filter(|_| !dialled).map(|node| (node.id, node.session));
        if node.id == cx.config.node && node.session == cx.config.session {
            self.links.close(cx, link, close::NORMAL, "this is myself");
            return Ok(());
        }
        if node.network != cx.config.network {
            self.refuse_network(cx, peers, link, &node);
            return Ok(());
        }
        if self.refuse_native(cx, peers, link, node.id) {
            return Ok(());
        }
        let Some(opened) = self.links.get(link) else { return Ok(()) };
        let known = opened.native().map(|peer| (peer.id, peer.session)).or(pending);
        if known.is_some_and(|run| run != (node.id, node.session)) {
            let text = "HANDSHAKE: it names another node than before on this link";
            self.penalize(cx, peers, link, &Violation::new(ViolationKind::Contradiction, text));
            let reason = "your HANDSHAKE names another node than your identity";
            self.links.close(cx, link, close::POLICY, reason);
            return Ok(());
        }
        if let Err(refused) = self.proofs.judge(cx, link, opened, &node) {
            return self.refuse_proof(cx, peers, link, refused);
        }
        if node.id == cx.config.node {
            let certain = self.is_proved(peers, link, &node);
            self.refuse_copied_key(cx, peers, link, certain);
            return Ok(());
        }
        let Some(opened) = self.links.get(link) else { return Ok(()) };
        if opened.native().is_some() {
            if opened.introduced().is_none() {
                self.accept(cx, peers, link, &node);
            }
        } else if dialled {
            // A node that answered our dial without an identity is no native peer; a `node` in its
            // HANDSHAKE proves nothing.
            if !opened.is_exercise() {
                return Ok(());
            }
        } else {
            if self.refuse_banned_node(cx, peers, link, node.id) {
                return Ok(());
            }
            if let Some(reason) = self.links.get(link).and_then(|open| open.refused.clone()) {
                cx.raise(InternalEvent::ToBeReferred { link, reason, newcomer: Some(node.id) });
            } else {
                cx.raise(InternalEvent::Introduced { link, node: Box::new(node), addresses });
            }
            return Ok(());
        }
        cx.raise(InternalEvent::AddressesLearned { link, addresses });
        Ok(())
    }

    /// Accepts a native peer that introduced itself: on a dialled link it is established, on an
    /// accepted one its address is verified first.
    pub(crate) fn accept(&mut self, cx: &mut Context, peers: &mut Peers, link: LinkId, node: &NodeInfo) {
        let known = self.links.get(link).is_some_and(|link| link.native().is_some());
        let proved = self.is_proved(peers, link, node);
        self.note_hello(cx, link, node, proved);
        if !self.compare_claims(cx, link) {
            return;
        }
        self.note_id_as_address(cx, peers, link, node);
        if known {
            self.established(cx, link);
        } else {
            self.verify_address(cx, peers, link, node);
        }
    }

    fn note_hello(&mut self, cx: &mut Context, link: LinkId, node: &NodeInfo, proved: bool) {
        cx.timers.cancel(&Timer::Silence(link));
        let topics = TopicSet::shared(&cx.topics, &node.topics);
        let calls_back = node.calls_back;
        let Some(opened) = self.links.get_mut(link) else { return };
        opened.claimed = node.address.clone().filter(|address| address.node().is_none());
        let state = match &opened.state {
            LinkState::HelloSent(peer) => {
                LinkState::Established(NativePeer { proved, topics, calls_back, ..peer.clone() })
            }
            LinkState::Established(peer) => LinkState::Established(peer.clone()),
            LinkState::Verifying(peer) => LinkState::Verifying(peer.clone()),
            _ => LinkState::Verifying(NativePeer {
                id: node.id,
                session: node.session,
                address: None,
                wan: None,
                proved,
                topics,
                calls_back,
            }),
        };
        self.links.set_native(link, state);
    }

    /// Closes a link whose proof is wrong or missing, or one of too many.
    fn refuse_proof(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        link: LinkId,
        refused: Refused,
    ) -> Result<(), Violation> {
        cx.counters.proofs_refused += 1;
        if let Some(address) = self.links.get(link).and_then(|link| link.dialled.clone()) {
            peers.book.back_off_long(cx, &address);
        }
        match refused {
            Refused::False(why) => {
                let violation = Violation::breach(format!("HANDSHAKE: {why}"));
                self.penalize(cx, peers, link, &violation);
                self.links.close(cx, link, close::POLICY, why);
            }
            Refused::TooMany => {
                let why = "too many nodes of your address introduce themselves; come back in a minute";
                self.links.log_fault(cx, link, format!("HANDSHAKE: {why}"));
                self.links.close(cx, link, close::TRY_AGAIN_LATER, why);
            }
        }
        Ok(())
    }

    fn refuse_network(&mut self, cx: &mut Context, peers: &mut Peers, link: LinkId, node: &NodeInfo) {
        let name = match self.links.get(link) {
            Some(Link { dialled: None, remote, .. }) => format!("the node {} at {remote}", node.id.short()),
            _ => self.links.name_of(link).to_string(),
        };
        let reason =
            format!("this is the network '{}', yours is '{}'; set NETWORK alike", cx.config.network, node.network);
        self.links.close(cx, link, close::TRY_AGAIN_LATER, &reason);
        let text = format!(
            "{name} belongs to the network '{}', this node to '{}'; set NETWORK alike to link them",
            node.network, cx.config.network
        );
        if let Some(address) = self.links.get(link).and_then(|link| link.dialled.clone()) {
            peers.book.back_off_long(cx, &address);
        }
        self.links.warn(cx, link, text);
    }

    /// Dials back the address that the peer of an accepted link claims, unless it is known to be
    /// right or out of scope.
    fn verify_address(&mut self, cx: &mut Context, peers: &mut Peers, link: LinkId, node: &NodeInfo) {
        // An id is proved on the link, or not at all.
        let named = node.address.as_ref().filter(|address| address.node().is_none());
        let claimed = named.filter(|address| self.may_learn(cx, &mut peers.book, link, address));
        if let Some(address) = named.filter(|_| claimed.is_none()) {
            self.found(cx, link, address, Some("it makes sense only on its own host or network"));
        }
        let probing = claimed.is_some_and(|address| {
            let (scope, group) = self.links.source_of(link);
            let source = AddressSource::SelfAnnounced(scope, group);
            peers.book.add(address, source, cx.now, &cx.config.limits);
            let leads_there = match peers.book.get(address).map(|peer| peer.state) {
                Some(AddressState::Connected(at)) => {
                    let (open, there) = (self.links.get(link), self.links.get(at));
                    let same = there.and_then(Link::key).is_some_and(|key| open.and_then(Link::key) == Some(key));
                    same || self.is_met_by_dial(at, node, open.is_some_and(Link::is_proved))
                }
                _ => false,
            };
            if leads_there {
                self.confirm_address(link, address);
            }
            let Peers { book, dialer, .. } = peers;
            let later = !leads_there && cx.config.max_peers.is_none() && dialer.probe_later(cx, book, link, address);
            !leads_there && !later && dialer.probe(cx, book, (link, group), address)
        });
        if probing {
            cx.timers.set(Timer::Answer(link), cx.now + ANSWER_AFTER);
        } else {
            self.answer(cx, link);
        }
    }

    /// Notes that an address leads to the native peer at the other end of a link.
    pub(super) fn confirm_address(&mut self, link: LinkId, address: &PeerAddress) {
        if let Some(open) = self.links.get_mut(link) {
            open.confirm_address(address);
        }
    }

    /// Notes that an address was seen to lead to the native peer of an open link. If the answer
    /// went out before, it lacked the addresses verified meanwhile: a second HANDSHAKE follows.
    pub(super) fn on_verified(&mut self, cx: &mut Context, peers: &mut Peers, link: LinkId, address: &PeerAddress) {
        cx.timers.cancel(&Timer::Dial(address.clone()));
        peers.book.set_state(address, AddressState::Connected(link));
        if let Some(peer) = peers.book.get_mut(address) {
            peer.last_up = Some(cx.now);
        }
        let sent = self.links.get(link).filter(|open| !matches!(open.state, LinkState::Verifying(_)));
        let missed = sent.and_then(Link::native).is_some_and(|peer| peer.any_address().is_none());
        self.confirm_address(link, address);
        if missed {
            self.send_handshake(cx, link);
        }
        // Of its id a peer knows without us that it leads there.
        if address.node().is_none() && self.links.get(link).is_some_and(|open| open.dialled.is_none()) {
            self.found(cx, link, address, None);
        }
    }

    /// Handles the end of a probe that verifies the address of a peer.
    pub(crate) fn on_probed(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        link: LinkId,
        address: &PeerAddress,
        (identity, proves): (Option<UpgradeIdentity>, bool),
    ) {
        if peers.book.get(address).is_some_and(|peer| matches!(peer.state, AddressState::Probing(_))) {
            let claimed = self.links.get(link).filter(|link| !link.closing).and_then(Link::native);
            // The node at the address proves its id on every link, so one that does not may be
            // another. Then the address is dialled.
            let right = claimed.is_some_and(|peer| {
                identity == Some(UpgradeIdentity { node: peer.id, session: peer.session }) && (peer.proved || !proves)
            });
            let claimed = claimed.cloned();
            match identity {
                _ if right => self.on_verified(cx, peers, link, address),
                Some(identity) if identity.session == cx.config.session => peers.book.found_self(cx, address),
                Some(other) => {
                    // A node that has just restarted has another session, and a closing link proves
                    // nothing.
                    if claimed.as_ref().is_some_and(|peer| peer.id != other.node) {
                        let text = "HANDSHAKE: another node answers at its address";
                        self.penalize(cx, peers, link, &Violation::new(ViolationKind::FalseAddress, text));
                    }
                    peers.book.set_state(address, AddressState::Waiting);
                    peers.book.dial_at(cx, address, cx.now);
                }
                None => {
                    peers.book.back_off(cx, address);
                    // It may be reached later, when a port is forwarded. Without a cap it is
                    // dialled again in any case.
                    let again = cx.config.max_peers.is_some() && claimed.is_some();
                    if let Some(peer) = peers.book.get_mut(address).filter(|peer| again && !peer.known) {
                        peer.claimed = Some(link);
                    }
                }
            }
            if !right {
                let error = match identity {
                    None => Some("it could not be dialled"),
                    Some(other) if claimed.as_ref().is_some_and(|peer| peer.id != other.node) => {
                        Some("another node answers there")
                    }
                    // It is dialled, which will show.
                    Some(_) => None,
                };
                if error.is_some() {
                    self.found(cx, link, address, error);
                }
                let text = format!(
                    "no node with its id answers at {address}, the address that it claims; other nodes do not learn it"
                );
                self.links.log_fault(cx, link, text);
            }
        }
        self.answer_if_due(cx, link);
    }

    /// Handles a probe that was put off, or that this host could not try: nothing was found out, so
    /// the peer is told nothing. The address is probed again later.
    pub(crate) fn on_probe_put_off(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        link: LinkId,
        address: &PeerAddress,
    ) {
        if peers.book.get(address).is_some_and(|peer| matches!(peer.state, AddressState::Probing(_))) {
            peers.book.back_off(cx, address);
            if let Some(peer) = peers.book.get_mut(address).filter(|peer| !peer.known) {
                peer.claimed = Some(link);
            }
        }
        self.answer_if_due(cx, link);
    }

    fn answer_if_due(&mut self, cx: &mut Context, link: LinkId) {
        if cx.timers.due(&Timer::Answer(link)).is_some() {
            self.answer(cx, link);
        }
    }

    /// Sends the HANDSHAKE that answers the one of a native peer; transactions flow from now on.
    pub(crate) fn answer(&mut self, cx: &mut Context, link: LinkId) {
        cx.timers.cancel(&Timer::Answer(link));
        let open = self.links.get(link).filter(|open| !open.closing);
        let Some(LinkState::Verifying(peer)) = open.map(|open| &open.state) else { return };
        let state = LinkState::Established(peer.clone());
        self.links.set_native(link, state);
        self.send_handshake(cx, link);
        self.established(cx, link);
        self.reachability.tell(cx, &self.links, link);
        let key = self.links.get(link).and_then(Link::key);
        if let Some((other, _)) = key.and_then(|key| self.links.to_peer(key, Some(link)))
            && self.is_better(link, other)
        {
            // While it was not established, it could not replace the other one.
            self.resolve_duplicates(cx, other);
        }
    }

    /// Handles DIALBACK. Exercise peers that were not told of our address learn it once a peer
    /// reached it.
    pub(crate) fn on_dial_back(
        &mut self,
        cx: &mut Context,
        link: LinkId,
        dial_back: DialBack,
    ) -> Result<(), Violation> {
        self.reachability.on_dial_back(cx, &self.links, link, dial_back)?;
        for untold in self.reachability.take_untold(&self.links) {
            if self.links.get(untold).is_some_and(|open| !open.closing) {
                self.send_handshake(cx, untold);
            }
        }
        Ok(())
    }

    /// Notes what verifying the address of a peer found.
    fn found(&mut self, cx: &mut Context, link: LinkId, address: &PeerAddress, error: Option<&str>) {
        let found = DialBack { address: address.clone(), error: error.map(Into::into) };
        self.reachability.on_found(cx, &self.links, link, found);
    }

    /// Handles the exchange of both HANDSHAKEs. The first established link to a node makes it a
    /// neighbor.
    fn established(&self, cx: &mut Context, link: LinkId) {
        let Some(peer) = self.links.get(link).and_then(Link::key) else { return };
        let other = self.links.to_peer(peer, Some(link)).and_then(|(other, _)| self.links.get(other));
        cx.raise(match other.is_some_and(Link::takes_transactions) {
            false => InternalEvent::NeighborUp(link),
            true => InternalEvent::SecondLink(link),
        });
    }

    /// Sends our HANDSHAKE with the addresses of all peers, as far as the other end may learn them.
    pub(crate) fn send_handshake(&mut self, cx: &mut Context, link: LinkId) {
        let Some(opened) = self.links.get(link) else { return };
        debug_assert!(
            opened.dialled.is_some() || opened.native().is_some(),
            "an exercise peer reads only what arrives on links that it accepted"
        );
        if opened.is_exercise() {
            return self.send_exercise_handshake(cx, link);
        }
        let own = cx.own_address(opened.scope).clone();
        let mut addresses = vec![own.clone()];
        // The address just dialled is the second, where no limit cuts it off. Of a node with
        // several addresses one is sent.
        addresses.extend(opened.dialled.clone().filter(|address| address.scope() != Scope::Interface));
        for (_, other) in self.links.iter().filter(|(id, other)| *id != link && !other.closing) {
            let Some(open) = other.address_for(opened.scope) else { continue };
            addresses.extend(
                Some(open.clone())
                    .filter(|address| opened.scope.may_tell(address.scope()) && !addresses.contains(address)),
            );
        }
        addresses.truncate(crate::limits::HANDSHAKE_ADDRESSES);
        let proof = self.proofs.own(cx, link, opened);
        self.send_hello(cx, link, own, addresses, proof);
    }

    /// Sends our HANDSHAKE on a link that we dialled to an exercise peer. It dials each address
    /// that is named, and may die of one where nobody listens.
    fn send_exercise_handshake(&mut self, cx: &mut Context, link: LinkId) {
        let Some(opened) = self.links.get(link) else { return };
        let own = cx.config.address.clone();
        let dialled_us = |other: &Link| other.dialled.is_none() && other.is_exercise_peer_at(opened);
        let may_reach_us =
            !self.reachability.is_unreachable(&self.links) || self.links.iter().any(|(_, other)| dialled_us(other));
        // On another host `localhost` is not this node.
        let told = Some(own.clone()).filter(|own| may_reach_us && opened.scope.may_tell(own.scope()));
        // Others may have named where it was dialled.
        let dialled = opened.dialled.clone().filter(PeerAddress::is_url_anywhere);
        let mut addresses: Vec<PeerAddress> = told.into_iter().chain(dialled).collect();
        for address in self.listening(cx, link) {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        addresses.truncate(crate::limits::HANDSHAKE_ADDRESSES);
        self.reachability.note_told(link, may_reach_us);
        self.send_hello(cx, link, own, addresses, None);
    }

    fn send_hello(
        &self,
        cx: &mut Context,
        link: LinkId,
        own: PeerAddress,
        addresses: Vec<PeerAddress>,
        proof: Option<Proof>,
    ) {
        let shown: Vec<_> = addresses.iter().take(crate::limits::REPORTED_ADDRESSES).cloned().collect();
        let (peer, more) = (self.links.name_of(link), addresses.len() - shown.len());
        let frame = hello(cx, own, addresses, proof);
        cx.send(vec![link], frame, Lane::Control);
        cx.notify(Event::HandshakeSent { link, peer, addresses: shown, more });
    }

    /// Returns the addresses that the exercise peer at the other end of `link` may be told, each
    /// once: those that we dialled or verified, with an open link on which something was heard
    /// since the last ping, and each mark answered.
    pub(crate) fn listening(&self, cx: &Context, link: LinkId) -> Vec<PeerAddress> {
        let Some(to) = self.links.get(link) else { return Vec::new() };
        // A silent link is pinged after one to two intervals.
        let silence = cx.config.limits.ping_interval * 2 + cx.config.limits.duplicate_deadline;
        let open = self.links.iter().filter(|(id, open)| {
            let since = |at: Instant| cx.now.saturating_duration_since(at);
            let answers = open.unanswered.is_none_or(|at| since(at) < MARK_ANSWER);
            *id != link && !open.closing && since(open.heard) < silence && answers
        });
        let mut addresses: Vec<PeerAddress> = open.filter_map(|(_, open)| open.verified_address().cloned()).collect();
        addresses.retain(|address| {
            // It would die of an address that is none to it.
            address.is_url_anywhere()
                && to.scope.may_tell(address.scope())
                && Some(address) != to.dialled.as_ref()
                && *address != cx.config.address
        });
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    }

    /// Sends native peers the address of an exercise peer that was just dialled. An exercise peer
    /// dials only addresses that it learns when it starts, and may not reach all of them then; they
    /// dial it instead.
    pub(crate) fn pass_on_exercise(&self, cx: &mut Context, address: &PeerAddress) {
        let scope = address.scope();
        let native = self
            .links
            .iter()
            .filter(|(_, link)| link.native().is_some() && link.takes_transactions() && link.scope.may_tell(scope));
        // Each is told our own address as it may reach it.
        let mut by_own: BTreeMap<PeerAddress, Vec<LinkId>> = BTreeMap::new();
        for (id, link) in native {
            by_own.entry(cx.own_address(link.scope).clone()).or_default().push(id);
        }
        for (own, links) in by_own {
            let frame = hello(cx, own.clone(), vec![own, address.clone()], None);
            cx.send(links, frame, Lane::Control);
        }
    }

    /// Returns whether the other end of a link may name this address: it must be in its scope, one
    /// that can be dialled, and not ours.
    pub(crate) fn may_learn(
        &self,
        cx: &mut Context,
        book: &mut AddressBook,
        link: LinkId,
        address: &PeerAddress,
    ) -> bool {
        let (scope, group) = self.links.source_of(link);
        let (in_scope, dialable) = (scope.may_tell(address.scope()), cx.can_dial(address));
        if !in_scope {
            cx.counters.addresses_out_of_scope += 1;
        } else if !dialable {
            cx.counters.addresses_not_dialable += 1;
        } else {
            book.note_source(address, scope, group);
            book.note_relays(address, scope, false);
        }
        in_scope && dialable && !cx.is_own(address)
    }
}

/// Returns our HANDSHAKE with these addresses.
fn hello(cx: &Context, own: PeerAddress, addresses: Vec<PeerAddress>, proof: Option<Proof>) -> Frame {
    let node = NodeInfo {
        id: cx.config.node,
        session: cx.config.session,
        agent: cx.config.agent.clone(),
        protocol: PROTOCOL,
        network: cx.config.network.clone(),
        address: Some(own),
        max_peers: cx.config.max_peers,
        topics: cx.topics.clone(),
        calls_back: true,
        relays: cx.config.relays,
        proof: proof.map(Box::new),
    };
    Handshake { addresses, dropped: 0, node: Some(node) }.to_frame()
}

#[cfg(test)]
mod tests;
