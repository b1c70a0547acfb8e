//! The table of open links: for each the node at its other end, the state of its handshake, and how
//! transactions are delivered.
//!
//! It decides nothing. Connections change states; gossip and replay change the delivery; many
//! components read it.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;

use crate::address::{PeerAddress, Scope};
use crate::context::Context;
use crate::event::{Event, PeerName};
use crate::id::{LinkId, NodeId, Session};
use crate::io::Output;
use crate::ip_prefix::{IpPrefix, SourceGroup};
use crate::limits;
use crate::message_rules::Senders;
use crate::peers::reputation::{Score, Scored};
use crate::timers::Timer;
use crate::topic_name::TopicSet;
use crate::wire::NodeInfo;

/// How long after a transaction to an exercise peer its mark follows: one ping for many of them.
const MARK_DELAY: Duration = Duration::from_millis(100);

/// One open link.
#[derive(Debug)]
pub(crate) struct Link {
    /// The address that we dialled; `None` for a link that we accepted.
    pub(crate) dialled: Option<PeerAddress>,
    /// The other end's IP address.
    pub(crate) remote: IpAddr,
    /// The node at the other end, if the transport itself proves it: a link over iroh.
    pub(crate) authenticated: Option<NodeId>,
    /// The scope of the other end: it decides which addresses it may name.
    pub(crate) scope: Scope,
    /// The address group that the link counts for, and that is scored and banned unless a node is;
    /// `None`: on this host.
    pub(crate) address_group: Option<IpPrefix>,
    /// The score of a link on this host, where no address group is scored.
    pub(crate) score: Score,
    /// When it was opened.
    pub(crate) opened: Instant,
    /// How many transactions it brought that were new here.
    pub(crate) brought: u64,
    /// When anything was last heard on it.
    pub(crate) heard: Instant,
    /// The WebSocket address that the native peer at the other end names as its own.
    pub(crate) claimed: Option<PeerAddress>,
    /// Who is at the other end.
    pub(crate) state: LinkState,
    /// How transactions flow to the other end.
    pub(crate) flow: Delivery,
    /// To an exercise peer: when the first transaction went out on it.
    pub(crate) first_payload: Option<Instant>,
    /// To an exercise peer: whether transactions are held back until it is known that it checks
    /// types.
    pub(crate) withheld: bool,
    /// To an exercise peer with a slot: the pool position before which it has everything.
    pub(crate) acknowledged: Option<u64>,
    /// The marks without a pong: number, and the pool position before which all was sent.
    pub(crate) marks: VecDeque<(u64, u64)>,
    /// Since when there are such marks and none was answered.
    pub(crate) unanswered: Option<Instant>,
    /// Whether something was sent after the last mark.
    pub(crate) unmarked: bool,
    /// When the next mark is due.
    pub(crate) mark_due: Option<Instant>,
    /// How many ACKs it gets once its transactions are on disk.
    pub(crate) acks_due: usize,
    /// Whether the application judges transactions whose ACKs it gets.
    pub(crate) judged: bool,
    /// The close reason, if it is beyond a bound: it is only referred to other nodes.
    pub(crate) refused: Option<String>,
    /// Whether we asked the runtime to close it: nothing more is sent or handled.
    pub(crate) closing: bool,
    /// Whether that was as nothing came on it for too long.
    pub(crate) dead: bool,
}

/// The kind of node at the other end of a link, and the state of its handshake. The state still
/// counts while a link closes, so [`Link::closing`] is a field of its own.
#[derive(Debug)]
pub(crate) enum LinkState {
    /// Accepted, no HANDSHAKE yet: a client.
    Client,
    /// Accepted from an exercise peer, which sends on it.
    ExerciseInbound {
        /// Where it can be dialled, as far as its HANDSHAKE suggests.
        address: Option<PeerAddress>,
    },
    /// Dialled to an exercise peer, which receives on it.
    ExerciseOutbound { address: PeerAddress },
    /// Dialled while an older link to the same node is open: nothing is sent until the duplicate is
    /// resolved.
    Standby(NativePeer),
    /// A native peer without a slot: it has none yet, or one end only requests addresses.
    AwaitingAdmission(PendingPeer),
    /// Dialled; our HANDSHAKE went out, its own has not come.
    HelloSent(NativePeer),
    /// Accepted; its HANDSHAKE came and its address is being verified, ours has not gone out.
    Verifying(NativePeer),
    /// Both HANDSHAKEs were exchanged: transactions flow.
    Established(NativePeer),
}

