//! The open links: who is at the other end, what was said, how the flow of transactions stands.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Instant;

use foldhash::fast::RandomState;

use crate::address::{PeerAddress, Scope};
use crate::context::Context;
use crate::event::{Event, PeerName};
use crate::id::{LinkId, NodeId, Session};
use crate::ip_prefix::IpPrefix;
use crate::peers::reputation::Score;
use crate::wire::NodeInfo;
use crate::{Output, limits};

/// One open link.
#[derive(Debug)]
pub(crate) struct Link {
    /// The address that we dialled; `None` for a link that we accepted.
    pub(crate) dialled: Option<PeerAddress>,
    /// The other end's IP address.
    pub(crate) remote: IpAddr,
    /// From how far away the other end comes: it decides which addresses it may tell.
    pub(crate) scope: Scope,
    /// From where, as far as conduct is concerned; `None`: from this host.
    pub(crate) subscriber: Option<IpPrefix>,
    /// On this host: what its other end has done.
    pub(crate) score: Score,
    /// When it was opened.
    pub(crate) opened: Instant,
    /// How many transactions it brought that were new here.
    pub(crate) brought: u64,
    /// Until when its requests for addresses are paid for (a virtual clock, as below).
    pub(crate) joins_used_until: Option<Instant>,
    /// When anything was last heard on it.
    pub(crate) heard: Instant,
    /// Who is at the other end.
    pub(crate) state: LinkState,
    /// How transactions flow to the other end.
    pub(crate) flow: Delivery,
    /// To an exercise peer: when the first transaction went out on it.
    pub(crate) first_payload: Option<Instant>,
    /// To an exercise peer that drops its link at every TRANSACTION: until when it gets none.
    pub(crate) handshakes_only_until: Option<Instant>,
    /// When the peer's word for new addresses is used up (a virtual clock, as in GCRA): `None` if it has not been used.
    pub(crate) word_used_until: Option<Instant>,
    /// How many ACKs it is to be sent once the disk has what they are for.
    pub(crate) acks_due: usize,
    /// Whether we asked the shell to close it: nothing is sent or believed any more.
    pub(crate) closing: bool,
}

/// Who is at the other end of a link, and how far its handshake has come. What a link was still counts when it closes,
/// so [`Link::closing`] stands beside it.
#[derive(Debug)]
pub(crate) enum LinkState {
    /// Accepted; no HANDSHAKE came. Until one does it is a client.
    Client,
    /// Accepted from an exercise peer, which speaks on it.
    ExerciseInbound {
        /// Where it can be dialled, as far as its HANDSHAKE suggests.
        address: Option<PeerAddress>,
    },
    /// Dialled to an exercise peer, which listens on it.
    ExerciseOutbound { address: PeerAddress },
    /// Dialled, while an older link to the same node is open: nothing is sent until that one proved alive or dead.
    Standby(NativePeer),
    /// A native peer without a slot: it has none yet, or one end only asks the other for addresses.
    AwaitingAdmission(PendingPeer),
    /// Dialled; our HANDSHAKE went out, its own has not come.
    HelloSent(NativePeer),
    /// Accepted; its HANDSHAKE came and its address is being verified, ours has not gone out.
    Verifying(NativePeer),
    /// Both HANDSHAKEs went their way: transactions flow.
    Established(NativePeer),
}

/// A native peer, as one link shows it.
#[derive(Debug, Clone)]
pub(crate) struct NativePeer {
    pub(crate) id: NodeId,
    pub(crate) session: Session,
    /// What we dialled, or what it claims and a probe confirmed.
    pub(crate) address: Option<PeerAddress>,
}

/// A native peer without a slot.
#[derive(Debug)]
pub(crate) struct PendingPeer {
    pub(crate) id: NodeId,
    /// On a link that we accepted: what its HANDSHAKE said.
    pub(crate) node: Option<Box<NodeInfo>>,
    /// On a link that we accepted: the addresses in its HANDSHAKE.
    pub(crate) addresses: Vec<PeerAddress>,
    /// Whether it requests a slot with high priority, and its address is being probed for that.
    pub(crate) requests_priority: bool,
}

/// How transactions flow to the other end of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// Each new one is pushed.
    Live,
    /// Each new one is pushed, and besides the pool is sent, up to where it stood when the comparison came.
    Syncing {
        /// Whether a new one did not fit.
        missed: bool,
    },
    /// A full peer's queue was full: new ones are not pushed until it has drained; then pools are compared, which finds what it missed.
    Lagging,
    /// A plain peer's queue was full: new ones are not pushed, it is fed from the pool as it drains.
    Replaying {
        /// The position in the pool from which the present round feeds.
        from: u64,
        /// Of what waits for the disk this much is queued: a number in the order of acceptance …
        pushed: u64,
        /// … and this much if what was pushed last found room.
        trying: u64,
    },
}

