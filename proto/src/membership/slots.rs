//! The slots of the active view: who is admitted, who is declined, and when a slot is swapped.
//!
//! A **slot** holds one node: a native peer, however many links lead to it, or an exercise peer
//! that we dialled. Slots are given in the order of the requests. A **high priority request** alone
//! can take the slot of another node. docs/protocol.md, section 7.12, lists the cases in which a
//! node sends one. HyParView has the same priorities on NEIGHBOR; there the victim is dropped, here
//! it is referred.
//!
//! In a **swap** node A has the accepted link A–B and a request of newcomer J. A admits J and
//! refers B to J, which reserves a slot for B. All degrees stay, the graph stays connected, and J
//! has two links. Links that we dialled and links to known peers are never swapped, old links
//! rarely. So newcomers, however many, cannot eclipse a node.
//!
//! Connections report new peers here, and the node passes JOIN and DECLINED on. `slot_search` has
//! the requesting side; `shuffle` has the addresses that a declined node gets.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rand::RngExt;
use rand::seq::IndexedRandom;

use crate::address::PeerAddress;
use crate::connections::Connections;
use crate::connections::table::{Link, LinkState, NativePeer, PeerKey, PendingPeer};
use crate::context::Context;
use crate::dial_reason::DialReason;
use crate::event::Event;
use crate::id::{LinkId, NodeId, UpgradeIdentity};
use crate::internal_event::InternalEvent;
use crate::io::Lane;
use crate::ip_prefix::{IpPrefix, NetworkGroup, SourceGroup};
use crate::limits;
use crate::membership::may_name;
use crate::membership::state::{Membership, dial_for};
use crate::membership::topic_links::needed;
use crate::peers::Peers;
use crate::peers::address_book::{AddressSource, AddressState};
use crate::timers::Timer;
use crate::wire::close;
use crate::wire::{Declined, Join, NodeInfo, RememberedAddress, RememberedExercise};

/// How long a JOIN may follow the HANDSHAKE of a peer. Both are sent together, so a second is
/// enough; then the peer counts as one that requests a slot.
const JOIN_TIMEOUT: Duration = Duration::from_secs(1);
/// How long the probe of a peer's address may take before its high priority request is declined.
/// Longer than one lost SYN (1 s in RFC 6298).
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a slot is reserved for a node that was referred to us. It dials at once, and a dial
/// takes at most this long.
const HELD: Duration = Duration::from_secs(5);
/// How long the slot of an exercise peer that lost its link is held: somebody who restarts it, or
/// stands still at a breakpoint, needs a minute. It dials nobody by itself but its known peers, and
/// all may be full meanwhile.
const EXERCISE_HELD: Duration = Duration::from_secs(90);
/// How long a declined node is asked to wait. A slot rarely becomes free sooner in a network at
/// rest.
const RETRY_AFTER: Duration = Duration::from_secs(30);
/// The longest wait of a declined node, whatever the other end asks for and however often it
/// declined.
const LONGEST_RETRY: Duration = Duration::from_secs(600);
/// The shortest wait of a declined node: a peer that sends zero must not cause a dial at once.
const SHORTEST_RETRY: Duration = Duration::from_secs(5);
/// The age from which a link counts as old. An old link is swapped only if there is no younger one.
const OLD: Duration = Duration::from_secs(600);
/// The time between two swaps of old links. Without any, a full network of old links could admit no
/// newcomer.
const OLD_SWAP_INTERVAL: Duration = Duration::from_secs(60);
/// The time between two high priority requests of one node. Others within it are declined.
const PRIORITY_INTERVAL: Duration = Duration::from_secs(10);
/// The time between two high priority requests of one network group beyond loopback: many addresses
/// of one host must not take many slots. The group of the link's path counts for each request that
/// is probed. That of the address counts once its node has got a slot: anybody can name an address.
const GROUP_EVERY: Duration = Duration::from_secs(60);
/// The time between any two high priority requests that are probed: it bounds the rate of swaps.
const SWAP_INTERVAL: Duration = Duration::from_millis(500);

