//! One open link: a task that reads and writes one WebSocket.
//!
//! It reads what has arrived, all of it, parses it and hands it to the driver as one batch; it writes what waits in its queue, all of it, and flushes once. Reading
//! never waits for writing, nor the other way round: two nodes that both have much to send can not block each other. Only who does not take the answers to its pings
//! is not read either (`outlet.rs`). While the driver has no room the link is not read, and TCP slows the sender down. The task knows nothing of peers; the core
//! decides, this carries.

pub(crate) mod byte_stream;
pub(crate) mod duplicate_filter;
pub(crate) mod rate_limit;
pub(crate) mod read_buffer;
pub(crate) mod send_queue;
pub(crate) mod write_buffer;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::{Sink, SinkExt, Stream, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{self, Bytes};

use crate::protocol::Lane;
use crate::protocol::id::LinkId;
use crate::protocol::json::Parser;
use crate::protocol::limits;
use crate::protocol::transaction::{Origin, origin_of_frame};
use crate::protocol::wire::Message;
use crate::signing::validator::Validator;
use crate::transport::backpressure::Pressure;
use crate::transport::link::duplicate_filter::Filter;
use crate::transport::link::rate_limit::Rate;
use crate::transport::link::read_buffer::Next;
use crate::transport::link::send_queue::{Farewell, Item, Queue};
use crate::transport::{Arrival, Read, Socket};

/// How many messages, and …
const BATCH_MESSAGES: usize = 128;
/// … how many bytes are handed to the driver at once: enough that a hand-over costs little per message, little enough that what waits for the driver is bounded.
const BATCH_BYTES: usize = 256 * 1024;
/// What a ping counts for among them: its answer costs a system call, so no more of them are answered at once than messages are read.
const PING_BYTES: usize = BATCH_BYTES / BATCH_MESSAGES;
/// What a frame has at least, in bytes.
const FRAME_HEAD: usize = 2;
/// How much of what the other end is in the midst of sending is taken and thrown away: twice the longest message.
const REST_BYTES: usize = 2 * limits::MESSAGE_BYTES;
/// A client that is held up is not silent: the driver is told so this often.
const SAY_HELD_UP: Duration = Duration::from_secs(1);
/// How long the other end has to finish a close.
const GOODBYE: Duration = Duration::from_secs(2);

thread_local! {
    /// One parser per thread, not per link: its scratch buffers grow to the longest message, and ten thousand idle links must not each keep one.
    static PARSER: RefCell<Parser> = RefCell::default();
}

type Reservation = Pin<Box<dyn Future<Output = Result<mpsc::OwnedPermit<Arrival>, mpsc::error::SendError<()>>> + Send>>;

type HeldUp = Pin<Box<dyn Future<Output = Result<(), tokio::time::error::Elapsed>> + Send>>;

/// Whether a client is held up.
#[derive(PartialEq)]
enum Held {
    Still,
    NoMore,
}

/// How reading goes on behind the texts that were taken.
enum Then {
    /// There is enough for one hand-over.
    Enough,
    /// More has to come in.
    More,
    /// With something for the library.
    Library,
    /// Not at all: a text was no UTF-8.
    NoText,
}

/// What the links of a node have in common.
#[derive(Clone)]
pub(crate) struct Common {
    pub(crate) inbox: mpsc::Sender<Arrival>,
    /// The origin of what this node's clients bring.
    pub(crate) own: Origin,
    pub(crate) filter: Arc<Filter>,
    pub(crate) pressure: Arc<Pressure>,
    /// The application's say on transactions. It is asked by the link's task, where it keeps only that link waiting.
    pub(crate) validator: Validator,
    pub(crate) write_deadline: Duration,
    /// Bytes written on links to peers of which the core was not told yet.
    pub(crate) sent: Arc<AtomicU64>,
}

/// The task of one link.
pub(crate) struct LinkTask {
    link: LinkId,
    socket: Socket,
    queue: Arc<Queue>,
    common: Common,
    /// Taken from the queue, not in the socket's buffer yet.
    staged: VecDeque<(Lane, Item)>,
    /// Whether the socket's buffer holds something that was not flushed.
    dirty: bool,
    /// Fires when nothing has moved for `write_deadline` although something waits.
    stuck: Option<(Pin<Box<Sleep>>, u64)>,
    /// What was read and not handed to the driver yet, and how many bytes it had.
    read: Read,
    read_bytes: usize,
    /// How many messages the last batch had: the next has about as many.
    last_batch: usize,
    /// Waits for room in the driver's inbox.
    reservation: Option<Reservation>,
    rate: Option<Rate>,
    /// Whether we dialled: then what we send is masked (RFC 6455, section 5.1).
    dialled: bool,
    /// Whether a peer is at the other end: we dialled it, or it introduced itself. Clients alone are held up.
    is_peer: bool,
    /// Waits while clients are held up.
    held_up: Option<HeldUp>,
    /// Waits because the other end broke rules.
    pause: Option<Pin<Box<Sleep>>>,
    /// How many bytes the system had taken when last looked at.
    written: u64,
}

/// How a link ended, and what is left to say to the other end.
struct End {
    cause: String,
    farewell: Option<Farewell>,
    /// Whether the other end broke WebSocket's own rules: then it may be in the midst of sending something that we do not read any more.
    broke: bool,
}

impl LinkTask {
    /// The task of a link that was opened, by us or by the other side.
    pub(crate) fn new(link: LinkId, socket: Socket, queue: Arc<Queue>, rate: Option<Rate>, common: Common) -> Self {
        Self {
            link,
            socket,
            queue,
            common,
            staged: VecDeque::new(),
            dirty: false,
            stuck: None,
            read: Read::default(),
            read_bytes: 0,
            last_batch: 0,
            reservation: None,
            rate,
            dialled: false,
            is_peer: false,
            held_up: None,
            pause: None,
            written: 0,
        }
    }

