//! The frames of requests: a WebSocket of its own between two nodes, which never becomes a link.
//!
//! | frame | sender | meaning |
//! |---|---|---|
//! | HELLO | both, first | who it is, with a proof for this connection |
//! | REQUEST | either | a request follows, in chunks |
//! | RESPONSE | the other | its answer follows, in chunks |
//! | FAILED | the other | there is no answer: why |
//! | CANCEL | the requester | no answer is wanted any more |
//! | chunk | either | binary: a part of a request or an answer |
//!
//! Each end numbers its own requests upwards. Every REQUEST is ended by a whole answer or by
//! FAILED, also after CANCEL.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::id::{NodeId, Nonce, Session};
use crate::limits;
use crate::wire::proof::{Proof, ProofOnWire};

/// The name of the subprotocol of requests.
pub const REQUEST_PROTOCOL: &str = "p2p-node.request";
/// The bytes before the content of a chunk: its kind, and the number of its request.
const CHUNK_HEAD: usize = 9;
/// The longest text frame, in bytes: a HELLO with long names.
const TEXT_BYTES: usize = 16 * 1024;

/// Who is at one end of the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Its network.
    pub network: String,
    /// Its id.
    pub node: NodeId,
    /// Its session.
    pub session: Session,
    /// Its proof, for [`Purpose::Request`](crate::signature::Purpose::Request).
    pub proof: Proof,
    /// From a dialler that was asked for the connection: the nonce of that CALLBACK.
    pub callback: Option<Nonce>,
}

/// A text frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestFrame {
    /// The first frame of either end.
    Hello(Box<Hello>),
    /// A request follows.
    Request {
        /// Its number: higher than all before from this end.
        id: u64,
        /// Its length in bytes.
        bytes: usize,
        /// How long its sender waits for the answer, in milliseconds.
        timeout: u64,
    },
    /// An answer follows.
    Response {
        /// The number of the request.
        id: u64,
        /// Its length in bytes.
        bytes: usize,
    },
    /// There is no answer.
    Failed {
        /// The number of the request.
        id: u64,
        /// What went wrong, for the program of the asker.
        cause: FailedCause,
        /// For people.
        reason: String,
    },
    /// No answer is wanted any more.
    Cancel {
        /// The number of the request.
        id: u64,
    },
}

/// Why a request has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailedCause {
    /// The application there serves no requests.
    NotServed,
    /// Too many at once.
    Busy,
    /// The access rules there deny it.
    Denied,
    /// The application there failed.
    Handler,
    /// It took longer than its sender waits.
    TimedOut,
    /// It was cancelled.
    Cancelled,
    /// A cause of a later release.
    #[serde(other)]
    Other,
}

/// Whether a chunk belongs to a request or to an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChunkOf {
    /// To a request of its sender.
    Request,
    /// To an answer to the other end.
    Response,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "type", content = "data", rename_all = "UPPERCASE")]
enum OnWire<'a> {
    Hello {
        network: Cow<'a, str>,
        node: Cow<'a, str>,
        session: Cow<'a, str>,
        #[serde(borrow)]
        proof: ProofOnWire<'a>,
        #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
        callback: Option<Cow<'a, str>>,
    },
    Request {
        id: u64,
        bytes: usize,
        timeout: u64,
    },
    Response {
        id: u64,
        bytes: usize,
    },
    Failed {
        id: u64,
        cause: FailedCause,
        #[serde(default)]
        reason: Cow<'a, str>,
    },
    Cancel {
        id: u64,
    },
}

impl RequestFrame {
    /// Writes the frame.
    pub fn to_text(&self) -> String {
        let on_wire = match self {
            Self::Hello(hello) => OnWire::Hello {
                network: Cow::Borrowed(&hello.network),
                node: hello.node.to_string().into(),
                session: hello.session.to_string().into(),
                proof: hello.proof.on_wire(),
                callback: hello.callback.map(|nonce| nonce.to_string().into()),
            },
            Self::Request { id, bytes, timeout } => OnWire::Request { id: *id, bytes: *bytes, timeout: *timeout },
            Self::Response { id, bytes } => OnWire::Response { id: *id, bytes: *bytes },
            Self::Failed { id, cause, reason } => {
                OnWire::Failed { id: *id, cause: *cause, reason: Cow::Borrowed(reason) }
            }
            Self::Cancel { id } => OnWire::Cancel { id: *id },
        };
        serde_json::to_string(&on_wire).expect("text keys and whole numbers can always be serialised")
    }

    /// Reads a frame.
    ///
    /// # Errors
    /// What is wrong, for the other end.
    pub fn read(text: &str) -> Result<Self, String> {
        if text.len() > TEXT_BYTES {
            return Err(format!("a text frame has at most {TEXT_BYTES} bytes"));
        }
        let frame: OnWire<'_> = serde_json::from_str(text).map_err(|error| format!("no frame of requests: {error}"))?;
        let bounded = |bytes: usize| match bytes {
            0..=limits::REQUEST_BYTES => Ok(bytes),
            _ => Err(format!("a request or an answer has at most {} bytes", limits::REQUEST_BYTES)),
        };
        Ok(match frame {
            OnWire::Hello { network, node, session, proof, callback } => Self::Hello(Box::new(Hello {
                network: network.into_owned(),
                node: node.parse().map_err(|error| format!("HELLO: {error}"))?,
                session: session.parse().map_err(|error| format!("HELLO: {error}"))?,
                proof: proof.read()?,
                callback: callback.map(|text| text.parse().map_err(|error| format!("HELLO: {error}"))).transpose()?,
            })),
            OnWire::Request { id, bytes, timeout } => Self::Request { id, bytes: bounded(bytes)?, timeout },
            OnWire::Response { id, bytes } => Self::Response { id, bytes: bounded(bytes)? },
            OnWire::Failed { id, cause, reason } => Self::Failed { id, cause, reason: reason.into_owned() },
            OnWire::Cancel { id } => Self::Cancel { id },
        })
    }
}