/// A native peer, as one link shows it.
#[derive(Debug, Clone)]
pub(crate) struct NativePeer {
    pub(crate) id: NodeId,
    pub(crate) session: Session,
    /// The verified WebSocket address: dialled, or claimed and confirmed by a probe.
    pub(crate) address: Option<PeerAddress>,
    /// Its id as an address, with its relays, if it can be reached by it: dialled, or claimed by
    /// the node itself, which has proved the id.
    pub(crate) wan: Option<PeerAddress>,
    /// Whether the peer has proved that the id is its own. Otherwise the id is a claim.
    pub(crate) proved: bool,
    /// Which of our topics it has.
    pub(crate) topics: TopicSet,
    /// Whether it opens a connection for requests when it is asked to.
    pub(crate) calls_back: bool,
}

impl NativePeer {
    /// Returns an address that leads to it, by WebSocket if there is one.
    pub(crate) fn any_address(&self) -> Option<&PeerAddress> {
        self.address.as_ref().or(self.wan.as_ref())
    }
}

/// What counts as one native peer: links with equal keys are links to one node.
///
/// A claim from one address group says nothing about a proved node, nor about an equal claim from
/// another group. So nobody displaces a node by naming its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum PeerKey {
    /// A node that has proved its id.
    Proved(NodeId),
    /// An unproved id and the address group that claims it; `None`: this host.
    Claimed(NodeId, Option<IpPrefix>),
}

/// A native peer without a slot.
#[derive(Debug)]
pub(crate) struct PendingPeer {
    pub(crate) id: NodeId,
    /// The `node` of its HANDSHAKE, on an accepted link.
    pub(crate) node: Option<Box<NodeInfo>>,
    /// The addresses of its HANDSHAKE, on an accepted link.
    pub(crate) addresses: Vec<PeerAddress>,
    /// Whether it requests a slot with high priority, and its address is being probed for that.
    pub(crate) requests_priority: bool,
}

/// Whose entries of a bounded table count as one share: those of all peers of one address group. On
/// this host, and of this node itself, those of one node.
pub(crate) type Party = (SourceGroup, Option<NodeId>);

/// What this node itself puts into a table.
pub(crate) const OURSELVES: Party = (SourceGroup::User, None);

/// How transactions flow to the other end of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// Each new transaction is pushed.
    Live,
    /// Each new transaction is pushed, and the pool is sent up to its state when the set
    /// reconciliation began.
    Syncing {
        /// Whether a new transaction found the queue full.
        missed: bool,
    },
    /// The queue of a native peer was full: nothing is pushed until it has drained. Then pools are
    /// reconciled, which finds what it missed.
    Lagging,
    /// The queue of an exercise peer was full: nothing is pushed; the pool is replayed as the queue
    /// drains.
    Replaying {
        /// The position in the pool where the current replay begins.
        from: u64,
        /// Up to which transaction that waits for the disk is queued, by the order of acceptance.
        pushed: u64,
        /// The same, if the queue had room for the last push.
        trying: u64,
    },
}

/// Returns whose share the entries of a node of this group count for.
pub(crate) fn party(group: SourceGroup, node: Option<NodeId>) -> Party {
    (group, node.filter(|_| !matches!(group, SourceGroup::AddressGroup(_))))
}

impl Link {
    /// Returns whether the other end waits for an ACK: its silence means nothing.
    pub(crate) fn awaits_ack(&self) -> bool {
        self.acks_due > 0 || self.judged
    }

    /// Returns the native peer at the other end; `None` on standby and without a slot.
    pub(crate) fn native(&self) -> Option<&NativePeer> {
        match &self.state {
            LinkState::HelloSent(peer) | LinkState::Verifying(peer) | LinkState::Established(peer) => Some(peer),
            _ => None,
        }
    }