    /// We dialled, so a peer is at the other end.
    pub(crate) fn dialled(mut self) -> Self {
        self.dialled = true;
        self.note_peer();
        self
    }

    fn note_peer(&mut self) {
        self.is_peer = true;
        self.queue.is_of_peer();
    }

    /// Carries the link to its end, and reports that to the driver after everything that came before it.
    pub(crate) async fn run(mut self) {
        self.socket.get_mut().stream_mut().begin_texts(!self.dialled);
        let end = std::future::poll_fn(|cx| self.poll(cx)).await;
        self.queue.bury();
        self.socket.get_mut().stream_mut().end_texts();
        let Self { link, socket, common: Common { inbox, .. }, read, .. } = self;
        if !read.is_empty() {
            deliver(&inbox, Arrival::Read { link, read }).await;
        }
        deliver(&inbox, Arrival::Closed { link, cause: end.cause.clone(), broke: end.broke }).await;
        drop(inbox);
        // The other end gets its time to close; if it does not take it, nobody minds.
        tokio::time::timeout(GOODBYE, say_goodbye(socket, end)).await.unwrap_or_default();
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        // Reading first: an answer to what has arrived can then leave in the same wake-up.
        let read = self.poll_read(cx);
        if let Poll::Ready(End { farewell: None, .. }) = &read {
            // The other end has closed or is gone: behind our answer to that nothing may follow (RFC 6455, section 5.5.1).
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
            if let Some(rate) = &mut self.rate {
                ready!(rate.poll_allow(cx));
            }
            ready!(self.poll_pause(cx));
            if ready!(self.poll_pressure(cx)) == Held::Still {
                self.read.held_up = true;
                continue;
            }
            let ended = self.fill(cx);
            self.common.validator.judge(&mut self.read.messages);
            match ended {
                Poll::Ready(Some(end)) => return Poll::Ready(end),
                Poll::Pending if self.read.is_empty() => return Poll::Pending,
                // Nothing but pings: whoever sends them without end is not the only one on this thread.
                Poll::Ready(None) if self.read.is_empty() => {
                    self.read_bytes = 0;
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Poll::Ready(None) | Poll::Pending => {}
            }
        }
    }

    /// Reads and parses until there is enough for one hand-over (`Ready(None)`), nothing more has arrived (`Pending`), or the link ends.
    fn fill(&mut self, cx: &mut Context<'_>) -> Poll<Option<End>> {
        loop {
            match self.take_texts() {
                Then::Enough => return Poll::Ready(None),
                Then::NoText => return Poll::Ready(Some(End::from_error(&tungstenite::Error::Utf8(String::new())))),
                Then::More => match ready!(self.socket.get_mut().stream_mut().poll_more(cx)) {
                    Ok(1..) => continue,
                    // Who is in the midst of what is known to the library.
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
                // It has its frame, which is part of a message.
                Poll::Pending if !self.socket.get_ref().stream().is_for_library() => continue,
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(message))) => message,
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(End::from_error(&error))),
                Poll::Ready(None) => {
                    return Poll::Ready(Some(End {
                        cause: "the connection was closed".into(),
                        farewell: None,
                        broke: false,
                    }));
                }
            };
            match message {
                tungstenite::Message::Text(text) => self.take(&text),
                tungstenite::Message::Binary(bytes) => match std::str::from_utf8(&bytes) {
                    Ok(text) => self.take(text),
                    Err(_) => return Poll::Ready(Some(End::wrong(1007, "a binary message that is no UTF-8 text"))),
                },
                tungstenite::Message::Pong(payload) => {
                    self.read_bytes += FRAME_HEAD + payload.len();
                    self.read.pong = true;
                }
                tungstenite::Message::Close(frame) => return Poll::Ready(Some(End::from_close(frame))),
                tungstenite::Message::Ping(_) => {
                    self.read_bytes += PING_BYTES;
                    // The library has put the answer into the socket's buffer: from now on its not being taken counts.
                    self.dirty = true;
                }
                tungstenite::Message::Frame(_) => {}
            }
        }
    }

