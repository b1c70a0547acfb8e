//! The places of requests of other nodes that are received, handled or answered.
//!
//! They bound memory and tasks. An address group has at most half of them, so one host with many
//! keys leaves some to others.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::util::group_counts::{Group, GroupCounts};

/// How many requests are received, handled or answered at once: 64 MiB of memory.
const ALL: usize = 32;
/// How many of them one address group may have, loopback excepted.
const OF_GROUP: usize = 16;

/// The places of a node. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Places(Arc<Mutex<GroupCounts>>);

/// A place. Dropping it gives it back.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    group: Group,
}

impl Places {
    /// Takes a place for a request of an address group; `None` if it, or all, have none left.
    pub(super) fn take(&self, group: Group) -> Option<Place> {
        let mut taken = self.taken();
        if taken.total() >= ALL || taken.is_full(group, OF_GROUP) {
            return None;
        }
        taken.add(group);
        Some(Place { places: self.clone(), group })
    }

    fn taken(&self) -> MutexGuard<'_, GroupCounts> {
        // The counts are changed where nothing panics.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken().remove(self.group);
    }
}

#[cfg(test)]
mod tests {
    use meshpool_proto::IpPrefix;

    use super::*;

    fn group(host: u8) -> Group {
        IpPrefix::address_group([203, 0, 113, host].into())
    }

    #[test]
    fn one_address_group_has_half_of_the_places_and_gives_them_back() {
        let places = Places::default();
        let mut first: Vec<_> = (0..OF_GROUP).map(|_| places.take(group(1)).expect("there is room")).collect();
        assert!(places.take(group(1)).is_none(), "its share is taken");
        let second: Vec<_> = (OF_GROUP..ALL).map(|_| places.take(group(2)).expect("there is room")).collect();
        assert!(places.take(group(3)).is_none() && places.take(None).is_none(), "all are taken");
        first.pop();
        assert!(places.take(group(1)).is_some(), "one was given back, and again");
        drop((first, second));
        assert_eq!(places.taken().total(), 0);
    }

    #[test]
    fn this_host_may_have_all_places() {
        let places = Places::default();
        let taken: Vec<_> =
            (0..ALL).map_while(|_| places.take(IpPrefix::address_group([127, 0, 0, 1].into()))).collect();
        assert_eq!(taken.len(), ALL);
    }
}
