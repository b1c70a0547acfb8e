//! The table of nodes: what each last announced, and whether it can still be in the network.
//!
//! Anybody can invent nodes. So a full table is shared by those that brought its records: the
//! source that brought most gives way to one that brought fewer, and one neighbor cannot fill it
//! for long.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;

use crate::address::{PeerAddress, Scope};
use crate::causes::Departure;
use crate::connections::table::{Party, party};
use crate::id::{NodeId, Session};
use crate::ip_prefix::SourceGroup;
use crate::limits::{self, Limits};
use crate::util::generations::Generations;
use crate::wire::Announcement;

/// A node expires after this many of its own intervals without an announcement.
const SILENT_INTERVALS: u32 = 3;
/// The shortest and the longest interval that a node may claim, in seconds.
const INTERVALS: (u32, u32) = (10, 4 * 60 * 60);
/// Tombstones in one of their two generations.
const TOMBSTONES: usize = 8_192;

/// Whether an announcement is taken into the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    News,
    Old,
    NoRoom,
}

/// How an announcement came.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source {
    /// The neighbor that brought it.
    pub(super) node: NodeId,
    pub(super) scope: Scope,
    pub(super) group: SourceGroup,
    /// Whether it came to be passed on. Otherwise it answered a request, or came on a new link.
    pub(super) is_live: bool,
}

impl Source {
    /// Returns on whose word the address of a node is dialled: this neighbor's if it is the node,
    /// otherwise that of somebody in the network.
    pub(super) fn names(self, node: NodeId) -> SourceGroup {
        if self.node == node { self.group } else { SourceGroup::Relayed }
    }

    /// Returns the nearest scope that the announced address of a node may lead to. The relays of a
    /// node id that this neighbor passed on may be near the node, and far from here.
    pub(super) fn reach(self, node: NodeId, address: &PeerAddress) -> Scope {
        if address.node().is_some() && self.node != node { Scope::Public } else { self.scope }
    }

    /// Returns whose share of the table a record counts for: peers of one address group share one.
    fn share(self) -> Party {
        party(self.group, Some(self.node))
    }
}

#[derive(Debug)]
struct Record {
    announcement: Announcement,
    heard: Instant,
    source: Source,
    /// Since when no chain of links leads to it.
    unreachable: Option<Instant>,
}

/// Returns the address of an announcement that came from this scope, if it makes sense here. Of
/// node ids a node has its own and no other.
pub(super) fn dialable(announcement: &Announcement, from: Scope) -> Option<&PeerAddress> {
    let own = |address: &&PeerAddress| address.node().is_none_or(|named| named == announcement.node);
    announcement.address.as_ref().filter(own).filter(|address| from.may_tell(address.scope()))
}

impl Record {
    /// Returns where the node can be dialled; `None` if that makes sense only nearer to it than we
    /// are.
    fn address(&self) -> Option<&PeerAddress> {
        dialable(&self.announcement, self.source.scope)
    }
}

/// The nodes in the network, and tombstones of those that left it.
#[derive(Debug)]
pub(super) struct Table {
    records: BTreeMap<NodeId, Record>,
    /// What each source passed on of others.
    shares: BTreeMap<Party, BTreeSet<NodeId>>,
    /// Links that all records name together.
    links: usize,
    /// Bytes of their signed data.
    sealed: usize,
    /// The session and sequence number of the last announcement of nodes that are gone, and whether
    /// it came live.
    tombstones: Generations<NodeId, (Session, u64, bool)>,
}

impl Table {
    pub(super) fn new() -> Self {
        let tombstones = Generations::new(TOMBSTONES);
        Self { records: BTreeMap::new(), shares: BTreeMap::new(), links: 0, sealed: 0, tombstones }
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    pub(super) fn get(&self, node: NodeId) -> Option<&Announcement> {
        self.records.get(&node).map(|record| &record.announcement)
    }

    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Announcement, Instant)> {
        self.records.values().map(|record| (&record.announcement, record.heard))
    }

    /// Returns where a node can be dialled; `None` if that makes sense only nearer to it than we
    /// are.
    pub(super) fn address_of(&self, node: NodeId) -> Option<&PeerAddress> {
        self.records.get(&node).and_then(Record::address)
    }

    /// As [`Self::address_of`], with the neighbor that brought the announcement.
    pub(super) fn location_of(&self, node: NodeId) -> Option<(&PeerAddress, Source)> {
        let record = self.records.get(&node)?;
        Some((record.address()?, record.source))
    }

    /// Iterates over the nodes and where they can be dialled, as far as those that brought their
    /// announcements may name such addresses.
    pub(super) fn addresses(&self) -> impl Iterator<Item = (NodeId, &PeerAddress, Source)> {
        self.records.iter().filter_map(|(node, record)| Some((*node, record.address()?, record.source)))
    }