    /// Takes the whole texts that have come in, as many as are handed over at once; tells how it goes on.
    fn take_texts(&mut self) -> Then {
        let mut waiting = self.socket.get_mut().stream_mut().lend();
        let then = loop {
            if self.read.messages.len() >= BATCH_MESSAGES || self.read_bytes >= BATCH_BYTES {
                break Then::Enough;
            }
            match waiting.next() {
                Next::Text(text) => self.take(text),
                Next::NoText => break Then::NoText,
                Next::Library => break Then::Library,
                Next::Nothing => break Then::More,
            }
        };
        self.socket.get_mut().stream_mut().give_back(waiting);
        then
    }

    fn take(&mut self, text: &str) {
        self.read_bytes += text.len();
        if self.common.filter.knows(text) {
            return self.count_copy(text);
        }
        let message = {
            // What a client brings is ours.
            let unnamed = (!self.is_peer).then_some(&self.common.own);
            PARSER.with_borrow_mut(|parser| Message::parse_from(parser, text, unnamed))
        };
        if let (Some(rate), Ok(message)) = (&mut self.rate, &message) {
            rate.count(message);
        }
        if let (false, Ok(Message::Handshake(_))) = (self.is_peer, &message) {
            self.note_peer();
        }
        if self.read.messages.is_empty() {
            self.read.messages.reserve_exact(self.last_batch);
        }
        self.read.messages.push(message);
    }

    /// `Pending` while the core wants nothing read from here.
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

    /// `Pending` while clients are held up, if this is the link of one. Now and then it says so, lest the core take the client for a silent one.
    fn poll_pressure(&mut self, cx: &mut Context<'_>) -> Poll<Held> {
        if self.is_peer || (self.held_up.is_none() && !self.common.pressure.is_high()) {
            return Poll::Ready(Held::NoMore);
        }
        let pressure = &self.common.pressure;
        let held_up =
            self.held_up.get_or_insert_with(|| Box::pin(tokio::time::timeout(SAY_HELD_UP, Arc::clone(pressure).low())));
        let relieved = ready!(held_up.as_mut().poll(cx));
        self.held_up = None;
        Poll::Ready(if relieved.is_ok() { Held::NoMore } else { Held::Still })
    }

    /// Counts a copy for its origin. Copies of one origin mostly come in a row.
    fn count_copy(&mut self, text: &str) {
        // One that names no origin counts too: whatever is read makes a batch, so that what ends a batch never leaves it empty.
        let origin = origin_of_frame(text);
        match self.read.copies.iter_mut().find(|(known, _)| *known == origin) {
            Some((_, count)) => *count += 1,
            None => self.read.copies.push((origin, 1)),
        }
    }

