//! The settled part of the pool, in the order (time, identity) that negentropy needs: what
//! anti-entropy compares.
//!
//! A transaction settles some time after it was accepted. A younger one is still spreading
//! everywhere, and would count as a difference. New items gather in a queue, and are merged once
//! they have settled.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use data_encoding::HEXLOWER;
use negentropy::{Id, Item};

use crate::store::set_digest::SetDigest;
use crate::store::sorted_blocks::SortedBlocks;
use crate::transaction::TransactionId;
use crate::wire::{Floor, Summary};

/// How long a transaction has to spread by gossip before it is compared.
const SETTLE_DELAY: Duration = Duration::from_secs(2);
/// The shortest time between two merges.
const MERGE_INTERVAL: Duration = Duration::from_millis(500);

/// See the module. 40 bytes per transaction.
#[derive(Debug, Default)]
pub(crate) struct SyncSet {
    items: SortedBlocks,
    digest: SetDigest,
    /// Not settled yet, oldest first …
    fresh: VecDeque<Item>,
    /// … so many of them accepted at this time.
    accepted: VecDeque<(Instant, usize)>,
    /// Settled, and not merged yet.
    unmerged: Vec<Item>,
    /// When items were last merged.
    merged: Option<Instant>,
    /// Below which nothing is kept.
    floor: Floor,
}

impl SyncSet {
    /// Builds the set of a pool as it was found on disk.
    pub(crate) fn of(pool: impl Iterator<Item = (TransactionId, u64)>) -> Self {
        let items = SortedBlocks::of(pool.map(|(id, time)| item(id, time)).collect());
        let mut digest = SetDigest::default();
        for item in items.iter(0..items.len()) {
            digest.add(&TransactionId(*item.id));
        }
        Self { items, digest, ..Self::default() }
    }

    /// Inserts a transaction that was accepted now, and settles later.
    pub(crate) fn insert(&mut self, now: Instant, id: TransactionId, time: u64) {
        self.fresh.push_back(item(id, time));
        match self.accepted.back_mut() {
            Some((accepted, count)) if *accepted == now => *count += 1,
            _ => self.accepted.push_back((now, 1)),
        }
    }

    /// Inserts a transaction that has settled: it came out of another pool.
    pub(crate) fn insert_settled(&mut self, id: TransactionId, time: u64) {
        self.unmerged.push(item(id, time));
    }

    /// Removes transactions.
    pub(crate) fn remove(&mut self, ids: &[TransactionId]) {
        if ids.is_empty() {
            return;
        }
        let removed: HashSet<Id> = ids.iter().map(|id| Id::from_byte_array(id.0)).collect();
        let mut fresh = self.fresh.iter();
        for (_, count) in &mut self.accepted {
            *count = fresh.by_ref().take(*count).filter(|item| !removed.contains(&item.id)).count();
        }
        self.fresh.retain(|item| !removed.contains(&item.id));
        self.unmerged.retain(|item| !removed.contains(&item.id));
        let digest = &mut self.digest;
        self.items.retain(|item| {
            let keep = !removed.contains(&item.id);
            if !keep {
                digest.subtract(&TransactionId(*item.id));
            }
            keep
        });
    }

    /// Merges what has settled, at most once in [`MERGE_INTERVAL`]: strangers have it called.
    pub(crate) fn settle(&mut self, now: Instant) {
        if self.merged.is_none_or(|merged| now.saturating_duration_since(merged) >= MERGE_INTERVAL) {
            self.merge(now);
        }
    }

    /// Merges what has settled.
    pub(crate) fn merge(&mut self, now: Instant) {
        self.merged = Some(now);
        let mut settled = std::mem::take(&mut self.unmerged);
        let is_settled =
            |(accepted, _): &mut (Instant, usize)| now.saturating_duration_since(*accepted) >= SETTLE_DELAY;
        while let Some((_, count)) = self.accepted.pop_front_if(is_settled) {
            settled.extend(self.fresh.drain(..count));
        }
        settled.sort_unstable();
        let digest = &mut self.digest;
        self.items.insert(&settled, |item| digest.add(&TransactionId(*item.id)));
    }

    /// Returns below which nothing is kept.
    pub(crate) fn floor(&self) -> Floor {
        self.floor
    }

    /// Sets below which nothing is kept. The caller removes what is.
    pub(crate) fn set_floor(&mut self, floor: Floor) {
        self.floor = floor;
    }

    /// Returns the count of the settled items from a floor on, and their sum, which is found
    /// without walking over all of them. Without a floor it is [`Self::summary`].
    pub(crate) fn summary_from(&self, floor: &Floor) -> Summary {
        if *floor == Floor::default() {
            return self.summary();
        }
        let below = self.items.below(&Item::with_timestamp_and_id(floor.time, Id::from_byte_array(floor.id)));
        let sum = HEXLOWER.encode(self.items.sum(below..self.items.len()).as_bytes());
        Summary { count: (self.items.len() - below) as u64, sum }
    }

    /// Returns how many of the settled items have no time.
    pub(crate) fn untimed(&self) -> usize {
        self.items.below(&Item::with_timestamp_and_id(1, Id::from_byte_array([0; 32])))
    }

    /// Returns the least and the greatest time of all items that have one, settled or not.
    pub(crate) fn times(&self) -> Option<(u64, u64)> {
        let timed = self.untimed();
        let settled = [self.items.get(timed), self.items.len().checked_sub(1).and_then(|last| self.items.get(last))];
        let all = settled.into_iter().flatten().chain(&self.fresh).chain(&self.unmerged);
        let times = all.map(|item| item.timestamp).filter(|time| *time > 0);
        times.fold(None, |times, time| {
            let (oldest, newest) = times.unwrap_or((time, time));
            Some((time.min(oldest), time.max(newest)))
        })
    }

