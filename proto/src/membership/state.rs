//! The state of membership. Each part is named after the module that decides with it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use crate::address::{PeerAddress, Scope};
use crate::connections::Connections;
use crate::connections::table::PeerKey;
use crate::context::Context;
use crate::dial_reason::DialReason;
use crate::id::{LinkId, NodeId};
use crate::ip_prefix::{IpPrefix, NetworkGroup, SourceGroup};
use crate::membership::partitions::Partitions;
use crate::peers::Peers;
use crate::util::log_throttle::Window;
use crate::util::rate_limit::RateLimit;

/// How long a node that was referred counts as one with a free slot.
const REFERRED_FRESH: Duration = Duration::from_secs(30);
/// How many declined nodes are logged within [`LOG_WINDOW`]: a flood of requests must not fill the
/// log.
const LOGGED: u32 = 20;
/// The window in which [`LOGGED`] lines are allowed.
const LOG_WINDOW: Duration = Duration::from_secs(10);
/// The shortest time between two background attempts. The time doubles with each refusal, and is
/// reset when a slot is won.
pub(super) const BACKGROUND_MIN: Duration = Duration::from_millis(500);
/// The longest time between two background attempts.
const BACKGROUND_MAX: Duration = Duration::from_secs(60);
/// How many hints are kept: four samples of eight addresses.
const HINTS: usize = 32;

/// How many source groups have a limit of their own at least; then those that spent nothing lately
/// are forgotten.
const GOSSIP_GROUPS: usize = 256;

/// The state of a node in the overlay.
#[derive(Debug)]
pub(crate) struct Membership {
    pub(super) slots: Slots,
    pub(super) search: SlotSearch,
    pub(super) partitions: Partitions,
    pub(super) bootstrap: Bootstrap,
    pub(super) rewiring: Rewiring,
    /// How many members of topics were asked for a link since enough were linked.
    pub(super) members_sought: u32,
    /// Links on which addresses were requested and have not come yet.
    pub(super) asked: BTreeSet<LinkId>,
    /// How many new addresses each source group may have dialled.
    pub(super) gossip: GossipLimits,
}

impl Membership {
    pub(crate) fn new(cx: &Context) -> Self {
        Self {
            slots: Slots::default(),
            search: SlotSearch::default(),
            partitions: Partitions::new(cx.config.session, cx.now),
            bootstrap: Bootstrap::default(),
            rewiring: Rewiring::default(),
            members_sought: 0,
            asked: BTreeSet::new(),
            gossip: GossipLimits::default(),
        }
    }
}

/// The slots of the active view: who is admitted, and who gets a slot of another.
#[derive(Debug)]
pub(crate) struct Slots {
    /// Nodes that were referred to others a moment ago: they have a free slot. A few at most.
    pub(super) referred: VecDeque<(PeerAddress, Instant)>,
    /// A slot is reserved until then for a node that names this one as its referrer.
    pub(super) reserved: Option<(NodeId, Instant)>,
    /// The exercise peers that lost their link, with the time until which their slots are held.
    pub(super) held: BTreeMap<PeerAddress, Instant>,
    /// The recent high priority requests that were probed: when, from which node, and the network
    /// of its link's path; `None` on this host.
    pub(super) priority_requests: VecDeque<(Instant, PeerKey, Option<IpPrefix>)>,
    /// The recent swaps: when, and the network group of the newcomer's address.
    pub(super) swapped_groups: VecDeque<(Instant, NetworkGroup)>,
    /// When a high priority request was last probed.
    pub(super) swapped: Option<Instant>,
    /// When the slot of an old link was last swapped.
    pub(super) swapped_old: Option<Instant>,
    pub(super) log: Window,
}

impl Default for Slots {
    fn default() -> Self {
        Self {
            referred: VecDeque::new(),
            reserved: None,
            held: BTreeMap::new(),
            priority_requests: VecDeque::new(),
            swapped_groups: VecDeque::new(),
            swapped: None,
            swapped_old: None,
            log: Window::new(LOGGED, LOG_WINDOW),
        }
    }
}

impl Slots {
    /// Notes that a node was referred to others.
    pub(crate) fn note_referred(&mut self, now: Instant, address: PeerAddress) {
        self.referred.retain(|(left, at)| *left != address && now.saturating_duration_since(*at) < REFERRED_FRESH);
        self.referred.truncate(7);
        self.referred.push_front((address, now));
    }

    /// Returns the nodes that were referred within the last [`REFERRED_FRESH`].
    pub(crate) fn lately_referred(&self, now: Instant) -> impl Iterator<Item = &PeerAddress> {
        let fresh = move |at: Instant| now.saturating_duration_since(at) < REFERRED_FRESH;
        self.referred.iter().filter(move |(_, at)| fresh(*at)).map(|(address, _)| address)
    }
}

