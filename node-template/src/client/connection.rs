//! One WebSocket connection to one node. Every wait has a limit.

use std::io;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::header::{HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig, frame::coding::CloseCode};
use tokio_tungstenite::tungstenite::{Error as WsError, Message as WsMessage, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::client::error::ClientError;
use crate::protocol::address::{PeerAddress, Scope};
use crate::protocol::frame::Frame;
use crate::protocol::id::UpgradeIdentity;
use crate::protocol::json::Parser;
use crate::protocol::limits::MESSAGE_BYTES;
use crate::protocol::wire::Message;
#[cfg(feature = "tls")]
use crate::tls::Credentials;
use crate::transport::resolver::connect;
use crate::transport::tls::dial_failed;
use crate::util::byte_stream::ByteStream;

/// For connecting and upgrading together.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two ACKs. Each waits for a disk, which may have to spin up for seconds.
pub(crate) const ACK_TIMEOUT: Duration = Duration::from_secs(30);
/// For the answer to a close frame.
pub(crate) const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// An open connection. After an error it is of no more use.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) address: PeerAddress,
    /// `None`: the node is an exercise peer.
    pub(crate) identity: Option<UpgradeIdentity>,
    pub(crate) socket: WebSocketStream<ByteStream<TcpStream>>,
    pub(crate) parser: Parser,
}

impl Connection {
    /// Connects and upgrades within [`CONNECT_TIMEOUT`], trying all addresses of the host name.
    pub(crate) async fn open(address: &PeerAddress, subprotocol: Option<&'static str>) -> Result<Self, ClientError> {
        if address.is_secure() {
            return Err(ClientError::Secure { address: address.clone() });
        }
        in_time(address, async { Self::upgrade(address, ByteStream::Plain(tcp(address).await?), subprotocol).await })
            .await
    }

    /// As [`Self::open`], with TLS: shows a certificate, and requires one of the same authority.
    #[cfg(feature = "tls")]
    pub(crate) async fn open_as(
        address: &PeerAddress,
        credentials: &Credentials,
        subprotocol: Option<&'static str>,
    ) -> Result<Self, ClientError> {
        in_time(address, async {
            let denied = |why: String| ClientError::AccessDenied { address: address.clone(), why };
            let connected = credentials.connect(tcp(address).await?).await;
            let (stream, certified) = connected
                .map_err(|error| denied(crate::tls::dial_failed(&error).unwrap_or_else(|| error.to_string())))?;
            let connection = Self::upgrade(address, stream, subprotocol).await?;
            match connection.identity {
                Some(identity) if identity.node != certified.node => {
                    Err(denied(format!("it claims to be {}, but its certificate is another node's", identity.node)))
                }
                _ => Ok(connection),
            }
        })
        .await
    }

