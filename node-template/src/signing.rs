//! Signing transactions with a node's key, and judging signatures. The bytes that are signed are those of [`crate::protocol::signature`].
//!
//! The judgement is strict, so that everybody judges alike and nobody who does not hold the key can make a second signature of a first: one spelling of key and signature,
//! S below the group's order (RFC 8032, section 5.1.7), no key and no R of small order, each point in its canonical form. Each signature is judged by itself:
//! judging many at once is faster, but may take what is refused alone.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt::{self, Write as _};
use std::sync::{PoisonError, RwLock};

use ed25519_dalek::{Verifier, VerifyingKey};
use serde::Serialize;

use crate::key::NodeKey;
use crate::protocol::identity::NodeId;
use crate::protocol::json::{Kind, Parser};
use crate::protocol::signature::{Claim, PUBLIC_KEY, Purpose, SIGNATURE, Seal, Signature, Signer};
use crate::protocol::transaction::{InvalidTransaction, Transaction, TransactionId};

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
    match Claim::of(&mut Parser::new(), transaction.body()).expect("a transaction's body was read before") {
        Claim::None => Verdict::None,
        Claim::Malformed(why) => Verdict::Forged(why),
        Claim::By { key, signature, canonical } if is_signed(key, Purpose::Transaction, &canonical, &signature) => {
            Verdict::Verified(key)
        }
        Claim::By { .. } => Verdict::Forged("its signature is not that of its publicKey under this content"),
    }
}

/// Whether the holder of a key signed canonical JSON for a purpose.
pub fn is_signed(key: NodeId, purpose: Purpose, canonical: &str, signature: &Signature) -> bool {
    // The check below compares R with the encoding of what it computes, so R is canonical, and of small order only if it is one of these. The library's own strict
    // check finds that out by computing the point, which takes a sixth longer.
    let mut r = *signature.0.first_chunk::<32>().expect("64 bytes are more than 32");
    r[31] &= 0x7f;
    let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
    !SMALL_ORDER.contains(&r)
        && usable(key).is_some_and(|key| key.verify(&purpose.message(canonical), &signature).is_ok())
}

/// The y of all points whose order is 1, 2, 4 or 8, little-endian, without the bit for the sign of x.
const SMALL_ORDER: [[u8; 32]; 5] = [
    hex(b"0100000000000000000000000000000000000000000000000000000000000000"),
    hex(b"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    hex(b"0000000000000000000000000000000000000000000000000000000000000000"),
    hex(b"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    hex(b"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
];

const fn hex(digits: &[u8; 64]) -> [u8; 32] {
    const fn digit(digit: u8) -> u8 {
        if digit.is_ascii_digit() { digit - b'0' } else { digit - b'a' + 10 }
    }
    let mut bytes = [0; 32];
    let mut at = 0;
    while at < 32 {
        bytes[at] = digit(digits[2 * at]) << 4 | digit(digits[2 * at + 1]);
        at += 1;
    }
    bytes
}

/// How many keys each thread remembers.
const KEYS: usize = 64;

thread_local! {
    /// The keys that were met lately, as points: most transactions come from few signers, and to find a point takes a tenth of the judgement.
    static POINTS: RefCell<[Option<VerifyingKey>; KEYS]> = const { RefCell::new([None; KEYS]) };
}

/// The point of a key under which a signature says something: in canonical form, and not of small order.
fn usable(key: NodeId) -> Option<VerifyingKey> {
    // A key is as good as random, unless somebody chooses it so as to push out others, which slows that one's own link alone.
    let place = usize::from(key.0[0]) % KEYS;
    if let Some(known) = POINTS.with_borrow(|points| points[place]).filter(|known| *known.as_bytes() == key.0) {
        return Some(known);
    }
    // The library takes a y beyond the field's prime for what it is modulo that; RFC 8032, section 5.1.3, does not.
    let beyond = key.0[0] >= 0xed && key.0[1..31].iter().all(|byte| *byte == 0xff) && key.0[31] & 0x7f == 0x7f;
    let point = VerifyingKey::from_bytes(&key.0).ok().filter(|point| !beyond && !point.is_weak())?;
    POINTS.with_borrow_mut(|points| points[place] = Some(point));
    Some(point)
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
    good: RwLock<[HashSet<TransactionId>; 2]>,
}

impl Requirement {
    /// Judges a transaction, unless that was done.
    pub(crate) fn check(&self, transaction: &Transaction) -> Result<(), InvalidTransaction> {
        let id = transaction.id();
        if self.good.read().unwrap_or_else(PoisonError::into_inner).iter().any(|some| some.contains(&id)) {
            return Ok(());
        }
        match judge(transaction) {
            Verdict::Verified(_) => self.remember(id),
            Verdict::None => return Err(InvalidTransaction::Unsigned { id }),
            Verdict::Forged(why) => return Err(InvalidTransaction::Forged { id, why }),
        }
        Ok(())
    }

    fn remember(&self, id: TransactionId) {
        let mut good = self.good.write().unwrap_or_else(PoisonError::into_inner);
        let [young, old] = &mut *good;
        if young.len() >= REMEMBERED {
            *old = std::mem::take(young);
        }
        young.insert(id);
    }
}

#[cfg(test)]
mod tests;
