//! What a node tells its application: events in a ring, bounded in number and in the bytes that they hold.
//!
//! An event holds the transaction that it tells of, and a listener that lags keeps the ring full. So beyond 16 MiB the oldest events are emptied where they
//! lie: whoever has not read them by then is told that it missed them, as if the ring had been shorter. The node never waits for a listener.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use crate::protocol::event::Event;

/// How many events a listener may lag behind.
const EVENTS: usize = 4_096;
/// How many bytes of transactions and texts the events in the ring hold at most: that many of 4 KiB, while one may have 256 KiB.
const BYTES: usize = 16 * 1024 * 1024;

/// An event in the ring, until everybody has read it or it is emptied.
type Slot = Mutex<Option<Event>>;

fn lock(slot: &Slot) -> std::sync::MutexGuard<'_, Option<Event>> {
    // What is done under the lock is a clone or a take: it is whole at every moment.
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where listeners come from; a clone is the same ring.
#[derive(Debug, Clone)]
pub(crate) struct Ring(broadcast::Sender<Arc<Slot>>);

impl Ring {
    pub(crate) fn new() -> Self {
        Self(broadcast::channel(EVENTS).0)
    }

    /// Everything from now on.
    pub(crate) fn listen(&self) -> Events {
        Events { slots: self.0.subscribe(), missed: 0, next: None }
    }

    pub(crate) fn has_listeners(&self) -> bool {
        self.0.receiver_count() > 0
    }
}

/// The end at which events come in; there is one.
#[derive(Debug)]
pub(crate) struct Teller {
    ring: Ring,
    /// The events that hold something, the oldest first, and how many bytes each.
    held: VecDeque<(Weak<Slot>, usize)>,
    bytes: usize,
}

impl Teller {
    pub(crate) fn new(ring: Ring) -> Self {
        Self { ring, held: VecDeque::new(), bytes: 0 }
    }

    pub(crate) fn has_listeners(&self) -> bool {
        self.ring.has_listeners()
    }

    pub(crate) fn tell(&mut self, event: Event) {
        let bytes = match &event {
            Event::Transaction { transaction, .. } => transaction.frame().as_str().len(),
            Event::Broadcast { broadcast, .. } => broadcast.message.len(),
            _ => 0,
        };
        let slot = Arc::new(Mutex::new(Some(event)));
        if bytes > 0 {
            self.held.push_back((Arc::downgrade(&slot), bytes));
            self.bytes += bytes;
            self.empty_oldest();
        }
        // Fails only if the last listener has just gone, and then nobody misses it.
        self.ring.0.send(slot).unwrap_or_default();
    }

    /// Forgets events that everybody has read, which is in their order, and empties more while there are too many bytes.
    fn empty_oldest(&mut self) {
        while let Some((slot, bytes)) = self.held.front() {
            match slot.upgrade() {
                Some(_) if self.bytes <= BYTES => return,
                Some(slot) => drop(lock(&slot).take()),
                None => {}
            }
            self.bytes -= bytes;
            self.held.pop_front();
        }
    }
}

/// What happens in a node, in order, from when this was made: see [`Handle::events`](crate::Handle::events).
pub struct Events {
    slots: broadcast::Receiver<Arc<Slot>>,
    /// How many were found empty and not told of yet …
    missed: u64,
    /// … and what came after them.
    next: Option<Event>,
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events").field("waiting", &self.slots.len()).finish_non_exhaustive()
    }
}

impl Events {
    /// Waits for the next event. Cancel-safe.
    ///
    /// # Errors
    /// [`RecvError::Lagged`] with the number of events that were missed, once, before the next; [`RecvError::Closed`] if the node has ended.
    pub async fn recv(&mut self) -> Result<Event, RecvError> {
        loop {
            if let Some(told) = self.told() {
                return told.map_err(RecvError::Lagged);
            }
            let slot = self.slots.recv().await?;
            self.take(&slot);
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
            let slot = self.slots.try_recv()?;
            self.take(&slot);
        }
    }

    fn take(&mut self, slot: &Slot) {
        self.next = lock(slot).clone();
        self.missed += u64::from(self.next.is_none());
    }

    /// What was taken and is to be told now.
    fn told(&mut self) -> Option<Result<Event, u64>> {
        let event = self.next.take()?;
        if self.missed > 0 {
            self.next = Some(event);
            return Some(Err(std::mem::take(&mut self.missed)));
        }
        Some(Ok(event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::json::Parser;
    use crate::protocol::transaction::Transaction;

    fn event(number: usize, bytes: usize) -> Event {
        let text = format!(r#"{{"number":{number},"filling":"{}"}}"#, "x".repeat(bytes));
        let transaction = Transaction::parse(&mut Parser::new(), &text).expect("a transaction");
        Event::Transaction { transaction, origin: None, peer: None, links: 0 }
    }

    #[test]
    fn a_listener_that_lags_pins_no_more_than_the_bound_and_is_told_what_it_missed() {
        let ring = Ring::new();
        let (mut teller, mut slow, mut quick) = (Teller::new(ring.clone()), ring.listen(), ring.listen());
        const BIG: usize = 200 * 1024;
        for number in 0..400 {
            teller.tell(event(number, BIG));
            quick.try_recv().expect("whoever reads misses nothing");
            let alive = teller.held.iter().filter_map(|(slot, _)| slot.upgrade());
            let pinned = alive.filter(|slot| lock(slot).is_some()).count() * BIG;
            assert!(pinned <= BYTES, "{pinned} bytes");
        }
        let Err(TryRecvError::Lagged(missed)) = slow.try_recv() else { panic!("it missed some") };
        let mut read = 0;
        while slow.try_recv().is_ok() {
            read += 1;
        }
        assert_eq!(missed + read, 400);
        assert!(read >= 79, "what fits is there: {read}");
        teller.tell(event(400, 1));
        assert!(teller.held.len() == 1 && teller.bytes < 100, "what was read is let go of");
    }
}
