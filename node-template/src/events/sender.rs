//! The driver's end of the event stream: it groups events into slots and bounds the ring.

use std::collections::VecDeque;
use std::sync::Weak;

use crate::events::stream::{Ring, Slot};
use crate::protocol::address::PeerAddress;
use crate::protocol::causes::ConnectionRefusal;
use crate::protocol::event::{BootstrapStep, Event, NamedAddress};

/// The most events in the ring: some 4 MiB, without what they hold.
const EVENTS: usize = 16_384;
/// The most bytes of transactions, identities and texts that the events in the ring hold, besides
/// the newest slot: 16,384 transactions of 1 KiB, while one may have 256 KiB.
const BYTES: usize = 16 * 1024 * 1024;
/// What an address holds beyond its own size, in bytes; the longest has 256.
const ADDRESS: usize = 64;
/// A slot is sent at this many events …
const SLOT_EVENTS: usize = 256;
/// … or this many bytes.
const SLOT_BYTES: usize = 1024 * 1024;

/// Sends events to all listeners of a ring. There is one per ring.
#[derive(Debug)]
pub(crate) struct EventSender {
    ring: Ring,
    /// The next slot's events.
    batch: Vec<Event>,
    batch_bytes: usize,
    /// The slots that may hold events, the oldest first, each with its events and bytes.
    held: VecDeque<(Weak<Slot>, usize, usize)>,
    /// Events and bytes of all held slots.
    events: usize,
    bytes: usize,
}

impl EventSender {
    pub(crate) fn new(ring: Ring) -> Self {
        Self { ring, batch: Vec::new(), batch_bytes: 0, held: VecDeque::new(), events: 0, bytes: 0 }
    }

    /// Returns whether to send transactions. The caller counts those that it leaves out.
    pub(crate) fn wants_transactions(&self) -> bool {
        self.ring.demand().is_any()
    }

    /// Counts transactions that were not sent.
    pub(crate) fn count_unsent(&self, count: u64) {
        self.ring.demand().count_unsent(count);
    }

    /// Sends an event, at the latest with the next [`Self::flush`].
    pub(crate) fn send(&mut self, event: Event) {
        let is_transaction = matches!(event, Event::Transaction { .. });
        if !self.ring.has_listeners() || (is_transaction && !self.ring.demand().takes()) {
            return;
        }
        self.batch_bytes += bytes_of(&event);
        self.batch.push(event);
        if self.batch.len() >= SLOT_EVENTS || self.batch_bytes >= SLOT_BYTES {
            self.flush();
        }
    }

    /// Sends the events that wait.
    pub(crate) fn flush(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let next = Vec::with_capacity(self.batch.len());
        let (events, bytes) = (std::mem::replace(&mut self.batch, next), std::mem::take(&mut self.batch_bytes));
        let count = events.len();
        self.held.push_back((self.ring.send(events), count, bytes));
        self.events += count;
        self.bytes += bytes;
        self.empty_oldest();
    }

