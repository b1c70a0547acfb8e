//! Signs transactions with a node's key, and verifies signatures. [`meshpool_proto::signature`]
//! defines the bytes that are signed.
//!
//! Verification is strict, so all nodes agree, and only the holder of a key can make a second
//! signature from a first. Key and signature have one spelling; S is below the group's order (RFC
//! 8032, section 5.1.7); key and R are canonical and not of small order.
//!
//! A batch is verified in a quarter of the time that its signatures take alone, with the same
//! result.

use std::fmt::{self, Write as _};

use meshpool_proto::id::NodeId;
use meshpool_proto::json::{JsonError, Kind, Parser, Value};
use meshpool_proto::signature::{Claim, PUBLIC_KEY, Purpose, SIGNATURE, Seal, Signature, Signer};
use meshpool_proto::transaction::{InvalidTransaction, Transaction};
use serde::Serialize;

use crate::folder::node_key::NodeKey;

use batch::Claimed;

mod batch;
pub(crate) mod extension;
mod requirement;
pub(crate) mod validator;
pub(crate) mod wallet;

/// The result of verifying a transaction's signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The holder of this key signed it.
    Verified(NodeId),
    /// It is not signed: it lacks `publicKey` or `signature`.
    None,
    /// It has both, and they do not fit its content; the reason.
    Forged(&'static str),
}

impl Verdict {
    /// The verdict in a word, as in the HTTP API.
    pub fn state(self) -> SignatureState {
        match self {
            Self::Verified(_) => SignatureState::Verified,
            Self::None => SignatureState::None,
            Self::Forged(_) => SignatureState::Forged,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Verified(key) => write!(f, "signed by {}, verified", key.short()),
            Self::None => f.write_str("not signed"),
            Self::Forged(why) => write!(f, "forged: {why}"),
        }
    }
}

/// [`Verdict`] in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SignatureState {
    /// Signed by the key that it names.
    Verified,
    /// Not signed.
    None,
    /// The signature is not of that key, or not under this content.
    Forged,
}

/// Verifies a transaction's signature. Costs some 35 µs if there is one.
pub fn verify(transaction: &Transaction) -> Verdict {
    verify_all([transaction]).remove(0)
}

/// Verifies the signatures of many transactions; the verdicts are those of [`verify`], in order. A
/// signature costs a quarter if a hundred have one signer, and half if each has another.
pub fn verify_all<'a>(transactions: impl IntoIterator<Item = &'a Transaction>) -> Vec<Verdict> {
    let mut parser = Parser::new();
    let (mut claims, mut claimants) = (Vec::new(), Vec::new());
    let mut verdicts: Vec<Verdict> = transactions
        .into_iter()
        .enumerate()
        .map(|(n, transaction)| {
            match Claim::of(&mut parser, transaction.body()).expect("a transaction's body was read before") {
                Claim::None => return Verdict::None,
                Claim::Malformed(why) => return Verdict::Forged(why),
                Claim::By { key, signature, canonical } => {
                    if let Some(claim) = claimed(key, Purpose::Transaction, &canonical, &signature) {
                        claims.push(claim);
                        claimants.push((n, key));
                    }
                }
            }
            Verdict::Forged("its signature is not that of its publicKey under this content")
        })
        .collect();
    for ((n, key), good) in claimants.into_iter().zip(batch::verify(&claims)) {
        if good {
            verdicts[n] = Verdict::Verified(key);
        }
    }
    verdicts
}

/// Whether a signature of canonical JSON for a purpose is that of a key.
pub fn is_signed(key: NodeId, purpose: Purpose, canonical: &str, signature: &Signature) -> bool {
    claimed(key, purpose, canonical, signature).is_some_and(|claimed| batch::verify(&[claimed]) == [true])
}

fn claimed(key: NodeId, purpose: Purpose, canonical: &str, signature: &Signature) -> Option<Claimed> {
    Claimed::new(key, &purpose.message(canonical), signature)
}

/// Signs a transaction: appends `publicKey` and `signature`. A transaction that has a `signature`,
/// or another `publicKey`, is returned unchanged.
///
/// # Errors
/// [`InvalidTransaction::TooLong`] if there is no room for a signature.
pub fn sign(key: &NodeKey, parser: &mut Parser, transaction: Transaction) -> Result<Transaction, InvalidTransaction> {
    let (body, own) = (transaction.body(), key.node_id().to_string());
    let object = parser.parse(body)?;
    let names_us = match object.get(PUBLIC_KEY) {
        Some(named) if named.kind() == Kind::String && named.as_str().is_some_and(|text| text == own) => true,
        Some(_) => return Ok(transaction),
        None => false,
    };
    if object.get(SIGNATURE).is_some() {
        return Ok(transaction);
    }
    let mut text = body.strip_suffix('}').expect("an object's compact text ends with its bracket").to_owned();
    if !names_us {
        let comma = if body == "{}" { "" } else { "," };
        write!(text, r#"{comma}"{PUBLIC_KEY}":"{own}""#).expect("a String takes all that is written to it");
    }
    let unsigned = format!("{text}}}");
    let signature = key.signature(Purpose::Transaction, parser.parse(&unsigned)?.normal()?.canonical());
    Transaction::parse(parser, &format!(r#"{text},"{SIGNATURE}":"{signature}"}}"#))
}

/// Returns the canonical JSON (RFC 8785) of a JSON text: the same for each way of writing it. Its
/// SHA-256 is a transaction's id.
///
/// # Errors
/// [`JsonError`] if the text is no JSON, or has a number or string that JavaScript cannot hold.
pub fn canonical(text: &str) -> Result<String, JsonError> {
    Parser::new().parse(text).and_then(Value::normal).map(|normal| normal.canonical().to_owned())
}

impl Signer for NodeKey {
    fn sign(&self, purpose: Purpose, canonical: &str) -> Option<Signature> {
        Some(self.signature(purpose, canonical))
    }

    fn vouches(&self, node: NodeId, purpose: Purpose, seal: Option<&Seal>) -> bool {
        seal.is_some_and(|seal| is_signed(node, purpose, &seal.canonical, &seal.signature))
    }
}

#[cfg(test)]
mod tests;
