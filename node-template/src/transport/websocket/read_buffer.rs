//! The read buffer of a link: bytes that have come in and are not taken yet. It reads in large
//! pieces, and gives the memory back once it is empty.
//!
//! Under load nearly every frame is one whole text, and a hundred and more of them arrive at a
//! time. The WebSocket library reads them through small buffers: one system call for every twenty,
//! and several copies of each. So whole texts are decoded here, in place.
//!
//! All other frames are left to the library, one at a time: fragments, control frames, frames
//! longer than the buffer, and frames that break a rule. The library never gets a byte of the frame
//! behind.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::transport::bounded_stream::BoundedStream;
use crate::transport::websocket::write_buffer::{MASKED, WHOLE_TEXT, apply_mask};
use crate::util::byte_stream::ByteStream;

/// How many bytes are read at once. Longer frames are left to the library.
const PIECE: usize = 64 * 1024;
/// The end of an upgrade's head (RFC 9112, section 2.1).
const HEAD_END: &[u8; 4] = b"\r\n\r\n";
/// The status code of an answer that agrees to the upgrade. Behind any other the answer's body
/// follows.
const SWITCHING_PROTOCOLS: &[u8] = b" 101";
/// The length of "HTTP/1.1".
const VERSION: usize = 8;

thread_local! {
    /// Memory for the link of this thread that reads next.
    static SPARE_MEMORY: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A stream that reads ahead.
#[derive(Debug)]
pub(crate) struct ReadBuffer<S> {
    stream: S,
    unread: Unread,
}

/// The bytes that have come in and are not taken.
#[derive(Debug)]
pub(crate) struct Unread {
    /// Either [`PIECE`] bytes, or exactly the unread ones.
    memory: Vec<u8>,
    from: usize,
    to: usize,
    reader: Reader,
}

/// Who reads the next bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    /// The library, up to the end of the upgrade's head. `matched`: bytes of [`HEAD_END`] it has
    /// had.
    Upgrade { matched: usize },
    /// Either: the next byte begins a frame, and the first to read decides.
    Undecided,
    /// The library, for the rest of the connection.
    Library,
    /// The link, which takes whole texts. The next `library` bytes are left to the library.
    Texts { masked: bool, fragments: bool, library: u64 },
}

/// What comes next, for a link that takes whole texts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next<'a> {
    Text(&'a str),
    /// A text that is not UTF-8.
    InvalidText,
    /// A frame that is left to the library.
    Library,
    /// No whole frame: more has to come in.
    Incomplete,
}

/// The head of a frame (RFC 6455, section 5.2).
struct Head {
    first: u8,
    mask: Option<[u8; 4]>,
    /// The head's length in bytes.
    length: usize,
    /// The payload's length in bytes.
    payload: u64,
}

impl Head {
    /// Reads a head; `None` if it has not come in whole.
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

    /// The length of the whole frame in bytes.
    fn frame(&self) -> u64 {
        self.payload.saturating_add(self.length as u64)
    }

    /// Whether more fragments follow this frame. Control frames may come between fragments.
    fn begins_fragments(&self, before: bool) -> bool {
        let (last, control) = (self.first & 0x80 != 0, self.first & 0x08 != 0);
        if control { before } else { !last }
    }
}

impl Unread {
    fn bytes(&self) -> &[u8] {
        &self.memory[self.from..self.to]
    }

    /// Returns what comes next, and takes it if it is a text.
    pub(crate) fn next(&mut self) -> Next<'_> {
        let bytes = &self.memory[self.from..self.to];
        let Reader::Texts { masked, fragments, library: library @ 0 } = &mut self.reader else { return Next::Library };
        let Some(head) = Head::read(bytes) else { return Next::Incomplete };
        let whole = head.first == WHOLE_TEXT && !*fragments && head.mask.is_some() == *masked;
        if !whole || head.frame() > PIECE as u64 {
            *library = head.frame();
            *fragments = head.begins_fragments(*fragments);
            return Next::Library;
        }
        let end = self.from + head.frame() as usize;
        if end > self.to {
            return Next::Incomplete;
        }
        let text = &mut self.memory[self.from + head.length..end];
        self.from = end;
        if let Some(mask) = head.mask {
            apply_mask(mask, text);
        }
        std::str::from_utf8(text).map_or(Next::InvalidText, Next::Text)
    }

    /// How many of the unread bytes the library gets now, and who reads after them.
    fn for_library(&self, most: usize) -> (usize, Reader) {
        let bytes = self.bytes();
        let most = most.min(bytes.len());
        match self.reader {
            Reader::Upgrade { matched: 0 } if is_refusal(bytes) => (most, Reader::Library),
            Reader::Upgrade { mut matched } => {
                for (at, byte) in bytes[..most].iter().enumerate() {
                    matched = if *byte == HEAD_END[matched] { matched + 1 } else { usize::from(*byte == HEAD_END[0]) };
                    if matched == HEAD_END.len() {
                        return (at + 1, Reader::Undecided);
                    }
                }
                (most, Reader::Upgrade { matched })
            }
            Reader::Undecided | Reader::Library => (most, Reader::Library),
            Reader::Texts { masked, fragments, library } => {
                let most = most.min(usize::try_from(library).unwrap_or(usize::MAX));
                (most, Reader::Texts { masked, fragments, library: library - most as u64 })
            }
        }
    }

    /// Makes room for a piece behind the unread bytes.
    fn make_room(&mut self) {
        if self.memory.len() < PIECE {
            let mut piece = SPARE_MEMORY.take();
            // Zeroed once per thread, not for each read.
            piece.resize(PIECE, 0);
            piece[..self.to - self.from].copy_from_slice(self.bytes());
            self.memory = piece;
        } else {
            self.memory.copy_within(self.from..self.to, 0);
        }
        (self.from, self.to) = (0, self.to - self.from);
    }

    /// Gives the piece back and keeps the unread bytes alone. Called when nothing more has come in:
    /// they are less than a frame.
    fn shrink(&mut self) {
        let rest = self.bytes().to_vec();
        (self.from, self.to) = (0, rest.len());
        SPARE_MEMORY.set(std::mem::replace(&mut self.memory, rest));
    }
}

