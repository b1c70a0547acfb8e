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

use crate::transport::link::byte_stream::{Guarded, Stream};
use crate::transport::link::write_buffer::{MASKED, WHOLE_TEXT, apply};

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

    /// Nothing more has come in for now: keeps what waits, which is less than a frame or nothing, and gives the piece back.
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
        if this.waiting.bytes().is_empty() {
            // It may be long until it is asked again: many links are opened at the same time.
            this.waiting.shrink();
        }
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
pub(crate) mod tests;
