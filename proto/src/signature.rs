//! Signatures: what is signed, how a signature is written, and what a transaction claims of its
//! signer.
//!
//! A line that names the purpose is signed, followed by canonical JSON (RFC 8785). So a signature
//! of one kind of message is invalid for another, and stays valid when a JavaScript node writes the
//! JSON again. Keys and signatures have one spelling, in lower-case hexadecimal digits: a signature
//! is part of a transaction's id, and a second spelling would make a second transaction.
//!
//! The runtime does the cryptography, as a [`Signer`].

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::id::{InvalidId, NodeId};
use crate::json::{JsonError, Parser, Value};
use crate::limits;

/// The member of a transaction with the key of its signer.
pub const PUBLIC_KEY: &str = "publicKey";
/// The member of a transaction, and the sibling in a frame, with the signature.
pub const SIGNATURE: &str = "signature";

/// The purpose of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A transaction, without its member `signature`.
    Transaction,
    /// The data of an ANNOUNCE.
    Announce,
    /// The data of a BROADCAST.
    Broadcast,
    /// The statement about a link by which a node proves its id.
    Handshake,
    /// The same about a connection for requests.
    Request,
}

impl Purpose {
    /// Returns the line that precedes the JSON.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Transaction => "p2p-node TRANSACTION\n",
            Self::Announce => "p2p-node ANNOUNCE\n",
            Self::Broadcast => "p2p-node BROADCAST\n",
            Self::Handshake => "p2p-node HANDSHAKE\n",
            Self::Request => "p2p-node REQUEST\n",
        }
    }

    /// Returns the bytes that are signed.
    pub fn message(self, canonical: &str) -> Vec<u8> {
        [self.prefix(), canonical].concat().into_bytes()
    }
}

/// An ed25519 signature (RFC 8032), 64 bytes, written as 128 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature(pub [u8; 64]);

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HEXLOWER.encode_mut_str(&self.0, &mut [0; 128]))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({})", HEXLOWER.encode_display(&self.0[..4]))
    }
}

impl FromStr for Signature {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 64];
        // `decode_mut` panics if the length is wrong.
        let decoded = text.len() == 128 && HEXLOWER.decode_mut(text.as_bytes(), &mut bytes).is_ok();
        decoded.then_some(Self(bytes)).ok_or(InvalidId { expected: "a signature: 128 lower-case hexadecimal digits" })
    }
}

/// Signs and verifies. The results depend on the arguments alone, so equal inputs of the core still
/// give equal outputs.
pub trait Signer: fmt::Debug + Send + Sync {
    /// Signs with the key of this node; returns `None` if this node signs nothing.
    fn sign(&self, purpose: Purpose, canonical: &str) -> Option<Signature>;

    /// Returns whether a node has signed data. `None` stands for a missing signature.
    fn vouches(&self, node: NodeId, purpose: Purpose, seal: Option<&Seal>) -> bool;
}

/// Signs no message and believes everything, for nodes without keys in tests. In HANDSHAKEs it has
/// an empty signature, so its nodes take each other for proved.
#[derive(Debug, Clone, Copy)]
pub struct Unsigned;

impl Signer for Unsigned {
    fn sign(&self, purpose: Purpose, _: &str) -> Option<Signature> {
        matches!(purpose, Purpose::Handshake | Purpose::Request).then_some(Signature([0; 64]))
    }

    fn vouches(&self, _: NodeId, _: Purpose, _: Option<&Seal>) -> bool {
        true
    }
}

/// The data of a message as its sender signed it. It is passed on unchanged, with members that this
/// version may not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    /// The canonical JSON.
    pub canonical: String,
    /// The signature.
    pub signature: Signature,
}

impl Seal {
    /// Signs data; returns `None` if this node signs nothing.
    pub(crate) fn make(signer: &dyn Signer, purpose: Purpose, data: &impl Serialize) -> Option<Arc<Self>> {
        let canonical = canonical_of(data)?;
        let signature = signer.sign(purpose, &canonical)?;
        Some(Arc::new(Self { canonical, signature }))
    }

