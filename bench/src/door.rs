//! The way into a node, for whoever pushes at it or asks it: a client's WebSocket, bare, or over
//! TLS where the network is closed.

use std::fmt::Debug;
use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::authority::HOST;

/// A client's WebSocket. What is under it is told apart once per read and write, of many frames
/// each.
pub(crate) type Socket = WebSocketStream<Box<dyn Stream>>;

/// What a WebSocket can be on.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send + Debug {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + Debug> Stream for T {}

/// Where a node listens, and how it is spoken to.
#[derive(Debug, Clone)]
pub(crate) struct Door {
    /// A port of this machine.
    pub(crate) port: u16,
    /// What is shown to a node of a closed network, and which nodes are believed.
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

impl Door {
    /// Opens a client's connection.
    pub(crate) async fn open(&self) -> Result<Socket> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await?;
        stream.set_nodelay(true)?;
        let (scheme, stream): (_, Box<dyn Stream>) = match &self.tls {
            None => ("ws", Box::new(stream)),
            Some(tls) => {
                let connector = TlsConnector::from(Arc::clone(tls));
                let stream = connector.connect(ServerName::try_from(HOST)?, stream).await;
                ("wss", Box::new(stream.context("the node and the bench do not agree on TLS")?))
            }
        };
        let (socket, _) = client_async(format!("{scheme}://{HOST}:{}", self.port), stream).await?;
        Ok(socket)
    }
}
