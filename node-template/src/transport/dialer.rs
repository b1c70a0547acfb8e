//! The client side: one connection attempt, within its time, and what the answer to the upgrade says of who is there.

use std::io;
use std::net::IpAddr;

use tokio_tungstenite::client_async_with_config;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{self, http};

use super::resolve::connect;
use super::stream::Guarded;
use super::{Socket, websocket_config};
use crate::protocol::address::{PeerAddress, Scope};
use crate::protocol::identity::Greeting;
use crate::protocol::limits::Limits;

/// A connection that we opened.
pub(crate) struct Dialled {
    pub(crate) socket: Socket,
    pub(crate) remote: IpAddr,
    /// Who a full peer says it is; `None` for a node of the exercise.
    pub(crate) greeting: Option<Greeting>,
}

/// Opens a WebSocket to an address, unless its name leads nearer to us than `reach`. Nothing but the upgrade request is sent before the other side has shown that it speaks WebSocket.
///
/// # Errors
/// In words, for the log.
pub(crate) async fn dial(address: &PeerAddress, reach: Scope, limits: &Limits) -> Result<Dialled, String> {
    if address.is_secure() {
        return Err("wss is not supported by this version; use a ws:// address".into());
    }
    match tokio::time::timeout(limits.dial_timeout, upgrade(address, reach, limits)).await {
        Ok(Ok(dialled)) => Ok(dialled),
        Ok(Err(error)) => Err(describe(&error)),
        Err(_) => Err(format!("no answer within {} s", limits.dial_timeout.as_secs())),
    }
}

/// Asks who is at an address, and leaves.
pub(crate) async fn probe(address: &PeerAddress, reach: Scope, limits: &Limits) -> Option<Greeting> {
    let Dialled { mut socket, greeting, .. } = dial(address, reach, limits).await.ok()?;
    let farewell = CloseFrame { code: 1000.into(), reason: "".into() };
    // The greeting is what was asked for; whether the close frame still arrives changes nothing.
    let left = tokio::time::timeout(limits.dial_timeout, socket.close(Some(farewell))).await;
    tracing::trace!("probed {address}: {left:?}");
    greeting
}

async fn upgrade(address: &PeerAddress, reach: Scope, limits: &Limits) -> Result<Dialled, tungstenite::Error> {
    let stream = connect(address, reach).await?;
    let remote = stream.peer_addr()?.ip().to_canonical();
    let request = address.to_string().into_client_request()?;
    let stream = Guarded::new(stream, limits.upgrade_bytes)?;
    let (mut socket, response) = client_async_with_config(request, stream, Some(websocket_config())).await?;
    socket.get_mut().lift_allowance();
    let greeting = response
        .headers()
        .get(Greeting::HEADER)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse().ok());
    Ok(Dialled { socket, remote, greeting })
}

/// What went wrong, in words that a learner understands.
fn describe(error: &tungstenite::Error) -> String {
    match error {
        tungstenite::Error::Io(error) => match error.kind() {
            io::ErrorKind::ConnectionRefused => "nobody listens there".into(),
            io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof => "it closed the connection at once".into(),
            _ => error.to_string(),
        },
        tungstenite::Error::Http(response) => describe_status(response.status()),
        tungstenite::Error::Protocol(_) => "what answers there speaks no WebSocket".into(),
        error => error.to_string(),
    }
}

fn describe_status(status: http::StatusCode) -> String {
    format!("what answers there is no node: it says HTTP {status}")
}
