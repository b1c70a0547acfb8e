//! Limits on the lines that strangers can cause: per kind and group of addresses, and per kind in
//! all, since a stranger can name many addresses. What is left out is counted in a line per minute.
//! The log and the node's standard output have a limit each.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::protocol::address::{PeerAddress, Scope};
use crate::protocol::event::{Event, PeerName};
use crate::protocol::util::rate_limit::RateLimit;

/// How many lines there may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Config {
    /// Lines of one kind about one group of addresses: so many at once …
    pub(crate) group_burst: u32,
    /// … and then one in this time.
    pub(crate) group_interval: Duration,
    /// Lines of one kind: so many at once …
    pub(crate) kind_burst: u32,
    /// … and then one in this time.
    pub(crate) kind_interval: Duration,
}

impl Config {
    /// For lines that are kept: some 17 MB a day of each kind. Some dozen nodes may come up at
    /// once; of more a number says enough.
    pub(crate) const KEPT: Self = Self {
        group_burst: 30,
        group_interval: Duration::from_secs(10),
        kind_burst: 64,
        kind_interval: Duration::from_secs(1),
    };
}

/// How many groups are remembered. The lines about others have the limit of their kind alone.
const GROUPS: usize = 1_024;
/// How often the number of lines that were left out is logged.
const COUNT_EVERY: Duration = Duration::from_secs(60);

/// A kind of line: how it begins.
type Kind = &'static str;

/// See the module.
#[derive(Debug)]
pub(crate) struct LineLimit {
    config: Config,
    groups: BTreeMap<(Kind, String), (RateLimit, Instant)>,
    kinds: BTreeMap<Kind, OfKind>,
}

#[derive(Debug, Default)]
struct OfKind {
    limit: RateLimit,
    left_out: u64,
    /// When the first of these was left out.
    since: Option<Instant>,
}

impl LineLimit {
    pub(crate) fn new(config: Config) -> Self {
        Self { config, groups: BTreeMap::new(), kinds: BTreeMap::new() }
    }

    /// Returns whether an event is written, and counts it otherwise. `lines`: as how many lines it
    /// counts, at most a burst.
    pub(crate) fn admits(&mut self, now: Instant, event: &Event, lines: u32) -> bool {
        let Some((kind, subject)) = source(event) else { return true };
        let within_group = subject.group().is_none_or(|group| self.group_admits(now, (kind, group), lines));
        let Config { kind_burst, kind_interval, .. } = self.config;
        let of_kind = self.kinds.entry(kind).or_default();
        let admits =
            within_group && of_kind.limit.spend(now, kind_interval * lines, kind_interval * kind_burst).is_ok();
        if !admits {
            self.leave_out(now, kind, 1);
        }
        admits
    }

    /// Counts lines that are left out.
    pub(crate) fn leave_out(&mut self, now: Instant, kind: Kind, lines: u64) {
        let of_kind = self.kinds.entry(kind).or_default();
        of_kind.left_out += lines;
        of_kind.since.get_or_insert(now);
    }

    fn group_admits(&mut self, now: Instant, key: (Kind, String), lines: u32) -> bool {
        let Config { group_burst, group_interval, .. } = self.config;
        let full = group_interval * group_burst;
        if self.groups.len() >= GROUPS && !self.groups.contains_key(&key) {
            self.groups.retain(|_, (_, used)| now.saturating_duration_since(*used) < full);
            if self.groups.len() >= GROUPS {
                return true;
            }
        }
        let (limit, used) = self.groups.entry(key).or_insert_with(|| (RateLimit::default(), now));
        *used = now;
        limit.spend(now, group_interval * lines, full).is_ok()
    }

    /// When [`Self::take_due`] has something.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.kinds.values().filter_map(|kind| kind.since).min().map(|since| since + COUNT_EVERY)
    }

    /// Takes the numbers of lines that were left out, with their kinds.
    pub(crate) fn take_due(&mut self, now: Instant) -> Vec<(Kind, u64)> {
        let due = self.kinds.iter_mut().filter(|(_, of_kind)| of_kind.since.is_some_and(|at| now >= at + COUNT_EVERY));
        due.map(|(kind, of_kind)| {
            of_kind.since = None;
            (*kind, std::mem::take(&mut of_kind.left_out))
        })
        .collect()
    }
}

/// What a line is about.
enum Subject<'a> {
    /// A node; `None`: its address is not known, so it may be anybody.
    Node(Option<&'a PeerAddress>),
    /// A node that signed something, and the peer that passed it on to us.
    Signer(&'a PeerName, Option<&'a PeerName>),
    /// This node.
    Ours,
}

