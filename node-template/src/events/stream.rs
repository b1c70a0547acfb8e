//! The event stream of a node: a ring of slots, bounded by events and by the bytes that they hold.
//!
//! The driver sends the events of one turn as one slot: a slot per event would cost a busy node
//! more than the events. Events hold their transactions, so a lagging listener would keep the ring
//! full. Beyond 16 MiB or 16,384 events the sender empties the oldest slots in place. A listener
//! that has not read them gets the number of missed events. The node never waits for a listener.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};

use futures_util::{FutureExt, Stream};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error;

use crate::events::demand::{Demand, Sampling, WantsAll};
use crate::protocol::event::Event;
use crate::util::lifetime::Ended;

/// How many slots a listener may lag behind.
pub(crate) const SLOTS: usize = 4_096;

/// The events of one turn.
#[derive(Debug)]
pub(crate) struct Slot {
    /// How many events were sent before these, since the node's start.
    before: u64,
    count: usize,
    /// `None` once the sender emptied it, or its only reader took it.
    events: Mutex<Option<Vec<Event>>>,
}

impl Slot {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Option<Vec<Event>>> {
        // The lock is held for a clone or a take, so the value is whole after a panic.
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The source of event streams. Clones share the ring.
#[derive(Debug, Clone)]
pub(crate) struct Ring {
    slots: broadcast::Sender<Arc<Slot>>,
    /// How many events were sent since the node's start. Locked while a listener subscribes and
    /// while a slot is sent, so that a listener knows the number of its first event.
    sent: Arc<Mutex<u64>>,
    demand: Arc<Demand>,
    /// The end of the node, which keeps handles with a ring.
    ended: Ended,
}

impl Ring {
    pub(crate) fn new(ended: Ended) -> Self {
        Self { slots: broadcast::channel(SLOTS).0, sent: Arc::default(), demand: Arc::default(), ended }
    }

    /// Returns a stream of all events from now on.
    pub(crate) fn listen(&self) -> Events {
        let wants_all = WantsAll::new(&self.demand);
        let sent = self.lock_sent();
        let slots = self.slots.subscribe();
        Events {
            slots: Some(slots),
            ended: self.ended.clone(),
            next: None,
            expected: *sent,
            missed: 0,
            waiting: Vec::new().into_iter(),
            transactions: true,
            _wants_all: Some(wants_all),
        }
    }

    /// Returns a stream of all events, but of transactions only as many as are requested (`samples`
    /// at first), unless another listener wants all. For one listener per ring.
    pub(crate) fn listen_to_samples(&self, samples: usize) -> (Events, Sampling) {
        let sampling = Sampling::new(&self.demand, samples);
        (Events { _wants_all: None, ..self.listen() }, sampling)
    }

    /// Sends events as one slot. Returns it, for the sender to empty it later; a strong reference
    /// would make the last reader copy the events.
    pub(crate) fn send(&self, events: Vec<Event>) -> Weak<Slot> {
        let mut sent = self.lock_sent();
        let slot = Arc::new(Slot { before: *sent, count: events.len(), events: Mutex::new(Some(events)) });
        *sent += slot.count as u64;
        let weak = Arc::downgrade(&slot);
        // Fails only if the last listener has just gone.
        self.slots.send(slot).unwrap_or_default();
        weak
    }

    pub(crate) fn demand(&self) -> &Demand {
        &self.demand
    }

    pub(crate) fn has_listeners(&self) -> bool {
        self.slots.receiver_count() > 0
    }

    fn lock_sent(&self) -> MutexGuard<'_, u64> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why there is no event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecvError {
    /// This listener was too slow, and missed so many events. The next call gives the one after
    /// them.
    #[error("{0} events were missed: read them faster, or leave out transactions")]
    Lagged(u64),
    /// The node has ended.
    #[error("the node has ended; start it again")]
    Closed,
}

/// Why there is no event now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TryRecvError {
    /// None has come.
    #[error("no event has come")]
    Empty,
    /// As [`RecvError::Lagged`].
    #[error("{0} events were missed: read them faster, or leave out transactions")]
    Lagged(u64),
    /// The node has ended.
    #[error("the node has ended; start it again")]
    Closed,
}

/// The next slot, and the receiver that it came from.
type NextSlot =
    Pin<Box<dyn Future<Output = (Result<Arc<Slot>, error::RecvError>, broadcast::Receiver<Arc<Slot>>)> + Send + Sync>>;

/// A stream of a node's events, in order, from its creation on: see
/// [`Handle::events`](crate::Handle::events).
///
/// It is a [`Stream`] too. That ends with the node.
pub struct Events {
    /// `None` while `next` has it.
    slots: Option<broadcast::Receiver<Arc<Slot>>>,
    ended: Ended,
    /// Waits for a slot, after the stream was polled and had nothing.
    next: Option<NextSlot>,
    /// How many events were sent before the next one to read.
    expected: u64,
    /// Missed events that were not reported yet.
    missed: u64,
    /// Events that follow the missed ones.
    waiting: std::vec::IntoIter<Event>,
    transactions: bool,
    _wants_all: Option<WantsAll>,
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.slots.as_ref().map_or(0, broadcast::Receiver::len);
        f.debug_struct("Events").field("slots_waiting", &waiting).finish_non_exhaustive()
    }
}

