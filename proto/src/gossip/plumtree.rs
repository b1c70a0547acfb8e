//! Plumtree, with one tree per origin: each transaction and broadcast reaches each node once.
//!
//! Epidemic broadcast trees (Leitão, Pereira, Rodrigues 2007) have one tree for all senders. Here
//! each origin has its own: in a full mesh it is a star, with one hop and one copy. A tree grows by
//! itself:
//!
//! - The link that brings an origin's first transaction becomes its parent. A direct link to the
//!   origin always is.
//! - A copy on another link is answered with PRUNE: that neighbour sends nothing more of this
//!   origin.
//! - When the parent goes, GRAFT asks all neighbours to send again, and a comparison of pools finds
//!   what was missed.
//! - A direct link prunes all others with the first transaction. In a burst the copies would fill
//!   every queue before
//!   they could be answered one by one.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::connections::table::{Delivery, Link, LinkState, LinkTable, PeerKey};
use crate::context::Context;
use crate::gossip::trees::{TreeAction, Trees};
use crate::id::LinkId;
use crate::io::{Lane, Output};
use crate::limits;
use crate::timers::Timer;
use crate::trace::{SendDecision, TRACED_LINKS, Trace, TracedLink};
use crate::transaction::{IdSet, Origin, TransactionId};
use crate::util::rate_limit::RateLimits;
use crate::wire::{graft_frame, prune_frame};

/// How many WANTs of one link are searched for recent transactions at once, and how long one more
/// takes after that.
const LACKS_AT_ONCE: u32 = 20;
const LACKS_EVERY: Duration = Duration::from_millis(100);

/// How many GRAFTs a link is sent at once, and how long one more takes after that: half of what a
/// receiver takes. It drops more, and one of the previous release bans who sends it. A stranger
/// that makes trees and breaks them could otherwise make honest nodes ban each other.
const GRAFTS_AT_ONCE: u32 = limits::GRAFTS_AT_ONCE / 2;
const GRAFT_EVERY: Duration = Duration::from_millis(100);
/// What is more than that waits so long, and goes in one frame.
const GRAFTS_WAIT: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Debug)]
pub(crate) struct Plumtree {
    trees: Trees,
    /// How often the lack of each link's peer is looked at.
    lacks: RateLimits<LinkId>,
    /// How often each link is sent GRAFT.
    grafts: RateLimits<LinkId>,
    /// The links that are to be sent GRAFT later, and for which origins; more than fit into a frame
    /// are all. One set for all links: what one of them did not have to send again costs a copy.
    waiting: (BTreeSet<LinkId>, BTreeSet<Origin>),
}

impl Default for Plumtree {
    fn default() -> Self {
        let lacks = RateLimits::new(LACKS_EVERY, LACKS_AT_ONCE);
        let grafts = RateLimits::new(GRAFT_EVERY, GRAFTS_AT_ONCE);
        Self { trees: Trees::default(), lacks, grafts, waiting: Default::default() }
    }
}

/// The links to which a payload goes, in order.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Targets {
    pub(crate) links: Vec<LinkId>,
    /// Whether exercise peers are among them.
    pub(crate) exercise: bool,
}

impl Plumtree {
    /// Remembers the origin of a transaction that is new here.
    pub(crate) fn remember(&mut self, id: TransactionId, origin: &Origin) {
        self.trees.remember(id, origin);
    }

    /// Returns every link whose peer is not known to have a payload, or to get it on another link.
    /// What came with a comparison has no origin, and goes to exercise peers only: native peers
    /// find it by comparisons of their own.
    pub(crate) fn targets(
        &mut self,
        cx: &Context,
        links: &LinkTable,
        origin: Option<&Origin>,
        from: Option<LinkId>,
    ) -> Targets {
        let lazy = origin.map(|origin| self.trees.lazy(cx.now, origin)).unwrap_or_default();
        let mut choice = Choice::new(links, origin, from, lazy);
        let mut targets = Targets::default();
        for (id, link) in links.iter().filter(|(_, link)| link.takes_transactions()) {
            if choice.decide(id, link) == SendDecision::Sent {
                targets.exercise |= link.is_exercise();
                targets.links.push(id);
            }
        }
        targets
    }

