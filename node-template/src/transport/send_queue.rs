//! The send queue of one link: two lanes, each bounded in bytes. The driver and replay fill it, the
//! link's task empties it.
//!
//! A push never waits: what does not fit is refused, and the core decides what follows. Bytes count
//! as queued until the socket's own buffer has them.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use meshpool_proto::Lane;
use meshpool_proto::frame::Frame;
use meshpool_proto::id::LinkId;
use meshpool_proto::topic_name::TopicName;
use meshpool_proto::transaction::{Origin, origin_text_of_frame};
use meshpool_proto::wire::TopicFrame;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::transport::backpressure::Backpressure;
use crate::transport::rate_limit::ServeLimit;

/// One frame to be sent.
#[derive(Debug)]
pub(crate) enum Item {
    Text(Frame),
    Ping,
    /// A ping with a number, whose pong says that all before it was read.
    Mark(u64),
}

impl Item {
    /// The number of bytes it takes in a lane.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Ping | Self::Mark(_) => 0,
        }
    }
}

/// How many bytes of payload the link's task takes at once.
const TAKE: usize = 256 * 1024;
/// How many bytes of catch-up it takes after that: what comes next waits for so much on a slow
/// line, and a busy line leaves so much to a peer that lacks something.
const TAKE_CATCH_UP: usize = 32 * 1024;

/// The close codes of a link that ends in order (RFC 6455, section 7.4.1).
const NORMAL: u16 = 1000;
const GOING_AWAY: u16 = 1001;

/// The content of the close frame that ends a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CloseReason {
    pub(crate) code: u16,
    pub(crate) reason: String,
}

impl CloseReason {
    /// Whether the other end gets nothing more but control frames: it broke rules, or its place is
    /// for another. A link that ends in order takes along what is queued.
    pub(crate) fn is_final(&self) -> bool {
        !matches!(self.code, NORMAL | GOING_AWAY)
    }
}

/// The send queue of one link.
#[derive(Debug)]
pub(crate) struct SendQueue {
    queued: Mutex<Queued>,
    payload: AtomicUsize,
    control: AtomicUsize,
    payload_max: usize,
    control_max: usize,
    /// Wakes the link's task when there is something to send.
    task: AtomicWaker,
    /// Wakes replay tasks when there is room.
    room: Notify,
    /// Whether a peer is at the other end. A client may not read its answers, so its queue never
    /// causes backpressure.
    is_peer: AtomicBool,
    /// Whether this queue causes backpressure now.
    holding: AtomicBool,
    backpressure: Arc<Backpressure>,
    link: LinkId,
    /// For how many milliseconds the link's task stops reading. It is here because the driver and
    /// the task share this queue.
    pause: AtomicU64,
    /// How much of pools the other end is sent.
    served: ServeLimit,
}

#[derive(Debug, Default)]
struct Queued {
    control: VecDeque<Item>,
    payload: VecDeque<Item>,
    /// Payload that answers a comparison of pools. It counts as payload, and is sent after it.
    catch_up: VecDeque<Item>,
    close: Option<CloseReason>,
    /// The link's task is gone: nothing will be sent.
    gone: bool,
}

impl SendQueue {
    /// An empty queue with room for so many bytes in each lane.
    pub(crate) fn new(payload_max: usize, control_max: usize, backpressure: Arc<Backpressure>, link: LinkId) -> Self {
        Self {
            queued: Mutex::default(),
            payload: AtomicUsize::new(0),
            control: AtomicUsize::new(0),
            payload_max,
            control_max,
            task: AtomicWaker::new(),
            room: Notify::new(),
            is_peer: AtomicBool::new(false),
            holding: AtomicBool::new(false),
            backpressure,
            link,
            pause: AtomicU64::new(0),
            served: ServeLimit::default(),
        }
    }

    /// Returns the queue with a limit of what it is sent of pools.
    pub(crate) fn limited(self, served: ServeLimit) -> Self {
        Self { served, ..self }
    }

    /// Counts so many bytes of a pool that were queued, and waits until more are allowed.
    pub(crate) async fn on_served(&self, bytes: usize) {
        self.served.spend(bytes).await;
    }

