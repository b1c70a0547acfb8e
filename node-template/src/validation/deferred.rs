//! The transactions that are being judged or deferred, with those who sent them.
//!
//! Bounded by number, bytes and time. When it is full, the newest of the link goes that brought
//! most: one peer cannot crowd out the others, and of a chain that comes in order those stay whose
//! turn is next. One that comes takes the place of one that was judged, and of its own link not of
//! one whose turn is still to come.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use meshpool_proto::id::LinkId;
use meshpool_proto::transaction::{Transaction, TransactionId};
use meshpool_proto::wire::TransactionFrame;
use tokio::time::Instant;

use crate::validation::{LONGEST, Until};

/// The most transactions …
pub(super) const MOST: usize = 4_096;
/// … and the most bytes of them.
pub(super) const MOST_BYTES: usize = 16 * 1024 * 1024;
/// The most copies of one that are kept, for their senders' sake.
const COPIES: usize = 16;

/// One transaction.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) transaction: Transaction,
    /// The link that brought it first. It may have closed.
    brought_by: LinkId,
    /// What came, and on which links that are still open.
    pub(super) frames: Vec<(LinkId, TransactionFrame)>,
    came: Instant,
    order: u64,
    /// Whether the core knows that it is not to be asked for.
    pub(super) noted: bool,
    state: State,
    /// What its rules did not find. It may be accepted once one of these is stored.
    missing: Vec<TransactionId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It waits for a judgement.
    Waiting,
    Judging,
    /// It was judged, and waits until then.
    Deferred(Instant, Until),
}

/// Which of those are judged again that wait for a change of the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    /// Those that name nothing that they miss.
    Unnamed,
    /// All: rules may depend on more than what they looked for.
    All,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct HeldTransactions {
    held: HashMap<TransactionId, Held>,
    /// Those that miss something, by what they miss.
    by_missing: HashMap<TransactionId, BTreeSet<TransactionId>>,
    /// Those of each link, in the order in which they came.
    by_link: BTreeMap<LinkId, BTreeSet<(u64, TransactionId)>>,
    bytes: usize,
    last: u64,
    /// No deferred one is due by time before this; `None`: there is none.
    earliest: Option<Instant>,
}

/// What became of a transaction that came.
#[derive(Debug)]
pub(super) enum Inserted {
    /// It is to be judged.
    New,
    /// It is here already, and its sender is noted.
    Copy,
    /// There is no room for it, or for one more of its senders.
    Full,
}

impl HeldTransactions {
    /// Adds what came on a link. `room`: asked for the transaction that has to make room.
    pub(super) fn insert(
        &mut self,
        now: Instant,
        link: LinkId,
        frame: TransactionFrame,
        transaction: &Transaction,
        mut removed: impl FnMut(TransactionId, Held),
    ) -> (Inserted, Option<TransactionFrame>) {
        let id = transaction.id();
        if let Some(held) = self.held.get_mut(&id) {
            if held.frames.len() < COPIES {
                held.frames.push((link, frame));
                return (Inserted::Copy, None);
            }
            return if frame.ack { (Inserted::Full, Some(frame)) } else { (Inserted::Copy, None) };
        }
        let bytes = transaction.body().len();
        while self.held.len() >= MOST || self.bytes + bytes > MOST_BYTES {
            let Some(newest) = self.gives_way_to(link) else { return (Inserted::Full, Some(frame)) };
            if let Some(held) = self.remove(&newest) {
                removed(newest, held);
            }
        }
        self.last += 1;
        self.bytes += bytes;
        let held = Held {
            transaction: transaction.clone(),
            brought_by: link,
            frames: vec![(link, frame)],
            came: now,
            order: self.last,
            noted: false,
            state: State::Waiting,
            missing: Vec::new(),
        };
        self.by_link.entry(link).or_default().insert((held.order, id));
        self.held.insert(id, held);
        (Inserted::New, None)
    }

