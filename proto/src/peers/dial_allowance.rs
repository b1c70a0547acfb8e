//! The allowance of connections: how often one source group may have one host dialled.
//!
//! A liar could otherwise aim the mesh at a third party: by a thousand names that resolve to one
//! address, by claims to verify, or by false offers of images. So each connection is counted against
//! the IP address that a name resolved to, just before it is opened. Dials, probes and image
//! transfers are counted together.
//!
//! | exempt | why |
//! |---|---|
//! | loopback | only programs of this host may name it, and they can do more harm in other ways |
//! | another node that answers | it is no third party: each node at one address beyond the first one gives the connection back. So many nodes behind one address are linked within a second |
//! | the wanted node, in an image transfer | a search of the user finds a node once, so its transfers are not a peer's doing |
//!
//! An address that several groups named is dialled on the word of any of them: a liar cannot use up
//! the allowance of an honest peer. The runtime calls it, as only the runtime knows IP addresses.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::id::NodeId;
use crate::ip_prefix::{IpPrefix, SourceGroup};
use crate::limits::Limits;

/// Entries are looked through for old ones when there are this many, and at each doubling.
const PRUNED_AT: usize = 256;

/// The connections that were opened lately.
#[derive(Debug)]
pub struct DialAllowance {
    most: usize,
    window: Duration,
    opened: BTreeMap<(SourceGroup, IpPrefix), Host>,
    prune_at: usize,
}

/// What one source group caused at one host.
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
    key: Option<(SourceGroup, IpPrefix)>,
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
        let Some(host) = IpPrefix::subscriber(ip) else { return Ok(Counted { key: None, at: now }) };
        self.prune(now);
        let mut put_off: Option<PutOff> = None;
        for source in sources {
            let entry = self.opened.entry((*source, host)).or_default();
            entry.forget(now, self.window);
            match entry.opened.front() {
                Some(first) if entry.opened.len() >= self.most => {
                    let until = put_off.map_or(*first + self.window, |off| off.until.min(*first + self.window));
                    let may_end_sooner = entry.under_way > 0 || put_off.is_some_and(|off| off.may_end_sooner);
                    put_off = Some(PutOff { until, may_end_sooner });
                }
                _ => {
                    entry.opened.push_back(now);
                    entry.under_way += 1;
                    return Ok(Counted { key: Some((*source, host)), at: now });
                }
            }
        }
        Err(put_off.unwrap_or(PutOff { until: now + self.window, may_end_sooner: false }))
    }

    /// Ends a connection, or the attempt to open one. `node` answered it; `wanted` says that it is the
    /// very node that was to be found there. Returns whether it was given back.
    pub fn finish(&mut self, now: Instant, counted: &Counted, node: Option<NodeId>, wanted: bool) -> bool {
        let Some(entry) = counted.key.and_then(|key| self.opened.get_mut(&key)) else { return false };
        entry.under_way = entry.under_way.saturating_sub(1);
        entry.forget(now, self.window);
        let Some(node) = node else { return false };
        let another = wanted || (!entry.nodes.is_empty() && !entry.nodes.contains_key(&node));
        entry.nodes.insert(node, now);
        let counts = entry.opened.iter().position(|at| *at == counted.at).filter(|_| another);
        counts.is_some_and(|number| entry.opened.remove(number).is_some())
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