    /// Returns what [`Self::targets`] decides about each link, for people.
    pub(crate) fn trace(
        &mut self,
        cx: &Context,
        links: &LinkTable,
        id: TransactionId,
        origin: Option<&Origin>,
        from: Option<LinkId>,
    ) -> Trace {
        let lazy = origin.map(|origin| self.trees.lazy(cx.now, origin)).unwrap_or_default();
        let mut choice = Choice::new(links, origin, from, lazy);
        let from = from.map(|link| (link, links.name_of(link)));
        let mut trace = Trace { id, origin: origin.cloned(), from, links: Vec::new(), more: 0, clients: 0 };
        for (id, link) in links.iter() {
            let decision = choice.decide(id, link);
            match link.state {
                LinkState::Client => trace.clients += 1,
                _ if trace.links.len() >= TRACED_LINKS => trace.more += 1,
                _ => trace.links.push(TracedLink { link: id, peer: link.name(), decision }),
            }
        }
        trace
    }

    /// Handles the first copy of a transaction or broadcast. What a client or the application
    /// brings is our own, and has no parent.
    pub(crate) fn on_first_copy(&mut self, cx: &mut Context, links: &LinkTable, origin: &Origin, from: Option<LinkId>) {
        let peer = |link: &LinkId| links.get(*link).is_some_and(|link| !matches!(link.state, LinkState::Client));
        let Some(link) = from.filter(peer).filter(|_| *origin != Origin::Node(cx.config.node)) else { return };
        let action = match direct_link(links, origin) {
            None => self.trees.on_first_copy(cx.now, origin, link),
            Some(direct) => {
                self.adopt_direct(cx, links, origin, direct);
                if direct == link { TreeAction::Nothing } else { self.trees.on_copy(cx.now, origin, link) }
            }
        };
        self.act(cx, links, action, origin);
    }

    /// Handles another copy of a transaction or broadcast, which names an origin.
    pub(crate) fn on_copy(&mut self, cx: &mut Context, links: &LinkTable, link: LinkId, origin: &Origin) {
        let Some(sender) = links.get(link).filter(|link| !link.closing).and_then(Link::native) else { return };
        if *origin == Origin::Node(sender.id) || *origin == Origin::Node(cx.config.node) {
            return;
        }
        if let Some(direct) = direct_link(links, origin) {
            self.adopt_direct(cx, links, origin, direct);
        }
        let action = self.trees.on_copy(cx.now, origin, link);
        self.act(cx, links, action, origin);
    }

    /// Makes the direct link to an origin its parent, and prunes all other neighbours at once.
    fn adopt_direct(&mut self, cx: &mut Context, links: &LinkTable, origin: &Origin, direct: LinkId) {
        let Some(action) = self.trees.adopt_direct(cx.now, origin, direct) else { return };
        self.act(cx, links, action, origin);
        for other in neighbours(links, Some(direct)) {
            let action = self.trees.prune(cx.now, origin, other);
            self.act(cx, links, action, origin);
        }
    }

    /// Handles PRUNE: the peer wants nothing more of these origins.
    pub(crate) fn on_prune(&mut self, cx: &mut Context, links: &LinkTable, link: LinkId, origins: &[Origin]) {
        let mut pruned = Vec::new();
        // Our own transactions go to everybody: a node that prunes us looks like one that is cut
        // off.
        for origin in origins.iter().filter(|origin| **origin != Origin::Node(cx.config.node)) {
            let neighbour = direct_link(links, origin).is_some();
            if self.trees.on_prune(cx.now, origin, link, neighbour) {
                pruned.push(origin.clone());
            }
        }
        if !pruned.is_empty() {
            cx.output(Output::DropQueued { topic: None, link, origins: pruned });
        }
    }

