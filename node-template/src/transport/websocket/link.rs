//! One open link: a task that reads and writes one WebSocket. It knows nothing of peers.
//!
//! It reads all that has arrived, parses it, and hands it to the driver as one batch. It writes all
//! that is queued and flushes once.
//!
//! Reading never waits for writing, nor the other way round, so two nodes with much to send cannot
//! block each other. The one exception: a peer that does not take the answers to its pings is not
//! read either, see [`WriteBuffer::is_overfull`](super::write_buffer::WriteBuffer::is_overfull).
//!
//! While the driver has no room the link is not read, and TCP slows the sender down.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::{Sink, SinkExt, Stream, StreamExt};
use meshpool_proto::Lane;
use meshpool_proto::causes::LinkEnd;
use meshpool_proto::id::LinkId;
use meshpool_proto::json::Parser;
use meshpool_proto::limits;
use meshpool_proto::transaction::{Origin, origin_of_frame};
use meshpool_proto::wire::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{self, Bytes};

use crate::signing::validator::Validators;
use crate::transport::arrival::{Arrival, ReadBatch};
use crate::transport::backpressure::{Backpressure, ClientPace};
use crate::transport::duplicate_filter::DuplicateFilter;
use crate::transport::frame_record::{FrameRecord, Opcode, Way, is_handshake};
use crate::transport::rate_limit::{LinkRateLimit, Reading};
use crate::transport::send_queue::{CloseReason, Item, SendQueue};
use crate::transport::unread_window::UnreadWindow;
use crate::transport::websocket::read_buffer::Next;
use crate::transport::websocket::socket::Socket;

/// How many messages a batch has at most.
const BATCH_MESSAGES: usize = 128;
/// How many bytes a batch has at most. Enough that a batch costs little per message, and a bound on
/// what waits for the driver.
const BATCH_BYTES: usize = 256 * 1024;
/// How many bytes a ping, a pong or a fragment counts for: its answer costs a system call, or it
/// goes the slow way. So a batch has no more of them than messages.
const FRAME_BYTES: usize = BATCH_BYTES / BATCH_MESSAGES;
/// How many bytes are read and dropped after a close frame was sent: eight of the longest messages.
const DRAIN_BYTES: usize = 8 * limits::MESSAGE_BYTES;
/// How often the driver is notified that a client is throttled, so that it is not taken for silent.
const REPORT_THROTTLED: Duration = Duration::from_secs(1);
/// What a ping that marks a position begins with. The pings of the unread window have eight bytes.
const MARK: u8 = b'm';
/// How long the other end has to finish a close, and to take what goes before the close frame of a
/// link that it is not to have any longer.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

thread_local! {
    /// One parser per thread, not per link: its buffers grow to the longest message, and ten
    /// thousand idle links would each keep them.
    static PARSER: RefCell<Parser> = RefCell::default();
}

type Reservation = Pin<Box<dyn Future<Output = Result<mpsc::OwnedPermit<Arrival>, mpsc::error::SendError<()>>> + Send>>;

type Throttled = Pin<Box<dyn Future<Output = Result<(), tokio::time::error::Elapsed>> + Send>>;

/// Whether a client is throttled by backpressure.
#[derive(PartialEq)]
enum Throttle {
    /// Still, after [`REPORT_THROTTLED`].
    Still,
    Over,
}

/// How reading goes on behind the texts that were taken.
enum Then {
    /// The batch is full.
    Full,
    /// More has to come in.
    More,
    /// The library reads the next frame.
    Library,
    /// A text is not UTF-8: the link ends.
    InvalidText,
}

/// What all links of a node share.
#[derive(Clone)]
pub(crate) struct LinkContext {
    pub(crate) arrivals: mpsc::Sender<Arrival>,
    /// The origin of what clients of this node send.
    pub(crate) own: Origin,
    pub(crate) filter: Arc<DuplicateFilter>,
    pub(crate) backpressure: Arc<Backpressure>,
    /// Called by the link's task, so a slow validator delays that link only.
    pub(crate) validators: Validators,
    pub(crate) write_deadline: Duration,
    /// Bytes written on links to peers that were not reported to the core yet.
    pub(crate) written: Arc<AtomicU64>,
}

