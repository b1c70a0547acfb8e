//! Retention: which items of a topic are kept.
//!
//! The order is that of comparisons: by the time of an item, then by its id. The last ones are
//! kept. So what is kept follows from the items alone, and not from when they came: two nodes with
//! equal retention keep the same items, whatever way those took.
//!
//! The least item that is kept is the **floor**. It only rises. What is below is refused and is not
//! compared, so it is not fetched again from a peer that keeps more.
//!
//! The time of an item is what its author writes. One that is ahead of the clock would outlast all
//! that come until its time has come, and so few items would keep out all others for so long. So
//! **early** items have a small part of each bound, and more of them are put off.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::{Duration, Instant};

use crate::io::{HeldItem, Retention};
use crate::limits;
use crate::transaction::{IdSet, Transaction, TransactionId};
use crate::wire::Floor;

/// Above a bound by this part of it, items are removed down to the bound: a removal walks over the
/// whole set.
const SLACK: u64 = 16;
/// An item that is further ahead of the clock is early, in seconds: clocks that are set by NTP
/// differ by less, and times are whole seconds.
const EARLY: u64 = 2;
/// Early items take this part of a bound.
const EARLY_PART: u64 = 16;
/// How often old items are looked for.
const AGE_TICK: Duration = Duration::from_secs(1);

/// See the module. 60 bytes per item.
#[derive(Debug)]
pub(crate) struct Retained {
    keep: Retention,
    /// The items by their order, with their lengths.
    items: BTreeMap<(u64, TransactionId), u32>,
    bytes: u64,
    early: Early,
    floor: Floor,
    /// The time of day, as it was last reported, and when that was.
    time_of_day: (u64, Instant),
    /// When old items are looked for next.
    due: Instant,
    /// How many items without a time were removed since that was last asked.
    untimed: u64,
}

/// The early items.
#[derive(Debug, Default)]
struct Early {
    /// Those after this time are early. It only rises.
    after: u64,
    count: u64,
    bytes: u64,
}

/// Why an item is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NotKept {
    /// It is older than what is kept, which a member that keeps more need not know: the reason.
    Old(String),
    /// No node with this retention ever takes it: the reason, and the remedy.
    Never(String),
    /// Its time is in the future: the reason.
    NotYet(String),
}

impl NotKept {
    pub(crate) fn reason(self) -> String {
        let (Self::Old(reason) | Self::Never(reason) | Self::NotYet(reason)) = self;
        reason
    }
}

impl Retained {
    pub(crate) fn new(now: Instant, keep: Retention, time_of_day: u64, held: &[HeldItem]) -> Self {
        let items: BTreeMap<_, _> = held.iter().map(|item| ((item.time, item.id), item.bytes)).collect();
        let bytes = items.values().map(|bytes| u64::from(*bytes)).sum();
        let after = time_of_day.saturating_add(EARLY);
        let early = items.range((Bound::Excluded(last_of(after)), Bound::Unbounded));
        let (count, early_bytes) = early.fold((0, 0), |(count, sum), (_, bytes)| (count + 1, sum + u64::from(*bytes)));
        let early = Early { after, count, bytes: early_bytes };
        let time_of_day = (time_of_day, now);
        Self { keep, items, bytes, early, floor: Floor::default(), time_of_day, due: now, untimed: 0 }
    }

    /// Takes those items for early no more whose time has come. Each is looked at once.
    fn pass_early(&mut self, now: Instant) {
        let after = self.seconds(now).saturating_add(EARLY);
        if after > self.early.after {
            let passed = (Bound::Excluded(last_of(self.early.after)), Bound::Included(last_of(after)));
            for bytes in self.items.range(passed).map(|(_, bytes)| u64::from(*bytes)) {
                self.early.count -= 1;
                self.early.bytes -= bytes;
            }
            self.early.after = after;
        }
    }

    /// Returns whether early items have their part of a bound, with so many and such bytes more.
    fn has_many_early(&self, count: u64, bytes: u64) -> bool {
        let is_above = |bound: Option<u64>, value: u64| bound.is_some_and(|bound| value > bound / EARLY_PART);
        is_above(self.keep.count, self.early.count + count) || is_above(self.keep.bytes, self.early.bytes + bytes)
    }