impl Membership {
    /// Begins to find peers: through the bootstrap node, by a search for slots with a cap,
    /// otherwise by dialling all known peers. The peer cache is used unless all known peers are
    /// dialled.
    pub(crate) fn begin(&mut self, cx: &mut Context, peers: &mut Peers) {
        let capped = cx.config.max_peers.is_some();
        let remembered = std::mem::take(&mut cx.config.remembered_exercise);
        let exercise = |peer: &&RememberedExercise| peer.position.is_some() && peer.address.node().is_none();
        for peer in remembered.iter().filter(exercise) {
            let source = AddressSource::Gossiped(peer.reach, SourceGroup::User);
            peers.book.add(&peer.address, source, cx.now, &cx.config.limits);
            peers.book.dial_at(cx, &peer.address, cx.now);
        }
        if capped || cx.config.genesis.is_some() {
            let remembered = std::mem::take(&mut cx.config.remembered_peers);
            let dialable = remembered.iter().take(limits::PEER_CACHE).filter(|peer| cx.can_dial(&peer.address));
            for RememberedAddress { address, reach } in dialable {
                let source = AddressSource::Gossiped(*reach, SourceGroup::User);
                peers.book.add(address, source, cx.now, &cx.config.limits);
            }
        }
        if capped {
            self.schedule_shuffle(cx, peers);
            cx.timers.set(Timer::Partition, cx.now);
            self.schedule_rewiring(cx);
        }
        if capped || cx.config.genesis.is_some() {
            // The core emits no dial before its first input.
            self.bootstrap.wait();
            cx.timers.set(Timer::SlotSearch, cx.now);
        } else {
            peers.dialer.dial_known(cx, &peers.book);
        }
    }

    /// Returns how many slots are taken, held or reserved. A slot that is reserved for a node
    /// referred by `by` does not count.
    pub(crate) fn slots_taken(&self, cx: &Context, conns: &Connections, by: Option<NodeId>) -> usize {
        let reserved = self.slots.reserved.is_some_and(|(node, until)| cx.now < until && Some(node) != by);
        let held = self.held_for_exercise(cx.now).count();
        self.linked_slots(conns) + held + usize::from(reserved) + usize::from(self.search.is_healing(cx.now))
    }

    fn held_for_exercise(&self, now: Instant) -> impl Iterator<Item = &PeerAddress> {
        self.slots.held.iter().filter(move |(_, until)| now < **until).map(|(address, _)| address)
    }

    /// Holds the slot of an exercise peer whose link was lost, for a while. With a cap of one or
    /// two it is not held: a native peer may need it.
    pub(crate) fn hold_for_exercise(&mut self, cx: &Context, address: &PeerAddress) {
        if cx.config.max_peers.is_some_and(|most| most > 2) {
            self.slots.held.retain(|_, until| cx.now < *until);
            self.slots.held.insert(address.clone(), cx.now + EXERCISE_HELD);
        }
    }

    /// Ends the holding of a slot: the exercise peer is linked, or was referred to others.
    pub(crate) fn release_for_exercise(&mut self, address: &PeerAddress) {
        self.slots.held.remove(address);
    }

    /// Returns until when a slot is reserved.
    pub(crate) fn reserved_until(&self, cx: &Context) -> Option<Instant> {
        self.slots.reserved.map(|(_, until)| until).filter(|until| cx.now < *until)
    }

    fn linked_slots(&self, conns: &Connections) -> usize {
        let open = || conns.links.iter().filter(|(_, link)| !link.closing);
        // The node that answers a dial proves its id a moment later, maybe of a node that is
        // linked.
        let linked = |link: &Link| match &link.state {
            LinkState::HelloSent(peer) => conns.links.to_node(peer.id, None).map(|_| PeerKey::Proved(peer.id)),
            _ => None,
        };
        let native: BTreeSet<PeerKey> = open().filter_map(|(_, link)| linked(link).or(link.key())).collect();
        let exercise = |link: &Link| matches!(link.state, LinkState::ExerciseOutbound { .. });
        native.len() + open().filter(|(_, link)| exercise(link)).count()
    }

