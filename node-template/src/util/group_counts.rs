//! Counts of connections and the like, in all and of each address group.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use meshpool_proto::IpPrefix;

/// An IPv4 address or an IPv6 /64; `None`: this host.
pub(crate) type Group = Option<IpPrefix>;

/// How many there are. Groups that have none are not kept.
#[derive(Debug, Default)]
pub(crate) struct GroupCounts {
    total: usize,
    by_group: HashMap<Group, usize>,
}

impl GroupCounts {
    pub(crate) fn total(&self) -> usize {
        self.total
    }

    pub(crate) fn of(&self, group: Group) -> usize {
        self.by_group.get(&group).copied().unwrap_or_default()
    }

    /// Returns the number of the group that has most.
    pub(crate) fn largest(&self) -> usize {
        self.by_group.values().copied().max().unwrap_or_default()
    }

    /// Returns whether a group has `most`. This host has no bound of its own.
    pub(crate) fn is_full(&self, group: Group, most: usize) -> bool {
        group.is_some() && self.of(group) >= most
    }

    pub(crate) fn add(&mut self, group: Group) {
        *self.by_group.entry(group).or_default() += 1;
        self.total += 1;
    }

    /// Removes one that was added.
    pub(crate) fn remove(&mut self, group: Group) {
        let Some(count) = self.by_group.get_mut(&group) else { return };
        self.total -= 1;
        *count -= 1;
        if *count == 0 {
            self.by_group.remove(&group);
        }
    }
}

/// Places, of which so many may be taken in all and by one address group. A clone has the same
/// ones.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    taken: Arc<Mutex<GroupCounts>>,
    all: usize,
    of_group: usize,
}

/// A place; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Places,
    group: Group,
}

impl Places {
    pub(crate) fn new(all: usize, of_group: usize) -> Self {
        Self { taken: Arc::default(), all, of_group }
    }

    /// Returns a place; `None` if all are taken, or the share of this group.
    pub(crate) fn take(&self, group: Group) -> Option<Place> {
        let mut taken = self.taken();
        if taken.total() >= self.all || taken.is_full(group, self.of_group) {
            return None;
        }
        taken.add(group);
        Some(Place { places: self.clone(), group })
    }

    /// Returns how many are taken.
    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.taken().total()
    }

    fn taken(&self) -> MutexGuard<'_, GroupCounts> {
        // Each change leaves it in order.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken().remove(self.group);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_group_is_counted_and_forgotten_when_it_has_none() {
        let group = |ip: [u8; 4]| IpPrefix::address_group(ip.into());
        let (one, two, here) = (group([192, 0, 2, 1]), group([192, 0, 2, 2]), group([127, 0, 0, 1]));
        let mut counts = GroupCounts::default();
        for added in [one, two, one, here, here, here] {
            counts.add(added);
        }
        assert_eq!((counts.total(), counts.largest()), (6, 3));
        assert_eq!([one, two, here].map(|group| counts.of(group)), [2, 1, 3]);
        assert!(counts.is_full(one, 2) && !counts.is_full(two, 2) && !counts.is_full(here, 2), "this host has none");
        for removed in [two, two, one, one, here, here, here] {
            counts.remove(removed);
        }
        assert!(counts.total() == 0 && counts.by_group.is_empty(), "one was removed that was not there");
    }

    #[test]
    fn places_are_bounded_in_all_and_for_each_group_but_this_host_and_given_back() {
        let group = |ip: [u8; 4]| IpPrefix::address_group(ip.into());
        let (one, two, here) = (group([192, 0, 2, 1]), group([192, 0, 2, 2]), group([127, 0, 0, 1]));
        let places = Places::new(8, 3);
        let take = |group| (0..100).map_while(|_| places.take(group)).collect::<Vec<_>>();
        let (mut first, second, host) = (take(one), take(two), take(here));
        assert_eq!([first.len(), second.len(), host.len()], [3, 3, 2], "this host may have all that are left");
        first.pop();
        assert!(places.take(two).is_none(), "its share is taken");
        assert!(places.take(one).is_some() && places.take(one).is_some(), "one was given back, and again");
        drop((first, second, host));
        assert_eq!(places.count(), 0);
    }
}
