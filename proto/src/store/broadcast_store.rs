//! The broadcasts of the last ten minutes, and the ids of those that were seen.
//!
//! They are in memory only. An id is remembered for twice as long at least, so that no copy that
//! another node still keeps is new here again.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use foldhash::fast::RandomState;

use crate::limits;
use crate::transaction::Origin;
use crate::util::generations::Generations;
use crate::wire::{Broadcast, BroadcastId};

/// See the module. Bounded in number and bytes: the oldest are dropped first.
#[derive(Debug)]
pub(crate) struct BroadcastStore {
    /// Its order reaches no output.
    held: HashMap<BroadcastId, HeldBroadcast, RandomState>,
    /// The oldest first, with their bytes.
    by_age: BTreeMap<(Instant, BroadcastId), usize>,
    bytes: usize,
    seen: Generations<BroadcastId>,
}

/// A broadcast that is held.
#[derive(Debug)]
pub(crate) struct HeldBroadcast {
    pub(crate) broadcast: Broadcast,
    pub(crate) origin: Origin,
    /// When it was new in the network, as far as is known here.
    pub(crate) born: Instant,
    /// When it came here.
    pub(crate) received: Instant,
}

impl Default for BroadcastStore {
    fn default() -> Self {
        let seen = Generations::new(limits::SEEN / 2).with_lifetime(limits::SEEN_TTL);
        Self { held: HashMap::default(), by_age: BTreeMap::new(), bytes: 0, seen }
    }
}

impl BroadcastStore {
    /// Returns whether a broadcast was seen, also if it is not held any more.
    pub(crate) fn has_seen(&self, id: &BroadcastId) -> bool {
        self.seen.contains(id)
    }

    pub(crate) fn get(&self, id: &BroadcastId) -> Option<&HeldBroadcast> {
        self.held.get(id)
    }

    /// Iterates over what is held, the oldest first, and in the order of ids within one age.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &HeldBroadcast> {
        self.by_age.keys().filter_map(|(_, id)| self.held.get(id))
    }

    /// Inserts a broadcast that was not seen before.
    pub(crate) fn insert(&mut self, now: Instant, held: HeldBroadcast) {
        let sealed = held.broadcast.seal.as_ref().map_or(0, |seal| seal.canonical.len());
        let (id, bytes) = (held.broadcast.id, held.broadcast.message.len() + sealed);
        self.seen.insert(now, id, ());
        self.bytes += bytes;
        self.by_age.insert((held.born, id), bytes);
        self.held.insert(id, held);
        while self.held.len() > limits::BROADCASTS || self.bytes > limits::BROADCASTS_BYTES {
            self.drop_oldest();
        }
    }

    /// Drops broadcasts that are older than [`limits::BROADCAST_TTL`].
    pub(crate) fn expire(&mut self, now: Instant) {
        while let Some(((born, _), _)) = self.by_age.first_key_value()
            && now.saturating_duration_since(*born) >= limits::BROADCAST_TTL
        {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(((_, id), bytes)) = self.by_age.pop_first() {
            self.bytes -= bytes;
            self.held.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::id::NodeId;

    const SECOND: Duration = Duration::from_secs(1);

    fn id(n: u32) -> BroadcastId {
        let mut id = [0; 32];
        id[..4].copy_from_slice(&n.to_be_bytes());
        BroadcastId(id)
    }

    fn insert(store: &mut BroadcastStore, n: u32, message: &str, at: Instant) {
        let broadcast = Broadcast { id: id(n), message: message.into(), time: 0.0, seal: None };
        let origin = Origin::Node(NodeId([1; 32]));
        store.insert(at, HeldBroadcast { broadcast, origin, born: at, received: at });
    }

    #[test]
    fn what_is_kept_is_bounded_in_number_and_bytes_and_what_was_seen_is_not_forgotten_with_it() {
        let (mut store, start) = (BroadcastStore::default(), Instant::now());
        insert(&mut store, 0, "x", start);
        for n in 1..=limits::BROADCASTS as u32 {
            insert(&mut store, n, "x", start + Duration::from_millis(u64::from(n)));
        }
        assert_eq!((store.iter().count(), store.bytes), (limits::BROADCASTS, limits::BROADCASTS));
        assert!(store.get(&id(0)).is_none() && store.has_seen(&id(0)), "the oldest gave way");
        assert!(store.get(&id(1)).is_some());
        let long = "x".repeat(limits::BROADCAST_BYTES);
        for n in 0..2_000 {
            insert(&mut store, 100_000 + n, &long, start + SECOND * 100);
        }
        assert_eq!((store.bytes, store.iter().count()), (limits::BROADCASTS_BYTES, 1_024));
        store.expire(start + SECOND * 700);
        assert_eq!((store.iter().count(), store.bytes, store.held.len()), (0, 0, 0));
    }

    #[test]
    fn a_broadcast_is_dropped_at_the_age_of_ten_minutes_and_the_oldest_comes_first() {
        let (mut store, start) = (BroadcastStore::default(), Instant::now());
        insert(&mut store, 2, "young", start + SECOND);
        insert(&mut store, 3, "old", start);
        insert(&mut store, 1, "as old", start);
        let texts = |store: &BroadcastStore| -> Vec<String> {
            store.iter().map(|held| held.broadcast.message.to_string()).collect()
        };
        store.expire(start + limits::BROADCAST_TTL - Duration::from_nanos(1));
        assert_eq!(texts(&store), ["as old", "old", "young"]);
        store.expire(start + limits::BROADCAST_TTL);
        assert_eq!((texts(&store), store.bytes), (vec!["young".to_owned()], 5));
    }

    #[test]
    fn ids_are_remembered_for_twenty_minutes_and_bounded() {
        let (mut store, start) = (BroadcastStore::default(), Instant::now());
        let seen = &mut store.seen;
        seen.insert(start, id(1), ());
        seen.insert(start + limits::SEEN_TTL - SECOND, id(2), ());
        seen.insert(start + limits::SEEN_TTL, id(3), ());
        assert!(seen.contains(&id(1)) && seen.contains(&id(2)));
        seen.insert(start + limits::SEEN_TTL * 2, id(4), ());
        assert!(!seen.contains(&id(1)) && seen.contains(&id(3)));
        for n in 0..1_200_000 {
            seen.insert(start + limits::SEEN_TTL * 2, id(10 + n), ());
        }
        assert!(seen.len() <= limits::SEEN);
    }
}