    /// Returns how many slots hold a native peer that we dialled.
    pub(crate) fn slots_dialled(&self, conns: &Connections) -> usize {
        let ours = |link: &Link| !link.closing && link.dialled.is_some();
        conns.links.iter().filter(|(_, link)| ours(link) && link.native().is_some()).count()
    }

    /// Returns whether there is a cap and it is reached; `by` as in [`Self::slots_taken`].
    pub(crate) fn is_full(&self, cx: &Context, conns: &Connections, by: Option<NodeId>) -> bool {
        cx.config.max_peers.is_some_and(|most| self.slots_taken(cx, conns, by) >= most as usize)
    }

    /// Returns whether the exercise peer at an address gets a slot. Of a cap of three or more, two
    /// slots are kept for native peers: exercise peers relay little, and could otherwise cut us off
    /// from the network.
    pub(crate) fn admits_exercise(&self, cx: &Context, conns: &Connections, address: &PeerAddress) -> bool {
        let Some(most) = cx.config.max_peers.map(|most| most as usize) else { return true };
        let own = self.held_for_exercise(cx.now).filter(|held| *held == address).count();
        self.slots_taken(cx, conns, None) - own < most
            && self.exercise_slots(cx, conns) - own < most.saturating_sub(2).max(1)
    }

    /// Returns how many slots hold exercise peers, or are held for one.
    pub(crate) fn exercise_slots(&self, cx: &Context, conns: &Connections) -> usize {
        let exercise = |link: &Link| !link.closing && matches!(link.state, LinkState::ExerciseOutbound { .. });
        conns.links.iter().filter(|(_, link)| exercise(link)).count() + self.held_for_exercise(cx.now).count()
    }

    /// Returns how many slots are free; `None` without a cap.
    pub(crate) fn free_slots(&self, cx: &Context, conns: &Connections) -> Option<u32> {
        let taken = u32::try_from(self.slots_taken(cx, conns, None)).unwrap_or(u32::MAX);
        cx.config.max_peers.map(|most| most.saturating_sub(taken))
    }

    /// Returns whether a node that dials us gets a free slot. A quarter is kept for nodes of our
    /// own choice while there are any to dial: otherwise an attacker with many addresses could fill
    /// a node that has just started (eclipse attack).
    fn has_slot_for(&self, cx: &Context, peers: &Peers, conns: &Connections, by: Option<NodeId>) -> bool {
        let Some(most) = cx.config.max_peers.map(|most| most as usize) else { return true };
        let (taken, dialled) = (self.slots_taken(cx, conns, by), self.slots_dialled(conns));
        let outbound = if most < 2 { 0 } else { (most / 4).max(1) };
        let inbound_full = taken.saturating_sub(dialled) >= most - outbound;
        taken < most && !(dialled < outbound && inbound_full && self.can_search(cx, peers))
    }

    /// Handles a native peer that introduced itself on an accepted link.
    pub(crate) fn on_introduced(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        conns: &mut Connections,
        link: LinkId,
        node: &NodeInfo,
        addresses: Vec<PeerAddress>,
    ) {
        if !self.awaits_join(cx, peers, conns, link, node, &addresses) {
            conns.accept(cx, peers, link, node);
            cx.raise(InternalEvent::AddressesLearned { link, addresses });
        }
    }