/// The task of one link.
pub(crate) struct LinkTask {
    link: LinkId,
    socket: Socket,
    queue: Arc<SendQueue>,
    frames: Arc<FrameRecord>,
    /// Whether somebody watched the frames when the batch began.
    is_watched: bool,
    context: LinkContext,
    /// Taken from the queue, not in the socket's buffer yet.
    staged: VecDeque<(Lane, Item)>,
    /// Whether the socket's buffer holds bytes that are not flushed.
    dirty: bool,
    /// Bounds what the other end has not read.
    window: UnreadWindow,
    /// Ends the link if something waits and nothing is written or read by the other end for
    /// `write_deadline`. With the progress when it was set.
    stuck: Option<(Pin<Box<Sleep>>, u64)>,
    /// What was read and not handed to the driver yet.
    batch: ReadBatch,
    batch_bytes: usize,
    /// How many messages the last batch had: the next has about as many.
    last_batch: usize,
    /// Waits for room at the driver.
    reservation: Option<Reservation>,
    rate: Option<LinkRateLimit>,
    /// Whether we dialled: then what we send is masked (RFC 6455, section 5.1).
    dialled: bool,
    /// Whether a peer is at the other end: we dialled it, or it sent a HANDSHAKE. Only clients are
    /// throttled.
    is_peer: bool,
    /// How much a client sends.
    pace: ClientPace,
    /// Waits while clients are throttled.
    throttled: Option<Throttled>,
    /// Whether the kernel's receive buffer has a fixed size.
    receive_buffer_fixed: bool,
    /// Waits because the other end broke rules.
    pause: Option<Pin<Box<Sleep>>>,
    /// Ends the link if closing it takes too long.
    close_due: Option<Pin<Box<Sleep>>>,
    /// How many bytes the kernel had taken at the last check.
    written: u64,
}

/// How a link ended, and what is left to send.
struct End {
    cause: LinkEnd,
    close: Option<CloseReason>,
}

impl LinkTask {
    /// The task of a link, opened by us (`dialled`) or by the other end.
    pub(crate) fn new(
        link: LinkId,
        socket: Socket,
        dialled: bool,
        queue: Arc<SendQueue>,
        frames: Arc<FrameRecord>,
        rate: Option<LinkRateLimit>,
        context: LinkContext,
    ) -> Self {
        let mut task = Self {
            link,
            socket,
            queue,
            frames,
            is_watched: false,
            context,
            staged: VecDeque::new(),
            dirty: false,
            window: UnreadWindow::new(),
            stuck: None,
            batch: ReadBatch::default(),
            batch_bytes: 0,
            last_batch: 0,
            reservation: None,
            rate,
            dialled,
            is_peer: false,
            pace: ClientPace::default(),
            throttled: None,
            receive_buffer_fixed: false,
            pause: None,
            close_due: None,
            written: 0,
        };
        if dialled {
            task.set_peer();
        }
        task
    }

    fn set_peer(&mut self) {
        self.is_peer = true;
        self.queue.set_peer();
    }

    /// Runs the link to its end, and reports that to the driver after all that came before. Boxed,
    /// because a future has room for each place that its parts move through.
    pub(crate) async fn run(mut self: Box<Self>) {
        self.socket.get_mut().stream_mut().begin_texts(!self.dialled);
        let end = std::future::poll_fn(|cx| self.poll(cx)).await;
        self.queue.discard();
        self.socket.get_mut().stream_mut().end_texts();
        self.frames.end(&end.cause.to_string());
        if let Some(CloseReason { code, reason }) = &end.close {
            self.frames.close(Way::Sent, *code, reason);
        }
        let (link, arrivals) = (self.link, &self.context.arrivals);
        if !self.batch.is_empty() {
            let batch = std::mem::take(&mut self.batch);
            deliver(arrivals, Arrival::Read { link, batch }).await;
        }
        deliver(arrivals, Arrival::Closed { link, cause: end.cause.clone() }).await;
        // The driver is done with this link, so a close that is not finished in time has no effect.
        let close = Box::pin(close(self.into_socket(), end));
        tokio::time::timeout(CLOSE_WITHIN, close).await.unwrap_or_default();
    }