impl Link {
    /// Returns the native peer at the other end, once no other link stands in its way.
    pub(crate) fn native(&self) -> Option<&NativePeer> {
        match &self.state {
            LinkState::HelloSent(peer) | LinkState::Verifying(peer) | LinkState::Established(peer) => Some(peer),
            _ => None,
        }
    }

    /// Returns the id and the run of the native peer at the other end, also of one on standby.
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

    /// Returns the native peer at the other end if its HANDSHAKE came: only then its network is known to be ours.
    pub(crate) fn introduced(&self) -> Option<&NativePeer> {
        match &self.state {
            LinkState::Verifying(peer) | LinkState::Established(peer) => Some(peer),
            _ => None,
        }
    }

    /// Returns whether an exercise peer is at the other end.
    pub(crate) fn is_exercise(&self) -> bool {
        matches!(self.state, LinkState::ExerciseInbound { .. } | LinkState::ExerciseOutbound { .. })
    }

    /// Returns where the exercise peer at the other end can be dialled, as far as we know.
    pub(crate) fn exercise_address(&self) -> Option<&PeerAddress> {
        match &self.state {
            LinkState::ExerciseInbound { address } => address.as_ref(),
            LinkState::ExerciseOutbound { address } => Some(address),
            _ => None,
        }
    }

    /// Returns an address that leads to the peer at the other end, as we saw ourselves.
    pub(crate) fn verified_address(&self) -> Option<&PeerAddress> {
        match &self.state {
            LinkState::ExerciseOutbound { address } => Some(address),
            _ => self.native()?.address.as_ref(),
        }
    }

    /// Notes that an address leads to the native peer at the other end; the first one stays.
    pub(crate) fn confirm_address(&mut self, address: &PeerAddress) {
        if let Some(peer) = self.native_mut() {
            peer.address.get_or_insert_with(|| address.clone());
        }
    }

    /// Returns how people know the other end.
    pub(crate) fn name(&self) -> PeerName {
        match &self.state {
            LinkState::AwaitingAdmission(pending) => {
                let claimed = pending.node.as_ref().and_then(|node| node.address.clone());
                PeerName { node: Some(pending.id), address: self.dialled.clone().or(claimed) }
            }
            LinkState::Standby(peer)
            | LinkState::HelloSent(peer)
            | LinkState::Verifying(peer)
            | LinkState::Established(peer) => PeerName { node: Some(peer.id), address: peer.address.clone() },
            LinkState::ExerciseInbound { .. } | LinkState::ExerciseOutbound { .. } => {
                PeerName { node: None, address: self.exercise_address().cloned() }
            }
            LinkState::Client => PeerName { node: None, address: self.dialled.clone() },
        }
    }

    /// Returns whether it counts as a link to a peer, also when it is closing.
    pub(crate) fn is_peer(&self) -> bool {
        matches!(self.state, LinkState::Established(_) | LinkState::ExerciseOutbound { .. })
    }

    /// Returns whether transactions go out on this link: to native peers of our network, and to exercise peers on links
    /// that we dialled.
    pub(crate) fn takes_transactions(&self) -> bool {
        !self.closing && self.is_peer()
    }
}