impl Stream for Events {
    type Item = Result<Event, RecvError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match self.try_recv() {
                Ok(event) => return Poll::Ready(Some(Ok(event))),
                Err(TryRecvError::Lagged(missed)) => return Poll::Ready(Some(Err(RecvError::Lagged(missed)))),
                Err(TryRecvError::Closed) => return Poll::Ready(None),
                Err(TryRecvError::Empty) => {}
            }
            if let Some(mut slots) = self.slots.take() {
                let ended = self.ended.clone();
                self.next = Some(Box::pin(async move { (next_slot(&mut slots, &ended).await, slots) }));
            }
            let Some(next) = &mut self.next else { return Poll::Ready(None) };
            let (slot, slots) = ready!(next.poll_unpin(cx));
            self.on_slot(slots, slot.ok());
        }
    }
}

impl Events {
    /// Leaves out [`Event::Transaction`], which makes up nearly all events of a busy node.
    pub fn without_transactions(self) -> Self {
        Self { transactions: false, _wants_all: None, ..self }
    }

    /// Waits for the next event. Cancel-safe.
    ///
    /// # Errors
    /// [`RecvError::Lagged`] with the number of missed events, once, before the next event or the
    /// end. [`RecvError::Closed`] if the node has ended.
    pub async fn recv(&mut self) -> Result<Event, RecvError> {
        loop {
            if let Some(next) = self.next_taken() {
                return next.map_err(RecvError::Lagged);
            }
            let Some(slots) = &mut self.slots else {
                self.finish_poll().await;
                continue;
            };
            match next_slot(slots, &self.ended).await {
                Ok(slot) => self.take(slot),
                // The next slot shows how many events that were.
                Err(error::RecvError::Lagged(_)) => {}
                Err(error::RecvError::Closed) if self.missed > 0 => {
                    return Err(RecvError::Lagged(std::mem::take(&mut self.missed)));
                }
                Err(error::RecvError::Closed) => return Err(RecvError::Closed),
            }
        }
    }

    /// Returns the next event, if one has come.
    ///
    /// # Errors
    /// As [`Self::recv`], and [`TryRecvError::Empty`].
    pub fn try_recv(&mut self) -> Result<Event, TryRecvError> {
        loop {
            if let Some(next) = self.next_taken() {
                return next.map_err(TryRecvError::Lagged);
            }
            let Some(slots) = &mut self.slots else {
                self.finish_poll().now_or_never().ok_or(TryRecvError::Empty)?;
                continue;
            };
            // Before the look: what was sent until the end comes first.
            let is_over = self.ended.is_over();
            match slots.try_recv() {
                Ok(slot) => self.take(slot),
                Err(error::TryRecvError::Lagged(_)) => {}
                Err(error::TryRecvError::Empty) if !is_over => return Err(TryRecvError::Empty),
                Err(_) if self.missed > 0 => return Err(TryRecvError::Lagged(std::mem::take(&mut self.missed))),
                Err(_) => return Err(TryRecvError::Closed),
            }
        }
    }

    /// Waits for what the stream was polled for. Cancel-safe.
    async fn finish_poll(&mut self) {
        if let Some(next) = &mut self.next {
            let (slot, slots) = next.await;
            self.on_slot(slots, slot.ok());
        }
    }

    fn on_slot(&mut self, slots: broadcast::Receiver<Arc<Slot>>, slot: Option<Arc<Slot>>) {
        (self.slots, self.next) = (Some(slots), None);
        if let Some(slot) = slot {
            self.take(slot);
        }
    }

