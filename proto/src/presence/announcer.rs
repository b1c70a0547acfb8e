//! Who is in the network: each node announces itself now and then, and everybody keeps a table (`table.rs`), which `list.rs` shows.
//!
//! An ANNOUNCE is passed on plainly, without trees, to all full peers but those that stand in it as linked to its node: these have it first hand. It goes out when
//! a node's links have changed and settled, and besides the more seldom the greater the network is, so that what reaches a node does not grow with it. Who
//! comes in asks one neighbour at a time for what it knows; what is told so, and what is told on a new link, is not passed on.
//!
//! What is believed is signed by the node that it tells of; of a node that we are linked to, it comes on that link; of ourselves, we believe nothing; of all
//! others we take the newest, as fast and as much as `limits.rs` says. A signature is looked at last, when all else speaks for the announcement: of many copies that
//! go round one costs time. Nothing in the protocol depends on the table: it is for people.

use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::connections::table::{Delivery, Link};
use crate::event::{Event, PeerName};
use crate::id::{LinkId, NodeId};
use crate::presence::table::{Table, Verdict};
use crate::signature::Purpose;
use crate::timers::Timer;
use crate::violation::ViolationKind;
use crate::wire::{AnnounceFrame, Announcement, OtherSet, SyncFrame};
use crate::{Lane, Node, limits};

/// The shortest time between two announcements of a node without news …
const INTERVAL: Duration = Duration::from_secs(10);
/// … and how much of it there is for each node in the network: so each hears of one node in two seconds, however many there are.
const INTERVAL_PER_NODE: Duration = Duration::from_secs(2);
/// How long changed links have to settle before they are announced …
const SETTLE: Duration = Duration::from_millis(300);
/// … and how much longer for each node in the network, or, for a newcomer, each link of its own. In a full mesh nobody passes on an announcement that names all.
const SETTLE_PER_NODE: Duration = Duration::from_millis(50);
/// However often links change, after so many times the time to settle they are announced.
const SETTLES: u32 = 4;
/// How long a node to which no link leads any more, as far as we know, still counts as there.
const GONE_AFTER: Duration = Duration::from_secs(10);
/// How long the answer to the question for all nodes may take before another neighbour is asked.
const ASK_PATIENCE: Duration = Duration::from_secs(5);
/// How long a neighbour is not asked again.
const ASK_AGAIN: Duration = Duration::from_secs(60);
/// How many nodes are told at once to whoever asked for all …
const TOLD_AT_ONCE: usize = 64;
/// … and how long it is until the next.
const TELL_EVERY: Duration = Duration::from_millis(100);
/// How many announcements about others a link may bring at once …
const WORDS_AT_ONCE: u32 = 10_000;
/// … and how long one more takes after that.
const WORD_EVERY: Duration = Duration::from_millis(20);

/// What a node remembers of the network, and what it last said of itself.
#[derive(Debug)]
pub(crate) struct Presence {
    pub(crate) table: Table,
    /// Of its own, so that announcing leaves the other random choices as they are.
    rng: SmallRng,
    seq: u64,
    /// When we last announced ourselves to all.
    announced: Option<Instant>,
    /// Since when our links have changed without being announced.
    changed: Option<Instant>,
    /// Links on which we have yet to introduce ourselves, …
    owed: std::collections::BTreeSet<LinkId>,
    /// … and since when there are some; else when we last did so.
    introducing: Option<Instant>,
    /// When a neighbour was last asked for all nodes.
    asked: Option<Instant>,
    /// What is remembered of single links.
    talks: std::collections::BTreeMap<LinkId, Talk>,
}

/// What is remembered of a link's talk about nodes.
#[derive(Debug, Default)]
struct Talk {
    /// Until when its word is used up (a virtual clock, as in GCRA).
    word_used_until: Option<Instant>,
    /// When it was asked for all nodes.
    asked: Option<Instant>,
    /// It asked for all nodes: the last one that it was told, if any.
    telling: Option<Option<NodeId>>,
}

impl Presence {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            table: Table::default(),
            rng: SmallRng::seed_from_u64(seed ^ 0x616e_6e6f_756e_6365),
            seq: 0,
            announced: None,
            changed: None,
            owed: std::collections::BTreeSet::new(),
            introducing: None,
            asked: None,
            talks: std::collections::BTreeMap::new(),
        }
    }

    /// How many nodes are known to be in the network, ourselves included.
    pub(crate) fn count(&self) -> usize {
        self.table.len() + 1
    }

    /// How many nodes a node knows, by its own last word; `None` if none came.
    pub(crate) fn known_to(&self, node: NodeId) -> Option<u32> {
        self.table.get(node).map(|announcement| announcement.nodes)
    }
}

