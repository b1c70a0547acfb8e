//! The table of nodes: what each last announced, and whether it can still be there.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;

use crate::id::{NodeId, Session};
use crate::limits::{self, Limits};
use crate::wire::Announcement;

/// After so many intervals of its own without a word a node is gone.
const SILENT_INTERVALS: u32 = 3;
/// The shortest and the longest interval that a node may claim.
const INTERVALS: (u32, u32) = (10, 4 * 60 * 60);
/// How many nodes that are gone one generation remembers; there are two.
const GONE: usize = 8_192;

/// Whether an announcement is news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    News,
    Old,
    NoRoom,
}

#[derive(Debug)]
struct Record {
    announcement: Announcement,
    heard: Instant,
    /// Since when nobody is linked to it.
    missing: Option<Instant>,
}

/// The nodes that are in the network, and those that were.
#[derive(Debug, Default)]
pub(crate) struct Table {
    records: BTreeMap<NodeId, Record>,
    /// How many links all records name together.
    named: usize,
    /// How many bytes their signed data has.
    sealed: usize,
    /// What those said last that are gone, in two generations. Their order reaches no output.
    gone: HashMap<NodeId, (Session, u64)>,
    gone_before: HashMap<NodeId, (Session, u64)>,
}

impl Table {
    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    pub(crate) fn get(&self, node: NodeId) -> Option<&Announcement> {
        self.records.get(&node).map(|record| &record.announcement)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Announcement, Instant)> {
        self.records.values().map(|record| (&record.announcement, record.heard))
    }

    /// So many nodes that come after one, in the order of their ids.
    pub(crate) fn after(&self, last: Option<NodeId>, most: usize) -> Vec<(Announcement, Instant)> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = last.map_or(Unbounded, Excluded);
        let some = self.records.range((from, Unbounded)).take(most);
        some.map(|(_, record)| (record.announcement.clone(), record.heard)).collect()
    }

    /// Whether an announcement is newer than what is known of its node: of one run the later count, of two runs the later start. Whoever is linked to us
    /// is right about its run. And whether there is room for it; a neighbour takes another's place.
    pub(crate) fn judge(&self, announcement: &Announcement, direct: bool, limits: &Limits) -> Verdict {
        let Announcement { session, seq, since, .. } = announcement;
        let known = self.records.get(&announcement.node).map(|record| &record.announcement);
        let (names, bytes) = known.map_or((0, 0), |known| (known.peers.len(), known.sealed_bytes()));
        let newer = match known {
            Some(known) if known.session == *session => *seq > known.seq,
            Some(known) => direct || (*since, *session) > (known.since, known.session),
            None => {
                let gone = self.gone.get(&announcement.node).or_else(|| self.gone_before.get(&announcement.node));
                !gone.is_some_and(|(last, count)| last == session && count >= seq)
            }
        };
        let full = self.records.len() >= limits.presence_nodes && !self.records.contains_key(&announcement.node);
        let too_many = self.named - names + announcement.peers.len() > limits::ANNOUNCED_LINKS
            || self.sealed - bytes + announcement.sealed_bytes() > limits::ANNOUNCED_BYTES;
        match newer {
            false => Verdict::Old,
            true if announcement.left => Verdict::News,
            true if full || too_many => Verdict::NoRoom,
            true => Verdict::News,
        }
    }

    /// Notes what a node announced; whether it was not there before.
    pub(crate) fn put(&mut self, announcement: Announcement, heard: Instant) -> bool {
        let node = announcement.node;
        self.named += announcement.peers.len();
        self.sealed += announcement.sealed_bytes();
        let before = self.records.insert(node, Record { announcement, heard, missing: None });
        if let Some(before) = &before {
            self.named -= before.announcement.peers.len();
            self.sealed -= before.announcement.sealed_bytes();
        }
        before.is_none()
    }

    /// A node is gone, by its own last word or without; whether it was there.
    pub(crate) fn bury(&mut self, node: NodeId, last: Option<&Announcement>) -> bool {
        let record = self.records.remove(&node);
        if let Some(record) = &record {
            self.named -= record.announcement.peers.len();
            self.sealed -= record.announcement.sealed_bytes();
        }
        if let Some(last) = last.or(record.as_ref().map(|record| &record.announcement)) {
            if self.gone.len() >= GONE {
                self.gone_before = std::mem::take(&mut self.gone);
            }
            self.gone.insert(node, (last.session, last.seq));
        }
        record.is_some()
    }

    /// Who is gone and why, in order, and when to look again. `neighbours`: the nodes that we are linked to. `gone_after`: how long a node counts as there
    /// that no link leads to.
    pub(crate) fn sweep(
        &mut self,
        now: Instant,
        neighbours: &[NodeId],
        gone_after: Duration,
    ) -> (Vec<(NodeId, &'static str)>, Option<Instant>) {
        let reachable = self.reachable(neighbours);
        let ours: HashSet<NodeId, RandomState> = neighbours.iter().copied().collect();
        let mut gone = Vec::new();
        let mut next: Option<Instant> = None;
        for ((node, record), reachable) in self.records.iter_mut().zip(reachable) {
            let silent_at = record.heard + patience(&record.announcement);
            let gone_at = if reachable {
                record.missing = None;
                silent_at
            } else {
                (*record.missing.get_or_insert(now) + gone_after).min(silent_at)
            };
            if ours.contains(node) {
                continue;
            } else if now < gone_at {
                next = Some(next.map_or(gone_at, |next| next.min(gone_at)));
            } else if now >= silent_at {
                gone.push((*node, "nothing was heard of it for long"));
            } else {
                gone.push((*node, "nobody is linked to it any more"));
            }
        }
        (gone, next)
    }

    /// Whom the links lead to that are known, ours first, in order. Of two nodes the one that was heard of last says whether they are linked.
    ///
    /// Half a million links may be named, and while they are gone through the node does nothing else: so each costs one look-up, and no list is made of them.
    fn reachable(&self, neighbours: &[NodeId]) -> Vec<bool> {
        let place: HashMap<NodeId, usize, RandomState> = self.records.keys().copied().zip(0..).collect();
        let heard: Vec<Instant> = self.records.values().map(|record| record.heard).collect();
        let mut parts = Parts::new(self.records.len());
        for (one, record) in self.records.values().enumerate() {
            for other in record.announcement.peers.iter().filter_map(|peer| place.get(peer)) {
                if record.heard >= heard[*other] {
                    parts.join(one, *other);
                }
            }
        }
        let mut reached = vec![false; self.records.len()];
        for neighbour in neighbours.iter().filter_map(|node| place.get(node)) {
            reached[parts.root(*neighbour)] = true;
        }
        (0..self.records.len()).map(|one| reached[parts.root(one)]).collect()
    }
}

