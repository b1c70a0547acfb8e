//! A transaction: any JSON object, and the identity that makes it the same transaction wherever it appears.
//!
//! The identity is the SHA-256 of the object's canonical JSON (RFC 8785). Not its `hash` field and not its `id`: in the exercise every clone
//! without a public key produces the same `hash`, and two different transactions under one id would split the pools.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use super::address::PeerAddress;
use super::frame::Frame;
use super::identity::{NodeId, NotAnId, parse_hex32};
use super::json::{JsonError, Kind, Parser, Value};
use super::limits;

/// What a transaction is known by: the SHA-256 of its canonical JSON (RFC 8785), 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransactionId(pub [u8; 32]);

impl fmt::Display for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TransactionId({})", data_encoding::HEXLOWER.encode(&self.0[..4]))
    }
}

impl FromStr for TransactionId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_hex32(text).map(Self).ok_or(NotAnId {
            expected: "a transaction's identity: 64 hexadecimal digits",
        })
    }
}

/// Who first sent a transaction into the network: the sibling `from` of a TRANSACTION frame.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// A full peer, itself or for one of its clients: `<node id>`.
    Node(NodeId),
    /// A node of the exercise, the same wherever it enters: `plain:<its address>`.
    Plain(PeerAddress),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(node) => node.fmt(f),
            Self::Plain(address) => write!(f, "plain:{address}"),
        }
    }
}

impl FromStr for Origin {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("plain:") {
            Some(address) => address.parse().map(Self::Plain).map_err(|_| NotAnId {
                expected: "an origin: plain:<address>",
            }),
            None => text.parse().map(Self::Node),
        }
    }
}

/// A transaction that may enter a pool: its identity is known, and its text is in normal form.
///
/// It holds the frame in which it travels, `{"type":"TRANSACTION","data":<body>,"from":"<origin>"}`, written once. A clone costs a reference count.
#[derive(Clone, Debug)]
pub struct Transaction {
    id: TransactionId,
    time: u64,
    frame: Frame,
    body_bytes: u32,
}

/// Why a JSON value is no transaction.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTransaction {
    /// An array, a number, a text: anything but an object.
    #[error("a transaction is a JSON object, as in {{\"amount\":1}}; this is {0}")]
    NotAnObject(&'static str),
    /// Longer than [`limits::TRANSACTION_BYTES`].
    #[error("the transaction has {0} bytes; at most {max} are allowed", max = limits::TRANSACTION_BYTES)]
    TooLong(usize),
    /// Not JSON, or JSON with something that JavaScript can not hold.
    #[error(transparent)]
    Json(#[from] JsonError),
}

const PREFIX: &str = r#"{"type":"TRANSACTION","data":"#;

impl Transaction {
    /// Reads a transaction from the text of its object alone.
    ///
    /// # Errors
    /// [`InvalidTransaction`] says why the text is none.
    pub fn parse(parser: &mut Parser, text: &str) -> Result<Self, InvalidTransaction> {
        Self::from_value(parser.parse(text)?, None)
    }

    /// A transaction from a value that was read already.
    ///
    /// # Errors
    /// [`InvalidTransaction`] says why the value is none.
    pub fn from_value(value: Value<'_>, origin: Option<&Origin>) -> Result<Self, InvalidTransaction> {
        if value.kind() != Kind::Object {
            return Err(InvalidTransaction::NotAnObject("something else"));
        }
        let mut canonical = Vec::new();
        value.write_canonical(&mut canonical)?;
        let id = TransactionId(Sha256::digest(&canonical).into());
        let mut body = Vec::new();
        value.write_compact(&mut body)?;
        if body.len() > limits::TRANSACTION_BYTES {
            return Err(InvalidTransaction::TooLong(body.len()));
        }
        let time = value
            .get("timeStamp")
            .and_then(Value::as_f64)
            .map_or(0, |time| time as u64);
        let body = String::from_utf8(body).expect("compact JSON is UTF-8");
        Ok(Self {
            id,
            time,
            frame: frame(&body, origin),
            body_bytes: body.len() as u32,
        })
    }

    /// The same transaction, travelling under another origin.
    pub fn with_origin(&self, origin: &Origin) -> Self {
        Self {
            frame: frame(self.body(), Some(origin)),
            ..self.clone()
        }
    }

    /// Its identity.
    pub fn id(&self) -> TransactionId {
        self.id
    }

    /// Where it stands in the order of comparison: its `timeStamp` in seconds, 0 where it has none that is a finite number from 0 to 2^53 (values
    /// from 10^11 on are milliseconds). An order only, never a test of validity.
    pub fn time(&self) -> u64 {
        self.time
    }

    /// The object as compact JSON: what `JSON.stringify` makes of it, keys in the order received.
    pub fn body(&self) -> &str {
        &self.frame.as_str()[PREFIX.len()..][..self.body_bytes as usize]
    }

    /// The frame in which it travels.
    pub fn frame(&self) -> &Frame {
        &self.frame
    }
}

fn frame(body: &str, origin: Option<&Origin>) -> Frame {
    Frame::from(match origin {
        Some(origin) => format!(r#"{PREFIX}{body},"from":"{origin}"}}"#),
        None => format!("{PREFIX}{body}}}"),
    })
}
