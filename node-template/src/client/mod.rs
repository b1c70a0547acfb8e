//! A client of one node: gives it transactions, asks for its status, and takes no peer slot.
//!
//! Owns one WebSocket connection. It never sends a HANDSHAKE, so a node does not take it for a peer; and it asks nothing of a node of the exercise,
//! which some frames would kill: a node of ours is known by the [`UpgradeIdentity`] in its answer to the upgrade. Every wait has a limit. Whoever holds
//! the client drives it; there is no task behind it. After an error the connection is of no more use.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let mut client = meshpool::client::Client::connect(&"ws://localhost:4001".parse()?).await?;
//! let ack = client.submit(r#"{"from":"ann","to":"bob","amount":5}"#).await?;
//! println!("{:?}; sent on {} links", ack.status, ack.links);
//! client.close().await;
//! # Ok(())
//! # }
//! ```

mod error;
pub mod exercise_fields;
mod images;
mod pump;
#[cfg(test)]
mod tests;

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::time::{Duration, SystemTime};

use futures_util::{SinkExt, StreamExt, stream};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::header::{HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig, frame::coding::CloseCode};
use tokio_tungstenite::tungstenite::{Error as WsError, Message as WsMessage, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

pub use error::ClientError;
#[cfg(feature = "tls")]
pub use images::list_images_as;
pub use images::{IMAGE_TIMEOUT, ImageStream, list_images};

use crate::protocol::address::PeerAddress;
use crate::protocol::frame::Frame;
use crate::protocol::id::UpgradeIdentity;
use crate::protocol::json::Parser;
use crate::protocol::limits;
use crate::protocol::transaction::{Transaction, TransactionId};
use crate::protocol::wire::{
    Ack, Broadcast, BroadcastFrame, BroadcastId, Member, Members, Message, NetworkFrame, Status, StatusFrame,
    TransactionFrame,
};
use crate::transport::tls::dial_failed;
use crate::util::byte_stream::ByteStream;
use pump::{Pump, Step};

/// How long connecting and upgrading may take, together.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a node may take to tell its status.
pub const STATUS_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a node may take between two ACKs. Each waits for a disk, and a disk that has to spin up takes seconds.
pub const ACK_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the other side may take to answer our close.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// How many transactions are sent ahead of their ACKs: enough to fill a node's batches, few enough that both sides forget them cheaply.
pub const WINDOW: usize = 4_096;

/// One connection to one node.
#[derive(Debug)]
pub struct Client {
    address: PeerAddress,
    identity: Option<UpgradeIdentity>,
    socket: WebSocketStream<ByteStream<TcpStream>>,
    parser: Parser,
}

impl Client {
    /// Connects to the node at `address`, of all addresses that its host name has, and upgrades, within [`CONNECT_TIMEOUT`].
    ///
    /// # Errors
    /// [`ClientError::Unreachable`], [`ClientError::NotANode`] or [`ClientError::Secure`].
    pub async fn connect(address: &PeerAddress) -> Result<Self, ClientError> {
        Self::connect_for(address, None).await
    }

    /// As [`Self::connect`], for a subprotocol.
    async fn connect_for(address: &PeerAddress, purpose: Option<&'static str>) -> Result<Self, ClientError> {
        if address.is_secure() {
            return Err(ClientError::Secure { address: address.clone() });
        }
        in_time(address, async { Self::upgrade(address, ByteStream::Plain(Self::open(address).await?), purpose).await })
            .await
    }

    /// As [`Self::connect`], to a node of a closed network: shows a certificate of its authority, and asks for one.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`], [`ClientError::NotANode`] or [`ClientError::NotLetIn`].
    #[cfg(feature = "tls")]
    pub async fn connect_as(address: &PeerAddress, credentials: &crate::tls::Credentials) -> Result<Self, ClientError> {
        Self::connect_as_for(address, credentials, None).await
    }

    /// As [`Self::connect_as`], for a subprotocol.
    #[cfg(feature = "tls")]
    async fn connect_as_for(
        address: &PeerAddress,
        credentials: &crate::tls::Credentials,
        purpose: Option<&'static str>,
    ) -> Result<Self, ClientError> {
        in_time(address, async {
            let refused = |why: String| ClientError::NotLetIn { address: address.clone(), why };
            let connected = credentials.connect(Self::open(address).await?).await;
            let words = |error: &io::Error| crate::tls::dial_failed(error).unwrap_or_else(|| error.to_string());
            let (stream, certified) = connected.map_err(|error| refused(words(&error)))?;
            let client = Self::upgrade(address, stream, purpose).await?;
            match client.identity {
                Some(identity) if identity.node != certified.node => {
                    Err(refused(format!("it says that it is {}, its certificate is another node's", identity.node)))
                }
                _ => Ok(client),
            }
        })
        .await
    }

    async fn open(address: &PeerAddress) -> Result<TcpStream, ClientError> {
        let unreachable = |cause| ClientError::Unreachable { address: address.clone(), cause };
        let host = address.host();
        let stream = TcpStream::connect((host.as_str(), address.port())).await.map_err(unreachable)?;
        // Small frames leave at once; the pump gathers them where there are many.
        stream.set_nodelay(true).map_err(unreachable)?;
        Ok(stream)
    }

    async fn upgrade(
        address: &PeerAddress,
        stream: ByteStream<TcpStream>,
        purpose: Option<&'static str>,
    ) -> Result<Self, ClientError> {
        let failed = |cause: WsError| match &cause {
            // Whether our certificate counts shows only here: TLS 1.3 asks for it last.
            WsError::Io(error) if dial_failed(error).is_some() => {
                ClientError::NotLetIn { address: address.clone(), why: dial_failed(error).unwrap_or_default() }
            }
            _ => ClientError::NotANode { address: address.clone(), cause: cause.to_string() },
        };
        let mut request = address.to_string().into_client_request().map_err(failed)?;
        if let Some(purpose) = purpose {
            request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(purpose));
        }
        let (socket, answer) = client_async_with_config(request, stream, Some(config())).await.map_err(failed)?;
        let identity = answer.headers().get(UpgradeIdentity::HEADER).and_then(|text| text.to_str().ok()?.parse().ok());
        Ok(Self { address: address.clone(), identity, socket, parser: Parser::new() })
    }

    /// The address that was dialled.
    pub fn address(&self) -> &PeerAddress {
        &self.address
    }

    /// Which node answered; `None` is a node of the exercise, to which only [`Self::send`] speaks.
    pub fn identity(&self) -> Option<UpgradeIdentity> {
        self.identity
    }

    /// Sends one transaction, the JSON text of an object, and waits until the node has it on disk or refuses it.
    ///
    /// # Errors
    /// Any [`ClientError`] but those of connecting. A refusal by the node is no error, but an [`Ack`] that says so.
    pub async fn submit(&mut self, body: &str) -> Result<Ack, ClientError> {
        let transaction = Transaction::parse(&mut self.parser, body)?;
        let mut answer = None;
        self.submit_many(stream::iter([transaction]), |ack| answer = Some(ack)).await?;
        Ok(answer.expect("submitting succeeds only when every transaction sent has its ACK"))
    }

    /// Sends transactions as they come, at most [`WINDOW`] ahead of their ACKs, and calls `on_ack` for each ACK, in whatever order they arrive. Returns
    /// when `transactions` has ended and all are answered. The node closes a client that is silent for some seconds with nothing outstanding, so a
    /// source that may pause for long should end instead, and go on with a new client.
    ///
    /// # Errors
    /// Any [`ClientError`] but those of connecting; what had no ACK by then may be stored or not.
    pub async fn submit_many(
        &mut self,
        transactions: impl futures_util::Stream<Item = Transaction>,
        mut on_ack: impl FnMut(Ack),
    ) -> Result<(), ClientError> {
        self.refuse_plain()?;
        let transactions = pin!(transactions);
        let mut pump = Pump::new(self, transactions);
        loop {
            let waits = pump.waits_for_acks();
            let step = poll_fn(|cx| pump.poll(cx));
            let step = if waits { timeout(ACK_TIMEOUT, step).await } else { Ok(step.await) };
            match step {
                Ok(Ok(Step::Acked(ack))) => on_ack(ack),
                Ok(Ok(Step::Sent)) => {}
                Ok(Ok(Step::Done)) => return Ok(()),
                Ok(Err(error)) => return Err(error),
                Err(_) => return Err(self.silent(ACK_TIMEOUT)),
            }
        }
    }

    /// Sends one transaction without asking for an ACK: all that a node of the exercise understands. What was sent has been read by the node if
    /// [`Self::close`] says so afterwards.
    ///
    /// # Errors
    /// [`ClientError::Invalid`], [`ClientError::Closed`] or [`ClientError::Silent`].
    pub async fn send(&mut self, body: &str) -> Result<(), ClientError> {
        let transaction = Transaction::parse(&mut self.parser, body)?;
        self.write(TransactionFrame::client_frame(transaction.body(), false)).await
    }

    /// Asks for the node's status, and how many of `holds` its pool has on disk.
    ///
    /// # Errors
    /// [`ClientError::Plain`], [`ClientError::Closed`], [`ClientError::Silent`] or [`ClientError::Answer`].
    pub async fn status(&mut self, holds: &[TransactionId]) -> Result<Status, ClientError> {
        self.refuse_plain()?;
        let (first, rest) = holds.split_at(holds.len().min(limits::STATUS_IDS));
        let mut status = self.ask(first).await?;
        for ids in rest.chunks(limits::STATUS_IDS) {
            let next = self.ask(ids).await?;
            status = Status { held: status.held + next.held, ..next };
        }
        Ok(status)
    }

    async fn ask(&mut self, holds: &[TransactionId]) -> Result<Status, ClientError> {
        self.write(StatusFrame::Question { holds: holds.to_vec() }.to_frame()).await?;
        let answer = async {
            loop {
                if let Message::Status(StatusFrame::Answer(status)) = self.receive().await? {
                    return Ok(*status);
                }
            }
        };
        match timeout(STATUS_TIMEOUT, answer).await {
            Ok(status) => status,
            Err(_) => Err(self.silent(STATUS_TIMEOUT)),
        }
    }

    /// Broadcasts a text to every node in the network, and tells on how many links it went out.
    ///
    /// # Errors
    /// Any [`ClientError`] but those of connecting.
    pub async fn broadcast(&mut self, text: &str) -> Result<Ack, ClientError> {
        self.refuse_plain()?;
        Broadcast::check(text)?;
        let mut id = [0; 32];
        getrandom::fill(&mut id).map_err(ClientError::Random)?;
        let id = BroadcastId(id);
        // A clock that stands before 1970 is no reason to be silent.
        let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        self.write(BroadcastFrame::client_frame(Broadcast { id, message: text.into(), time, seal: None })).await?;
        let id = id.to_string();
        self.answer(ACK_TIMEOUT, |message| match message {
            Message::Ack(ack) if ack.id == id => Some(ack),
            _ => None,
        })
        .await
    }

    /// Asks who is in the network, as far as the node knows, in the order of their ids; itself among them.
    ///
    /// # Errors
    /// [`ClientError::Plain`], [`ClientError::Closed`], [`ClientError::Silent`] or [`ClientError::Answer`].
    pub async fn nodes(&mut self) -> Result<Vec<Member>, ClientError> {
        self.refuse_plain()?;
        let mut nodes: Vec<Member> = Vec::new();
        loop {
            let after = nodes.last().and_then(|last| last.node.parse().ok());
            self.write(NetworkFrame::Question { after }.to_frame()).await?;
            let part = self.answer(STATUS_TIMEOUT, |message| match message {
                Message::Network(NetworkFrame::Answer(members)) => Some(members),
                _ => None,
            });
            let Members { nodes: some, more } = part.await?;
            // Whoever says that there is more and tells nothing would be asked for ever.
            let more = more && !some.is_empty();
            nodes.extend(some);
            if !more {
                return Ok(nodes);
            }
        }
    }

    /// Waits for a message that is wanted.
    async fn answer<T>(
        &mut self,
        patience: Duration,
        mut wanted: impl FnMut(Message) -> Option<T>,
    ) -> Result<T, ClientError> {
        let answer = async {
            loop {
                if let Some(found) = wanted(self.receive().await?) {
                    return Ok(found);
                }
            }
        };
        match timeout(patience, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(self.silent(patience)),
        }
    }

    /// Says goodbye (1000) and waits for the answer, at most [`CLOSE_TIMEOUT`]. True if the node answered: then it has read all that was sent before.
    pub async fn close(mut self) -> bool {
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

    fn refuse_plain(&self) -> Result<(), ClientError> {
        match self.identity {
            Some(_) => Ok(()),
            None => Err(ClientError::Plain { address: self.address.clone() }),
        }
    }

    /// Writes one frame and flushes it, within [`ACK_TIMEOUT`].
    async fn write(&mut self, frame: Frame) -> Result<(), ClientError> {
        match timeout(ACK_TIMEOUT, self.socket.send(text(frame))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.closed(error.to_string())),
            Err(_) => Err(self.silent(ACK_TIMEOUT)),
        }
    }

    /// The next message of the node.
    async fn receive(&mut self) -> Result<Message, ClientError> {
        loop {
            let frame = self.socket.next().await;
            if let Some(message) = self.understand(frame)? {
                return Ok(message);
            }
        }
    }

    /// A frame's message; `None` for a ping, a pong or bytes, which mean nothing to a client.
    fn understand(&mut self, frame: Option<Result<WsMessage, WsError>>) -> Result<Option<Message>, ClientError> {
        match frame {
            Some(Ok(WsMessage::Text(text))) => Message::parse(&mut self.parser, &text)
                .map(Some)
                .map_err(|error| ClientError::malformed(&self.address, &error)),
            Some(Ok(WsMessage::Close(frame))) => Err(self.closed(match frame {
                Some(CloseFrame { code, reason }) => format!("close code {}, {:?}", u16::from(code), &*reason),
                None => "without a close code".to_owned(),
            })),
            Some(Ok(_)) => Ok(None),
            Some(Err(error)) => Err(self.closed(error.to_string())),
            None => Err(self.closed("without a goodbye".to_owned())),
        }
    }

    fn closed(&self, cause: String) -> ClientError {
        ClientError::Closed { address: self.address.clone(), cause }
    }

    fn silent(&self, after: Duration) -> ClientError {
        ClientError::Silent { address: self.address.clone(), after }
    }
}

/// Bounds connecting by [`CONNECT_TIMEOUT`].
async fn in_time(
    address: &PeerAddress,
    connecting: impl Future<Output = Result<Client, ClientError>>,
) -> Result<Client, ClientError> {
    timeout(CONNECT_TIMEOUT, connecting).await.unwrap_or_else(|_| {
        let cause = io::Error::new(io::ErrorKind::TimedOut, format!("nothing within {} s", CONNECT_TIMEOUT.as_secs()));
        Err(ClientError::Unreachable { address: address.clone(), cause })
    })
}

fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(8 * 1024)
        // The buffer holds one message more than it writes out at; a window of large transactions waits in the source instead.
        .max_write_buffer_size(2 * limits::MESSAGE_BYTES)
        .max_message_size(Some(limits::MESSAGE_BYTES))
        .max_frame_size(Some(limits::MESSAGE_BYTES))
}

fn text(frame: Frame) -> WsMessage {
    WsMessage::Text(frame.as_str().into())
}
