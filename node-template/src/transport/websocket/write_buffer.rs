//! The write buffer of a link: bytes that are written and that the kernel has not taken yet. It
//! gathers them for few system calls, and gives the memory back once they have left.
//!
//! The WebSocket library has a buffer of its own, but each link would keep as much memory as the
//! longest message it ever sent. A hub with ten thousand links would keep 2.5 GiB after one
//! transaction of 256 KiB. So the library is set to buffer nothing, and its writes are taken here
//! at once.
//!
//! At rest one buffer per thread is kept. Memory that was just freed has to be zeroed by the kernel
//! page by page, which costs more than the writing itself.
//!
//! Texts do not pass through the library: they are written once, in the place they leave from.
//!
//! Two checks bound the buffer. The writer asks [`WriteBuffer::is_full`]. The reader asks
//! [`WriteBuffer::is_overfull`], because each ping that is read adds a pong.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use meshpool_proto::limits::MESSAGE_BYTES;

/// From so many bytes on the buffer should be flushed.
const FULL: usize = 64 * 1024;
/// The largest memory that a thread keeps, in bytes: a full buffer and the frame that filled it.
const SPARE: usize = 2 * FULL;
/// The writer never exceeds this, in bytes: a buffer that is nearly full, one more message, and a
/// frame's head. Anything beyond is answers to pings.
const OVERFULL: usize = 2 * FULL + MESSAGE_BYTES;
/// The first byte of an unfragmented text (RFC 6455, section 5.2).
pub(crate) const WHOLE_TEXT: u8 = 0x81;

/// The bit beside a frame's length that announces a mask.
pub(crate) const MASKED: u8 = 0x80;

