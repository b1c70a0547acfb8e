//! Places: a node with a cap on its links, who is let in, who is sent on, and how somebody without a link gets one all the same.
//!
//! A **place** is one node to be linked to: a full peer however many links lead to it, a plain peer once. Places are given in the order of asking, and nobody
//! loses one because somebody else wants it, with one exception: a node that has no way into the network, or moves a link to a random node (`mixing.rs`), may insist. Then a link A–B that A accepted is
//! split: A takes the newcomer J and sends B on to J, which holds a place for B. All degrees stay, the graph stays connected, and J has two links. What is
//! never split: links that we dialled, and links to known peers; old links hardly ever. So newcomers, however many, can not surround a node.
//!
//! The other side, how a node looks for places, is in `seeking.rs`; `shuffle.rs` has what nodes tell each other of third ones.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use rand::RngExt;

use crate::address::{PeerAddress, Scope};
use crate::connections::Connections;
use crate::connections::table::{Link, LinkState, PendingPeer};
use crate::context::Context;
use crate::event::Event;
use crate::id::{LinkId, NodeId, UpgradeIdentity};
use crate::internal_event::InternalEvent;
use crate::ip_prefix::AddressGroup;
use crate::membership::{Membership, dial_for};
use crate::peers::Peers;
use crate::peers::address_book::{AddressSource, AddressState};
use crate::peers::dial_reason::DialReason;
use crate::timers::Timer;
use crate::util::log_throttle::Window;
use crate::violation::Violation;
use crate::violation::ViolationKind;
use crate::wire::close;
use crate::wire::{Declined, Join, NodeInfo};
use crate::{Lane, limits};

/// How long a node that has introduced itself may take to say what it wants.
const JOIN_PATIENCE: Duration = Duration::from_secs(1);
/// How long the probe of an insisting node's address may take.
const PROBE_PATIENCE: Duration = Duration::from_secs(3);
/// How long a place is held for the node that was sent to us: it dials at once, and its dial takes this long at most.
const HELD: Duration = Duration::from_secs(5);
/// When a declined node may ask again.
const RETRY_AFTER: Duration = Duration::from_secs(30);
/// The longest that a declined node waits, whatever the other asks for and however often it was declined.
const LONGEST_RETRY: Duration = Duration::from_secs(600);
/// The shortest, lest a peer's zero makes us dial it all the time.
const SHORTEST_RETRY: Duration = Duration::from_secs(5);
/// A link older than this is split only if there is no younger one, and then …
const OLD: Duration = Duration::from_secs(600);
/// … one such link in this time: else a full network of old links could take nobody in.
const OLD_SPLIT_EVERY: Duration = Duration::from_secs(60);
/// One node may insist once in this time …
const INSIST_EVERY: Duration = Duration::from_secs(10);
/// … nodes of one address group beyond loopback once in this …
const GROUP_EVERY: Duration = Duration::from_secs(60);
/// … and all together once in this. The others are sent on.
const SPLIT_EVERY: Duration = Duration::from_millis(500);
/// How long a node that we sent on counts as one that has a free place.
const LEFT: Duration = Duration::from_secs(30);
/// How many declined nodes are logged one by one within [`LOG_WINDOW`].
const LOGGED: u32 = 20;
const LOG_WINDOW: Duration = Duration::from_secs(10);

/// The slots of the active view: who is admitted, and who gets a slot of another.
#[derive(Debug)]
pub(crate) struct Slots {
    /// Nodes that were referred to others a moment ago: they have a free slot. At most a few.
    referred: VecDeque<(PeerAddress, Instant)>,
    /// For whom a slot is reserved: whoever says that this node referred it.
    reserved: Option<(NodeId, Instant)>,
    /// Who made a request of high priority lately, from where, and when.
    priority_requests: VecDeque<(Instant, NodeId, Option<AddressGroup>)>,
    /// When a slot was last swapped, and when that of an old link was.
    swapped: Option<Instant>,
    swapped_old: Option<Instant>,
    log: Window,
}

impl Default for Slots {
    fn default() -> Self {
        Self {
            referred: VecDeque::new(),
            reserved: None,
            priority_requests: VecDeque::new(),
            swapped: None,
            swapped_old: None,
            log: Window::new(LOGGED, LOG_WINDOW),
        }
    }
}

impl Slots {
    /// Notes that a node was sent on.
    pub(crate) fn note_referred(&mut self, now: Instant, address: PeerAddress) {
        self.referred.retain(|(left, at)| *left != address && now.saturating_duration_since(*at) < LEFT);
        self.referred.truncate(7);
        self.referred.push_front((address, now));
    }