    /// Returns whether a native peer on an accepted link waits for its JOIN before it is admitted.
    /// A peer with a cap always sends one; another is kept waiting only if we are full, as it may
    /// request a slot with high priority.
    fn awaits_join(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        conns: &mut Connections,
        link: LinkId,
        node: &NodeInfo,
        addresses: &[PeerAddress],
    ) -> bool {
        if node.max_peers.is_none() && self.has_slot_for(cx, peers, conns, None) {
            return false;
        }
        // With a cap only a few addresses are of use, and many peers may wait.
        let most = cx.config.max_peers.map_or(limits::HANDSHAKE_ADDRESSES, |_| limits::SAMPLE_ADDRESSES);
        let Some(opened) = conns.links.get_mut(link) else { return false };
        if matches!(opened.state, LinkState::Client) {
            opened.state = LinkState::AwaitingAdmission(PendingPeer {
                id: node.id,
                node: Some(Box::new(node.clone())),
                addresses: addresses[..addresses.len().min(most)].to_vec(),
                requests_priority: false,
            });
            cx.timers.set(Timer::Answer(link), cx.now + JOIN_TIMEOUT);
        }
        matches!(conns.links.get(link).map(|link| &link.state), Some(LinkState::AwaitingAdmission(_)))
    }

    /// Handles a pending peer whose JOIN, or whose probe, did not come in time; returns whether
    /// there is one.
    pub(crate) fn on_admission_due(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        conns: &mut Connections,
        link: LinkId,
    ) -> bool {
        let Some(LinkState::AwaitingAdmission(pending)) = conns.links.get(link).map(|link| &link.state) else {
            return false;
        };
        cx.timers.cancel(&Timer::Answer(link));
        if pending.node.is_some() && pending.requests_priority {
            self.decline(cx, peers, conns, link);
        } else if pending.node.is_some() {
            self.give_slot(cx, peers, conns, link, &Join::default());
        }
        true
    }

    /// Handles JOIN: a request for addresses, or for a slot.
    pub(crate) fn on_join(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        conns: &mut Connections,
        link: LinkId,
        join: &Join,
    ) {
        let Some(open) = conns.links.get(link) else { return };
        let claimed = match &open.state {
            LinkState::AwaitingAdmission(PendingPeer { node: Some(node), .. }) => node.address.clone(),
            LinkState::Verifying(peer) | LinkState::Established(peer) => peer.any_address().cloned(),
            // The rules let nobody else ask.
            _ => return,
        };
        if let Some(want) = join.want {
            cx.timers.cancel(&Timer::Answer(link));
            self.on_peers_requested(cx, peers, conns, link, want);
        } else if open.native().is_none() && cx.timers.due(&Timer::Answer(link)).is_some() {
            self.give_slot(cx, peers, conns, link, join);
        }
        if let (Some(root), Some(address)) = (join.root, claimed)
            && conns.may_learn(cx, &mut peers.book, link, &address)
        {
            cx.raise(InternalEvent::PartitionLearned { link, address, root });
        }
    }

    /// Handles a pending peer's request for a slot: admits it, begins a swap, or declines it.
    fn give_slot(&mut self, cx: &mut Context, peers: &mut Peers, conns: &mut Connections, link: LinkId, join: &Join) {
        let Some(LinkState::AwaitingAdmission(pending)) = conns.links.get(link).map(|link| &link.state) else { return };
        let node = pending.node.clone();
        let counted = node.as_ref().is_some_and(|node| conns.has_slot(peers, link, node));
        if counted
            || self.has_slot_for(cx, peers, conns, join.moved_by)
            || (join.insist && !self.is_full(cx, conns, join.moved_by))
        {
            if join.moved_by.is_some() && self.slots.reserved.is_some_and(|(by, _)| Some(by) == join.moved_by) {
                self.slots.reserved = None;
            }
            self.admit(cx, peers, conns, link);
        } else if !node.is_some_and(|node| join.insist && self.begin_swap(cx, peers, conns, link, &node)) {
            self.decline(cx, peers, conns, link);
        }
    }