/// Which of so many things hang together (disjoint sets, with paths halved as they are gone).
struct Parts(Vec<usize>);

impl Parts {
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

/// How long a node may be silent.
fn patience(announcement: &Announcement) -> Duration {
    let (least, most) = INTERVALS;
    Duration::from_secs(announcement.interval.clamp(least, most).into()) * SILENT_INTERVALS
}

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn id(n: usize) -> NodeId {
        let mut id = [0; 32];
        id[24..].copy_from_slice(&(n as u64).to_be_bytes());
        NodeId(id)
    }

    /// A table in which each node names some others, and when each was heard of.
    fn random(nodes: usize, named: usize, rng: &mut SmallRng) -> (Table, Instant) {
        let (mut table, now) = (Table::default(), Instant::now() + 1_000 * SECOND);
        for node in 0..nodes {
            let announcement = Announcement {
                node: id(node),
                session: Session::from_random([1; 16]),
                address: None,
                since: 0,
                seq: 0,
                // Some of them nobody has ever heard of.
                peers: (0..rng.random_range(0..=named)).map(|_| id(rng.random_range(0..nodes + nodes / 8))).collect(),
                links: 0,
                max_peers: None,
                nodes: 0,
                interval: 3_600,
                left: false,
                seal: None,
            };
            table.put(announcement, now - SECOND * rng.random_range(0..4));
        }
        (table, now)
    }

    #[test]
    fn gone_is_whoever_no_chain_of_links_leads_to() {
        let mut rng = SmallRng::seed_from_u64(1);
        for _ in 0..200 {
            let nodes = rng.random_range(1..30);
            let (mut table, now) = random(nodes, 2, &mut rng);
            let neighbours: Vec<NodeId> = (0..rng.random_range(0..3)).map(|_| id(rng.random_range(0..nodes))).collect();
            // The same by going round until nothing changes.
            let linked = |one: usize, other: usize| {
                let (one, other) = (&table.records[&id(one)], &table.records[&id(other)]);
                let names = |record: &Record, node| record.announcement.peers.contains(&node);
                (one.heard >= other.heard && names(one, other.announcement.node))
                    || (other.heard >= one.heard && names(other, one.announcement.node))
            };
            let mut reached: Vec<bool> = (0..nodes).map(|node| neighbours.contains(&id(node))).collect();
            for _ in 0..nodes {
                for node in 0..nodes {
                    reached[node] |= (0..nodes).any(|other| reached[other] && linked(node, other));
                }
            }
            let expected: Vec<NodeId> = (0..nodes).filter(|node| !reached[*node]).map(id).collect();
            assert_eq!(table.sweep(now, &neighbours, 10 * SECOND).0, [], "they have ten seconds");
            let gone: Vec<NodeId> =
                table.sweep(now + 10 * SECOND, &neighbours, 10 * SECOND).0.into_iter().map(|(node, _)| node).collect();
            assert_eq!(gone, expected, "{neighbours:?} {table:?}");
        }
    }
}