impl Node {
    /// How many nodes there are to be reckoned with: those that announced themselves, or, while most of our neighbours have not, those neighbours. Whoever links many times and
    /// says nothing must not have us tell all of them of each other, again and again, as if we were a handful.
    fn many(&self) -> usize {
        self.presence.count().max(self.connections.links.nodes())
    }

    /// What we say of ourselves.
    pub(crate) fn announcement(&self, left: bool) -> Announcement {
        let mut peers: Vec<NodeId> = self.neighbours().map(|(_, node)| node).collect();
        peers.sort_unstable();
        peers.dedup();
        peers.truncate(limits::ANNOUNCED_PEERS);
        let mut announcement = Announcement {
            node: self.cx.config.node,
            session: self.cx.config.session,
            address: Some(self.cx.config.address.clone()),
            since: self.cx.config.since,
            seq: self.presence.seq,
            peers,
            links: u32::try_from(self.connections.links.peers()).unwrap_or(u32::MAX),
            max_peers: self.cx.config.max_peers,
            nodes: u32::try_from(self.presence.count()).unwrap_or(u32::MAX),
            interval: u32::try_from(interval(self.many()).as_secs()).unwrap_or(u32::MAX),
            left,
            seal: None,
        };
        announcement.seal(&*self.cx.config.signer);
        announcement
    }

    /// The links to full peers that are open for all, and to whom; a node with two links twice.
    fn neighbours(&self) -> impl Iterator<Item = (LinkId, NodeId)> {
        let ready = self.connections.links.iter().filter(|(_, link)| link.takes_transactions());
        ready.filter_map(|(id, link)| link.native().map(|peer| (id, peer.id)))
    }

    /// One link to each neighbour but these, leaving out those that are behind.
    fn neighbours_but(&self, except: impl Fn(NodeId) -> bool) -> Vec<LinkId> {
        let mut nodes = std::collections::BTreeSet::new();
        let mut links = Vec::new();
        for (link, node) in self.neighbours() {
            let behind = self
                .connections
                .links
                .get(link)
                .is_some_and(|link| matches!(link.flow, Delivery::Replaying { .. } | Delivery::Lagging));
            if nodes.insert(node) && !except(node) && !behind {
                links.push(link);
            }
        }
        links
    }

    fn announces(&self) -> bool {
        self.cx.config.limits.presence_nodes > 0
    }

    /// A full peer is linked to us that was not before: it is told of us, all others when our links have settled. The first is told at once. Those that come soon after
    /// are told together, when no more come: by one announcement instead of one each, and not while links are still to be made.
    pub(crate) fn introduce_ourselves(&mut self, now: Instant, link: LinkId) {
        if !self.announces() {
            return;
        }
        let idle = self.presence.owed.is_empty();
        let quiet = self.presence.introducing.is_none_or(|at| now.saturating_duration_since(at) >= SETTLE);
        self.presence.owed.insert(link);
        if idle && quiet {
            self.on_introduce_due(now);
        } else {
            if idle {
                self.presence.introducing = Some(now);
            }
            let since = self.presence.introducing.unwrap_or(now);
            self.cx.timers.set(Timer::Introduce, (now + SETTLE).min(since + SETTLE * SETTLES));
        }
        self.presence_changed(now);
    }

    /// Those that were linked to us lately are told of us.
    pub(crate) fn on_introduce_due(&mut self, now: Instant) {
        let owed = std::mem::take(&mut self.presence.owed);
        let links: Vec<LinkId> = self.neighbours().map(|(link, _)| link).filter(|link| owed.contains(link)).collect();
        self.presence.introducing = Some(now);
        if !links.is_empty() {
            self.presence.seq += 1;
            let frame = AnnounceFrame { announcement: self.announcement(false), told: Some(Duration::ZERO) };
            self.send_announcement(links, &frame);
        }
    }

    /// Our links have changed.
    pub(crate) fn presence_changed(&mut self, now: Instant) {
        if !self.announces() || self.cx.shutting_down {
            return;
        }
        let many = match self.presence.announced {
            Some(_) => self.many(),
            None => self.connections.links.peers(),
        };
        let settle = settle(many);
        let changed = *self.presence.changed.get_or_insert(now);
        self.cx.timers.set(Timer::Announce, (now + settle).min(changed + settle * SETTLES));
        self.sweep_soon(now);
    }

