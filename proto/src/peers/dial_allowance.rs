//! The allowance of connections: how often one source group may have one host dialled.
//!
//! A liar could otherwise aim the mesh at a third party: by a thousand names that resolve to one
//! address, by claims to verify, or by false offers of images. So each connection is counted
//! against the IP address that a name resolved to, just before it is opened. Dials, probes and
//! image transfers are counted together.
//!
//! | exempt | why |
//! |---|---|
//! | loopback | only programs of this host may name it, and they can do more harm in other ways |
//! | another node that answers | it is no third party: each node at one address beyond the first one gives the connection back. So many nodes behind one address are linked within a second |
//! | the wanted node, in an image transfer | a search of the user finds a node once, so its transfers are not a peer's doing |
//!
//! An address that several groups named is dialled on the word of any of them: a liar cannot use up
//! the allowance of an honest peer. All groups together have four times that of one.
//!
//! Nobody knows who is behind a word that a neighbour passed on, or behind a record of multicast
//! DNS. So these share half an allowance, and it is part of that of each group: otherwise one
//! attacker would have several. They wait while all groups together have used one allowance.
//!
//! It is not known either who sets the DNS records of a name. The name may stand for its own node
//! when honest nodes verify it and pass it on, and for a third party when they are believed. So a
//! name counts as one of unknown source, no matter who passed it on ([`sources_of_name`]).
//!
//! The runtime calls it, as only the runtime knows IP addresses.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::id::NodeId;
use crate::ip_prefix::{IpPrefix, SourceGroup};
use crate::limits::Limits;

/// So many times the allowance of one group is that of all groups together, the user excepted.
const GROUPS_AT_ONCE: usize = 4;
/// Entries are looked through for old ones when there are this many, and at each doubling.
const PRUNED_AT: usize = 256;

/// The connections that were opened lately.
#[derive(Debug)]
pub struct DialAllowance {
    most: usize,
    window: Duration,
    /// What each party caused at each host.
    opened: BTreeMap<(Party, IpPrefix), Host>,
    prune_at: usize,
}

/// Whose connections are counted as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Party {
    Group(SourceGroup),
    /// Those of whom nobody knows who they are.
    Unknown,
    /// All but the user.
    Together,
}

impl Party {
    fn of(source: SourceGroup) -> Self {
        match source {
            SourceGroup::Relayed | SourceGroup::LocalNetwork => Self::Unknown,
            source => Self::Group(source),
        }
    }

    /// Returns the parties for which a connection of this one counts.
    fn counted(self) -> impl Iterator<Item = Self> {
        std::iter::once(self).chain((self != Self::Group(SourceGroup::User)).then_some(Self::Together))
    }
}

/// What was caused at one host.
#[derive(Debug, Default)]
struct Host {
    /// When connections were opened that count.
    opened: VecDeque<Instant>,
    /// The nodes that answered, and when each did last.
    nodes: BTreeMap<NodeId, Instant>,
    /// How many connections are being opened.
    under_way: usize,
}

/// A connection that is counted, until [`DialAllowance::finish`].
#[derive(Debug)]
pub struct Counted {
    /// `None`: it is exempt.
    key: Option<(Party, IpPrefix)>,
    at: Instant,
}

/// A connection that is not allowed now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PutOff {
    /// When it is allowed.
    pub until: Instant,
    /// Whether one that is under way may be given back before.
    pub may_end_sooner: bool,
}

/// Returns the groups on whose word the IP addresses of a name are dialled, from those that named
/// it: the user vouches for a name, and nobody else does.
pub fn sources_of_name(named_by: &[SourceGroup]) -> Vec<SourceGroup> {
    let source = |group: &SourceGroup| match group {
        SourceGroup::User => SourceGroup::User,
        _ => SourceGroup::Relayed,
    };
    let mut sources: Vec<_> = named_by.iter().map(source).collect();
    sources.sort_unstable();
    sources.dedup();
    sources
}

impl DialAllowance {
    /// Allows what the limits say.
    pub fn new(limits: &Limits) -> Self {
        let (most, window) = (limits.host_dials as usize, limits.host_window);
        Self { most, window, opened: BTreeMap::new(), prune_at: PRUNED_AT }
    }

