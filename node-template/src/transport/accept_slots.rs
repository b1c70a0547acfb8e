//! The slots for accepted connections: a bound on all of them, and one for each address group.
//!
//! A connection beyond a bound is not simply closed: its peer would not know any other node, as
//! behind a NAT with many. A few at a time become links all the same, and the core only refers them
//! to others.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use meshpool_proto::IpPrefix;
use meshpool_proto::causes::ConnectionRefusal;
use meshpool_proto::limits::Limits;

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
    links: Counts,
    relayed: Counts,
    referrals: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    total: usize,
    by_group: HashMap<IpPrefix, usize>,
}

/// The slot of one accepted connection; freed when dropped.
#[derive(Debug)]
pub(crate) struct AcceptSlot {
    slots: Arc<AcceptSlots>,
    group: Option<IpPrefix>,
    is_relayed: bool,
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

impl Counts {
    fn of(&self, group: Option<IpPrefix>) -> usize {
        group.and_then(|group| self.by_group.get(&group)).copied().unwrap_or(0)
    }

    fn add(&mut self, group: Option<IpPrefix>) {
        self.total += 1;
        if let Some(group) = group {
            *self.by_group.entry(group).or_default() += 1;
        }
    }

    fn remove(&mut self, group: Option<IpPrefix>) {
        self.total -= 1;
        if let Some(group) = group
            && let Some(count) = self.by_group.get_mut(&group)
        {
            *count -= 1;
            if *count == 0 {
                self.by_group.remove(&group);
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
    /// counted by the address of the relay.
    ///
    /// # Errors
    /// The bound, if it may not even be referred.
    pub(crate) fn take(self: &Arc<Self>, ip: IpAddr, is_relayed: bool, limits: &Limits) -> Result<AcceptSlot, Bound> {
        let mut used = self.lock();
        let group = IpPrefix::address_group(ip);
        let of_one_relay = OF_ONE_RELAY.max(limits.inbound_per_ip);
        let beyond = if used.links.total + used.relayed.total >= limits.inbound_links + SPARE {
            Some(Bound::Links(limits.inbound_links))
        } else if is_relayed && used.relayed.total >= limits.inbound_links.div_ceil(RELAYED_SHARE) {
            Some(Bound::Relayed(limits.inbound_links.div_ceil(RELAYED_SHARE)))
        } else if is_relayed && used.relayed.of(group) >= of_one_relay {
            Some(Bound::OfOneRelay(of_one_relay))
        } else if is_relayed {
            None
        } else if group.is_some() && used.links.of(group) >= limits.inbound_per_ip {
            Some(Bound::LinksPerGroup(limits.inbound_per_ip))
        } else {
            None
        };
        match beyond {
            None if is_relayed => used.relayed.add(group),
            None => used.links.add(group),
            Some(_) if used.referrals.total < REFERRALS && used.referrals.of(group) < REFERRALS_OF_ONE => {
                used.referrals.add(group);
            }
            Some(bound) => return Err(bound),
        }
        Ok(AcceptSlot { slots: Arc::clone(self), group, is_relayed, beyond })
    }
}

impl Drop for AcceptSlot {
    fn drop(&mut self) {
        let mut used = self.slots.lock();
        let counts = match (self.beyond, self.is_relayed) {
            (Some(_), _) => &mut used.referrals,
            (None, true) => &mut used.relayed,
            (None, false) => &mut used.links,
        };
        counts.remove(self.group);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(slot: Result<AcceptSlot, Bound>) -> Option<AcceptSlot> {
        slot.ok().filter(|slot| slot.beyond.is_none())
    }

    #[test]
    fn slots_are_bounded_by_number_and_address_and_freed() {
        let limits = Limits { inbound_links: 5, inbound_per_ip: 2, ..Limits::default() };
        let slots = Arc::new(AcceptSlots::default());
        let take = |ip: &str| link(slots.take(ip.parse().expect("an address"), false, &limits));
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
        assert!(used.links.by_group.is_empty() && used.links.total == 0 && used.referrals.total == 0);
    }

    #[test]
    fn ipv6_addresses_are_counted_by_their_first_64_bits() {
        let limits = Limits::default();
        let slots = Arc::new(AcceptSlots::default());
        let take = |ip: String| link(slots.take(ip.parse().expect("an address"), false, &limits));
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
        let take = |ip: &str| slots.take(ip.parse().expect("an address"), false, &limits);
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

    #[test]
    fn relayed_connections_have_a_quarter_of_the_slots_and_32_for_each_relay() {
        let limits = Limits { inbound_links: 160, ..Limits::default() };
        let slots = Arc::new(AcceptSlots::default());
        let take = |relay: &str, is_relayed| link(slots.take(relay.parse().expect("an address"), is_relayed, &limits));
        let one: Vec<_> = (0..60).filter_map(|_| take("192.0.2.1", true)).collect();
        assert_eq!(one.len(), OF_ONE_RELAY);
        let other: Vec<_> = (0..60).filter_map(|_| take("192.0.2.2", true)).collect();
        assert_eq!(one.len() + other.len(), 40);
        assert!(take("192.0.2.1", false).is_some(), "the relay itself may link");
        let refused = slots.take("192.0.2.3".parse().expect("an address"), true, &limits);
        assert!(refused.is_ok_and(|slot| slot.beyond == Some(Bound::Relayed(40))), "it is referred");
        drop(one);
        assert!(take("192.0.2.2", true).is_some());
        assert!(Bound::OfOneRelay(32).warning().to_string().contains("relay"));
    }
}
