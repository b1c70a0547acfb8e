//! Places: a node with a cap on its links, who is let in, who is sent on, and how somebody without a link gets one all the same.
//!
//! A **place** is one node to be linked to: a full peer however many links lead to it, a plain peer once. Places are given in the order of asking, and nobody
//! loses one because somebody else wants it, with one exception: a node that has no way into the network, or moves a link to a random node (`mixing.rs`), may insist. Then a link A–B that A accepted is
//! split: A takes the newcomer J and sends B on to J, which holds a place for B. All degrees stay, the graph stays connected, and J has two links. What is
//! never split: links that we dialled, and links to known peers; old links hardly ever. So newcomers, however many, can not surround a node.
//!
//! The other side, how a node looks for places, is in `seeking.rs`; `shuffle.rs` has what nodes tell each other of third ones.

use std::collections::{BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use rand::RngExt;

use crate::address::{PeerAddress, Scope};
use crate::connections::table::{Link, PendingPeer, Role};
use crate::context::Context;
use crate::event::Event;
use crate::id::{LinkId, NodeId, UpgradeIdentity};
use crate::membership::bootstrap::Bootstrap;
use crate::membership::partitions::Partitions;
use crate::membership::rewiring::Rewiring;
use crate::membership::slot_search::{Purpose, SlotSearch};
use crate::peers::address_book::{AddressSource, AddressState};
use crate::timers::Timer;
use crate::violation::ViolationKind;
use crate::wire::close;
use crate::wire::{Declined, Join, NodeInfo};
use crate::{Lane, Node, limits};

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
/// How many are told of, one by one, in ten seconds.
const TOLD: u32 = 20;

/// What a node with a cap remembers besides its tables.
#[derive(Debug)]
pub(crate) struct Slots {
    pub(crate) seeking: SlotSearch,
    pub(crate) island: Partitions,
    pub(crate) genesis: Bootstrap,
    pub(crate) mixing: Rewiring,
    /// Links on which we asked for addresses and got none yet.
    pub(crate) asked: BTreeSet<LinkId>,
    /// Nodes that we sent on a moment ago: they have a free place. At most a few.
    pub(crate) left: VecDeque<(PeerAddress, Instant)>,
    /// For whom a place is held: whoever says that this node sent it.
    held: Option<(NodeId, Instant)>,
    /// Who insisted lately, from where, and when.
    insisted: VecDeque<(Instant, NodeId, Option<Group>)>,
    /// When a link was last split, and when an old one was.
    split: Option<Instant>,
    split_old: Option<Instant>,
    /// Since when we tell of declined nodes, and how many it were.
    told: Option<(Instant, u32)>,
}

/// Addresses that one person can easily have many of: an IPv4 /16, an IPv6 /32. Names are groups of their own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Group {
    V4([u8; 2]),
    V6([u8; 4]),
    Name(String),
}

impl Group {
    /// The group of an address; `None` on this host, where all are one's own.
    pub(crate) fn of(address: &PeerAddress) -> Option<Self> {
        if address.scope() == Scope::Loopback {
            return None;
        }
        let host = address.host();
        Some(match host.parse::<IpAddr>().map(|ip| ip.to_canonical()) {
            Ok(IpAddr::V4(ip)) => Self::V4([ip.octets()[0], ip.octets()[1]]),
            Ok(IpAddr::V6(ip)) => {
                let [a, b, c, d, ..] = ip.octets();
                Self::V6([a, b, c, d])
            }
            Err(_) => Self::Name(host),
        })
    }
}

impl Slots {
    pub(crate) fn new(island: Partitions, genesis: Bootstrap) -> Self {
        Self {
            seeking: SlotSearch::default(),
            island,
            genesis,
            mixing: Rewiring::default(),
            asked: BTreeSet::new(),
            left: VecDeque::new(),
            held: None,
            insisted: VecDeque::new(),
            split: None,
            split_old: None,
            told: None,
        }
    }

    /// Notes that a node was sent on.
    pub(crate) fn note_left(&mut self, now: Instant, address: PeerAddress) {
        self.left.retain(|(left, at)| *left != address && now.saturating_duration_since(*at) < LEFT);
        self.left.truncate(7);
        self.left.push_front((address, now));
    }