/// All open links, in the order in which they were opened.
#[derive(Debug, Default)]
pub(crate) struct LinkTable {
    all: BTreeMap<LinkId, Link>,
    /// Every link of each full peer, the oldest first: asked for with each transaction. Its order reaches no output.
    nodes: HashMap<NodeId, BTreeSet<LinkId>, RandomState>,
    /// How many of them have more than one.
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
            scope: Scope::of(remote),
            subscriber: IpPrefix::subscriber(remote),
            score: Score::new(now),
            opened: now,
            brought: 0,
            joins_used_until: None,
            heard: now,
            state,
            flow: Delivery::Live,
            first_payload: None,
            handshakes_only_until: None,
            word_used_until: None,
            acks_due: 0,
            closing: false,
        };
        self.all.insert(id, link);
    }

    /// Changes a link to one of the states of a native peer: it counts as a link to that peer for as long as it lives.
    pub(crate) fn set_native(&mut self, id: LinkId, state: LinkState) {
        if let Some(link) = self.all.get_mut(&id) {
            link.state = state;
            let Some(peer) = link.native().map(|peer| peer.id) else { return };
            let links = self.nodes.entry(peer).or_default();
            self.doubles += usize::from(links.insert(id) && links.len() == 2);
        }
    }

    pub(crate) fn get(&self, id: LinkId) -> Option<&Link> {
        self.all.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: LinkId) -> Option<&mut Link> {
        self.all.get_mut(&id)
    }

    pub(crate) fn remove(&mut self, id: LinkId) -> Option<Link> {
        let link = self.all.remove(&id)?;
        if let Some(peer) = link.native()
            && let Some(links) = self.nodes.get_mut(&peer.id)
        {
            self.doubles -= usize::from(links.remove(&id) && links.len() == 1);
            if links.is_empty() {
                self.nodes.remove(&peer.id);
            }
        }
        Some(link)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (LinkId, &Link)> {
        self.all.iter().map(|(id, link)| (*id, link))
    }

    /// A link, or every link, was not read for a while: its silence does not count.
    pub(crate) fn excuse(&mut self, now: Instant, link: Option<LinkId>) {
        let unread = self.all.iter_mut().filter(|(id, _)| link.is_none_or(|link| link == **id));
        unread.for_each(|(_, link)| link.heard = now);
    }

    /// The link to a full peer, other than `except`; of two the older.
    pub(crate) fn to_node(&self, node: NodeId, except: Option<LinkId>) -> Option<(LinkId, &NativePeer)> {
        let links = self.nodes.get(&node)?.iter().filter(|id| Some(**id) != except);
        links
            .filter_map(|id| Some((*id, self.get(*id).filter(|link| !link.closing)?)))
            .find_map(|(id, link)| link.native().map(|peer| (id, peer)))
    }

    /// Whether there is a full peer with more than one link.
    pub(crate) fn has_doubles(&self) -> bool {
        self.doubles > 0
    }

    /// How many full peers there are links to, each once.
    pub(crate) fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// Returns the ids of the native peers that are linked.
    pub(crate) fn native_ids(&self) -> BTreeSet<NodeId> {
        let open = self.iter().filter(|(_, link)| !link.closing);
        open.filter_map(|(_, link)| link.native()).map(|peer| peer.id).collect()
    }

    /// Returns from how far away the other end of a link comes.
    pub(crate) fn scope_of(&self, link: LinkId) -> Scope {
        self.get(link).map_or(Scope::Public, |link| link.scope)
    }

    /// Returns how people know the other end of a link.
    pub(crate) fn name_of(&self, link: LinkId) -> PeerName {
        self.get(link).map_or(PeerName { node: None, address: None }, Link::name)
    }

    /// Notes that something was received on a link.
    pub(crate) fn hear(&mut self, now: Instant, link: LinkId) {
        if let Some(link) = self.get_mut(link) {
            link.heard = now;
        }
    }

    /// Has a link closed once what is queued on it is sent. Nothing is sent or believed on it any more.
    pub(crate) fn close(&mut self, cx: &mut Context, link: LinkId, code: u16, reason: &str) {
        let Some(open) = self.get_mut(link) else { return };
        if !std::mem::replace(&mut open.closing, true) {
            let mut reason = reason.to_owned();
            reason.truncate(reason.floor_char_boundary(limits::CLOSE_REASON_BYTES));
            cx.output(Output::Close { link, code, reason });
        }
    }

    /// Reports what a peer did wrong, for the debug log. It costs the peer nothing.
    pub(crate) fn log_fault(&self, cx: &mut Context, link: LinkId, text: String) {
        cx.notify(Event::PeerFault { link, peer: self.name_of(link), text });
    }

    /// Warns a person of a peer, unless one was warned lately: what a stranger can cause must not fill the log.
    pub(crate) fn warn(&self, cx: &mut Context, link: LinkId, text: String) {
        if cx.may_warn() {
            cx.notify(Event::Warning { text });
        } else {
            self.log_fault(cx, link, text);
        }
    }

    /// How many nodes we are linked to: each full peer once, each plain peer by the link that we dialled.
    pub(crate) fn peers(&self) -> usize {
        let open = || self.all.values().filter(|link| link.takes_transactions());
        let mut full: Vec<NodeId> = open().filter_map(Link::native).map(|peer| peer.id).collect();
        full.sort_unstable();
        full.dedup();
        full.len() + open().filter(|link| link.native().is_none()).count()
    }
}
