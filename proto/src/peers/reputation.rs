//! How peers behave: who breaks rules is scored, slowed, closed, and kept away for a while.
//!
//! Every breach has its weight in points ([`Violation`]); points fade. At half of the most that is borne, reading the link rests for a moment after each breach; at
//! the most it is closed, with every other link from there, and the **address group** is kept away: its connections are closed at once, and it is not dialled. A group is one
//! IPv4 address or one IPv6 /64. Bitcoin Core discourages single addresses too, and a /64 is what one subscriber has (RFC 6177); a wider net would let whoever
//! rents one address shut out its neighbours.
//!
//! What is scored are rules that no honest node can break, whatever it is told by others, however slow it is and however its clock stands. What a node passes on in good
//! faith, what a lost race brings about, and slowness have no weight: they have bounds of their own. So honest behaviour never adds up; the simulator checks it.
//!
//! Not kept away are: this host, where each link is scored by itself and only closed, and what a person named (known peers), as with manual connections in Bitcoin Core.
//! With the group goes the id of the node, where somebody with that id was seen to answer at an address. An id is not proven in an open network, so it is held
//! against accepted links alone: whom we dial ourselves is let in. Else anyone could shut a node out by misbehaving in its name.
//!
//! All of it is in memory, bounded, and gone at the next start.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use crate::address::{PeerAddress, Scope};
use crate::connections::table::Link;
use crate::event::Event;
use crate::id::{LinkId, NodeId};
use crate::timers::Timer;
use crate::violation::ViolationKind;
use crate::wire::close;
use crate::wire::{PeerRow, PeerState};
use crate::{Node, Output, limits};

/// Addresses that are treated as one: an IPv4 address, or an IPv6 /64. None on this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct AddressGroup(IpAddr);

impl AddressGroup {
    pub(crate) fn of(ip: IpAddr) -> Option<Self> {
        let ip = match ip.to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
            v4 => v4,
        };
        (Scope::of(ip) != Scope::Loopback).then_some(Self(ip))
    }

    /// The wider network around it, an IPv4 /16 or an IPv6 /32, in which one person can easily have many addresses.
    pub(crate) fn network(self) -> Self {
        Self(match self.0 {
            IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits() & 0xffff_0000).into(),
            IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !(u128::MAX >> 32)).into(),
        })
    }

    /// That of an address which says its IP; a name says nothing before it is resolved.
    fn of_address(address: &PeerAddress) -> Option<Self> {
        address.host().parse().ok().and_then(Self::of)
    }
}

impl fmt::Display for AddressGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(ip) => ip.fmt(f),
            IpAddr::V6(ip) => write!(f, "{ip}/64"),
        }
    }
}

/// Points that fade.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Score {
    points: u32,
    /// Up to when they have faded.
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

    fn add(&mut self, now: Instant, points: u32) -> u32 {
        let left = self.at(now);
        if left == 0 {
            *self = Self::new(now);
        } else {
            // Whole points have faded; what began to fade goes on.
            self.at += limits::SCORE_DECAY * (self.points - left);
        }
        self.points = left.saturating_add(points);
        self.points
    }
}

/// What is held against one group.
#[derive(Debug)]
struct Record {
    score: Score,
    /// Until when it is kept away, and for what.
    kept: Option<Kept>,
    /// How often it was, lately: each time it is twice as long.
    times: u32,
}

#[derive(Debug, Clone)]
struct Kept {
    until: Instant,
    cause: String,
}

impl Kept {
    fn left(&self, now: Instant) -> Option<Duration> {
        let left = self.until.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }
}

/// What a person was told of one group, lately.
#[derive(Debug)]
struct BroadcastReceipt {
    at: Instant,
    /// How often it was turned away since, and for what the last time.
    unsaid: u64,
    cause: String,
}

/// What is remembered of how peers behaved.
#[derive(Debug, Default)]
pub(crate) struct Reputation {
    records: BTreeMap<AddressGroup, Record>,
    nodes: BTreeMap<NodeId, Kept>,
    /// `None`: this host.
    told: BTreeMap<Option<AddressGroup>, BroadcastReceipt>,
}

