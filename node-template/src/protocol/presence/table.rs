//! The table of nodes: what each last announced, and whether it can still be there.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use crate::protocol::identity::{NodeId, Session};
use crate::protocol::limits::{self, Limits};
use crate::protocol::message::Announcement;

/// After so many intervals of its own without a word a node is gone.
const SILENT_INTERVALS: u32 = 3;
/// The shortest and the longest interval that a node may claim.
const INTERVALS: (u32, u32) = (10, 4 * 60 * 60);
/// How many nodes that are gone one generation remembers; there are two.
const GONE: usize = 8_192;

/// Whether an announcement is news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
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
pub(super) struct Table {
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
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    pub(super) fn get(&self, node: NodeId) -> Option<&Announcement> {
        self.records.get(&node).map(|record| &record.announcement)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Announcement, Instant)> {
        self.records.values().map(|record| (&record.announcement, record.heard))
    }

    /// So many nodes that come after one, in the order of their ids.
    pub(super) fn after(&self, last: Option<NodeId>, most: usize) -> Vec<(Announcement, Instant)> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = last.map_or(Unbounded, Excluded);
        let some = self.records.range((from, Unbounded)).take(most);
        some.map(|(_, record)| (record.announcement.clone(), record.heard)).collect()
    }

    /// Whether an announcement is newer than what is known of its node: of one run the later count, of two runs the later start. Whoever is linked to us
    /// is right about its run. And whether there is room for it; a neighbour takes another's place.
    pub(super) fn judge(&self, announcement: &Announcement, direct: bool, limits: &Limits) -> Verdict {
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
    pub(super) fn put(&mut self, announcement: Announcement, heard: Instant) -> bool {
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
    pub(super) fn bury(&mut self, node: NodeId, last: Option<&Announcement>) -> bool {
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
    pub(super) fn sweep(
        &mut self,
        now: Instant,
        neighbours: &[NodeId],
        gone_after: Duration,
    ) -> (Vec<(NodeId, &'static str)>, Option<Instant>) {
        let reachable = self.reachable(neighbours);
        let mut gone = Vec::new();
        let mut next: Option<Instant> = None;
        for (node, record) in &mut self.records {
            let silent_at = record.heard + patience(&record.announcement);
            let gone_at = if reachable.contains(node) {
                record.missing = None;
                silent_at
            } else {
                (*record.missing.get_or_insert(now) + gone_after).min(silent_at)
            };
            if neighbours.contains(node) {
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

    /// Whom the links lead to that are known, ours first. Of two nodes the one that was heard of last says whether they are linked.
    fn reachable(&self, neighbours: &[NodeId]) -> HashSet<NodeId> {
        let mut links: HashMap<NodeId, Vec<NodeId>> = HashMap::new();
        for (node, record) in &self.records {
            for peer in &record.announcement.peers {
                if self.records.get(peer).is_some_and(|other| record.heard >= other.heard) {
                    links.entry(*node).or_default().push(*peer);
                    links.entry(*peer).or_default().push(*node);
                }
            }
        }
        let mut reachable: HashSet<NodeId> = neighbours.iter().copied().collect();
        let mut next: Vec<NodeId> = neighbours.to_vec();
        while let Some(node) = next.pop() {
            for peer in links.get(&node).into_iter().flatten() {
                if reachable.insert(*peer) {
                    next.push(*peer);
                }
            }
        }
        reachable
    }
}

/// How long a node may be silent.
fn patience(announcement: &Announcement) -> Duration {
    let (least, most) = INTERVALS;
    Duration::from_secs(announcement.interval.clamp(least, most).into()) * SILENT_INTERVALS
}
