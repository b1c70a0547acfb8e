//! TLS detection on an accepted connection: a closed network speaks TLS, an open one does not. A
//! client of the other kind gets an answer that says so, and the driver a reason for the log.

use std::io;
use std::time::Duration;

use meshpool_proto::access::Certified;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::tungstenite;

use crate::transport::bounded_stream::BoundedStream;
use crate::transport::tls::{Live, accept_failed};
use crate::util::byte_stream::ByteStream;

/// The first byte of a TLS connection: a handshake record (RFC 8446, section 5.1).
const TLS_HANDSHAKE: u8 = 0x16;
/// How long a rejected client has to read our answer. Closing with unread bytes would discard it.
const READ_ANSWER: Duration = Duration::from_secs(1);
/// The answer of a closed network to a request by plain HTTP, for a person.
pub(crate) const CLOSED: &str = "this node is in a closed network: it takes wss:// from nodes with a certificate of its authority, \
                      which 'cargo xtask issue-certificate' makes";
/// What stands in place of the upgrade identity of a closed node if the dialler speaks no TLS. An
/// older node takes it for an exercise peer, which is closed at once.
pub(crate) const CLOSED_IDENTITY: &str = "closed";
/// The answer of an open network, to a client that expects TLS. A library sees that it is not TLS,
/// and a person can read it.
const OPEN: &str = "this node is in an open network: it speaks no TLS, dial it as ws://";

/// Why a connection is not upgraded.
pub(crate) enum UpgradeError {
    /// It is no WebSocket.
    WebSocket(tungstenite::Error),
    /// It asked for something else by HTTP, and was answered.
    PlainHttp,
    /// It speaks no TLS to a closed node: nothing was read yet.
    NoTls(BoundedStream),
    /// The other end is in the wrong kind of network, its certificate does not count here, or its
    /// upgrade is not valid. The reason is for the log.
    Rejected(String),
}

impl<E: Into<tungstenite::Error>> From<E> for UpgradeError {
    fn from(error: E) -> Self {
        Self::WebSocket(error.into())
    }
}

/// Accepts a connection up to the WebSocket upgrade, which is the next to be read.
pub(crate) async fn accept(
    mut stream: BoundedStream,
    credentials: Option<&Live>,
) -> Result<(ByteStream<BoundedStream>, Option<Certified>), UpgradeError> {
    let is_tls = stream.first_byte().await? == Some(TLS_HANDSHAKE);
    match credentials {
        None if is_tls => {
            answer(&mut stream, &error_response("400 Bad Request", OPEN)).await;
            let reason = "it spoke TLS, and this node is in an open network: it is a node of a closed network, which this one joins with NETWORK_CA and CERTIFICATE, or a browser that was given https://";
            Err(UpgradeError::Rejected(reason.into()))
        }
        None => Ok((ByteStream::Plain(stream), None)),
        Some(_) if !is_tls => Err(UpgradeError::NoTls(stream)),
        Some(live) => match live.now().accept(stream).await {
            Ok((stream, certified)) => Ok((stream, Some(certified))),
            Err((error, mut stream)) => {
                drain(&mut stream).await;
                Err(UpgradeError::Rejected(accept_failed(&error)))
            }
        },
    }
}

/// Returns an answer in plain HTTP.
fn error_response(status: &str, text: &str) -> String {
    let length = text.len() + 1;
    format!(
        "HTTP/1.1 {status}\r\nUpgrade: TLS/1.3\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n{text}\n"
    )
}

/// Sends an answer, and ends the connection.
pub(crate) async fn answer(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), answer: &str) {
    if stream.write_all(answer.as_bytes()).await.is_ok() && stream.flush().await.is_ok() {
        drain(stream).await;
    }
}

/// Gives the other end time to read our last bytes.
async fn drain(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    let rest = async {
        let mut rest = [0; 1_024];
        stream.shutdown().await?;
        while stream.read(&mut rest).await? > 0 {}
        io::Result::Ok(())
    };
    let ended = tokio::time::timeout(READ_ANSWER, rest).await;
    tracing::trace!("a connection was rejected: {ended:?}");
}
