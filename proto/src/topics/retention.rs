//! Retention: which items of a topic are kept.
//!
//! The order is that of comparisons: by the time of an item, then by its id. The last ones are
//! kept. So what is kept follows from the items alone, and not from when they came: two nodes with
//! equal retention keep the same items, whatever way those took.
//!
//! The least item that is kept is the **floor**. What is below is refused and is not compared, so
//! it is not fetched again from a peer that keeps more. By count and bytes it only rises. By age it
//! follows the clock, also backwards: a clock that was wrong for a moment must not refuse items for
//! longer.
//!
//! The time of an item is what its author writes. One that is ahead of the clock would outlast all
//! that come until its time has come, and so few items would keep out all others for so long. So
//! **early** items have a small part of each bound, and more of them are put off. What is held at
//! the start is never early: the clock may be behind, and the newest items must not go first.

use std::collections::BTreeMap;
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
    /// What was removed for the bounds of count and bytes is below. It only rises.
    floor: Floor,
    /// The least time that is not too old, as of the last time that old items were looked for.
    oldest: u64,
    /// The time of day, as it was last reported, and when that was.
    time_of_day: (u64, Instant),
    /// When old items are looked for next.
    due: Instant,
    /// How many items without a time were removed since that was last asked.
    untimed: u64,
}

/// The items that came early and whose time has not come yet, with their lengths.
#[derive(Debug, Default)]
struct Early {
    items: BTreeMap<(u64, TransactionId), u32>,
    bytes: u64,
}

impl Early {
    fn insert(&mut self, key: (u64, TransactionId), bytes: u32) {
        self.items.insert(key, bytes);
        self.bytes += u64::from(bytes);
    }

    fn remove(&mut self, key: &(u64, TransactionId)) {
        self.bytes -= self.items.remove(key).map_or(0, u64::from);
    }