    /// Handles GRAFT: the peer wants these origins again, or all if none is named. Returns whether
    /// a tree broke here as well, so that pools are to be compared.
    pub(crate) fn on_graft(&mut self, cx: &mut Context, links: &LinkTable, link: LinkId, origins: &[Origin]) -> bool {
        let Some(sender) = links.get(link).and_then(Link::native).map(|peer| peer.id) else { return false };
        let mut orphans = match origins {
            [] => self.trees.forget_link(link),
            some => some.iter().filter(|origin| self.trees.on_graft(origin, link)).cloned().collect(),
        };
        orphans.retain(|origin| *origin != Origin::Node(sender));
        self.repair(cx, links, &orphans, Some(link))
    }

    /// Handles a peer's lack of transactions that were pushed here a moment ago: it is cut off from
    /// their trees, or is kept from them. From now on we send it their origins.
    pub(crate) fn on_peer_lacks(&mut self, now: Instant, link: LinkId, ids: &[TransactionId]) {
        // The recent ones are searched from end to end, and one id is enough to ask for that.
        if ids.is_empty() || !self.lacks.allows(now, link) {
            return;
        }
        let lacking: IdSet = ids.iter().copied().collect();
        let origins: Vec<Origin> = self.trees.origins_of(&lacking).into_iter().cloned().collect();
        for origin in origins {
            self.trees.make_eager(&origin, link);
        }
    }

    /// Forgets a link that is closed. Returns whether a tree broke, so that pools are to be
    /// compared.
    pub(crate) fn on_link_closed(&mut self, cx: &mut Context, links: &LinkTable, link: LinkId) -> bool {
        self.lacks.remove(&link);
        self.grafts.remove(&link);
        self.waiting.0.remove(&link);
        let orphans = self.trees.forget_link(link);
        self.repair(cx, links, &orphans, None)
    }

    /// Asks all neighbours to send origins again that have lost their parents. Returns whether
    /// there are any such.
    fn repair(&mut self, cx: &mut Context, links: &LinkTable, orphans: &[Origin], except: Option<LinkId>) -> bool {
        if orphans.is_empty() || cx.shutting_down {
            return false;
        }
        self.graft(cx, neighbours(links, except), orphans);
        true
    }

    /// Sends the frame that a change in a tree calls for.
    fn act(&mut self, cx: &mut Context, links: &LinkTable, action: TreeAction, origin: &Origin) {
        let (link, graft) = match action {
            TreeAction::Nothing => return,
            TreeAction::Prune(link) => (link, false),
            TreeAction::Graft(link) => (link, true),
        };
        // An exercise peer may die of a message that it does not know.
        if links.get(link).is_none_or(|link| link.native().is_none() || link.closing) {
            return;
        }
        let origin = std::slice::from_ref(origin);
        if graft {
            self.graft(cx, vec![link], origin);
        } else {
            cx.counters.prunes_sent += 1;
            cx.send(vec![link], prune_frame(origin), Lane::Control);
        }
    }

    /// Asks links to send origins again: now, or later those that were sent too many GRAFTs.
    fn graft(&mut self, cx: &mut Context, mut links: Vec<LinkId>, origins: &[Origin]) {
        let (waiting, later) = &mut self.waiting;
        let all = links.len();
        links.retain(|link| {
            let at_once = !waiting.contains(link) && self.grafts.allows(cx.now, *link);
            if !at_once {
                waiting.insert(*link);
            }
            at_once
        });
        if links.len() < all {
            let room = (limits::ORIGINS + 1).saturating_sub(later.len());
            later.extend(origins.iter().take(room).cloned());
            if cx.timers.due(&Timer::Grafts).is_none() {
                cx.timers.set(Timer::Grafts, cx.now + GRAFTS_WAIT);
            }
        }
        send_grafts(cx, links, origins);
    }