    fn into_socket(self: Box<Self>) -> Socket {
        self.socket
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let close = self.queue.closing(cx);
        if let Some(close) = &close
            && self.poll_close_due(cx, close).is_ready()
        {
            return Poll::Ready(End::closed(close.clone()));
        }
        // Reading first: answers can then leave in the same wake-up.
        let read = match close {
            // Nothing is handled of what it sends.
            Some(close) if close.is_final() => Poll::Pending,
            _ => self.poll_read(cx),
        };
        if let Poll::Ready(End { close: None, .. }) = &read {
            // The other end has closed or is gone: no frame may follow our close frame (RFC 6455,
            // section 5.5.1).
            return read;
        }
        let wrote = self.poll_write(cx);
        match (read, wrote) {
            (Poll::Ready(end), _) | (_, Poll::Ready(end)) => Poll::Ready(end),
            (Poll::Pending, Poll::Pending) => Poll::Pending,
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            ready!(self.poll_deliver(cx));
            match self.rate.as_mut().map(|rate| rate.poll_allow(cx)) {
                Some(Poll::Pending) => {
                    self.fix_receive_buffer();
                    return Poll::Pending;
                }
                Some(Poll::Ready(Reading::Paused)) => {
                    self.batch.throttled = true;
                    continue;
                }
                Some(Poll::Ready(Reading::Allowed)) | None => {}
            }
            ready!(self.poll_pause(cx));
            if ready!(self.poll_throttle(cx)) == Throttle::Still {
                self.batch.throttled = true;
                continue;
            }
            let ended = self.fill(cx);
            self.context.validators.validate(&mut self.batch.messages);
            match ended {
                Poll::Ready(Some(end)) => return Poll::Ready(end),
                Poll::Pending if self.batch.is_empty() => return Poll::Pending,
                // Nothing but pings: one that sends them without end must not starve the thread.
                Poll::Ready(None) if self.batch.is_empty() => {
                    self.batch_bytes = 0;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Poll::Ready(None) | Poll::Pending => {}
            }
        }
    }

    /// Reads and parses until the batch is full (`Ready(None)`), nothing more has arrived
    /// (`Pending`), or the link ends.
    fn fill(&mut self, cx: &mut Context<'_>) -> Poll<Option<End>> {
        self.is_watched = self.frames.is_on();
        loop {
            match self.take_texts() {
                Then::Full => return Poll::Ready(None),
                Then::InvalidText => {
                    return Poll::Ready(Some(End::from_error(&tungstenite::Error::Utf8(String::new()))));
                }
                Then::More => match ready!(self.socket.get_mut().stream_mut().poll_more(cx)) {
                    Ok(1..) => continue,
                    // The library knows whether a message is cut off.
                    Ok(0) => self.socket.get_mut().stream_mut().end_texts(),
                    Err(error) => return Poll::Ready(Some(End::from_error(&error.into()))),
                },
                Then::Library => {}
            }
            if self.socket.get_ref().is_overfull()
                && let Err(error) = ready!(Pin::new(&mut self.socket).poll_flush(cx))
            {
                return Poll::Ready(Some(End::from_error(&error)));
            }
            let message = match Pin::new(&mut self.socket).poll_next(cx) {
                // It has read its frame, which is only a part of a message.
                Poll::Pending if !self.socket.get_ref().stream().is_for_library() => {
                    self.count_frame();
                    continue;
                }
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(message))) => message,
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(End::from_error(&error))),
                Poll::Ready(None) => {
                    return Poll::Ready(Some(End::lost("the connection was closed")));
                }
            };
            match message {
                tungstenite::Message::Text(text) => self.take(&text),
                tungstenite::Message::Binary(bytes) => match std::str::from_utf8(&bytes) {
                    Ok(text) => self.take(text),
                    Err(_) => {
                        return Poll::Ready(Some(End::protocol_error(1007, "a binary message that is not UTF-8 text")));
                    }
                },
                tungstenite::Message::Pong(payload) => {
                    self.count_frame();
                    if self.is_watched {
                        self.frames.ping(Way::Received, Opcode::Pong, &payload, "the answer to a ping");
                    }
                    if !self.window.on_pong(&payload, Instant::now()) {
                        match read_mark(&payload) {
                            Some(number) => self.batch.mark = Some(number),
                            None => self.batch.pong = true,
                        }
                    }
                }
                tungstenite::Message::Close(frame) => {
                    if self.is_watched {
                        let (code, reason) =
                            frame.as_ref().map_or((1005, ""), |frame| (frame.code.into(), &*frame.reason));
                        self.frames.close(Way::Received, code, reason);
                    }
                    return Poll::Ready(Some(End::from_close(frame)));
                }
                tungstenite::Message::Ping(payload) => {
                    self.count_frame();
                    if self.is_watched {
                        self.frames.ping(
                            Way::Received,
                            Opcode::Ping,
                            &payload,
                            "asks for a pong with the same payload",
                        );
                        self.frames.ping(Way::Sent, Opcode::Pong, &payload, "the answer to that ping");
                    }
                    // The library has put the answer into the socket's buffer, where it has to
                    // leave in time.
                    self.dirty = true;
                }
                tungstenite::Message::Frame(_) => {}
            }
        }
    }

    /// Keeps a client that sends more than it may from filling the kernel's memory. A peer's rate
    /// may be that of many others, and its path long.
    fn fix_receive_buffer(&mut self) {
        if !self.is_peer
            && !std::mem::replace(&mut self.receive_buffer_fixed, true)
            && let Err(error) = self.socket.get_ref().stream().fix_receive_buffer()
        {
            tracing::debug!("the receive buffer of a client's link stays as it is: {error}");
        }
    }

    /// Takes the whole texts that have come in, up to a full batch, or as many as the rate limit
    /// allows; returns how reading goes on.
    fn take_texts(&mut self) -> Then {
        let mut unread = self.socket.get_mut().stream_mut().lend();
        let then = loop {
            let is_overdrawn = self.rate.as_ref().is_some_and(LinkRateLimit::is_overdrawn);
            if self.batch.messages.len() >= BATCH_MESSAGES || self.batch_bytes >= BATCH_BYTES || is_overdrawn {
                break Then::Full;
            }
            match unread.next() {
                Next::Text(text) => self.take(text),
                Next::InvalidText => break Then::InvalidText,
                Next::Library => break Then::Library,
                Next::Incomplete => break Then::More,
            }
        };
        self.socket.get_mut().stream_mut().give_back(unread);
        then
    }

    fn take(&mut self, text: &str) {
        self.batch_bytes += text.len();
        if self.context.filter.knows(text) {
            if self.is_watched {
                self.frames.received_copy(text);
            }
            return self.count_duplicate(text);
        }
        let message = {
            // This node is the origin of what its clients send.
            let default_origin = (!self.is_peer).then_some(&self.context.own);
            PARSER.with_borrow_mut(|parser| Message::parse_from(parser, text, default_origin))
        };
        if let Some(rate) = &mut self.rate {
            rate.count(message.as_ref().ok(), text);
        }
        let is_handshake = matches!(message, Ok(Message::Handshake(_)));
        if is_handshake && !self.is_peer {
            self.set_peer();
        }
        if is_handshake || self.is_watched {
            self.frames.received(&message, text);
        }
        if self.batch.messages.is_empty() {
            self.batch.messages.reserve_exact(self.last_batch);
        }
        self.batch.messages.push(message);
    }

    /// Counts a ping, a pong, or a fragment of a message.
    fn count_frame(&mut self) {
        self.batch_bytes += FRAME_BYTES;
        if let Some(rate) = &mut self.rate {
            rate.count_frame(FRAME_BYTES);
        }
    }

    /// `Pending` while the core has paused the reading of this link.
    fn poll_pause(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(time) = self.queue.take_pause() {
            self.pause = Some(Box::pin(tokio::time::sleep(time)));
        }
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        Poll::Ready(())
    }

    /// `Pending` while clients are throttled, if this is the link of one that sends much.
    fn poll_throttle(&mut self, cx: &mut Context<'_>) -> Poll<Throttle> {
        if self.is_peer || (self.throttled.is_none() && !self.context.backpressure.is_active()) {
            return Poll::Ready(Throttle::Over);
        }
        let excess = self.pace.excess(Instant::now());
        if excess.is_zero() {
            self.throttled = None;
            return Poll::Ready(Throttle::Over);
        }
        let backpressure = &self.context.backpressure;
        let throttled = self.throttled.get_or_insert_with(|| {
            let time = excess.min(REPORT_THROTTLED);
            Box::pin(tokio::time::timeout(time, Arc::clone(backpressure).wait_for_release()))
        });
        let released = ready!(throttled.as_mut().poll(cx));
        self.throttled = None;
        Poll::Ready(if released.is_ok() { Throttle::Over } else { Throttle::Still })
    }

    /// Counts a duplicate for its origin. Those of one origin mostly come in a row.
    fn count_duplicate(&mut self, text: &str) {
        // One without an origin counts too, so a batch that is full of duplicates is not empty.
        let origin = origin_of_frame(text);
        match self.batch.duplicates.iter_mut().find(|(known, _)| *known == origin) {
            Some((_, count)) => *count += 1,
            None => self.batch.duplicates.push((origin, 1)),
        }
    }

    /// Hands the batch to the driver; `Pending` while the driver has no room.
    fn poll_deliver(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.batch.is_empty() {
            self.batch_bytes = 0;
            return Poll::Ready(());
        }
        let permit = match &mut self.reservation {
            None => match self.context.arrivals.clone().try_reserve_owned() {
                Ok(permit) => permit,
                Err(mpsc::error::TrySendError::Full(arrivals)) => {
                    self.reservation = Some(Box::pin(arrivals.reserve_owned()));
                    return self.poll_deliver(cx);
                }
                Err(mpsc::error::TrySendError::Closed(_)) => return Poll::Pending,
            },
            Some(reservation) => match ready!(reservation.as_mut().poll(cx)) {
                Ok(permit) => permit,
                // The driver is gone, and this task will be aborted.
                Err(_) => return Poll::Pending,
            },
        };
        self.reservation = None;
        if !self.is_peer {
            self.pace.count(Instant::now(), self.batch.messages.len(), self.batch_bytes);
        }
        self.batch_bytes = 0;
        self.last_batch = self.batch.messages.len();
        permit.send(Arrival::Read { link: self.link, batch: std::mem::take(&mut self.batch) });
        Poll::Ready(())
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            let sent = self.poll_send(cx);
            let written = self.socket.get_ref().stream().written();
            let before = std::mem::replace(&mut self.written, written);
            if before != written {
                self.queue.progress();
                if self.is_peer {
                    self.context.written.fetch_add(written - before, Ordering::Relaxed);
                }
            }
            if let Poll::Ready(Err(error)) = sent {
                return Poll::Ready(End::from_error(&error));
            }
            if sent.is_ready() {
                let room = self.window.room();
                match self.queue.poll_take(cx, &mut self.staged, room) {
                    Poll::Ready(None) => continue,
                    Poll::Ready(Some(close)) => return Poll::Ready(End::closed(close)),
                    Poll::Pending if room > 0 || !self.queue.has_payload() => {
                        self.stuck = None;
                        return Poll::Pending;
                    }
                    Poll::Pending => {}
                }
            }
            ready!(self.poll_stuck(cx));
            return Poll::Ready(End::lost(LinkEnd::Stuck(self.context.write_deadline)));
        }
    }

    /// Ready when a link that is being closed has had its time: an end that reads slowly must not
    /// hold it open.
    fn poll_close_due(&mut self, cx: &mut Context<'_>, close: &CloseReason) -> Poll<()> {
        let time = if close.is_final() { CLOSE_WITHIN } else { self.context.write_deadline };
        self.close_due.get_or_insert_with(|| Box::pin(tokio::time::sleep(time))).as_mut().poll(cx)
    }

    /// Moves the staged frames into the socket and flushes it.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), tungstenite::Error>> {
        let is_watched = self.frames.is_on();
        let mut socket = Pin::new(&mut self.socket);
        while !self.staged.is_empty() {
            if socket.get_ref().is_full() {
                ready!(socket.as_mut().poll_flush(cx))?;
            }
            ready!(socket.as_mut().poll_ready(cx))?;
            let Some((lane, item)) = self.staged.pop_front() else {
                break;
            };
            let bytes = item.bytes();
            self.dirty = true;
            match item {
                Item::Text(text) => {
                    if is_watched || (lane == Lane::Control && is_handshake(text.as_str())) {
                        self.frames.sent(text.as_str());
                    }
                    let mask = self.dialled.then(rand::random);
                    socket.as_mut().get_mut().get_mut().put_text(text.as_str().as_bytes(), mask);
                    if let Some(ping) = self.window.sent(text.len(), Instant::now) {
                        if is_watched {
                            let note = "asks whether all before it was read, which bounds what is on its way";
                            self.frames.ping(Way::Sent, Opcode::Ping, &ping, note);
                        }
                        socket.as_mut().start_send(tungstenite::Message::Ping(Bytes::copy_from_slice(&ping)))?;
                    }
                }
                Item::Ping => {
                    if is_watched {
                        let note = "asks for a pong: measures the round trip, and shows that the other end is there";
                        self.frames.ping(Way::Sent, Opcode::Ping, &[], note);
                    }
                    socket.as_mut().start_send(tungstenite::Message::Ping(Bytes::new()))?;
                }
                Item::Mark(number) => {
                    let payload = [&[MARK][..], &number.to_be_bytes()].concat();
                    if is_watched {
                        let note = "a mark: its pong shows that the peer has read all before it";
                        self.frames.ping(Way::Sent, Opcode::Ping, &payload, note);
                    }
                    socket.as_mut().start_send(tungstenite::Message::Ping(payload.into()))?;
                }
            }
            self.queue.sent(lane, bytes);
        }
        if self.dirty {
            ready!(socket.poll_flush(cx))?;
            self.dirty = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Ready when nothing was written, nor read by the other end, for the write deadline.
    fn poll_stuck(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let written = self.socket.get_ref().stream().written() + self.window.read();
        let deadline = Instant::now() + self.context.write_deadline;
        let (timer, before) = self.stuck.get_or_insert_with(|| (Box::pin(tokio::time::sleep_until(deadline)), written));
        if *before != written {
            *before = written;
            timer.as_mut().reset(deadline);
        }
        timer.as_mut().poll(cx)
    }
}