    /// Notes that an item is gone.
    fn on_gone(&mut self, time: u64, bytes: u32) {
        self.bytes -= u64::from(bytes);
        if time > self.early.after {
            self.early.count -= 1;
            self.early.bytes -= u64::from(bytes);
        }
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
    pub(crate) fn check(&mut self, now: Instant, item: &Transaction) -> Result<(), NotKept> {
        if item.time() == 0 {
            let reason = "it has no timeStamp (seconds or milliseconds since 1970), and this node keeps the items of this topic by it: publish items with one, or declare the topic without retention here";
            return Err(NotKept::Never(reason.to_owned()));
        }
        if (Floor { time: item.time(), id: item.id().0 }) < self.floor {
            let reason = if item.time() == self.floor.time {
                "more items have its time than this topic keeps, and those with the greatest ids stay"
            } else {
                "it is older than what this topic keeps"
            };
            return Err(NotKept::Old(reason.to_owned()));
        }
        if let Some(most) = self.keep.bytes.filter(|most| item.body_bytes() as u64 > *most) {
            // It would push out all others, and then itself.
            return Err(NotKept::Never(format!(
                "it has more than the {most} bytes that this node keeps of this topic in all: raise keep_bytes"
            )));
        }
        let seconds = self.seconds(now);
        if item.time() > seconds + limits::TOPIC_FUTURE.as_secs() {
            let ahead = item.time() - seconds;
            return Err(NotKept::NotYet(format!(
                "its timeStamp is {ahead} s in the future: set the clock of its sender, or of this node"
            )));
        }
        self.pass_early(now);
        if item.time() > self.early.after && self.has_many_early(1, item.body_bytes() as u64) {
            let ahead = item.time() - seconds;
            return Err(NotKept::NotYet(format!(
                "its timeStamp is {ahead} s in the future, and this topic holds as many such items as it may: set the clock of its sender, or of this node"
            )));
        }
        Ok(())
    }

    /// Notes an item that was accepted.
    pub(crate) fn insert(&mut self, item: &Transaction) {
        let bytes = item.body_bytes() as u32;
        if self.items.insert((item.time(), item.id()), bytes).is_none() {
            self.bytes += u64::from(bytes);
            if item.time() > self.early.after {
                self.early.count += 1;
                self.early.bytes += u64::from(bytes);
            }
        }
    }

    /// Notes items that somebody else removed. It walks over all items.
    pub(crate) fn remove_these(&mut self, ids: &[TransactionId]) {
        let ids: IdSet = ids.iter().copied().collect();
        let gone = self.items.extract_if(.., |(_, id), _| ids.contains(id));
        let gone: Vec<_> = gone.map(|((time, _), bytes)| (time, bytes)).collect();
        gone.into_iter().for_each(|(time, bytes)| self.on_gone(time, bytes));
    }

    /// Removes what is beyond the bounds, and returns it with the lengths. An item that is not
    /// stored yet stays, and all after it. Of early items beyond their part, which another program
    /// put into the file, the last one goes first, and the floor does not rise for it.
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
        self.pass_early(now);
        let full = is_above(slack(self.keep.count), count(self)) || is_above(slack(self.keep.bytes), self.bytes);
        let beyond = |retained: &Self| {
            full && (is_above(retained.keep.count, count(retained)) || is_above(retained.keep.bytes, retained.bytes))
        };
        while beyond(self)
            && self.has_many_early(0, 0)
            && let Some((&(time, id), &bytes)) = self.items.last_key_value()
            && is_stored(&id)
        {
            self.items.pop_last();
            self.on_gone(time, bytes);
            removed.push((id, bytes));
        }
        while let Some((&(time, id), &bytes)) = self.items.first_key_value() {
            if !(beyond(self) || Floor { time, id: id.0 } < self.floor) || !is_stored(&id) {
                break;
            }
            self.items.pop_first();
            self.on_gone(time, bytes);
            self.floor = self.floor.max(above(time, id));
            self.untimed += u64::from(time == 0);
            removed.push((id, bytes));
        }
        removed
    }

    /// Returns how many items without a time were removed since the last call.
    pub(crate) fn take_untimed(&mut self) -> u64 {
        std::mem::take(&mut self.untimed)
    }
}