    /// Hands what was read to the driver; `Pending` while the driver has no room.
    fn poll_deliver(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.read.is_empty() {
            self.read_bytes = 0;
            return Poll::Ready(());
        }
        let permit = match &mut self.reservation {
            None => match self.common.inbox.clone().try_reserve_owned() {
                Ok(permit) => permit,
                Err(mpsc::error::TrySendError::Full(inbox)) => {
                    self.reservation = Some(Box::pin(inbox.reserve_owned()));
                    return self.poll_deliver(cx);
                }
                Err(mpsc::error::TrySendError::Closed(_)) => return Poll::Pending,
            },
            Some(reservation) => match ready!(reservation.as_mut().poll(cx)) {
                Ok(permit) => permit,
                // The driver is gone; so will this task be in a moment.
                Err(_) => return Poll::Pending,
            },
        };
        self.reservation = None;
        self.read_bytes = 0;
        self.last_batch = self.read.messages.len();
        permit.send(Arrival::Read { link: self.link, read: std::mem::take(&mut self.read) });
        Poll::Ready(())
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            let moved = self.poll_send(cx);
            let written = self.socket.get_ref().stream().written();
            let before = std::mem::replace(&mut self.written, written);
            if before != written {
                self.queue.moved();
                if self.is_peer {
                    self.common.sent.fetch_add(written - before, Ordering::Relaxed);
                }
            }
            match moved {
                Poll::Ready(Ok(())) => self.stuck = None,
                Poll::Ready(Err(error)) => return Poll::Ready(End::from_error(&error)),
                Poll::Pending => {
                    ready!(self.poll_stuck(cx));
                    let cause =
                        format!("it took nothing of what waits for it for {} s", self.common.write_deadline.as_secs());
                    return Poll::Ready(End { cause, farewell: None, broke: false });
                }
            }
            if let Some(farewell) = ready!(self.queue.poll_take(cx, &mut self.staged)) {
                return Poll::Ready(End { cause: farewell.reason.clone(), farewell: Some(farewell), broke: false });
            }
        }
    }

    /// Moves what is staged into the socket and flushes it.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), tungstenite::Error>> {
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
                    let mask = self.dialled.then(rand::random);
                    socket.as_mut().get_mut().get_mut().put_text(text.as_str().as_bytes(), mask);
                }
                Item::Ping => socket.as_mut().start_send(tungstenite::Message::Ping(Bytes::new()))?,
            }
            self.queue.sent(lane, bytes);
        }
        if self.dirty {
            ready!(socket.poll_flush(cx))?;
            self.dirty = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Ready when nothing has moved for the write deadline.
    fn poll_stuck(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let written = self.socket.get_ref().stream().written();
        let deadline = Instant::now() + self.common.write_deadline;
        let (timer, before) = self.stuck.get_or_insert_with(|| (Box::pin(tokio::time::sleep_until(deadline)), written));
        if *before != written {
            *before = written;
            timer.as_mut().reset(deadline);
        }
        timer.as_mut().poll(cx)
    }
}

/// Hands something to the driver. If the driver is gone the node is ending, and nobody needs to know.
async fn deliver(inbox: &mpsc::Sender<Arrival>, arrival: Arrival) {
    inbox.send(arrival).await.unwrap_or_default();
}

/// Sends the close frame, if there is one to send, and reads until the other end has closed too. An error means that there is nobody left to be polite to.
async fn say_goodbye(mut socket: Socket, end: End) {
    let said = match end.farewell {
        Some(Farewell { code, reason }) => {
            socket
                .send(tungstenite::Message::Close(Some(CloseFrame { code: code.into(), reason: reason.into() })))
                .await
        }
        // The library puts its answer to a close frame into the outlet and says that all is over: what is there has to go out all the same.
        None => match socket.flush().await {
            Ok(()) => socket.get_mut().flush().await.map_err(tungstenite::Error::Io),
            gone => gone,
        },
    };
    if said.is_err() {
        return;
    }
    while let Some(Ok(_)) = socket.next().await {}
    if end.broke {
        // To close while bytes wait to be read resets the connection, and the close frame would be lost with it.
        let stream = socket.get_mut();
        let (mut rest, mut left) = ([0; 4_096], REST_BYTES);
        if stream.shutdown().await.is_ok() {
            while let Ok(read @ 1..) = stream.read(&mut rest).await
                && left > 0
            {
                left = left.saturating_sub(read);
            }
        }
    }
}

impl End {
    /// The other end broke the protocol: it is told so, with the code for it (RFC 6455, section 7.4.1).
    fn wrong(code: u16, what: &str) -> Self {
        Self { cause: format!("it sent {what}"), farewell: Some(Farewell { code, reason: what.into() }), broke: true }
    }

    fn from_error(error: &tungstenite::Error) -> Self {
        use tungstenite::Error;
        use tungstenite::error::ProtocolError;
        match error {
            Error::Capacity(_) => Self::wrong(1009, "a message that is too long"),
            Error::Utf8(_) => Self::wrong(1007, "a text that is no UTF-8"),
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
                Self { cause: "the connection broke off".into(), farewell: None, broke: false }
            }
            Error::Protocol(error) => Self::wrong(1002, &format!("a frame that is none: {error}")),
            Error::Io(error) => {
                Self { cause: format!("the connection broke off: {error}"), farewell: None, broke: false }
            }
            error => Self { cause: error.to_string(), farewell: None, broke: false },
        }
    }

    fn from_close(frame: Option<CloseFrame>) -> Self {
        let cause = match frame {
            None => "it closed the connection".to_owned(),
            Some(frame) if frame.reason.is_empty() => format!("it closed the connection ({})", u16::from(frame.code)),
            Some(frame) => format!("it closed the connection: {} ({})", frame.reason.as_str(), u16::from(frame.code)),
        };
        Self { cause, farewell: None, broke: false }
    }
}

#[cfg(test)]
mod autobahn;