    async fn upgrade(
        address: &PeerAddress,
        stream: ByteStream<TcpStream>,
        subprotocol: Option<&'static str>,
    ) -> Result<Self, ClientError> {
        let failed = |cause: WsError| match &cause {
            // In TLS 1.3 the server judges the client's certificate after the client's handshake is
            // done.
            WsError::Io(error) if dial_failed(error).is_some() => {
                ClientError::AccessDenied { address: address.clone(), why: dial_failed(error).unwrap_or_default() }
            }
            _ => ClientError::NotANode { address: address.clone(), cause: cause.to_string() },
        };
        let mut request = address.clone().without_zone().to_string().into_client_request().map_err(failed)?;
        if let Some(subprotocol) = subprotocol {
            request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(subprotocol));
        }
        let (socket, response) = client_async_with_config(request, stream, Some(config())).await.map_err(failed)?;
        let header = response.headers().get(UpgradeIdentity::HEADER);
        let identity = header.and_then(|text| text.to_str().ok()?.parse().ok());
        Ok(Self { address: address.clone(), identity, socket, parser: Parser::new() })
    }

    /// Fails if the node is an exercise peer.
    pub(crate) fn require_native(&self) -> Result<(), ClientError> {
        match self.identity {
            Some(_) => Ok(()),
            None => Err(ClientError::ExercisePeer { address: self.address.clone() }),
        }
    }

    /// Sends one frame within [`ACK_TIMEOUT`].
    pub(crate) async fn send(&mut self, frame: WsMessage) -> Result<(), ClientError> {
        match timeout(ACK_TIMEOUT, self.socket.send(frame)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.closed(error.to_string())),
            Err(_) => Err(self.silent(ACK_TIMEOUT)),
        }
    }

    /// Waits for the first message that `wanted` accepts.
    pub(crate) async fn answer<T>(
        &mut self,
        limit: Duration,
        mut wanted: impl FnMut(Message) -> Option<T>,
    ) -> Result<T, ClientError> {
        let answer = async {
            loop {
                let frame = self.socket.next().await;
                if let Some(found) = self.message(frame)?.and_then(&mut wanted) {
                    return Ok(found);
                }
            }
        };
        match timeout(limit, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(self.silent(limit)),
        }
    }

    /// Returns a frame's message; `None` for pings, pongs and binary frames.
    pub(crate) fn message(
        &mut self,
        frame: Option<Result<WsMessage, WsError>>,
    ) -> Result<Option<Message>, ClientError> {
        match frame {
            Some(Ok(WsMessage::Text(text))) => {
                Message::parse(&mut self.parser, &text).map(Some).map_err(|error| self.invalid(error.to_string()))
            }
            Some(Ok(WsMessage::Close(frame))) => Err(self.closed(match frame {
                Some(CloseFrame { code, reason }) => format!("close code {}, {:?}", u16::from(code), &*reason),
                None => "without a close code".to_owned(),
            })),
            Some(Ok(_)) => Ok(None),
            Some(Err(error)) => Err(self.closed(error.to_string())),
            None => Err(self.closed("without a close frame".to_owned())),
        }
    }

    /// Closes with 1000 and waits for the answer, at most [`CLOSE_TIMEOUT`]. Returns whether it
    /// came: then the node has read all that was sent before.
    pub(crate) async fn close(mut self) -> bool {
        let goodbye = CloseFrame { code: CloseCode::Normal, reason: Utf8Bytes::default() };
        let closing = async {
            self.socket.close(Some(goodbye)).await?;
            while let Some(frame) = self.socket.next().await {
                if frame?.is_close() {
                    return Ok(true);
                }
            }
            Ok::<_, WsError>(false)
        };
        matches!(timeout(CLOSE_TIMEOUT, closing).await, Ok(Ok(true)))
    }

    pub(crate) fn closed(&self, cause: String) -> ClientError {
        ClientError::Closed { address: self.address.clone(), cause }
    }

    pub(crate) fn silent(&self, after: Duration) -> ClientError {
        ClientError::Silent { address: self.address.clone(), after }
    }

    pub(crate) fn invalid(&self, cause: String) -> ClientError {
        ClientError::Answer { address: self.address.clone(), cause }
    }
}

pub(crate) fn text(frame: Frame) -> WsMessage {
    WsMessage::Text(frame.as_str().into())
}

async fn tcp(address: &PeerAddress) -> Result<TcpStream, ClientError> {
    let unreachable = |cause| ClientError::Unreachable { address: address.clone(), cause };
    // The caller chose the address, so it may lead anywhere.
    let stream = connect(address, Scope::Loopback).await.map_err(unreachable)?;
    // Small frames leave at once; `Pump` batches many.
    stream.set_nodelay(true).map_err(unreachable)?;
    Ok(stream)
}

async fn in_time(
    address: &PeerAddress,
    connecting: impl Future<Output = Result<Connection, ClientError>>,
) -> Result<Connection, ClientError> {
    timeout(CONNECT_TIMEOUT, connecting).await.unwrap_or_else(|_| {
        let text = format!("no answer within {} s", CONNECT_TIMEOUT.as_secs());
        let cause = io::Error::new(io::ErrorKind::TimedOut, text);
        Err(ClientError::Unreachable { address: address.clone(), cause })
    })
}

fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(8 * 1024)
        // Holds one message more than the size at which it is written; further ones wait in the
        // source.
        .max_write_buffer_size(2 * MESSAGE_BYTES)
        .max_message_size(Some(MESSAGE_BYTES))
        .max_frame_size(Some(MESSAGE_BYTES))
}