/// Returns the place after all items of a time.
fn last_of(time: u64) -> (u64, TransactionId) {
    (time, TransactionId([255; 32]))
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
            assert!(matches!(refused, Err(NotKept::Old(_))), "{refused:?}");
        }
    }

    #[test]
    fn of_one_second_those_with_the_greatest_ids_are_kept_and_a_refusal_says_so() {
        let mut items: Vec<_> = (0..100).map(|n| item(500, n)).collect();
        items.sort_by_key(Transaction::id);
        let mut retained = keep(Some(20), None, None);
        kept(&mut retained, &items);
        assert!(retained.items.contains_key(&(500, items[99].id())));
        for (refused, word) in [(&items[0], "its time"), (&item(499, 0), "older")] {
            let Err(NotKept::Old(reason)) = retained.check(retained.time_of_day.1, refused) else {
                panic!("it is below the floor")
            };
            assert!(reason.contains(word), "{reason}");
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
        let mut retained = keep(Some(100), None, None);
        let now = retained.time_of_day.1;
        assert!(matches!(retained.check(now, &item(0, 0)), Err(NotKept::Never(_))));
        let future = 1_000 + limits::TOPIC_FUTURE.as_secs();
        assert_eq!(retained.check(now, &item(future, 0)), Ok(()));
        assert!(matches!(retained.check(now, &item(future + 1, 0)), Err(NotKept::NotYet(_))));
        assert_eq!(retained.check(now + Duration::from_secs(1), &item(future + 1, 0)), Ok(()));
    }

    #[test]
    fn items_ahead_of_the_clock_take_a_small_part_and_keep_out_no_others() {
        let mut retained = keep(Some(160), None, None);
        let now = retained.time_of_day.1;
        let taken = |retained: &mut Retained, now: Instant, time: u64, from: u32| {
            (from..from + 200)
                .filter(|n| {
                    let item = item(time, *n);
                    let taken = retained.check(now, &item).is_ok();
                    if taken {
                        retained.insert(&item);
                        retained.remove(now, |_| true);
                    }
                    taken
                })
                .count()
        };
        assert_eq!(taken(&mut retained, now, 1_060, 0), 10);
        assert_eq!(taken(&mut retained, now, 1_003, 0), 0, "the part is theirs together");
        assert!(taken(&mut retained, now, 1_002, 0) > 150, "this is no more than clocks differ");
        assert!(taken(&mut retained, now + Duration::from_secs(3), 1_003, 0) > 150);
        assert_eq!((retained.early.count, retained.early.after), (10, 1_005));
        // Their time comes: others may be early.
        let later = now + Duration::from_secs(59);
        assert_eq!(taken(&mut retained, later, 1_070, 0), 10);
        let early: Vec<_> = retained.items.keys().filter(|(time, _)| *time == 1_070).map(|(_, id)| *id).collect();
        retained.remove_these(&early);
        assert_eq!((retained.early.count, retained.early.bytes), (0, 0));
        // Bytes have a part too.
        let length = item(1_060, 0).body_bytes() as u64;
        let mut retained = keep(None, Some(length * 33), None);
        assert_eq!(taken(&mut retained, now, 1_060, 0), 2);
    }

    #[test]
    fn items_of_a_file_that_are_ahead_of_the_clock_leave_before_others_do() {
        let now = Instant::now();
        let held = |time: u64, n: u32| {
            let item = item(time, n);
            HeldItem { id: item.id(), time, bytes: item.body_bytes() as u32 }
        };
        let far: Vec<_> = (0..300).map(|n| held(1_000_000 + u64::from(n), n)).collect();
        let keep = Retention { count: Some(160), bytes: None, age: None };
        let mut retained = Retained::new(now, keep, 1_000, &far);
        assert_eq!(retained.remove(now, |_| true).len(), 140);
        assert_eq!((retained.floor(), retained.items.len()), (Floor::default(), 160));
        for n in 0..400 {
            assert_eq!(retained.check(now, &item(990 + n / 40, n as u32)), Ok(()));
            retained.insert(&item(990 + n / 40, n as u32));
            retained.remove(now, |_| true);
        }
        let keys = retained.items.keys().copied();
        let (early, others): (Vec<_>, Vec<_>) = keys.partition(|(time, _)| *time > 1_002);
        assert_eq!(early.len(), 10);
        assert!((150..=160).contains(&others.len()), "{}", others.len());
        let left = retained.items.values().map(|bytes| u64::from(*bytes)).sum::<u64>();
        assert_eq!((retained.bytes, retained.early.count), (left, 10));
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