impl ChunkOf {
    /// Writes a chunk: `0` for a request or `1` for an answer, the number as eight bytes, the most
    /// significant first, and the content.
    pub fn to_bytes(self, id: u64, content: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(CHUNK_HEAD + content.len());
        bytes.push(match self {
            Self::Request => 0,
            Self::Response => 1,
        });
        bytes.extend_from_slice(&id.to_be_bytes());
        bytes.extend_from_slice(content);
        bytes
    }

    /// Reads a chunk: what it belongs to, the number, and the content.
    ///
    /// # Errors
    /// What is wrong, for the other end.
    pub fn read(bytes: &[u8]) -> Result<(Self, u64, &[u8]), String> {
        let Some((head, content)) = bytes.split_first_chunk::<CHUNK_HEAD>() else {
            return Err(format!("a chunk begins with {CHUNK_HEAD} bytes: its kind and a number"));
        };
        let [kind, id @ ..] = *head;
        let of = match kind {
            0 => Self::Request,
            1 => Self::Response,
            _ => return Err("a chunk begins with 0 or 1".to_owned()),
        };
        match content.len() {
            1..=limits::REQUEST_CHUNK => Ok((of, u64::from_be_bytes(id), content)),
            _ => Err(format!("a chunk has 1 to {} bytes", limits::REQUEST_CHUNK)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::Signature;

    fn hello(proof: Proof, callback: Option<Nonce>) -> RequestFrame {
        let (node, session) = (NodeId([7; 32]), Session::from_random([3; 16]));
        RequestFrame::Hello(Box::new(Hello { network: "a \"net\"".into(), node, session, proof, callback }))
    }

    #[test]
    fn frames_survive_the_wire() {
        let frames = [
            hello(Proof::Acceptor { direct: true, signature: Signature([1; 64]) }, Some(Nonce([9; 32]))),
            hello(
                Proof::Dialler {
                    nonce: "00".repeat(32).parse().unwrap(),
                    address: "ws://localhost:4001".parse().unwrap(),
                    ip: "::1".parse().unwrap(),
                    signature: Signature([2; 64]),
                },
                None,
            ),
            RequestFrame::Request { id: 1, bytes: 0, timeout: 30_000 },
            RequestFrame::Response { id: u64::MAX, bytes: limits::REQUEST_BYTES },
            RequestFrame::Failed { id: 2, cause: FailedCause::NotServed, reason: "no \"handler\"".into() },
            RequestFrame::Cancel { id: 3 },
        ];
        for frame in frames {
            assert_eq!(RequestFrame::read(&frame.to_text()), Ok(frame));
        }
        let text = r#"{"data":{"more":1,"cause":"of-later","id":4},"type":"FAILED","sibling":[]}"#;
        let later = RequestFrame::Failed { id: 4, cause: FailedCause::Other, reason: String::new() };
        assert_eq!(RequestFrame::read(text), Ok(later), "later releases may say more");
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        let much = format!(r#"{{"type":"CANCEL","data":{{"id":1,"x":"{}"}}}}"#, "x".repeat(TEXT_BYTES));
        for text in [
            "",
            "{}",
            r#"{"type":"CANCEL"}"#,
            r#"{"type":"CANCEL","data":{"id":-1}}"#,
            r#"{"type":"REQUEST","data":{"id":1,"bytes":1048577,"timeout":1}}"#,
            r#"{"type":"RESPONSE","data":{"id":1,"bytes":1e99}}"#,
            r#"{"type":"TRANSACTION","data":{}}"#,
            r#"{"type":"HELLO","data":{"network":"n","node":"0","session":"1","proof":{}}}"#,
            &much,
        ] {
            assert!(RequestFrame::read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn chunks_survive_the_wire_within_their_bounds() {
        for of in [ChunkOf::Request, ChunkOf::Response] {
            assert_eq!(ChunkOf::read(&of.to_bytes(258, b"content")), Ok((of, 258, &b"content"[..])));
        }
        assert_eq!(ChunkOf::Response.to_bytes(258, b"x"), [1, 0, 0, 0, 0, 0, 0, 1, 2, b'x']);
        let (empty, large) = (ChunkOf::Request.to_bytes(1, b""), vec![0; CHUNK_HEAD + limits::REQUEST_CHUNK + 1]);
        for bytes in [&b""[..], &[0; 8], &empty, &large, &[2, 0, 0, 0, 0, 0, 0, 0, 0, 0]] {
            assert!(ChunkOf::read(bytes).is_err());
        }
    }
}