    /// Counts a connection to an IP address on the word of the first of these groups that has any
    /// left.
    ///
    /// # Errors
    /// None of them has; nothing is counted.
    pub fn spend(&mut self, now: Instant, sources: &[SourceGroup], ip: IpAddr) -> Result<Counted, PutOff> {
        let Some(host) = IpPrefix::address_group(ip) else { return Ok(Counted { key: None, at: now }) };
        self.prune(now);
        let mut put_off: Option<PutOff> = None;
        for source in sources {
            let party = Party::of(*source);
            match self.full(now, party, host) {
                Some(full) => {
                    let until = put_off.map_or(full.until, |off| off.until.min(full.until));
                    let may_end_sooner = full.may_end_sooner || put_off.is_some_and(|off| off.may_end_sooner);
                    put_off = Some(PutOff { until, may_end_sooner });
                }
                None => {
                    for counted in party.counted() {
                        let entry = self.opened.entry((counted, host)).or_default();
                        entry.opened.push_back(now);
                        entry.under_way += 1;
                    }
                    return Ok(Counted { key: Some((party, host)), at: now });
                }
            }
        }
        Err(put_off.unwrap_or(PutOff { until: now + self.window, may_end_sooner: false }))
    }

    /// Returns when a party may have a host dialled again, if it may not now.
    fn full(&mut self, now: Instant, party: Party, host: IpPrefix) -> Option<PutOff> {
        let (one, all) = (self.most, self.most * GROUPS_AT_ONCE);
        let bounds: &[(&[Party], usize)] = match party {
            Party::Unknown => &[(&[party], one.div_ceil(2)), (&[Party::Together], one)],
            Party::Group(SourceGroup::User) => &[(&[party], one)],
            _ => &[(&[party, Party::Unknown], one), (&[Party::Together], all)],
        };
        bounds.iter().find_map(|(parties, most)| self.used_up(now, parties, host, *most))
    }

    /// Returns when these parties together have opened fewer than `most` again, if they have not.
    fn used_up(&mut self, now: Instant, parties: &[Party], host: IpPrefix, most: usize) -> Option<PutOff> {
        let (mut opened, mut under_way) = (Vec::new(), 0);
        for party in parties {
            let Some(entry) = self.opened.get_mut(&(*party, host)) else { continue };
            entry.forget(now, self.window);
            opened.extend(entry.opened.iter().copied());
            under_way += entry.under_way;
        }
        opened.sort_unstable();
        let last = *opened.get(opened.len().checked_sub(most)?)?;
        Some(PutOff { until: last + self.window, may_end_sooner: under_way > 0 })
    }

    /// Ends a connection, or the attempt to open one. `node` answered it; `wanted` says that it is
    /// the very node that was to be found there. Returns whether it was given back.
    pub fn finish(&mut self, now: Instant, counted: &Counted, node: Option<NodeId>, wanted: bool) -> bool {
        let Some((party, host)) = counted.key else { return false };
        let own = self.opened.get_mut(&(party, host));
        let given_back = own.is_some_and(|own| {
            own.forget(now, self.window);
            let another = node.is_some_and(|node| !own.nodes.is_empty() && !own.nodes.contains_key(&node));
            own.nodes.extend(node.map(|node| (node, now)));
            another || wanted
        });
        for counted_for in party.counted() {
            let Some(entry) = self.opened.get_mut(&(counted_for, host)) else { continue };
            entry.under_way = entry.under_way.saturating_sub(1);
            if let Some(number) = entry.opened.iter().position(|at| *at == counted.at).filter(|_| given_back) {
                entry.opened.remove(number);
            }
        }
        given_back
    }

    fn prune(&mut self, now: Instant) {
        if self.opened.len() >= self.prune_at {
            let window = self.window;
            self.opened.retain(|_, host| {
                host.forget(now, window);
                !host.opened.is_empty() || host.under_way > 0
            });
            self.prune_at = PRUNED_AT.max(self.opened.len() * 2);
        }
    }
}

impl Host {
    fn forget(&mut self, now: Instant, window: Duration) {
        let old = |at: &Instant| now.saturating_duration_since(*at) >= window;
        self.opened.retain(|at| !old(at));
        self.nodes.retain(|_, at| !old(at));
    }
}

#[cfg(test)]
mod tests;
