//! Requests for a WebSocket that are not valid (RFC 6455, section 4.2.1). The library ends such a
//! connection without an answer, so that a person with a wrong proxy or program learns nothing.

use std::fmt;

use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::handshake::machine::TryParse;
use tokio_tungstenite::tungstenite::handshake::server::{Request, create_response};

/// What is wrong with a request for a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InvalidUpgrade {
    Method,
    HttpVersion,
    Connection,
    Upgrade,
    /// It has a key, and no longer the header that asks for the upgrade: a proxy removed it, as it
    /// does with all that are for one hop (RFC 9110, section 7.6.1).
    Stripped,
    Version,
    NoKey,
    InvalidKey,
    /// The HTTP itself.
    Malformed,
}

impl InvalidUpgrade {
    /// Returns why the library refuses a head; `None` if it is valid, or has not come in whole.
    pub(crate) fn of(head: &[u8]) -> Option<Self> {
        let judged = Request::try_parse(head).and_then(|parsed| match parsed {
            Some((_, request)) => create_response(&request).map(drop),
            None => Ok(()),
        });
        let Err(Error::Protocol(error)) = judged else { return judged.is_err().then_some(Self::Malformed) };
        Some(match error {
            ProtocolError::WrongHttpMethod => Self::Method,
            ProtocolError::WrongHttpVersion => Self::HttpVersion,
            ProtocolError::MissingConnectionUpgradeHeader => Self::Connection,
            ProtocolError::MissingUpgradeWebSocketHeader => Self::Upgrade,
            ProtocolError::MissingSecWebSocketVersionHeader => Self::Version,
            ProtocolError::MissingSecWebSocketKey => Self::NoKey,
            ProtocolError::InvalidSecWebSocketKey => Self::InvalidKey,
            _ => Self::Malformed,
        })
    }
}

/// Displays the fault and its remedy, as text that follows "the WebSocket upgrade". Nothing in it
/// is the other end's: the log has one line for each text.
impl fmt::Display for InvalidUpgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Method => "is no GET; send 'GET / HTTP/1.1'",
            Self::HttpVersion => {
                "came as HTTP/1.0; a proxy must speak HTTP/1.1 to this port (nginx: proxy_http_version 1.1)"
            }
            Self::Connection => {
                "lacks 'Connection: Upgrade'; send it, and let a proxy send it too (nginx: proxy_set_header Connection \"upgrade\")"
            }
            Self::Upgrade => "names other protocols too; send 'Upgrade: websocket' alone",
            Self::Stripped => {
                "lacks 'Upgrade: websocket'; a proxy must pass it on (nginx: proxy_http_version 1.1, proxy_set_header Upgrade $http_upgrade, proxy_set_header Connection \"upgrade\")"
            }
            Self::Version => "lacks 'Sec-WebSocket-Version: 13'; send that version alone (RFC 6455)",
            Self::NoKey => "has no Sec-WebSocket-Key; send 16 random bytes in base64",
            Self::InvalidKey => "has a Sec-WebSocket-Key that is not 16 bytes in base64; send 16 random bytes so",
            Self::Malformed => "is no valid HTTP/1.1; check its request line and header lines, of which 124 are read",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
                         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";

    #[test]
    fn each_fault_is_found_and_a_valid_upgrade_has_none() {
        for whole in [VALID.to_owned(), VALID.replace("-WebSocket-", "-WEBSOCKET-"), VALID.replace('\r', "")] {
            assert_eq!(InvalidUpgrade::of(whole.as_bytes()), None, "{whole}");
        }
        for cut in 0..VALID.len() {
            assert_eq!(InvalidUpgrade::of(&VALID.as_bytes()[..cut]), None, "{cut}");
        }
        for (what, by, fault) in [
            ("GET", "POST", InvalidUpgrade::Method),
            ("HTTP/1.1", "HTTP/1.0", InvalidUpgrade::HttpVersion),
            ("Upgrade\r\nSec", "close\r\nSec", InvalidUpgrade::Connection),
            ("websocket\r\n", "websocket, h2c\r\n", InvalidUpgrade::Upgrade),
            ("Version: 13", "Version: 8", InvalidUpgrade::Version),
            ("Sec-WebSocket-Version: 13\r\n", "", InvalidUpgrade::Version),
            ("Sec-WebSocket-Key", "X", InvalidUpgrade::NoKey),
            ("AAAA==", "==", InvalidUpgrade::InvalidKey),
            ("Host: ", "Host \u{1}: ", InvalidUpgrade::Malformed),
            ("GET /", "GET /\\\"<", InvalidUpgrade::Malformed),
        ] {
            assert!(VALID.contains(what), "{what}");
            let invalid = VALID.replace(what, by);
            assert_eq!(InvalidUpgrade::of(invalid.as_bytes()), Some(fault), "{invalid}");
        }
    }
}