    /// Returns what the other end is as a sender of messages.
    pub(crate) fn sender(&self) -> Senders {
        let class = match &self.state {
            LinkState::Client => Senders::CLIENT,
            LinkState::ExerciseInbound { .. } | LinkState::ExerciseOutbound { .. } => Senders::EXERCISE,
            LinkState::Standby(_) => Senders::STANDBY,
            LinkState::AwaitingAdmission(PendingPeer { node: None, .. }) => Senders::ASKED,
            LinkState::AwaitingAdmission(_) => Senders::WAITING,
            LinkState::HelloSent(_) => Senders::DIALLED,
            LinkState::Verifying(_) => Senders::VERIFYING,
            LinkState::Established(_) => Senders::ESTABLISHED,
        };
        if self.scope == Scope::Loopback { class | Senders::LOCAL } else { class }
    }

    /// Returns who is scored and banned for this link; `None`: on this host.
    pub(crate) fn scored(&self) -> Option<Scored> {
        self.authenticated.map(Scored::Node).or(self.address_group.map(Scored::AddressGroup))
    }

    /// Returns the group of the other end, as the source of what it says.
    pub(crate) fn group(&self) -> SourceGroup {
        self.address_group.map_or(SourceGroup::Host, SourceGroup::AddressGroup)
    }

    /// Returns by what the native peer at the other end counts as one.
    pub(crate) fn key(&self) -> Option<PeerKey> {
        self.native().map(|peer| self.key_of(peer.id, peer.proved))
    }

    /// Returns by what a node that names this id on this link counts as one.
    pub(crate) fn key_of(&self, node: NodeId, proved: bool) -> PeerKey {
        if proved { PeerKey::Proved(node) } else { PeerKey::Claimed(node, self.address_group) }
    }

    /// Returns whether the native peer at the other end has proved its id.
    pub(crate) fn is_proved(&self) -> bool {
        self.native().is_some_and(|peer| peer.proved)
    }

    /// Returns the id and the session of the native peer at the other end, also of one on standby.
    pub(crate) fn run(&self) -> Option<(NodeId, Session)> {
        match &self.state {
            LinkState::Standby(peer) => Some((peer.id, peer.session)),
            _ => self.native().map(|peer| (peer.id, peer.session)),
        }
    }

    fn native_mut(&mut self) -> Option<&mut NativePeer> {
        match &mut self.state {
            LinkState::HelloSent(peer) | LinkState::Verifying(peer) | LinkState::Established(peer) => Some(peer),
            _ => None,
        }
    }

    /// Returns what a peer without a slot said of itself, on an accepted link.
    pub(crate) fn pending(&self) -> Option<&NodeInfo> {
        match &self.state {
            LinkState::AwaitingAdmission(pending) => pending.node.as_deref(),
            _ => None,
        }
    }

    /// Returns the native peer at the other end once its HANDSHAKE came: only then is its network
    /// known to be ours.
    pub(crate) fn introduced(&self) -> Option<&NativePeer> {
        match &self.state {
            LinkState::Verifying(peer) | LinkState::Established(peer) => Some(peer),
            _ => None,
        }
    }

    /// Returns whether this is the node at the other end, which has introduced itself and proved
    /// it.
    pub(crate) fn is_own(&self, node: NodeId) -> bool {
        self.introduced().is_some_and(|peer| peer.id == node && peer.proved)
    }

    /// Returns whether we gave it up: it was closed for another reason than that it seemed dead.
    pub(crate) fn is_released(&self) -> bool {
        self.closing && !self.dead
    }

    /// Returns whether an exercise peer is at the other end.
    pub(crate) fn is_exercise(&self) -> bool {
        matches!(self.state, LinkState::ExerciseInbound { .. } | LinkState::ExerciseOutbound { .. })
    }

    /// Returns the address of the exercise peer at the other end, if it is known.
    pub(crate) fn exercise_address(&self) -> Option<&PeerAddress> {
        match &self.state {
            LinkState::ExerciseInbound { address } => address.as_ref(),
            LinkState::ExerciseOutbound { address } => Some(address),
            _ => None,
        }
    }

