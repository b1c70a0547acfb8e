//! Limits on the lines that strangers can cause: per kind and group of addresses, and per kind in
//! all, since a stranger can name many addresses. What is left out is counted in a line per minute.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::protocol::address::{PeerAddress, Scope};
use crate::protocol::event::Event;
use crate::protocol::util::rate_limit::RateLimit;

/// Lines of one kind about one group of addresses: so many at once …
const GROUP_BURST: u32 = 30;
/// … and then one in this time.
const GROUP_INTERVAL: Duration = Duration::from_secs(10);
/// Lines of one kind: some dozen nodes may come up at once; of more a number says enough.
const KIND_BURST: u32 = 64;
/// Some 17 MB of lines a day.
const KIND_INTERVAL: Duration = Duration::from_secs(1);
/// How many groups are remembered. The lines about others have the limit of their kind alone.
const GROUPS: usize = 1_024;
/// How often the number of lines that were left out is logged.
const COUNT_EVERY: Duration = Duration::from_secs(60);

/// A kind of line: how it begins.
type Kind = &'static str;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct LineLimit {
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
    /// Returns whether an event is logged, and counts it otherwise.
    pub(crate) fn admits(&mut self, now: Instant, event: &Event) -> bool {
        let Some((kind, subject)) = source(event) else { return true };
        let within_group = subject.group().is_none_or(|group| self.group_admits(now, (kind, group)));
        let of_kind = self.kinds.entry(kind).or_default();
        let admits = within_group && of_kind.limit.spend(now, KIND_INTERVAL, KIND_INTERVAL * KIND_BURST).is_ok();
        if !admits {
            of_kind.left_out += 1;
            of_kind.since.get_or_insert(now);
        }
        admits
    }

    fn group_admits(&mut self, now: Instant, key: (Kind, String)) -> bool {
        let full = GROUP_INTERVAL * GROUP_BURST;
        if self.groups.len() >= GROUPS && !self.groups.contains_key(&key) {
            self.groups.retain(|_, (_, used)| now.saturating_duration_since(*used) < full);
            if self.groups.len() >= GROUPS {
                return true;
            }
        }
        let (limit, used) = self.groups.entry(key).or_insert_with(|| (RateLimit::default(), now));
        *used = now;
        limit.spend(now, GROUP_INTERVAL, full).is_ok()
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
    /// This node.
    Ours,
}

/// Returns the kind of a line that a stranger can cause, and what it is about. `None`: no stranger
/// can, or the line has a limit of its own.
fn source(event: &Event) -> Option<(Kind, Subject<'_>)> {
    use Subject::{Node, Ours};
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
        Event::Broadcast { sender, .. } => ("broadcast …", Node(sender.address.as_ref())),
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
    fn group(&self) -> Option<String> {
        let Self::Node(address) = self else { return None };
        let Some(address) = address else { return Some(String::new()) };
        let host = Some(address.host()).filter(|_| address.scope() != Scope::Loopback)?;
        Some(match host.parse::<IpAddr>().map(|ip| ip.to_canonical()) {
            Ok(IpAddr::V6(ip)) => format!("{:x}", ip.to_bits() >> 64),
            Ok(IpAddr::V4(ip)) => ip.to_string(),
            Err(_) => host,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::event::PeerName;

    fn lost(address: &str) -> Event {
        let peer = PeerName { node: None, address: address.parse().ok() };
        Event::PeerDown { peer, cause: "x".repeat(100_000).into(), peers: 1 }
    }

    fn joined(address: &str) -> Event {
        Event::NodeJoined { node: PeerName { node: None, address: address.parse().ok() }, nodes: 2 }
    }

    #[test]
    fn one_group_has_a_limit_per_kind_and_other_groups_their_own() {
        let (mut limit, start) = (LineLimit::default(), Instant::now());
        let mut admitted = |count, at, make: &dyn Fn(usize) -> Event| {
            (0..count).filter(|number| limit.admits(at, &make(*number))).count()
        };
        assert_eq!(admitted(1_000, start, &|_| lost("ws://203.0.113.7:1")), 30);
        assert_eq!(admitted(1_000, start, &|port| lost(&format!("ws://[::ffff:203.0.113.7]:{}", port + 1))), 0);
        assert_eq!(admitted(40, start, &|_| joined("ws://203.0.113.7:1")), 30, "another kind");
        assert_eq!(admitted(40, start, &|host| lost(&format!("ws://[2001:db8::{host:x}]:1"))), 30, "one /64");
        assert_eq!(admitted(4, start, &|_| lost("ws://localhost:1")), 4, "this host");
        assert_eq!(admitted(1_000, start + GROUP_INTERVAL, &|_| lost("ws://203.0.113.7:1")), 1, "later");
        assert_eq!(limit.deadline(), Some(start + COUNT_EVERY));
        assert_eq!(limit.take_due(start + COUNT_EVERY / 2), []);
        let counts = limit.take_due(start + COUNT_EVERY);
        assert_eq!(counts, [("lost …", 970 + 1_000 + 10 + 999), ("… is in the network", 10)]);
        assert_eq!((limit.deadline(), limit.take_due(start + 2 * COUNT_EVERY)), (None, Vec::new()));
    }

    #[test]
    fn whatever_addresses_a_stranger_names_a_kind_has_a_limit_in_all() {
        let (mut limit, start) = (LineLimit::default(), Instant::now());
        let mut admitted = 0;
        for second in 0..100_u64 {
            for number in 0..1_000_u64 {
                let address = format!("ws://10.{}.{}.{}:1", second, number / 256, number % 256);
                admitted += u32::from(limit.admits(start + Duration::from_secs(second), &joined(&address)));
            }
        }
        assert!((64..=164).contains(&admitted), "{admitted}");
        assert!(limit.groups.len() <= GROUPS);
    }

    #[test]
    fn nodes_without_a_known_address_are_one_group_and_what_this_node_does_is_none() {
        let (mut limit, now) = (LineLimit::default(), Instant::now());
        assert_eq!((0..100).filter(|_| limit.admits(now, &lost(""))).count(), 30);
        let warning = Event::Warning { text: String::new() };
        assert_eq!((0..100).filter(|_| limit.admits(now, &warning)).count(), 64);
    }

    #[test]
    fn what_no_stranger_causes_has_no_limit() {
        let (mut limit, now) = (LineLimit::default(), Instant::now());
        assert!((0..1_000).all(|_| limit.admits(now, &Event::StoreRecovered)));
        assert!((0..1_000).all(|_| limit.admits(now, &Event::StoreFailed { error: "".into() })));
    }
}
