use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION};
use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::scalar::Scalar;
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use proptest::prelude::*;
use sha2::{Digest, Sha512};

use crate::signing::batch::*;

fn key(n: u8) -> SigningKey {
    SigningKey::from_bytes(&[n; 32])
}

fn claim(key: &SigningKey, message: &str) -> Claimed {
    let signature = Signature(key.sign(message.as_bytes()).to_bytes());
    Claimed::new(NodeId(key.verifying_key().to_bytes()), message.as_bytes(), &signature).expect("usable")
}

/// A signature by an owner who adds points of small order to the key and to R, and the key.
fn crooked(key: &SigningKey, message: &str, to_key: EdwardsPoint, to_r: EdwardsPoint) -> (NodeId, Signature) {
    let a = key.to_scalar();
    let public = (a * ED25519_BASEPOINT_POINT + to_key).compress().to_bytes();
    let secret = Scalar::from(7_777_777_u64);
    let r = (secret * ED25519_BASEPOINT_POINT + to_r).compress().to_bytes();
    let k = challenge(&r, &public, message);
    (NodeId(public), Signature([r, (secret + k * a).to_bytes()].concat().try_into().expect("64 bytes")))
}

fn challenge(r: &[u8; 32], public: &[u8; 32], message: &str) -> Scalar {
    Scalar::from_bytes_mod_order_wide(&Sha512::digest([r, public, message.as_bytes()].concat()).into())
}

/// What the library that compares encodings says, without and with its strict checks.
fn elsewhere(key: NodeId, message: &str, signature: &Signature) -> (bool, bool) {
    let point = VerifyingKey::from_bytes(&key.0).expect("a point");
    let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
    let plain = ed25519_dalek::Verifier::verify(&point, message.as_bytes(), &signature);
    (plain.is_ok(), point.verify_strict(message.as_bytes(), &signature).is_ok())
}

#[test]
fn nothing_is_verified_where_nothing_is_claimed() {
    assert!(verify(&[]).is_empty());
}

#[test]
fn crooked_signatures_have_one_outcome_alone_and_in_company() {
    let (own, none) = (key(1), EdwardsPoint::default());
    let mut differ = 0;
    for (to_key, to_r) in EIGHT_TORSION.into_iter().flat_map(|point| [(point, none), (none, point), (point, point)]) {
        for message in ["a", "b", "c"] {
            let (key, signature) = crooked(&own, message, to_key, to_r);
            differ += u32::from(!elsewhere(key, message, &signature).0);
            let crooked = || Claimed::new(key, message.as_bytes(), &signature).expect("of no small order");
            assert_eq!(verify(&[crooked()]), [true]);
            // A sum without the factor 8 would take them seven times in eight or less.
            for n in 0..8 {
                assert_eq!(verify(&[claim(&own, "x"), crooked(), claim(&self::key(n), "y")]), [true; 3]);
            }
        }
    }
    assert!(differ > 0, "some that a check without the factor 8 refuses were among them");
}

#[test]
fn a_signature_whose_r_is_of_small_order_is_refused() {
    // S is k times the secret, so that S B - k A is nothing, which is what R is.
    let (own, message, r) = (key(5), "{}", SMALL_ORDER[0]);
    let public = own.verifying_key().to_bytes();
    let s = challenge(&r, &public, message) * own.to_scalar();
    let signature = Signature([r, s.to_bytes()].concat().try_into().expect("64 bytes"));
    assert_eq!(elsewhere(NodeId(public), message, &signature), (true, false));
    assert!(Claimed::new(NodeId(public), message.as_bytes(), &signature).is_none());
}

#[test]
fn the_points_of_small_order_are_those_that_the_library_knows() {
    let mut all: Vec<[u8; 32]> = SMALL_ORDER.to_vec();
    for point in EIGHT_TORSION {
        let written = point.compress().to_bytes();
        assert!(!is_usable(&written));
        let mut y = written;
        y[31] &= 0x7f;
        assert!(SMALL_ORDER.contains(&y));
        all.retain(|known| *known != y);
    }
    assert!(all.is_empty(), "each of ours is one");
    assert!(is_usable(&key(1).verifying_key().to_bytes()));
}

#[test]
fn points_beyond_the_fields_prime_are_refused() {
    for n in 0..19 {
        for sign in [0x7f, 0xff] {
            let y: [u8; 32] = [&[0xed + n][..], &[0xff; 30], &[sign]].concat().try_into().expect("32 bytes");
            assert!(!is_usable(&y), "the prime and {n} more");
        }
    }
    let below: [u8; 32] = [&[0xeb][..], &[0xff; 30], &[0x7f]].concat().try_into().expect("32 bytes");
    assert!(is_usable(&below), "the prime less 2");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, rng_seed: proptest::test_runner::RngSeed::Fixed(2026), ..ProptestConfig::with_cases(64) })]

    #[test]
    fn each_of_many_is_told_from_the_others(
        signers in prop::collection::vec((0..4_u8, prop::bool::weighted(0.9), any::<prop::sample::Index>(), 1..=255_u8), 0..160),
    ) {
        let mut expected = Vec::new();
        let mut claims = Vec::new();
        for (n, (signer, keep, at, flip)) in signers.into_iter().enumerate() {
            let (key, message) = (key(signer), format!("message {n}"));
            let mut signature = Signature(key.sign(message.as_bytes()).to_bytes());
            if !keep {
                signature.0[at.index(64)] ^= flip;
            }
            let id = NodeId(key.verifying_key().to_bytes());
            if let Some(claim) = Claimed::new(id, message.as_bytes(), &signature) {
                expected.push(elsewhere(id, &message, &signature).1);
                claims.push(claim);
            }
        }
        prop_assert_eq!(verify(&claims), expected);
    }
}