    /// Reads the data of a frame and its sibling `signature`; returns `None` if it has no such
    /// sibling.
    ///
    /// # Errors
    /// What is wrong, for people: the sibling is no signature, or the data is too long or has no
    /// canonical form.
    pub(crate) fn read(frame: Value<'_>) -> Result<Option<Arc<Self>>, String> {
        let (Some(data), Some(signature)) = (frame.get("data"), frame.get(SIGNATURE)) else { return Ok(None) };
        let signature = signature.as_str().unwrap_or_default().parse().map_err(|error: InvalidId| error.to_string())?;
        let normal = data.normal().map_err(|error| error.to_string())?;
        match normal.canonical().len() {
            0..=limits::SEALED_BYTES => {
                Ok(Some(Arc::new(Self { canonical: normal.canonical().to_owned(), signature })))
            }
            length => Err(format!("its data has {length} bytes; at most {} are allowed", limits::SEALED_BYTES)),
        }
    }

    /// Returns the data, to be written into a frame.
    pub(crate) fn raw(&self) -> &RawValue {
        serde_json::from_str(&self.canonical).expect("canonical JSON is JSON")
    }
}

/// Returns the canonical JSON of data of ours; `None` if it has none.
pub(crate) fn canonical_of(data: &impl Serialize) -> Option<String> {
    let text = serde_json::to_string(data).expect("our messages have text keys and finite numbers");
    // Only a clock that is millions of years off makes a number that JavaScript cannot hold.
    Parser::new().parse(&text).and_then(Value::normal).ok().map(|normal| normal.canonical().to_owned())
}

/// What a transaction claims of its signer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// Nothing: it lacks `publicKey` or `signature`.
    None,
    /// One of them does not have its form: what is wrong.
    Malformed(&'static str),
    /// That this key signed it.
    By {
        /// The signer's key.
        key: NodeId,
        /// The signature.
        signature: Signature,
        /// The canonical JSON that was signed: the transaction without its member `signature`.
        canonical: String,
    },
}

impl Claim {
    /// Reads the claim of a transaction's object.
    ///
    /// # Errors
    /// [`JsonError`] if the text is no transaction.
    pub fn of(parser: &mut Parser, body: &str) -> Result<Self, JsonError> {
        let object = parser.parse_below(1, body)?;
        let (Some(key), Some(signature)) = (object.get(PUBLIC_KEY), object.get(SIGNATURE)) else {
            return Ok(Self::None);
        };
        let Some(key) = key.as_str().and_then(|text| node_of(&text)) else {
            return Ok(Self::Malformed("its publicKey is not 64 lower-case hexadecimal digits"));
        };
        let Some(signature) = signature.as_str().and_then(|text| text.parse().ok()) else {
            return Ok(Self::Malformed("its signature is not 128 lower-case hexadecimal digits"));
        };
        let canonical = object.normal()?.canonical().to_owned();
        let canonical = without_signature(parser.parse_below(1, &canonical)?, &canonical);
        Ok(Self::By { key, signature, canonical })
    }
}

/// Reads a key in its one spelling.
pub(crate) fn node_of(text: &str) -> Option<NodeId> {
    let node: NodeId = text.parse().ok()?;
    (node.to_string() == text).then_some(node)
}

/// Returns an object's canonical JSON without its member `signature`.
fn without_signature(object: Value<'_>, canonical: &str) -> String {
    let Some(value) = object.get(SIGNATURE).map(Value::range) else { return canonical.to_owned() };
    // In canonical JSON a member is its key without escapes, a colon, and its value.
    let (mut start, mut end) = (value.start - SIGNATURE.len() - 3, value.end);
    match canonical.as_bytes() {
        text if text[end] == b',' => end += 1,
        text if text[start - 1] == b',' => start -= 1,
        _ => {}
    }
    [&canonical[..start], &canonical[end..]].concat()
}

#[cfg(test)]
mod tests;