    /// Returns whether the exercise peer that names its address on this link may be the one that we
    /// dialled there on another. Anybody can name an address: both other ends must have the same IP
    /// address.
    pub(crate) fn is_exercise_peer_at(&self, dialled: &Link) -> bool {
        let address = self.exercise_address();
        address.is_some()
            && address == dialled.exercise_address()
            && IpPrefix::address_group(self.remote) == IpPrefix::address_group(dialled.remote)
    }

    /// Returns an address that we saw to lead to the peer at the other end.
    pub(crate) fn verified_address(&self) -> Option<&PeerAddress> {
        match &self.state {
            LinkState::ExerciseOutbound { address } => Some(address),
            _ => self.native()?.any_address(),
        }
    }

    /// Returns the verified address that a native peer of this scope is told: by WebSocket if that
    /// makes sense there, otherwise by id.
    pub(crate) fn address_for(&self, scope: Scope) -> Option<&PeerAddress> {
        let wan = || self.native().and_then(|peer| peer.wan.as_ref());
        self.verified_address().filter(|address| scope.may_tell(address.scope())).or_else(wan)
    }

    /// Returns whether an address is known to lead to the peer at the other end.
    pub(crate) fn is_at(&self, address: &PeerAddress) -> bool {
        match self.native() {
            Some(peer) => peer.address.as_ref() == Some(address) || peer.wan.as_ref() == Some(address),
            None => self.verified_address() == Some(address),
        }
    }

    /// Notes that an address leads to the native peer at the other end. Of WebSocket addresses the
    /// first one stays, of its id the last one, which has its present relays.
    pub(crate) fn confirm_address(&mut self, address: &PeerAddress) {
        match self.native_mut() {
            Some(peer) if address.node().is_some() => peer.wan = Some(address.clone()),
            Some(peer) => _ = peer.address.get_or_insert_with(|| address.clone()),
            None => {}
        }
    }

    /// Returns the id and the address of the other end, for events and logs.
    pub(crate) fn name(&self) -> PeerName {
        match &self.state {
            LinkState::AwaitingAdmission(pending) => {
                let claimed = pending.node.as_ref().and_then(|node| node.address.clone());
                PeerName { node: Some(pending.id), address: self.dialled.clone().or(claimed) }
            }
            LinkState::Standby(peer)
            | LinkState::HelloSent(peer)
            | LinkState::Verifying(peer)
            | LinkState::Established(peer) => PeerName { node: Some(peer.id), address: peer.any_address().cloned() },
            LinkState::ExerciseInbound { .. } | LinkState::ExerciseOutbound { .. } => {
                PeerName { node: None, address: self.exercise_address().cloned() }
            }
            LinkState::Client => PeerName { node: None, address: self.dialled.clone() },
        }
    }

    /// Notes that a transaction goes out on this link, whose id is `link`, to an exercise peer. A
    /// mark follows.
    pub(crate) fn note_payload(&mut self, cx: &mut Context, link: LinkId) {
        self.first_payload.get_or_insert(cx.now);
        if std::mem::replace(&mut self.unmarked, true) {
            return;
        }
        let (at, timer) = (cx.now + MARK_DELAY, Timer::Exercise(link));
        self.mark_due = Some(at);
        if cx.timers.due(&timer).is_none_or(|due| at < due) {
            cx.timers.set(timer, at);
        }
    }

    /// Returns whether it counts as a link to a peer, also when it is closing.
    pub(crate) fn is_peer(&self) -> bool {
        matches!(self.state, LinkState::Established(_) | LinkState::ExerciseOutbound { .. })
    }

    /// Returns whether transactions go out on this link: to native peers of our network, and to
    /// exercise peers on links that we dialled.
    pub(crate) fn takes_transactions(&self) -> bool {
        !self.closing && self.is_peer()
    }
}

/// All open links, in the order in which they were opened.
#[derive(Debug, Default)]
pub(crate) struct LinkTable {
    all: BTreeMap<LinkId, Link>,
    /// Every link of each native peer, the oldest first. A hash map, as every transaction looks it
    /// up; its order reaches no output.
    nodes: HashMap<PeerKey, BTreeSet<LinkId>, RandomState>,
    /// How many native peers have more than one link.
    doubles: usize,
}