/// Returns the kind of a line that a stranger can cause, and what it is about. `None`: no stranger
/// can, or the line has a limit of its own.
fn source(event: &Event) -> Option<(Kind, Subject<'_>)> {
    use Subject::{Node, Ours, Signer};
    Some(match event {
        Event::PeerUp { peer, .. } => ("linked to …", Node(peer.address.as_ref())),
        Event::PeerDown { peer, .. } => ("lost …", Node(peer.address.as_ref())),
        Event::HandshakeReceived { peer, .. } | Event::HandshakeSent { peer, .. } => {
            ("a HANDSHAKE", Node(peer.address.as_ref()))
        }
        Event::Synced { peer, .. } => ("transactions came by comparing pools", Node(peer.address.as_ref())),
        Event::LinkOpened { address, .. } => ("… answered", Node(Some(address))),
        Event::AddressesLearned { peer, .. } => ("learned addresses from …", Node(peer.address.as_ref())),
        Event::LanPeerFound { peer, .. } => ("found … by multicast DNS", Node(peer.address.as_ref())),
        Event::NodeJoined { node, .. } => ("… is in the network", Node(node.address.as_ref())),
        Event::NodeLeft { node, .. } => ("… left the network", Node(node.address.as_ref())),
        Event::Declined { peer, .. } => ("full: declined …", Node(peer.address.as_ref())),
        Event::DeclinedBy { peer, .. } => ("… is full", Node(peer.address.as_ref())),
        Event::SlotTaken { peer, .. } => ("… gave our slot to another node", Node(peer.address.as_ref())),
        Event::Replaying { peer, .. } => ("… asked for the whole pool", Node(peer.address.as_ref())),
        Event::PeerLagging { peer } => ("… reads slower than we send", Node(peer.address.as_ref())),
        Event::Banned { peer, .. } => ("closed … for too many violations", Node(peer.address.as_ref())),
        Event::TransactionRefused { peer, .. } => ("refused a transaction", Node(peer.address.as_ref())),
        Event::PeerFault { peer, .. } => ("a peer's fault", Node(peer.address.as_ref())),
        Event::Broadcast { sender, peer, .. } => ("broadcast …", Signer(sender, peer.as_ref())),
        Event::DialFailed { address, .. } => ("… could not be dialled", Node(Some(address))),
        Event::Dialling { address } => ("dialling …", Node(Some(address))),
        Event::SelfDialled { address } => ("… is this node itself", Node(Some(address))),
        Event::SlotSwapped { .. } => ("full: … takes a slot", Ours),
        Event::HealingPartition { .. } => ("linking two parts of the network", Ours),
        Event::Rewiring { .. } => ("moving a link", Ours),
        Event::RequestingSlot { .. } => ("requesting a slot", Ours),
        Event::PeerRefused { .. } => ("refused a connection", Ours),
        Event::AccessDenied { .. } => ("a peer was refused", Ours),
        Event::Warning { .. } => ("a warning", Ours),
        _ => return None,
    })
}

impl Subject<'_> {
    /// Returns the group: an IPv4 address, an IPv6 /64, or a host name; all nodes without a known
    /// address are one. `None` for this host.
    ///
    /// Each signer on this host is a group: nobody elsewhere has such an address here. One without
    /// a known address counts by the peer that passed its word on, apart from that peer's own.
    fn group(&self) -> Option<String> {
        match self {
            Self::Ours => None,
            Self::Node(None) => Some(String::new()),
            Self::Node(Some(address)) => group_of(address),
            Self::Signer(PeerName { address: Some(address), .. }, _) => Some(signers_group(address)),
            Self::Signer(_, peer) => {
                let peer = peer.and_then(|peer| peer.address.as_ref());
                Some(peer.map_or_else(String::new, |peer| format!("by {}", signers_group(peer))))
            }
        }
    }
}

fn signers_group(address: &PeerAddress) -> String {
    group_of(address).unwrap_or_else(|| address.to_string())
}