    /// Returns all nodes of some kind that chains of such nodes lead to from these, without going
    /// through one node.
    pub(super) fn reached(
        &self,
        from: Vec<NodeId>,
        except: NodeId,
        wanted: impl Fn(&Announcement) -> bool,
    ) -> BTreeSet<NodeId> {
        let wanted: BTreeMap<NodeId, &Announcement> = self
            .records
            .iter()
            .filter(|(node, record)| **node != except && wanted(&record.announcement))
            .map(|(node, record)| (*node, &record.announcement))
            .collect();
        // A link counts if either end announced it: the other's announcement may be on its way.
        let mut links: BTreeMap<NodeId, Vec<NodeId>> = BTreeMap::new();
        for (node, announcement) in &wanted {
            for peer in announcement.peers.iter().filter(|peer| wanted.contains_key(*peer)) {
                links.entry(*node).or_default().push(*peer);
                links.entry(*peer).or_default().push(*node);
            }
        }
        let (mut reached, mut next) = (BTreeSet::new(), from);
        while let Some(node) = next.pop() {
            if reached.insert(node) {
                next.extend(links.get(&node).into_iter().flatten());
            }
        }
        reached
    }

    /// Returns which of these nodes are linked to one in the table. Both ends must have announced
    /// the link: one alone may lie.
    pub(super) fn linked(&self, mut nodes: BTreeSet<NodeId>) -> BTreeSet<NodeId> {
        let peers = |node: &NodeId| self.get(*node).map(|announced| announced.peers.as_slice()).unwrap_or_default();
        nodes.retain(|node| peers(node).iter().any(|peer| peers(peer).contains(node)));
        nodes
    }