    /// Nodes that were sent on a moment ago.
    pub(crate) fn lately_referred(&self, now: Instant) -> impl Iterator<Item = &PeerAddress> {
        let fresh = move |at: Instant| now.saturating_duration_since(at) < LEFT;
        self.referred.iter().filter(move |(_, at)| fresh(*at)).map(|(address, _)| address)
    }
}

impl Membership {
    /// Begins to find peers: through genesis, by places if there is a cap, else by dialling everybody. Remembered peers serve those that look for a few.
    pub(crate) fn begin(&mut self, cx: &mut Context, peers: &mut Peers) {
        let capped = cx.config.max_peers.is_some();
        if capped || cx.config.genesis.is_some() {
            let remembered = std::mem::take(&mut cx.config.remembered_peers);
            for address in remembered.iter().take(limits::PEER_CACHE) {
                // Whoever told of them is forgotten: their names may lead to nothing near.
                peers.book.add(address, AddressSource::Hearsay(Scope::Public), cx.now, &cx.config.limits);
            }
        }
        if capped {
            self.schedule_shuffle(cx, peers);
            cx.timers.set(Timer::Partition, cx.now);
            self.schedule_rewiring(cx);
        }
        if capped || cx.config.genesis.is_some() {
            // No order is given before the first fact.
            self.bootstrap.wait();
            cx.timers.set(Timer::SlotSearch, cx.now);
        } else {
            peers.dialer.dial_known(cx, &peers.book);
        }
    }

    /// How many places are taken, or held for somebody else than whom the node `by` sent.
    pub(crate) fn slots_taken(&self, cx: &Context, conns: &Connections, by: Option<NodeId>) -> usize {
        let held = self.slots.reserved.is_some_and(|(node, until)| cx.now < until && Some(node) != by);
        self.linked_slots(conns) + usize::from(held) + usize::from(self.search.is_healing(cx.now))
    }

    /// Until when a place is held for somebody.
    pub(crate) fn reserved_until(&self, cx: &Context) -> Option<Instant> {
        self.slots.reserved.map(|(_, until)| until).filter(|until| cx.now < *until)
    }

    fn linked_slots(&self, conns: &Connections) -> usize {
        let open = || conns.links.iter().filter(|(_, link)| !link.closing);
        let full: BTreeSet<NodeId> = open().filter_map(|(_, link)| link.native()).map(|peer| peer.id).collect();
        let plain = |link: &Link| matches!(link.state, LinkState::ExerciseOutbound { .. });
        full.len() + open().filter(|(_, link)| plain(link)).count()
    }

    /// How many of the places we dialled.
    pub(crate) fn slots_dialled(&self, conns: &Connections) -> usize {
        let ours = |link: &Link| !link.closing && link.dialled.is_some();
        conns.links.iter().filter(|(_, link)| ours(link) && link.native().is_some()).count()
    }

    /// Whether there is a cap, and it is reached.
    pub(crate) fn is_full(&self, cx: &Context, conns: &Connections, by: Option<NodeId>) -> bool {
        cx.config.max_peers.is_some_and(|most| self.slots_taken(cx, conns, by) >= most as usize)
    }

    /// Whether a node of the exercise gets a place. With a cap two places are kept for full peers, if there are three: nodes of the exercise lead nowhere, and could else
    /// cut us off from the network.
    pub(crate) fn admits_exercise(&self, cx: &Context, conns: &Connections) -> bool {
        let Some(most) = cx.config.max_peers.map(|most| most as usize) else { return true };
        !self.is_full(cx, conns, None) && self.exercise_slots(conns) < most.saturating_sub(2).max(1)
    }

    /// How many places nodes of the exercise have.
    pub(crate) fn exercise_slots(&self, conns: &Connections) -> usize {
        let plain = |link: &Link| !link.closing && matches!(link.state, LinkState::ExerciseOutbound { .. });
        conns.links.iter().filter(|(_, link)| plain(link)).count()
    }

    /// How many more places there are; `None`: no cap.
    pub(crate) fn free_slots(&self, cx: &Context, conns: &Connections) -> Option<u32> {
        let taken = u32::try_from(self.slots_taken(cx, conns, None)).unwrap_or(u32::MAX);
        cx.config.max_peers.map(|most| most.saturating_sub(taken))
    }

