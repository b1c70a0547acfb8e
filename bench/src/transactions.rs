//! The transactions that are sent: those of the exercise, numbered.

use std::collections::BTreeMap;

use ed25519_dalek::{Signer, SigningKey};
use serde_json::value::RawValue;

use crate::hex::hex;

/// The size of each transaction's JSON text in bytes.
pub(crate) const TRANSACTION_BYTES: usize = 300;

/// The unique `id` of transaction `number`: the UUID as a number.
pub(crate) fn id(number: u64) -> u128 {
    // The finalizer is a bijection, so different numbers have different halves.
    (u128::from(mix(number)) << 64) | u128::from(mix(!number))
}

/// The sum of the ids of the first `count` transactions, modulo 2^128.
pub(crate) fn sum_of_ids(count: u64) -> u128 {
    (0..count).fold(0, |sum, number| sum.wrapping_add(id(number)))
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators,
/// 2014).
fn mix(number: u64) -> u64 {
    let z = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The JSON text of transaction `number`: [`TRANSACTION_BYTES`] bytes.
pub(crate) fn transaction(number: u64) -> String {
    transaction_with(number, mix(number ^ (1 << 56)))
}

/// The same with `first` as the first 16 hexadecimal digits.
pub(crate) fn transaction_with(number: u64, first: u64) -> String {
    let word = |salt: u64| mix(number ^ (salt << 56));
    let uuid = format!("{:032x}", id(number));
    let (a, b, c, d, e) = (&uuid[..8], &uuid[8..12], &uuid[12..16], &uuid[16..20], &uuid[20..]);
    format!(
        r#"{{"fromAddress":"{:016x}{:016x}{:016x}{:016x}","toAddress":"{:016x}{:016x}{:08x}","amount":{}.{:03}{},"timeStamp":{},"hash":"{:016x}{:016x}{:016x}{:016x}","id":"{a}-{b}-{c}-{d}-{e}"}}"#,
        first,
        word(2),
        word(3),
        word(4),
        word(5),
        word(6),
        word(7) >> 32,
        1_000 + word(8) % 9_000,
        word(9) % 1_000,
        1 + word(10) % 9,
        1_700_000_000_000 + number,
        word(11),
        word(12),
        word(13),
        word(14),
    )
}

/// The same, signed with the key of a pusher: 220 bytes longer.
pub(crate) fn signed(number: u64, share: u64) -> String {
    let key = SigningKey::from_bytes(&[share as u8; 32]);
    let text = transaction(number);
    let text = format!(r#"{},"publicKey":"{}""#, &text[..text.len() - 1], hex(key.verifying_key().as_bytes()));
    // Numbers and texts are canonical already (RFC 8785); the members must be sorted.
    let members: BTreeMap<String, Box<RawValue>> =
        serde_json::from_str(&format!("{text}}}")).expect("a transaction is an object");
    let members: Vec<_> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    let signature = key.sign(format!("p2p-node TRANSACTION\n{{{}}}", members.join(",")).as_bytes());
    format!(r#"{text},"signature":"{}"}}"#, hex(&signature.to_bytes()))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn transactions_have_their_length_and_are_different() {
        let texts: HashSet<_> = (0..5_000).map(transaction).collect();
        assert_eq!(texts.len(), 5_000);
        for text in &texts {
            assert_eq!(text.len(), TRANSACTION_BYTES, "{text}");
        }
        let one: serde_json::Value = serde_json::from_str(&transaction(7)).unwrap();
        assert_eq!(one["id"].as_str().unwrap().replace('-', ""), format!("{:032x}", id(7)));
        assert_eq!(one["hash"].as_str().unwrap().len(), 64);
    }

    #[test]
    fn number_and_time_are_where_the_rivals_expect_them() {
        let text = transaction_with(7, 0xabc);
        assert!(text.starts_with(r#"{"fromAddress":"0000000000000abc"#), "{text}");
        assert_eq!(&text[155..181], r#","timeStamp":1700000000007"#);
    }

    #[test]
    fn the_signature_is_over_the_sorted_other_members() {
        use ed25519_dalek::{Signature, VerifyingKey};
        let text = signed(7, 2);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let bytes = |name: &str| -> Vec<u8> {
            let text = value[name].as_str().unwrap();
            (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
        };
        let key = VerifyingKey::from_bytes(&bytes("publicKey").try_into().unwrap()).unwrap();
        let amount = text.split(r#""amount":"#).nth(1).unwrap().split(',').next().unwrap();
        let canonical = format!(
            r#"{{"amount":{amount},"fromAddress":{},"hash":{},"id":{},"publicKey":{},"timeStamp":{},"toAddress":{}}}"#,
            value["fromAddress"],
            value["hash"],
            value["id"],
            value["publicKey"],
            value["timeStamp"],
            value["toAddress"]
        );
        let signature = Signature::from_bytes(&bytes("signature").try_into().unwrap());
        key.verify_strict(format!("p2p-node TRANSACTION\n{canonical}").as_bytes(), &signature).unwrap();
    }

    #[test]
    fn the_sum_is_over_all_ids() {
        assert_eq!(sum_of_ids(3), id(0).wrapping_add(id(1)).wrapping_add(id(2)));
    }
}