    /// Returns the one that makes room for one of a link: the newest of the link with most, unless
    /// it is being judged. If that link is this one, its newest must have had its turn; otherwise
    /// it must have more than this one would have.
    fn gives_way_to(&self, link: LinkId) -> Option<TransactionId> {
        let own = self.by_link.get(&link).map_or(0, BTreeSet::len);
        let (largest, ids) = self.by_link.iter().max_by_key(|(_, ids)| ids.len())?;
        let (_, newest) = ids.last()?;
        let gives_way = match self.held.get(newest)?.state {
            State::Judging => false,
            State::Waiting => *largest != link && ids.len() > own + 1,
            State::Deferred(..) => *largest == link || ids.len() > own + 1,
        };
        gives_way.then_some(*newest)
    }

    /// Defers a transaction that was judged; `false` if its time is over. `missing`: what its rules
    /// did not find.
    pub(super) fn defer(
        &mut self,
        now: Instant,
        id: &TransactionId,
        until: Until,
        missing: Vec<TransactionId>,
    ) -> bool {
        let Some(held) = self.held.get_mut(id) else { return true };
        let end = held.came + LONGEST;
        if end <= now {
            return false;
        }
        let due = (now + until.after).min(end);
        held.state = State::Deferred(due, until);
        self.earliest = Some(self.earliest.map_or(due, |earliest| earliest.min(due)));
        let before = std::mem::replace(&mut held.missing, missing);
        for missing in &held.missing {
            self.by_missing.entry(*missing).or_default().insert(*id);
        }
        let after = held.missing.clone();
        self.misses_no_longer(id, before.iter().filter(|missing| !after.contains(missing)));
        true
    }

