//! Signing transactions with a node's key, and judging signatures. The bytes that are signed are those of [`crate::protocol::signature`].
//!
//! The judgement is strict, so that everybody judges alike and nobody who does not hold the key can make a second signature of a first: one spelling of key and signature,
//! S below the group's order (RFC 8032, section 5.1.7), no key and no R of small order, each point in its canonical form. What arrives together is judged together,
//! which takes a quarter of the time, and with the same outcome (`signing/verify.rs`).

use std::fmt::{self, Write as _};
use std::sync::{PoisonError, RwLock};

use serde::Serialize;

use crate::folder::node_key::NodeKey;
use crate::protocol::id::NodeId;
use crate::protocol::json::{Kind, Parser};
use crate::protocol::signature::{Claim, PUBLIC_KEY, Purpose, SIGNATURE, Seal, Signature, Signer};
use crate::protocol::transaction::{IdSet, InvalidTransaction, Transaction, TransactionId};

use batch::Claimed;

mod batch;
pub(crate) mod validator;

/// How many identities of transactions whose signature is good are remembered at least; twice as many at most, which are some 10 MB.
const REMEMBERED: usize = 65_536;

/// How a transaction stands to its signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The holder of this key signed it.
    Verified(NodeId),
    /// It is not signed: it lacks `publicKey` or `signature`.
    None,
    /// It has both, and they do not fit it; what is wrong.
    Forged(&'static str),
}

impl Verdict {
    /// The verdict in a word, as the API tells it.
    pub fn state(self) -> State {
        match self {
            Self::Verified(_) => State::Verified,
            Self::None => State::None,
            Self::Forged(_) => State::Forged,
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
pub enum State {
    /// Signed by the key that it names.
    Verified,
    /// Not signed.
    None,
    /// The signature is not of that key, or not under this content.
    Forged,
}

/// Judges a transaction's signature. Costs some 35 µs where there is one.
pub fn judge(transaction: &Transaction) -> Verdict {
    judge_all([transaction]).remove(0)
}

/// Judges the signatures of many transactions, with the verdicts that [`judge`] gives, in their order. Costs a quarter of it for each where a hundred have one
/// signer, and half of it where each has another.
pub fn judge_all<'a>(transactions: impl IntoIterator<Item = &'a Transaction>) -> Vec<Verdict> {
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
    for ((n, key), good) in claimants.into_iter().zip(batch::all(&claims)) {
        if good {
            verdicts[n] = Verdict::Verified(key);
        }
    }
    verdicts
}

/// Whether the holder of a key signed canonical JSON for a purpose.
pub fn is_signed(key: NodeId, purpose: Purpose, canonical: &str, signature: &Signature) -> bool {
    claimed(key, purpose, canonical, signature).is_some_and(|claimed| batch::all(&[claimed]) == [true])
}

fn claimed(key: NodeId, purpose: Purpose, canonical: &str, signature: &Signature) -> Option<Claimed> {
    Claimed::new(key, &purpose.message(canonical), signature)
}

/// Signs a transaction: adds `publicKey` and `signature` at its end. What has a `signature`, or the `publicKey` of somebody else, is given back as it is.
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

impl Signer for NodeKey {
    fn sign(&self, purpose: Purpose, canonical: &str) -> Option<Signature> {
        Some(self.signature(purpose, canonical))
    }

    fn vouches(&self, node: NodeId, purpose: Purpose, seal: Option<&Seal>) -> bool {
        seal.is_some_and(|seal| is_signed(node, purpose, &seal.canonical, &seal.signature))
    }
}

/// Takes signed transactions only. It remembers what it has judged good, so that a copy of it that comes another way is not judged again.
///
/// What is forged is not remembered: whoever makes forgeries makes a new one each time, and pays for it with the time of its own link's task.
#[derive(Debug, Default)]
pub(crate) struct Requirement {
    /// In two generations, which bounds it.
    good: RwLock<[IdSet; 2]>,
}

impl Requirement {
    /// Judges transactions, but for those where that was done.
    pub(crate) fn check(&self, transactions: &[&Transaction]) -> Vec<Result<(), InvalidTransaction>> {
        let mut results = vec![Ok(()); transactions.len()];
        let strange: Vec<usize> = {
            let good = self.good.read().unwrap_or_else(PoisonError::into_inner);
            let knows = |n: &usize| good.iter().any(|some| some.contains(&transactions[*n].id()));
            (0..transactions.len()).filter(|n| !knows(n)).collect()
        };
        let verdicts = judge_all(strange.iter().map(|n| transactions[*n]));
        let mut good = Vec::new();
        for (n, verdict) in strange.into_iter().zip(verdicts) {
            let id = transactions[n].id();
            match verdict {
                Verdict::Verified(_) => good.push(id),
                Verdict::None => results[n] = Err(InvalidTransaction::Unsigned { id }),
                Verdict::Forged(why) => results[n] = Err(InvalidTransaction::Forged { id, why }),
            }
        }
        if !good.is_empty() {
            self.remember(good);
        }
        results
    }

    fn remember(&self, ids: impl IntoIterator<Item = TransactionId>) {
        let mut good = self.good.write().unwrap_or_else(PoisonError::into_inner);
        let [young, old] = &mut *good;
        for id in ids {
            if young.len() >= REMEMBERED {
                std::mem::swap(young, old);
                young.clear();
            }
            young.insert(id);
        }
    }
}

#[cfg(test)]
mod tests;
