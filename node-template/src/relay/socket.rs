//! The WebSocket of a relay's client, as the relay library takes it: binary messages in both
//! directions. What comes in is slowed down to the rates that one client, and all together, may
//! use. They count each frame, also control frames and pieces of messages: a small frame costs the
//! relay nearly as much as a large one.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::{Sink, Stream};
use iroh_relay::protos::common::FrameType;
use iroh_relay::protos::streams::StreamError;
use iroh_relay::{ExportKeyingMaterial, MAX_PACKET_SIZE};
use meshpool_proto::util::rate_limit::RateLimit;
use n0_error::AnyError;
use tokio::time::{Instant, Sleep};
use tokio_tungstenite::tungstenite::{Bytes, Message};

use crate::transport::websocket::read_buffer::Next;
use crate::transport::websocket::socket::Socket;

/// The shortest pause of reading. Shorter ones would wake the task for each frame.
const LEAST_PAUSE: Duration = Duration::from_millis(20);
/// How long a client may take nothing of what waits for it. The relay library has such a limit for
/// its messages, and none for answers to pings.
const WRITE_WITHIN: Duration = Duration::from_secs(5);

/// How many bytes or frames each second, and how many at once, may go through something.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    pub(super) per_second: u32,
    pub(super) at_once: u32,
}

/// What a rate has been spent of.
#[derive(Debug)]
struct Meter {
    rate: Rate,
    limit: RateLimit,
}

impl Meter {
    fn new(rate: Rate) -> Self {
        Self { rate, limit: RateLimit::default() }
    }

    /// Notes what went through; returns how long the next has to wait.
    fn spend(&mut self, count: usize, now: Instant) -> Duration {
        let time = |count: f64| Duration::from_secs_f64(count / f64::from(self.rate.per_second));
        let (cost, burst, now) = (time(count as f64), time(f64::from(self.rate.at_once)), now.into_std());
        self.limit.reserve(now, cost, burst).saturating_duration_since(now)
    }
}

/// The traffic of one client or of all, and its rates.
#[derive(Debug)]
pub(super) struct Traffic {
    bytes: Meter,
    frames: Meter,
    total: u64,
}

impl Traffic {
    pub(super) fn new(bytes: Rate, frames: Rate) -> Self {
        Self { bytes: Meter::new(bytes), frames: Meter::new(frames), total: 0 }
    }

    /// Notes a frame that went through; returns how long the next one has to wait.
    fn spend(&mut self, bytes: usize, now: Instant) -> Duration {
        self.total += bytes as u64;
        self.bytes.spend(bytes, now).max(self.frames.spend(1, now))
    }

    /// All bytes that went through.
    pub(super) fn bytes(&self) -> u64 {
        self.total
    }
}

/// The WebSocket of one client.
pub(super) struct RelaySocket {
    socket: Socket,
    own: Traffic,
    all: Arc<Mutex<Traffic>>,
    pause: Option<Pin<Box<Sleep>>>,
    /// When the client has to have taken what waits for it, if something does.
    write_until: Option<Pin<Box<Sleep>>>,
}

impl RelaySocket {
    pub(super) fn new(mut socket: Socket, own: Traffic, all: Arc<Mutex<Traffic>>) -> Self {
        // The library then gets one frame at a time, so that each can be counted.
        socket.get_mut().stream_mut().begin_texts(true);
        Self { socket, own, all, pause: None, write_until: None }
    }

    /// Counts a frame that came in, and pauses reading if it was too much.
    fn count(&mut self, bytes: usize) {
        let now = Instant::now();
        let own = self.own.spend(bytes, now);
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner).spend(bytes, now);
        let wait = own.max(all);
        if !wait.is_zero() {
            self.pause = Some(Box::pin(tokio::time::sleep(wait.max(LEAST_PAUSE))));
        }
    }

    /// Waits for a frame, which is left to the library. Returns whether there is one: a text ends
    /// the connection, since no client of a relay sends any.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let reader = self.socket.get_mut().stream_mut();
        loop {
            let mut unread = reader.lend();
            let is_frame = match unread.next() {
                Next::Library => Some(true),
                Next::Text(_) | Next::InvalidText => Some(false),
                Next::Incomplete => None,
            };
            reader.give_back(unread);
            match is_frame {
                Some(is_frame) => return Poll::Ready(Ok(is_frame)),
                None if ready!(reader.poll_more(cx))? > 0 => {}
                // The library knows whether a message is cut off.
                None => reader.end_texts(),
            }
        }
    }
}

