//! The byte stream that carries a WebSocket: a TCP connection, or a stream over iroh.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::transport::iroh::connection::IrohConnection;
use crate::transport::iroh::stream::IrohStream;
use crate::util::byte_stream::forward_io;

/// How many unsent bytes the kernel accepts (`TCP_NOTSENT_LOWAT`).
#[cfg(any(target_os = "linux", target_os = "android"))]
const UNSENT: u32 = 128 * 1024;
/// The size of the kernel's receive buffer once it is fixed, in bytes; Linux doubles it for its own
/// use.
const FIXED_RECEIVE_BUFFER: usize = 128 * 1024;

/// A byte stream. An enum instead of a trait object: a link over TCP pays one comparison per system
/// call.
#[derive(Debug)]
pub(crate) enum RawStream {
    Tcp(TcpStream),
    Iroh(Box<IrohStream>),
}

impl RawStream {
    /// A TCP connection without Nagle's algorithm, so small frames leave at once. The kernel takes
    /// few unsent bytes: control frames cannot overtake what waits there.
    pub(crate) fn tcp(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        #[cfg(any(target_os = "linux", target_os = "android"))]
        socket2::SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT)?;
        Ok(Self::Tcp(stream))
    }

    /// The address of this end. A stream over iroh has none that means anything to the other end.
    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.local_addr(),
            Self::Iroh(_) => Ok(SocketAddr::from(([0, 0, 0, 0], 0))),
        }
    }

    /// The connection over iroh below the stream.
    pub(crate) fn iroh(&self) -> Option<IrohConnection> {
        match self {
            Self::Tcp(_) => None,
            Self::Iroh(stream) => Some(stream.connection()),
        }
    }

    /// Waits for the first unread byte and returns it without consuming it; `None`: the other end
    /// has closed. Cancel-safe.
    pub(crate) async fn first_byte(&mut self) -> io::Result<Option<u8>> {
        match self {
            Self::Tcp(stream) => {
                let mut first = [0];
                let read = stream.peek(&mut first).await?;
                Ok((read > 0).then_some(first[0]))
            }
            Self::Iroh(stream) => stream.first_byte().await,
        }
    }

    /// Fixes the kernel's receive buffer at a small size. The window of a stream over iroh is small
    /// from the start.
    pub(crate) fn fix_receive_buffer(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => socket2::SockRef::from(stream).set_recv_buffer_size(FIXED_RECEIVE_BUFFER),
            Self::Iroh(_) => Ok(()),
        }
    }
}

forward_io!([] RawStream: Tcp, Iroh);