impl LinkTable {
    pub(crate) fn open(
        &mut self,
        id: LinkId,
        remote: IpAddr,
        dialled: Option<PeerAddress>,
        state: LinkState,
        now: Instant,
    ) {
        let link = Link {
            dialled,
            remote,
            authenticated: None,
            scope: Scope::of(remote),
            address_group: IpPrefix::address_group(remote),
            score: Score::new(now),
            opened: now,
            brought: 0,
            heard: now,
            claimed: None,
            state,
            flow: Delivery::Live,
            first_payload: None,
            withheld: false,
            acknowledged: None,
            marks: VecDeque::new(),
            unanswered: None,
            unmarked: false,
            mark_due: None,
            acks_due: 0,
            judged: false,
            refused: None,
            closing: false,
            dead: false,
        };
        self.all.insert(id, link);
    }

    /// Notes that the transport proves the node at the other end of a link that was just opened.
    ///
    /// Such a link is public whatever its IP address: a relay on this host, or a path over
    /// loopback, gives no rights. So it counts for an address group on this host too.
    pub(crate) fn authenticate(&mut self, id: LinkId, node: NodeId) {
        if let Some(link) = self.all.get_mut(&id) {
            link.authenticated = Some(node);
            link.scope = Scope::Public;
            link.address_group = Some(IpPrefix::address_group_anywhere(link.remote));
        }
    }

    /// Changes a link to one of the states of a native peer: it counts as a link to that peer for
    /// as long as it lives.
    pub(crate) fn set_native(&mut self, id: LinkId, state: LinkState) {
        if let Some(link) = self.all.get_mut(&id) {
            let before = link.key();
            link.state = state;
            let after = link.key();
            if before != after {
                self.uncount(id, before);
            }
            let Some(peer) = after else { return };
            let links = self.nodes.entry(peer).or_default();
            self.doubles += usize::from(links.insert(id) && links.len() == 2);
        }
    }

    fn uncount(&mut self, id: LinkId, peer: Option<PeerKey>) {
        if let Some(peer) = peer
            && let Some(links) = self.nodes.get_mut(&peer)
        {
            self.doubles -= usize::from(links.remove(&id) && links.len() == 1);
            if links.is_empty() {
                self.nodes.remove(&peer);
            }
        }
    }

    /// Iterates over the accepted links that have a slot.
    pub(crate) fn accepted(&self) -> impl Iterator<Item = (LinkId, &Link)> {
        self.iter().filter(|(_, link)| link.dialled.is_none() && !link.closing && link.refused.is_none())
    }

    pub(crate) fn get(&self, id: LinkId) -> Option<&Link> {
        self.all.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: LinkId) -> Option<&mut Link> {
        self.all.get_mut(&id)
    }