    /// Admits a pending peer.
    fn admit(&mut self, cx: &mut Context, peers: &mut Peers, conns: &mut Connections, link: LinkId) {
        cx.timers.cancel(&Timer::Answer(link));
        let Some(LinkState::AwaitingAdmission(pending)) = conns.links.get_mut(link).map(|link| &mut link.state) else {
            return;
        };
        let (node, addresses) = (pending.node.take(), std::mem::take(&mut pending.addresses));
        if let Some(node) = node {
            conns.accept(cx, peers, link, &node);
            cx.raise(InternalEvent::AddressesLearned { link, addresses });
        }
    }

    /// Declines a pending peer for which there is no slot, and refers it to others.
    fn decline(&mut self, cx: &mut Context, peers: &mut Peers, conns: &mut Connections, link: LinkId) {
        let peer = conns.links.name_of(link);
        let others = self.send_declined(cx, peers, conns, link, declined(RETRY_AFTER, None), None);
        conns.links.close(cx, link, close::TRY_AGAIN_LATER, "this node has no free slot");
        cx.counters.slots_declined += 1;
        if self.slots.log.admit(cx.now) {
            cx.notify(Event::Declined { peer, others });
        }
    }

    /// Sends DECLINED, to which it adds addresses to try instead, `first` before all others.
    /// Returns how many there are.
    fn send_declined(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        conns: &mut Connections,
        link: LinkId,
        declined: Declined,
        first: Option<&PeerAddress>,
    ) -> usize {
        let mut addresses = self.sample_for(cx, peers, conns, link);
        if let Some(first) = first {
            addresses.retain(|address| address != first);
            addresses.insert(0, first.clone());
        }
        let others = addresses.len();
        let root = cx.config.max_peers.map(|_| self.partitions.root());
        let declined = Declined { addresses, root, ..declined };
        cx.send(vec![link], declined.to_frame(), Lane::Control);
        others
    }

    /// Returns whether the high priority request of a node is within the limits.
    fn may_request_priority(
        &mut self,
        cx: &Context,
        peer: PeerKey,
        path: Option<IpPrefix>,
        address: &PeerAddress,
    ) -> bool {
        let since = |at: &Instant| cx.now.saturating_duration_since(*at);
        self.slots.priority_requests.retain(|(at, ..)| since(at) < GROUP_EVERY);
        let mut lately = self.slots.priority_requests.iter();
        let often = lately.any(|(at, other, from)| {
            (*other == peer && since(at) < PRIORITY_INTERVAL) || (from.is_some() && *from == path)
        });
        let soon = self.slots.swapped.as_ref().is_some_and(|at| since(at) < SWAP_INTERVAL);
        !often && !soon && !self.has_swapped_for(cx, address)
    }

    /// Returns whether a node in the network group of an address took a slot of another lately.
    fn has_swapped_for(&mut self, cx: &Context, address: &PeerAddress) -> bool {
        let lately = |at: Instant| cx.now.saturating_duration_since(at) < GROUP_EVERY;
        self.slots.swapped_groups.retain(|(at, _)| lately(*at));
        place_of(address).is_some_and(|group| self.slots.swapped_groups.iter().any(|(_, of)| *of == group))
    }

