//! The slots for accepted connections: a bound on all of them, and one for each address group.
//!
//! A connection beyond a bound is not simply closed: its peer would not know any other node, as
//! behind a NAT with many. A few at a time become links all the same, and the core only refers them
//! to others.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use meshpool_proto::IpPrefix;
use meshpool_proto::causes::ConnectionRefusal;
use meshpool_proto::limits::Limits;

use crate::util::group_counts::{Group, GroupCounts};

/// How many connections are accepted beyond `inbound_links`. The core then decides which to close.
const SPARE: usize = 8;
/// How many relayed connections of one relay are accepted: node ids are free, and a relay serves
/// nodes of its own choice.
const OF_ONE_RELAY: usize = 32;
/// A relayed connection may use up to one in so many slots: the others are for those whose address
/// costs something.
const RELAYED_SHARE: usize = 4;
/// How many connections beyond the bounds are referred at a time …
const REFERRALS: usize = 16;
/// … and how many of them of one address group.
const REFERRALS_OF_ONE: usize = 2;

/// The slots in use.
#[derive(Debug, Default)]
pub(crate) struct AcceptSlots(Mutex<InUse>);

#[derive(Debug, Default)]
struct InUse {
    links: GroupCounts,
    /// By the address of the relay.
    relayed: GroupCounts,
    referrals: GroupCounts,
    /// The links that were relayed when they were accepted, by a number of their own.
    by_number: BTreeMap<u64, RelayedLink>,
    last: u64,
}

/// What a connection is, for the bounds.
pub(crate) enum Kind {
    /// Over TCP, or over iroh without a relay.
    Direct,
    /// Over iroh and a relay.
    Relayed(DirectAddress),
}

/// Returns the IP address of the other end if packets go straight to it by now.
pub(crate) type DirectAddress = Box<dyn Fn() -> Option<IpAddr> + Send + Sync>;

/// A link that was relayed when it was accepted.
struct RelayedLink {
    counted: Counted,
    direct: DirectAddress,
}

/// Where a slot is counted.
#[derive(Debug, Clone, Copy)]
enum Counted {
    Links(Group),
    Relayed(Group),
    Referrals(Group),
    /// In [`InUse::by_number`].
    ByNumber(u64),
}

/// The slot of one accepted connection; freed when dropped.
#[derive(Debug)]
pub(crate) struct AcceptSlot {
    slots: Arc<AcceptSlots>,
    counted: Counted,
    /// The bound that it is beyond; it is only referred to other nodes.
    pub(crate) beyond: Option<Bound>,
}

/// A bound on accepted connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bound {
    /// Of all.
    Links(usize),
    /// Of one address group.
    LinksPerGroup(usize),
    /// Of all that are relayed.
    Relayed(usize),
    /// Of those over one relay.
    OfOneRelay(usize),
}

impl Bound {
    /// Returns what the other end is told.
    pub(crate) fn reason(self) -> String {
        match self {
            Self::Links(_) => "this node has no room for another connection".to_owned(),
            Self::LinksPerGroup(most) => format!(
                "this node has no room for another connection from your address; its INBOUND_LINKS_PER_IP is {most}"
            ),
            Self::Relayed(_) => "this node has no room for another relayed connection".to_owned(),
            Self::OfOneRelay(_) => "this node has no room for another connection over that relay".to_owned(),
        }
    }

    /// Returns what the user is told.
    pub(crate) fn warning(self) -> ConnectionRefusal {
        match self {
            Self::Links(most) => ConnectionRefusal::Full(most),
            Self::LinksPerGroup(most) => ConnectionRefusal::FullForAddress(most),
            Self::Relayed(most) => ConnectionRefusal::FullForRelayed(most),
            Self::OfOneRelay(most) => ConnectionRefusal::FullForRelay(most),
        }
    }
}

impl InUse {
    /// Returns the bound that one more connection would be beyond.
    fn beyond(&self, kind: &Kind, group: Group, limits: &Limits) -> Option<Bound> {
        let of_group = limits.inbound_per_ip;
        let all_relayed = limits.inbound_links.div_ceil(RELAYED_SHARE);
        let of_one_relay = OF_ONE_RELAY.max(of_group);
        let is_full = self.links.total() + self.relayed.total() >= limits.inbound_links + SPARE;
        let bounds: &[(bool, Bound)] = match kind {
            Kind::Relayed(_) => &[
                (is_full, Bound::Links(limits.inbound_links)),
                (self.relayed.total() >= all_relayed, Bound::Relayed(all_relayed)),
                (self.relayed.is_full(group, of_one_relay), Bound::OfOneRelay(of_one_relay)),
            ],
            Kind::Direct => &[
                (is_full, Bound::Links(limits.inbound_links)),
                (self.links.is_full(group, of_group), Bound::LinksPerGroup(of_group)),
            ],
        };
        bounds.iter().find(|(is_reached, _)| *is_reached).map(|(_, bound)| *bound)
    }

