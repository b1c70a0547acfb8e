//! Transactions: any JSON object, known by the hash of its canonical form.
//!
//! The id is the SHA-256 of the object's canonical JSON (RFC 8785), not its members `hash` or `id`.
//! In the exercise all transactions without a public key have the same `hash`, and two transactions
//! with one id would make pools differ.

use std::collections::{HashMap, HashSet};
use std::fmt::{self, Write};
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use data_encoding::HEXLOWER;
use foldhash::fast::RandomState;
use sha2::{Digest, Sha256};

use crate::address::PeerAddress;
use crate::frame::Frame;
use crate::id::{InvalidId, NodeId, hash_start, parse_hex32, push_hex32};
use crate::json::{JsonError, Kind, Parser, Value};
use crate::limits;

/// The id of a transaction: the SHA-256 of its canonical JSON, 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TransactionId(pub [u8; 32]);

impl Hash for TransactionId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        hash_start(&self.0, state);
    }
}

/// A map by id. A fast hash suffices, because ids are hashes. It is seeded: a stranger could search
/// for ids that fall into one bucket.
pub type IdMap<V> = HashMap<TransactionId, V, RandomState>;
/// A set of ids, see [`IdMap`].
pub type IdSet = HashSet<TransactionId, RandomState>;

impl TransactionId {
    /// Returns the first eight hexadecimal digits, for logs.
    pub fn short(&self) -> String {
        HEXLOWER.encode(&self.0[..4])
    }
}

impl fmt::Display for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HEXLOWER.encode_mut_str(&self.0, &mut [0; 64]))
    }
}

impl fmt::Debug for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TransactionId({})", HEXLOWER.encode_display(&self.0[..4]))
    }
}

impl FromStr for TransactionId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_hex32(text).map(Self).ok_or(InvalidId { expected: "a transaction's identity: 64 hexadecimal digits" })
    }
}

/// The node that sent a transaction first: the sibling `from` of a TRANSACTION frame.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// A native node, for itself or one of its clients: `<node id>`.
    Node(NodeId),
    /// An exercise node, whichever native node it is linked to: `plain:<its address>`.
    Exercise(PeerAddress),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(node) => node.fmt(f),
            Self::Exercise(address) => write!(f, "plain:{address}"),
        }
    }
}

impl Origin {
    /// Appends the text. For a node it saves the allocation that [`fmt::Display`] makes.
    fn push_to(&self, out: &mut String) {
        match self {
            Self::Node(node) => push_hex32(&node.0, out),
            Self::Exercise(_) => write!(out, "{self}").expect("a String takes all that is written to it"),
        }
    }

    /// Returns the length of the text in bytes.
    fn text_len(&self) -> usize {
        struct Length(usize);
        impl Write for Length {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                self.0 += text.len();
                Ok(())
            }
        }
        if let Self::Node(node) = self {
            return 2 * node.0.len();
        }
        let mut length = Length(0);
        write!(length, "{self}").expect("a length takes all that is written to it");
        length.0
    }
}

impl FromStr for Origin {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("plain:") {
            Some(address) => {
                address.parse().map(Self::Exercise).map_err(|_| InvalidId { expected: "an origin: plain:<address>" })
            }
            None => text.parse().map(Self::Node),
        }
    }
}

/// A valid transaction, with its id and its text in normal form.
///
/// It has the frame in which it is sent: `{"type":"TRANSACTION","data":<body>,"from":"<origin>"}`.
/// A clone costs a reference count.
#[derive(Clone, Debug)]
pub struct Transaction {
    id: TransactionId,
    time: u64,
    frame: Frame,
    body_bytes: u32,
}

/// Why a text or value is no valid transaction.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidTransaction {
    /// It is another kind of value than an object.
    #[error("a transaction is a JSON object, as in {{\"amount\":1}}; this is {0}")]
    NotAnObject(&'static str),
    /// It has this many bytes, more than [`limits::TRANSACTION_BYTES`].
    #[error("the transaction has {0} bytes; at most {max} are allowed", max = limits::TRANSACTION_BYTES)]
    TooLong(usize),
    /// The application refuses it.
    #[error("{reason}")]
    Refused {
        /// The transaction's id.
        id: TransactionId,
        /// The reason, in the application's words.
        reason: String,
    },
    /// The application has no use for it, and blames nobody.
    #[error("this node does not store it: its application ignores it")]
    Ignored {
        /// The transaction's id.
        id: TransactionId,
    },
    /// The application has not judged it yet: it is not asked for meanwhile.
    #[error("this node has not judged it yet")]
    Deferred {
        /// The transaction's id.
        id: TransactionId,
    },
    /// There is no room for it until others are judged: it may be asked for again.
    #[error("this node has no room for it until it has judged others")]
    PutOff {
        /// The transaction's id.
        id: TransactionId,
    },
    /// It is not signed, and has to be.
    #[error(
        "it is not signed, and this node takes signed transactions only (REQUIRE_SIGNATURES): sign it, as cargo xtask add-transaction does"
    )]
    Unsigned {
        /// The transaction's id.
        id: TransactionId,
    },
    /// Its signature does not verify, and has to.
    #[error("{why}, and this node takes signed transactions only (REQUIRE_SIGNATURES): sign it again")]
    Forged {
        /// The transaction's id.
        id: TransactionId,
        /// What is wrong with the signature.
        why: &'static str,
    },
    /// It is no JSON, or has a number or string that JavaScript cannot hold.
    #[error(transparent)]
    Json(#[from] JsonError),
}