    /// Nodes that were sent on a moment ago.
    pub(crate) fn lately_left(&self, now: Instant) -> impl Iterator<Item = &PeerAddress> {
        let fresh = move |at: Instant| now.saturating_duration_since(at) < LEFT;
        self.left.iter().filter(move |(_, at)| fresh(*at)).map(|(address, _)| address)
    }
}

impl Node {
    /// Begins to find peers: through genesis, by places if there is a cap, else by dialling everybody. Remembered peers serve those that look for a few.
    pub(crate) fn begin(&mut self, now: Instant) {
        let capped = self.cx.config.max_peers.is_some();
        if capped || self.cx.config.genesis.is_some() {
            let remembered = std::mem::take(&mut self.cx.config.remembered_peers);
            for address in remembered.iter().take(limits::PEER_CACHE) {
                // Whoever told of them is forgotten: their names may lead to nothing near.
                self.book.add(address, AddressSource::Hearsay(Scope::Public), now, &self.cx.config.limits);
            }
        }
        if capped {
            self.schedule_visit(now);
            self.cx.timers.set(Timer::Beacon, now);
            self.schedule_mixing(now);
        }
        if capped || self.cx.config.genesis.is_some() {
            // No order is given before the first fact.
            self.membership.genesis.wait();
            self.cx.timers.set(Timer::Seek, now);
        } else {
            self.dial_known(now);
        }
    }

    /// Whether the other end of a link is a full peer without a place.
    pub(crate) fn is_guest(&self, link: LinkId) -> bool {
        matches!(self.links.get(link).map(|link| &link.role), Some(Role::AwaitingAdmission(_)))
    }

    /// How many places are taken, or held for somebody else than whom the node `by` sent.
    pub(crate) fn places_taken(&self, now: Instant, by: Option<NodeId>) -> usize {
        let held = self.membership.held.is_some_and(|(node, until)| now < until && Some(node) != by);
        self.linked_places() + usize::from(held) + usize::from(self.membership.seeking.merges(now))
    }

    /// Until when a place is held for somebody.
    pub(crate) fn held_until(&self, now: Instant) -> Option<Instant> {
        self.membership.held.map(|(_, until)| until).filter(|until| now < *until)
    }

    fn linked_places(&self) -> usize {
        let open = || self.links.iter().filter(|(_, link)| !link.closing);
        let full: BTreeSet<NodeId> = open().filter_map(|(_, link)| link.full()).map(|peer| peer.id).collect();
        let plain = |link: &Link| matches!(link.role, Role::Exercise { .. }) && link.dialled.is_some();
        full.len() + open().filter(|(_, link)| plain(link)).count()
    }

    /// How many of the places we dialled.
    pub(crate) fn places_dialled(&self) -> usize {
        let ours = |link: &Link| !link.closing && link.dialled.is_some();
        self.links.iter().filter(|(_, link)| ours(link) && link.full().is_some()).count()
    }

    /// Whether there is a cap, and it is reached.
    pub(crate) fn is_full(&self, now: Instant, by: Option<NodeId>) -> bool {
        self.cx.config.max_peers.is_some_and(|most| self.places_taken(now, by) >= most as usize)
    }

    /// Whether a node of the exercise gets a place. With a cap two places are kept for full peers, if there are three: nodes of the exercise lead nowhere, and could else
    /// cut us off from the network.
    pub(crate) fn takes_plain(&self, now: Instant) -> bool {
        let Some(most) = self.cx.config.max_peers.map(|most| most as usize) else { return true };
        !self.is_full(now, None) && self.plain_places() < most.saturating_sub(2).max(1)
    }

    /// How many places nodes of the exercise have.
    pub(crate) fn plain_places(&self) -> usize {
        let plain = |link: &Link| !link.closing && matches!(link.role, Role::Exercise { .. }) && link.dialled.is_some();
        self.links.iter().filter(|(_, link)| plain(link)).count()
    }