/// Whether the relay library can pass a message on. It takes datagrams that it cannot send, those
/// without content and those longer than [`MAX_PACKET_SIZE`] with their head, and then ends the
/// connection of their receiver.
fn is_sound(message: &[u8]) -> bool {
    const BITS: u8 = 0b1100_0000;
    const DATAGRAM: u8 = FrameType::ClientToRelayDatagram as u8;
    const BATCH: u8 = FrameType::ClientToRelayDatagramBatch as u8;
    let head = match message {
        // The kind takes one byte; these bits would announce more (RFC 9000, section 16).
        [kind, ..] if kind & BITS != 0 => return false,
        // The kind, the id of the receiver, and the bits of explicit congestion notification.
        [DATAGRAM, ..] => 1 + 32 + 1,
        // The length of one datagram, too.
        [BATCH, ..] => 1 + 32 + 1 + 2,
        _ => 0,
    };
    message.len() > head && message.len() <= MAX_PACKET_SIZE
}

impl Stream for RelaySocket {
    type Item = Result<Bytes, StreamError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if let Some(pause) = &mut this.pause {
                ready!(pause.as_mut().poll(cx));
                this.pause = None;
            }
            // Each ping that is read adds a pong.
            if this.socket.get_ref().is_overfull() {
                ready!(Pin::new(&mut *this).poll_flush(cx))?;
            }
            if !ready!(this.poll_frame(cx)).map_err(AnyError::from_std)? {
                return Poll::Ready(None);
            }
            match Pin::new(&mut this.socket).poll_next(cx) {
                // It has read its frame, which is only a part of a message.
                Poll::Pending if !this.socket.get_ref().stream().is_for_library() => this.count(0),
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(Message::Close(_))) | None) => return Poll::Ready(None),
                Poll::Ready(Some(Ok(Message::Binary(bytes)))) => {
                    this.count(bytes.len());
                    if is_sound(&bytes) {
                        return Poll::Ready(Some(Ok(bytes)));
                    }
                }
                Poll::Ready(Some(Ok(message))) => this.count(message.len()),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(AnyError::from_std(error)))),
            }
        }
    }
}

impl Sink<Bytes> for RelaySocket {
    type Error = StreamError;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        Pin::new(&mut self.get_mut().socket).poll_ready(cx).map_err(AnyError::from_std)
    }

    fn start_send(self: Pin<&mut Self>, bytes: Bytes) -> Result<(), StreamError> {
        Pin::new(&mut self.get_mut().socket).start_send(Message::Binary(bytes)).map_err(AnyError::from_std)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        let this = self.get_mut();
        if let Poll::Ready(flushed) = Pin::new(&mut this.socket).poll_flush(cx) {
            this.write_until = None;
            return Poll::Ready(flushed.map_err(AnyError::from_std));
        }
        let until = this.write_until.get_or_insert_with(|| Box::pin(tokio::time::sleep(WRITE_WITHIN)));
        ready!(until.as_mut().poll(cx));
        Poll::Ready(Err(AnyError::from_std(io::Error::from(io::ErrorKind::TimedOut))))
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        Pin::new(&mut self.get_mut().socket).poll_close(cx).map_err(AnyError::from_std)
    }
}

impl ExportKeyingMaterial for RelaySocket {
    fn export_keying_material<T: AsMut<[u8]>>(&self, _: T, _: &[u8], _: Option<&[u8]>) -> Option<T> {
        None
    }
}

#[cfg(test)]
mod tests;
