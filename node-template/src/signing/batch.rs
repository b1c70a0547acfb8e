//! Verification of ed25519 signatures, one or many at a time, with the same result either way.
//!
//! The equation is that of RFC 8032, section 5.1.7, in its first form: `[8][S]B = [8]R + [8][k]A`.
//!
//! A batch is a sum of such equations, each with a random factor. It holds if all of them hold, and
//! otherwise fails except with probability 2^-128 (Bernstein and others, *High-speed high-security
//! signatures*, 2012, section 5).
//!
//! RFC 8032 also allows the form without the factor 8. Then R or A outside of the prime-order group
//! give signatures that pass alone and fail in a batch, or the other way round (Chalkias and
//! others,
//! *Taming the many EdDSAs*, 2020), and nodes would disagree.
//!
//! The library leaves two checks to us: R and A are in canonical form, and not of small order. It
//! checks itself that S is below the group's order.

use ed25519_zebra::batch::{Item, Verifier};
use ed25519_zebra::{Signature as Bytes, VerificationKeyBytes};
use meshpool_proto::id::NodeId;
use meshpool_proto::signature::Signature;

/// A failed batch is split into parts of this size, and a failed part into single signatures. So
/// one bad signature among many costs less than verifying each alone; if all are bad it costs half
/// more.
const PART: usize = 16;

/// A signature to be verified, with its key and message.
pub(crate) struct Claimed(Item);

impl Claimed {
    /// Returns `None` if the key or R is unusable: not canonical, or of small order.
    pub(crate) fn new(key: NodeId, message: &[u8], signature: &Signature) -> Option<Self> {
        let r = signature.0.first_chunk::<32>().expect("64 bytes are more than 32");
        let usable = [&key.0, r].into_iter().all(is_usable);
        usable.then(|| Self((VerificationKeyBytes::from(key.0), Bytes::from(signature.0), message).into()))
    }
}

/// Returns for each signature whether it is good.
pub(crate) fn verify(claims: &[Claimed]) -> Vec<bool> {
    let mut good = vec![false; claims.len()];
    verify_into(claims, &mut good);
    good
}

fn verify_into(claims: &[Claimed], good: &mut [bool]) {
    match claims {
        [] => {}
        [Claimed(alone)] => good[0] = alone.clone().verify_single().is_ok(),
        many => {
            let mut batch = Verifier::new();
            many.iter().for_each(|Claimed(item)| batch.queue(item.clone()));
            if batch.verify(rand::rng()).is_ok() {
                good.fill(true);
                return;
            }
            let part = if many.len() > PART { PART } else { 1 };
            many.chunks(part).zip(good.chunks_mut(part)).for_each(|(claims, good)| verify_into(claims, good));
        }
    }
}

/// Whether a point is in canonical form (RFC 8032, section 5.1.3: its y is below the field's prime)
/// and not of small order. Verification shows later whether it is a point.
fn is_usable(point: &[u8; 32]) -> bool {
    let mut y = *point;
    // Without the sign bit of x. Where x is 0 there is no sign, but both such points are of small
    // order.
    y[31] &= 0x7f;
    let beyond = y[0] >= 0xed && y[1..31].iter().all(|byte| *byte == 0xff) && y[31] == 0x7f;
    !beyond && !SMALL_ORDER.contains(&y)
}

/// The y of all points of order 1, 2, 4 and 8, little-endian, without the sign bit of x.
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
