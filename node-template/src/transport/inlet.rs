//! What has come in on a link and was not taken yet: read in large pieces, into memory that is given back once it is empty.
//!
//! Under load nearly all that comes in are whole texts, each in a frame of its own, a hundred and more at a time. The WebSocket library would take them out of small
//! buffers, which is a system call for every twenty, and turn each over several times. So whole texts are read here, where they lie. Everything else is the library's,
//! one frame after another: fragments, control frames, what is longer than the memory here, and whatever breaks a rule. It never gets a byte of the frame after.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::outlet::{MASKED, WHOLE_TEXT, apply};
use super::stream::{Guarded, Stream};

/// How much is read at once, in bytes; a longer frame is the library's.
const PIECE: usize = 64 * 1024;
/// With what the head of an upgrade ends (RFC 9112, section 2.1).
const HEAD_END: &[u8; 4] = b"\r\n\r\n";
/// What is said in an answer to an upgrade behind the version of HTTP, if the other side agrees. What follows on another is the answer's body.
const AGREED: &[u8] = b" 101";
/// How long "HTTP/1.1" is.
const VERSION: usize = 8;

thread_local! {
    /// Memory for whichever link reads next.
    static SPARE_MEMORY: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A stream that reads ahead.
#[derive(Debug)]
pub(crate) struct Inlet<S> {
    stream: S,
    waiting: Waiting,
}

/// What has come in and was not taken.
#[derive(Debug)]
pub(crate) struct Waiting {
    /// A piece's, or as long as what waits.
    memory: Vec<u8>,
    from: usize,
    to: usize,
    reader: Reader,
}

/// Who reads what comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    /// The library, up to the end of the upgrade's head, of which it has had so many bytes.
    Upgrade { ending: usize },
    /// Whoever asks first; it stands at the beginning of a frame.
    Anybody,
    /// The library, everything.
    Library,
    /// Whoever asks for texts; but so many bytes are the library's.
    Texts { masked: bool, fragments: bool, library: u64 },
}

/// What comes next, for whoever asks for texts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next<'a> {
    Text(&'a str),
    /// A text that is no UTF-8.
    NoText,
    /// Something for the library.
    Library,
    /// Nothing, until more has come in.
    Nothing,
}

/// What stands before a frame's payload (RFC 6455, section 5.2).
struct Head {
    first: u8,
    mask: Option<[u8; 4]>,
    /// How many bytes the head has …
    length: usize,
    /// … and the payload.
    payload: u64,
}

impl Head {
    /// `None` if it has not come in whole.
    fn read(bytes: &[u8]) -> Option<Self> {
        let [first, second, rest @ ..] = bytes else { return None };
        let (payload, rest) = match second & !MASKED {
            126 => rest.split_first_chunk().map(|(length, rest)| (u64::from(u16::from_be_bytes(*length)), rest))?,
            127 => rest.split_first_chunk().map(|(length, rest)| (u64::from_be_bytes(*length), rest))?,
            length => (u64::from(length), rest),
        };
        let (mask, rest) = match second & MASKED {
            0 => (None, rest),
            _ => rest.split_first_chunk().map(|(mask, rest)| (Some(*mask), rest))?,
        };
        Some(Self { first: *first, mask, length: bytes.len() - rest.len(), payload })
    }

    /// How many bytes the whole frame has.
    fn frame(&self) -> u64 {
        self.payload.saturating_add(self.length as u64)
    }

    /// Whether fragments follow: it is none of the control frames, which may come in between, and not the last.
    fn begins_fragments(&self, before: bool) -> bool {
        let (last, control) = (self.first & 0x80 != 0, self.first & 0x08 != 0);
        if control { before } else { !last }
    }
}

impl Waiting {
    fn bytes(&self) -> &[u8] {
        &self.memory[self.from..self.to]
    }

