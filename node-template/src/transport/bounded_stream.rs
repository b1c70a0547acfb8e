//! The TCP stream under a link. It bounds how much an upgrade reads and counts what is written.
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
use tokio::net::TcpStream;

/// The size of the kernel's receive buffer once it is fixed, in bytes; Linux doubles it for its own
/// use.
const FIXED_RECEIVE_BUFFER: usize = 128 * 1024;
/// How many unsent bytes the kernel accepts (`TCP_NOTSENT_LOWAT`).
#[cfg(any(target_os = "linux", target_os = "android"))]
const UNSENT: u32 = 128 * 1024;

/// A TCP stream that counts its written bytes and bounds its read bytes until the upgrade is over.
#[derive(Debug)]
pub(crate) struct BoundedStream {
    stream: TcpStream,
    /// How many bytes may still be read; `None`: any number.
    read_limit: Option<usize>,
    written: u64,
}

impl BoundedStream {
    /// Wraps a stream whose upgrade may have at most `upgrade_bytes`.
    ///
    /// Nagle's algorithm is off, so small frames leave at once. The kernel takes few unsent bytes:
    /// control frames cannot overtake what waits there.
    pub(crate) fn new(stream: TcpStream, upgrade_bytes: usize) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        #[cfg(any(target_os = "linux", target_os = "android"))]
        socket2::SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT)?;
        Ok(Self { stream, read_limit: Some(upgrade_bytes), written: 0 })
    }

    /// Waits for the first unread byte and returns it without consuming it; `None`: the other end
    /// has closed. Cancel-safe.
    pub(crate) async fn first_byte(&self) -> io::Result<Option<u8>> {
        let mut first = [0];
        let read = self.stream.peek(&mut first).await?;
        Ok((read > 0).then_some(first[0]))
    }

    /// Fixes the kernel's receive buffer at a small size, for an end that sends more than it may:
    /// what comes ahead would only wait there.
    pub(crate) fn fix_receive_buffer(&self) -> io::Result<()> {
        socket2::SockRef::from(&self.stream).set_recv_buffer_size(FIXED_RECEIVE_BUFFER)
    }

    /// Lifts the limit on read bytes: the upgrade is over.
    pub(crate) fn lift_read_limit(&mut self) {
        self.read_limit = None;
    }

    /// How many bytes the kernel has taken so far.
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