    /// Whether somebody who dials us gets a free place. Some are kept for nodes of our own choice while there are any to dial: else whoever is fastest with many
    /// addresses could fill a node that has just started.
    fn has_slot_for(&self, cx: &Context, peers: &Peers, conns: &Connections, by: Option<NodeId>) -> bool {
        let Some(most) = cx.config.max_peers.map(|most| most as usize) else { return true };
        let (taken, ours) = (self.slots_taken(cx, conns, by), self.slots_dialled(conns));
        let kept = if most < 2 { 0 } else { (most / 4).max(1) };
        let chooses = ours < kept && taken.saturating_sub(ours) >= most - kept && self.can_search(cx, peers);
        taken < most && !chooses
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

    /// A full peer introduced itself on a link that we accepted. Whether it has to say first what it wants: who has a cap always says so; others are asked to
    /// wait only if we are full, for they may insist.
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
        // With a cap only a few are of use, and many may wait.
        let most = cx.config.max_peers.map_or(limits::HANDSHAKE_ADDRESSES, |_| limits::SAMPLE_ADDRESSES);
        let Some(opened) = conns.links.get_mut(link) else { return false };
        if matches!(opened.state, LinkState::Client) {
            opened.state = LinkState::AwaitingAdmission(PendingPeer {
                id: node.id,
                node: Some(Box::new(node.clone())),
                addresses: addresses[..addresses.len().min(most)].to_vec(),
                requests_priority: false,
            });
            cx.timers.set(Timer::Answer(link), cx.now + JOIN_PATIENCE);
        }
        matches!(conns.links.get(link).map(|link| &link.state), Some(LinkState::AwaitingAdmission(_)))
    }

    /// A guest did not say what it wants, or its probe takes too long.
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
            LinkState::Verifying(peer) | LinkState::Established(peer) => peer.address.clone(),
            _ => return conns.penalize(cx, peers, link, &Violation::breach("JOIN: a HANDSHAKE comes first")),
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

    /// A guest wants a place: it gets one, or somebody else's, or is sent on.
    fn give_slot(&mut self, cx: &mut Context, peers: &mut Peers, conns: &mut Connections, link: LinkId, join: &Join) {
        let Some(LinkState::AwaitingAdmission(pending)) = conns.links.get(link).map(|link| &link.state) else { return };
        let (id, node) = (pending.id, pending.node.clone());
        let twin = conns.links.to_node(id, Some(link)).is_some();
        if twin
            || self.has_slot_for(cx, peers, conns, join.moved_by)
            || (join.insist && !self.is_full(cx, conns, join.moved_by))
        {
            if join.moved_by.is_some() && self.slots.reserved.is_some_and(|(by, _)| Some(by) == join.moved_by) {
                self.slots.reserved = None;
            }
            self.admit(cx, peers, conns, link);
        } else if let Some(node) = node.filter(|_| join.insist)
            && self.may_request_priority(cx, &node)
            && self.probe_for_swap(cx, peers, conns, link, &node)
        {
            cx.timers.set(Timer::Answer(link), cx.now + PROBE_PATIENCE);
        } else {
            self.decline(cx, peers, conns, link);
        }
    }

    /// A guest becomes a peer.
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

    /// Sends somebody on for whom there is no place.
    fn decline(&mut self, cx: &mut Context, peers: &mut Peers, conns: &mut Connections, link: LinkId) {
        let peer = conns.links.name_of(link);
        let others = self.send_declined(cx, peers, conns, link, RETRY_AFTER, None);
        conns.links.close(cx, link, close::TRY_AGAIN_LATER, "this node has no free place");
        cx.counters.slots_declined += 1;
        if self.slots.log.admit(cx.now) {
            cx.notify(Event::Declined { peer, others });
        }
    }

    /// Tells the other end of a link whom to try instead: `first` before all others. Returns how many.
    fn send_declined(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        conns: &mut Connections,
        link: LinkId,
        retry_after: Duration,
        first: Option<&PeerAddress>,
    ) -> usize {
        let mut addresses = self.sample_for(cx, peers, conns, link);
        if let Some(first) = first {
            addresses.retain(|address| address != first);
            addresses.insert(0, first.clone());
        }
        let others = addresses.len();
        let root = cx.config.max_peers.map(|_| self.partitions.root());
        let declined = Declined { addresses, dropped: 0, retry_after: retry_after.as_secs(), root };
        cx.send(vec![link], declined.to_frame(), Lane::Control);
        others
    }

