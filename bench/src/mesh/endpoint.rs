//! How a client connects to a node: a WebSocket, over TLS if the network is closed.

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

/// The host in every certificate and address.
pub(super) const HOST: &str = "localhost";

/// A client's WebSocket. The dynamic dispatch is per read and write, of many frames each.
pub(crate) type Socket = WebSocketStream<Box<dyn Stream>>;

/// A stream under a WebSocket.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send + Debug {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + Debug> Stream for T {}

/// The address of a node.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    /// A port of this machine.
    pub(crate) port: u16,
    /// The client's certificate and the trusted authority, if the network is closed.
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

impl Endpoint {
    /// Connects.
    pub(crate) async fn connect(&self) -> Result<Socket> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await?;
        stream.set_nodelay(true)?;
        let (scheme, stream): (_, Box<dyn Stream>) = match &self.tls {
            None => ("ws", Box::new(stream)),
            Some(tls) => {
                let connector = TlsConnector::from(Arc::clone(tls));
                let stream = connector.connect(ServerName::try_from(HOST)?, stream).await;
                ("wss", Box::new(stream.context("the TLS handshake with the node failed")?))
            }
        };
        let (socket, _) = client_async(format!("{scheme}://{HOST}:{}", self.port), stream).await?;
        Ok(socket)
    }
}
