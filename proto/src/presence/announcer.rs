//! Announcements: when we send ours, which ones of others we believe, and to whom they are passed
//! on.
//!
//! An ANNOUNCE is flooded to all native peers, except to those that it names as linked to its node:
//! these have it from the node itself. A node announces itself when its links have changed and then
//! stayed the same for a while (debounce), and in intervals that grow with the network, so that
//! what reaches a node does not grow with it. A newcomer asks one neighbor at a time for all nodes.
//! Such an answer, and the first announcement on a new link, is not passed on. It has an age, which
//! nobody signed: one that is over by its age is ignored, and the first copy that came to be passed
//! on is.
//!
//! What is believed is signed by the node that it names. The announcement of a neighbor that has
//! proved its id must come on its own link, and of ourselves we believe nothing. Of all other nodes
//! we take the newest, within the limits of one link and of the table. Signatures are verified
//! last: a copy costs no time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use super::table::{Source, Table, Verdict, dialable, patience};
use crate::address::{PeerAddress, Scope};
use crate::causes::Departure;
use crate::connections::table::{Delivery, Link, LinkTable, Party, party};
use crate::context::Context;
use crate::event::{Event, PeerName};
use crate::frame::Frame;
use crate::id::{LinkId, NodeId};
use crate::internal_event::InternalEvent;
use crate::io::Lane;
use crate::ip_prefix::SourceGroup;
use crate::limits;
use crate::signature::Purpose;
use crate::timers::Timer;
use crate::topic_name::TopicName;
use crate::util::rate_limit::RateLimit;
use crate::violation::{Violation, ViolationKind};
use crate::wire::{AnnounceFrame, Announcement, OtherSet, SyncFrame};

/// The longest time between two announcements of a node is this …
const INTERVAL: Duration = Duration::from_secs(10);
/// … or this much for each node in the network, if that is longer: a node then hears of one node in
/// two seconds, however many there are.
const INTERVAL_PER_NODE: Duration = Duration::from_secs(2);
/// Links must stay the same for this long before they are announced …
const DEBOUNCE: Duration = Duration::from_millis(300);
/// … or for this long for each node in the network. A newcomer counts its own links instead. In a
/// full mesh an announcement that names all nodes is not passed on.
const DEBOUNCE_PER_NODE: Duration = Duration::from_millis(50);
/// Links that keep changing are announced after this many times the debounce time.
const DEBOUNCES: u32 = 4;
/// Intervals are made for at most this many nodes for each neighbor, those of one address group
/// counted once: nodes that only one neighbor knows of may be invented. In a network of 10,000 with
/// six slots a node then hears of 26 nodes in a second.
const NODES_PER_NEIGHBOR: usize = 32;
/// A node to which no chain of links leads stays in the table for this long.
const GONE_AFTER: Duration = Duration::from_secs(10);
/// The longest such time: the announcement of a link that moved is here by then.
const GONE_AFTER_MOST: Duration = Duration::from_secs(60);
/// A neighbor may take this long to send all nodes before another one is asked …
const REQUEST_PATIENCE: Duration = Duration::from_secs(5);
/// … and this long to send the first that we do not know: a round trip across the world takes less.
const ANSWER_PATIENCE: Duration = Duration::from_secs(1);
/// The same neighbor is not asked again for this long.
const REQUEST_AGAIN: Duration = Duration::from_secs(60);
/// A neighbor that asked for all nodes is sent this many at once …
const BATCH_NODES: usize = 64;
/// … and the next ones after this.
const BATCH_EVERY: Duration = Duration::from_millis(100);
/// So many bytes of announcements that came from one party are passed on at once …
const RELAYED_AT_ONCE: usize = 256 * 1024;
/// … and then this many in a second. In a network of 10,000 with six slots they are 18 KiB. A liar
/// that signs ever new nodes of 1,000 links each costs every link of the network no more than that.
const RELAYED_PER_SECOND: usize = 64 * 1024;
/// From so many parties on those are forgotten that have nothing left to wait for.
const RELAYED_PARTIES: usize = 256;
/// A node that lacks links is handed this many random nodes of the table at once.
const CANDIDATES: usize = 32;

