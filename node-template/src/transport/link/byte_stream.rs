//! The byte stream under a WebSocket: plain or in TLS, and beneath that two guards: what an upgrade may read, and whether anything moves. They count what goes
//! over the wire, so a TLS handshake has its part in what an upgrade may read, and what TLS holds back has not moved.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// How much the system keeps of what came in and was not read, in bytes; Linux doubles it for its own use. By itself it would keep up to 32 MiB. A link across half
/// the world, 200 ms, still carries a megabyte a second.
const RECEIVE_BUFFER: usize = 128 * 1024;
/// How much the system takes of what the other end can not receive yet, in bytes (`TCP_NOTSENT_LOWAT`).
#[cfg(any(target_os = "linux", target_os = "android"))]
const UNSENT: u32 = 128 * 1024;

/// A TCP stream that counts what it writes and, until told otherwise, how much it reads.
#[derive(Debug)]
pub(crate) struct Guarded {
    stream: TcpStream,
    /// How many bytes may still be read; `None`: any number.
    allowance: Option<usize>,
    written: u64,
}

impl Guarded {
    /// Guards a stream whose upgrade may have at most `upgrade_bytes`. Small frames leave at once: Nagle's algorithm is off. Little waits in the system's buffers:
    /// there nothing overtakes, and what is said ten thousand transactions late is of no use.
    pub(crate) fn new(stream: TcpStream, upgrade_bytes: usize) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let socket = socket2::SockRef::from(&stream);
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
        #[cfg(any(target_os = "linux", target_os = "android"))]
        socket.set_tcp_notsent_lowat(UNSENT)?;
        Ok(Self { stream, allowance: Some(upgrade_bytes), written: 0 })
    }

    /// The first byte that has come and was not read, once one has; `None`: the other end has closed. It is not taken. Cancel-safe.
    pub(crate) async fn first_byte(&self) -> io::Result<Option<u8>> {
        let mut first = [0];
        let read = self.stream.peek(&mut first).await?;
        Ok((read > 0).then_some(first[0]))
    }
}

impl AsyncRead for Guarded {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let Some(allowance) = &mut this.allowance else {
            return Pin::new(&mut this.stream).poll_read(cx, buffer);
        };
        if *allowance == 0 {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "the upgrade is longer than allowed")));
        }
        let room = buffer.remaining().min(*allowance);
        let mut part = ReadBuf::new(&mut buffer.initialize_unfilled()[..room]);
        ready!(Pin::new(&mut this.stream).poll_read(cx, &mut part))?;
        let read = part.filled().len();
        buffer.advance(read);
        *allowance -= read;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.stream).poll_write(cx, bytes))?;
        this.written += written as u64;
        Poll::Ready(Ok(written))
    }

    /// TLS writes its records so: without this each would cost a system call, and of the last words of a failed handshake only the first record would leave.
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

/// A stream as it is, or in TLS. A choice rather than a trait object: a plain link pays a comparison per system call.
#[derive(Debug)]
pub(crate) enum Stream<S> {
    Plain(S),
    #[cfg(feature = "tls")]
    Tls(Box<tokio_rustls::TlsStream<S>>),
}

impl<S> Stream<S> {
    fn wire(&self) -> &S {
        match self {
            Self::Plain(stream) => stream,
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.get_ref().0,
        }
    }

    fn wire_mut(&mut self) -> &mut S {
        match self {
            Self::Plain(stream) => stream,
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.get_mut().0,
        }
    }
}

impl Stream<Guarded> {
    /// The upgrade is over: any number of bytes may be read.
    pub(crate) fn lift_allowance(&mut self) {
        self.wire_mut().allowance = None;
    }

    /// How many bytes the system has taken from us so far.
    pub(crate) fn written(&self) -> u64 {
        self.wire().written
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stream<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