/// Whether these bytes begin an answer that refuses the upgrade.
fn is_refusal(answer: &[u8]) -> bool {
    answer.starts_with(b"HTTP/") && !answer[VERSION.min(answer.len())..].starts_with(SWITCHING_PROTOCOLS)
}

impl<S> ReadBuffer<S> {
    pub(crate) fn new(stream: S) -> Self {
        let unread = Unread { memory: Vec::new(), from: 0, to: 0, reader: Reader::Upgrade { matched: 0 } };
        Self { stream, unread }
    }

    /// From now on the link takes whole texts by [`Unread::next`]. `masked`: whether frames must be
    /// masked, as those of the dialling side are. If the library has read a part of a frame, it
    /// keeps reading.
    pub(crate) fn begin_texts(&mut self, masked: bool) {
        self.unread.reader = match self.unread.reader {
            Reader::Undecided => Reader::Texts { masked, fragments: false, library: 0 },
            _ => Reader::Library,
        };
    }

    /// From now on everything is left to the library.
    pub(crate) fn end_texts(&mut self) {
        self.unread.reader = Reader::Library;
    }

    /// Whether the next bytes, present or still to come, are left to the library.
    pub(crate) fn is_for_library(&self) -> bool {
        !matches!(self.unread.reader, Reader::Texts { library: 0, .. })
    }

    /// The bytes that have come in and are not taken.
    pub(crate) fn unread(&self) -> &[u8] {
        self.unread.bytes()
    }

    /// Lends the unread bytes. [`Self::give_back`] must follow before any other call.
    pub(crate) fn lend(&mut self) -> Unread {
        let lent = Unread { memory: Vec::new(), from: 0, to: 0, reader: self.unread.reader };
        std::mem::replace(&mut self.unread, lent)
    }

    pub(crate) fn give_back(&mut self, unread: Unread) {
        self.unread = unread;
    }
}

impl<S: AsyncRead + Unpin> ReadBuffer<S> {
    /// Reads more behind the unread bytes, which must be less than a piece. Returns the number of
    /// bytes read; 0 if the other end has closed.
    pub(crate) fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let unread = &mut self.unread;
        unread.make_room();
        let mut room = ReadBuf::new(&mut unread.memory[unread.to..]);
        let read = Pin::new(&mut self.stream).poll_read(cx, &mut room);
        let count = room.filled().len();
        unread.to += count;
        match read {
            Poll::Ready(Ok(())) if count > 0 => Poll::Ready(Ok(count)),
            read => {
                unread.shrink();
                read.map_ok(|()| 0)
            }
        }
    }
}

impl ReadBuffer<ByteStream<BoundedStream>> {
    /// See [`BoundedStream::lift_read_limit`].
    pub(crate) fn lift_read_limit(&mut self) {
        self.stream.get_mut().lift_read_limit();
    }

    /// See [`BoundedStream::fix_receive_buffer`].
    pub(crate) fn fix_receive_buffer(&self) -> io::Result<()> {
        self.stream.get_ref().fix_receive_buffer()
    }

    /// See [`BoundedStream::written`].
    pub(crate) fn written(&self) -> u64 {
        self.stream.get_ref().written()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ReadBuffer<S> {
    /// Reads for the library. While the link reads, the library gets nothing and is not woken.
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.is_for_library() {
            return Poll::Pending;
        }
        if this.unread.bytes().is_empty() && ready!(this.poll_more(cx))? == 0 {
            return Poll::Ready(Ok(()));
        }
        let (count, reader) = this.unread.for_library(buffer.remaining());
        buffer.put_slice(&this.unread.bytes()[..count]);
        this.unread.from += count;
        this.unread.reader = reader;
        if this.unread.bytes().is_empty() {
            // The next read may be far off: many links are opened at the same time.
            this.unread.shrink();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ReadBuffer<S> {
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