/// Who is in the network, and what we last announced of ourselves.
#[derive(Debug)]
pub(crate) struct Presence {
    table: Table,
    /// Its own: announcements do not change the random choices of other components.
    rng: SmallRng,
    /// The sequence number of our last announcement.
    seq: u64,
    /// When we last announced ourselves to all neighbors.
    announced: Option<Instant>,
    /// Since when our links differ from what we announced.
    changed: Option<Instant>,
    /// New neighbors that lack our announcement.
    unannounced: BTreeSet<LinkId>,
    /// Since when there are some; if there are none, when new neighbors last got one.
    unannounced_since: Option<Instant>,
    /// The last request for all nodes.
    request: Option<NodesRequest>,
    /// When each neighbor was last asked …
    requested_of: BTreeMap<LinkId, Instant>,
    /// … and a neighbor of each party. Those within [`REQUEST_AGAIN`] are kept, at most one for
    /// each [`ANSWER_PATIENCE`].
    requested_of_party: BTreeMap<Party, Instant>,
    /// The neighbors that asked for all nodes, and the last node that each was sent.
    requests: BTreeMap<LinkId, Option<NodeId>>,
    /// What was passed on lately, by the party whose link it came on.
    relayed: BTreeMap<Party, RateLimit>,
}

/// A request for all nodes.
#[derive(Debug)]
struct NodesRequest {
    link: LinkId,
    at: Instant,
    /// Whether news of other nodes came.
    is_answered: bool,
}