    pub(crate) fn on_announce_due(&mut self, now: Instant) {
        self.presence.changed = None;
        let everybody = self.neighbours_but(|_| false);
        if everybody.is_empty() {
            // Without neighbours the next link brings the next announcement; else all of them are behind just now.
            if self.neighbours().next().is_some() {
                self.cx.timers.set(Timer::Announce, now + INTERVAL);
            }
            return;
        }
        self.presence.announced = Some(now);
        self.presence.owed.retain(|link| !everybody.contains(link));
        self.presence.seq += 1;
        let frame = AnnounceFrame { announcement: self.announcement(false), told: None };
        self.send_announcement(everybody, &frame);
        let wait = interval(self.many()).mul_f64(self.presence.rng.random_range(0.8..1.0));
        self.cx.timers.set(Timer::Announce, now + wait);
    }

    /// Says goodbye to the network.
    pub(crate) fn announce_leaving(&mut self) {
        let everybody = self.neighbours_but(|_| false);
        if self.announces() && !everybody.is_empty() {
            self.presence.seq += 1;
            let frame = AnnounceFrame { announcement: self.announcement(true), told: None };
            self.send_announcement(everybody, &frame);
        }
    }

    /// As payload: a lane that is full of announcements must not close its link.
    fn send_announcement(&mut self, links: Vec<LinkId>, frame: &AnnounceFrame) {
        if !links.is_empty() {
            self.cx.counters.announcements_sent += links.len() as u64;
            self.cx.send(links, frame.to_frame(self.cx.config.session), Lane::Payload);
        }
    }

    pub(crate) fn on_announce(&mut self, now: Instant, link: LinkId, frame: AnnounceFrame) {
        let Some(teller) = self.connections.links.get(link).and_then(Link::introduced).cloned() else {
            return self.fault(link, "ANNOUNCE: only full peers announce");
        };
        let AnnounceFrame { announcement, told } = frame;
        let node = announcement.node;
        let direct = node == teller.id;
        if direct && announcement.session != teller.session {
            self.cx.counters.announcements_refused += 1;
            return self.offend(
                link,
                ViolationKind::Contradiction,
                "ANNOUNCE: it names another session of itself than its HANDSHAKE",
            );
        }
        // Of ourselves nobody tells us anything, and a neighbour tells itself.
        if !self.announces()
            || node == self.cx.config.node
            || (!direct && self.connections.links.to_node(node, None).is_some())
        {
            self.cx.counters.announcements_old += 1;
            return;
        }
        if !direct && !self.may_tell_of_others(now, link) {
            self.cx.counters.announcements_refused += 1;
            return;
        }
        if direct {
            self.ask_for_nodes(now, link, announcement.nodes);
        }
        let heard = told.and_then(|age| now.checked_sub(age)).unwrap_or(now);
        match self.presence.table.judge(&announcement, direct, &self.cx.config.limits) {
            Verdict::Old => self.cx.counters.announcements_old += 1,
            Verdict::NoRoom => self.cx.counters.announcements_refused += 1,
            Verdict::News if !self.cx.config.signer.vouches(node, Purpose::Announce, announcement.seal.as_deref()) => {
                self.cx.counters.announcements_forged += 1;
                self.fault(link, "ANNOUNCE: the node that it names has not signed it");
            }
            Verdict::News => {
                self.cx.counters.announcements_accepted += 1;
                self.note_presence(announcement.clone(), heard);
                if told.is_none() {
                    let others = self.neighbours_but(|other| other == teller.id || announcement.peers.contains(&other));
                    self.send_announcement(others, &AnnounceFrame { announcement, told: None });
                }
                self.sweep_soon(now);
            }
        }
    }

    fn note_presence(&mut self, announcement: Announcement, heard: Instant) {
        let name = PeerName { node: Some(announcement.node), address: announcement.address.clone() };
        if announcement.left {
            let known = self.presence.table.bury(announcement.node, Some(&announcement));
            if known {
                self.cx.notify(Event::NodeLeft {
                    node: name,
                    cause: "it said goodbye".into(),
                    nodes: self.presence.count(),
                });
            }
        } else if self.presence.table.put(announcement, heard) {
            self.cx.notify(Event::NodeJoined { node: name, nodes: self.presence.count() });
        }
    }

    /// Whether a link may tell of one more other node.
    fn may_tell_of_others(&mut self, now: Instant, link: LinkId) -> bool {
        let talk = self.presence.talks.entry(link).or_default();
        let used = talk.word_used_until.unwrap_or(now).max(now) + WORD_EVERY;
        let allowed = used <= now + WORD_EVERY * WORDS_AT_ONCE;
        if allowed {
            talk.word_used_until = Some(used);
        }
        allowed
    }