/// Reports to the driver. If it is gone the node is ending, and the report has no reader.
async fn deliver(arrivals: &mpsc::Sender<Arrival>, arrival: Arrival) {
    arrivals.send(arrival).await.unwrap_or_default();
}

/// Sends the close frame, if there is one to send, and reads until the other end has closed too. An
/// error means that the other end is gone.
async fn close(mut socket: Socket, end: End) {
    let sent = match end.close {
        Some(CloseReason { code, reason }) => {
            socket
                .send(tungstenite::Message::Close(Some(CloseFrame { code: code.into(), reason: reason.into() })))
                .await
        }
        // The library puts its answer to a close frame into the write buffer and reports the end:
        // the buffer still has to be flushed.
        None => match socket.flush().await {
            Ok(()) => socket.get_mut().flush().await.map_err(tungstenite::Error::Io),
            gone => gone,
        },
    };
    if sent.is_err() {
        return;
    }
    // What was on its way is dropped, up to a bound: a sender that never ends must not keep us
    // busy.
    let mut left = DRAIN_BYTES;
    while let Some(Ok(message)) = socket.next().await
        && left > 0
    {
        left = left.saturating_sub(message.len().max(FRAME_BYTES));
    }
    if let LinkEnd::ProtocolError(_) = end.cause {
        // It may be in the middle of a message that is no longer read. Closing with unread bytes
        // resets the connection, and the close frame would be lost.
        let stream = socket.get_mut();
        let mut rest = [0; 4_096];
        if stream.shutdown().await.is_ok() {
            while let Ok(read @ 1..) = stream.read(&mut rest).await
                && left > 0
            {
                left = left.saturating_sub(read);
            }
        }
    }
}

