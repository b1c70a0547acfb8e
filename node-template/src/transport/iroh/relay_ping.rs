//! Asks whether a relay answers at an address, before the engine is told of it: the engine
//! tries a relay that refuses about a dozen times in a minute. So a peer that names a victim as
//! a relay causes one connection with one short request, as any other address does.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How the answer of a relay begins.
const ANSWER: &[u8] = b"HTTP/1.1 200";

/// Connects once, and sends the request by which endpoints measure how far away a relay is.
///
/// # Errors
/// The system's, or that no relay answers there.
pub(super) async fn ping(at: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect(at).await?;
    let request = format!("GET /ping HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = [0; ANSWER.len()];
    // Less is no answer.
    stream.read_exact(&mut answer).await?;
    if answer != ANSWER {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("no relay answers at {at}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// Answers one connection. Returns what it sent.
    async fn answered(answer: &'static str) -> (io::Result<()>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let at = listener.local_addr().expect("bound");
        let serving = async {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut request = [0; 512];
            let read = stream.read(&mut request).await.expect("a request");
            stream.write_all(answer.as_bytes()).await.expect("sent");
            String::from_utf8_lossy(&request[..read]).into_owned()
        };
        tokio::join!(ping(at), serving)
    }

    #[tokio::test]
    async fn only_what_answers_as_a_relay_is_one() {
        let (asked, request) = answered("HTTP/1.1 200 OK\r\n\r\n").await;
        assert!(asked.is_ok() && request.starts_with("GET /ping HTTP/1.1\r\n") && request.len() < 100, "{request}");
        for other in ["HTTP/1.1 404 Not Found\r\n\r\n", "SSH-2.0-OpenSSH_9.9\r\n", ""] {
            assert!(answered(other).await.0.is_err(), "{other:?}");
        }
    }
}