    /// Removes those up to a time.
    fn pass(&mut self, time: u64) {
        while let Some(first) = self.items.first_entry().filter(|first| first.key().0 <= time) {
            self.bytes -= u64::from(first.remove());
        }
    }
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
        let (early, floor, time_of_day) = (Early::default(), Floor::default(), (time_of_day, now));
        Self { keep, items, bytes, early, floor, oldest: 0, time_of_day, due: now, untimed: 0 }
    }

    /// Returns whether early items have their part of a bound, with so many and such bytes more.
    fn has_many_early(&self, count: u64, bytes: u64) -> bool {
        let is_above = |bound: Option<u64>, value: u64| bound.is_some_and(|bound| value > bound / EARLY_PART);
        is_above(self.keep.count, self.early.items.len() as u64 + count)
            || is_above(self.keep.bytes, self.early.bytes + bytes)
    }

    /// Notes that an item is gone.
    fn on_gone(&mut self, key: &(u64, TransactionId), bytes: u32) {
        self.bytes -= u64::from(bytes);
        self.early.remove(key);
    }

    /// Sets the clock. Returns whether it was set back: what was too old may be taken now.
    pub(crate) fn set_time_of_day(&mut self, now: Instant, seconds: u64) -> bool {
        let is_back = seconds.saturating_add(EARLY) < self.seconds(now);
        self.time_of_day = (seconds, now);
        is_back
    }

    fn seconds(&self, now: Instant) -> u64 {
        let (seconds, at) = self.time_of_day;
        seconds.saturating_add(now.saturating_duration_since(at).as_secs())
    }

    /// Returns after which time items are early.
    fn early_after(&self, now: Instant) -> u64 {
        self.seconds(now).saturating_add(EARLY)
    }

    /// Returns the least item that is kept.
    pub(crate) fn floor(&self) -> Floor {
        self.floor.max(Floor { time: self.oldest, id: [0; 32] })
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
        let floor = self.floor();
        if (Floor { time: item.time(), id: item.id().0 }) < floor {
            let reason = if item.time() == floor.time {
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
        if item.time() > seconds.saturating_add(limits::TOPIC_FUTURE.as_secs()) {
            let ahead = item.time() - seconds;
            return Err(NotKept::NotYet(format!(
                "its timeStamp is {ahead} s in the future: set the clock of its sender, or of this node"
            )));
        }
        let after = self.early_after(now);
        self.early.pass(after);
        if item.time() > after && self.has_many_early(1, item.body_bytes() as u64) {
            let ahead = item.time() - seconds;
            return Err(NotKept::NotYet(format!(
                "its timeStamp is {ahead} s in the future, and this topic holds as many such items as it may: set the clock of its sender, or of this node"
            )));
        }
        Ok(())
    }

    /// Notes an item that was accepted.
    pub(crate) fn insert(&mut self, now: Instant, item: &Transaction) {
        let (key, bytes) = ((item.time(), item.id()), item.body_bytes() as u32);
        if self.items.insert(key, bytes).is_none() {
            self.bytes += u64::from(bytes);
            if item.time() > self.early_after(now) {
                self.early.insert(key, bytes);
            }
        }
    }

    /// Notes items that somebody else removed, and returns those that it held with their lengths.
    /// It walks over all items.
    pub(crate) fn remove_these(&mut self, ids: &[TransactionId]) -> Vec<(TransactionId, u32)> {
        let ids: IdSet = ids.iter().copied().collect();
        let gone: Vec<_> = self.items.extract_if(.., |(_, id), _| ids.contains(id)).collect();
        gone.iter().for_each(|(key, bytes)| self.on_gone(key, *bytes));
        gone.into_iter().map(|((_, id), bytes)| (id, bytes)).collect()
    }

    /// Removes what is beyond the bounds, and returns it with the lengths. An item that is not
    /// stored yet stays, and all after it. Of early items beyond their part, which another program
    /// put into the file, the last one goes first. The floor does not rise above the clock.
    pub(crate) fn remove(
        &mut self,
        now: Instant,
        is_stored: impl Fn(&TransactionId) -> bool,
    ) -> Vec<(TransactionId, u32)> {
        let mut removed = Vec::new();
        if now >= self.due {
            self.due = now + AGE_TICK;
            self.oldest = self.keep.age.map_or(0, |age| self.seconds(now).saturating_sub(age.as_secs()));
        }
        let is_above = |bound: Option<u64>, value: u64| bound.is_some_and(|bound| value > bound);
        let slack = |bound: Option<u64>| bound.map(|bound| bound.saturating_add(bound / SLACK));
        let count = |retained: &Self| retained.items.len() as u64;
        let after = self.early_after(now);
        self.early.pass(after);
        let full = is_above(slack(self.keep.count), count(self)) || is_above(slack(self.keep.bytes), self.bytes);
        let beyond = |retained: &Self| {
            full && (is_above(retained.keep.count, count(retained)) || is_above(retained.keep.bytes, retained.bytes))
        };
        while beyond(self)
            && self.has_many_early(0, 0)
            && let Some((&key, &bytes)) = self.early.items.last_key_value()
            && is_stored(&key.1)
        {
            self.items.remove(&key);
            self.on_gone(&key, bytes);
            removed.push((key.1, bytes));
        }
        while let Some((&(time, id), &bytes)) = self.items.first_key_value() {
            let is_below = Floor { time, id: id.0 } < self.floor();
            if !(is_below || beyond(self)) || !is_stored(&id) {
                break;
            }
            self.items.pop_first();
            self.on_gone(&(time, id), bytes);
            if !is_below && time <= after {
                self.floor = above(time, id);
            }
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
                retained.insert(retained.time_of_day.1, item);
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
        let now = retained.time_of_day.1;
        (1..=9).for_each(|time| retained.insert(now, &item(time, 0)));
        assert!(retained.remove(now, |_| true).is_empty());
        (11..=50).for_each(|time| retained.insert(now, &item(time % 9 + 1, time as u32 + 10)));
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
                        retained.insert(now, &item);
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
        assert_eq!(
            (retained.early.items.len(), retained.early.items.keys().all(|(time, _)| *time == 1_060)),
            (10, true)
        );
        // Their time comes: others may be early.
        let later = now + Duration::from_secs(59);
        assert_eq!(taken(&mut retained, later, 1_070, 0), 10);
        let early: Vec<_> = retained.items.keys().filter(|(time, _)| *time == 1_070).map(|(_, id)| *id).collect();
        retained.remove_these(&early);
        assert_eq!((retained.early.items.len(), retained.early.bytes), (0, 0));
        // Bytes have a part too.
        let length = item(1_060, 0).body_bytes() as u64;
        let mut retained = keep(None, Some(length * 33), None);
        assert_eq!(taken(&mut retained, now, 1_060, 0), 2);
    }

    fn held(items: &[Transaction]) -> Vec<HeldItem> {
        let held = |item: &Transaction| HeldItem { id: item.id(), time: item.time(), bytes: item.body_bytes() as u32 };
        items.iter().map(held).collect()
    }

    /// Items far ahead of the clock, which another program put into the file.
    fn far() -> Vec<Transaction> {
        (0..300).map(|n| item(1_000_000 + u64::from(n), n)).collect()
    }

    #[test]
    fn found_items_that_are_ahead_of_the_clock_leave_before_others_do() {
        let mut retained = keep(Some(160), None, None);
        let now = retained.time_of_day.1;
        far().iter().for_each(|item| retained.insert(now, item));
        assert_eq!(retained.remove(now, |_| true).len(), 140);
        assert_eq!((retained.floor(), retained.items.len()), (Floor::default(), 160));
        for n in 0..400 {
            let item = item(990 + n / 40, n as u32);
            assert_eq!(retained.check(now, &item), Ok(()));
            retained.insert(now, &item);
            retained.remove(now, |_| true);
        }
        let recent = retained.items.keys().filter(|(time, _)| *time < 1_000).count();
        assert!((150..=160).contains(&recent), "{recent}");
        assert_eq!(retained.items.len() - recent, 10);
        let left = retained.items.values().map(|bytes| u64::from(*bytes)).sum::<u64>();
        assert_eq!((retained.bytes, retained.early.items.len()), (left, 10));
    }

    #[test]
    fn held_items_that_are_ahead_of_the_clock_have_no_others_refused() {
        let now = Instant::now();
        let keep = Retention { count: Some(160), bytes: None, age: None };
        let mut retained = Retained::new(now, keep, 1_000, &held(&far()));
        assert_eq!(retained.remove(now, |_| true).len(), 140);
        assert_eq!(retained.floor(), Floor::default());
        for time in 900..1_000 {
            let item = item(time, 0);
            assert_eq!(retained.check(now, &item), Ok(()));
            retained.insert(now, &item);
            retained.remove(now, |_| true);
        }
        assert!(retained.items.first_key_value().expect("some").0.0 < 1_000);
    }

    #[test]
    fn a_start_with_a_clock_that_is_behind_removes_the_oldest_items() {
        let now = Instant::now();
        // Those before 1900 were forgotten, and the file has them still.
        let items: Vec<_> = (1_000..2_900).map(|time| item(time, 0)).collect();
        for (time_of_day, floor) in [(2_900, 1_899), (2_000, 1_899), (1_500, 1_502), (0, 0), (9_000, 1_899)] {
            let keep = Retention { count: Some(1_000), bytes: None, age: None };
            let mut retained = Retained::new(now, keep, time_of_day, &held(&items));
            assert_eq!(retained.remove(now, |_| true).len(), 900);
            let mut times = retained.items.keys().map(|(time, _)| *time);
            assert_eq!((times.next(), times.next_back()), (Some(1_900), Some(2_899)), "{time_of_day}");
            drop(times);
            assert_eq!(retained.floor().time, floor, "{time_of_day}");
            // Set right, it goes on as if the clock had been right all the time.
            retained.set_time_of_day(now, 2_900);
            for n in 0..100 {
                let item = item(2_900, n);
                assert_eq!(retained.check(now, &item), Ok(()), "{time_of_day}");
                retained.insert(now, &item);
                retained.remove(now, |_| true);
            }
            let (first, _) = retained.items.first_key_value().expect("some");
            assert_eq!((first.0, retained.floor().time), (1_963, 1_962), "{time_of_day}");
        }
    }

    #[test]
    fn a_clock_that_is_set_back_makes_nothing_early_and_takes_the_floor_by_age_with_it() {
        let mut retained = keep(Some(160), None, Some(100));
        let now = retained.time_of_day.1;
        let items: Vec<_> = (1..=150).map(|n| item(900 + n % 100, n as u32)).collect();
        kept(&mut retained, &items);
        assert!(!retained.set_time_of_day(now, 8_000), "ahead");
        assert_eq!(retained.remove(now + AGE_TICK, |_| true).len(), 150);
        assert!(matches!(retained.check(now + AGE_TICK, &item(1_001, 0)), Err(NotKept::Old(_))));
        assert_eq!(retained.check(now + AGE_TICK, &item(8_001, 0)), Ok(()));
        let later = now + 2 * AGE_TICK;
        assert!(retained.set_time_of_day(later, 1_002), "set right");
        assert!(retained.remove(later, |_| true).is_empty());
        assert_eq!(retained.floor(), Floor { time: 902, id: [0; 32] });
        assert_eq!(retained.check(later, &item(1_001, 0)), Ok(()));
        assert_eq!(retained.check(later, &item(950, 0)), Ok(()), "what was removed may come again");
        assert!(matches!(retained.check(later, &item(901, 0)), Err(NotKept::Old(_))));
        // Behind: what is held is not early, and its newest do not go first.
        items.iter().for_each(|item| retained.insert(later, item));
        retained.set_time_of_day(later, 500);
        (0..30).for_each(|n| retained.insert(later, &item(499, n)));
        retained.remove(later + AGE_TICK, |_| true);
        assert_eq!(retained.items.last_key_value().expect("some").0.0, 999);
        assert_eq!((retained.items.len(), retained.early.items.len()), (160, 0));
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