    /// How many more places there are; `None`: no cap.
    pub(crate) fn places_free(&self, now: Instant) -> Option<u32> {
        let taken = u32::try_from(self.places_taken(now, None)).unwrap_or(u32::MAX);
        self.cx.config.max_peers.map(|most| most.saturating_sub(taken))
    }

    /// Whether somebody who dials us gets a free place. Some are kept for nodes of our own choice while there are any to dial: else whoever is fastest with many
    /// addresses could fill a node that has just started.
    fn takes(&self, now: Instant, by: Option<NodeId>) -> bool {
        let Some(most) = self.cx.config.max_peers.map(|most| most as usize) else { return true };
        let (taken, ours) = (self.places_taken(now, by), self.places_dialled());
        let kept = if most < 2 { 0 } else { (most / 4).max(1) };
        let chooses = ours < kept && taken.saturating_sub(ours) >= most - kept && self.has_somebody_to_dial();
        taken < most && !chooses
    }

    /// A full peer introduced itself on a link that we accepted. Whether it has to say first what it wants: who has a cap always says so; others are asked to
    /// wait only if we are full, for they may insist.
    pub(crate) fn waits_for_join(
        &mut self,
        now: Instant,
        link: LinkId,
        node: &NodeInfo,
        addresses: &[PeerAddress],
    ) -> bool {
        if node.max_peers.is_none() && self.takes(now, None) {
            return false;
        }
        // With a cap only a few are of use, and many may wait.
        let most = self.cx.config.max_peers.map_or(limits::HANDSHAKE_ADDRESSES, |_| limits::SAMPLE_ADDRESSES);
        let Some(opened) = self.links.get_mut(link) else { return false };
        if matches!(opened.role, Role::Client) {
            opened.role = Role::AwaitingAdmission(PendingPeer {
                id: node.id,
                node: Some(Box::new(node.clone())),
                addresses: addresses[..addresses.len().min(most)].to_vec(),
                insists: false,
            });
            self.cx.timers.set(Timer::Answer(link), now + JOIN_PATIENCE);
        }
        matches!(self.links.get(link).map(|link| &link.role), Some(Role::AwaitingAdmission(_)))
    }

    /// A guest did not say what it wants, or its probe takes too long.
    pub(crate) fn on_guest_over(&mut self, now: Instant, link: LinkId) -> bool {
        let Some(Role::AwaitingAdmission(guest)) = self.links.get(link).map(|link| &link.role) else { return false };
        self.cx.timers.cancel(&Timer::Answer(link));
        if guest.node.is_some() && guest.insists {
            self.decline(now, link);
        } else if guest.node.is_some() {
            self.give_place(now, link, &Join::default());
        }
        true
    }

    pub(crate) fn on_join(&mut self, now: Instant, link: LinkId, join: &Join) {
        let Some(open) = self.links.get(link) else { return };
        let claimed = match &open.role {
            Role::AwaitingAdmission(PendingPeer { node: Some(node), .. }) => node.address.clone(),
            Role::Native(peer) if peer.hello_received => peer.address.clone(),
            _ => return self.fault(link, "JOIN: a HANDSHAKE comes first"),
        };
        if let Some(want) = join.want {
            self.cx.timers.cancel(&Timer::Answer(link));
            self.on_want_peers(now, link, want);
        } else if open.full().is_none() && self.cx.timers.due(&Timer::Answer(link)).is_some() {
            self.give_place(now, link, join);
        }
        if let (Some(root), Some(address)) = (join.root, claimed)
            && self.may_learn(link, &address)
        {
            self.on_root_of(now, link, &address, root);
        }
    }

    /// A guest wants a place: it gets one, or somebody else's, or is sent on.
    fn give_place(&mut self, now: Instant, link: LinkId, join: &Join) {
        let Some(Role::AwaitingAdmission(guest)) = self.links.get(link).map(|link| &link.role) else { return };
        let (id, node) = (guest.id, guest.node.clone());
        let twin = self.links.to_node(id, Some(link)).is_some();
        if twin || self.takes(now, join.moved_by) || (join.insist && !self.is_full(now, join.moved_by)) {
            if join.moved_by.is_some() && self.membership.held.is_some_and(|(by, _)| Some(by) == join.moved_by) {
                self.membership.held = None;
            }
            self.let_in(now, link);
        } else if let Some(node) = node.filter(|_| join.insist)
            && self.may_insist(now, &node)
            && self.probe_for_split(now, link, &node)
        {
            self.cx.timers.set(Timer::Answer(link), now + PROBE_PATIENCE);
        } else {
            self.decline(now, link);
        }
    }

