//! What waits to go out on one link: two lanes, bounded in bytes, filled by the driver and the feeder, emptied by the link's task.
//!
//! Nobody ever waits to put something in: what does not fit is refused, and the core decides what that means. Bytes count as waiting until the
//! socket's own buffer has them.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::protocol::Lane;
use crate::protocol::frame::Frame;
use crate::protocol::id::LinkId;
use crate::protocol::transaction::{Origin, origin_text_of_frame};
use crate::transport::backpressure::Pressure;

/// One thing to be sent.
#[derive(Debug)]
pub(crate) enum Item {
    Text(Frame),
    Ping,
}

impl Item {
    /// What it counts for in a lane, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Ping => 0,
        }
    }
}

/// How many bytes of payload the link's task takes at once.
const TAKEN_AT_ONCE: usize = 256 * 1024;

/// How a link is to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Farewell {
    pub(crate) code: u16,
    pub(crate) reason: String,
}

/// The outgoing queue of one link.
#[derive(Debug)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    payload: AtomicUsize,
    control: AtomicUsize,
    payload_max: usize,
    control_max: usize,
    /// The link's task, waiting for something to send.
    task: AtomicWaker,
    /// Whoever waits for room: a feeder, a fetcher, or both.
    freed: Notify,
    /// Whether a peer is at the other end: the queue of a client, who may not read its answers, holds nobody up.
    of_peer: AtomicBool,
    /// Whether this queue is so full that clients are held up.
    holding: AtomicBool,
    pressure: Arc<Pressure>,
    link: LinkId,
    /// For how many milliseconds the link's task is to read nothing, from its next reading on.
    pause: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    control: VecDeque<Item>,
    payload: VecDeque<Item>,
    farewell: Option<Farewell>,
    /// The link's task is gone: nothing will ever be sent.
    dead: bool,
}

impl Queue {
    /// An empty queue with room for so many bytes of each lane.
    pub(crate) fn new(payload_max: usize, control_max: usize, pressure: Arc<Pressure>, link: LinkId) -> Self {
        Self {
            waiting: Mutex::default(),
            payload: AtomicUsize::new(0),
            control: AtomicUsize::new(0),
            payload_max,
            control_max,
            task: AtomicWaker::new(),
            freed: Notify::new(),
            of_peer: AtomicBool::new(false),
            holding: AtomicBool::new(false),
            pressure,
            link,
            pause: AtomicU64::new(0),
        }
    }

