//! The dialer: one connection attempt within a time limit, and the identity in the answer to the
//! upgrade.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use meshpool_proto::Challenge;
use meshpool_proto::access::Certified;
use meshpool_proto::address::PeerAddress;
use meshpool_proto::causes::DialError;
use meshpool_proto::id::{NodeId, Nonce, UpgradeIdentity};
use meshpool_proto::limits::Limits;
use tokio_tungstenite::client_async_with_config;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::http::header::{HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{self, http};

use crate::transport::bounded_stream::BoundedStream;
use crate::transport::dial_permit::{DialPermits, NamedBy, Permit, PutOff};
use crate::transport::dial_progress::DialProgress;
use crate::transport::iroh::connection::IrohConnection;
use crate::transport::iroh::endpoint::Wan;
use crate::transport::raw_stream::RawStream;
use crate::transport::resolver::{NotTried, connect_permitted};
use crate::transport::tls::{Live, dial_failed};
use crate::transport::tls_detect::{CLOSED, CLOSED_IDENTITY};
use crate::transport::websocket::read_buffer::ReadBuffer;
use crate::transport::websocket::socket::{Socket, config};
use crate::transport::websocket::write_buffer::WriteBuffer;
use crate::util::byte_stream::ByteStream;

/// What a dial by node id ends with where that is not possible.
const NO_WAN: &str = "this node dials no iroh: addresses; set WAN=on";

/// A connection that we opened.
pub(crate) struct Dialled {
    pub(crate) socket: Socket,
    pub(crate) remote: IpAddr,
    /// The connection over iroh that it is on.
    pub(crate) iroh: Option<IrohConnection>,
    /// What a native peer says of itself; `None` for an exercise peer.
    pub(crate) identity: Option<UpgradeIdentity>,
    /// Who is at the other end; `None` in an open network.
    pub(crate) certified: Option<Certified>,
    /// What both ends sign.
    pub(crate) challenge: Challenge,
}

impl Dialled {
    /// Whether the other end proves its id on links.
    pub(crate) fn proves(&self) -> bool {
        matches!(self.challenge, Challenge::Dialled { answered: Some(_), .. })
    }
}

/// How a dial ended without a connection.
#[derive(Debug)]
pub(crate) enum NotDialled {
    /// It failed.
    Failed(DialError),
    /// Its IP address was dialled too often lately; it is allowed then.
    PutOff(std::time::Instant),
}

impl NotDialled {
    /// Returns why.
    pub(crate) fn cause(self) -> DialError {
        match self {
            Self::Failed(error) => error,
            Self::PutOff(_) => DialError::PutOff,
        }
    }
}

impl fmt::Display for NotDialled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => error.fmt(f),
            Self::PutOff(_) => DialError::PutOff.fmt(f),
        }
    }
}

/// Why a probe found nothing out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotProbed {
    /// The IP address was dialled too often lately; a probe is allowed then.
    PutOff(std::time::Instant),
    /// This host could not try.
    NotTried,
}

/// Opens connections. Nothing but the upgrade request is sent before the other end has shown that
/// it speaks WebSocket. A clone shares the permits.
#[derive(Debug, Clone)]
pub(crate) struct Dialer {
    timeout: Duration,
    upgrade_bytes: usize,
    permits: Arc<DialPermits>,
    /// Shown to the other end and asked of it, in a closed network.
    credentials: Option<Arc<Live>>,
    /// Dials nodes by their ids.
    wan: Option<Wan>,
}

/// A byte stream to the other end, which nothing was sent on.
struct Opened {
    stream: RawStream,
    remote: IpAddr,
    iroh: Option<IrohConnection>,
    permits: Vec<Permit>,
}

impl Dialer {
    pub(crate) fn new(limits: &Limits, credentials: Option<Arc<Live>>, wan: Option<Wan>) -> Self {
        let permits = DialPermits::new(limits);
        Self { timeout: limits.dial_timeout, upgrade_bytes: limits.upgrade_bytes, permits, credentials, wan }
    }

    /// Returns the permits, which all connections share that the word of a peer leads to.
    pub(crate) fn permits(&self) -> &Arc<DialPermits> {
        &self.permits
    }

