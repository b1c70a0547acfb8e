//! What this node offers in a reconciliation: its transactions in the order (time, identity), as negentropy wants them.
//!
//! Only what was accepted some time ago is offered: what is younger is still on its way everywhere, and would be taken for a difference. New items gather
//! in a queue and are merged when they are of age.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use negentropy::{Id, Item};

use crate::store::pool_index::SetDigest;
use crate::store::sorted_blocks::SortedBlocks;
use crate::transaction::TransactionId;
use crate::wire::Summary;

/// How long a transaction has to spread by itself before it is offered.
const OF_AGE: Duration = Duration::from_secs(2);

/// How long two merges are apart at least.
const MERGE_EVERY: Duration = Duration::from_millis(500);

/// The offered set. 40 bytes per transaction.
#[derive(Debug, Default)]
pub(crate) struct SyncSet {
    items: SortedBlocks,
    sum: SetDigest,
    /// Accepted lately, oldest first …
    young: VecDeque<Item>,
    /// … so many of them at this time.
    times: VecDeque<(Instant, usize)>,
    /// When that was last merged.
    ripened: Option<Instant>,
    /// Of age, and not merged yet.
    ripe: Vec<Item>,
}

impl SyncSet {
    /// The offer of a pool as it was found on disk.
    pub(crate) fn of(pool: impl Iterator<Item = (TransactionId, u64)>) -> Self {
        let items = SortedBlocks::of(pool.map(|(id, time)| item(id, time)).collect());
        let mut sum = SetDigest::default();
        for item in items.iter(0..items.len()) {
            sum.add(&TransactionId(*item.id));
        }
        Self { items, sum, ..Self::default() }
    }

    /// Notes a transaction that was accepted just now.
    pub(crate) fn accept(&mut self, now: Instant, id: TransactionId, time: u64) {
        self.young.push_back(item(id, time));
        match self.times.back_mut() {
            Some((accepted, count)) if *accepted == now => *count += 1,
            _ => self.times.push_back((now, 1)),
        }
    }

    /// Notes a transaction that came from another pool: it has had its time.
    pub(crate) fn accept_old(&mut self, id: TransactionId, time: u64) {
        self.ripe.push(item(id, time));
    }

    /// Takes transactions back that are lost.
    pub(crate) fn lose(&mut self, ids: &[TransactionId]) {
        let lost: HashSet<Id> = ids.iter().map(|id| Id::from_byte_array(id.0)).collect();
        let mut young = self.young.iter();
        for (_, count) in &mut self.times {
            *count = young.by_ref().take(*count).filter(|item| !lost.contains(&item.id)).count();
        }
        self.young.retain(|item| !lost.contains(&item.id));
        self.ripe.retain(|item| !lost.contains(&item.id));
        let sum = &mut self.sum;
        self.items.retain(|item| {
            let keep = !lost.contains(&item.id);
            if !keep {
                sum.subtract(&TransactionId(*item.id));
            }
            keep
        });
    }

    /// Merges what has come of age, at most once in half a second.
    pub(crate) fn ripen(&mut self, now: Instant) {
        if self.ripened.is_some_and(|ripened| now.saturating_duration_since(ripened) < MERGE_EVERY) {
            return;
        }
        self.ripened = Some(now);
        let mut fresh = std::mem::take(&mut self.ripe);
        let of_age = |(accepted, _): &mut (Instant, usize)| now.saturating_duration_since(*accepted) >= OF_AGE;
        while let Some((_, count)) = self.times.pop_front_if(of_age) {
            fresh.extend(self.young.drain(..count));
        }
        fresh.sort_unstable();
        let sum = &mut self.sum;
        self.items.insert(&fresh, |item| sum.add(&TransactionId(*item.id)));
    }

    /// What is offered.
    pub(crate) fn items(&self) -> &SortedBlocks {
        &self.items
    }

    /// How much is offered, in short.
    pub(crate) fn summary(&self) -> Summary {
        Summary { count: self.items.len() as u64, sum: self.sum.to_hex() }
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
    fn what_is_young_is_not_offered_and_the_order_holds_whatever_comes() {
        let now = Instant::now();
        let mut offer = SyncSet::of((0..100).map(|n| (id(n), u64::from(n))));
        for n in 100..200 {
            offer.accept(now, id(n), u64::from(n % 7) * 30);
        }
        offer.ripen(now);
        assert_eq!(offer.summary().count, 100);
        offer.ripen(now + OF_AGE);
        assert!(offer.young.is_empty() && offer.times.is_empty());
        let whole = SyncSet::of(
            (0..100).map(|n| (id(n), u64::from(n))).chain((100..200).map(|n| (id(n), u64::from(n % 7) * 30))),
        );
        let items = |offer: &SyncSet| offer.items.iter(0..200).copied().collect::<Vec<_>>();
        assert_eq!((offer.summary(), items(&offer)), (whole.summary(), items(&whole)));
        offer.lose(&[id(150), id(3)]);
        assert_eq!(offer.summary().count, 198);
        let later = now + OF_AGE;
        for n in 200..210 {
            offer.accept(later + Duration::from_millis(u64::from(n) / 3), id(n), 1);
        }
        offer.lose(&[id(201), id(204), id(209)]);
        offer.ripen(later + OF_AGE + Duration::from_millis(68));
        assert_eq!((offer.summary().count, offer.young.len()), (203, 2), "up to 206, without two");
    }
}
