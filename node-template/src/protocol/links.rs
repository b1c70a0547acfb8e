//! The open links: who is at the other end, what was said, how the flow of transactions stands.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Instant;

use foldhash::fast::RandomState;

use super::address::{PeerAddress, Scope};
use super::conduct::{AddressGroup, Score};
use super::event::PeerName;
use super::identity::{LinkId, NodeId, Session};
use super::message::NodeInfo;

/// One open link.
#[derive(Debug)]
pub(super) struct Link {
    /// The address that we dialled; `None` for a link that we accepted.
    pub(super) dialled: Option<PeerAddress>,
    /// The other end's IP address.
    pub(super) remote: IpAddr,
    /// From how far away the other end comes: it decides which addresses it may tell.
    pub(super) scope: Scope,
    /// From where, as far as conduct is concerned; `None`: from this host.
    pub(super) group: Option<AddressGroup>,
    /// On this host: what its other end has done.
    pub(super) score: Score,
    /// Until when its GRAFTs are paid for (a virtual clock, as below).
    pub(super) grafts_used_until: Option<Instant>,
    /// When it was opened.
    pub(super) opened: Instant,
    /// How many transactions it brought that were new here.
    pub(super) brought: u64,
    /// Until when its requests for addresses are paid for (a virtual clock, as below).
    pub(super) joins_used_until: Option<Instant>,
    /// When anything was last heard on it.
    pub(super) heard: Instant,
    /// Who is at the other end.
    pub(super) role: Role,
    /// How transactions flow to the other end.
    pub(super) flow: Flow,
    /// When a person was last told that it is behind.
    pub(super) told_behind: Option<Instant>,
    /// When the first transaction went out on it.
    pub(super) first_payload: Option<Instant>,
    /// When the peer's word for new addresses is used up (a virtual clock, as in GCRA): `None` if it has not been used.
    pub(super) word_used_until: Option<Instant>,
    /// How many ACKs it is to be sent once the disk has what they are for.
    pub(super) acks_due: usize,
    /// Until when its questions in reconciliations are paid for (a virtual clock, as above).
    pub(super) asks_used_until: Option<Instant>,
    /// Whether we asked the shell to close it: nothing is sent or believed any more.
    pub(super) closing: bool,
}

/// Who is at the other end of a link.
#[derive(Debug)]
pub(super) enum Role {
    /// We dialled and find the node linked already by an older link: nothing is sent until that one has proved alive or dead.
    Candidate(FullPeer),
    /// It has not said yet: no HANDSHAKE came. Until it does it is a client.
    Client,
    /// A full peer without a place here: it has not been given one yet, or one of us only asks the other for addresses.
    Guest(Guest),
    /// A node of the exercise. On links that we accepted it speaks, on links that we dialled it listens.
    Plain {
        /// Where it can be dialled, as far as we can tell: what we dialled, or what its HANDSHAKE suggests.
        address: Option<PeerAddress>,
    },
    /// One of ours.
    Full(FullPeer),
}

/// A full peer, as one link shows it.
#[derive(Debug, Clone)]
pub(super) struct FullPeer {
    pub(super) id: NodeId,
    pub(super) session: Session,
    /// What we dialled, or what it claims and a probe confirmed.
    pub(super) address: Option<PeerAddress>,
    /// Whether its HANDSHAKE came: only then its network is known to be ours, and transactions flow.
    pub(super) greeted: bool,
    /// Whether our HANDSHAKE went out.
    pub(super) answered: bool,
}

/// A full peer without a place here.
#[derive(Debug)]
pub(super) struct Guest {
    pub(super) id: NodeId,
    /// What its HANDSHAKE said, on a link that we accepted …
    pub(super) node: Option<Box<NodeInfo>>,
    /// … and the addresses in it.
    pub(super) addresses: Vec<PeerAddress>,
    /// Whether it insists, and its address is being probed for that.
    pub(super) insists: bool,
}

/// How transactions flow to the other end of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    /// Each new one is pushed.
    Live,
    /// Each new one is pushed, and besides the pool is sent, up to where it stood when the comparison came.
    Syncing {
        /// Whether a new one did not fit.
        missed: bool,
    },
    /// A full peer's queue was full: new ones are not pushed until it has drained; then pools are compared, which finds what it missed.
    Skipping,
    /// A plain peer's queue was full: new ones are not pushed, it is fed from the pool as it drains.
    Behind {
        /// The position in the pool from which the present round feeds.
        from: u64,
        /// Of what waits for the disk this much is queued: a number in the order of acceptance …
        pushed: u64,
        /// … and this much if what was pushed last found room.
        trying: u64,
    },
}