    /// What comes next. A text is taken with that.
    pub(crate) fn next(&mut self) -> Next<'_> {
        let bytes = &self.memory[self.from..self.to];
        let Reader::Texts { masked, fragments, library: library @ 0 } = &mut self.reader else { return Next::Library };
        let Some(head) = Head::read(bytes) else { return Next::Nothing };
        let whole = head.first == WHOLE_TEXT && !*fragments && head.mask.is_some() == *masked;
        if !whole || head.frame() > PIECE as u64 {
            *library = head.frame();
            *fragments = head.begins_fragments(*fragments);
            return Next::Library;
        }
        let end = self.from + head.frame() as usize;
        if end > self.to {
            return Next::Nothing;
        }
        let text = &mut self.memory[self.from + head.length..end];
        self.from = end;
        if let Some(mask) = head.mask {
            apply(mask, text);
        }
        std::str::from_utf8(text).map_or(Next::NoText, Next::Text)
    }

    /// How many of the bytes that wait the library gets now, and who reads after them.
    fn for_library(&self, most: usize) -> (usize, Reader) {
        let bytes = self.bytes();
        let most = most.min(bytes.len());
        match self.reader {
            Reader::Upgrade { ending: 0 } if is_refusal(bytes) => (most, Reader::Library),
            Reader::Upgrade { mut ending } => {
                for (at, byte) in bytes[..most].iter().enumerate() {
                    ending = if *byte == HEAD_END[ending] { ending + 1 } else { usize::from(*byte == HEAD_END[0]) };
                    if ending == HEAD_END.len() {
                        return (at + 1, Reader::Anybody);
                    }
                }
                (most, Reader::Upgrade { ending })
            }
            Reader::Anybody | Reader::Library => (most, Reader::Library),
            Reader::Texts { masked, fragments, library } => {
                let most = most.min(usize::try_from(library).unwrap_or(usize::MAX));
                (most, Reader::Texts { masked, fragments, library: library - most as u64 })
            }
        }
    }

    /// Has room for a piece behind what waits.
    fn make_room(&mut self) {
        if self.memory.len() < PIECE {
            let mut piece = SPARE_MEMORY.take();
            // Zeroed once, not for each reading.
            piece.resize(PIECE, 0);
            piece[..self.to - self.from].copy_from_slice(self.bytes());
            self.memory = piece;
        } else {
            self.memory.copy_within(self.from..self.to, 0);
        }
        (self.from, self.to) = (0, self.to - self.from);
    }

    /// Nothing more has come in for now: keeps what waits, which is less than a frame, and gives the piece back.
    fn shrink(&mut self) {
        let rest = self.bytes().to_vec();
        (self.from, self.to) = (0, rest.len());
        SPARE_MEMORY.set(std::mem::replace(&mut self.memory, rest));
    }
}

/// Whether this is the beginning of an answer that does not agree to an upgrade.
fn is_refusal(answer: &[u8]) -> bool {
    answer.starts_with(b"HTTP/") && !answer[VERSION.min(answer.len())..].starts_with(AGREED)
}

impl<S> Inlet<S> {
    pub(crate) fn new(stream: S) -> Self {
        let waiting = Waiting { memory: Vec::new(), from: 0, to: 0, reader: Reader::Upgrade { ending: 0 } };
        Self { stream, waiting }
    }

    /// From now on whole texts are asked for, by [`Waiting::next`]. `masked`: whether they have to be, which those of whoever dialled us have. What the library has begun
    /// to read it goes on reading.
    pub(crate) fn begin_texts(&mut self, masked: bool) {
        self.waiting.reader = match self.waiting.reader {
            Reader::Anybody => Reader::Texts { masked, fragments: false, library: 0 },
            _ => Reader::Library,
        };
    }

    /// From now on everything is the library's.
    pub(crate) fn end_texts(&mut self) {
        self.waiting.reader = Reader::Library;
    }

    /// Whether the library has something to read, or to wait for.
    pub(crate) fn is_for_library(&self) -> bool {
        !matches!(self.waiting.reader, Reader::Texts { library: 0, .. })
    }

    /// Lends what waits, to be given back by [`Self::give_back`] before anything else is asked.
    pub(crate) fn lend(&mut self) -> Waiting {
        let lent = Waiting { memory: Vec::new(), from: 0, to: 0, reader: self.waiting.reader };
        std::mem::replace(&mut self.waiting, lent)
    }

    pub(crate) fn give_back(&mut self, waiting: Waiting) {
        self.waiting = waiting;
    }
}

impl<S: AsyncRead + Unpin> Inlet<S> {
    /// Reads more behind what waits, which is less than a piece. Tells how much; 0 if the other end has closed.
    pub(crate) fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let waiting = &mut self.waiting;
        waiting.make_room();
        let mut room = ReadBuf::new(&mut waiting.memory[waiting.to..]);
        let read = Pin::new(&mut self.stream).poll_read(cx, &mut room);
        let count = room.filled().len();
        waiting.to += count;
        match read {
            Poll::Ready(Ok(())) if count > 0 => Poll::Ready(Ok(count)),
            read => {
                waiting.shrink();
                read.map_ok(|()| 0)
            }
        }
    }
}

impl Inlet<Stream<Guarded>> {
    /// See [`Stream::lift_allowance`].
    pub(crate) fn lift_allowance(&mut self) {
        self.stream.lift_allowance();
    }