    /// Stops the reading of this link for a while.
    pub(crate) fn pause_reading(&self, time: Duration) {
        self.pause.store(u64::try_from(time.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Returns the pause that was asked for since the last call.
    pub(crate) fn take_pause(&self) -> Option<Duration> {
        let asked = self.pause.load(Ordering::Relaxed) > 0;
        asked.then(|| Duration::from_millis(self.pause.swap(0, Ordering::Relaxed)))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Queued> {
        // Only the allocator can panic while the lock is held, and the queue is valid at every
        // moment.
        self.queued.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn bytes(&self, lane: Lane) -> &AtomicUsize {
        match lane {
            Lane::Control => &self.control,
            Lane::Payload => &self.payload,
        }
    }

    /// How many bytes are queued in a lane.
    pub(crate) fn queued_bytes(&self, lane: Lane) -> usize {
        self.bytes(lane).load(Ordering::Relaxed)
    }

    /// Whether `more` bytes fit into a lane to which `staged` bytes are about to be pushed. An
    /// empty lane takes anything, so no message is too long for every queue.
    pub(crate) fn fits(&self, lane: Lane, staged: usize, more: usize) -> bool {
        let queued = self.bytes(lane).load(Ordering::Relaxed) + staged;
        let max = match lane {
            Lane::Control => self.control_max,
            Lane::Payload => self.payload_max,
        };
        queued == 0 || queued + more <= max
    }

    /// Whether payload waits that the link's task has not taken.
    pub(crate) fn has_payload(&self) -> bool {
        let queued = self.lock();
        !queued.payload.is_empty() || !queued.catch_up.is_empty()
    }

    /// Queues items in a lane; `bytes` is their sum. The caller has checked [`Self::fits`].
    pub(crate) fn push(&self, lane: Lane, items: impl IntoIterator<Item = Item>, bytes: usize) {
        self.push_with(lane, bytes, |queued| match lane {
            Lane::Control => queued.control.extend(items),
            Lane::Payload => queued.payload.extend(items),
        });
    }

    /// Queues payload that answers a comparison of pools: new transactions do not wait for it.
    pub(crate) fn push_catch_up(&self, items: impl IntoIterator<Item = Item>, bytes: usize) {
        self.push_with(Lane::Payload, bytes, |queued| queued.catch_up.extend(items));
    }

    fn push_with(&self, lane: Lane, bytes: usize, push: impl FnOnce(&mut Queued)) {
        let before = self.bytes(lane).fetch_add(bytes, Ordering::Relaxed);
        if lane == Lane::Payload && before + bytes >= self.payload_max / 4 && self.is_peer.load(Ordering::Relaxed) {
            self.hold();
        }
        push(&mut self.lock());
        self.task.wake();
    }

    /// Drops the queued transactions of these origins; of a topic, or of the default one.
    pub(crate) fn drop_origins(&self, topic: Option<&TopicName>, origins: &[Origin]) {
        // A stranger may name a thousand origins again and again, so the queue is searched once for
        // all.
        let origins: HashSet<String> = origins.iter().map(ToString::to_string).collect();
        let mut dropped = 0;
        self.lock().payload.retain(|item| {
            let unwanted = match item {
                Item::Text(text) => origin_of(topic, text.as_str()).is_some_and(|origin| origins.contains(origin)),
                Item::Ping | Item::Mark(_) => false,
            };
            dropped += if unwanted { item.bytes() } else { 0 };
            !unwanted
        });
        self.sent(Lane::Payload, dropped);
    }

    /// Ends the link once everything queued before is sent, without the payload if the close is
    /// [final](CloseReason::is_final). The first reason counts.
    pub(crate) fn close(&self, reason: CloseReason) {
        let mut queued = self.lock();
        let payload = if queued.close.get_or_insert(reason).is_final() {
            let Queued { payload, catch_up, .. } = &mut *queued;
            payload.drain(..).chain(catch_up.drain(..)).map(|item| item.bytes()).sum()
        } else {
            0
        };
        drop(queued);
        self.sent(Lane::Payload, payload);
        self.room.notify_waiters();
        self.task.wake();
    }

    /// Returns why the link is to be closed, if it is. For the link's task, which is woken when
    /// that or anything else is queued.
    pub(crate) fn closing(&self, cx: &Context<'_>) -> Option<CloseReason> {
        self.task.register(cx.waker());
        self.lock().close.clone()
    }

    /// Takes all control frames, then some payload, and then a little catch-up, of `room` bytes and
    /// a frame more at most. So control frames never wait for the whole payload lane, nor new
    /// transactions for a whole pool. Returns the close reason once nothing is left. For the link's
    /// task.
    pub(crate) fn poll_take(
        &self,
        cx: &Context<'_>,
        into: &mut VecDeque<(Lane, Item)>,
        room: usize,
    ) -> Poll<Option<CloseReason>> {
        self.task.register(cx.waker());
        let mut queued = self.lock();
        into.extend(queued.control.drain(..).map(|item| (Lane::Control, item)));
        let mut bytes = 0;
        while bytes < TAKE.min(room) {
            let Some(item) = queued.payload.pop_front() else { break };
            bytes += item.bytes();
            into.push_back((Lane::Payload, item));
        }
        bytes = 0;
        while bytes < TAKE_CATCH_UP.min(room) {
            let Some(item) = queued.catch_up.pop_front() else { break };
            bytes += item.bytes();
            into.push_back((Lane::Payload, item));
        }
        match (&queued.close, into.is_empty()) {
            (_, false) => Poll::Ready(None),
            (Some(reason), true) if queued.payload.is_empty() && queued.catch_up.is_empty() => {
                Poll::Ready(Some(reason.clone()))
            }
            (_, true) => Poll::Pending,
        }
    }

    /// Frees room in a lane: so many bytes are in the socket's buffer now.
    pub(crate) fn sent(&self, lane: Lane, bytes: usize) {
        let before = self.bytes(lane).fetch_sub(bytes, Ordering::Relaxed);
        let half = self.payload_max / 2;
        if lane == Lane::Payload && before >= half && before - bytes < half {
            self.room.notify_waiters();
        }
        if lane == Lane::Payload && before - bytes < self.payload_max / 8 {
            self.release();
        }
    }

    /// Notes that a peer is at the other end, not a client.
    pub(crate) fn set_peer(&self) {
        self.is_peer.store(true, Ordering::Relaxed);
    }

    /// Notes that the kernel took bytes.
    pub(crate) fn progress(&self) {
        if self.holding.load(Ordering::Relaxed) {
            self.backpressure.progress(self.link, Instant::now());
        }
    }

    fn hold(&self) {
        if !self.holding.swap(true, Ordering::Relaxed) {
            self.backpressure.hold(self.link, Instant::now());
        }
    }

    fn release(&self) {
        if self.holding.load(Ordering::Relaxed) {
            self.holding.store(false, Ordering::Relaxed);
            self.backpressure.release(self.link);
        }
    }

    /// Waits until less than half of the payload lane is in use. For replay. Cancel-safe.
    ///
    /// # Errors
    /// [`Gone`] if the link has ended or is being closed.
    pub(crate) async fn wait_for_room(&self) -> Result<(), Gone> {
        loop {
            let mut room = std::pin::pin!(self.room.notified());
            // From here on a notification counts, so none is lost between the check and the wait.
            room.as_mut().enable();
            let over = {
                let queued = self.lock();
                queued.gone || queued.close.is_some()
            };
            if over {
                return Err(Gone);
            }
            if self.payload.load(Ordering::Relaxed) < self.payload_max / 2 {
                return Ok(());
            }
            room.await;
        }
    }

    /// Drops everything queued and ends all waits for room: the link's task is gone.
    pub(crate) fn discard(&self) {
        let mut queued = self.lock();
        queued.gone = true;
        queued.control = VecDeque::new();
        queued.payload = VecDeque::new();
        queued.catch_up = VecDeque::new();
        drop(queued);
        self.release();
        self.room.notify_waiters();
    }
}

/// Returns the text of the origin of a transaction of a topic, or of the default one.
fn origin_of<'a>(topic: Option<&TopicName>, frame: &'a str) -> Option<&'a str> {
    match topic {
        None => origin_text_of_frame(frame),
        Some(topic) => origin_text_of_frame(TopicFrame::message_text(topic, frame)?),
    }
}

/// The link ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gone;

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(payload_max: usize, control_max: usize) -> SendQueue {
        SendQueue::new(payload_max, control_max, Arc::default(), LinkId(1))
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
    fn control_goes_first_and_the_close_frame_last() {
        let queue = queue(100, 100);
        let mut taken = VecDeque::new();
        assert_eq!(queue.poll_take(&idle(), &mut taken, usize::MAX), Poll::Pending);
        queue.push(Lane::Payload, [text(1)], 1);
        queue.push(Lane::Control, [Item::Ping], 0);
        queue.close(CloseReason { code: 1000, reason: "first".into() });
        queue.close(CloseReason { code: 1001, reason: "second".into() });
        assert_eq!(queue.poll_take(&idle(), &mut taken, usize::MAX), Poll::Ready(None));
        assert!(matches!(taken.make_contiguous(), [(Lane::Control, Item::Ping), (Lane::Payload, Item::Text(_))]));
        taken.clear();
        assert_eq!(
            queue.poll_take(&idle(), &mut taken, usize::MAX),
            Poll::Ready(Some(CloseReason { code: 1000, reason: "first".into() }))
        );
    }

    #[test]
    fn a_final_close_drops_the_payload_and_an_orderly_one_does_not() {
        for (code, is_final) in [(1000, false), (1001, false), (1008, true), (1011, true), (1013, true)] {
            let queue = queue(1_000, 1_000);
            queue.push(Lane::Payload, [text(300)], 300);
            queue.push_catch_up([text(300)], 300);
            queue.push(Lane::Control, [text(5)], 5);
            assert_eq!(queue.closing(&idle()), None);
            queue.close(CloseReason { code, reason: String::new() });
            queue.close(CloseReason { code: 1008, reason: "a second reason".into() });
            assert_eq!(queue.closing(&idle()).map(|close| close.code), Some(code));
            assert_eq!(queue.queued_bytes(Lane::Payload), if is_final { 0 } else { 600 }, "{code}");
            let mut taken = VecDeque::new();
            assert_eq!(queue.poll_take(&idle(), &mut taken, usize::MAX), Poll::Ready(None));
            assert_eq!(taken.len(), if is_final { 1 } else { 3 }, "{code}: control frames are sent");
        }
    }

    #[test]
    fn without_room_payload_waits_and_control_does_not() {
        let queue = queue(100, 100);
        queue.push(Lane::Payload, [text(3), text(4), text(5)], 12);
        queue.close(CloseReason { code: 1000, reason: String::new() });
        let mut taken = VecDeque::new();
        assert_eq!(queue.poll_take(&idle(), &mut taken, 0), Poll::Pending, "the close frame waits for the payload");
        queue.push(Lane::Control, [Item::Ping], 0);
        assert_eq!(queue.poll_take(&idle(), &mut taken, 0), Poll::Ready(None));
        assert!(matches!(taken.make_contiguous(), [(Lane::Control, Item::Ping)]) && queue.has_payload());
        taken.clear();
        assert_eq!(queue.poll_take(&idle(), &mut taken, 4), Poll::Ready(None));
        assert_eq!(taken.iter().map(|(_, item)| item.bytes()).collect::<Vec<_>>(), [3, 4]);
    }

    #[test]
    fn new_transactions_overtake_catch_up_which_is_sent_all_the_same() {
        let queue = queue(10_000_000, 100);
        let mut taken = VecDeque::new();
        queue.push_catch_up((0..40).map(|_| text(4 * 1024)), 160 * 1024);
        queue.push(Lane::Payload, [text(1)], 1);
        let lengths = |taken: &VecDeque<(Lane, Item)>| taken.iter().map(|(_, item)| item.bytes()).collect::<Vec<_>>();
        assert_eq!(queue.poll_take(&idle(), &mut taken, usize::MAX), Poll::Ready(None));
        assert_eq!(lengths(&taken), [&[1], &[4 * 1024; 8][..]].concat());
        taken.clear();
        queue.push(Lane::Payload, (0..300).map(|_| text(1024)), 300 * 1024);
        assert_eq!(queue.poll_take(&idle(), &mut taken, usize::MAX), Poll::Ready(None));
        assert_eq!(lengths(&taken), [&[1024; 256][..], &[4 * 1024; 8]].concat(), "a busy line starves nobody");
        assert_eq!(queue.queued_bytes(Lane::Payload), 460 * 1024 + 1, "it counts until it is sent");
        queue.close(CloseReason { code: 1000, reason: String::new() });
        for _ in 0..3 {
            assert_eq!(queue.poll_take(&idle(), &mut taken, usize::MAX), Poll::Ready(None));
        }
        taken.clear();
        assert!(
            matches!(queue.poll_take(&idle(), &mut taken, usize::MAX), Poll::Ready(Some(_))),
            "the close frame is last"
        );
    }

    #[test]
    fn the_transactions_of_an_origin_can_be_dropped_and_free_their_room() {
        let queue = queue(1_000, 100);
        let origin = |n: u8| Origin::Node(meshpool_proto::id::NodeId([n; 32]));
        let frame =
            |n: u8| Item::Text(format!(r#"{{"type":"TRANSACTION","data":{{}},"from":"{}"}}"#, origin(n)).into());
        let bytes = frame(1).bytes();
        queue.push(Lane::Payload, [frame(1), frame(2), frame(1), text(bytes)], 4 * bytes);
        queue.drop_origins(None, &[origin(1), origin(3)]);
        assert_eq!(queue.payload.load(Ordering::Relaxed), 2 * bytes);
        let mut taken = VecDeque::new();
        assert_eq!(queue.poll_take(&idle(), &mut taken, usize::MAX), Poll::Ready(None));
        assert_eq!(taken.len(), 2);
    }

    #[test]
    fn what_is_dropped_of_a_topic_is_of_that_topic_alone() {
        let queue = queue(10_000, 100);
        let [blocks, chat] = ["blocks", "chat"].map(|name| name.parse::<TopicName>().expect("a name"));
        let origin = |n: u8| Origin::Node(meshpool_proto::id::NodeId([n; 32]));
        let frame =
            |n: u8| -> Frame { format!(r#"{{"type":"TRANSACTION","data":{{}},"from":"{}"}}"#, origin(n)).into() };
        let frames = [
            frame(1),
            TopicFrame::wrap(&blocks, &frame(1)),
            TopicFrame::wrap(&chat, &frame(1)),
            TopicFrame::wrap(&blocks, &frame(2)),
            // An answer to a comparison was asked for.
            TopicFrame::wrap(&blocks, &r#"{"type":"TRANSACTION","data":{},"sync":"x"}"#.into()),
        ];
        let bytes = |frames: &[Frame]| frames.iter().map(|frame| frame.len()).sum::<usize>();
        queue.push(Lane::Payload, frames.iter().cloned().map(Item::Text), bytes(&frames));
        queue.drop_origins(Some(&blocks), &[origin(1)]);
        assert_eq!(queue.queued_bytes(Lane::Payload), bytes(&frames) - frames[1].len());
        queue.drop_origins(None, &[origin(2)]);
        queue.drop_origins(Some(&chat), &[origin(2)]);
        assert_eq!(queue.queued_bytes(Lane::Payload), bytes(&frames) - frames[1].len());
    }

    #[tokio::test]
    async fn replay_waits_for_room_and_learns_of_the_end() {
        let queue = std::sync::Arc::new(queue(100, 100));
        assert_eq!(queue.wait_for_room().await, Ok(()));
        queue.push(Lane::Payload, [text(80)], 80);
        let wait = || {
            let queue = queue.clone();
            tokio::spawn(async move { queue.wait_for_room().await })
        };
        let (replay, fetch) = (wait(), wait());
        tokio::task::yield_now().await;
        queue.sent(Lane::Payload, 40);
        assert_eq!(
            (replay.await.expect("no panic"), fetch.await.expect("no panic")),
            (Ok(()), Ok(())),
            "both are woken"
        );
        queue.push(Lane::Payload, [text(80)], 80);
        let waiting = tokio::spawn({
            let queue = queue.clone();
            async move { queue.wait_for_room().await }
        });
        tokio::task::yield_now().await;
        queue.discard();
        assert_eq!(waiting.await.expect("no panic"), Err(Gone));
    }

    #[tokio::test]
    async fn the_queue_of_a_slow_peer_throttles_clients_until_it_has_drained_and_that_of_a_client_never() {
        let backpressure = Arc::<Backpressure>::default();
        let client = SendQueue::new(100, 100, Arc::clone(&backpressure), LinkId(1));
        client.push(Lane::Payload, [text(80)], 80);
        assert!(!backpressure.is_active());
        let peer = SendQueue::new(100, 100, Arc::clone(&backpressure), LinkId(2));
        peer.set_peer();
        peer.push(Lane::Payload, [text(20)], 20);
        assert!(!backpressure.is_active());
        peer.push(Lane::Payload, [text(20)], 20);
        assert!(backpressure.is_active());
        peer.sent(Lane::Payload, 20);
        assert!(backpressure.is_active(), "not yet");
        peer.sent(Lane::Payload, 20);
        assert!(!backpressure.is_active());
        peer.push(Lane::Payload, [text(80)], 80);
        assert!(backpressure.is_active());
        peer.discard();
        assert!(!backpressure.is_active(), "a link that is gone");
    }
}