impl Presence {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            table: Table::new(),
            rng: SmallRng::seed_from_u64(seed ^ 0x616e_6e6f_756e_6365),
            seq: 0,
            announced: None,
            changed: None,
            unannounced: BTreeSet::new(),
            unannounced_since: None,
            request: None,
            requested_of: BTreeMap::new(),
            requested_of_party: BTreeMap::new(),
            requests: BTreeMap::new(),
            relayed: BTreeMap::new(),
        }
    }

    /// Returns how many nodes are known to be in the network, this one included.
    pub(crate) fn count(&self) -> usize {
        self.table.len() + 1
    }

    /// Returns whether we are linked to every node that we or our neighbors know.
    pub(crate) fn is_linked_to_all(&self, links: &LinkTable) -> bool {
        let nodes: BTreeSet<NodeId> = neighbors(links).map(|(_, node)| node).collect();
        let all = nodes.len() + 1;
        let knows_no_more = |node: &NodeId| self.table.get(*node).is_some_and(|known| known.nodes as usize <= all);
        self.count() <= all && nodes.iter().all(knows_no_more)
    }

    /// Returns how long after a link has changed both of its ends announce that.
    pub(crate) fn heard_within(&self, links: &LinkTable) -> Duration {
        debounce(self.network_size(links))
    }

    /// Returns which of these nodes are linked to another node than this one.
    pub(crate) fn linked_elsewhere(&self, nodes: BTreeSet<NodeId>) -> BTreeSet<NodeId> {
        self.table.linked(nodes)
    }

    /// Iterates over the last announcement of each other node after this id and when it was made,
    /// in the order of ids.
    pub(crate) fn others_after(&self, last: Option<NodeId>) -> impl Iterator<Item = (&Announcement, Instant)> {
        self.table.after(last)
    }

    /// Iterates over the last announcement of each other node and when it was made, in the order of
    /// ids.
    #[cfg(test)]
    pub(crate) fn others(&self) -> impl Iterator<Item = (&Announcement, Instant)> {
        self.table.iter()
    }

    /// Returns the addresses of some nodes that we are not linked to, each with the scope and
    /// the group of the neighbor that named it.
    pub(crate) fn not_linked(&mut self, cx: &Context, links: &LinkTable) -> Vec<(PeerAddress, Scope, SourceGroup)> {
        self.some_not_linked(cx, links, |_| true)
    }

    /// The same, of the members of a topic.
    pub(crate) fn members_not_linked(
        &mut self,
        cx: &Context,
        links: &LinkTable,
        topic: &TopicName,
    ) -> Vec<(PeerAddress, Scope, SourceGroup)> {
        self.some_not_linked(cx, links, |announcement| announcement.topics.contains(topic))
    }

    /// The same, of those members of a topic that no chain of members leads to, as far as they
    /// announced their links. `has_topic` says which linked nodes are members.
    pub(crate) fn members_beyond(
        &mut self,
        cx: &Context,
        links: &LinkTable,
        topic: &TopicName,
        has_topic: impl Fn(LinkId) -> bool,
    ) -> Vec<(PeerAddress, Scope, SourceGroup)> {
        let linked = neighbors(links).filter(|(link, _)| has_topic(*link)).map(|(_, node)| node).collect();
        let reached = self.table.reached(linked, cx.config.node, |announcement| announcement.topics.contains(topic));
        self.some_not_linked(cx, links, |announcement| {
            announcement.topics.contains(topic) && !reached.contains(&announcement.node)
        })
    }

    fn some_not_linked(
        &mut self,
        cx: &Context,
        links: &LinkTable,
        wanted: impl Fn(&Announcement) -> bool,
    ) -> Vec<(PeerAddress, Scope, SourceGroup)> {
        let wanted = |node: NodeId| self.table.get(node).is_some_and(&wanted);
        let other = |node: NodeId| node != cx.config.node && links.to_node(node, None).is_none() && wanted(node);
        let some = self.table.addresses().filter(|(node, address, _)| other(*node) && cx.can_dial(address));
        let mut some: Vec<(NodeId, &PeerAddress, Source)> = some.collect();
        some.shuffle(&mut self.rng);
        some.into_iter()
            .take(CANDIDATES)
            .map(|(node, address, source)| (address.clone(), source.reach(node, address), source.names(node)))
            .collect()
    }

    /// Returns where a node can be dialled, by its own account; `None` if nobody here could.
    pub(crate) fn address_of(&self, node: NodeId) -> Option<&PeerAddress> {
        self.table.address_of(node)
    }

    /// Returns where a node can be dialled, with the scope and the group of the neighbor on whose
    /// word.
    pub(crate) fn location_of(&self, node: NodeId) -> Option<(&PeerAddress, Scope, SourceGroup)> {
        let located = self.table.location_of(node);
        located.map(|(address, source)| (address, source.reach(node, address), source.names(node)))
    }

    /// Returns whether a node is known to be in the network.
    pub(crate) fn knows(&self, node: NodeId) -> bool {
        self.table.get(node).is_some()
    }

    /// Returns how people know a node: its address by a link to it, or by its announcement.
    pub(crate) fn name_of(&self, links: &LinkTable, node: NodeId) -> PeerName {
        let linked = links.to_node(node, None).and_then(|(_, peer)| peer.any_address().cloned());
        let address = linked.or_else(|| self.table.address_of(node).cloned());
        PeerName { node: Some(node), address }
    }

    /// Returns what we say of ourselves, signed. `left`: that we leave the network.
    pub(crate) fn announcement(&self, cx: &Context, links: &LinkTable, left: bool) -> Announcement {
        let mut peers: Vec<NodeId> = neighbors(links).map(|(_, node)| node).collect();
        peers.sort_unstable();
        peers.dedup();
        peers.truncate(limits::ANNOUNCED_PEERS);
        let mut announcement = Announcement {
            node: cx.config.node,
            session: cx.config.session,
            // Everybody in the network gets it.
            address: Some(cx.own_address(Scope::Public).clone()),
            since: cx.config.since,
            seq: self.seq,
            peers,
            links: u32::try_from(links.peers()).unwrap_or(u32::MAX),
            max_peers: cx.config.max_peers,
            nodes: u32::try_from(self.count()).unwrap_or(u32::MAX),
            interval: u32::try_from(interval(self.network_size(links)).as_secs()).unwrap_or(u32::MAX),
            topics: cx.topics.clone(),
            left,
            seal: None,
        };
        announcement.seal(&*cx.config.signer);
        announcement
    }

    /// Announces ourselves on the link to a new neighbor, and to all others once our links stay the
    /// same.
    ///
    /// The first new neighbor gets it at once. Those that follow soon get it together, once no more
    /// come: one announcement instead of one each, and none that is out of date at once.
    pub(crate) fn on_neighbor_up(&mut self, cx: &mut Context, links: &LinkTable, link: LinkId) {
        if !announces(cx) {
            return;
        }
        let now = cx.now;
        let first = self.unannounced.is_empty();
        let quiet = self.unannounced_since.is_none_or(|at| now.saturating_duration_since(at) >= DEBOUNCE);
        self.unannounced.insert(link);
        if first && quiet {
            self.on_announce_to_new_due(cx, links);
        } else {
            if first {
                self.unannounced_since = Some(now);
            }
            let since = self.unannounced_since.unwrap_or(now);
            cx.timers.set(Timer::AnnounceToNew, (now + DEBOUNCE).min(since + DEBOUNCE * DEBOUNCES));
        }
        self.on_links_changed(cx, links);
    }

    /// Announces ourselves to the new neighbors.
    pub(crate) fn on_announce_to_new_due(&mut self, cx: &mut Context, links: &LinkTable) {
        let new = std::mem::take(&mut self.unannounced);
        let new: Vec<LinkId> = neighbors(links).map(|(link, _)| link).filter(|link| new.contains(link)).collect();
        self.unannounced_since = Some(cx.now);
        if !new.is_empty() {
            self.announce(cx, links, new, Some(Duration::ZERO), false);
        }
    }

    /// Has our links announced once they stay the same.
    pub(crate) fn on_links_changed(&mut self, cx: &mut Context, links: &LinkTable) {
        if !announces(cx) || cx.shutting_down {
            return;
        }
        let nodes = match self.announced {
            Some(_) => self.network_size(links),
            None => links.peers(),
        };
        let debounce = debounce(nodes);
        let changed = *self.changed.get_or_insert(cx.now);
        cx.timers.set(Timer::Announce, (cx.now + debounce).min(changed + debounce * DEBOUNCES));
        self.schedule_expiry(cx);
    }

    /// Announces ourselves to all neighbors, and sets the timer for the next time.
    pub(crate) fn on_announce_due(&mut self, cx: &mut Context, links: &LinkTable) {
        self.changed = None;
        let all = neighbors_except(links, |_| false);
        if all.is_empty() {
            // All neighbors lag. If there are none, the next one sets the timer.
            if neighbors(links).next().is_some() {
                cx.timers.set(Timer::Announce, cx.now + INTERVAL);
            }
            return;
        }
        self.announced = Some(cx.now);
        self.unannounced.retain(|link| !all.contains(link));
        self.announce(cx, links, all, None, false);
        let wait = interval(self.network_size(links)).mul_f64(self.rng.random_range(0.8..1.0));
        cx.timers.set(Timer::Announce, cx.now + wait);
    }

    /// Announces to all neighbors that we leave the network.
    pub(crate) fn announce_leaving(&mut self, cx: &mut Context, links: &LinkTable) {
        let all = neighbors_except(links, |_| false);
        if announces(cx) && !all.is_empty() {
            self.announce(cx, links, all, None, true);
        }
    }

    fn announce(&mut self, cx: &mut Context, links: &LinkTable, to: Vec<LinkId>, synced: Option<Duration>, left: bool) {
        self.seq += 1;
        let announcement = self.announcement(cx, links, left);
        send(cx, to, &AnnounceFrame { announcement, synced });
    }

    /// Takes in what a peer announces of itself or of another node, and passes it on if it is news.
    pub(crate) fn on_announce(
        &mut self,
        cx: &mut Context,
        links: &LinkTable,
        link: LinkId,
        frame: AnnounceFrame,
    ) -> Result<(), Violation> {
        let Some(sender) = links.get(link).and_then(Link::introduced) else { return Ok(()) };
        let AnnounceFrame { announcement, synced } = frame;
        let node = announcement.node;
        let direct = node == sender.id && sender.proved;
        if direct && announcement.session != sender.session {
            cx.counters.announcements_refused += 1;
            let text = "ANNOUNCE: it names another session of itself than its HANDSHAKE";
            return Err(Violation::new(ViolationKind::Contradiction, text));
        }
        if !announces(cx) || node == cx.config.node || (!direct && links.to_node(node, None).is_some()) {
            cx.counters.announcements_old += 1;
            return Ok(());
        }
        if synced.is_some_and(|age| age >= patience(&announcement)) {
            cx.counters.announcements_old += 1;
            return Ok(());
        }
        let (scope, group) = links.source_of(link);
        let source = Source { node: sender.id, scope, group, is_live: synced.is_none() };
        match self.table.judge(&announcement, source, &cx.config.limits) {
            Verdict::Old => cx.counters.announcements_old += 1,
            Verdict::NoRoom => cx.counters.announcements_refused += 1,
            Verdict::News if !cx.config.signer.vouches(node, Purpose::Announce, announcement.seal.as_deref()) => {
                cx.counters.announcements_forged += 1;
                return Err(Violation::breach("ANNOUNCE: the node that it names has not signed it"));
            }
            Verdict::News => {
                cx.counters.announcements_accepted += 1;
                let (is_own, theirs) = (node == sender.id, announcement.nodes);
                let made = synced.and_then(|age| cx.now.checked_sub(age)).unwrap_or(cx.now);
                self.record(cx, announcement.clone(), made, source);
                let address = dialable(&announcement, scope);
                if let Some(address) = address.filter(|_| !announcement.left).cloned() {
                    let (source, patience) = (source.names(node), patience(&announcement));
                    cx.raise(InternalEvent::NodeAnnounced { link, node, address, source, patience });
                }
                if synced.is_none() {
                    let sender = sender.id;
                    let others =
                        neighbors_except(links, |other| other == sender || announcement.peers.contains(&other));
                    self.relay(cx, links.party_of(Some(link)), others, &AnnounceFrame { announcement, synced: None });
                }
                self.schedule_expiry(cx);
                if is_own && self.is_far_behind(theirs) {
                    self.request_nodes(cx, links);
                } else if !is_own {
                    self.note_answer(link, synced);
                }
            }
        }
        Ok(())
    }

    /// Passes an announcement on, unless too much came from this party lately.
    fn relay(&mut self, cx: &mut Context, party: Party, to: Vec<LinkId>, frame: &AnnounceFrame) {
        if to.is_empty() {
            return;
        }
        let frame = frame.to_frame(cx.config.session);
        let second = |bytes: usize| Duration::from_secs(1).mul_f64(bytes as f64 / RELAYED_PER_SECOND as f64);
        let (now, burst) = (cx.now, second(RELAYED_AT_ONCE));
        if self.relayed.len() >= RELAYED_PARTIES {
            self.relayed.retain(|_, limit| limit.is_spent(now));
        }
        if self.relayed.entry(party).or_default().spend(now, second(frame.len()), burst).is_err() {
            cx.counters.announcements_not_relayed += 1;
            return;
        }
        send_frame(cx, to, frame);
    }

    fn record(&mut self, cx: &mut Context, announcement: Announcement, made: Instant, source: Source) {
        let node = PeerName { node: Some(announcement.node), address: announcement.address.clone() };
        if announcement.left {
            if self.table.remove(cx.now, announcement.node, Some((&announcement, source.is_live))) {
                let cause = Departure::Goodbye;
                cx.notify(Event::NodeLeft { node, cause, nodes: self.count() });
            }
            return;
        }
        let gone = self.table.make_room(&announcement, source, &cx.config.limits);
        cx.counters.announcements_refused += gone.len() as u64;
        if self.table.insert(announcement, made, source) {
            cx.notify(Event::NodeJoined { node, nodes: self.count() });
        }
    }

    /// Returns whether a neighbor that knows so many nodes knows considerably more than we do.
    fn is_far_behind(&self, theirs: u32) -> bool {
        let ours = self.count();
        theirs as usize > ours + ours / 8
    }

    /// Asks a neighbor for all nodes, of those that know considerably more than we do by what they
    /// signed. The neighbors of the party that was asked least recently come first: a liar with
    /// many links must not hold the request.
    fn request_nodes(&mut self, cx: &mut Context, links: &LinkTable) {
        let now = cx.now;
        let is_within = |at: Instant, time| now.saturating_duration_since(at) < time;
        let under_way = |request: &NodesRequest| {
            is_within(request.at, if request.is_answered { REQUEST_PATIENCE } else { ANSWER_PATIENCE })
        };
        if self.request.as_ref().is_some_and(under_way) {
            return;
        }
        self.requested_of_party.retain(|_, at| is_within(*at, REQUEST_AGAIN));
        let lately = |link: &LinkId| self.requested_of.get(link).is_some_and(|at| is_within(*at, REQUEST_AGAIN));
        let knows_more = |node: NodeId| self.table.get(node).is_some_and(|known| self.is_far_behind(known.nodes));
        let choice = neighbors(links).filter(|(link, node)| !lately(link) && knows_more(*node));
        let turn = |link: LinkId| {
            let party = links.party_of(Some(link));
            (self.requested_of_party.get(&party).copied(), link, party)
        };
        let Some((_, link, party)) = choice.map(|(link, _)| turn(link)).min() else { return };
        self.requested_of.insert(link, now);
        self.requested_of_party.insert(party, now);
        self.request = Some(NodesRequest { link, at: now, is_answered: false });
        cx.timers.set(Timer::RequestNodes, now + ANSWER_PATIENCE);
        cx.send(vec![link], SyncFrame::Everything.to_frame_of(OtherSet::Nodes), Lane::Control);
    }

    /// Notes that a neighbor brought news of another node, if it answers our request.
    fn note_answer(&mut self, link: LinkId, synced: Option<Duration>) {
        if let Some(request) = self.request.as_mut().filter(|request| request.link == link && synced.is_some()) {
            request.is_answered = true;
        }
    }

    /// Asks another neighbor for all nodes, if the last one that was asked has brought nothing.
    pub(crate) fn on_request_due(&mut self, cx: &mut Context, links: &LinkTable) {
        if self.request.as_ref().is_some_and(|request| !request.is_answered) {
            self.request_nodes(cx, links);
        }
    }

    /// Begins to send a neighbor all nodes, or goes on if it asks again.
    pub(crate) fn on_sync(&mut self, cx: &mut Context, link: LinkId, frame: &SyncFrame) -> Result<(), Violation> {
        if *frame != SyncFrame::Everything {
            return Err(Violation::breach("SYNC: nodes are not compared; ask for everything"));
        }
        self.requests.entry(link).or_insert(None);
        self.on_send_nodes_due(cx);
        Ok(())
    }

    /// Sends some more nodes to each neighbor that asked for all.
    pub(crate) fn on_send_nodes_due(&mut self, cx: &mut Context) {
        let Self { requests, table, .. } = self;
        requests.retain(|link, last| {
            let batch =
                table.after(*last).take(BATCH_NODES).map(|(news, made)| (news.clone(), made)).collect::<Vec<_>>();
            let full = batch.len() == BATCH_NODES;
            for (announcement, made) in batch {
                *last = Some(announcement.node);
                let synced = Some(cx.now.saturating_duration_since(made));
                send(cx, vec![*link], &AnnounceFrame { announcement, synced });
            }
            full
        });
        if !self.requests.is_empty() {
            cx.timers.set(Timer::SendNodes, cx.now + BATCH_EVERY);
        }
    }

    pub(crate) fn on_link_closed(&mut self, link: LinkId) {
        self.unannounced.remove(&link);
        self.requested_of.remove(&link);
        self.requests.remove(&link);
    }

    /// Has the table looked through soon; the larger it is, the later.
    fn schedule_expiry(&self, cx: &mut Context) {
        let at = cx.now + Duration::from_secs(1) + Duration::from_millis(self.table.len() as u64);
        if cx.timers.due(&Timer::ExpireNodes).is_none_or(|due| due > at) {
            cx.timers.set(Timer::ExpireNodes, at);
        }
    }

    /// Removes the nodes that have expired.
    pub(crate) fn on_expire_due(&mut self, cx: &mut Context, links: &LinkTable) {
        let neighbors: Vec<(NodeId, bool)> =
            neighbors(links).map(|(link, node)| (node, links.get(link).is_some_and(Link::is_proved))).collect();
        // In a large network it takes longer until both ends have announced a link that moved.
        let gone_after = GONE_AFTER.max(debounce(self.network_size(links)) * DEBOUNCES).min(GONE_AFTER_MOST);
        let (gone, next) = self.table.expired(cx.now, &neighbors, gone_after);
        for (id, cause) in gone {
            let node = self.name_of(links, id);
            self.table.remove(cx.now, id, None);
            cx.notify(Event::NodeLeft { node, cause, nodes: self.count() });
        }
        if let Some(next) = next {
            cx.timers.set(Timer::ExpireNodes, next.max(cx.now + Duration::from_secs(1)));
        }
    }

    /// Returns how many nodes intervals are made for: those in the table as far as our neighbors
    /// bear them out, or our neighbors if these are more. Neighbors that do not announce themselves
    /// must not make us announce as in a small network, and invented nodes not as in a large one.
    fn network_size(&self, links: &LinkTable) -> usize {
        let shares: BTreeSet<_> =
            neighbors(links).map(|(link, node)| party(links.source_of(link).1, Some(node))).collect();
        let confirmed = NODES_PER_NEIGHBOR.saturating_mul(shares.len());
        self.count().min(confirmed).max(links.nodes())
    }
}