    /// A guest becomes a peer.
    fn let_in(&mut self, now: Instant, link: LinkId) {
        self.cx.timers.cancel(&Timer::Answer(link));
        let Some(Role::AwaitingAdmission(guest)) = self.links.get_mut(link).map(|link| &mut link.role) else { return };
        let (node, addresses) = (guest.node.take(), std::mem::take(&mut guest.addresses));
        if let Some(node) = node {
            self.welcome(now, link, &node);
            self.learn(now, link, &addresses);
        }
    }

    /// Sends somebody on for whom there is no place.
    fn decline(&mut self, now: Instant, link: LinkId) {
        let peer = self.links.name_of(link);
        let others = self.send_declined(now, link, RETRY_AFTER, None);
        self.links.close(&mut self.cx, link, close::TRY_AGAIN_LATER, "this node has no free place");
        self.cx.counters.slots_declined += 1;
        let (since, count) = self.membership.told.unwrap_or((now, 0));
        let over = now.saturating_duration_since(since) >= Duration::from_secs(10);
        self.membership.told = Some(if over { (now, 1) } else { (since, count.saturating_add(1)) });
        if over || count < TOLD {
            self.cx.notify(Event::Declined { peer, others });
        }
    }

    /// Tells the other end of a link whom to try instead: `first` before all others. Returns how many.
    fn send_declined(
        &mut self,
        now: Instant,
        link: LinkId,
        retry_after: Duration,
        first: Option<&PeerAddress>,
    ) -> usize {
        let mut addresses = self.sample_for(now, link);
        if let Some(first) = first {
            addresses.retain(|address| address != first);
            addresses.insert(0, first.clone());
        }
        let others = addresses.len();
        let root = self.cx.config.max_peers.map(|_| self.membership.island.root());
        let declined = Declined { addresses, dropped: 0, retry_after: retry_after.as_secs(), root };
        self.cx.send(vec![link], declined.to_frame(), Lane::Control);
        others
    }

    /// Whether this node, and others like it, have not insisted too often lately; counts it if so.
    fn may_insist(&mut self, now: Instant, node: &NodeInfo) -> bool {
        let since = |at: &Instant| now.saturating_duration_since(*at);
        self.membership.insisted.retain(|(at, ..)| since(at) < GROUP_EVERY);
        let group = node.address.as_ref().and_then(Group::of);
        let mut lately = self.membership.insisted.iter();
        let often = lately
            .any(|(at, id, from)| (*id == node.id && since(at) < INSIST_EVERY) || (from.is_some() && *from == group));
        let soon = self.membership.split.as_ref().is_some_and(|at| since(at) < SPLIT_EVERY);
        if often || soon {
            return false;
        }
        self.membership.split = Some(now);
        self.membership.insisted.push_back((now, node.id, group));
        true
    }

    /// Begins to split a link for a node that insists: is it where it says, so that another can be sent to it? It needs two places, and there must be a link
    /// to split.
    fn probe_for_split(&mut self, now: Instant, link: LinkId, node: &NodeInfo) -> bool {
        let Some(address) = node.address.clone().filter(|_| node.max_peers != Some(1)) else { return false };
        if !self.may_learn(link, &address) || self.link_to_split(now, &address).is_none() {
            return false;
        }
        self.book.add(&address, AddressSource::Hello(self.scope_of(link)), now, &self.cx.config.limits);
        let probing = self.probe(now, link, &address);
        if let Some(Role::AwaitingAdmission(guest)) = self.links.get_mut(link).map(|link| &mut link.role) {
            guest.insists = probing;
        }
        probing
    }