    /// Begins a swap, and returns whether it did: probes the newcomer's address, as another node
    /// will be referred to it. A proved node id needs no probe. The newcomer needs two slots, and
    /// there must be a link to swap. A request that lacks one of these spends nothing: a stranger
    /// could otherwise keep all newcomers out.
    fn begin_swap(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        conns: &mut Connections,
        link: LinkId,
        node: &NodeInfo,
    ) -> bool {
        let Some(address) = node.address.clone().filter(|_| node.max_peers != Some(1)) else { return false };
        let Some(peer) = conns.pending_key(peers, link, node) else { return false };
        let path = conns.links.get(link).and_then(|open| open.address_group).map(IpPrefix::network);
        if !conns.may_learn(cx, &mut peers.book, link, &address)
            || !self.may_request_priority(cx, peer, path, &address)
            || self.link_to_swap(cx, peers, conns, &address).is_none()
        {
            return false;
        }
        let (scope, group) = conns.links.source_of(link);
        let by_id = address.node().is_some();
        let proved = address.node() == Some(node.id) && conns.is_proved(peers, link, node);
        if !by_id || proved {
            peers.book.add(&address, AddressSource::SelfAnnounced(scope, group), cx.now, &cx.config.limits);
        }
        let probing = !by_id && peers.dialer.probe(cx, &mut peers.book, (link, group), &address);
        if !probing && !proved {
            return false;
        }
        self.slots.swapped = Some(cx.now);
        self.slots.priority_requests.push_back((cx.now, peer, path));
        if let Some(LinkState::AwaitingAdmission(pending)) = conns.links.get_mut(link).map(|link| &mut link.state) {
            pending.requests_priority = true;
        }
        if probing {
            cx.timers.set(Timer::Answer(link), cx.now + PROBE_TIMEOUT);
        } else {
            let identity = UpgradeIdentity { node: node.id, session: node.session };
            self.on_pending_probed(cx, peers, conns, link, &address, (Some(identity), true));
        }
        true
    }

    /// Handles the end of the probe for a high priority request; returns whether the probe was for
    /// one.
    pub(crate) fn on_pending_probed(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        conns: &mut Connections,
        link: LinkId,
        address: &PeerAddress,
        (identity, proves): (Option<UpgradeIdentity>, bool),
    ) -> bool {
        let pending = match conns.links.get(link).filter(|link| !link.closing).map(|link| &link.state) {
            Some(LinkState::AwaitingAdmission(pending)) if pending.requests_priority => pending,
            _ => return false,
        };
        let right = identity.is_some_and(|identity| {
            pending.node.as_ref().is_some_and(|node| {
                identity == UpgradeIdentity { node: node.id, session: node.session }
                    && (!proves || conns.is_proved(peers, link, node))
            })
        });
        peers.book.set_state(address, AddressState::Waiting);
        let may_swap = right && !self.has_swapped_for(cx, address);
        if right && !self.is_full(cx, conns, None) {
            self.admit(cx, peers, conns, link);
        } else if let Some(victim) = self.link_to_swap(cx, peers, conns, address).filter(|_| may_swap) {
            self.swap_slot(cx, peers, conns, link, address, victim);
        } else {
            self.decline(cx, peers, conns, link);
        }
        true
    }

    /// Gives the slot of `victim` to the newcomer, and refers the node at the other end of `victim`
    /// to it.
    fn swap_slot(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        conns: &mut Connections,
        newcomer: LinkId,
        address: &PeerAddress,
        victim: LinkId,
    ) {
        let (joiner, moved) = (conns.links.name_of(newcomer), conns.links.name_of(victim));
        if conns.links.get(victim).is_some_and(|link| cx.now.saturating_duration_since(link.opened) >= OLD) {
            self.slots.swapped_old = Some(cx.now);
        }
        self.slots.swapped_groups.extend(place_of(address).map(|group| (cx.now, group)));
        cx.counters.slots_swapped += 1;
        self.refer(
            cx,
            peers,
            conns,
            victim,
            Some(address),
            "your slot went to a node that had none; it reserves one for you",
        );
        self.admit(cx, peers, conns, newcomer);
        cx.raise(InternalEvent::Notify(Event::SlotSwapped { joiner, moved }));
    }

    /// Closes a link and refers the other end to other nodes, `to` before all.
    pub(crate) fn refer(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        conns: &mut Connections,
        link: LinkId,
        to: Option<&PeerAddress>,
        reason: &str,
    ) {
        self.send_declined(cx, peers, conns, link, declined(RETRY_AFTER * 2, Some(reason)), to);
        let native = conns.links.get(link).and_then(Link::native);
        if let Some(address) = native.and_then(NativePeer::any_address).cloned() {
            self.slots.note_referred(cx.now, address);
        }
        conns.links.close(cx, link, close::TRY_AGAIN_LATER, reason);
    }

