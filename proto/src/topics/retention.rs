//! Retention: which items of a topic are kept.
//!
//! The order is that of comparisons: by the time of an item, then by its id. The last ones are
//! kept. So what is kept follows from the items alone, and not from when they came: two nodes with
//! equal retention keep the same items, whatever way those took.
//!
//! The least item that is kept is the **floor**. It only rises. What is below is refused and is not
//! compared, so it is not fetched again from a peer that keeps more.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::io::{HeldItem, Retention};
use crate::limits;
use crate::transaction::{IdSet, Transaction, TransactionId};
use crate::wire::Floor;

/// Above a bound by this part of it, items are removed down to the bound: a removal walks over the
/// whole set.
const SLACK: u64 = 16;
/// How often old items are looked for.
const AGE_TICK: Duration = Duration::from_secs(1);

/// See the module. 60 bytes per item.
#[derive(Debug)]
pub(crate) struct Retained {
    keep: Retention,
    /// The items by their order, with their lengths.
    items: BTreeMap<(u64, TransactionId), u32>,
    bytes: u64,
    floor: Floor,
    /// The time of day, as it was last reported, and when that was.
    time_of_day: (u64, Instant),
    /// When old items are looked for next.
    due: Instant,
}

/// Why an item is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NotKept {
    /// It never will be: the reason.
    Never(String),
    /// Its time is in the future: the reason.
    NotYet(String),
}

impl NotKept {
    pub(crate) fn reason(self) -> String {
        let (Self::Never(reason) | Self::NotYet(reason)) = self;
        reason
    }
}

impl Retained {
    pub(crate) fn new(now: Instant, keep: Retention, time_of_day: u64, held: &[HeldItem]) -> Self {
        let items: BTreeMap<_, _> = held.iter().map(|item| ((item.time, item.id), item.bytes)).collect();
        let bytes = items.values().map(|bytes| u64::from(*bytes)).sum();
        Self { keep, items, bytes, floor: Floor::default(), time_of_day: (time_of_day, now), due: now }
    }

    pub(crate) fn set_time_of_day(&mut self, now: Instant, seconds: u64) {
        self.time_of_day = (seconds, now);
    }

    fn seconds(&self, now: Instant) -> u64 {
        let (seconds, at) = self.time_of_day;
        seconds + now.saturating_duration_since(at).as_secs()
    }

    /// Returns the least item that is kept.
    pub(crate) fn floor(&self) -> Floor {
        self.floor
    }

    /// Returns when [`Self::remove`] is to be called, also if nothing is stored meanwhile.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.keep.age.map(|_| self.due)
    }

    /// Returns why an item that is new here is not taken.
    pub(crate) fn check(&self, now: Instant, item: &Transaction) -> Result<(), NotKept> {
        if item.time() == 0 {
            let reason = "it has no timeStamp (seconds or milliseconds since 1970), and this topic keeps items by it";
            return Err(NotKept::Never(reason.to_owned()));
        }
        if (Floor { time: item.time(), id: item.id().0 }) < self.floor {
            return Err(NotKept::Never("it is older than what this topic keeps".to_owned()));
        }
        if let Some(most) = self.keep.bytes.filter(|most| item.body_bytes() as u64 > *most) {
            // It would push out all others, and then itself.
            return Err(NotKept::Never(format!("it has more than the {most} bytes that this topic keeps in all")));
        }
        let seconds = self.seconds(now);
        if item.time() > seconds + limits::TOPIC_FUTURE.as_secs() {
            let ahead = item.time() - seconds;
            return Err(NotKept::NotYet(format!(
                "its timeStamp is {ahead} s in the future: set the clock of its sender, or of this node"
            )));
        }
        Ok(())
    }

    /// Notes an item that was accepted.
    pub(crate) fn insert(&mut self, item: &Transaction) {
        let bytes = item.body_bytes() as u32;
        if self.items.insert((item.time(), item.id()), bytes).is_none() {
            self.bytes += u64::from(bytes);
        }
    }

    /// Notes items that somebody else removed. It walks over all items.
    pub(crate) fn remove_these(&mut self, ids: &[TransactionId]) {
        let (ids, bytes): (IdSet, _) = (ids.iter().copied().collect(), &mut self.bytes);
        self.items.retain(|(_, id), length| {
            let keep = !ids.contains(id);
            *bytes -= if keep { 0 } else { u64::from(*length) };
            keep
        });
    }

    /// Removes what is beyond the bounds, and returns it with the lengths. An item that is not
    /// stored yet stays, and all after it.
    pub(crate) fn remove(
        &mut self,
        now: Instant,
        is_stored: impl Fn(&TransactionId) -> bool,
    ) -> Vec<(TransactionId, u32)> {
        let mut removed = Vec::new();
        let oldest = self.keep.age.map_or(0, |age| self.seconds(now).saturating_sub(age.as_secs()));
        if now >= self.due {
            self.due = now + AGE_TICK;
            self.floor = self.floor.max(Floor { time: oldest, id: [0; 32] });
        }
        let is_above = |bound: Option<u64>, value: u64| bound.is_some_and(|bound| value > bound);
        let slack = |bound: Option<u64>| bound.map(|bound| bound.saturating_add(bound / SLACK));
        let count = |retained: &Self| retained.items.len() as u64;
        let full = is_above(slack(self.keep.count), count(self)) || is_above(slack(self.keep.bytes), self.bytes);
        while let Some((&(time, id), &bytes)) = self.items.first_key_value() {
            let beyond = full && (is_above(self.keep.count, count(self)) || is_above(self.keep.bytes, self.bytes));
            if !(beyond || Floor { time, id: id.0 } < self.floor) || !is_stored(&id) {
                break;
            }
            self.items.pop_first();
            self.bytes -= u64::from(bytes);
            self.floor = self.floor.max(above(time, id));
            removed.push((id, bytes));
        }
        removed
    }
}

