//! Peer scores and bans: a peer that breaks rules is slowed down, closed, and banned for a while.
//!
//! Every violation has a weight in points ([`ViolationKind`](crate::violation::ViolationKind)), and
//! points decay. From half of [`limits::BAN_SCORE`] the link is not read for a moment after each
//! violation. At the whole score all links of its **address group** are closed, and the group is
//! banned: its connections are closed at once, and it is not dialled.
//!
//! An address group is one IPv4 address or one IPv6 /64, the least that a site gets (RFC 6177).
//! Bitcoin Core discourages single addresses too. With a wider prefix an attacker who rents one
//! address could have its neighbors banned.
//!
//! Points are given only for rules that no honest node can break, whatever others send to it, and
//! however slow it or its clock is. Content relayed in good faith, lost races and slowness have no
//! weight; they have limits of their own. So honest behaviour never adds up; the simulator checks
//! it.
//!
//! Links on this host are scored one by one, and closed without a ban. Known peers are not banned
//! either, as manual connections in Bitcoin Core. With the address group the node id is banned that
//! answered at a verified address. In an open network an id is not authenticated, so its ban holds
//! for accepted links only. Otherwise anyone could have a node banned by misbehaving in its name.
//!
//! Over iroh the transport proves the node id, and the IP address may be that of a relay that many
//! share. There the id is scored and banned, and nobody else: a liar must not have a relay banned.
//! Ids are free, so how many links one subscriber has is bounded besides, by the runtime.
//!
//! All of it is in memory, bounded, and gone at the next start.
//! [`Connections::penalize`](crate::connections) calls it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::access::Rules;
use crate::address::PeerAddress;
use crate::id::NodeId;
use crate::ip_prefix::IpPrefix;
use crate::limits;
use crate::peers::address_book::AddressBook;
use crate::violation::Violation;
use crate::wire::{PeerRow, PeerState};

/// Points that decay by one in each [`limits::SCORE_DECAY`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Score {
    /// The points at the time `at`.
    points: u32,
    /// Up to when the decay is taken into account.
    at: Instant,
}

impl Score {
    pub(crate) fn new(now: Instant) -> Self {
        Self { points: 0, at: now }
    }

    fn at(&self, now: Instant) -> u32 {
        let passed = now.saturating_duration_since(self.at).as_secs() / limits::SCORE_DECAY.as_secs();
        self.points.saturating_sub(u32::try_from(passed).unwrap_or(u32::MAX))
    }

    /// Adds points; returns the score.
    pub(crate) fn add(&mut self, now: Instant, points: u32) -> u32 {
        let left = self.at(now);
        if left == 0 {
            *self = Self::new(now);
        } else {
            // Only whole points have decayed; the time towards the next one is kept.
            self.at += limits::SCORE_DECAY * (self.points - left);
        }
        self.points = left.saturating_add(points);
        self.points
    }
}

/// Whose violations are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scored {
    /// Everybody at the addresses of an address group.
    AddressGroup(IpPrefix),
    /// A node whose id the transport proves.
    Node(NodeId),
}

impl From<IpPrefix> for Scored {
    fn from(address_group: IpPrefix) -> Self {
        Self::AddressGroup(address_group)
    }
}

/// The record of one address group or node.
#[derive(Debug)]
struct Record {
    score: Score,
    ban: Option<Ban>,
    /// The number of bans since the last pardon: each is twice as long as the one before.
    bans: u32,
}

/// A ban, under way or over.
#[derive(Debug, Clone)]
pub(crate) struct Ban {
    pub(crate) until: Instant,
    pub(crate) cause: Violation,
}

impl Ban {
    /// Returns how long it still lasts.
    pub(crate) fn left(&self, now: Instant) -> Option<Duration> {
        let left = self.until.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }
}

/// The scores and bans of address groups and of nodes over iroh, and the bans of node ids.
#[derive(Debug, Default)]
pub(crate) struct Reputation {
    records: BTreeMap<Scored, Record>,
    nodes: BTreeMap<NodeId, Ban>,
}

impl Reputation {
    /// Returns the current ban of an address group, or of a node whose id is proved.
    pub(crate) fn ban_of(&self, now: Instant, who: impl Into<Scored>) -> Option<&Ban> {
        let who = who.into();
        let ban = self.records.get(&who).and_then(|record| record.ban.as_ref());
        ban.filter(|ban| ban.left(now).is_some()).or_else(|| match who {
            Scored::AddressGroup(_) => None,
            Scored::Node(node) => self.ban_of_node(now, node),
        })
    }

    /// Returns the current ban of a node id.
    pub(crate) fn ban_of_node(&self, now: Instant, node: NodeId) -> Option<&Ban> {
        self.nodes.get(&node).filter(|ban| ban.left(now).is_some())
    }