/// Whether this node takes part.
fn announces(cx: &Context) -> bool {
    cx.config.limits.presence_nodes > 0
}

/// Iterates over the established links to native peers, with the ids that they name; a node with
/// two links comes twice.
fn neighbors(links: &LinkTable) -> impl Iterator<Item = (LinkId, NodeId)> {
    let established = links.iter().filter(|(_, link)| link.takes_transactions());
    established.filter_map(|(id, link)| link.native().map(|peer| (id, peer.id)))
}

/// Returns one link to each neighbor that does not lag, with exceptions.
fn neighbors_except(links: &LinkTable, except: impl Fn(NodeId) -> bool) -> Vec<LinkId> {
    let mut peers = BTreeSet::new();
    let lags = |link: &Link| matches!(link.flow, Delivery::Replaying { .. } | Delivery::Lagging);
    let one_each = neighbors(links).filter(|(link, node)| {
        links.get(*link).is_some_and(|open| peers.insert(open.key()) && !except(*node) && !lags(open))
    });
    one_each.map(|(link, _)| link).collect()
}

/// Sends an announcement as payload: many of them must not overflow the control lane and close a
/// link.
fn send(cx: &mut Context, links: Vec<LinkId>, frame: &AnnounceFrame) {
    if !links.is_empty() {
        send_frame(cx, links, frame.to_frame(cx.config.session));
    }
}

fn send_frame(cx: &mut Context, links: Vec<LinkId>, frame: Frame) {
    cx.counters.announcements_sent += links.len() as u64;
    cx.send(links, frame, Lane::Payload);
}

/// Returns the longest time between two announcements in a network of this size.
fn interval(nodes: usize) -> Duration {
    INTERVAL.max(INTERVAL_PER_NODE * u32::try_from(nodes).unwrap_or(u32::MAX))
}

/// Returns for how long links must stay the same in a network of this size.
fn debounce(nodes: usize) -> Duration {
    DEBOUNCE.max(DEBOUNCE_PER_NODE * u32::try_from(nodes).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests;