    /// A neighbour knows so many nodes: if that is a good many more than we know, it is asked for them, unless another is just telling us.
    fn ask_for_nodes(&mut self, now: Instant, link: LinkId, theirs: u32) {
        let ours = self.presence.count();
        let since = |at: Option<Instant>| at.map_or(Duration::MAX, |at| now.saturating_duration_since(at));
        let talk = self.presence.talks.entry(link).or_default();
        let more = theirs as usize > ours + ours / 8;
        if more && since(self.presence.asked) >= ASK_PATIENCE && since(talk.asked) >= ASK_AGAIN {
            talk.asked = Some(now);
            self.presence.asked = Some(now);
            self.cx.send(vec![link], SyncFrame::Everything.to_frame_of(OtherSet::Nodes), Lane::Control);
        }
    }

    /// A newcomer asks for all nodes.
    pub(crate) fn on_sync_nodes(&mut self, now: Instant, link: LinkId, frame: &SyncFrame) {
        if self.connections.links.get(link).and_then(Link::native).is_none() {
            return self.fault(link, "SYNC: only full peers are told of nodes");
        }
        if *frame != SyncFrame::Everything || !self.may_ask(now, link) {
            return self.fault(link, "SYNC: the nodes are asked for as a whole, and seldom");
        }
        self.presence.talks.entry(link).or_default().telling.get_or_insert(None);
        self.on_tell_due(now);
    }

    /// Tells whoever asked for all nodes some more of them.
    pub(crate) fn on_tell_due(&mut self, now: Instant) {
        let asking = self.presence.talks.iter().filter_map(|(link, talk)| talk.telling.map(|last| (*link, last)));
        let asking: Vec<(LinkId, Option<NodeId>)> = asking.collect();
        let mut again = false;
        for (link, last) in asking {
            let some: Vec<(Announcement, Instant)> = self.presence.table.after(last, TOLD_AT_ONCE);
            let next = (some.len() == TOLD_AT_ONCE).then(|| some.last().map(|(announcement, _)| announcement.node));
            for (announcement, heard) in some {
                let told = Some(now.saturating_duration_since(heard));
                self.send_announcement(vec![link], &AnnounceFrame { announcement, told });
            }
            again |= next.is_some();
            if let Some(talk) = self.presence.talks.get_mut(&link) {
                talk.telling = next;
            }
        }
        if again {
            self.cx.timers.set(Timer::TellNodes, now + TELL_EVERY);
        }
    }

    pub(crate) fn forget_talk(&mut self, link: LinkId) {
        self.presence.talks.remove(&link);
        self.presence.owed.remove(&link);
    }

    /// Looks through the table in a moment, the later the greater it is.
    fn sweep_soon(&mut self, now: Instant) {
        let at = now + Duration::from_secs(1) + Duration::from_millis(self.presence.table.len() as u64);
        if self.cx.timers.due(&Timer::Sweep).is_none_or(|due| due > at) {
            self.cx.timers.set(Timer::Sweep, at);
        }
    }

    /// Who can not be reached over anybody's links any more, or was not heard of for too long, is gone.
    pub(crate) fn on_sweep_due(&mut self, now: Instant) {
        let neighbours: Vec<NodeId> = self.neighbours().map(|(_, node)| node).collect();
        // In a great network it takes longer until both sides have told of a link that moved.
        let gone_after = GONE_AFTER.max(settle(self.presence.count()) * SETTLES);
        let (gone, next) = self.presence.table.sweep(now, &neighbours, gone_after);
        for (node, cause) in gone {
            let name = self.name_of_node(node);
            if self.presence.table.bury(node, None) {
                self.cx.notify(Event::NodeLeft { node: name, cause: cause.into(), nodes: self.presence.count() });
            }
        }
        if let Some(next) = next {
            self.cx.timers.set(Timer::Sweep, next.max(now + Duration::from_secs(1)));
        }
    }

    /// How people know a node: by a link to it, or by what it announced.
    pub(crate) fn name_of_node(&self, node: NodeId) -> PeerName {
        let linked = self.connections.links.to_node(node, None).and_then(|(_, peer)| peer.address.clone());
        let address = linked.or_else(|| self.presence.table.get(node)?.address.clone());
        PeerName { node: Some(node), address }
    }
}

/// How long it is at most from one announcement of ours to the next where there are so many nodes.
fn interval(nodes: usize) -> Duration {
    INTERVAL.max(INTERVAL_PER_NODE * u32::try_from(nodes).unwrap_or(u32::MAX))
}

/// How long links have to settle where there are so many nodes.
fn settle(nodes: usize) -> Duration {
    SETTLE.max(SETTLE_PER_NODE * u32::try_from(nodes).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests;
