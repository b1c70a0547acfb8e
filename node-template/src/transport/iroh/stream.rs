//! One bidirectional stream of a connection over iroh, as the byte stream of a WebSocket.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use iroh::TransportAddr;
use iroh::endpoint::{Connection, RecvStream, SendStream};
use meshpool_proto::address::Scope;
use meshpool_proto::id::NodeId;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::transport::iroh::relay_url;
use crate::transport::iroh::relay_watch::Open;
use crate::transport::link_path::LinkPath;

/// A stream over iroh. It keeps its connection open.
#[derive(Debug)]
pub(crate) struct IrohStream {
    send: SendStream,
    receive: RecvStream,
    /// A byte that was looked at and is not consumed yet.
    first: Option<u8>,
    connection: IrohConnection,
    /// Has it among the open ones.
    _open: Open,
}

/// The connection below a stream: who is at its other end, and the path in use. A clone shares it.
#[derive(Debug, Clone)]
pub(crate) struct IrohConnection(Connection);

impl IrohStream {
    pub(super) fn new(connection: Connection, (send, receive): (SendStream, RecvStream), open: Open) -> Self {
        Self { send, receive, first: None, connection: IrohConnection(connection), _open: open }
    }

    pub(crate) fn connection(&self) -> IrohConnection {
        self.connection.clone()
    }

    /// See [`RawStream::first_byte`](crate::transport::raw_stream::RawStream::first_byte).
    pub(crate) async fn first_byte(&mut self) -> io::Result<Option<u8>> {
        if self.first.is_none() {
            let mut first = [0];
            let read = self.receive.read(&mut first).await.map_err(io::Error::from)?;
            self.first = read.filter(|read| *read > 0).map(|_| first[0]);
        }
        Ok(self.first)
    }
}

impl IrohConnection {
    /// The node at the other end: the connection proves its key.
    pub(crate) fn node(&self) -> NodeId {
        NodeId(*self.0.remote_id().as_bytes())
    }

    /// The path that is in use, and its round-trip time; `None` when the connection has ended.
    pub(crate) fn path(&self) -> Option<(LinkPath, Duration)> {
        let paths = self.0.paths();
        let path = paths.iter().find(|path| path.is_selected()).or_else(|| paths.iter().next())?;
        let shown = match path.remote_addr() {
            TransportAddr::Ip(at) => LinkPath::Direct(*at),
            TransportAddr::Relay(url) => LinkPath::Relayed(relay_url::shown(url)),
            _ => return None,
        };
        Some((shown, path.rtt()))
    }

    /// Whether packets go over a relay now.
    pub(crate) fn is_relayed(&self) -> bool {
        matches!(self.path(), Some((LinkPath::Relayed(_), _)))
    }

    /// The IP address that the other end counts for: that of the path, which is the relay's if it
    /// is relayed. Node ids are free, so newcomers over a relay count together.
    pub(crate) fn remote(&self) -> IpAddr {
        let paths = self.0.paths();
        let path = paths.iter().find(|path| path.is_selected()).or_else(|| paths.iter().next());
        remote(path.and_then(|path| match path.remote_addr() {
            TransportAddr::Ip(at) => Some(*at),
            TransportAddr::Relay(url) => relay_url::at(url),
            _ => None,
        }))
        .ip()
    }
}

/// The address that a path counts for. A node over iroh is a stranger also if its packets come from
/// this host: it has none of the rights of a program here.
pub(super) fn remote(at: Option<SocketAddr>) -> SocketAddr {
    at.map(|at| SocketAddr::new(at.ip().to_canonical(), at.port()))
        .filter(|at| Scope::of(at.ip()) != Scope::Loopback)
        .unwrap_or(SocketAddr::new(NOBODY, 0))
}

/// The IPv4 dummy address (RFC 7600, section 4.8), which nobody has.
const NOBODY: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 0, 8));

impl AsyncRead for IrohStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if buffer.remaining() > 0
            && let Some(first) = this.first.take()
        {
            buffer.put_slice(&[first]);
            return Poll::Ready(Ok(()));
        }
        AsyncRead::poll_read(Pin::new(&mut this.receive), cx, buffer)
    }
}

impl AsyncWrite for IrohStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(Pin::new(&mut self.get_mut().send), cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(Pin::new(&mut self.get_mut().send), cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_shutdown(Pin::new(&mut self.get_mut().send), cx)
    }
}