impl Reputation {
    /// For how much longer a group is kept away, and for what.
    fn kept(&self, now: Instant, group: AddressGroup) -> Option<(Duration, &Kept)> {
        let kept = self.records.get(&group)?.kept.as_ref()?;
        kept.left(now).map(|left| (left, kept))
    }

    /// Counts an offence against a group; gives its score.
    fn offend(&mut self, now: Instant, group: AddressGroup, points: u32) -> u32 {
        if !self.records.contains_key(&group) && self.records.len() >= limits::REPUTATION_ENTRIES {
            self.make_room(now);
        }
        let new = || Record { score: Score::new(now), kept: None, times: 0 };
        self.records.entry(group).or_insert_with(new).score.add(now, points)
    }

    /// Forgets whoever is clean by now; if nobody is, the one that is kept away for the shortest time still, and of those that are not, the one with the fewest points.
    fn make_room(&mut self, now: Instant) {
        let clean = |record: &Record| {
            let kept = record.kept.as_ref().map(|kept| now.saturating_duration_since(kept.until));
            record.score.at(now) == 0 && kept.is_none_or(|since| since >= limits::BAN_MAX)
        };
        self.records.retain(|_, record| !clean(record));
        if self.records.len() >= limits::REPUTATION_ENTRIES {
            let left = |record: &Record| record.kept.as_ref().and_then(|kept| kept.left(now));
            let least = self.records.iter().min_by_key(|(_, record)| (left(record), record.score.at(now)));
            if let Some(group) = least.map(|(group, _)| *group) {
                self.records.remove(&group);
            }
        }
    }

    /// Keeps a group away; says for how long.
    fn keep_away(&mut self, now: Instant, group: AddressGroup, cause: &str) -> Duration {
        let Some(record) = self.records.get_mut(&group) else { return Duration::ZERO };
        let forgiven = |kept: &Kept| now.saturating_duration_since(kept.until) >= limits::BAN_MAX;
        if record.kept.as_ref().is_some_and(forgiven) {
            record.times = 0;
        }
        let time = (limits::BAN_MIN * (1 << record.times.min(16))).min(limits::BAN_MAX);
        record.times += 1;
        record.score = Score::new(now);
        record.kept = Some(Kept { until: now + time, cause: shown(cause) });
        time
    }

    fn keep_node_away(&mut self, now: Instant, node: NodeId, time: Duration, cause: &str) {
        self.nodes.retain(|_, kept| kept.left(now).is_some());
        if self.nodes.len() < limits::REPUTATION_ENTRIES {
            self.nodes.insert(node, Kept { until: now + time, cause: shown(cause) });
        }
    }

    /// Whether a person is told now that somebody was turned away; else it is counted. Gives how many were counted before.
    fn may_tell(&mut self, now: Instant, group: Option<AddressGroup>, cause: &str) -> Option<u64> {
        let over = |told: &BroadcastReceipt| now.saturating_duration_since(told.at) >= limits::LOG_INTERVAL;
        if !self.told.contains_key(&group) && self.told.len() >= limits::LOG_GROUPS {
            // The line of a minute ago had its time; with this many groups at once the counters must do.
            self.told.retain(|_, told| !over(told));
            if self.told.len() >= limits::LOG_GROUPS {
                return None;
            }
        }
        let told = self.told.get_mut(&group);
        if let Some(told) = told
            && !over(told)
        {
            told.unsaid += 1;
            told.cause = shown(cause);
            return None;
        }
        let before = self.told.insert(group, BroadcastReceipt { at: now, unsaid: 0, cause: String::new() });
        Some(before.map_or(0, |told| told.unsaid))
    }

    /// When the next count of what was not said is due.
    fn next_count(&self) -> Option<Instant> {
        self.told.values().filter(|told| told.unsaid > 0).map(|told| told.at + limits::LOG_INTERVAL).min()
    }
}