impl InvalidTransaction {
    /// Returns whether it may be asked for again.
    pub(crate) fn is_put_off(&self) -> bool {
        matches!(self, Self::PutOff { .. })
    }

    /// Returns the id of an object that is refused, but would otherwise be a transaction.
    pub(crate) fn id(&self) -> Option<TransactionId> {
        match self {
            Self::Refused { id, .. }
            | Self::Ignored { id }
            | Self::Deferred { id }
            | Self::PutOff { id }
            | Self::Unsigned { id }
            | Self::Forged { id, .. } => Some(*id),
            Self::NotAnObject(_) | Self::TooLong(_) | Self::Json(_) => None,
        }
    }
}

const PREFIX: &str = r#"{"type":"TRANSACTION","data":"#;
const FROM: &str = r#","from":""#;

/// A `timeStamp` from here on is in milliseconds: in seconds it would be in the year 5138, in
/// milliseconds it is in 1973.
const MILLISECONDS_FROM: f64 = 1e11;

impl Transaction {
    /// Reads a transaction from the text of its object.
    ///
    /// # Errors
    /// [`InvalidTransaction`] if the text is none.
    pub fn parse(parser: &mut Parser, text: &str) -> Result<Self, InvalidTransaction> {
        // It must be readable one level deep, in a frame.
        Self::parse_below(1, parser, text)
    }

    /// As [`Self::parse`], for one that must be readable so many levels deep.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_below(levels: usize, parser: &mut Parser, text: &str) -> Result<Self, InvalidTransaction> {
        Self::from_value(parser.parse_below(levels, text)?, None)
    }

    /// Makes a transaction of a value that was read, such as the `data` of a frame.
    ///
    /// # Errors
    /// [`InvalidTransaction`] if the value is none.
    pub fn from_value(value: Value<'_>, origin: Option<&Origin>) -> Result<Self, InvalidTransaction> {
        if value.kind() != Kind::Object {
            return Err(InvalidTransaction::NotAnObject(value.kind().name()));
        }
        let mut normal = value.normal()?;
        let length = normal.canonical().len();
        if length > limits::TRANSACTION_BYTES {
            return Err(InvalidTransaction::TooLong(length));
        }
        let id = TransactionId(Sha256::digest(normal.canonical()).into());
        let time = value.get("timeStamp").and_then(Value::as_f64).map_or(0, seconds);
        let frame = value.parser().with_buffer(|text| {
            frame(text, length, origin, |out| normal.write_compact(out));
            Frame::from(text.as_str())
        });
        Ok(Self { id, time, frame, body_bytes: length as u32 })
    }

    /// Returns the same transaction with another origin in its frame.
    pub fn with_origin(&self, origin: &Origin) -> Self {
        let (body, mut text) = (self.body(), String::new());
        frame(&mut text, body.len(), Some(origin), |out| out.push_str(body));
        Self { frame: Frame::from(text), ..*self }
    }

    /// Returns its id.
    pub fn id(&self) -> TransactionId {
        self.id
    }

    /// Returns its time for the order in comparisons: `timeStamp` in seconds, or 0 if that is no
    /// number from 0 to below 2^53. Values from 10^11 on are milliseconds. It says nothing about
    /// validity.
    pub fn time(&self) -> u64 {
        self.time
    }

    /// Returns the object as compact JSON: that of `JSON.stringify`, keys in the order received.
    pub fn body(&self) -> &str {
        &self.frame.as_str()[PREFIX.len()..][..self.body_bytes as usize]
    }

    /// Returns the length of [`Self::body`] in bytes.
    pub fn body_bytes(&self) -> usize {
        self.body_bytes as usize
    }

    /// Returns the frame in which it is sent.
    pub fn frame(&self) -> &Frame {
        &self.frame
    }
}

fn seconds(time: f64) -> u64 {
    match time {
        _ if !(0.0..9_007_199_254_740_992.0).contains(&time) => 0,
        _ if time >= MILLISECONDS_FROM => time as u64 / 1000,
        _ => time as u64,
    }
}

/// Writes the frame of a body of `length` bytes into an empty text.
fn frame(text: &mut String, length: usize, origin: Option<&Origin>, write_body: impl FnOnce(&mut String)) {
    let origin_length = origin.map_or(0, |origin| FROM.len() + origin.text_len() + 1);
    let length = PREFIX.len() + length + origin_length + 1;
    text.reserve_exact(length);
    text.push_str(PREFIX);
    write_body(text);
    if let Some(origin) = origin {
        text.push_str(FROM);
        origin.push_to(text);
        text.push('"');
    }
    text.push('}');
    debug_assert_eq!(text.len(), length, "the frame has the length that was measured");
}

/// Returns the text of the origin in a frame in normal form. It is at the end; the rest is not
/// read.
pub fn origin_text_of_frame(text: &str) -> Option<&str> {
    let (_, origin) = text.strip_suffix("\"}")?.rsplit_once(FROM)?;
    Some(origin)
}

/// Returns the origin in a frame in normal form.
pub fn origin_of_frame(text: &str) -> Option<Origin> {
    origin_text_of_frame(text)?.parse().ok()
}

#[cfg(test)]
mod tests;
