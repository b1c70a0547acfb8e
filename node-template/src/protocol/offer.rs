//! What this node offers in a reconciliation: its transactions in the order (time, identity), as negentropy wants them.
//!
//! Only what was accepted some time ago is offered: what is younger is still on its way everywhere, and would be taken for a difference. New items gather
//! in a queue and are merged when they are of age; since time stamps mostly grow, that touches the end of the list alone.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use negentropy::{Bound, Error, Id, Item, NegentropyStorageBase};

use super::holdings::Sum;
use super::message::Summary;
use super::transaction::TransactionId;

/// How long a transaction has to spread by itself before it is offered.
const OF_AGE: Duration = Duration::from_secs(2);

/// The offered set. 40 bytes per transaction.
#[derive(Debug, Default)]
pub(super) struct Offer {
    /// Sorted.
    items: Vec<Item>,
    sum: Sum,
    /// Accepted lately, oldest first.
    young: VecDeque<(Instant, Item)>,
}

impl Offer {
    /// The offer of a pool as it was found on disk.
    pub(super) fn of(pool: impl Iterator<Item = (TransactionId, u64)>) -> Self {
        let mut offer = Self { items: pool.map(|(id, time)| item(id, time)).collect(), ..Self::default() };
        offer.items.sort_unstable();
        offer.items.dedup();
        for item in &offer.items {
            offer.sum.add(&TransactionId(*item.id));
        }
        offer
    }

    /// Notes a transaction that was accepted just now.
    pub(super) fn accept(&mut self, now: Instant, id: TransactionId, time: u64) {
        self.young.push_back((now, item(id, time)));
    }

    /// Takes transactions back that are lost.
    pub(super) fn lose(&mut self, ids: &[TransactionId]) {
        let lost: Vec<Id> = ids.iter().map(|id| Id::from_byte_array(id.0)).collect();
        self.young.retain(|(_, item)| !lost.contains(&item.id));
        let sum = &mut self.sum;
        self.items.retain(|item| {
            let keep = !lost.contains(&item.id);
            if !keep {
                sum.subtract(&TransactionId(*item.id));
            }
            keep
        });
    }

    /// Merges what has come of age.
    pub(super) fn ripen(&mut self, now: Instant) {
        let ripe =
            self.young.iter().take_while(|(accepted, _)| now.saturating_duration_since(*accepted) >= OF_AGE).count();
        let mut fresh: Vec<Item> = self.young.drain(..ripe).map(|(_, item)| item).collect();
        fresh.sort_unstable();
        let Some(first) = fresh.first() else { return };
        for item in &fresh {
            self.sum.add(&TransactionId(*item.id));
        }
        // All before the first new one stands right already.
        let from = self.items.partition_point(|item| item < first);
        let mut tail = self.items.split_off(from);
        tail.append(&mut fresh);
        tail.sort();
        self.items.append(&mut tail);
    }

    /// How much is offered, in short.
    pub(super) fn summary(&self) -> Summary {
        Summary { count: self.items.len() as u64, sum: self.sum.to_hex() }
    }
}

fn item(id: TransactionId, time: u64) -> Item {
    Item::with_timestamp_and_id(time, Id::from_byte_array(id.0))
}

impl NegentropyStorageBase for Offer {
    fn size(&self) -> Result<usize, Error> {
        Ok(self.items.len())
    }

    fn get_item(&self, index: usize) -> Result<Option<Item>, Error> {
        Ok(self.items.get(index).copied())
    }

    fn iterate(
        &self,
        begin: usize,
        end: usize,
        each: &mut dyn FnMut(Item, usize) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let range = self.items.get(begin..end).ok_or(Error::BadRange)?;
        for (index, item) in (begin..).zip(range) {
            if !each(*item, index)? {
                break;
            }
        }
        Ok(())
    }

    fn find_lower_bound(&self, first: usize, last: usize, bound: &Bound) -> usize {
        first + self.items[first..last].partition_point(|item| *item < bound.item)
    }
}

#[cfg(test)]
mod tests {
    use negentropy::Negentropy;

    use super::*;

    fn id(n: u16) -> TransactionId {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&n.wrapping_mul(40_503).to_be_bytes());
        TransactionId(bytes)
    }

    #[test]
    fn what_is_young_is_not_offered_and_the_order_holds_whatever_comes() {
        let now = Instant::now();
        let mut offer = Offer::of((0..100).map(|n| (id(n), u64::from(n))));
        for n in 100..200 {
            offer.accept(now, id(n), u64::from(n % 7) * 30);
        }
        offer.ripen(now);
        assert_eq!(offer.summary().count, 100);
        offer.ripen(now + OF_AGE);
        assert!(offer.items.is_sorted() && offer.young.is_empty());
        let whole = Offer::of(
            (0..100).map(|n| (id(n), u64::from(n))).chain((100..200).map(|n| (id(n), u64::from(n % 7) * 30))),
        );
        assert_eq!((offer.summary(), &offer.items), (whole.summary(), &whole.items));
        offer.lose(&[id(150), id(3)]);
        assert_eq!(offer.summary().count, 198);
    }

    #[test]
    fn negentropy_finds_what_each_side_lacks() {
        let mine = Offer::of((0..1_000).filter(|n| n % 97 != 0).map(|n| (id(n), u64::from(n))));
        let theirs = Offer::of((0..1_000).filter(|n| n % 89 != 0).map(|n| (id(n), u64::from(n))));
        let mut asking = Negentropy::borrowed(&mine, 4_096).expect("a limit that is allowed");
        let mut answering = Negentropy::borrowed(&theirs, 4_096).expect("a limit that is allowed");
        let (mut have, mut need) = (Vec::new(), Vec::new());
        let mut ask = Some(asking.initiate().expect("a first message"));
        while let Some(message) = ask {
            let answer = answering.reconcile(&message).expect("an answer");
            ask = asking.reconcile_with_ids(&answer, &mut have, &mut need).expect("understood");
        }
        let expect = |n: usize, except: usize| (0..1_000).filter(|i| i % n == 0 && i % except != 0).count();
        have.sort_unstable();
        have.dedup();
        need.sort_unstable();
        need.dedup();
        assert_eq!((have.len(), need.len()), (expect(89, 97), expect(97, 89)));
    }
}