impl Link {
    /// The full peer at the other end, once that is settled.
    pub(super) fn full(&self) -> Option<&FullPeer> {
        match &self.role {
            Role::Full(peer) => Some(peer),
            _ => None,
        }
    }

    /// How people know the other end.
    pub(super) fn name(&self) -> PeerName {
        match &self.role {
            Role::Full(peer) | Role::Candidate(peer) => PeerName { node: Some(peer.id), address: peer.address.clone() },
            Role::Plain { address } => PeerName { node: None, address: address.clone() },
            Role::Guest(guest) => {
                let claimed = guest.node.as_ref().and_then(|node| node.address.clone());
                PeerName { node: Some(guest.id), address: self.dialled.clone().or(claimed) }
            }
            Role::Client => PeerName { node: None, address: self.dialled.clone() },
        }
    }

    /// Whether transactions go out on this link at all: to full peers of our network, and to plain peers on links that we dialled.
    pub(super) fn takes_transactions(&self) -> bool {
        !self.closing
            && match &self.role {
                Role::Full(peer) => peer.greeted && peer.answered,
                Role::Plain { .. } => self.dialled.is_some(),
                Role::Candidate(_) | Role::Guest(_) | Role::Client => false,
            }
    }
}

/// All open links, in the order in which they were opened.
#[derive(Debug, Default)]
pub(super) struct Links {
    all: BTreeMap<LinkId, Link>,
    /// Every link of each full peer, the oldest first: asked for with each transaction. Its order reaches no output.
    nodes: HashMap<NodeId, BTreeSet<LinkId>, RandomState>,
    /// How many of them have more than one.
    doubles: usize,
}

impl Links {
    pub(super) fn open(&mut self, id: LinkId, remote: IpAddr, dialled: Option<PeerAddress>, role: Role, now: Instant) {
        let link = Link {
            dialled,
            remote,
            scope: Scope::of(remote),
            group: AddressGroup::of(remote),
            score: Score::new(now),
            grafts_used_until: None,
            opened: now,
            brought: 0,
            joins_used_until: None,
            heard: now,
            role,
            flow: Flow::Live,
            told_behind: None,
            first_payload: None,
            word_used_until: None,
            acks_due: 0,
            asks_used_until: None,
            closing: false,
        };
        self.all.insert(id, link);
    }

    /// The other end of a link is a full peer, from now on and for as long as the link lives.
    pub(super) fn set_full(&mut self, id: LinkId, peer: FullPeer) {
        if let Some(link) = self.all.get_mut(&id) {
            let links = self.nodes.entry(peer.id).or_default();
            self.doubles += usize::from(links.insert(id) && links.len() == 2);
            link.role = Role::Full(peer);
        }
    }

    pub(super) fn get(&self, id: LinkId) -> Option<&Link> {
        self.all.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: LinkId) -> Option<&mut Link> {
        self.all.get_mut(&id)
    }

    pub(super) fn remove(&mut self, id: LinkId) -> Option<Link> {
        let link = self.all.remove(&id)?;
        if let Some(peer) = link.full()
            && let Some(links) = self.nodes.get_mut(&peer.id)
        {
            self.doubles -= usize::from(links.remove(&id) && links.len() == 1);
            if links.is_empty() {
                self.nodes.remove(&peer.id);
            }
        }
        Some(link)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (LinkId, &Link)> {
        self.all.iter().map(|(id, link)| (*id, link))
    }

    /// A link, or every link, was not read for a while: its silence does not count.
    pub(super) fn excuse(&mut self, now: Instant, link: Option<LinkId>) {
        let unread = self.all.iter_mut().filter(|(id, _)| link.is_none_or(|link| link == **id));
        unread.for_each(|(_, link)| link.heard = now);
    }

    /// The link to a full peer, other than `except`; of two the older.
    pub(super) fn to_node(&self, node: NodeId, except: Option<LinkId>) -> Option<(LinkId, &FullPeer)> {
        let links = self.nodes.get(&node)?.iter().filter(|id| Some(**id) != except);
        links
            .filter_map(|id| Some((*id, self.get(*id).filter(|link| !link.closing)?)))
            .find_map(|(id, link)| link.full().map(|peer| (id, peer)))
    }

    /// Whether there is a full peer with more than one link.
    pub(super) fn has_doubles(&self) -> bool {
        self.doubles > 0
    }

    /// How many full peers there are links to, each once.
    pub(super) fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// How many nodes we are linked to: each full peer once, each plain peer by the link that we dialled.
    pub(super) fn peers(&self) -> usize {
        let open = || self.all.values().filter(|link| link.takes_transactions());
        let mut full: Vec<NodeId> = open().filter_map(Link::full).map(|peer| peer.id).collect();
        full.sort_unstable();
        full.dedup();
        full.len() + open().filter(|link| link.full().is_none()).count()
    }
}
