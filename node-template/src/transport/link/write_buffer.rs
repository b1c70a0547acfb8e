//! What a link's WebSocket has written and the system has not taken yet, gathered for few system calls, in memory that is given back once it has left.
//!
//! The WebSocket library gathers by itself, but keeps for each link as much as the longest message that ever went out on it: a hub that has sent ten thousand links one
//! transaction of 256 KiB would keep 2.5 GiB for that. So it is told to gather nothing; what it writes is taken here at once, and at rest nothing is kept but one
//! buffer for each thread: memory that was just given back has to be zeroed by the system page by page, which costs more than what is done with it. Texts do not pass
//! through the library at all: they are written once, where they leave from. What bounds this are the writer, who asks [`Outlet::is_full`], and the
//! reader, who asks [`Outlet::is_overfull`]: each ping that is read leaves a pong here.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::protocol::limits::MESSAGE_BYTES;

/// With so many bytes it is time to write them out.
const FULL: usize = 64 * 1024;
/// What a thread keeps has at most so many bytes: what is gathered, and the frame that filled it.
const SPARE: usize = 2 * FULL;
/// What the writer puts here has no more: one more message on top of what is not full yet, and a frame's head. So what is beyond are answers to pings.
const OVERFULL: usize = 2 * FULL + MESSAGE_BYTES;
/// The first byte of an unfragmented text (RFC 6455, section 5.2).
pub(crate) const WHOLE_TEXT: u8 = 0x81;

/// The bit beside a frame's length that says that a mask follows.
pub(crate) const MASKED: u8 = 0x80;

/// Masks what begins with the mask's first byte.
pub(crate) fn apply(mask: [u8; 4], bytes: &mut [u8]) {
    let eight = u64::from_ne_bytes([mask, mask].concat().try_into().expect("twice four"));
    let (eights, rest) = bytes.as_chunks_mut::<8>();
    for bytes in eights {
        *bytes = (u64::from_ne_bytes(*bytes) ^ eight).to_ne_bytes();
    }
    rest.iter_mut().zip(mask.into_iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
}

thread_local! {
    /// Memory for whichever link writes next.
    static SPARE_MEMORY: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A stream that gathers what is written until it is flushed.
#[derive(Debug)]
pub(crate) struct Outlet<S> {
    stream: S,
    waiting: Vec<u8>,
    /// How many bytes of `waiting` the stream has taken.
    taken: usize,
}

impl<S> Outlet<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, waiting: Vec::new(), taken: 0 }
    }

    /// Whether enough is gathered that it should be flushed before more comes.
    pub(crate) fn is_full(&self) -> bool {
        self.waiting.len() >= FULL
    }

    /// Whether so many answers to pings wait that no more may be read, or the other end given up, until all of it has left: whoever pings and reads nothing would
    /// else fill the memory.
    pub(crate) fn is_overfull(&self) -> bool {
        self.waiting.len() > OVERFULL
    }

    /// Puts a text as a frame behind what waits, under a mask where we dialled (RFC 6455, section 5.3): then it has to be one that nobody foresees. The library has nothing
    /// in the midst of being written: it never has, since all that it writes is taken at once.
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
            apply(mask, &mut self.waiting[start..]);
        }
    }

    fn make_room(&mut self) {
        if self.waiting.capacity() == 0 {
            self.waiting = SPARE_MEMORY.take();
        }
    }

    /// All is written: gives the memory back.
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

impl<S: AsyncWrite + Unpin> Outlet<S> {
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

impl<S: AsyncRead + Unpin> AsyncRead for Outlet<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Outlet<S> {
    /// Takes everything.
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

    async fn all_lengths(role: Role, other: Role, mask: Option<[u8; 4]>) {
        let (near, far) = tokio::io::duplex(1_000);
        let config = crate::transport::websocket_config();
        let mut near = WebSocketStream::from_raw_socket(Outlet::new(near), role, Some(config)).await;
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
        let mut outlet = Outlet::new(near);
        outlet.write_all(b"abcdefgh").await.expect("taken");
        let read = async {
            let mut bytes = [0; 8];
            tokio::io::AsyncReadExt::read_exact(&mut far, &mut bytes).await.expect("eight bytes");
            bytes
        };
        let (flushed, bytes) = tokio::join!(outlet.flush(), read);
        flushed.expect("read by the other end");
        assert_eq!(&bytes, b"abcdefgh");
        drop(far);
        outlet.write_all(b"i").await.expect("taken");
        assert_eq!(outlet.flush().await.expect_err("nobody reads").kind(), io::ErrorKind::BrokenPipe);
    }
}