    pub(crate) fn remove(&mut self, id: LinkId) -> Option<Link> {
        let link = self.all.remove(&id)?;
        self.uncount(id, link.key());
        Some(link)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (LinkId, &Link)> {
        self.all.iter().map(|(id, link)| (*id, link))
    }

    /// Notes that a link, or every link, was not read for a while: its silence does not count.
    pub(crate) fn excuse(&mut self, now: Instant, link: Option<LinkId>) {
        let unread = self.all.iter_mut().filter(|(id, _)| link.is_none_or(|link| link == **id));
        unread.for_each(|(_, link)| link.heard = now);
    }

    /// Sets whether the application judges transactions of a link whose ACKs are due.
    pub(crate) fn set_judged(&mut self, link: LinkId, judged: bool) {
        if let Some(open) = self.get_mut(link) {
            open.judged = judged;
        }
    }

    /// Returns the link to a node that has proved its id, other than `except`; of two the older.
    pub(crate) fn to_node(&self, node: NodeId, except: Option<LinkId>) -> Option<(LinkId, &NativePeer)> {
        self.to_peer(PeerKey::Proved(node), except)
    }

    /// Returns the link to a native peer, other than `except`; of two the older.
    pub(crate) fn to_peer(&self, peer: PeerKey, except: Option<LinkId>) -> Option<(LinkId, &NativePeer)> {
        let links = self.nodes.get(&peer)?.iter().filter(|id| Some(**id) != except);
        links
            .filter_map(|id| Some((*id, self.get(*id).filter(|link| !link.closing)?)))
            .find_map(|(id, link)| link.native().map(|peer| (id, peer)))
    }

    /// Returns whether a native peer has more than one link.
    pub(crate) fn has_doubles(&self) -> bool {
        self.doubles > 0
    }

    /// Returns how many native peers are linked, each counted once.
    pub(crate) fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// Returns the ids of the native peers that are linked and have proved them.
    pub(crate) fn native_ids(&self) -> BTreeSet<NodeId> {
        let open = self.iter().filter(|(_, link)| !link.closing);
        open.filter_map(|(_, link)| link.native().filter(|peer| peer.proved)).map(|peer| peer.id).collect()
    }

    /// Returns the scope and the group of the other end of a link, as the source of an address.
    pub(crate) fn source_of(&self, link: LinkId) -> (Scope, SourceGroup) {
        self.get(link).map_or((Scope::Public, SourceGroup::Host), |link| (link.scope, link.group()))
    }

    /// Returns whose share the entries count for that a link brings; those of the application have
    /// no link.
    pub(crate) fn party_of(&self, link: Option<LinkId>) -> Party {
        let Some(open) = link.and_then(|link| self.get(link)) else { return OURSELVES };
        party(open.group(), open.run().map(|(node, _)| node))
    }

    /// Returns the scope of the other end of a link.
    pub(crate) fn scope_of(&self, link: LinkId) -> Scope {
        self.get(link).map_or(Scope::Public, |link| link.scope)
    }

    /// Returns the id and the address of the other end of a link, for events and logs.
    pub(crate) fn name_of(&self, link: LinkId) -> PeerName {
        self.get(link).map_or(PeerName { node: None, address: None }, Link::name)
    }

    /// Notes that a message came on a link, and returns the link; `None` if it is closing.
    pub(crate) fn receive(&mut self, now: Instant, link: LinkId) -> Option<&Link> {
        let link = self.get_mut(link).filter(|link| !link.closing)?;
        link.heard = now;
        Some(link)
    }

    /// Notes that something was received on a link.
    pub(crate) fn hear(&mut self, now: Instant, link: LinkId) {
        if let Some(link) = self.get_mut(link) {
            link.heard = now;
        }
    }

    /// Has a link closed once its queue is sent. Nothing more is sent or handled on it.
    pub(crate) fn close(&mut self, cx: &mut Context, link: LinkId, code: u16, reason: &str) {
        let Some(open) = self.get_mut(link) else { return };
        if !std::mem::replace(&mut open.closing, true) {
            let mut reason = reason.to_owned();
            reason.truncate(reason.floor_char_boundary(limits::CLOSE_REASON_BYTES));
            cx.output(Output::Close { link, code, reason });
        }
    }

    /// Reports a fault of a peer for the debug log, without a penalty.
    pub(crate) fn log_fault(&self, cx: &mut Context, link: LinkId, text: String) {
        cx.notify(Event::PeerFault { link, peer: self.name_of(link), text });
    }

    /// Warns the user of a peer, at most once in a while: a stranger must not fill the log.
    pub(crate) fn warn(&self, cx: &mut Context, link: LinkId, text: String) {
        if cx.may_warn() {
            cx.notify(Event::Warning { text });
        } else {
            self.log_fault(cx, link, text);
        }
    }

    /// Returns how many peers are linked: each native peer once, each exercise peer by the link
    /// that we dialled.
    pub(crate) fn peers(&self) -> usize {
        let open = || self.all.values().filter(|link| link.takes_transactions());
        let mut native: Vec<PeerKey> = open().filter_map(Link::key).collect();
        native.sort_unstable();
        native.dedup();
        native.len() + open().filter(|link| link.native().is_none()).count()
    }
}

#[cfg(test)]
mod tests;
