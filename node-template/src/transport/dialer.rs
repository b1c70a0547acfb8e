//! The client side: one connection attempt, within its time, and what the answer to the upgrade says of who is there.

use std::io;
use std::net::IpAddr;

use tokio_tungstenite::client_async_with_config;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::header::{HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{self, http};

use crate::protocol::access::Certified;
use crate::protocol::address::{PeerAddress, Scope};
use crate::protocol::id::UpgradeIdentity;
use crate::protocol::limits::Limits;
use crate::transport::link::byte_stream::{Guarded, Stream};
use crate::transport::link::read_buffer::Inlet;
use crate::transport::link::write_buffer::Outlet;
use crate::transport::resolver::connect;
use crate::transport::tls::{Live, dial_failed};
use crate::transport::{Socket, websocket_config};

/// A connection that we opened.
pub(crate) struct Dialled {
    pub(crate) socket: Socket,
    pub(crate) remote: IpAddr,
    /// Who a full peer says it is; `None` for a node of the exercise.
    pub(crate) identity: Option<UpgradeIdentity>,
    /// Who it proved to be, in a closed network.
    pub(crate) certified: Option<Certified>,
}

/// Opens a WebSocket to an address, unless its name leads nearer to us than `reach`. Nothing but the upgrade request is sent before the other side has shown that it speaks WebSocket.
///
/// # Errors
/// In words, for the log.
pub(crate) async fn dial(
    address: &PeerAddress,
    reach: Scope,
    limits: &Limits,
    secure: Option<&Live>,
) -> Result<Dialled, String> {
    dial_for(address, reach, limits, secure, None).await
}

/// As [`dial`], for another purpose than a link: a subprotocol (RFC 6455, section 1.9), which the other side must know.
///
/// # Errors
/// In words, for the log.
pub(crate) async fn dial_for(
    address: &PeerAddress,
    reach: Scope,
    limits: &Limits,
    secure: Option<&Live>,
    purpose: Option<&'static str>,
) -> Result<Dialled, String> {
    match (address.is_secure(), secure) {
        (true, None) => {
            return Err("it is in a closed network, or behind a proxy, and this node is in an open one; use its ws:// address, or set NETWORK_CA and CERTIFICATE to join it".into());
        }
        (false, Some(_)) => {
            return Err(
                "it is in an open network, and this one is closed; if it is a node of ours, write wss:// in its place"
                    .into(),
            );
        }
        _ => {}
    }
    match tokio::time::timeout(limits.dial_timeout, upgrade(address, reach, limits, secure, purpose)).await {
        Ok(Ok(dialled)) => Ok(dialled),
        Ok(Err(error)) => Err(describe(&error)),
        Err(_) => Err(format!("no answer within {} s", limits.dial_timeout.as_secs())),
    }
}

/// Asks who is at an address, and leaves.
pub(crate) async fn probe(
    address: &PeerAddress,
    reach: Scope,
    limits: &Limits,
    secure: Option<&Live>,
) -> Option<UpgradeIdentity> {
    let Dialled { mut socket, identity, certified, .. } = dial(address, reach, limits, secure).await.ok()?;
    // Whoever greets with another id than it has proved is nobody.
    let identity = identity.filter(|identity| certified.is_none_or(|certified| certified.node == identity.node));
    let farewell = CloseFrame { code: 1000.into(), reason: "".into() };
    // The identity is what was asked for; whether the close frame still arrives changes nothing.
    let left = tokio::time::timeout(limits.dial_timeout, socket.close(Some(farewell))).await;
    tracing::trace!("probed {address}: {left:?}");
    identity
}

async fn upgrade(
    address: &PeerAddress,
    reach: Scope,
    limits: &Limits,
    secure: Option<&Live>,
    purpose: Option<&'static str>,
) -> Result<Dialled, tungstenite::Error> {
    let stream = connect(address, reach).await?;
    let remote = stream.peer_addr()?.ip().to_canonical();
    let mut request = address.to_string().into_client_request()?;
    if let Some(purpose) = purpose {
        request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(purpose));
    }
    let stream = Guarded::new(stream, limits.upgrade_bytes)?;
    let (stream, certified) = match secure {
        None => (Stream::Plain(stream), None),
        Some(live) => {
            let (stream, certified) = live.now().connect(stream).await?;
            (stream, Some(certified))
        }
    };
    let (mut socket, response) =
        client_async_with_config(request, Outlet::new(Inlet::new(stream)), Some(websocket_config())).await?;
    socket.get_mut().stream_mut().lift_allowance();
    let identity = response
        .headers()
        .get(UpgradeIdentity::HEADER)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse().ok());
    Ok(Dialled { socket, remote, identity, certified })
}

/// What went wrong, in words that a learner understands.
fn describe(error: &tungstenite::Error) -> String {
    match error {
        tungstenite::Error::Io(error) if dial_failed(error).is_some() => dial_failed(error).unwrap_or_default(),
        tungstenite::Error::Io(error) => match error.kind() {
            io::ErrorKind::ConnectionRefused => "nobody listens there".into(),
            io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof => "it closed the connection at once".into(),
            _ => error.to_string(),
        },
        tungstenite::Error::Http(response) => {
            describe_answer(response.status(), response.body().as_deref().unwrap_or_default())
        }
        tungstenite::Error::Protocol(_) => "what answers there speaks no WebSocket".into(),
        error => error.to_string(),
    }
}

/// Another answer than an upgrade. A node says in its first line why.
fn describe_answer(status: http::StatusCode, body: &[u8]) -> String {
    match std::str::from_utf8(body).ok().and_then(|text| text.lines().next()) {
        Some(line) if line.starts_with("this node is ") => format!("it says: {line}"),
        _ => format!("what answers there is no node: it says HTTP {status}"),
    }
}