fn shown(text: &str) -> String {
    text.chars().take(limits::SHOWN_CHARACTERS).collect()
}

impl Node {
    /// A peer broke a rule.
    pub(crate) fn offend(&mut self, link: LinkId, offence: ViolationKind, text: &str) {
        self.links.log_fault(&mut self.cx, link, text.to_owned());
        let now = self.cx.now;
        let Some(open) = self.links.get_mut(link) else { return };
        self.cx.counters.violations += 1;
        let points = offence.points();
        let score = match open.group {
            Some(group) => self.reputation.offend(now, group, points),
            None => open.score.add(now, points),
        };
        if score >= limits::BAN_SCORE {
            self.cx.counters.bans += 1;
            self.expel(now, link, text);
        } else if score >= limits::BAN_SCORE / 2 && !open.closing {
            self.cx.output(Output::PauseReading { link, time: limits::VIOLATION_PAUSE });
        }
    }

    /// The other end of a link broke WebSocket's own rules; the shell closes it.
    pub(crate) fn on_broke(&mut self, link: LinkId, what: &str) {
        self.cx.counters.frames_broken += 1;
        self.offend(link, ViolationKind::Malformed, what);
    }

    /// Closes a link for what its other end did, and keeps that away.
    fn expel(&mut self, now: Instant, link: LinkId, cause: &str) {
        let named = self.is_named(link);
        let peer = self.links.name_of(link);
        let group = self.links.get(link).and_then(|open| open.group).filter(|_| !named);
        self.links.close(&mut self.cx, link, close::POLICY, "too many messages that break the rules");
        let time = group.map(|group| self.reputation.keep_away(now, group, cause));
        let from = group.map(|group| group.to_string());
        self.cx.notify(Event::Banned { peer, from, cause: cause.to_owned(), time });
        let (Some(group), Some(time)) = (group, time) else { return };
        let proven = self.links.get(link).and_then(Link::full).filter(|peer| peer.address.is_some());
        if let Some(node) = proven.map(|peer| peer.id) {
            self.reputation.keep_node_away(now, node, time, cause);
        }
        for address in self.book.leading_to(link) {
            if let Some(peer) = self.book.get_mut(&address) {
                peer.kept_until = Some(now + time);
            }
        }
        let others = self.links.iter().filter(|(other, open)| *other != link && open.group == Some(group));
        let others: Vec<LinkId> = others.map(|(other, _)| other).filter(|other| !self.is_named(*other)).collect();
        for other in others {
            self.links.close(
                &mut self.cx,
                other,
                close::POLICY,
                "another connection from your address broke the rules",
            );
        }
    }

    /// Whether a person named who is at the other end of a link.
    fn is_named(&self, link: LinkId) -> bool {
        let name = self.links.name_of(link);
        let Some(open) = self.links.get(link) else { return false };
        // What a stranger merely claims proves nothing: it must have been dialled, or probed.
        let shown = open.dialled.clone().or_else(|| open.full().and(name.address));
        shown.and_then(|address| self.book.get(&address)).is_some_and(|peer| peer.known)
    }

    /// A link has just opened; says whether it is closed at once, because its other end is kept away.
    pub(crate) fn turns_away(&mut self, now: Instant, link: LinkId) -> bool {
        let named = self.is_named(link);
        let Some(group) = self.links.get(link).and_then(|open| open.group).filter(|_| !named) else { return false };
        let Some((left, kept)) = self.reputation.kept(now, group) else { return false };
        let (cause, until) = (kept.cause.clone(), kept.until);
        for address in self.book.leading_to(link) {
            if let Some(peer) = self.book.get_mut(&address) {
                peer.kept_until = Some(until);
            }
        }
        self.send_off(now, link, left, &cause);
        true
    }