    /// Opens a WebSocket to an address, unless its name leads nearer to us than it may, or too
    /// often to one host.
    ///
    /// # Errors
    /// [`NotDialled`].
    pub(crate) async fn dial(&self, address: &PeerAddress, by: &NamedBy) -> Result<Dialled, NotDialled> {
        self.dial_within(address, by, None).await
    }

    /// As [`Self::dial`], for a subprotocol of a certain node. The connection does not count if
    /// that node answers: many transfers from one node are no attack on it.
    ///
    /// # Errors
    /// [`NotDialled`].
    pub(crate) async fn dial_subprotocol(
        &self,
        address: &PeerAddress,
        by: &NamedBy,
        name: &'static str,
        node: NodeId,
    ) -> Result<Dialled, NotDialled> {
        self.dial_within(address, by, Some((name, node))).await
    }

    /// Asks who is at an address, and whether it proves its id on links, and closes. An identity
    /// that its certificate contradicts counts as none.
    ///
    /// # Errors
    /// [`NotProbed`].
    pub(crate) async fn probe(
        &self,
        address: &PeerAddress,
        by: &NamedBy,
    ) -> Result<(Option<UpgradeIdentity>, bool), NotProbed> {
        let dialled = match self.dial(address, by).await {
            Ok(dialled) => dialled,
            Err(NotDialled::Failed(error @ DialError::NotTried(_))) => {
                tracing::debug!("{address}, which a peer claims, was not verified: {error}");
                return Err(NotProbed::NotTried);
            }
            Err(NotDialled::Failed(_)) => return Ok((None, false)),
            Err(NotDialled::PutOff(until)) => return Err(NotProbed::PutOff(until)),
        };
        let proves = dialled.proves();
        let Dialled { mut socket, iroh, identity, certified, .. } = dialled;
        let proved = certified.map(|certified| certified.node).or(iroh.map(|iroh| iroh.node()));
        let identity = identity.filter(|identity| proved.is_none_or(|proved| proved == identity.node));
        let close = CloseFrame { code: 1000.into(), reason: "".into() };
        // The identity is known: whether the close frame still arrives has no effect.
        let closed = tokio::time::timeout(self.timeout, socket.close(Some(close))).await;
        tracing::trace!("probed {address}: {closed:?}");
        Ok((identity, proves))
    }