    /// Returns the settled items.
    pub(crate) fn items(&self) -> &SortedBlocks {
        &self.items
    }

    /// Returns the count and the digest of the settled items.
    pub(crate) fn summary(&self) -> Summary {
        Summary { count: self.items.len() as u64, sum: self.digest.to_hex() }
    }
}

fn item(id: TransactionId, time: u64) -> Item {
    Item::with_timestamp_and_id(time, Id::from_byte_array(id.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u16) -> TransactionId {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&n.wrapping_mul(40_503).to_be_bytes());
        TransactionId(bytes)
    }

    #[test]
    fn what_is_young_has_not_settled_and_the_order_holds_whatever_comes() {
        let now = Instant::now();
        let mut set = SyncSet::of((0..100).map(|n| (id(n), u64::from(n))));
        for n in 100..200 {
            set.insert(now, id(n), u64::from(n % 7) * 30);
        }
        assert_eq!(set.accepted.len(), 1, "one entry for all that came at one time");
        set.settle(now);
        assert_eq!(set.summary().count, 100);
        set.settle(now + SETTLE_DELAY);
        assert!(set.fresh.is_empty() && set.accepted.is_empty());
        let whole = SyncSet::of(
            (0..100).map(|n| (id(n), u64::from(n))).chain((100..200).map(|n| (id(n), u64::from(n % 7) * 30))),
        );
        let items = |set: &SyncSet| set.items().iter(0..200).copied().collect::<Vec<_>>();
        assert_eq!((set.summary(), items(&set)), (whole.summary(), items(&whole)));
        set.remove(&[id(150), id(3)]);
        assert_eq!((set.summary().count, set.items().len()), (198, 198));
        let later = now + SETTLE_DELAY;
        for n in 200..210 {
            set.insert(later + Duration::from_millis(u64::from(n) / 3), id(n), 1);
        }
        set.remove(&[id(201), id(204), id(209)]);
        set.settle(later + SETTLE_DELAY + Duration::from_millis(68));
        assert_eq!((set.summary().count, set.fresh.len()), (203, 2), "up to 206, without two");
    }

    #[test]
    fn merges_are_half_a_second_apart_and_what_came_out_of_another_pool_waits_for_nothing_else() {
        let now = Instant::now();
        let mut set = SyncSet::default();
        set.insert_settled(id(1), 5);
        set.insert(now, id(2), 5);
        set.settle(now);
        assert_eq!(set.summary().count, 1);
        set.insert_settled(id(3), 5);
        set.settle(now + MERGE_INTERVAL - Duration::from_nanos(1));
        assert_eq!(set.summary().count, 1);
        set.settle(now + MERGE_INTERVAL);
        assert_eq!(set.summary().count, 2);
        set.settle(now + SETTLE_DELAY - Duration::from_nanos(1));
        assert_eq!(set.summary().count, 2);
        set.settle(now + SETTLE_DELAY - Duration::from_nanos(1) + MERGE_INTERVAL);
        assert_eq!(set.summary(), SyncSet::of([1, 2, 3].map(|n| (id(n), 5)).into_iter()).summary());
    }

    #[test]
    fn the_times_are_those_of_all_items_that_have_one() {
        let now = Instant::now();
        let mut set = SyncSet::of((0..10).map(|n| (id(n), 0)));
        assert_eq!(set.times(), None);
        set.insert(now, id(20), 50);
        assert_eq!(set.times(), Some((50, 50)));
        set.insert_settled(id(21), 40);
        set.settle(now + SETTLE_DELAY);
        set.insert(now + SETTLE_DELAY, id(22), 60);
        assert_eq!((set.summary().count, set.times()), (12, Some((40, 60))));
        set.remove(&[id(21), id(22)]);
        assert_eq!(set.times(), Some((50, 50)));
    }

    #[test]
    fn the_summary_from_a_floor_on_is_that_of_the_items_above_it() {
        let set = SyncSet::of((0..1_000).map(|n| (id(n), u64::from(n / 3))));
        let floor = Floor { time: 100, id: [0; 32] };
        let above = SyncSet::of((300..1_000).map(|n| (id(n), u64::from(n / 3))));
        assert_eq!(set.summary_from(&floor), above.summary_from(&floor));
        assert_ne!(set.summary_from(&floor), SyncSet::of((0..700).map(|n| (id(n), 100))).summary_from(&floor));
        assert_eq!(set.summary_from(&Floor::default()), set.summary());
        let mut of_one_time = [300, 301, 302].map(|n| id(n).0);
        of_one_time.sort_unstable();
        let floor = Floor { time: 100, id: of_one_time[1] };
        assert_eq!(set.summary_from(&floor).count, 699);
        assert_eq!(set.summary_from(&Floor { time: 900, id: [0; 32] }).count, 0);
    }

    #[test]
    fn removed_ones_are_forgotten_before_they_settle_as_well() {
        let now = Instant::now();
        let mut set = SyncSet::of([1, 2].map(|n| (id(n), 0)).into_iter());
        set.insert_settled(id(3), 0);
        set.insert_settled(id(4), 0);
        set.insert(now, id(5), 0);
        set.remove(&[id(1), id(3), id(5), id(9)]);
        set.settle(now + SETTLE_DELAY);
        assert_eq!(set.summary(), SyncSet::of([2, 4].map(|n| (id(n), 0)).into_iter()).summary());
    }
}