    fn take(&mut self, slot: Arc<Slot>) {
        let count = slot.count as u64;
        self.missed += slot.before.saturating_sub(self.expected);
        self.expected = slot.before + count;
        let wanted = |event: &Event| self.transactions || !matches!(event, Event::Transaction { .. });
        let events = match Arc::try_unwrap(slot) {
            // The last reader of a slot takes the events without a copy.
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

    fn next_taken(&mut self) -> Option<Result<Event, u64>> {
        if self.waiting.len() > 0 && self.missed > 0 {
            return Some(Err(std::mem::take(&mut self.missed)));
        }
        self.waiting.next().map(Ok)
    }
}

/// Waits for the next slot, or for the end of the node after the last one. Cancel-safe.
async fn next_slot(slots: &mut broadcast::Receiver<Arc<Slot>>, ended: &Ended) -> Result<Arc<Slot>, error::RecvError> {
    tokio::select! {
        slot = slots.recv() => slot,
        () = ended.wait() => slots.try_recv().map_err(|error| match error {
            error::TryRecvError::Lagged(missed) => error::RecvError::Lagged(missed),
            error::TryRecvError::Empty | error::TryRecvError::Closed => error::RecvError::Closed,
        }),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;

    use super::*;
    use crate::util::lifetime::Alive;

    fn event(n: usize) -> Event {
        Event::Warning { text: n.to_string() }
    }

    fn number(event: Option<Result<Event, RecvError>>) -> usize {
        match event {
            Some(Ok(Event::Warning { text })) => text.parse().expect("a number"),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_stream_and_its_calls_give_each_event_once_in_order() {
        let alive = Alive::default();
        let ring = Ring::new(alive.ended());
        let mut events = ring.listen();
        ring.send(vec![event(1), event(2)]);
        assert_eq!(number(events.next().await), 1);
        assert_eq!(number(Some(events.recv().await)), 2);
        assert!(events.next().now_or_never().is_none(), "it waits");
        assert!(matches!(events.try_recv(), Err(TryRecvError::Empty)));
        ring.send(vec![event(3)]);
        assert_eq!(number(Some(Ok(events.try_recv().expect("it has come")))), 3);
        assert!(events.next().now_or_never().is_none());
        assert!(events.recv().now_or_never().is_none(), "cancelled");
        ring.send(vec![event(4), event(5)]);
        assert_eq!(number(Some(events.recv().await)), 4);
        assert_eq!(number(events.next().await), 5);
        drop(ring);
        assert!(events.next().await.is_none() && events.next().await.is_none());
        assert!(matches!(events.recv().await, Err(RecvError::Closed)));
    }

    #[tokio::test]
    async fn at_the_end_of_the_node_the_last_events_come_and_then_none_though_a_ring_is_kept() {
        let alive = Alive::default();
        let ring = Ring::new(alive.ended());
        let (mut received, mut streamed, mut tried) = (ring.listen(), ring.listen(), ring.listen());
        let mut waiting = ring.listen();
        let waits = tokio::spawn(async move { (waiting.next().await.is_some(), waiting.next().await.is_none()) });
        tokio::task::yield_now().await;
        assert!(streamed.next().now_or_never().is_none() && received.recv().now_or_never().is_none());
        assert!(matches!(tried.try_recv(), Err(TryRecvError::Empty)));
        ring.send(vec![event(1)]);
        drop(alive);
        assert_eq!(number(Some(received.recv().await)), 1);
        assert!(matches!(received.recv().await, Err(RecvError::Closed)));
        assert_eq!(number(streamed.next().await), 1);
        assert!(streamed.next().await.is_none());
        assert_eq!(number(Some(Ok(tried.try_recv().expect("it was sent")))), 1);
        assert!(matches!(tried.try_recv(), Err(TryRecvError::Closed)));
        assert_eq!(waits.await.expect("no panic"), (true, true));
        let mut late = ring.listen();
        assert!(matches!(late.recv().await, Err(RecvError::Closed)) && late.next().await.is_none());
    }

    #[tokio::test]
    async fn a_stream_that_lags_says_how_many_events_it_missed() {
        let alive = Alive::default();
        let ring = Ring::new(alive.ended());
        let mut events = ring.listen();
        assert!(events.next().now_or_never().is_none());
        for n in 0..SLOTS + 9 {
            ring.send(vec![event(n)]);
        }
        assert!(matches!(events.next().await, Some(Err(RecvError::Lagged(9)))));
        assert_eq!(number(events.next().await), 9);
    }
}