    /// Whether this node, and others like it, have not insisted too often lately; counts it if so.
    fn may_request_priority(&mut self, cx: &mut Context, node: &NodeInfo) -> bool {
        let since = |at: &Instant| cx.now.saturating_duration_since(*at);
        self.slots.priority_requests.retain(|(at, ..)| since(at) < GROUP_EVERY);
        let group = node.address.as_ref().and_then(AddressGroup::of);
        let mut lately = self.slots.priority_requests.iter();
        let often = lately
            .any(|(at, id, from)| (*id == node.id && since(at) < INSIST_EVERY) || (from.is_some() && *from == group));
        let soon = self.slots.swapped.as_ref().is_some_and(|at| since(at) < SPLIT_EVERY);
        if often || soon {
            return false;
        }
        self.slots.swapped = Some(cx.now);
        self.slots.priority_requests.push_back((cx.now, node.id, group));
        true
    }

    /// Begins to split a link for a node that requests_priority: is it where it says, so that another can be sent to it? It needs two places, and there must be a link
    /// to split.
    fn probe_for_swap(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        conns: &mut Connections,
        link: LinkId,
        node: &NodeInfo,
    ) -> bool {
        let Some(address) = node.address.clone().filter(|_| node.max_peers != Some(1)) else { return false };
        if !conns.may_learn(cx, &mut peers.book, link, &address)
            || self.link_to_swap(cx, peers, conns, &address).is_none()
        {
            return false;
        }
        peers.book.add(&address, AddressSource::Hello(conns.links.scope_of(link)), cx.now, &cx.config.limits);
        let probing = peers.dialer.probe(cx, &mut peers.book, link, &address);
        if let Some(LinkState::AwaitingAdmission(pending)) = conns.links.get_mut(link).map(|link| &mut link.state) {
            pending.requests_priority = probing;
        }
        probing
    }

    /// The probe of an insisting node's address came back. Says whether it was one.
    pub(crate) fn on_pending_probed(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        conns: &mut Connections,
        link: LinkId,
        address: &PeerAddress,
        identity: Option<UpgradeIdentity>,
    ) -> bool {
        let pending = match conns.links.get(link).filter(|link| !link.closing).map(|link| &link.state) {
            Some(LinkState::AwaitingAdmission(pending)) if pending.requests_priority => pending,
            _ => return false,
        };
        let right = identity.is_some_and(|identity| {
            pending
                .node
                .as_ref()
                .is_some_and(|node| identity == UpgradeIdentity { node: node.id, session: node.session })
        });
        peers.book.set_state(address, AddressState::Waiting);
        if right && !self.is_full(cx, conns, None) {
            self.admit(cx, peers, conns, link);
        } else if let Some(victim) = self.link_to_swap(cx, peers, conns, address).filter(|_| right) {
            self.swap_slot(cx, peers, conns, link, address, victim);
        } else {
            self.decline(cx, peers, conns, link);
        }
        true
    }