    /// Counts a violation against an address group or a node; returns its score.
    pub(crate) fn add(&mut self, now: Instant, who: impl Into<Scored>, points: u32) -> u32 {
        let who = who.into();
        if !self.records.contains_key(&who) && self.records.len() >= limits::REPUTATION_ENTRIES {
            self.make_room(now);
        }
        let new = || Record { score: Score::new(now), ban: None, bans: 0 };
        self.records.entry(who).or_insert_with(new).score.add(now, points)
    }

    /// Forgets those with a clean record. If there are none, forgets the one with the
    /// shortest ban left, or of those that are not banned the one with the fewest points.
    fn make_room(&mut self, now: Instant) {
        let clean = |record: &Record| {
            let since = record.ban.as_ref().map(|ban| now.saturating_duration_since(ban.until));
            record.score.at(now) == 0 && since.is_none_or(|since| since >= limits::BAN_MAX)
        };
        self.records.retain(|_, record| !clean(record));
        if self.records.len() >= limits::REPUTATION_ENTRIES {
            let left = |record: &Record| record.ban.as_ref().and_then(|ban| ban.left(now));
            let least = self.records.iter().min_by_key(|(_, record)| (left(record), record.score.at(now)));
            if let Some(who) = least.map(|(who, _)| *who) {
                self.records.remove(&who);
            }
        }
    }

    /// Bans an address group or a node; returns for how long.
    pub(crate) fn ban(&mut self, now: Instant, who: impl Into<Scored>, cause: &Violation) -> Duration {
        let Some(record) = self.records.get_mut(&who.into()) else { return Duration::ZERO };
        let forgiven = |ban: &Ban| now.saturating_duration_since(ban.until) >= limits::BAN_MAX;
        if record.ban.as_ref().is_some_and(forgiven) {
            record.bans = 0;
        }
        let time = (limits::BAN_MIN * (1 << record.bans.min(16))).min(limits::BAN_MAX);
        record.bans += 1;
        record.score = Score::new(now);
        record.ban = Some(Ban { until: now + time, cause: shown(cause) });
        time
    }

    /// Bans a node id.
    pub(crate) fn ban_node(&mut self, now: Instant, node: NodeId, time: Duration, cause: &Violation) {
        self.nodes.retain(|_, ban| ban.left(now).is_some());
        if self.nodes.len() < limits::REPUTATION_ENTRIES {
            self.nodes.insert(node, Ban { until: now + time, cause: shown(cause) });
        }
    }

    /// Lifts the bans that these rules name, by address or by node id, and forgets the scores.
    pub(crate) fn lift(&mut self, book: &mut AddressBook, who: &Rules) {
        let named = |node: &NodeId| who.names(*node);
        self.records.retain(|scored, _| match scored {
            Scored::AddressGroup(address_group) => !who.overlaps(*address_group),
            Scored::Node(node) => !named(node),
        });
        let some_named = self.nodes.keys().any(named);
        self.nodes.retain(|node, _| !named(node));
        // A ban of a node id is noted at its addresses too, without the id.
        let lifted = |address: &PeerAddress| {
            some_named || IpPrefix::address_group_at(address).is_some_and(|address_group| who.overlaps(address_group))
        };
        let addresses: Vec<_> = book.iter().map(|(address, _)| address.clone()).filter(lifted).collect();
        for address in addresses {
            if let Some(peer) = book.get_mut(&address) {
                peer.banned_until = None;
            }
        }
    }

    /// Returns until when an address is not dialled because of a ban. Known peers are never banned.
    pub(crate) fn banned_until(&self, now: Instant, book: &AddressBook, address: &PeerAddress) -> Option<Instant> {
        let peer = book.get(address).filter(|peer| !peer.known)?;
        let node = address.node().map(Scored::Node);
        let who = node.or_else(|| IpPrefix::address_group_at(address).map(Scored::AddressGroup));
        let ban = who.and_then(|who| self.ban_of(now, who));
        ban.map(|ban| ban.until).max(peer.banned_until).filter(|until| *until > now)
    }

    /// Returns those who are banned as rows of the peer table.
    pub(crate) fn rows(&self, now: Instant) -> Vec<PeerRow> {
        let bans = self.records.keys().filter_map(|who| Some((who, self.ban_of(now, *who)?)));
        let row = |(who, ban): (&Scored, &Ban)| PeerRow {
            address: match who {
                Scored::AddressGroup(address_group) => address_group.to_string(),
                Scored::Node(node) => PeerAddress::of_node(*node, []).to_string(),
            },
            state: PeerState::Banned,
            seconds: ban.left(now).map(|left| left.as_secs_f64().round()),
            known: false,
            cause: Some(ban.cause.text.clone()),
        };
        bans.map(row).take(limits::STATUS_PEERS / 4).collect()
    }
}

/// Returns a violation with its text, which may be a stranger's, cut to the length that logs and
/// the page show.
fn shown(cause: &Violation) -> Violation {
    Violation::new(cause.kind, cause.text.chars().take(limits::SHOWN_CHARACTERS).collect::<String>())
}

#[cfg(test)]
mod tests;