    /// Returns the link to swap for a newcomer at `address`: accepted, not of a known peer, and
    /// with another end that may learn the address. A link that brought no transaction goes first,
    /// an old link last.
    fn link_to_swap(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        conns: &mut Connections,
        address: &PeerAddress,
    ) -> Option<LinkId> {
        let mut choice = self.links_to_release(cx, peers, conns, false);
        choice.retain(|link| {
            // Only a node that can be reached by its id is known to dial others by theirs.
            let dials = |link: &Link| address.node().is_none() || link.native().is_some_and(|peer| peer.wan.is_some());
            conns.links.get(*link).is_some_and(|link| link.scope.may_tell(address.scope()) && dials(link))
        });
        let first = choice.into_iter().next()?;
        let old = conns.links.get(first).is_some_and(|link| cx.now.saturating_duration_since(link.opened) >= OLD);
        let lately = self.slots.swapped_old.is_some_and(|at| cx.now.saturating_duration_since(at) < OLD_SWAP_INTERVAL);
        (!old || !lately).then_some(first)
    }

    /// Returns the links that may be released, in the order of release. With `dialled` those that
    /// we dialled follow all others. Those to members of topics of which few are linked come last.
    pub(crate) fn links_to_release(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        conns: &mut Connections,
        dialled: bool,
    ) -> Vec<LinkId> {
        let (links, known) = (&conns.links, conns.known_links(peers));
        let is_needed = needed(cx, links);
        // Neither of two links to one node frees a slot; `connections/duplicates` resolves them.
        let single = |id: LinkId, link: &Link| {
            link.key().is_none_or(|peer| links.to_peer(peer, Some(id)).is_none()) && !conns.holds_another(id)
        };
        let mut choice: Vec<_> = links
            .iter()
            .filter(|(id, link)| {
                link.takes_transactions()
                    && link.native().is_some()
                    && !known.contains(id)
                    && single(*id, link)
                    && (dialled || link.dialled.is_none())
            })
            .map(|(id, link)| {
                let old = cx.now.saturating_duration_since(link.opened) >= OLD;
                let serves = link.brought > 0;
                ((is_needed(link), link.dialled.is_some(), old, serves, cx.rng.random::<u32>()), id)
            })
            .collect();
        choice.sort_unstable();
        choice.into_iter().map(|(_, link)| link).collect()
    }

    /// Handles DECLINED: the other end has no slot for us, or gave ours away. It counts only on a
    /// link on which a slot was requested or held.
    pub(crate) fn on_declined(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        conns: &mut Connections,
        link: LinkId,
        declined: &Declined,
    ) {
        let Some(open) = conns.links.get(link) else { return };
        let linked = open.introduced().is_some();
        let (peer, by) = (conns.links.name_of(link), open.native().map(|peer| peer.id));
        let address = peer.address.clone();
        cx.counters.addresses_dropped += declined.dropped as u64;
        cx.counters.slots_refused += 1;
        conns.links.close(cx, link, close::NORMAL, "goodbye");
        let named: Vec<PeerAddress> =
            declined.addresses.iter().filter(|at| conns.may_learn(cx, &mut peers.book, link, at)).cloned().collect();
        if cx.config.max_peers.is_some() {
            self.add_addresses(cx, peers, conns, link, &named);
            self.search.hint(&named);
        } else {
            self.learn(cx, peers, conns, link, &named);
        }
        let wait = address
            .as_ref()
            .map_or(RETRY_AFTER, |address| self.note_declined(cx, peers, conns, address, declined.retry_after));
        if linked {
            let next = named.first().cloned();
            cx.notify(Event::SlotTaken { peer, next: next.clone() });
            // A liar may aim us at a third party.
            let may_dial = |peers: &mut Peers, next: &PeerAddress| {
                peers.book.is_idle(cx, next) || peers.book.get_mut(next).is_some_and(|peer| may_name(cx.now, peer))
            };
            if let (Some(next), Some(_)) = (next, cx.config.max_peers)
                && may_dial(peers, &next)
            {
                dial_for(cx, peers, conns, &next, DialReason::Slot { high_priority: false, referred_by: by });
            }
        } else {
            self.search.refused();
            if let Some(address) = &address {
                self.on_rewire_missed(cx, address);
            }
            let next = self.fill_slots(cx, peers, conns);
            let reason = declined.reason.clone();
            cx.notify(Event::DeclinedBy { peer, others: named.len(), next, retry_in: wait, reason });
        }
        // If it is in another partition, others there may have a slot, or be able to dial us.
        // Its word shortens no back-off.
        let free = |at: &&PeerAddress| cx.timers.due(&Timer::Dial((*at).clone())).is_none();
        let free: Vec<&PeerAddress> = named.iter().filter(free).collect();
        if let Some(root) = declined.root
            && let Some(next) = free.choose(&mut cx.rng).copied().or(address.as_ref())
        {
            self.on_partition_learned(cx, peers, conns, link, next, root);
        }
    }

