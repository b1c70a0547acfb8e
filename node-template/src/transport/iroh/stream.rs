//! One bidirectional stream of a connection over iroh, as the byte stream of a WebSocket.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use iroh::endpoint::{Connection, RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::transport::iroh::connection::{Connections, IrohConnection, Open};

/// A stream over iroh. It keeps its connection open.
#[derive(Debug)]
pub(crate) struct IrohStream {
    send: SendStream,
    receive: RecvStream,
    /// A byte that was looked at and is not consumed yet.
    first: Option<u8>,
    connection: IrohConnection,
    /// Keeps the connection among the open ones.
    _open: Open,
}

impl IrohStream {
    pub(super) fn new(
        connection: Connection,
        (send, receive): (SendStream, RecvStream),
        connections: &Arc<Connections>,
    ) -> Self {
        let connection = IrohConnection::new(connection);
        Self { send, receive, first: None, _open: connections.open(&connection), connection }
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