    fn misses_no_longer<'a>(&mut self, id: &TransactionId, found: impl Iterator<Item = &'a TransactionId>) {
        for found in found {
            if let Some(waiting) = self.by_missing.get_mut(found) {
                waiting.remove(id);
                if waiting.is_empty() {
                    self.by_missing.remove(found);
                }
            }
        }
    }

    /// Returns the links on which a transaction came, if the core has not been told yet that it is
    /// deferred.
    pub(super) fn note(&mut self, id: &TransactionId) -> Vec<LinkId> {
        let Some(held) = self.held.get_mut(id) else { return Vec::new() };
        if std::mem::replace(&mut held.noted, true) {
            return Vec::new();
        }
        held.frames.iter().map(|(link, _)| *link).collect()
    }

    /// Returns whether a transaction is here and was deferred before.
    pub(super) fn is_noted(&self, id: &TransactionId) -> bool {
        self.held.get(id).is_some_and(|held| held.noted)
    }

    /// Takes up the transactions that miss something which was stored, in the order in which they
    /// came.
    pub(super) fn take_found(&mut self, stored: &[TransactionId]) -> Vec<(TransactionId, Transaction)> {
        let waiting = stored.iter().filter_map(|id| self.by_missing.get(id)).flatten();
        let due = waiting.filter(
            |id| matches!(self.held.get(id), Some(Held { state: State::Deferred(_, until), .. }) if until.changed),
        );
        let due = due.copied().collect();
        self.take(due)
    }

    /// Takes up the transactions that are due for another judgement, in the order in which they
    /// came: those whose time has come, and of those that wait for a change of the pool these.
    pub(super) fn take_due(&mut self, now: Instant, again: Option<Again>) -> Vec<(TransactionId, Transaction)> {
        let is_due = |held: &Held| match held.state {
            State::Deferred(at, _) if at <= now => true,
            State::Deferred(_, until) if until.changed => match again {
                None => false,
                Some(Again::Unnamed) => held.missing.is_empty(),
                Some(Again::All) => true,
            },
            _ => false,
        };
        let due = self.held.iter().filter(|(_, held)| is_due(held)).map(|(id, _)| *id).collect();
        let taken = self.take(due);
        let at = |held: &Held| match held.state {
            State::Deferred(at, _) => Some(at),
            State::Waiting | State::Judging => None,
        };
        self.earliest = self.held.values().filter_map(at).min();
        taken
    }

    /// Takes up these.
    fn take(&mut self, due: BTreeSet<TransactionId>) -> Vec<(TransactionId, Transaction)> {
        let mut taken = Vec::with_capacity(due.len());
        for id in due {
            if let Some(held) = self.held.get_mut(&id) {
                held.state = State::Waiting;
                taken.push((held.order, id, held.transaction.clone()));
            }
        }
        taken.sort_unstable_by_key(|(order, ..)| *order);
        taken.into_iter().map(|(_, id, transaction)| (id, transaction)).collect()
    }

    fn remove_of_link(&mut self, link: LinkId, key: (u64, TransactionId)) {
        if let Some(ids) = self.by_link.get_mut(&link) {
            ids.remove(&key);
            if ids.is_empty() {
                self.by_link.remove(&link);
            }
        }
    }

    /// Returns when the next one is due by time, or earlier: when one was due that has been removed
    /// since.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.earliest
    }

    /// Notes that a transaction is judged from now on; `false` if it does not wait for that: it
    /// gave way to another one.
    pub(super) fn begin(&mut self, id: &TransactionId) -> bool {
        let waiting = self.held.get_mut(id).filter(|held| held.state == State::Waiting);
        waiting.map(|held| held.state = State::Judging).is_some()
    }

    /// Removes a transaction.
    pub(super) fn remove(&mut self, id: &TransactionId) -> Option<Held> {
        let held = self.held.remove(id)?;
        self.bytes -= held.transaction.body().len();
        self.remove_of_link(held.brought_by, (held.order, *id));
        self.misses_no_longer(id, held.missing.iter());
        Some(held)
    }

    /// Forgets who waits on a link that has closed. What it brought is still judged.
    pub(super) fn on_closed(&mut self, link: LinkId) {
        for held in self.held.values_mut() {
            held.frames.retain(|(from, _)| *from != link);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use meshpool_proto::json::Parser;

    use super::*;

    fn transaction(n: usize, bytes: usize) -> Transaction {
        let text = format!(r#"{{"n":{n},"x":"{}"}}"#, "x".repeat(bytes));
        Transaction::parse(&mut Parser::new(), &text).expect("a transaction")
    }

    fn insert(held: &mut HeldTransactions, now: Instant, link: u64, n: usize, bytes: usize) -> (Inserted, Vec<usize>) {
        let transaction = transaction(n, bytes);
        let frame = TransactionFrame { transaction: Ok(transaction.clone()), origin: None, ack: false, synced: false };
        let mut gone = Vec::new();
        let inserted = held.insert(now, LinkId(link), frame, &transaction, |_, held| gone.push(held.frames.len()));
        (inserted.0, gone)
    }

    #[test]
    fn the_link_that_brought_most_makes_room_and_what_is_judged_stays() {
        let (mut held, now) = (HeldTransactions::default(), Instant::now());
        for n in 0..MOST {
            let link = if n == 7 { 2 } else { 1 };
            assert!(matches!(insert(&mut held, now, link, n, 0), (Inserted::New, _)));
        }
        assert!(matches!(insert(&mut held, now, 1, MOST, 0), (Inserted::Full, _)), "those before it come first");
        for n in 0..MOST {
            let id = transaction(n, 0).id();
            assert!(held.begin(&id) && !held.begin(&id), "once at a time");
        }
        assert!(matches!(insert(&mut held, now, 2, MOST, 0), (Inserted::Full, _)), "all are being judged");
        for n in 0..MOST {
            assert!(held.defer(now, &transaction(n, 0).id(), Until::changed(), Vec::new()));
        }
        assert!(matches!(insert(&mut held, now, 1, 7, 0), (Inserted::Copy, _)));
        let (inserted, gone) = insert(&mut held, now, 2, MOST, 0);
        assert!(matches!(inserted, Inserted::New) && gone == [1]);
        assert!(held.remove(&transaction(MOST - 1, 0).id()).is_none(), "the newest of the link with most");
        assert!(held.remove(&transaction(7, 0).id()).is_some_and(|held| held.frames.len() == 2));
        assert_eq!(held.len(), MOST - 1);
    }

    #[test]
    fn bytes_are_bounded_too() {
        let (mut held, now) = (HeldTransactions::default(), Instant::now());
        let large = 250 * 1024;
        let room = MOST_BYTES / transaction(0, large).body().len();
        for n in 0..room {
            insert(&mut held, now, 1, n, large);
            held.defer(now, &transaction(n, large).id(), Until::changed(), Vec::new());
        }
        let (inserted, gone) = insert(&mut held, now, 1, room, large);
        assert!(matches!(inserted, Inserted::New) && gone.len() == 1);
        assert!(held.bytes <= MOST_BYTES);
        while let Some(id) = held.held.keys().next().copied() {
            held.remove(&id);
        }
        assert!(held.bytes == 0 && held.by_link.is_empty());
    }

    #[test]
    fn each_waits_for_what_it_named_and_ten_minutes_at_most() {
        let (mut held, now) = (HeldTransactions::default(), Instant::now());
        let second = Duration::from_secs(1);
        let untils = [Until::after(second), Until::changed(), Until::changed_or_after(2 * second)];
        for (n, until) in untils.into_iter().enumerate() {
            insert(&mut held, now, 1, n, 0);
            assert!(held.defer(now, &transaction(n, 0).id(), until, Vec::new()));
        }
        let mut due = |at, changed: bool| -> Vec<usize> {
            let due = held.take_due(at, changed.then_some(Again::Unnamed));
            let n = |id| (0..3).find(|n| transaction(*n, 0).id() == id).expect("one of them");
            due.into_iter().map(|(id, _)| n(id)).collect()
        };
        assert_eq!(due(now, false), [] as [usize; 0]);
        assert_eq!(due(now, true), [1, 2]);
        assert_eq!(due(now + second, true), [0]);
        assert_eq!(held.next_due(), None);
        assert!(held.defer(now + LONGEST - second, &transaction(1, 0).id(), Until::changed(), Vec::new()));
        assert_eq!(held.next_due(), Some(now + LONGEST), "not longer than that");
        assert!(!held.defer(now + LONGEST, &transaction(1, 0).id(), Until::changed(), Vec::new()));
    }

    #[test]
    fn what_misses_something_is_judged_again_once_that_is_stored() {
        let (mut held, now) = (HeldTransactions::default(), Instant::now());
        let ids: Vec<_> = (0..4).map(|n| transaction(n, 0).id()).collect();
        let defer = |held: &mut HeldTransactions, n: usize, missing: &[TransactionId]| {
            insert(held, now, 1, n, 0);
            assert!(held.defer(now, &ids[n], Until::changed(), missing.to_vec()));
        };
        defer(&mut held, 3, &[ids[2]]);
        defer(&mut held, 2, &[ids[0], ids[1]]);
        defer(&mut held, 1, &[]);
        let mut due = |again: Option<Again>, stored: usize| -> Vec<TransactionId> {
            let due = held.take_found(&ids[stored..=stored]).into_iter().chain(held.take_due(now, again));
            let due: Vec<_> = due.map(|(id, _)| id).collect();
            for id in &due {
                assert!(held.defer(now, id, Until::changed(), held.held[id].missing.clone()));
            }
            due
        };
        assert_eq!(due(None, 3), []);
        assert_eq!(due(None, 1), [ids[2]]);
        assert_eq!(due(Some(Again::Unnamed), 2), [ids[3], ids[1]], "first what was found");
        assert_eq!(due(Some(Again::All), 3), [ids[3], ids[2], ids[1]], "in the order in which they came");
        // What it misses changes with each judgement, and goes with it.
        assert!(held.defer(now, &ids[3], Until::changed(), vec![ids[0]]));
        assert!(held.take_found(&ids[2..3]).is_empty());
        assert_eq!(held.take_found(&ids[..1]).len(), 2);
        ids.iter().for_each(|id| _ = held.remove(id));
        assert!(held.by_missing.is_empty());
    }

    #[test]
    fn a_link_that_has_closed_waits_for_nothing() {
        let (mut held, now) = (HeldTransactions::default(), Instant::now());
        insert(&mut held, now, 1, 0, 0);
        insert(&mut held, now, 2, 0, 0);
        held.on_closed(LinkId(1));
        let held = held.remove(&transaction(0, 0).id()).expect("it is still there");
        assert_eq!(held.frames.iter().map(|(link, _)| link.0).collect::<Vec<_>>(), [2]);
    }
}