    /// Notes until when an address is not asked for a slot again; the wait doubles each time.
    /// Returns the wait.
    fn note_declined(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        conns: &mut Connections,
        address: &PeerAddress,
        retry_after: u64,
    ) -> Duration {
        let jitter = cx.rng.random_range(1.0..1.5);
        let Some(peer) = peers.book.get_mut(address) else { return RETRY_AFTER };
        // A node without a cap and without a link has to come back soon, with a high priority
        // request.
        let alone = cx.config.max_peers.is_none() && conns.links.peers() == 0;
        let most = if alone { SHORTEST_RETRY } else { LONGEST_RETRY };
        let asked = Duration::from_secs(retry_after).clamp(SHORTEST_RETRY, most);
        let wait = asked.saturating_mul(1 << peer.declines.min(6)).min(most).mul_f64(jitter);
        peer.declines = peer.declines.saturating_add(1);
        peer.declined_until = Some(cx.now + wait);
        peer.failures = 0;
        peer.last_up = Some(cx.now);
        wait
    }

    /// Handles the first link to a native peer. After a high priority request a slot is reserved
    /// for the node that was referred to us.
    pub(crate) fn on_slot_won(&mut self, cx: &mut Context, peers: &mut Peers, conns: &mut Connections, link: LinkId) {
        let reason = conns.reason(link).cloned();
        let id = conns.links.get(link).and_then(Link::native).map(|peer| peer.id);
        self.search.placed();
        for address in peers.book.leading_to(link) {
            if let Some(peer) = peers.book.get_mut(&address) {
                (peer.declines, peer.declined_until, peer.last_up) = (0, None, Some(cx.now));
            }
        }
        if let (Some(DialReason::Slot { high_priority: true, .. }), Some(id)) = (&reason, id)
            && !self.is_full(cx, conns, None)
        {
            self.slots.reserved = Some((id, cx.now + HELD));
        }
        self.send_beacon(cx, link);
        self.on_bootstrap_slot(cx, peers, conns, link);
        self.save_peer_cache_later(cx);
        self.fill_slots(cx, peers, conns);
    }
}

/// Returns the network group of an address. An id says nothing of where its node is; the path of
/// its link does.
fn place_of(address: &PeerAddress) -> Option<NetworkGroup> {
    NetworkGroup::of(address).filter(|group| *group != NetworkGroup::NodeIds)
}

/// Returns DECLINED without addresses.
fn declined(retry_after: Duration, reason: Option<&str>) -> Declined {
    Declined { retry_after: retry_after.as_secs(), reason: reason.map(str::to_owned), ..Declined::default() }
}

#[cfg(test)]
mod tests;