    async fn dial_within(
        &self,
        address: &PeerAddress,
        by: &NamedBy,
        subprotocol: Option<(&'static str, NodeId)>,
    ) -> Result<Dialled, NotDialled> {
        match (address.is_secure(), &self.credentials) {
            // It says nothing about the network.
            _ if address.node().is_some() => {}
            (true, None) => return Err(NotDialled::Failed(DialError::InClosedNetwork)),
            (false, Some(_)) => return Err(NotDialled::Failed(DialError::InOpenNetwork)),
            _ => {}
        }
        let progress = DialProgress::default();
        match tokio::time::timeout(self.timeout, self.upgrade(address, by, subprotocol, &progress)).await {
            Ok(Ok(None)) => Err(NotDialled::Failed(DialError::Refused(CLOSED.to_owned()))),
            Ok(Ok(Some(dialled))) => Ok(dialled),
            Ok(Err(tungstenite::Error::Io(error))) if PutOff::of(&error).is_some() => {
                Err(NotDialled::PutOff(PutOff::of(&error).unwrap_or_else(std::time::Instant::now)))
            }
            Ok(Err(tungstenite::Error::Protocol(ProtocolError::SecWebSocketSubProtocolError(_)))) => {
                Err(NotDialled::Failed(DialError::UnknownSubprotocol))
            }
            Ok(Err(error)) => Err(NotDialled::Failed(describe(&error))),
            Err(_) => Err(NotDialled::Failed(progress.take().unwrap_or(DialError::TimedOut(self.timeout)))),
        }
    }

    /// Connects and upgrades. Returns `None` if a closed node answers, which needs TLS.
    async fn upgrade(
        &self,
        address: &PeerAddress,
        by: &NamedBy,
        subprotocol: Option<(&'static str, NodeId)>,
        progress: &DialProgress,
    ) -> Result<Option<Dialled>, tungstenite::Error> {
        let Opened { stream, remote, iroh, permits } = self.open(address, by, progress).await?;
        // From now on it waits for the node.
        progress.take();
        let nonce = Nonce(rand::random());
        let mut request = match iroh {
            // Every path and host is accepted.
            Some(_) => "ws://iroh/".into_client_request()?,
            None => address.clone().without_zone().to_string().into_client_request()?,
        };
        if let Some((name, _)) = subprotocol {
            request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(name));
        }
        let stream = BoundedStream::new(stream, self.upgrade_bytes);
        let (stream, certified) = match &self.credentials {
            None => (ByteStream::Plain(stream), None),
            Some(live) => {
                let (stream, certified) = live.now().connect(stream).await?;
                (stream, Some(certified))
            }
        };
        let stream = WriteBuffer::new(ReadBuffer::new(stream));
        let (mut socket, response) = client_async_with_config(request, stream, Some(config())).await?;
        socket.get_mut().stream_mut().lift_read_limit();
        let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let identity = text(UpgradeIdentity::HEADER);
        if identity == Some(CLOSED_IDENTITY) {
            return Ok(None);
        }
        let identity: Option<UpgradeIdentity> = identity.and_then(|text| text.parse().ok());
        let answered = text(Nonce::HEADER).and_then(|text| text.parse().ok());
        let node = identity.map(|identity| identity.node);
        for permit in permits {
            permit.answered(node, subprotocol.is_some_and(|(_, wanted)| node == Some(wanted)));
        }
        let challenge = Challenge::Dialled { nonce, answered, ip: remote };
        Ok(Some(Dialled { socket, remote, iroh, identity, certified, challenge }))
    }

    async fn open(&self, address: &PeerAddress, by: &NamedBy, progress: &DialProgress) -> io::Result<Opened> {
        if address.node().is_none() {
            let (stream, permit) = connect_permitted(address, by, &self.permits).await?;
            let remote = stream.peer_addr()?.ip().to_canonical();
            return Ok(Opened { stream: RawStream::tcp(stream)?, remote, iroh: None, permits: vec![permit] });
        }
        let wan = self.wan.as_ref().ok_or_else(|| io::Error::new(io::ErrorKind::Unsupported, NO_WAN))?;
        let (stream, permits) = wan.connect(address, by, &self.permits, progress).await?;
        let iroh = stream.connection();
        Ok(Opened { stream: RawStream::Iroh(Box::new(stream)), remote: iroh.remote(), iroh: Some(iroh), permits })
    }
}

/// Explains a failure to a person who does not know the protocols.
fn describe(error: &tungstenite::Error) -> DialError {
    if let tungstenite::Error::Io(error) = error
        && let Some(known) = known(error)
    {
        return known.clone();
    }
    match error {
        tungstenite::Error::Io(error) if NotTried::is(error) => DialError::NotTried(error.to_string()),
        tungstenite::Error::Io(error) => match (dial_failed(error), error.kind()) {
            (Some(why), _) => DialError::Certificate(why),
            (None, io::ErrorKind::ConnectionRefused) => DialError::NobodyListens,
            (None, io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof) => DialError::ClosedAtOnce,
            (None, kind) => DialError::System { kind, text: error.to_string() },
        },
        tungstenite::Error::Http(response) => {
            describe_answer(response.status(), response.body().as_deref().unwrap_or_default())
        }
        tungstenite::Error::Protocol(_) => DialError::NoWebSocket,
        error => DialError::Other(error.to_string()),
    }
}

/// Returns the cause that a part of the dial gave.
fn known(error: &io::Error) -> Option<&DialError> {
    error.get_ref()?.downcast_ref()
}

/// Explains an answer that is no upgrade. The first line of a node's answer gives the reason.
fn describe_answer(status: http::StatusCode, body: &[u8]) -> DialError {
    match std::str::from_utf8(body).ok().and_then(|text| text.lines().next()) {
        Some(line) if line.starts_with("this node is ") => DialError::Refused(line.to_owned()),
        _ => DialError::NotANode(status.to_string()),
    }
}