    /// Counts the relayed links whose path became direct as what they are, where their address
    /// group has room.
    fn follow_paths(&mut self, limits: &Limits) {
        for link in self.by_number.values_mut() {
            let Counted::Relayed(relay) = link.counted else { continue };
            let Some(group) = (link.direct)().map(IpPrefix::address_group) else { continue };
            if !self.links.is_full(group, limits.inbound_per_ip) {
                self.relayed.remove(relay);
                self.links.add(group);
                link.counted = Counted::Links(group);
            }
        }
    }

    fn add(&mut self, kind: Kind, group: Group) -> Counted {
        match kind {
            Kind::Direct => {
                self.links.add(group);
                Counted::Links(group)
            }
            Kind::Relayed(direct) => {
                self.relayed.add(group);
                self.last += 1;
                self.by_number.insert(self.last, RelayedLink { counted: Counted::Relayed(group), direct });
                Counted::ByNumber(self.last)
            }
        }
    }

    fn remove(&mut self, counted: Counted) {
        match counted {
            Counted::Links(group) => self.links.remove(group),
            Counted::Relayed(group) => self.relayed.remove(group),
            Counted::Referrals(group) => self.referrals.remove(group),
            Counted::ByNumber(number) => {
                if let Some(link) = self.by_number.remove(&number) {
                    self.remove(link.counted);
                }
            }
        }
    }
}

impl AcceptSlots {
    fn lock(&self) -> MutexGuard<'_, InUse> {
        // All numbers are changed under the lock, without a call between that could panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a slot. This host has no bound of its own. If all slots are in use, or all of this
    /// IPv4 address or IPv6 /64, the connection may still be referred. Those over a relay are
    /// counted by the address of the relay, for as long as they go over it.
    ///
    /// # Errors
    /// The bound, if it may not even be referred.
    pub(crate) fn take(self: &Arc<Self>, ip: IpAddr, kind: Kind, limits: &Limits) -> Result<AcceptSlot, Bound> {
        let mut used = self.lock();
        let group = IpPrefix::address_group(ip);
        let mut beyond = used.beyond(&kind, group, limits);
        if matches!(beyond, Some(Bound::Relayed(_) | Bound::OfOneRelay(_))) {
            used.follow_paths(limits);
            beyond = used.beyond(&kind, group, limits);
        }
        let counted = match beyond {
            None => used.add(kind, group),
            Some(_) if used.referrals.total() < REFERRALS && !used.referrals.is_full(group, REFERRALS_OF_ONE) => {
                used.referrals.add(group);
                Counted::Referrals(group)
            }
            Some(bound) => return Err(bound),
        };
        Ok(AcceptSlot { slots: Arc::clone(self), counted, beyond })
    }
}

impl Drop for AcceptSlot {
    fn drop(&mut self) {
        self.slots.lock().remove(self.counted);
    }
}