    /// Iterates over the nodes that follow one, in the order of their ids.
    pub(super) fn after(&self, last: Option<NodeId>) -> impl Iterator<Item = (&Announcement, Instant)> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = last.map_or(Unbounded, Excluded);
        self.records.range((from, Unbounded)).map(|(_, record)| (&record.announcement, record.heard))
    }

    /// Returns whether an announcement is newer than the one in the table, and whether there is
    /// room for it. An older one of its node makes room, and so do those of a source that passed on
    /// more than this one.
    ///
    /// Of one session the higher sequence number is newer, of two the later start. A node itself
    /// knows best which session it is. The first live copy of one that did not come live is newer
    /// too: a relay that passed it on as an answer, with an age that nobody signed, must not stop
    /// it.
    pub(super) fn judge(&self, announcement: &Announcement, source: Source, limits: &Limits) -> Verdict {
        let Announcement { node, session, seq, since, .. } = announcement;
        let direct = *node == source.node;
        let follows = |last: u64, was_live: bool| *seq > last || (*seq == last && source.is_live && !was_live);
        let newer = match self.records.get(node) {
            Some(Record { announcement: known, source: before, .. }) if known.session == *session => {
                follows(known.seq, before.is_live)
            }
            Some(Record { announcement: known, .. }) => direct || (*since, *session) > (known.since, known.session),
            None => self
                .tombstones
                .get(node)
                .is_none_or(|(last, count, was_live)| last != session || follows(*count, *was_live)),
        };
        let room = || !self.is_full_for(announcement, limits) || self.gives_way(announcement, source).is_some();
        match newer {
            false => Verdict::Old,
            true if !announcement.left && !room() => Verdict::NoRoom,
            true => Verdict::News,
        }
    }

    /// Returns whether an announcement does not fit in place of the older one of its node.
    fn is_full_for(&self, announcement: &Announcement, limits: &Limits) -> bool {
        let known = self.get(announcement.node);
        let (links, sealed) = known.map_or((0, 0), |known| (known.peers.len(), known.sealed_bytes()));
        known.is_none() && self.len() >= limits.presence_nodes
            || self.links - links + announcement.peers.len() > limits::ANNOUNCED_LINKS
            || self.sealed - sealed + announcement.sealed_bytes() > limits::ANNOUNCED_BYTES
    }

    /// Returns the record that gives way to an announcement: one of the source that passed on most,
    /// if that is more than this source would have then.
    fn gives_way(&self, announcement: &Announcement, source: Source) -> Option<NodeId> {
        let share = source.share();
        let direct = announcement.node == source.node;
        let (most, nodes) = self.shares.iter().max_by_key(|(share, nodes)| (nodes.len(), *share))?;
        let own = self.shares.get(&share).map_or(0, BTreeSet::len);
        let less = direct || (*most != share && nodes.len() > own + 1);
        nodes.iter().rev().find(|node| less && **node != announcement.node).copied()
    }

    /// Makes room for an announcement that [`Self::judge`] found news. Returns the nodes that gave
    /// way.
    pub(super) fn make_room(&mut self, announcement: &Announcement, source: Source, limits: &Limits) -> Vec<NodeId> {
        let mut gone = Vec::new();
        while self.is_full_for(announcement, limits)
            && let Some(node) = self.gives_way(announcement, source)
        {
            let record = self.records.remove(&node);
            self.subtract(record.as_ref());
            gone.push(node);
        }
        gone
    }

    /// Inserts or replaces what a node announced; returns whether the node is new.
    pub(super) fn insert(&mut self, announcement: Announcement, heard: Instant, source: Source) -> bool {
        self.links += announcement.peers.len();
        self.sealed += announcement.sealed_bytes();
        let node = announcement.node;
        let before = self.records.insert(node, Record { announcement, heard, source, unreachable: None });
        self.subtract(before.as_ref());
        if node != source.node {
            self.shares.entry(source.share()).or_default().insert(node);
        }
        before.is_none()
    }

    /// Removes a node and keeps a tombstone of its last announcement: `last` and whether that came
    /// live, or the one in the table. Returns whether the node was in the table.
    pub(super) fn remove(&mut self, now: Instant, node: NodeId, last: Option<(&Announcement, bool)>) -> bool {
        let record = self.records.remove(&node);
        self.subtract(record.as_ref());
        let known = record.as_ref().map(|record| (&record.announcement, record.source.is_live));
        if let Some((last, was_live)) = last.or(known) {
            self.tombstones.insert(now, node, (last.session, last.seq, was_live));
        }
        record.is_some()
    }

    fn subtract(&mut self, record: Option<&Record>) {
        if let Some(Record { announcement, source, .. }) = record {
            self.links -= announcement.peers.len();
            self.sealed -= announcement.sealed_bytes();
            let share = source.share();
            if let Some(nodes) = self.shares.get_mut(&share) {
                nodes.remove(&announcement.node);
                if nodes.is_empty() {
                    self.shares.remove(&share);
                }
            }
        }
    }

    /// Returns which nodes have expired and why, in the order of their ids, and when the next one
    /// may.
    ///
    /// `neighbors` are the nodes that we are linked to, and whether they have proved it: others are
    /// present for as long as what they signed says. `gone_after` is how long a node to which no
    /// chain of links leads stays in the table.
    pub(super) fn expired(
        &mut self,
        now: Instant,
        neighbors: &[(NodeId, bool)],
        gone_after: Duration,
    ) -> (Vec<(NodeId, Departure)>, Option<Instant>) {
        let reachable = self.reachable(neighbors);
        let proved = neighbors.iter().filter(|(_, proved)| *proved);
        let ours: HashSet<NodeId, RandomState> = proved.map(|(node, _)| *node).collect();
        let mut gone = Vec::new();
        let mut next: Option<Instant> = None;
        for ((node, record), reachable) in self.records.iter_mut().zip(reachable) {
            let silent_at = record.heard + patience(&record.announcement);
            let gone_at = if reachable {
                record.unreachable = None;
                silent_at
            } else {
                (*record.unreachable.get_or_insert(now) + gone_after).min(silent_at)
            };
            if ours.contains(node) {
                continue;
            } else if now < gone_at {
                next = Some(next.map_or(gone_at, |next| next.min(gone_at)));
            } else if now >= silent_at {
                gone.push((*node, Departure::Silent));
            } else {
                gone.push((*node, Departure::Unlinked));
            }
        }
        (gone, next)
    }

    /// Returns for each node, in the order of ids, whether a chain of links leads to it. Of two
    /// nodes the one that was heard of last says whether they are linked.
    ///
    /// The table may name half a million links, and the node does nothing else meanwhile: so each
    /// costs one look-up, and they are not copied.
    fn reachable(&self, neighbors: &[(NodeId, bool)]) -> Vec<bool> {
        let index: HashMap<NodeId, usize, RandomState> = self.records.keys().copied().zip(0..).collect();
        let heard: Vec<Instant> = self.records.values().map(|record| record.heard).collect();
        let mut sets = DisjointSets::new(self.records.len());
        for (one, record) in self.records.values().enumerate() {
            for other in record.announcement.peers.iter().filter_map(|peer| index.get(peer)) {
                if record.heard >= heard[*other] {
                    sets.join(one, *other);
                }
            }
        }
        let mut reached = vec![false; self.records.len()];
        for neighbor in neighbors.iter().filter_map(|(node, _)| index.get(node)) {
            reached[sets.root(*neighbor)] = true;
        }
        (0..self.records.len()).map(|one| reached[sets.root(one)]).collect()
    }
}

/// Disjoint sets of numbers (union-find with path halving).
struct DisjointSets(Vec<usize>);

impl DisjointSets {
    fn new(count: usize) -> Self {
        Self((0..count).collect())
    }

    fn root(&mut self, mut one: usize) -> usize {
        while self.0[one] != one {
            self.0[one] = self.0[self.0[one]];
            one = self.0[one];
        }
        one
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.root(one), self.root(other));
        self.0[one] = other;
    }
}

/// Returns how long a node may be silent.
pub(super) fn patience(announcement: &Announcement) -> Duration {
    let (least, most) = INTERVALS;
    Duration::from_secs(announcement.interval.clamp(least, most).into()) * SILENT_INTERVALS
}

#[cfg(test)]
mod tests;