    /// A node introduced itself on a link that we accepted; says whether it is closed, because its id is kept away.
    pub(crate) fn turns_node_away(&mut self, now: Instant, link: LinkId, node: NodeId) -> bool {
        let accepted = self.links.get(link).is_some_and(|open| open.dialled.is_none() && open.group.is_some());
        let kept = self.reputation.nodes.get(&node).filter(|_| accepted);
        let Some((left, cause)) = kept.and_then(|kept| Some((kept.left(now)?, kept.cause.clone()))) else {
            return false;
        };
        self.send_off(now, link, left, &cause);
        true
    }

    fn send_off(&mut self, now: Instant, link: LinkId, left: Duration, cause: &str) {
        self.cx.counters.links_banned += 1;
        let reason = format!("you broke the rules; come back in {} s", left.as_secs() + 1);
        self.links.close(&mut self.cx, link, close::POLICY, &reason);
        let group = self.links.get(link).and_then(|open| open.group);
        let text = format!("it is kept away for {} s: {cause}", left.as_secs() + 1);
        self.tell_refusal(now, group, &text);
    }

    /// The shell refused a connection before it became a link.
    pub(crate) fn on_refused(&mut self, now: Instant, remote: IpAddr, reason: &str) {
        self.cx.counters.connections_refused += 1;
        self.tell_refusal(now, AddressGroup::of(remote), reason);
    }

    /// Tells a person who was refused and why: once a minute for each group, with the count of what was not told.
    pub(crate) fn tell_refusal(&mut self, now: Instant, group: Option<AddressGroup>, reason: &str) {
        let from = || group.map_or_else(|| "this host".to_owned(), |group| group.to_string());
        match self.reputation.may_tell(now, group, reason) {
            Some(unsaid) => self.cx.notify(Event::PeerRefused { from: from(), reason: reason.to_owned(), unsaid }),
            None => self.schedule_count(),
        }
    }

    fn schedule_count(&mut self) {
        if let Some(at) = self.reputation.next_count() {
            self.cx.timers.set(Timer::Untold, at);
        }
    }

    /// A minute is over in which somebody was turned away without a word.
    pub(crate) fn on_untold_due(&mut self, now: Instant) {
        let due =
            |told: &BroadcastReceipt| told.unsaid > 0 && now.saturating_duration_since(told.at) >= limits::LOG_INTERVAL;
        let mut events = Vec::new();
        for (group, told) in self.reputation.told.iter_mut().filter(|(_, told)| due(told)) {
            let from = group.map_or_else(|| "this host".to_owned(), |group| group.to_string());
            let (unsaid, reason) = (std::mem::take(&mut told.unsaid), std::mem::take(&mut told.cause));
            // This is one of them.
            events.push(Event::PeerRefused { from, reason, unsaid: unsaid - 1 });
            told.at = now;
        }
        events.into_iter().for_each(|event| self.cx.notify(event));
        self.schedule_count();
    }

    /// Until when an address is not dialled, because who is there broke rules.
    pub(crate) fn kept_from(&self, now: Instant, address: &PeerAddress) -> Option<Instant> {
        let peer = self.book.get(address).filter(|peer| !peer.known)?;
        let by_group = AddressGroup::of_address(address).and_then(|group| self.reputation.kept(now, group));
        let by_group = by_group.map(|(_, kept)| kept.until);
        by_group.max(peer.kept_until).filter(|until| *until > now)
    }

    /// The groups that are kept away, as rows of the peer table.
    pub(crate) fn kept_rows(&self, now: Instant) -> Vec<PeerRow> {
        let groups =
            self.reputation.records.keys().filter_map(|group| Some((group, self.reputation.kept(now, *group)?)));
        let row = |(group, (left, kept)): (&AddressGroup, (Duration, &Kept))| PeerRow {
            address: group.to_string(),
            state: PeerState::Banned,
            seconds: Some(left.as_secs_f64().round()),
            known: false,
            cause: Some(kept.cause.clone()),
        };
        groups.map(row).take(limits::STATUS_PEERS / 4).collect()
    }
}

#[cfg(test)]
mod tests;
