//! Signatures: what exactly is signed, how a signature is written, and what a transaction claims of its signer.
//!
//! What is signed is a line that names the purpose, and then canonical JSON (RFC 8785): so a signature under one kind of message is none under another, and a copy
//! that a JavaScript node wrote anew keeps its signature. There is one way to write a key and a signature, lower-case hexadecimal digits of exact length: a
//! signature is part of a transaction's identity, and a second spelling would be a second transaction.
//!
//! No cryptography is done here. The shell brings it, as a [`Signer`].

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::id::{InvalidId, NodeId};
use crate::json::{JsonError, Parser, Value};
use crate::limits;

/// The member of a transaction that holds its signer's key.
pub const PUBLIC_KEY: &str = "publicKey";
/// The member of a transaction that holds its signature, and the sibling of a frame that holds one.
pub const SIGNATURE: &str = "signature";

/// What a signature is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A transaction, without its member `signature`.
    Transaction,
    /// The data of an ANNOUNCE.
    Announce,
    /// The data of a BROADCAST.
    Broadcast,
}

impl Purpose {
    /// The line that comes before the JSON in what is signed.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Transaction => "p2p-node TRANSACTION\n",
            Self::Announce => "p2p-node ANNOUNCE\n",
            Self::Broadcast => "p2p-node BROADCAST\n",
        }
    }

    /// The bytes that are signed.
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
        // Decoding asks for the right length beforehand.
        let decoded = text.len() == 128 && HEXLOWER.decode_mut(text.as_bytes(), &mut bytes).is_ok();
        decoded.then_some(Self(bytes)).ok_or(InvalidId { expected: "a signature: 128 lower-case hexadecimal digits" })
    }
}

/// What the shell lends the core: a node's signature, and the judgement of others'. Both depend on their arguments alone, so equal inputs still give equal outputs.
pub trait Signer: fmt::Debug + Send + Sync {
    /// Signs with this node's key; `None`: nothing is signed here.
    fn sign(&self, purpose: Purpose, canonical: &str) -> Option<Signature>;

    /// Whether a node has signed data. `None` stands for a signature that is missing.
    fn vouches(&self, node: NodeId, purpose: Purpose, seal: Option<&Seal>) -> bool;
}

/// Signs nothing and believes everything: for simulations, whose nodes have no keys.
#[derive(Debug, Clone, Copy)]
pub struct Unsigned;

impl Signer for Unsigned {
    fn sign(&self, _: Purpose, _: &str) -> Option<Signature> {
        None
    }

    fn vouches(&self, _: NodeId, _: Purpose, _: Option<&Seal>) -> bool {
        true
    }
}

/// The data of a message as its sender signed it. It is passed on in this form, with whatever members a later version may have put there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seal {
    /// The data's canonical JSON.
    pub canonical: String,
    /// The signature under it.
    pub signature: Signature,
}

impl Seal {
    /// Signs data, unless nothing is signed here.
    pub(crate) fn make(signer: &dyn Signer, purpose: Purpose, data: &impl Serialize) -> Option<Arc<Self>> {
        let text = serde_json::to_string(data).expect("our messages have text keys and finite numbers");
        let mut parser = Parser::new();
        // Only a clock some hundred million years off makes a number that JavaScript can not hold.
        let normal = parser.parse(&text).and_then(Value::normal).ok()?;
        let signature = signer.sign(purpose, normal.canonical())?;
        Some(Arc::new(Self { canonical: normal.canonical().to_owned(), signature }))
    }

    /// The seal of a frame: its sibling `signature`, under its data. `None` if it has no such sibling.
    ///
    /// # Errors
    /// In words, if the sibling is no signature or the data has no canonical form.
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

    /// The data as JSON, for a frame.
    pub(crate) fn raw(&self) -> &RawValue {
        serde_json::from_str(&self.canonical).expect("canonical JSON is JSON")
    }
}

/// What a transaction says of its signer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// Nothing: it lacks `publicKey` or `signature`.
    None,
    /// It has both, but not in the form that a signature has; what is wrong.
    Malformed(&'static str),
    /// That this key signed it.
    By {
        /// Whose.
        key: NodeId,
        /// With what.
        signature: Signature,
        /// The canonical JSON that was signed: that of the transaction without its member `signature`.
        canonical: String,
    },
}

impl Claim {
    /// What the text of a transaction's object claims.
    ///
    /// # Errors
    /// [`JsonError`] if the text is no transaction's.
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

/// A key in the one spelling that it has in a signed transaction.
pub(crate) fn node_of(text: &str) -> Option<NodeId> {
    let node: NodeId = text.parse().ok()?;
    (node.to_string() == text).then_some(node)
}

/// Cuts the member `signature` out of an object's canonical JSON.
fn without_signature(object: Value<'_>, canonical: &str) -> String {
    let Some(value) = object.get(SIGNATURE).map(Value::range) else { return canonical.to_owned() };
    // In canonical JSON a member is its key without escapes, a colon and its value, with nothing between.
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