    /// Forgets slots that all listeners have read, which happens in their order, and empties more
    /// while they exceed the bounds. The newest slot stays: no listener had time to read it.
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

/// Returns how much memory an event holds beyond its own size, in bytes.
fn bytes_of(event: &Event) -> usize {
    match event {
        Event::Transaction { transaction, .. } => transaction.frame().as_str().len(),
        Event::Broadcast { broadcast, .. } => {
            // The signed form also holds fields that the message itself does not keep.
            broadcast.message.len() + broadcast.seal.as_ref().map_or(0, |seal| seal.canonical.len())
        }
        Event::Stored { ids, .. } => std::mem::size_of_val(&ids[..]),
        Event::HandshakeReceived { addresses, .. } => addresses.len() * (size_of::<NamedAddress>() + ADDRESS),
        Event::HandshakeSent { addresses, .. } => addresses.len() * (size_of::<PeerAddress>() + ADDRESS),
        Event::Synced { first, .. } => std::mem::size_of_val(&first[..]),
        Event::DialFailed { error, .. } | Event::Bootstrap(BootstrapStep::Failed { error, .. }) => {
            error.to_string().len()
        }
        Event::StoreFailed { error } => error.to_string().len(),
        Event::PeerDown { cause, .. } => cause.to_string().len(),
        Event::TransactionRefused { reason: text, .. }
        | Event::Warning { text }
        | Event::AccessDenied { text }
        | Event::PeerFault { text, .. } => text.len(),
        Event::Banned { cause, .. } => cause.text.len(),
        Event::PeerRefused { reason: ConnectionRefusal::Banned { cause, .. }, .. } => cause.text.len(),
        // Names and addresses, of at most 256 bytes.
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use crate::events::stream::TryRecvError;

    use super::*;
    use crate::events::stream::{Events, SLOTS};
    use crate::protocol::json::Parser;
    use crate::protocol::transaction::{Transaction, TransactionId};
    use crate::util::lifetime::Alive;

    fn event(number: usize, bytes: usize) -> Event {
        let text = format!(r#"{{"number":{number},"filling":"{}"}}"#, "x".repeat(bytes));
        let transaction = Transaction::parse(&mut Parser::new(), &text).expect("a transaction");
        Event::Transaction { transaction, origin: None, peer: None, links: 0 }
    }

    fn ring() -> (Ring, Alive) {
        let alive = Alive::default();
        (Ring::new(alive.ended()), alive)
    }

    fn send_now(sender: &mut EventSender, event: Event) {
        sender.send(event);
        sender.flush();
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
    fn a_listener_that_lags_pins_no_more_than_the_bound_and_learns_what_it_missed() {
        let (ring, _alive) = ring();
        let (mut sender, mut slow, mut quick) = (EventSender::new(ring.clone()), ring.listen(), ring.listen());
        const BIG: usize = 200 * 1024;
        for number in 0..400 {
            send_now(&mut sender, event(number, BIG));
            quick.try_recv().expect("a listener that reads misses nothing");
            let alive = sender.held.iter().filter_map(|(slot, ..)| slot.upgrade());
            let pinned = alive.filter(|slot| slot.lock().is_some()).count() * BIG;
            assert!(pinned <= BYTES, "{pinned} bytes");
        }
        let Err(TryRecvError::Lagged(missed)) = slow.try_recv() else { panic!("what it missed comes first") };
        let (was_read, more) = read(&mut slow);
        assert!(missed + was_read == 400 && more == 0 && was_read >= 79, "what fits is there: {was_read}");
        send_now(&mut sender, event(400, 1));
        assert!(sender.held.len() == 1 && sender.bytes < 100, "slots that were read are freed");
    }

    #[test]
    fn missed_events_are_counted_whichever_bound_was_reached() {
        // Slots, events and bytes: each with what must still be there.
        for (slots, events, bytes, kept) in
            [(5_000, 1, 10, SLOTS), (100, 250, 10, EVENTS - 250), (400, 1, 200 * 1024, 79)]
        {
            let (ring, _alive) = ring();
            let (mut sender, mut slow) = (EventSender::new(ring.clone()), ring.listen());
            let late = slots / 2;
            let mut later = None;
            for number in 0..slots {
                if number == late {
                    later = Some(ring.listen());
                }
                (0..events).for_each(|_| sender.send(event(number, bytes)));
                sender.flush();
            }
            let (was_read, missed) = read(&mut slow);
            assert_eq!(was_read + missed, (slots * events) as u64);
            assert!(missed > 0 && was_read >= kept as u64, "{was_read} of {slots} x {events}");
            let (was_read, missed) = read(&mut later.expect("it listened"));
            assert_eq!(was_read + missed, ((slots - late) * events) as u64);
            assert_eq!(read(&mut slow), (0, 0), "once");
        }
    }

    #[test]
    fn what_an_event_holds_counts_but_the_newest_slot_is_kept_whatever_its_size() {
        let stored = |count: usize| Event::Stored { ids: vec![TransactionId([0; 32]); count], pool: 0 };
        let text = "x".repeat(1024 * 1024);
        let warning = || Event::Warning { text: text.clone() };
        for event in [&|| stored(32 * 1024), &warning as &dyn Fn() -> Event] {
            let (ring, _alive) = ring();
            let (mut sender, mut slow) = (EventSender::new(ring.clone()), ring.listen());
            (0..100).for_each(|_| send_now(&mut sender, event()));
            assert_eq!(read(&mut slow), (16, 84), "16 of a megabyte each");
        }
        let (ring, _alive) = ring();
        let (mut sender, mut events) = (EventSender::new(ring.clone()), ring.listen());
        send_now(&mut sender, stored(1_000_000));
        assert_eq!(read(&mut events), (1, 0));
    }

    #[test]
    fn missed_events_are_reported_before_the_end_too() {
        let (ring, _alive) = ring();
        let (mut sender, mut slow, held) = (EventSender::new(ring.clone()), ring.listen(), ring.listen());
        (0..2).for_each(|number| send_now(&mut sender, event(number, 10)));
        // As the sender does beyond its bounds.
        let slots: Vec<_> = sender.held.iter().filter_map(|(slot, ..)| slot.upgrade()).collect();
        slots.iter().for_each(|slot| drop(slot.lock().take()));
        drop((sender, ring, slots, held));
        assert!(matches!(slow.try_recv(), Err(TryRecvError::Lagged(2))));
        assert!(matches!(slow.try_recv(), Err(TryRecvError::Closed)));
    }

    #[test]
    fn events_come_in_their_order_and_a_long_batch_is_sent_early() {
        let (ring, _alive) = ring();
        let (mut sender, mut events) = (EventSender::new(ring.clone()), ring.listen());
        let number = |event: Event| match event {
            Event::Transaction { transaction, .. } => transaction.body().to_owned(),
            other => panic!("{other:?}"),
        };
        (0..SLOT_EVENTS + 1).for_each(|number| sender.send(event(number, 0)));
        for expected in 0..SLOT_EVENTS {
            let got = number(events.try_recv().expect("it was sent"));
            assert!(got.starts_with(&format!(r#"{{"number":{expected},"#)), "{got}");
        }
        assert!(matches!(events.try_recv(), Err(TryRecvError::Empty)));
        sender.flush();
        assert!(events.try_recv().is_ok());
        let mut others = events.without_transactions();
        sender.send(event(0, 0));
        sender.send(Event::StoreRecovered);
        sender.flush();
        assert!(matches!(others.try_recv(), Ok(Event::StoreRecovered)), "the transaction is left out");
        drop(others);
        sender.send(event(0, 0));
        assert!(sender.batch.is_empty(), "there is no listener");
    }

    #[test]
    fn where_nobody_wants_all_transactions_samples_are_sent_and_the_rest_is_counted() {
        let (ring, _alive) = ring();
        let mut sender = EventSender::new(ring.clone());
        let (mut some, sampling) = ring.listen_to_samples(1);
        (0..5).for_each(|number| send_now(&mut sender, event(number, 0)));
        assert_eq!((read(&mut some), sampling.next(2)), ((1, 0), 4));
        (0..5).for_each(|number| send_now(&mut sender, event(number, 0)));
        send_now(&mut sender, Event::StoreRecovered);
        assert_eq!(read(&mut some), (3, 0), "two, and the other event");
        assert_eq!(sampling.next(0), 3);
        let mut all = ring.listen();
        (0..5).for_each(|number| send_now(&mut sender, event(number, 0)));
        assert_eq!((read(&mut some), read(&mut all)), ((5, 0), (5, 0)), "a listener wants all");
        let mut none = all.without_transactions();
        send_now(&mut sender, event(0, 0));
        assert_eq!((read(&mut some), read(&mut none), sampling.next(0)), ((0, 0), (0, 0), 1));
    }
}