/// Returns the group of an address; `None` on this host.
fn group_of(address: &PeerAddress) -> Option<String> {
    let host = Some(address.host()).filter(|_| address.scope() != Scope::Loopback)?;
    Some(match host.parse::<IpAddr>().map(|ip| ip.to_canonical()) {
        Ok(IpAddr::V6(ip)) => format!("{:x}", ip.to_bits() >> 64),
        Ok(IpAddr::V4(ip)) => ip.to_string(),
        Err(_) => host,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::wire::{Broadcast, BroadcastId};

    fn limit() -> (LineLimit, Instant) {
        (LineLimit::new(Config::KEPT), Instant::now())
    }

    fn lost(address: &str) -> Event {
        let peer = PeerName { node: None, address: address.parse().ok() };
        Event::PeerDown { peer, cause: "x".repeat(100_000).into(), peers: 1 }
    }

    fn joined(address: &str) -> Event {
        Event::NodeJoined { node: PeerName { node: None, address: address.parse().ok() }, nodes: 2 }
    }

    #[test]
    fn one_group_has_a_limit_per_kind_and_other_groups_their_own() {
        let (mut limit, start) = limit();
        let mut admitted = |count, at, make: &dyn Fn(usize) -> Event| {
            (0..count).filter(|number| limit.admits(at, &make(*number), 1)).count()
        };
        assert_eq!(admitted(1_000, start, &|_| lost("ws://203.0.113.7:1")), 30);
        assert_eq!(admitted(1_000, start, &|port| lost(&format!("ws://[::ffff:203.0.113.7]:{}", port + 1))), 0);
        assert_eq!(admitted(40, start, &|_| joined("ws://203.0.113.7:1")), 30, "another kind");
        assert_eq!(admitted(40, start, &|host| lost(&format!("ws://[2001:db8::{host:x}]:1"))), 30, "one /64");
        assert_eq!(admitted(4, start, &|_| lost("ws://localhost:1")), 4, "this host");
        assert_eq!(admitted(1_000, start + Config::KEPT.group_interval, &|_| lost("ws://203.0.113.7:1")), 1, "later");
        assert_eq!(limit.deadline(), Some(start + COUNT_EVERY));
        assert_eq!(limit.take_due(start + COUNT_EVERY / 2), []);
        let counts = limit.take_due(start + COUNT_EVERY);
        assert_eq!(counts, [("lost …", 970 + 1_000 + 10 + 999), ("… is in the network", 10)]);
        assert_eq!((limit.deadline(), limit.take_due(start + 2 * COUNT_EVERY)), (None, Vec::new()));
    }

    #[test]
    fn whatever_addresses_a_stranger_names_a_kind_has_a_limit_in_all() {
        let (mut limit, start) = limit();
        let mut admitted = 0;
        for second in 0..100_u64 {
            for number in 0..1_000_u64 {
                let address = format!("ws://10.{}.{}.{}:1", second, number / 256, number % 256);
                admitted += u32::from(limit.admits(start + Duration::from_secs(second), &joined(&address), 1));
            }
        }
        assert!((64..=164).contains(&admitted), "{admitted}");
        assert!(limit.groups.len() <= GROUPS);
    }

    #[test]
    fn nodes_without_a_known_address_are_one_group_and_what_this_node_does_is_none() {
        let (mut limit, now) = limit();
        assert_eq!((0..100).filter(|_| limit.admits(now, &lost(""), 1)).count(), 30);
        let warning = Event::Warning { text: String::new() };
        assert_eq!((0..100).filter(|_| limit.admits(now, &warning, 1)).count(), 64);
    }

    #[test]
    fn what_no_stranger_causes_has_no_limit() {
        let (mut limit, now) = limit();
        assert!((0..1_000).all(|_| limit.admits(now, &Event::StoreRecovered, 1)));
        assert!((0..1_000).all(|_| limit.admits(now, &Event::StoreFailed { error: "".into() }, 1)));
    }

    #[test]
    fn a_signer_counts_by_its_address_or_by_the_peer_that_brought_its_word() {
        let name = |address: &str| PeerName { node: None, address: address.parse().ok() };
        let group = |sender: &str, peer: &str| {
            let broadcast = Broadcast { id: BroadcastId([0; 32]), message: "".into(), time: 0.0, seal: None };
            let event = Event::Broadcast { broadcast, sender: name(sender), peer: Some(name(peer)), links: 0 };
            source(&event).and_then(|(_, subject)| subject.group())
        };
        let (far, near) = ("ws://203.0.113.7:1", "ws://192.0.2.1:1");
        assert_eq!(group(far, near), group("ws://203.0.113.7:2", "ws://192.0.2.2:1"), "whichever peer brings it");
        assert_ne!(group("", near), group(near, near), "a peer's own words count apart");
        assert_ne!(group("", near), group("", far));
        assert_eq!(group("", ""), Some(String::new()));
        assert_ne!(group("ws://localhost:1", near), group("ws://localhost:2", near), "programs of this host");
    }

    #[test]
    fn a_long_line_counts_as_several() {
        let (mut limit, now) = limit();
        assert_eq!((0..100).filter(|_| limit.admits(now, &lost("ws://203.0.113.7:1"), 10)).count(), 3);
        limit.leave_out(now, "lost …", 3);
        assert_eq!(limit.take_due(now + COUNT_EVERY), [("lost …", 97 + 3)]);
    }
}