    /// Sends the GRAFTs that waited.
    pub(crate) fn on_grafts_due(&mut self, cx: &mut Context) {
        let (links, origins) = std::mem::take(&mut self.waiting);
        send_grafts(cx, links.into_iter().collect(), &origins.into_iter().collect::<Vec<_>>());
    }
}

/// More origins than fit into one frame are all: naming them would fill the neighbours' control
/// lanes.
fn send_grafts(cx: &mut Context, links: Vec<LinkId>, origins: &[Origin]) {
    if !links.is_empty() {
        let named = if origins.len() > limits::ORIGINS { &[] } else { origins };
        cx.counters.grafts_sent += links.len() as u64;
        cx.send(links, graft_frame(named), Lane::Control);
    }
}

/// What decides on which links one payload goes out.
struct Choice<'a> {
    origin: Option<&'a Origin>,
    /// The link that brought it.
    from: Option<LinkId>,
    source: Option<&'a Link>,
    /// The peer that brought it.
    bringer: Option<PeerKey>,
    lazy: &'a [LinkId],
    /// Whether a peer has more than one link.
    doubles: bool,
    /// The peers that were decided about. A set: with a thousand links, a list would be searched a
    /// thousand times for each transaction.
    nodes: BTreeSet<Option<PeerKey>>,
}

impl<'a> Choice<'a> {
    fn new(links: &'a LinkTable, origin: Option<&'a Origin>, from: Option<LinkId>, lazy: &'a [LinkId]) -> Self {
        let source = from.and_then(|link| links.get(link));
        let bringer = source.and_then(Link::key);
        Self { origin, from, source, bringer, lazy, doubles: links.has_doubles(), nodes: BTreeSet::new() }
    }

    /// Decides about a link. Called for each that takes transactions, in their order.
    #[inline]
    fn decide(&mut self, id: LinkId, link: &Link) -> SendDecision {
        if Some(id) == self.from {
            return SendDecision::Brought;
        }
        if link.closing {
            return SendDecision::Closing;
        }
        if matches!(link.flow, Delivery::Replaying { .. } | Delivery::Lagging) {
            return SendDecision::Behind;
        }
        match &link.state {
            LinkState::Established(peer) => {
                if self.doubles && !self.nodes.insert(link.key()) {
                    SendDecision::SecondLink
                } else if self.bringer.is_some() && self.bringer == link.key() {
                    SendDecision::Brought
                } else if let Some(origin) = self.origin {
                    match origin {
                        Origin::Node(node) if *node == peer.id => SendDecision::Origin,
                        _ if self.lazy.binary_search(&id).is_ok() => SendDecision::Pruned,
                        _ => SendDecision::Sent,
                    }
                } else {
                    SendDecision::Compares
                }
            }
            LinkState::ExerciseOutbound { .. } => {
                // An exercise peer's own link to us is not the one on which it listens.
                if self.source.is_some_and(|source| source.is_exercise_peer_at(link)) {
                    SendDecision::Brought
                } else if link.withheld {
                    SendDecision::Withheld
                } else {
                    SendDecision::Sent
                }
            }
            LinkState::ExerciseInbound { .. } => SendDecision::ReadsElsewhere,
            // No transactions go out on the others.
            _ => SendDecision::NotLinked,
        }
    }
}

/// Returns the direct link to an origin: to the node that has proved to be it.
fn direct_link(links: &LinkTable, origin: &Origin) -> Option<LinkId> {
    let Origin::Node(node) = origin else { return None };
    let (link, _) = links.to_node(*node, None)?;
    links.get(link).filter(|link| link.takes_transactions()).map(|_| link)
}

/// Returns the links to native peers, except one.
fn neighbours(links: &LinkTable, except: Option<LinkId>) -> Vec<LinkId> {
    let others = links.iter().filter(|(id, _)| Some(*id) != except);
    others.filter(|(_, link)| link.native().is_some() && link.takes_transactions()).map(|(id, _)| id).collect()
}

#[cfg(test)]
mod tests;