    /// The probe of an insisting node's address came back. Says whether it was one.
    pub(crate) fn on_guest_probed(
        &mut self,
        now: Instant,
        link: LinkId,
        address: &PeerAddress,
        identity: Option<UpgradeIdentity>,
    ) -> bool {
        let guest = match self.links.get(link).filter(|link| !link.closing).map(|link| &link.role) {
            Some(Role::AwaitingAdmission(guest)) if guest.insists => guest,
            _ => return false,
        };
        let right = identity.is_some_and(|identity| {
            guest.node.as_ref().is_some_and(|node| identity == UpgradeIdentity { node: node.id, session: node.session })
        });
        self.book.set_state(address, AddressState::Waiting);
        if right && !self.is_full(now, None) {
            self.let_in(now, link);
        } else if let Some(victim) = self.link_to_split(now, address).filter(|_| right) {
            self.split(now, link, address, victim);
        } else {
            self.decline(now, link);
        }
        true
    }

    /// Splits the link `victim`: its other end goes on to the newcomer, which takes its place here.
    fn split(&mut self, now: Instant, newcomer: LinkId, address: &PeerAddress, victim: LinkId) {
        let (joiner, moved) = (self.links.name_of(newcomer), self.links.name_of(victim));
        if self.links.get(victim).is_some_and(|link| now.saturating_duration_since(link.opened) >= OLD) {
            self.membership.split_old = Some(now);
        }
        self.cx.counters.slots_swapped += 1;
        self.send_on(now, victim, Some(address), "your place went to a node that had none; it holds one for you");
        self.let_in(now, newcomer);
        self.cx.notify(Event::SlotSwapped { joiner, moved });
    }

    /// Gives up a link: the other end is told where to go.
    pub(crate) fn send_on(&mut self, now: Instant, link: LinkId, to: Option<&PeerAddress>, reason: &str) {
        self.send_declined(now, link, RETRY_AFTER * 2, to);
        if let Some(address) = self.links.get(link).and_then(Link::full).and_then(|peer| peer.address.clone()) {
            self.membership.note_left(now, address);
        }
        self.links.close(&mut self.cx, link, close::TRY_AGAIN_LATER, reason);
    }

    /// Which link may be split for a newcomer at `address`: one that we accepted, not of a known peer, whose other end may be told the address. Who takes and
    /// never brings goes first; an old link only if there is no other.
    fn link_to_split(&mut self, now: Instant, address: &PeerAddress) -> Option<LinkId> {
        let mut choice = self.links_to_give_up(now, false);
        choice.retain(|link| self.links.get(*link).is_some_and(|link| link.scope.may_tell(address.scope())));
        let first = choice.into_iter().next()?;
        let old = self.links.get(first).is_some_and(|link| now.saturating_duration_since(link.opened) >= OLD);
        let lately = self.membership.split_old.is_some_and(|at| now.saturating_duration_since(at) < OLD_SPLIT_EVERY);
        (!old || !lately).then_some(first)
    }

    /// The links that could be given up, the first to go first. `dialled`: those that we dialled too, after all others.
    pub(crate) fn links_to_give_up(&mut self, now: Instant, dialled: bool) -> Vec<LinkId> {
        let Self { links, book: peers, cx: Context { rng, .. }, .. } = self;
        let known: BTreeSet<LinkId> = peers
            .connected()
            .filter(|(at, _)| peers.get(at).is_some_and(|peer| peer.known))
            .map(|(_, at)| at)
            .collect();
        // Of a node with two links neither frees a place: they are being settled, see `duel.rs`.
        let alone = |id: LinkId, link: &Link| {
            let node = link.full().map(|peer| peer.id);
            !links.iter().any(|(other, open)| other != id && !open.closing && open.name().node == node)
        };
        let mut choice: Vec<_> = links
            .iter()
            .filter(|(id, link)| {
                link.takes_transactions()
                    && link.full().is_some()
                    && !known.contains(id)
                    && alone(*id, link)
                    && (dialled || link.dialled.is_none())
            })
            .map(|(id, link)| {
                let old = now.saturating_duration_since(link.opened) >= OLD;
                let serves = link.brought > 0;
                ((link.dialled.is_some(), old, serves, rng.random::<u32>()), id)
            })
            .collect();
        choice.sort_unstable();
        choice.into_iter().map(|(_, link)| link).collect()
    }

