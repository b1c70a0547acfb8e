//! Accepted connections that have not finished their upgrade. They are bounded apart from links, so
//! a slow upgrade can only displace other slow upgrades.
//!
//! When the bound is reached, the oldest connection of the address group with the most is ended. An
//! upgrade takes a peer one round trip, so a flood displaces its own connections.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use meshpool_proto::IpPrefix;
use tokio::sync::oneshot;

use crate::util::group_counts::{Group, GroupCounts};

/// The pending upgrades of a node.
#[derive(Debug, Default)]
pub(crate) struct PendingUpgrades(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    last: u64,
    /// In the order of arrival; the sender ends one.
    open: BTreeMap<u64, (Group, oneshot::Sender<()>)>,
    counts: GroupCounts,
    /// How many were displaced.
    displaced: u64,
}

/// One pending upgrade; removed when dropped.
#[derive(Debug)]
pub(crate) struct PendingUpgrade {
    all: Arc<PendingUpgrades>,
    number: u64,
    displaced: oneshot::Receiver<()>,
}

impl PendingUpgrades {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Each change is complete before the lock is released.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a connection. If there are `max` already, another is displaced.
    pub(crate) fn add(self: &Arc<Self>, ip: IpAddr, max: usize) -> PendingUpgrade {
        let mut inner = self.lock();
        if inner.open.len() >= max {
            inner.displace();
        }
        let (displace, displaced) = oneshot::channel();
        inner.last += 1;
        let number = inner.last;
        let group = IpPrefix::address_group(ip);
        inner.open.insert(number, (group, displace));
        inner.counts.add(group);
        PendingUpgrade { all: Arc::clone(self), number, displaced }
    }

    /// Returns how many there are.
    #[cfg(feature = "wan")]
    pub(crate) fn total(&self) -> usize {
        self.lock().counts.total()
    }
}

impl Inner {
    fn displace(&mut self) {
        let most = self.counts.largest();
        let oldest = self.open.iter().find(|(_, (group, _))| self.counts.of(*group) == most);
        let oldest = oldest.map(|(number, _)| *number);
        if let Some(displace) = oldest.and_then(|number| self.remove(number)) {
            self.displaced += 1;
            // It may have ended by itself a moment ago.
            displace.send(()).unwrap_or_default();
        }
    }

    fn remove(&mut self, number: u64) -> Option<oneshot::Sender<()>> {
        let (group, displace) = self.open.remove(&number)?;
        self.counts.remove(group);
        Some(displace)
    }
}

impl PendingUpgrade {
    /// Waits until this upgrade is displaced. Cancel-safe.
    pub(crate) async fn displaced(&mut self) {
        // The sender is dropped only when this is removed, which ends it just as well.
        (&mut self.displaced).await.unwrap_or_default();
    }
}

impl Drop for PendingUpgrade {
    fn drop(&mut self) {
        self.all.lock().remove(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn has_to_go(upgrade: &mut PendingUpgrade) -> bool {
        upgrade.displaced.try_recv().is_ok()
    }

    #[test]
    fn the_oldest_of_the_address_with_the_most_is_displaced() {
        let pending = Arc::<PendingUpgrades>::default();
        let add = |last: u8| pending.add(ip(last), 4);
        let mut one = add(1);
        let mut flood = vec![add(2), add(2), add(2)];
        flood.push(add(2));
        assert!(
            has_to_go(&mut flood[0]) && !has_to_go(&mut one),
            "the flood displaces its own, though another is older"
        );
        let mut other = add(3);
        assert!(has_to_go(&mut flood[1]) && !has_to_go(&mut other) && !has_to_go(&mut one));
        assert_eq!(pending.lock().open.len(), 4);
        let mut equals = (4..8).map(add).collect::<Vec<_>>();
        assert!(has_to_go(&mut one), "among equals the oldest goes");
        assert!(equals.iter_mut().all(|upgrade| !has_to_go(upgrade)));
        assert_eq!(pending.lock().displaced, 6);
        drop((one, flood, other, equals));
        let left = pending.lock();
        assert!(left.open.is_empty() && left.counts.total() == 0);
    }

    #[test]
    fn many_ipv6_addresses_of_one_address_group_are_one_flood() {
        let pending = Arc::<PendingUpgrades>::default();
        let mut other = pending.add(ip(1), 4);
        let mut flood: Vec<_> =
            (0..100_u16).map(|n| pending.add(IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, n]), 4)).collect();
        assert!(!has_to_go(&mut other), "though it is the oldest");
        assert_eq!(flood.iter_mut().filter_map(|one| has_to_go(one).then_some(())).count(), 97);
    }
}