/// Reads the payload of a pong that answers a mark.
fn read_mark(payload: &[u8]) -> Option<u64> {
    let (&MARK, number) = payload.split_first()? else { return None };
    number.try_into().ok().map(u64::from_be_bytes)
}

impl End {
    /// We close the link: the close frame is left to send.
    fn closed(close: CloseReason) -> Self {
        Self { cause: LinkEnd::ClosedByUs(close.reason.clone()), close: Some(close) }
    }

    /// The connection is gone: there is nothing left to send.
    fn lost(cause: impl Into<LinkEnd>) -> Self {
        Self { cause: cause.into(), close: None }
    }

    /// The other end broke the protocol: the close frame names the rule (RFC 6455, section 7.4.1).
    fn protocol_error(code: u16, what: &str) -> Self {
        let close = Some(CloseReason { code, reason: what.into() });
        Self { cause: LinkEnd::ProtocolError(what.to_owned()), close }
    }

    fn from_error(error: &tungstenite::Error) -> Self {
        use tungstenite::Error;
        use tungstenite::error::ProtocolError;
        match error {
            Error::Capacity(_) => Self::protocol_error(1009, "a message that is too long"),
            Error::Utf8(_) => Self::protocol_error(1007, "a text that is not UTF-8"),
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Self::lost("the connection broke off"),
            Error::Protocol(error) => Self::protocol_error(1002, &format!("a malformed frame: {error}")),
            Error::Io(error) => Self::lost(format!("the connection broke off: {error}")),
            error => Self::lost(error.to_string()),
        }
    }

    fn from_close(frame: Option<CloseFrame>) -> Self {
        let code = frame.as_ref().map(|frame| frame.code.into());
        let reason = frame.map(|frame| frame.reason.as_str().to_owned()).unwrap_or_default();
        Self::lost(LinkEnd::ClosedByPeer { code, reason })
    }
}

#[cfg(test)]
mod autobahn;
#[cfg(test)]
mod tests;