    /// See [`Stream::written`].
    pub(crate) fn written(&self) -> u64 {
        self.stream.written()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Inlet<S> {
    /// For the library. What it gets nothing of is not its to wait for.
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.is_for_library() {
            return Poll::Pending;
        }
        if this.waiting.bytes().is_empty() && ready!(this.poll_more(cx))? == 0 {
            return Poll::Ready(Ok(()));
        }
        let (count, reader) = this.waiting.for_library(buffer.remaining());
        buffer.put_slice(&this.waiting.bytes()[..count]);
        this.waiting.from += count;
        this.waiting.reader = reader;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Inlet<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{Stream, StreamExt};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
    use tokio_tungstenite::WebSocketStream;
    use tokio_tungstenite::tungstenite::protocol::{Message, Role};

    use super::*;
    use crate::transport::outlet::Outlet;

    type Socket = WebSocketStream<Outlet<Inlet<DuplexStream>>>;

    const MASK: [u8; 4] = [0x12, 0x80, 0xff, 7];

    fn frame(first: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
        let masked = if mask.is_some() { MASKED } else { 0 };
        let mut frame = vec![first];
        match payload.len() {
            length @ 0..126 => frame.push(masked | length as u8),
            length @ 126..0x1_0000 => frame.extend([&[masked | 126][..], &(length as u16).to_be_bytes()].concat()),
            length => frame.extend([&[masked | 127][..], &(length as u64).to_be_bytes()].concat()),
        }
        frame.extend(mask.into_iter().flatten());
        let start = frame.len();
        frame.extend_from_slice(payload);
        apply(mask.unwrap_or_default(), &mut frame[start..]);
        frame
    }

    /// A WebSocket whose upgrade is over, and how far the other end's buffer reaches.
    async fn socket(role: Role, buffer: usize) -> (Socket, DuplexStream) {
        let (near, far) = tokio::io::duplex(buffer);
        let mut inlet = Inlet::new(near);
        inlet.waiting.reader = Reader::Anybody;
        inlet.begin_texts(role == Role::Server);
        let config = crate::transport::websocket_config();
        (WebSocketStream::from_raw_socket(Outlet::new(inlet), role, Some(config)).await, far)
    }

    /// As a link's task reads; the second says that a text did not pass through the library.
    async fn read(socket: &mut Socket) -> Option<(Message, bool)> {
        std::future::poll_fn(|cx| {
            loop {
                let inlet = socket.get_mut().stream_mut();
                let mut waiting = inlet.lend();
                let next = match waiting.next() {
                    Next::Text(text) => Some(Some(Message::text(text))),
                    Next::NoText => panic!("all are texts"),
                    Next::Library => None,
                    Next::Nothing => Some(None),
                };
                inlet.give_back(waiting);
                match next {
                    Some(Some(text)) => return Poll::Ready(Some((text, true))),
                    Some(None) if ready!(inlet.poll_more(cx)).expect("it reads") == 0 => inlet.end_texts(),
                    Some(None) => continue,
                    None => {}
                }
                match Pin::new(&mut *socket).poll_next(cx) {
                    Poll::Pending if !socket.get_ref().stream().is_for_library() => {}
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(message) => return Poll::Ready(message.and_then(Result::ok).map(|it| (it, false))),
                }
            }
        })
        .await
    }

    /// What is known without waiting.
    async fn now<T>(future: impl Future<Output = T>) -> Poll<T> {
        let mut future = std::pin::pin!(future);
        std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
    }

    async fn all_kinds(role: Role, mask: Option<[u8; 4]>, buffer: usize) {
        let text = |length: usize| "é".repeat(length / 2) + &"x".repeat(length % 2);
        let (mut bytes, mut sent) = (Vec::new(), Vec::new());
        for length in [0, 1, 125, 126, PIECE - 8, PIECE - 3, PIECE, 300_000] {
            bytes.extend(frame(WHOLE_TEXT, text(length).as_bytes(), mask));
            // Four bytes of head, and four of a mask.
            let whole = length + 4 + if mask.is_some() { 4 } else { 0 } <= PIECE;
            sent.push((Message::text(text(length)), whole));
            bytes.extend(frame(0x89, b"ping", mask));
            sent.push((Message::Ping("ping".into()), false));
        }
        let fragments = [(0x01, "a"), (0x89, "ping"), (0x00, "b"), (0x80, "c"), (0x82, "binary"), (WHOLE_TEXT, "d")];
        bytes.extend(fragments.iter().flat_map(|(first, payload)| frame(*first, payload.as_bytes(), mask)));
        sent.push((Message::Ping("ping".into()), false));
        sent.push((Message::text("abc"), false));
        sent.push((Message::binary("binary"), false));
        sent.push((Message::text("d"), true));
        let (mut near, mut far) = socket(role, buffer).await;
        let writing = tokio::spawn(async move {
            far.write_all(&bytes).await.expect("it is read");
            far
        });
        for expected in &sent {
            assert!(read(&mut near).await.as_ref() == Some(expected), "{} bytes at once", buffer);
        }
        let far = writing.await.expect("no panic");
        drop(far);
        assert_eq!(read(&mut near).await, None);
        assert_eq!(near.get_ref().stream().waiting.memory.capacity(), 0, "at rest nothing is kept");
    }

    #[tokio::test]
    async fn every_kind_of_frame_arrives_in_order_however_its_bytes_come_in() {
        for buffer in [7, 1_000, 10_000_000] {
            all_kinds(Role::Client, None, buffer).await;
            all_kinds(Role::Server, Some(MASK), buffer).await;
        }
    }

    #[tokio::test]
    async fn what_breaks_a_rule_is_the_librarys_to_judge() {
        let within = [frame(0x01, b"a", None), frame(WHOLE_TEXT, b"b", None)].concat();
        let announced = [vec![WHOLE_TEXT, 127], vec![0xff; 8]].concat();
        for bytes in [frame(WHOLE_TEXT, b"masked", Some(MASK)), frame(0xc1, b"reserved", None), within, announced] {
            let (mut near, mut far) = socket(Role::Client, 1_000).await;
            far.write_all(&bytes).await.expect("room");
            let waiting = near.get_mut().stream_mut();
            assert!(std::future::poll_fn(|cx| waiting.poll_more(cx)).await.expect("it reads") > 0);
            loop {
                let mut waiting = near.get_mut().stream_mut().lend();
                assert_eq!(waiting.next(), Next::Library);
                near.get_mut().stream_mut().give_back(waiting);
                match now(near.next()).await {
                    Poll::Ready(judged) => break assert!(judged.expect("something").is_err(), "{bytes:?}"),
                    Poll::Pending => {}
                }
            }
        }
        let (mut near, mut far) = socket(Role::Client, 1_000).await;
        far.write_all(&frame(WHOLE_TEXT, &[0xff], None)).await.expect("room");
        let waiting = near.get_mut().stream_mut();
        assert!(std::future::poll_fn(|cx| waiting.poll_more(cx)).await.expect("it reads") > 0);
        assert_eq!(waiting.lend().next(), Next::NoText);
    }

    #[tokio::test]
    async fn of_an_upgrade_the_library_gets_the_head_and_of_a_refusal_everything() {
        let text = frame(WHOLE_TEXT, b"early", None);
        let agreed = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";
        for buffer in [13, 1_000] {
            let (near, mut far) = tokio::io::duplex(buffer);
            let mut inlet = Inlet::new(near);
            let bytes = [&agreed[..], &text].concat();
            let writing = tokio::spawn(async move { far.write_all(&bytes).await.map(|()| far) });
            let mut head = vec![0; agreed.len()];
            inlet.read_exact(&mut head).await.expect("a head");
            assert_eq!(head, agreed);
            inlet.begin_texts(false);
            while inlet.waiting.bytes().len() < text.len() {
                std::future::poll_fn(|cx| inlet.poll_more(cx)).await.expect("it reads");
            }
            assert_eq!(inlet.lend().next(), Next::Text("early"));
            writing.await.expect("no panic").expect("it was read");
        }
        let (near, mut far) = tokio::io::duplex(1_000);
        let refused = b"HTTP/1.1 404 Not Found\r\n\r\nthis node is elsewhere";
        far.write_all(refused).await.expect("room");
        drop(far);
        let (mut inlet, mut read) = (Inlet::new(near), Vec::new());
        inlet.read_to_end(&mut read).await.expect("it reads");
        assert_eq!(read, refused);
        inlet.begin_texts(false);
        assert!(inlet.is_for_library(), "what it has begun it goes on with");
    }

    #[tokio::test]
    async fn a_link_that_waits_for_the_rest_of_a_text_keeps_what_it_has_of_it_alone() {
        let (mut near, mut far) = socket(Role::Client, 1_000).await;
        let text = frame(WHOLE_TEXT, &[b'x'; 100], None);
        far.write_all(&text[..50]).await.expect("room");
        assert!(now(read(&mut near)).await.is_pending());
        assert_eq!(near.get_ref().stream().waiting.memory.capacity(), 50);
        far.write_all(&text[50..]).await.expect("room");
        assert_eq!(read(&mut near).await, Some((Message::text("x".repeat(100)), true)));
    }
}