/// Returns the floor just above an item.
fn above(time: u64, TransactionId(mut id): TransactionId) -> Floor {
    for byte in id.iter_mut().rev() {
        let (next, carry) = byte.overflowing_add(1);
        *byte = next;
        if !carry {
            return Floor { time, id };
        }
    }
    Floor { time: time + 1, id }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::Parser;

    fn item(time: u64, n: u32) -> Transaction {
        let text = format!(r#"{{"timeStamp":{time},"n":{n}}}"#);
        Transaction::parse(&mut Parser::new(), &text).expect("an item")
    }

    fn keep(count: Option<u64>, bytes: Option<u64>, age: Option<u64>) -> Retained {
        let keep = Retention { count, bytes, age: age.map(Duration::from_secs) };
        Retained::new(Instant::now(), keep, 1_000, &[])
    }

    /// Inserts items, and returns the times of those that are kept in the end.
    fn kept(retained: &mut Retained, items: &[Transaction]) -> Vec<u64> {
        for item in items {
            if retained.check(retained.time_of_day.1, item).is_ok() {
                retained.insert(item);
                retained.remove(retained.time_of_day.1, |_| true);
            }
        }
        retained.items.keys().map(|(time, _)| *time).collect()
    }

    #[test]
    fn the_last_ones_by_time_are_kept_in_whatever_order_they_come() {
        let items: Vec<_> = (1..=100).map(|n| item(n, 0)).collect();
        let mut backwards = items.clone();
        backwards.reverse();
        let mut mixed: Vec<_> = (0..100).map(|n| items[n * 37 % 100].clone()).collect();
        mixed.extend(items.clone());
        for order in [items, backwards, mixed] {
            let mut retained = keep(Some(20), None, None);
            let times = kept(&mut retained, &order);
            assert!((20..=21).contains(&times.len()), "{times:?}");
            assert_eq!(times, (101 - times.len() as u64..=100).collect::<Vec<_>>());
            let refused = retained.check(retained.time_of_day.1, &item(79, 0));
            assert!(matches!(refused, Err(NotKept::Never(_))), "{refused:?}");
        }
    }

    #[test]
    fn bytes_are_bounded_too_and_what_is_not_stored_stays() {
        let length = item(1, 0).body_bytes() as u64;
        let mut retained = keep(None, Some(10 * length), None);
        (1..=9).for_each(|time| retained.insert(&item(time, 0)));
        assert!(retained.remove(Instant::now(), |_| true).is_empty());
        (11..=50).for_each(|time| retained.insert(&item(time % 9 + 1, time as u32 + 10)));
        let waiting = item(12 % 9 + 1, 12 + 10).id();
        let removed = retained.remove(Instant::now(), |id| *id != waiting);
        assert!(!removed.is_empty() && removed.iter().all(|(id, _)| *id != waiting));
        assert_eq!(retained.items.first_key_value().expect("some").0.1, waiting);
        retained.remove(Instant::now(), |_| true);
        assert!(retained.bytes <= 10 * length && retained.bytes > 8 * length);
        assert_eq!(retained.bytes, retained.items.values().map(|bytes| u64::from(*bytes)).sum::<u64>());
    }

    #[test]
    fn age_counts_by_the_time_of_an_item_and_the_floor_rises_with_the_clock() {
        let mut retained = keep(None, None, Some(100));
        let now = retained.time_of_day.1;
        assert_eq!(kept(&mut retained, &[item(899, 0), item(900, 0), item(950, 0)]), [900, 950]);
        assert_eq!(retained.due(), Some(now + AGE_TICK));
        retained.remove(now + Duration::from_secs(30), |_| true);
        assert_eq!(retained.items.len(), 1);
        assert_eq!(retained.floor(), Floor { time: 930, id: [0; 32] });
        retained.set_time_of_day(now + Duration::from_secs(31), 1_049);
        retained.remove(now + Duration::from_secs(32), |_| true);
        assert_eq!((retained.items.len(), retained.bytes), (1, item(950, 0).body_bytes() as u64));
        retained.remove(now + Duration::from_secs(33), |_| true);
        assert_eq!((retained.items.len(), retained.bytes), (0, 0));
    }

    #[test]
    fn an_item_without_a_time_or_from_the_future_is_not_taken() {
        let retained = keep(Some(10), None, None);
        let now = retained.time_of_day.1;
        assert!(matches!(retained.check(now, &item(0, 0)), Err(NotKept::Never(_))));
        let future = 1_000 + limits::TOPIC_FUTURE.as_secs();
        assert_eq!(retained.check(now, &item(future, 0)), Ok(()));
        assert!(matches!(retained.check(now, &item(future + 1, 0)), Err(NotKept::NotYet(_))));
        assert_eq!(retained.check(now + Duration::from_secs(1), &item(future + 1, 0)), Ok(()));
    }

    #[test]
    fn an_item_that_is_longer_than_all_that_is_kept_is_refused_and_pushes_nothing_out() {
        let length = item(1, 0).body_bytes() as u64;
        let mut retained = keep(None, Some(3 * length), None);
        let now = retained.time_of_day.1;
        let long = format!(r#"{{"timeStamp":1050,"text":"{}"}}"#, "x".repeat(3 * length as usize));
        let long = Transaction::parse(&mut Parser::new(), &long).expect("an item");
        assert_eq!(kept(&mut retained, &[item(1, 0), item(2, 0), long.clone(), item(3, 0)]), [1, 2, 3]);
        assert!(matches!(retained.check(now, &long), Err(NotKept::Never(_))));
    }

    #[test]
    fn the_greatest_bounds_and_times_are_no_overflow() {
        let mut retained = keep(Some(u64::MAX), Some(u64::MAX), Some(u64::MAX));
        assert_eq!(kept(&mut retained, &[item(1, 0), item(2, 0)]), [1, 2]);
    }

    #[test]
    fn those_that_somebody_else_removed_leave_with_their_bytes() {
        let mut retained = keep(Some(100_000), None, None);
        let ids: Vec<TransactionId> = (0..1_000_u32)
            .map(|n| {
                let mut id = [0; 32];
                id[28..].copy_from_slice(&n.to_be_bytes());
                retained.items.insert((1, TransactionId(id)), 10);
                retained.bytes += 10;
                TransactionId(id)
            })
            .collect();
        retained.remove_these(&ids[1..]);
        assert_eq!((retained.items.len(), retained.bytes), (1, 10));
    }

    #[test]
    fn the_floor_above_an_item_is_the_next_id() {
        let id = |bytes: &[u8]| {
            let mut id = [0; 32];
            id[32 - bytes.len()..].copy_from_slice(bytes);
            id
        };
        assert_eq!(above(7, TransactionId(id(&[1, 255, 255]))), Floor { time: 7, id: id(&[2, 0, 0]) });
        assert_eq!(above(7, TransactionId([255; 32])), Floor { time: 8, id: [0; 32] });
    }
}
