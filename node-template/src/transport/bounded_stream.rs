//! The byte stream under a link. It bounds how much an upgrade reads and counts what is written.
//!
//! The size of the kernel's receive buffer is left to the system, which follows the path: a fixed
//! one would bound the rate of a long path. What is sent and unread is bounded by
//! [`UnreadWindow`](crate::transport::unread_window::UnreadWindow).
//!
//! Both numbers count bytes on the wire. So a TLS handshake counts for the upgrade, and bytes that
//! TLS holds back do not count as written.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::transport::raw_stream::RawStream;

/// A stream that counts its written bytes and bounds its read bytes until the upgrade is over.
#[derive(Debug)]
pub(crate) struct BoundedStream {
    stream: RawStream,
    /// How many bytes may still be read; `None`: any number.
    read_limit: Option<usize>,
    written: u64,
}

impl BoundedStream {
    /// Wraps a stream whose upgrade may have at most `upgrade_bytes`.
    pub(crate) fn new(stream: RawStream, upgrade_bytes: usize) -> Self {
        Self { stream, read_limit: Some(upgrade_bytes), written: 0 }
    }

    /// Waits for the first unread byte and returns it without consuming it; `None`: the other end
    /// has closed. Cancel-safe.
    pub(crate) async fn first_byte(&mut self) -> io::Result<Option<u8>> {
        self.stream.first_byte().await
    }

    /// Fixes the kernel's receive buffer at a small size, for an end that sends more than it may:
    /// what comes ahead would only wait there.
    pub(crate) fn fix_receive_buffer(&self) -> io::Result<()> {
        self.stream.fix_receive_buffer()
    }

    /// Lifts the limit on read bytes: the upgrade is over.
    pub(crate) fn lift_read_limit(&mut self) {
        self.read_limit = None;
    }

    /// How many bytes the stream has taken so far.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }
}

impl AsyncRead for BoundedStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let Some(limit) = &mut this.read_limit else {
            return Pin::new(&mut this.stream).poll_read(cx, buffer);
        };
        if *limit == 0 {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "the upgrade is longer than allowed")));
        }
        let room = buffer.remaining().min(*limit);
        let mut part = ReadBuf::new(&mut buffer.initialize_unfilled()[..room]);
        ready!(Pin::new(&mut this.stream).poll_read(cx, &mut part))?;
        let read = part.filled().len();
        buffer.advance(read);
        *limit -= read;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for BoundedStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.stream).poll_write(cx, bytes))?;
        this.written += written as u64;
        Poll::Ready(Ok(written))
    }

    /// TLS writes its records this way. Without it each record costs a system call, and only the
    /// first record of a failed handshake's alert would leave.
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.stream).poll_write_vectored(cx, parts))?;
        this.written += written as u64;
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