impl fmt::Debug for RelayedLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RelayedLink").field("counted", &self.counted).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use super::*;

    fn link(slot: Result<AcceptSlot, Bound>) -> Option<AcceptSlot> {
        slot.ok().filter(|slot| slot.beyond.is_none())
    }

    #[test]
    fn slots_are_bounded_by_number_and_address_and_freed() {
        let limits = Limits { inbound_links: 5, inbound_per_ip: 2, ..Limits::default() };
        let slots = Arc::new(AcceptSlots::default());
        let take = |ip: &str| link(slots.take(ip.parse().expect("an address"), Kind::Direct, &limits));
        let held = [take("192.0.2.1"), take("192.0.2.1")];
        assert!(held.iter().all(Option::is_some));
        assert!(take("192.0.2.1").is_none(), "two from one address");
        let local: Vec<_> = (0..3 + SPARE).map(|_| take("127.0.0.1")).collect();
        assert!(local.iter().all(Option::is_some), "loopback is exempt");
        assert!(take("192.0.2.2").is_none(), "five in all, and the spare ones");
        drop(held);
        assert!(take("192.0.2.1").is_some());
        drop(local);
        let used = slots.lock();
        assert_eq!((used.links.total(), used.referrals.total()), (0, 0));
    }

    #[test]
    fn ipv6_addresses_are_counted_by_their_first_64_bits() {
        let limits = Limits::default();
        let slots = Arc::new(AcceptSlots::default());
        let take = |ip: String| link(slots.take(ip.parse().expect("an address"), Kind::Direct, &limits));
        let one: Vec<_> = (0..1_100).filter_map(|n| take(format!("2001:db8:0:1::{n:x}"))).collect();
        assert_eq!(one.len(), limits.inbound_per_ip, "one address group");
        let mapped: Vec<_> = (0..20).filter_map(|n| take(format!("::ffff:192.0.2.{}", n % 2))).collect();
        assert_eq!(mapped.len(), 20, "two IPv4 addresses");
        let others: Vec<_> = (2..40).filter_map(|n| take(format!("2001:db8:0:{n:x}::1"))).collect();
        assert_eq!(others.len(), 38);
    }

    #[test]
    fn a_few_beyond_a_bound_are_referred_and_each_refusal_names_its_limit() {
        let limits = Limits { inbound_links: 40, inbound_per_ip: 2, ..Limits::default() };
        let slots = Arc::new(AcceptSlots::default());
        let take = |ip: &str| slots.take(ip.parse().expect("an address"), Kind::Direct, &limits);
        let held: Vec<_> = (0..4).map(|_| take("10.0.0.1").expect("a slot")).collect();
        let beyond: Vec<_> = held.iter().map(|slot| slot.beyond).collect();
        let bound = Bound::LinksPerGroup(2);
        assert_eq!(beyond, [None, None, Some(bound), Some(bound)]);
        assert_eq!(take("10.0.0.1").expect_err("two are being referred"), bound);
        assert!(bound.reason().contains("INBOUND_LINKS_PER_IP is 2") && bound.reason().len() <= 123);
        assert!(bound.warning().to_string().contains("INBOUND_LINKS_PER_IP"));
        assert!(Bound::Links(40).warning().to_string().contains("raise INBOUND_LINKS "));
        drop(held);
        assert_eq!(take("10.0.0.1").expect("a slot").beyond, None);
    }

    /// A relayed connection whose path becomes direct when its address is set.
    fn relayed(path: &Arc<OnceLock<IpAddr>>) -> Kind {
        let path = Arc::clone(path);
        Kind::Relayed(Box::new(move || path.get().copied()))
    }

    #[test]
    fn relayed_connections_have_a_quarter_of_the_slots_and_32_for_each_relay() {
        let limits = Limits { inbound_links: 160, ..Limits::default() };
        let slots = Arc::new(AcceptSlots::default());
        let take = |relay: &str, kind| link(slots.take(relay.parse().expect("an address"), kind, &limits));
        let path = Arc::default();
        let one: Vec<_> = (0..60).filter_map(|_| take("192.0.2.1", relayed(&path))).collect();
        assert_eq!(one.len(), OF_ONE_RELAY);
        let other: Vec<_> = (0..60).filter_map(|_| take("192.0.2.2", relayed(&path))).collect();
        assert_eq!(one.len() + other.len(), 40);
        assert!(take("192.0.2.1", Kind::Direct).is_some(), "the relay itself may link");
        let refused = slots.take("192.0.2.3".parse().expect("an address"), relayed(&path), &limits);
        assert!(refused.is_ok_and(|slot| slot.beyond == Some(Bound::Relayed(40))), "it is referred");
        drop(one);
        assert!(take("192.0.2.2", relayed(&path)).is_some());
        assert!(Bound::OfOneRelay(32).warning().to_string().contains("relay"));
    }

    #[test]
    fn links_that_became_direct_leave_the_slots_of_their_relay_to_others() {
        let limits = Limits { inbound_links: 160, inbound_per_ip: 2, ..Limits::default() };
        let slots = Arc::new(AcceptSlots::default());
        let relay = "192.0.2.1".parse().expect("an address");
        let paths: Vec<_> = (0..OF_ONE_RELAY).map(|_| Arc::<OnceLock<IpAddr>>::default()).collect();
        let held: Vec<_> =
            paths.iter().map(|path| slots.take(relay, relayed(path), &limits).expect("a slot")).collect();
        let take = || link(slots.take(relay, relayed(&Arc::default()), &limits));
        assert!(take().is_none(), "all go over the relay");
        // Three of one address group, which has room for two.
        for path in &paths[..3] {
            path.set("203.0.113.1".parse().expect("an address")).expect("once");
        }
        let more: Vec<_> = (0..4).filter_map(|_| take()).collect();
        assert_eq!(more.len(), 2);
        let direct = link(slots.take("203.0.113.1".parse().expect("an address"), Kind::Direct, &limits));
        assert!(direct.is_none(), "they count for their own address");
        drop((held, more));
        let used = slots.lock();
        assert_eq!((used.links.total(), used.relayed.total(), used.by_number.len()), (0, 0, 0));
    }
}