/// The state of the search for slots.
#[derive(Debug)]
pub(crate) struct SlotSearch {
    /// Addresses that were just named: asked before all others, the first one first.
    pub(super) hints: VecDeque<PeerAddress>,
    /// How many refusals there were since a slot was won.
    pub(super) refusals: u32,
    /// The mean time between two background attempts.
    pub(super) interval: Duration,
    /// When the next background attempt is due.
    pub(super) background_at: Option<Instant>,
    /// Since when urgent attempts are counted, and how many there were.
    pub(super) urgent: Option<(Instant, u32)>,
    /// When a node that declined may be asked again before its time.
    pub(super) again_at: Option<Instant>,
    /// When a neighbor may be asked for addresses again.
    pub(super) next_ask: Option<Instant>,
    /// The address of the next shuffle, if it can be dialled then; `None`: a random one.
    pub(super) visit_next: Option<PeerAddress>,
    /// A node in another partition, or the new end of a moved link: dialled as soon as its address
    /// is idle. A slot is reserved for it until then.
    pub(super) healing: Option<(PeerAddress, Instant)>,
}

impl Default for SlotSearch {
    fn default() -> Self {
        Self {
            hints: VecDeque::new(),
            refusals: 0,
            interval: BACKGROUND_MIN,
            background_at: None,
            urgent: None,
            again_at: None,
            next_ask: None,
            visit_next: None,
            healing: None,
        }
    }
}

impl SlotSearch {
    /// Puts addresses before all others.
    pub(crate) fn hint(&mut self, addresses: &[PeerAddress]) {
        for address in addresses.iter().rev() {
            self.hints.retain(|hint| hint != address);
            self.hints.push_front(address.clone());
        }
        self.hints.truncate(HINTS);
    }

    /// Puts a node with a free slot before all others, and makes the next attempt due.
    pub(crate) fn hint_free_slot(&mut self, address: PeerAddress) {
        self.hint(&[address]);
        (self.interval, self.background_at) = (BACKGROUND_MIN, None);
    }

    /// Notes that a node had no slot for us.
    pub(crate) fn refused(&mut self) {
        self.refusals = self.refusals.saturating_add(1);
        self.interval = (self.interval * 2).min(BACKGROUND_MAX);
    }

    /// Returns whether a slot is reserved for the node in `healing`.
    pub(crate) fn is_healing(&self, now: Instant) -> bool {
        self.healing.as_ref().is_some_and(|(_, until)| now < *until)
    }

    /// Notes that a slot was won.
    pub(crate) fn placed(&mut self) {
        self.refusals = 0;
        self.interval = BACKGROUND_MIN;
    }
}

/// The progress of joining through the bootstrap node.
#[derive(Debug, Default)]
pub(crate) struct Bootstrap {
    /// Whether joining is under way: the other searches wait for it.
    pub(super) joining: bool,
    /// Whether it has begun; it does so once.
    pub(super) begun: bool,
    /// The addresses that the bootstrap node named and that were not tried yet.
    pub(super) named: VecDeque<PeerAddress>,
    /// The address that is being tried.
    pub(super) trying: Option<PeerAddress>,
}

impl Bootstrap {
    /// Makes other searches wait until joining is done.
    pub(crate) fn wait(&mut self) {
        self.joining = true;
    }

    /// Returns whether joining is under way.
    pub(crate) fn is_joining(&self) -> bool {
        self.joining
    }
}

/// The moves to come, and the walk under way.
#[derive(Debug, Default)]
pub(crate) struct Rewiring {
    /// How many links are still to be moved.
    pub(super) moves: u32,
    /// How many steps the walk has left.
    pub(super) steps: u32,
    /// How many dials it has left.
    pub(super) dials: u32,
    /// The last node on the walk: it does not go straight back.
    pub(super) last: Option<PeerAddress>,
    /// The new end of a moved link, the old end, and until when the move may fail.
    pub(super) moved: Option<(PeerAddress, PeerAddress, Instant)>,
}

/// The rate limits of new addresses, one for each source group. A peer with many links has one.
#[derive(Debug, Default)]
pub(super) struct GossipLimits(BTreeMap<SourceGroup, RateLimit>);

impl GossipLimits {
    /// Returns when a new address may be dialled that a peer named: at once for the first
    /// `gossip_burst`, then one per `gossip_interval`. Loopback addresses, which only loopback
    /// peers may name, are exempt.
    pub(super) fn reserve(&mut self, cx: &Context, group: SourceGroup, address: &PeerAddress) -> Instant {
        if address.scope() == Scope::Loopback {
            return cx.now;
        }
        let interval = cx.config.limits.gossip_interval;
        if self.0.len() >= GOSSIP_GROUPS && !self.0.contains_key(&group) {
            self.0.retain(|_, limit| limit.spend(cx.now, Duration::ZERO, Duration::ZERO).is_err());
        }
        let burst = interval * cx.config.limits.gossip_burst.max(1);
        self.0.entry(group).or_default().reserve(cx.now, interval, burst)
    }
}

/// Dials an address for a reason; returns `false` if it is in use, or may not be dialled now.
pub(super) fn dial_for(
    cx: &mut Context,
    peers: &mut Peers,
    conns: &Connections,
    address: &PeerAddress,
    reason: DialReason,
) -> bool {
    if conns.leads_to_linked(cx, &mut peers.book, address) {
        return false;
    }
    let Peers { book, dialer, reputation, .. } = peers;
    dialer.dial_for(cx, book, reputation, &|link| conns.unverified(link), address, reason)
}

#[cfg(test)]
mod tests;