    /// The other end has no place for us, or gives ours away. Only whom we asked, or who is linked to us, can say so.
    pub(crate) fn on_declined(&mut self, now: Instant, link: LinkId, declined: &Declined) {
        let Some(open) = self.links.get(link) else { return };
        let asked = open.dialled.is_some() && matches!(&open.role, Role::Native(peer) if !peer.hello_received);
        let linked = matches!(&open.role, Role::Native(peer) if peer.hello_received);
        if !asked && !linked {
            self.cx.counters.answers_unsolicited += 1;
            return self.offend(link, ViolationKind::Unsolicited, "DECLINED: nobody asked; ignored");
        }
        let (peer, by) = (self.links.name_of(link), open.full().map(|peer| peer.id));
        let address = peer.address.clone();
        self.cx.counters.addresses_dropped += declined.dropped as u64;
        self.cx.counters.slots_refused += 1;
        self.links.close(&mut self.cx, link, close::NORMAL, "goodbye");
        let told: Vec<PeerAddress> = declined.addresses.iter().filter(|at| self.may_learn(link, at)).cloned().collect();
        if self.cx.config.max_peers.is_some() {
            self.hear_of(now, link, &told);
            self.membership.seeking.hint(&told);
        } else {
            self.learn(now, link, &told);
        }
        let wait =
            address.as_ref().map_or(RETRY_AFTER, |address| self.note_declined(now, address, declined.retry_after));
        if linked {
            let next = told.first().cloned();
            self.cx.notify(Event::SlotTaken { peer, next: next.clone() });
            if let (Some(next), Some(_)) = (next, self.cx.config.max_peers) {
                self.dial_for(now, &next, Purpose::Place { insist: false, moved_by: by });
            }
        } else {
            self.membership.seeking.refused();
            if let Some(address) = &address {
                self.on_move_missed(now, address);
            }
            let next = self.seek(now);
            self.cx.notify(Event::DeclinedBy { peer, others: told.len(), next, retry_in: wait });
        }
        if let (Some(address), Some(root)) = (address, declined.root) {
            self.on_root_of(now, link, &address, root);
        }
    }

    /// Notes until when an address is not asked for a place again: longer each time.
    fn note_declined(&mut self, now: Instant, address: &PeerAddress, retry_after: u64) -> Duration {
        let jitter = self.cx.rng.random_range(1.0..1.5);
        let Some(peer) = self.book.get_mut(address) else { return RETRY_AFTER };
        // A node without a cap and without a link has no other way than to come back soon, and to insist.
        let alone = self.cx.config.max_peers.is_none() && self.links.peers() == 0;
        let most = if alone { SHORTEST_RETRY } else { LONGEST_RETRY };
        let asked = Duration::from_secs(retry_after).clamp(SHORTEST_RETRY, most);
        let wait = asked.saturating_mul(1 << peer.declines.min(6)).min(most).mul_f64(jitter);
        peer.declines = peer.declines.saturating_add(1);
        peer.declined_until = Some(now + wait);
        peer.failures = 0;
        peer.last_up = Some(now);
        wait
    }

    /// A link to a full peer that takes transactions is new: if we insisted for it, somebody else was sent to us.
    pub(crate) fn on_place(&mut self, now: Instant, link: LinkId) {
        let purpose = self.membership.seeking.open.get(&link).cloned();
        let id = self.links.get(link).and_then(Link::full).map(|peer| peer.id);
        self.membership.seeking.placed();
        for address in self.book.leading_to(link) {
            if let Some(peer) = self.book.get_mut(&address) {
                (peer.declines, peer.declined_until, peer.last_up) = (0, None, Some(now));
            }
        }
        if let (Some(Purpose::Place { insist: true, .. }), Some(id)) = (&purpose, id)
            && !self.is_full(now, None)
        {
            self.membership.held = Some((id, now + HELD));
        }
        self.send_beacon(link);
        self.on_genesis_place(now, link);
        self.note_change(now);
        self.seek(now);
    }
}

#[cfg(test)]
mod tests;