    /// Lets reading this link rest for a moment. Here, because this is what the driver and the link's task share.
    pub(crate) fn pause(&self, time: Duration) {
        self.pause.store(u64::try_from(time.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// For how long reading is to rest now; said once.
    pub(crate) fn take_pause(&self) -> Option<Duration> {
        let asked = self.pause.load(Ordering::Relaxed) > 0;
        asked.then(|| Duration::from_millis(self.pause.swap(0, Ordering::Relaxed)))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        // A panic while the lock is held can only come from the allocator; what is queued is whole at every moment.
        self.waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn bytes(&self, lane: Lane) -> &AtomicUsize {
        match lane {
            Lane::Control => &self.control,
            Lane::Payload => &self.payload,
        }
    }

    /// How many bytes wait in a lane.
    pub(crate) fn waiting(&self, lane: Lane) -> usize {
        self.bytes(lane).load(Ordering::Relaxed)
    }

    /// Whether `more` bytes fit into a lane for which `staged` are about to be pushed. An empty lane takes anything, so that no message is too long for every queue.
    pub(crate) fn fits(&self, lane: Lane, staged: usize, more: usize) -> bool {
        let waiting = self.bytes(lane).load(Ordering::Relaxed) + staged;
        let max = match lane {
            Lane::Control => self.control_max,
            Lane::Payload => self.payload_max,
        };
        waiting == 0 || waiting + more <= max
    }

    /// Queues items of one lane, whose texts have `bytes` together. The caller has asked [`Self::fits`].
    pub(crate) fn push(&self, lane: Lane, items: impl IntoIterator<Item = Item>, bytes: usize) {
        let before = self.bytes(lane).fetch_add(bytes, Ordering::Relaxed);
        if lane == Lane::Payload && before + bytes >= self.payload_max / 4 && self.of_peer.load(Ordering::Relaxed) {
            self.hold();
        }
        let mut waiting = self.lock();
        match lane {
            Lane::Control => waiting.control.extend(items),
            Lane::Payload => waiting.payload.extend(items),
        }
        drop(waiting);
        self.task.wake();
    }

    /// Drops the transactions of origins from what waits.
    pub(crate) fn drop_origins(&self, origins: &[Origin]) {
        // A stranger may name a thousand, again and again: what waits is looked at once for all of them.
        let origins: HashSet<String> = origins.iter().map(ToString::to_string).collect();
        let mut dropped = 0;
        self.lock().payload.retain(|item| {
            let origin = match item {
                Item::Text(text) => origin_text_of_frame(text.as_str()),
                Item::Ping => None,
            };
            let unwanted = origin.is_some_and(|origin| origins.contains(origin));
            dropped += if unwanted { item.bytes() } else { 0 };
            !unwanted
        });
        self.sent(Lane::Payload, dropped);
    }

    /// Asks the link's task to end the link once everything queued before is sent. The first reason counts.
    pub(crate) fn close(&self, farewell: Farewell) {
        self.lock().farewell.get_or_insert(farewell);
        self.freed.notify_waiters();
        self.task.wake();
    }

    /// Takes what waits: all control, then some payload, so that control which comes later never waits for the whole lane. Once nothing is left, a
    /// farewell. For the link's task.
    pub(crate) fn poll_take(&self, cx: &Context<'_>, into: &mut VecDeque<(Lane, Item)>) -> Poll<Option<Farewell>> {
        self.task.register(cx.waker());
        let mut waiting = self.lock();
        into.extend(waiting.control.drain(..).map(|item| (Lane::Control, item)));
        let mut bytes = 0;
        while bytes < TAKEN_AT_ONCE {
            let Some(item) = waiting.payload.pop_front() else { break };
            bytes += item.bytes();
            into.push_back((Lane::Payload, item));
        }
        match (&waiting.farewell, into.is_empty()) {
            (_, false) => Poll::Ready(None),
            (Some(farewell), true) => Poll::Ready(Some(farewell.clone())),
            (None, true) => Poll::Pending,
        }
    }

    /// Tells that so many bytes of a lane are in the socket's buffer now.
    pub(crate) fn sent(&self, lane: Lane, bytes: usize) {
        let before = self.bytes(lane).fetch_sub(bytes, Ordering::Relaxed);
        let half = self.payload_max / 2;
        if lane == Lane::Payload && before >= half && before - bytes < half {
            self.freed.notify_waiters();
        }
        if lane == Lane::Payload && before - bytes < self.payload_max / 8 {
            self.relieve();
        }
    }

    /// A peer is at the other end, not a client.
    pub(crate) fn is_of_peer(&self) {
        self.of_peer.store(true, Ordering::Relaxed);
    }

    /// The system took something.
    pub(crate) fn moved(&self) {
        if self.holding.load(Ordering::Relaxed) {
            self.pressure.moved(self.link, Instant::now());
        }
    }

    fn hold(&self) {
        if !self.holding.swap(true, Ordering::Relaxed) {
            self.pressure.hold(self.link, Instant::now());
        }
    }

    fn relieve(&self) {
        if self.holding.load(Ordering::Relaxed) {
            self.holding.store(false, Ordering::Relaxed);
            self.pressure.relieve(self.link);
        }
    }

    /// Waits until less than half of the payload lane is in use. For the feeder; cancel-safe. `Err` if the link is gone.
    pub(crate) async fn room(&self) -> Result<(), Gone> {
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            // From here on a notification counts, so none is lost between the look and the wait.
            freed.as_mut().enable();
            let over = {
                let waiting = self.lock();
                waiting.dead || waiting.farewell.is_some()
            };
            if over {
                return Err(Gone);
            }
            if self.payload.load(Ordering::Relaxed) < self.payload_max / 2 {
                return Ok(());
            }
            freed.await;
        }
    }

    /// The link's task is gone: drops what waits and frees the feeder.
    pub(crate) fn bury(&self) {
        let mut waiting = self.lock();
        waiting.dead = true;
        waiting.control = VecDeque::new();
        waiting.payload = VecDeque::new();
        drop(waiting);
        self.relieve();
        self.freed.notify_waiters();
    }
}

/// The link ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gone;

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(payload_max: usize, control_max: usize) -> Queue {
        Queue::new(payload_max, control_max, Arc::default(), LinkId(1))
    }

    fn idle() -> Context<'static> {
        Context::from_waker(std::task::Waker::noop())
    }

    fn text(length: usize) -> Item {
        Item::Text("x".repeat(length).into())
    }

    #[test]
    fn a_lane_is_bounded_and_an_empty_one_takes_anything() {
        let queue = queue(100, 10);
        assert!(queue.fits(Lane::Payload, 0, 1_000) && queue.fits(Lane::Control, 0, 1_000));
        queue.push(Lane::Payload, [text(60)], 60);
        assert!(queue.fits(Lane::Payload, 0, 40) && !queue.fits(Lane::Payload, 0, 41));
        assert!(queue.fits(Lane::Control, 0, 11), "the other lane has room of its own");
        queue.sent(Lane::Payload, 60);
        assert!(queue.fits(Lane::Payload, 0, 1_000));
    }

    #[test]
    fn control_goes_first_and_the_farewell_last() {
        let queue = queue(100, 100);
        let mut taken = VecDeque::new();
        assert_eq!(queue.poll_take(&idle(), &mut taken), Poll::Pending);
        queue.push(Lane::Payload, [text(1)], 1);
        queue.push(Lane::Control, [Item::Ping], 0);
        queue.close(Farewell { code: 1000, reason: "first".into() });
        queue.close(Farewell { code: 1001, reason: "second".into() });
        assert_eq!(queue.poll_take(&idle(), &mut taken), Poll::Ready(None));
        assert!(matches!(taken.make_contiguous(), [(Lane::Control, Item::Ping), (Lane::Payload, Item::Text(_))]));
        taken.clear();
        assert_eq!(
            queue.poll_take(&idle(), &mut taken),
            Poll::Ready(Some(Farewell { code: 1000, reason: "first".into() }))
        );
    }

    #[test]
    fn the_transactions_of_an_origin_can_be_dropped_and_leave_their_room() {
        let queue = queue(1_000, 100);
        let origin = |n: u8| Origin::Node(crate::protocol::id::NodeId([n; 32]));
        let frame =
            |n: u8| Item::Text(format!(r#"{{"type":"TRANSACTION","data":{{}},"from":"{}"}}"#, origin(n)).into());
        let bytes = frame(1).bytes();
        queue.push(Lane::Payload, [frame(1), frame(2), frame(1), text(bytes)], 4 * bytes);
        queue.drop_origins(&[origin(1), origin(3)]);
        assert_eq!(queue.payload.load(Ordering::Relaxed), 2 * bytes);
        let mut taken = VecDeque::new();
        assert_eq!(queue.poll_take(&idle(), &mut taken), Poll::Ready(None));
        assert_eq!(taken.len(), 2);
    }

    #[tokio::test]
    async fn a_feeder_waits_for_room_and_learns_of_the_end() {
        let queue = std::sync::Arc::new(queue(100, 100));
        assert_eq!(queue.room().await, Ok(()));
        queue.push(Lane::Payload, [text(80)], 80);
        let wait = || {
            let queue = queue.clone();
            tokio::spawn(async move { queue.room().await })
        };
        let (feeder, fetcher) = (wait(), wait());
        tokio::task::yield_now().await;
        queue.sent(Lane::Payload, 40);
        assert_eq!(
            (feeder.await.expect("no panic"), fetcher.await.expect("no panic")),
            (Ok(()), Ok(())),
            "both are woken"
        );
        queue.push(Lane::Payload, [text(80)], 80);
        let waiting = tokio::spawn({
            let queue = queue.clone();
            async move { queue.room().await }
        });
        tokio::task::yield_now().await;
        queue.bury();
        assert_eq!(waiting.await.expect("no panic"), Err(Gone));
    }

    #[tokio::test]
    async fn the_queue_of_a_slow_peer_holds_clients_up_until_it_has_drained_and_that_of_a_client_never() {
        let pressure = Arc::<Pressure>::default();
        let client = Queue::new(100, 100, Arc::clone(&pressure), LinkId(1));
        client.push(Lane::Payload, [text(80)], 80);
        assert!(!pressure.is_high());
        let peer = Queue::new(100, 100, Arc::clone(&pressure), LinkId(2));
        peer.is_of_peer();
        peer.push(Lane::Payload, [text(20)], 20);
        assert!(!pressure.is_high());
        peer.push(Lane::Payload, [text(20)], 20);
        assert!(pressure.is_high());
        peer.sent(Lane::Payload, 20);
        assert!(pressure.is_high(), "not yet");
        peer.sent(Lane::Payload, 20);
        assert!(!pressure.is_high());
        peer.push(Lane::Payload, [text(80)], 80);
        assert!(pressure.is_high());
        peer.bury();
        assert!(!pressure.is_high(), "a link that is gone");
    }
}