/// Applies a mask; `bytes` begin where the mask does.
pub(crate) fn apply_mask(mask: [u8; 4], bytes: &mut [u8]) {
    let eight = u64::from_ne_bytes([mask, mask].concat().try_into().expect("twice four"));
    let (eights, rest) = bytes.as_chunks_mut::<8>();
    for bytes in eights {
        *bytes = (u64::from_ne_bytes(*bytes) ^ eight).to_ne_bytes();
    }
    rest.iter_mut().zip(mask.into_iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
}

thread_local! {
    /// Memory for the link of this thread that writes next.
    static SPARE_MEMORY: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A stream that gathers written bytes until it is flushed.
#[derive(Debug)]
pub(crate) struct WriteBuffer<S> {
    stream: S,
    waiting: Vec<u8>,
    /// How many bytes of `waiting` the stream has taken.
    taken: usize,
}

impl<S> WriteBuffer<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, waiting: Vec::new(), taken: 0 }
    }

    /// Whether the buffer should be flushed before more is written.
    pub(crate) fn is_full(&self) -> bool {
        self.waiting.len() >= FULL
    }

    /// Whether so many answers to pings wait that reading has to stop until all have left, or the
    /// link to end. Otherwise a peer that sends pings and reads nothing could fill the memory.
    pub(crate) fn is_overfull(&self) -> bool {
        self.waiting.len() > OVERFULL
    }

    /// Appends a text as one frame. `mask`: for the dialling side, unpredictable (RFC 6455, section
    /// 5.3). The library is never in the middle of a frame, because all its writes are taken at
    /// once.
    pub(crate) fn put_text(&mut self, text: &[u8], mask: Option<[u8; 4]>) {
        self.make_room();
        let masked = if mask.is_some() { MASKED } else { 0 };
        self.waiting.push(WHOLE_TEXT);
        match text.len() {
            length @ 0..126 => self.waiting.push(masked | length as u8),
            length @ 126..=0xffff => {
                self.waiting.push(masked | 126);
                self.waiting.extend_from_slice(&(length as u16).to_be_bytes());
            }
            length => {
                self.waiting.push(masked | 127);
                self.waiting.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        self.waiting.extend(mask.into_iter().flatten());
        let start = self.waiting.len();
        self.waiting.extend_from_slice(text);
        if let Some(mask) = mask {
            apply_mask(mask, &mut self.waiting[start..]);
        }
    }

    fn make_room(&mut self) {
        if self.waiting.capacity() == 0 {
            self.waiting = SPARE_MEMORY.take();
        }
    }

    /// Gives the memory back: everything is written.
    fn clear(&mut self) {
        let mut memory = std::mem::take(&mut self.waiting);
        self.taken = 0;
        if (1..=SPARE).contains(&memory.capacity()) {
            memory.clear();
            SPARE_MEMORY.set(memory);
        }
    }

    pub(crate) fn stream(&self) -> &S {
        &self.stream
    }

    pub(crate) fn stream_mut(&mut self) -> &mut S {
        &mut self.stream
    }
}

impl<S: AsyncWrite + Unpin> WriteBuffer<S> {
    fn poll_empty(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.taken < self.waiting.len() {
            let taken = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.waiting[self.taken..]))?;
            if taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.taken += taken;
        }
        self.clear();
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteBuffer<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteBuffer<S> {
    /// Takes all bytes.
    fn poll_write(self: Pin<&mut Self>, _cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.make_room();
        this.waiting.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_empty(cx))?;
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_empty(cx))?;
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{SinkExt, StreamExt};
    use tokio::io::AsyncWriteExt;
    use tokio_tungstenite::WebSocketStream;
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::tungstenite::protocol::Role;

    use super::*;
    use crate::transport::websocket::socket::config;

    async fn all_lengths(role: Role, other: Role, mask: Option<[u8; 4]>) {
        let (near, far) = tokio::io::duplex(1_000);
        let config = config();
        let mut near = WebSocketStream::from_raw_socket(WriteBuffer::new(near), role, Some(config)).await;
        let mut far = WebSocketStream::from_raw_socket(far, other, None).await;
        let texts = [0, 1, 125, 126, 127, 65_535, 65_536, 300_000]
            .map(|length| "é".repeat(length / 2) + &"x".repeat(length % 2));
        let sent = texts.clone();
        let sending = async move {
            for text in sent {
                near.get_mut().put_text(text.as_bytes(), mask);
                near.feed(Message::Ping(vec![7].into())).await.expect("it takes everything");
            }
            near.flush().await.expect("the other end reads");
            near
        };
        let receiving = async {
            for text in &texts {
                assert_eq!(far.next().await.expect("a frame").expect("a sound one"), Message::text(text.clone()));
                assert_eq!(far.next().await.expect("a frame").expect("a sound one"), Message::Ping(vec![7].into()));
            }
        };
        let (near, ()) = tokio::join!(sending, receiving);
        assert_eq!(near.get_ref().waiting.capacity(), 0, "at rest nothing is kept");
    }

    #[tokio::test]
    async fn texts_of_every_length_arrive_in_order_among_what_the_library_writes() {
        all_lengths(Role::Server, Role::Client, None).await;
        all_lengths(Role::Client, Role::Server, Some([0x12, 0x80, 0xff, 7])).await;
    }

    #[tokio::test]
    async fn what_the_stream_does_not_take_stays_in_order_and_a_stream_that_takes_nothing_is_an_error() {
        let (near, mut far) = tokio::io::duplex(3);
        let mut buffer = WriteBuffer::new(near);
        buffer.write_all(b"abcdefgh").await.expect("taken");
        let read = async {
            let mut bytes = [0; 8];
            tokio::io::AsyncReadExt::read_exact(&mut far, &mut bytes).await.expect("eight bytes");
            bytes
        };
        let (flushed, bytes) = tokio::join!(buffer.flush(), read);
        flushed.expect("read by the other end");
        assert_eq!(&bytes, b"abcdefgh");
        drop(far);
        buffer.write_all(b"i").await.expect("taken");
        assert_eq!(buffer.flush().await.expect_err("nobody reads").kind(), io::ErrorKind::BrokenPipe);
    }
}