    /// Splits the link `victim`: its other end goes on to the newcomer, which takes its place here.
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
        cx.counters.slots_swapped += 1;
        self.refer(
            cx,
            peers,
            conns,
            victim,
            Some(address),
            "your place went to a node that had none; it holds one for you",
        );
        self.admit(cx, peers, conns, newcomer);
        cx.raise(InternalEvent::Notify(Event::SlotSwapped { joiner, moved }));
    }

    /// Gives up a link: the other end is told where to go.
    pub(crate) fn refer(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        conns: &mut Connections,
        link: LinkId,
        to: Option<&PeerAddress>,
        reason: &str,
    ) {
        self.send_declined(cx, peers, conns, link, RETRY_AFTER * 2, to);
        if let Some(address) = conns.links.get(link).and_then(Link::native).and_then(|peer| peer.address.clone()) {
            self.slots.note_referred(cx.now, address);
        }
        conns.links.close(cx, link, close::TRY_AGAIN_LATER, reason);
    }

    /// Which link may be split for a newcomer at `address`: one that we accepted, not of a known peer, whose other end may be told the address. Who takes and
    /// never brings goes first; an old link only if there is no other.
    fn link_to_swap(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        conns: &mut Connections,
        address: &PeerAddress,
    ) -> Option<LinkId> {
        let mut choice = self.links_to_release(cx, peers, conns, false);
        choice.retain(|link| conns.links.get(*link).is_some_and(|link| link.scope.may_tell(address.scope())));
        let first = choice.into_iter().next()?;
        let old = conns.links.get(first).is_some_and(|link| cx.now.saturating_duration_since(link.opened) >= OLD);
        let lately = self.slots.swapped_old.is_some_and(|at| cx.now.saturating_duration_since(at) < OLD_SPLIT_EVERY);
        (!old || !lately).then_some(first)
    }

    /// The links that could be given up, the first to go first. `dialled`: those that we dialled too, after all others.
    pub(crate) fn links_to_release(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        conns: &mut Connections,
        dialled: bool,
    ) -> Vec<LinkId> {
        let (links, known) = (&conns.links, peers.book.known_links());
        // Of a node with two links neither frees a place: they are being settled, see `duel.rs`.
        let alone = |id: LinkId, link: &Link| {
            let node = link.native().map(|peer| peer.id);
            !links.iter().any(|(other, open)| other != id && !open.closing && open.name().node == node)
        };
        let mut choice: Vec<_> = links
            .iter()
            .filter(|(id, link)| {
                link.takes_transactions()
                    && link.native().is_some()
                    && !known.contains(id)
                    && alone(*id, link)
                    && (dialled || link.dialled.is_none())
            })
            .map(|(id, link)| {
                let old = cx.now.saturating_duration_since(link.opened) >= OLD;
                let serves = link.brought > 0;
                ((link.dialled.is_some(), old, serves, cx.rng.random::<u32>()), id)
            })
            .collect();
        choice.sort_unstable();
        choice.into_iter().map(|(_, link)| link).collect()
    }

    /// The other end has no place for us, or gives ours away. Only whom we asked, or who is linked to us, can say so.
    pub(crate) fn on_declined(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        conns: &mut Connections,
        link: LinkId,
        declined: &Declined,
    ) {
        let Some(open) = conns.links.get(link) else { return };
        let asked = matches!(open.state, LinkState::HelloSent(_));
        let linked = open.introduced().is_some();
        if !asked && !linked {
            cx.counters.answers_unsolicited += 1;
            return conns.penalize(
                cx,
                peers,
                link,
                &Violation::new(ViolationKind::Unsolicited, "DECLINED: nobody asked; ignored"),
            );
        }
        let (peer, by) = (conns.links.name_of(link), open.native().map(|peer| peer.id));
        let address = peer.address.clone();
        cx.counters.addresses_dropped += declined.dropped as u64;
        cx.counters.slots_refused += 1;
        conns.links.close(cx, link, close::NORMAL, "goodbye");
        let told: Vec<PeerAddress> =
            declined.addresses.iter().filter(|at| conns.may_learn(cx, &mut peers.book, link, at)).cloned().collect();
        if cx.config.max_peers.is_some() {
            self.add_addresses(cx, peers, conns, link, &told);
            self.search.hint(&told);
        } else {
            self.learn(cx, peers, conns, link, &told);
        }
        let wait = address
            .as_ref()
            .map_or(RETRY_AFTER, |address| self.note_declined(cx, peers, conns, address, declined.retry_after));
        if linked {
            let next = told.first().cloned();
            cx.notify(Event::SlotTaken { peer, next: next.clone() });
            if let (Some(next), Some(_)) = (next, cx.config.max_peers) {
                dial_for(cx, peers, conns, &next, DialReason::Slot { high_priority: false, referred_by: by });
            }
        } else {
            self.search.refused();
            if let Some(address) = &address {
                self.on_rewire_missed(cx, address);
            }
            let next = self.fill_slots(cx, peers, conns);
            cx.notify(Event::DeclinedBy { peer, others: told.len(), next, retry_in: wait });
        }
        if let (Some(address), Some(root)) = (address, declined.root) {
            self.on_partition_learned(cx, peers, conns, link, &address, root);
        }
    }

    /// Notes until when an address is not asked for a place again: longer each time.
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
        // A node without a cap and without a link has no other way than to come back soon, and to insist.
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

    /// A link to a full peer that takes transactions is new: if we insisted for it, somebody else was sent to us.
    pub(crate) fn on_slot_won(&mut self, cx: &mut Context, peers: &mut Peers, conns: &mut Connections, link: LinkId) {
        let purpose = conns.reason(link).cloned();
        let id = conns.links.get(link).and_then(Link::native).map(|peer| peer.id);
        self.search.placed();
        for address in peers.book.leading_to(link) {
            if let Some(peer) = peers.book.get_mut(&address) {
                (peer.declines, peer.declined_until, peer.last_up) = (0, None, Some(cx.now));
            }
        }
        if let (Some(DialReason::Slot { high_priority: true, .. }), Some(id)) = (&purpose, id)
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

#[cfg(test)]
mod tests;
