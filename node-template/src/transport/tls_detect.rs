//! What a connection is before it is a WebSocket: in a closed network TLS, in an open one not. Who comes with the other is told so and why, on both sides.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite;

use crate::protocol::access::Certified;
use crate::transport::Socket;
use crate::transport::link::byte_stream::{Guarded, Stream};
use crate::transport::tls::{Live, accept_failed};

/// The first byte of a TLS connection: a record of the handshake (RFC 8446, section 5.1).
const TLS_HANDSHAKE: u8 = 0x16;
/// How long somebody who is turned away has to take what we say: with it unread, closing would take it back.
const GOODBYE: Duration = Duration::from_secs(1);
/// What a node of an open network is told. Plain HTTP, which its WebSocket library and a browser understand.
const CLOSED: &str = "this node is in a closed network: it takes wss:// from nodes with a certificate of its authority, \
                      which 'cargo xtask issue-certificate' makes";
/// What a node of a closed network is told, though it expects TLS: people read it, and its library sees that this is none.
const OPEN: &str = "this node is in an open network: it speaks no TLS, dial it as ws://";

/// A WebSocket, and who proved to be at its other end.
pub(crate) struct Entered {
    pub(crate) socket: Socket,
    pub(crate) certified: Option<Certified>,
}

/// Why there is no WebSocket.
pub(crate) enum NotEntered {
    /// It was none.
    WebSocket(tungstenite::Error),
    /// It came from the wrong kind of network, or without the right to enter.
    TurnedAway(String),
}

impl From<tungstenite::Error> for NotEntered {
    fn from(error: tungstenite::Error) -> Self {
        Self::WebSocket(error)
    }
}

impl From<io::Error> for NotEntered {
    fn from(error: io::Error) -> Self {
        Self::WebSocket(error.into())
    }
}

/// Takes a connection in as far as the WebSocket upgrade.
pub(crate) async fn enter(
    mut stream: Guarded,
    secure: Option<&Live>,
) -> Result<(Stream<Guarded>, Option<Certified>), NotEntered> {
    let is_tls = stream.first_byte().await? == Some(TLS_HANDSHAKE);
    match secure {
        None if is_tls => {
            say(&mut stream, "400 Bad Request", OPEN).await;
            let reason = "it spoke TLS, so that node is in a closed network, and this one is in none; to join that one, set NETWORK_CA and CERTIFICATE here";
            Err(NotEntered::TurnedAway(reason.into()))
        }
        None => Ok((Stream::Plain(stream), None)),
        Some(_) if !is_tls => {
            say(&mut stream, "426 Upgrade Required", CLOSED).await;
            let reason = "it spoke no TLS, so that node or client is in an open network, and this one is closed; if it is one of yours, issue it a certificate with 'cargo xtask issue-certificate' and dial wss://";
            Err(NotEntered::TurnedAway(reason.into()))
        }
        Some(live) => match live.now().accept(stream).await {
            Ok((stream, certified)) => Ok((stream, Some(certified))),
            Err((error, mut stream)) => {
                linger(&mut stream).await;
                Err(NotEntered::TurnedAway(accept_failed(&error)))
            }
        },
    }
}

/// Answers in plain HTTP.
async fn say(stream: &mut Guarded, status: &str, text: &str) {
    let length = text.len() + 1;
    let answer = format!(
        "HTTP/1.1 {status}\r\nUpgrade: TLS/1.3\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n{text}\n"
    );
    if stream.write_all(answer.as_bytes()).await.is_ok() {
        linger(stream).await;
    }
}

/// Lets the other end read what was said last. It may have gone, and then there is nobody to wait for.
async fn linger(stream: &mut Guarded) {
    let rest = async {
        let mut rest = [0; 1_024];
        stream.shutdown().await?;
        while stream.read(&mut rest).await? > 0 {}
        io::Result::Ok(())
    };
    let ended = tokio::time::timeout(GOODBYE, rest).await;
    tracing::trace!("it was turned away: {ended:?}");
}
