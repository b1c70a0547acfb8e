//! What a node tells its application: events in a ring, bounded in number and in the bytes that they hold.
//!
//! The driver tells all events of one round at once: they lie in the ring as one slot, which costs a busy node less than the events themselves would. An event
//! holds the transaction that it tells of, and a listener that lags keeps the ring full. So beyond 16 MiB, or 16,384 events, the oldest slots are emptied where
//! they lie: whoever has not read them by then is told that it missed them, as if the ring had been shorter. The node never waits for a listener.
//!
//! In a busy node nearly all events are transactions. Where nobody listens to all of them, those that nobody wants are counted rather than told.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use crate::protocol::event::{BootstrapStep, Event};

/// How many rounds a listener may lag behind.
const ROUNDS: usize = 4_096;
/// How many events the ring holds at most: some 4 MiB, without what they hold.
const EVENTS: usize = 16_384;
/// How many bytes of transactions, identities and texts the events in the ring hold at most, on top of the newest slot: that many of 1 KiB, while one may have 256 KiB.
const BYTES: usize = 16 * 1024 * 1024;
/// A slot takes so many events at most, …
const ROUND_EVENTS: usize = 256;
/// … and not one more once they hold so many bytes.
const ROUND_BYTES: usize = 1024 * 1024;

/// The events of one round.
#[derive(Debug)]
struct Slot {
    /// How many events were told before these, since the node's start.
    before: u64,
    count: usize,
    /// Until everybody has read them or they are emptied.
    events: Mutex<Option<Vec<Event>>>,
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Option<Vec<Event>>> {
        // What is done under the lock is a clone or a take: it is whole at every moment.
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where listeners come from; a clone is the same ring.
#[derive(Debug, Clone)]
pub(crate) struct Ring {
    slots: broadcast::Sender<Arc<Slot>>,
    /// How many events were told since the node's start. Whoever begins to listen, and who tells, holds it meanwhile: so a listener knows which event is its first.
    told: Arc<Mutex<u64>>,
    demand: Arc<Demand>,
}

/// Who wants to be told of transactions.
#[derive(Debug, Default)]
struct Demand {
    /// How many listeners want all of them.
    all: AtomicUsize,
    /// How many are told yet while nobody wants all …
    samples: AtomicUsize,
    /// … and how many were not told since this was asked last.
    untold: AtomicU64,
}

impl Demand {
    /// Whether transactions are to be told.
    fn is_any(&self) -> bool {
        self.all.load(Ordering::Relaxed) > 0 || self.samples.load(Ordering::Relaxed) > 0
    }

    /// Whether a transaction is to be told; else it is counted. Asked by the teller alone.
    fn takes(&self) -> bool {
        if !self.is_any() {
            self.untold.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        // Somebody who wants some may ask for more at this moment: then one is told less.
        let samples = self.samples.load(Ordering::Relaxed);
        self.samples.store(samples.saturating_sub(1), Ordering::Relaxed);
        true
    }
}

/// A share in the demand for all transactions.
#[derive(Debug)]
struct All(Arc<Demand>);

impl All {
    fn of(demand: &Arc<Demand>) -> Self {
        demand.all.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(demand))
    }
}

impl Drop for All {
    fn drop(&mut self) {
        self.0.all.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Has single transactions told where nobody listens to all, for who wants to see some and know how many there were.
#[derive(Debug)]
pub(crate) struct Sampling(Arc<Demand>);

impl Sampling {
    /// Has the next `samples` told; returns how many were not told since this was last asked.
    pub(crate) fn next(&self, samples: usize) -> u64 {
        self.0.samples.store(samples, Ordering::Relaxed);
        self.0.untold.swap(0, Ordering::Relaxed)
    }
}

impl Ring {
    pub(crate) fn new() -> Self {
        Self { slots: broadcast::channel(ROUNDS).0, told: Arc::default(), demand: Arc::default() }
    }

    /// Everything from now on.
    pub(crate) fn listen(&self) -> Events {
        let all = All::of(&self.demand);
        let told = self.told();
        let slots = self.slots.subscribe();
        Events {
            slots,
            expected: *told,
            missed: 0,
            waiting: Vec::new().into_iter(),
            transactions: true,
            _all: Some(all),
        }
    }

    /// Everything from now on, but of transactions only as many as are asked for from time to time, unless somebody else listens to all: first `samples`. For one listener.
    pub(crate) fn listen_to_samples(&self, samples: usize) -> (Events, Sampling) {
        self.demand.samples.store(samples, Ordering::Relaxed);
        let events = self.listen();
        (Events { _all: None, ..events }, Sampling(Arc::clone(&self.demand)))
    }

    fn told(&self) -> MutexGuard<'_, u64> {
        // It only ever changes in one step.
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn has_listeners(&self) -> bool {
        self.slots.receiver_count() > 0
    }
}

/// The end at which events come in; there is one.
#[derive(Debug)]
pub(crate) struct Teller {
    ring: Ring,
    /// The events of this round, and how many bytes they hold.
    round: Vec<Event>,
    round_bytes: usize,
    /// The slots that hold something, the oldest first: how many events, and how many bytes.
    held: VecDeque<(Weak<Slot>, usize, usize)>,
    /// In all of them.
    events: usize,
    bytes: usize,
}

impl Teller {
    pub(crate) fn new(ring: Ring) -> Self {
        Self { ring, round: Vec::new(), round_bytes: 0, held: VecDeque::new(), events: 0, bytes: 0 }
    }

    /// Whether transactions are to be told. Those that are not, because of this, are to be counted.
    pub(crate) fn wants_transactions(&self) -> bool {
        self.ring.demand.is_any()
    }

    /// Counts transactions that were not told.
    pub(crate) fn count_untold(&self, count: u64) {
        self.ring.demand.untold.fetch_add(count, Ordering::Relaxed);
    }

    /// Tells an event, at the latest when the round ends.
    pub(crate) fn tell(&mut self, event: Event) {
        let is_transaction = matches!(event, Event::Transaction { .. });
        if !self.ring.has_listeners() || (is_transaction && !self.ring.demand.takes()) {
            return;
        }
        self.round_bytes += bytes_of(&event);
        self.round.push(event);
        if self.round.len() >= ROUND_EVENTS || self.round_bytes >= ROUND_BYTES {
            self.end_round();
        }
    }

    /// Tells what was not told yet.
    pub(crate) fn end_round(&mut self) {
        if self.round.is_empty() {
            return;
        }
        let next = Vec::with_capacity(self.round.len());
        let (events, bytes) = (std::mem::replace(&mut self.round, next), std::mem::take(&mut self.round_bytes));
        let count = events.len();
        let mut told = self.ring.told();
        let slot = Arc::new(Slot { before: *told, count, events: Mutex::new(Some(events)) });
        *told += count as u64;
        self.held.push_back((Arc::downgrade(&slot), count, bytes));
        self.events += count;
        self.bytes += bytes;
        // Fails only if the last listener has just gone, and then nobody misses it.
        self.ring.slots.send(slot).unwrap_or_default();
        drop(told);
        self.empty_oldest();
    }

    /// Forgets slots that everybody has read, which is in their order, and empties more while they hold too much. The newest stays: nobody had time to read it.
    fn empty_oldest(&mut self) {
        while let Some((slot, count, bytes)) = self.held.front() {
            match slot.upgrade() {
                Some(_) if self.held.len() == 1 || (self.events <= EVENTS && self.bytes <= BYTES) => return,
                Some(slot) => drop(slot.lock().take()),
                None => {}
            }
            self.events -= count;
            self.bytes -= bytes;
            self.held.pop_front();
        }
    }
}

/// How much memory an event holds beyond its own size, in bytes.
fn bytes_of(event: &Event) -> usize {
    match event {
        Event::Transaction { transaction, .. } => transaction.frame().as_str().len(),
        Event::Broadcast { broadcast, .. } => {
            // What was signed has all that its sender put in, a title or more.
            broadcast.message.len() + broadcast.seal.as_ref().map_or(0, |seal| seal.canonical.len())
        }
        Event::Stored { ids, .. } => std::mem::size_of_val(&ids[..]),
        Event::DialFailed { error: text, .. }
        | Event::StoreFailed { error: text }
        | Event::PeerDown { cause: text, .. }
        | Event::NodeLeft { cause: text, .. }
        | Event::TransactionRefused { reason: text, .. }
        | Event::Bootstrap(BootstrapStep::Failed { error: text, .. })
        | Event::Warning { text }
        | Event::AccessDenied { text }
        | Event::PeerFault { text, .. } => text.len(),
        Event::Banned { from, cause, .. } => from.as_ref().map_or(0, String::len) + cause.len(),
        Event::PeerRefused { from, reason, .. } => from.len() + reason.len(),
        // Names and addresses, of at most 256 bytes.
        _ => 0,
    }
}

/// What happens in a node, in order, from when this was made: see [`Handle::events`](crate::Handle::events).
pub struct Events {
    slots: broadcast::Receiver<Arc<Slot>>,
    /// How many events were told before the next that is to be read.
    expected: u64,
    /// How many came too fast and were not told of yet …
    missed: u64,
    /// … and what came after them.
    waiting: std::vec::IntoIter<Event>,
    /// Whether transactions are told of.
    transactions: bool,
    /// Held by who wants all of them.
    _all: Option<All>,
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("rounds_waiting", &self.slots.len()).finish_non_exhaustive()
    }
}

impl Events {
    /// The same without [`Event::Transaction`]: for who needs none of them, since in a busy node they are nearly all there is.
    pub fn without_transactions(self) -> Self {
        Self { transactions: false, _all: None, ..self }
    }

    /// Waits for the next event. Cancel-safe.
    ///
    /// # Errors
    /// [`RecvError::Lagged`] with the number of events that were missed, once, before the next or the end; [`RecvError::Closed`] if the node has ended.
    pub async fn recv(&mut self) -> Result<Event, RecvError> {
        loop {
            if let Some(told) = self.told() {
                return told.map_err(RecvError::Lagged);
            }
            match self.slots.recv().await {
                Ok(slot) => self.take(slot),
                // The next slot, which is there, says how many events that were.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) if self.missed > 0 => {
                    return Err(RecvError::Lagged(std::mem::take(&mut self.missed)));
                }
                Err(RecvError::Closed) => return Err(RecvError::Closed),
            }
        }
    }

    /// The next event, if there is one already.
    ///
    /// # Errors
    /// As [`Self::recv`], and [`TryRecvError::Empty`].
    pub fn try_recv(&mut self) -> Result<Event, TryRecvError> {
        loop {
            if let Some(told) = self.told() {
                return told.map_err(TryRecvError::Lagged);
            }
            match self.slots.try_recv() {
                Ok(slot) => self.take(slot),
                Err(TryRecvError::Lagged(_)) => {}
                Err(TryRecvError::Closed) if self.missed > 0 => {
                    return Err(TryRecvError::Lagged(std::mem::take(&mut self.missed)));
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn take(&mut self, slot: Arc<Slot>) {
        let count = slot.count as u64;
        self.missed += slot.before.saturating_sub(self.expected);
        self.expected = slot.before + count;
        let wanted = |event: &Event| self.transactions || !matches!(event, Event::Transaction { .. });
        let events = match Arc::try_unwrap(slot) {
            // Whoever reads a slot last has it.
            Ok(slot) if self.transactions => slot.events.into_inner().unwrap_or_else(PoisonError::into_inner),
            Ok(slot) => slot.lock().take().map(|events| events.into_iter().filter(wanted).collect()),
            Err(slot) => {
                slot.lock().as_ref().map(|events| events.iter().filter(|event| wanted(event)).cloned().collect())
            }
        };
        match events {
            Some(events) => self.waiting = events.into_iter(),
            None => self.missed += count,
        }
    }

    /// What was taken and is to be told now.
    fn told(&mut self) -> Option<Result<Event, u64>> {
        if self.waiting.len() > 0 && self.missed > 0 {
            return Some(Err(std::mem::take(&mut self.missed)));
        }
        self.waiting.next().map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::json::Parser;
    use crate::protocol::transaction::{Transaction, TransactionId};

    fn event(number: usize, bytes: usize) -> Event {
        let text = format!(r#"{{"number":{number},"filling":"{}"}}"#, "x".repeat(bytes));
        let transaction = Transaction::parse(&mut Parser::new(), &text).expect("a transaction");
        Event::Transaction { transaction, origin: None, peer: None, links: 0 }
    }

    fn tell(teller: &mut Teller, event: Event) {
        teller.tell(event);
        teller.end_round();
    }

    fn read(events: &mut Events) -> (u64, u64) {
        let (mut read, mut missed) = (0, 0);
        loop {
            match events.try_recv() {
                Ok(_) => read += 1,
                Err(TryRecvError::Lagged(some)) => missed += some,
                Err(TryRecvError::Empty) => return (read, missed),
                Err(TryRecvError::Closed) => panic!("it is there"),
            }
        }
    }

    #[test]
    fn a_listener_that_lags_pins_no_more_than_the_bound_and_is_told_what_it_missed() {
        let ring = Ring::new();
        let (mut teller, mut slow, mut quick) = (Teller::new(ring.clone()), ring.listen(), ring.listen());
        const BIG: usize = 200 * 1024;
        for number in 0..400 {
            tell(&mut teller, event(number, BIG));
            quick.try_recv().expect("whoever reads misses nothing");
            let alive = teller.held.iter().filter_map(|(slot, ..)| slot.upgrade());
            let pinned = alive.filter(|slot| slot.lock().is_some()).count() * BIG;
            assert!(pinned <= BYTES, "{pinned} bytes");
        }
        let Err(TryRecvError::Lagged(missed)) = slow.try_recv() else { panic!("it is told first that it missed some") };
        let (was_read, more) = read(&mut slow);
        assert!(missed + was_read == 400 && more == 0 && was_read >= 79, "what fits is there: {was_read}");
        tell(&mut teller, event(400, 1));
        assert!(teller.held.len() == 1 && teller.bytes < 100, "what was read is let go of");
    }

    #[test]
    fn what_is_missed_is_counted_by_events_whatever_bound_it_was() {
        // Rounds, events and bytes: each with what must be there still.
        for (rounds, events, bytes, kept) in
            [(5_000, 1, 10, ROUNDS), (100, 250, 10, EVENTS - 250), (400, 1, 200 * 1024, 79)]
        {
            let ring = Ring::new();
            let (mut teller, mut slow) = (Teller::new(ring.clone()), ring.listen());
            let late = rounds / 2;
            let mut later = None;
            for number in 0..rounds {
                if number == late {
                    later = Some(ring.listen());
                }
                (0..events).for_each(|_| teller.tell(event(number, bytes)));
                teller.end_round();
            }
            let (was_read, missed) = read(&mut slow);
            assert_eq!(was_read + missed, (rounds * events) as u64);
            assert!(missed > 0 && was_read >= kept as u64, "{was_read} of {rounds} x {events}");
            let (was_read, missed) = read(&mut later.expect("it listened"));
            assert_eq!(was_read + missed, ((rounds - late) * events) as u64);
            assert_eq!(read(&mut slow), (0, 0), "once");
        }
    }

    #[test]
    fn whatever_an_event_holds_counts_but_the_newest_is_there_however_much_that_is() {
        let stored = |count: usize| Event::Stored { ids: vec![TransactionId([0; 32]); count], pool: 0 };
        let text = "x".repeat(1024 * 1024);
        let warning = || Event::Warning { text: text.clone() };
        for event in [&|| stored(32 * 1024), &warning as &dyn Fn() -> Event] {
            let ring = Ring::new();
            let (mut teller, mut slow) = (Teller::new(ring.clone()), ring.listen());
            (0..100).for_each(|_| tell(&mut teller, event()));
            assert_eq!(read(&mut slow), (16, 84), "16 of a megabyte each");
        }
        let ring = Ring::new();
        let (mut teller, mut events) = (Teller::new(ring.clone()), ring.listen());
        tell(&mut teller, stored(1_000_000));
        assert_eq!(read(&mut events), (1, 0));
    }

    #[test]
    fn what_was_missed_is_told_before_the_end_too() {
        let ring = Ring::new();
        let (mut teller, mut slow, held) = (Teller::new(ring.clone()), ring.listen(), ring.listen());
        (0..2).for_each(|number| tell(&mut teller, event(number, 10)));
        // As what holds too much is, before its turn.
        let slots: Vec<_> = teller.held.iter().filter_map(|(slot, ..)| slot.upgrade()).collect();
        slots.iter().for_each(|slot| drop(slot.lock().take()));
        drop((teller, ring, slots, held));
        assert!(matches!(slow.try_recv(), Err(TryRecvError::Lagged(2))));
        assert!(matches!(slow.try_recv(), Err(TryRecvError::Closed)));
    }

    #[test]
    fn events_of_a_round_come_in_their_order_and_nobody_waits_for_the_end_of_a_long_one() {
        let ring = Ring::new();
        let (mut teller, mut events) = (Teller::new(ring.clone()), ring.listen());
        let number = |event: Event| match event {
            Event::Transaction { transaction, .. } => transaction.body().to_owned(),
            other => panic!("{other:?}"),
        };
        (0..ROUND_EVENTS + 1).for_each(|number| teller.tell(event(number, 0)));
        for expected in 0..ROUND_EVENTS {
            let got = number(events.try_recv().expect("it was told"));
            assert!(got.starts_with(&format!(r#"{{"number":{expected},"#)), "{got}");
        }
        assert!(matches!(events.try_recv(), Err(TryRecvError::Empty)));
        teller.end_round();
        assert!(events.try_recv().is_ok());
        let mut others = events.without_transactions();
        teller.tell(event(0, 0));
        teller.tell(Event::StoreRecovered);
        teller.end_round();
        assert!(matches!(others.try_recv(), Ok(Event::StoreRecovered)), "the transaction is left out");
        drop(others);
        teller.tell(event(0, 0));
        assert!(teller.round.is_empty(), "nobody listens");
    }

    #[test]
    fn where_nobody_listens_to_all_transactions_only_samples_are_told_and_the_rest_is_counted() {
        let ring = Ring::new();
        let mut teller = Teller::new(ring.clone());
        let (mut some, sampling) = ring.listen_to_samples(1);
        (0..5).for_each(|number| tell(&mut teller, event(number, 0)));
        assert_eq!((read(&mut some), sampling.next(2)), ((1, 0), 4));
        (0..5).for_each(|number| tell(&mut teller, event(number, 0)));
        tell(&mut teller, Event::StoreRecovered);
        assert_eq!(read(&mut some), (3, 0), "two and what is no transaction");
        assert_eq!(sampling.next(0), 3);
        let mut all = ring.listen();
        (0..5).for_each(|number| tell(&mut teller, event(number, 0)));
        assert_eq!((read(&mut some), read(&mut all)), ((5, 0), (5, 0)), "somebody wants them");
        let mut none = all.without_transactions();
        tell(&mut teller, event(0, 0));
        assert_eq!((read(&mut some), read(&mut none), sampling.next(0)), ((0, 0), (0, 0), 1));
    }
}
