//! Verification of ed25519 signatures, one or many at a time, with one outcome however many are verified together.
//!
//! The check is that of RFC 8032, section 5.1.7, in its first form, `[8][S]B = [8]R + [8][k]A`. A sum of such equations, each with a random factor, is true if
//! all of them are, and false otherwise but for a chance of 2^-128 (Bernstein and others, *High-speed high-security signatures*, 2012, section 5). Without the
//! factor 8, which RFC 8032 allows too, whoever chooses R or A beside the main group gets signatures that pass alone and fail together, or the other way
//! round (Chalkias and others, *Taming the many EdDSAs*, 2020); then nodes would not agree on what is signed.
//!
//! To that comes what the library leaves open: R and A are written canonically, and are not of small order. S is below the group's order in any case.

use ed25519_zebra::batch::{Item, Verifier};
use ed25519_zebra::{Signature as Bytes, VerificationKeyBytes};

use crate::protocol::id::NodeId;
use crate::protocol::signature::Signature;

/// What fails together is verified again in parts of so many, and a part that fails one by one: so one that is wrong among many costs less than if all were
/// verified alone, and if all are wrong it is a half more.
const PART: usize = 16;

/// A signature that somebody claims to have made.
pub(crate) struct Claimed(Item);

impl Claimed {
    /// `None` if the key or R is one that nobody should use.
    pub(crate) fn new(key: NodeId, message: &[u8], signature: &Signature) -> Option<Self> {
        let r = signature.0.first_chunk::<32>().expect("64 bytes are more than 32");
        let usable = [&key.0, r].into_iter().all(is_usable);
        usable.then(|| Self((VerificationKeyBytes::from(key.0), Bytes::from(signature.0), message).into()))
    }
}

/// Which of them are good.
pub(crate) fn all(claims: &[Claimed]) -> Vec<bool> {
    let mut good = vec![false; claims.len()];
    mark(claims, &mut good);
    good
}

fn mark(claims: &[Claimed], good: &mut [bool]) {
    match claims {
        [] => {}
        [Claimed(alone)] => good[0] = alone.clone().verify_single().is_ok(),
        many => {
            let mut together = Verifier::new();
            many.iter().for_each(|Claimed(item)| together.queue(item.clone()));
            if together.verify(rand::rng()).is_ok() {
                good.fill(true);
                return;
            }
            let part = if many.len() > PART { PART } else { 1 };
            many.chunks(part).zip(good.chunks_mut(part)).for_each(|(claims, good)| mark(claims, good));
        }
    }
}

/// Whether a point is written canonically (RFC 8032, section 5.1.3: its y is below the field's prime) and is not of small order. That it is one is seen later.
fn is_usable(point: &[u8; 32]) -> bool {
    let mut y = *point;
    // The bit for the sign of x. A point whose x is 0 has no sign; both such points are of small order.
    y[31] &= 0x7f;
    let beyond = y[0] >= 0xed && y[1..31].iter().all(|byte| *byte == 0xff) && y[31] == 0x7f;
    !beyond && !SMALL_ORDER.contains(&y)
}

/// The y of all points whose order is 1, 2, 4 or 8, little-endian, without the bit for the sign of x.
pub(crate) const SMALL_ORDER: [[u8; 32]; 5] = [
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

#[cfg(test)]
mod tests;
