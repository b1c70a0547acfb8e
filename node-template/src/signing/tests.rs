use proptest::prelude::*;
use tempfile::TempDir;

use crate::signing::*;
use meshpool_proto::wire::{Party, Statement};

/// The key of the test vector in docs/protocol.md: the secret is the bytes 00 to 1f.
fn key() -> NodeKey {
    key_of(std::array::from_fn(|n| n as u8))
}

fn key_of(secret: [u8; 32]) -> NodeKey {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join(crate::folder::node_key::NODE_KEY);
    std::fs::write(&path, data_encoding::HEXLOWER.encode(&secret)).expect("written");
    #[cfg(unix)]
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("closed");
    NodeKey::load(folder.path()).expect("a key").expect("there is one")
}

fn parse(text: &str) -> Transaction {
    Transaction::parse(&mut Parser::new(), text).expect(text)
}

fn signed(text: &str) -> Transaction {
    sign(&key(), &mut Parser::new(), parse(text)).expect(text)
}

fn verdict(text: &str) -> Verdict {
    verify(&parse(text))
}

fn is_forged(text: &str) -> bool {
    verdict(text).state() == SignatureState::Forged
}

/// The signature of a signed transaction, and the transaction with another in its place.
fn with_signature(transaction: &Transaction, change: impl FnOnce(&mut [u8])) -> String {
    let at = transaction.body().rfind(r#""signature":""#).expect("a signature") + 13;
    let mut bytes = data_encoding::HEXLOWER.decode(&transaction.body().as_bytes()[at..at + 128]).expect("hex");
    change(&mut bytes);
    let mut text = transaction.body().to_owned();
    text.replace_range(at..at + 128, &data_encoding::HEXLOWER.encode(&bytes));
    text
}

/// The order of the group, little-endian (RFC 8032, section 5.1).
const L: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

fn add_order(s: &mut [u8]) {
    let mut carry = 0;
    for (byte, order) in s.iter_mut().zip(L) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        *byte = sum as u8;
        carry = sum >> 8;
    }
    assert_eq!(carry, 0, "S + L has 256 bits at most");
}

#[test]
fn the_test_vector_of_the_documentation() {
    let transaction = signed(r#"{"toAddress":"bob","fromAddress":"ann","amount":1.50e2,"note":"\u00e9"}"#);
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/protocol.md");
    let docs = std::fs::read_to_string(docs).expect("the documentation");
    assert!(docs.contains(&format!("{}\n", transaction.body())), "{}", transaction.body());
    assert!(docs.contains(&transaction.id().to_string()), "{}", transaction.id());
    assert_eq!(verify(&transaction), Verdict::Verified(key().node_id()));
}

#[test]
fn what_is_signed_verifies_and_is_not_signed_again() {
    for text in ["{}", r#"{"a":1}"#, r#"{"é":[{"publicKey":1}],"signatures":2}"#] {
        let once = signed(text);
        assert_eq!(verify(&once), Verdict::Verified(key().node_id()), "{text}");
        assert!(once.body().starts_with(text.trim_end_matches('}')), "what was given stays in front");
        let twice = sign(&key_of([9; 32]), &mut Parser::new(), once.clone()).expect("as it is");
        assert_eq!(twice.body(), once.body());
    }
}

#[test]
fn fields_of_that_name_are_never_overwritten() {
    let other = key_of([9; 32]).node_id();
    for text in [
        format!(r#"{{"publicKey":"{other}"}}"#),
        r#"{"publicKey":null}"#.to_owned(),
        r#"{"signature":""}"#.to_owned(),
        format!(r#"{{"signature":1,"publicKey":"{}"}}"#, key().node_id()),
    ] {
        assert_eq!(signed(&text).body(), text);
    }
    let ours = format!(r#"{{"publicKey":"{}","a":1}}"#, key().node_id());
    let transaction = signed(&ours);
    assert_eq!(verify(&transaction), Verdict::Verified(key().node_id()), "our own key is what it would get");
    assert_eq!(transaction.body().matches("publicKey").count(), 1);
}

#[test]
fn there_must_be_room_for_a_signature() {
    let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(meshpool_proto::limits::TRANSACTION_BYTES - 100));
    let refused = sign(&key(), &mut Parser::new(), parse(&long));
    assert!(matches!(refused, Err(InvalidTransaction::TooLong(_))), "{refused:?}");
}

#[test]
fn another_layout_of_the_same_content_verifies() {
    let transaction = signed(r#"{"b":150,"a":"é","c":{"y":[],"x":0.1}}"#);
    let value: serde_json::Value = serde_json::from_str(transaction.body()).expect("JSON");
    let (key, signature) = (&value["publicKey"], &value["signature"]);
    for text in [
        format!(r#"{{"signature":{signature},"c":{{"x":1e-1,"y":[ ]}},"publicKey":{key},"a":"\u00e9","b":1.5E2}}"#),
        format!(
            "\n{{\"a\" : \"é\" , \"b\":150.0,\"c\":{{\"x\":0.10,\"y\":[]}},\"publicKey\":{key},\"signature\":{signature}}} "
        ),
        // Of two members the last counts, here as in the identity.
        format!(
            r#"{{"b":1,"signature":"","a":"é","c":{{"x":0.1,"y":[]}},"publicKey":{key},"b":150,"signature":{signature}}}"#
        ),
    ] {
        let copy = parse(&text);
        assert_eq!((copy.id(), verify(&copy).state()), (transaction.id(), SignatureState::Verified), "{text}");
    }
}

#[test]
fn a_changed_content_or_another_key_is_forged() {
    let transaction = signed(r#"{"amount":5}"#);
    let (own, other) = (key().node_id().to_string(), key_of([9; 32]).node_id().to_string());
    for text in [
        transaction.body().replace(r#""amount":5"#, r#""amount":6"#),
        transaction.body().replace(r#""amount":5"#, r#""amount":"5""#),
        transaction.body().replace(r#"{"amount":5"#, r#"{"amount":5,"more":null"#),
        transaction.body().replace(&own, &other),
        transaction.body().to_uppercase().replace("PUBLICKEY", "publicKey").replace("SIGNATURE", "signature"),
        transaction.body().replace(&own, &own.to_uppercase()),
    ] {
        assert!(is_forged(&text), "{text}");
    }
    let unsigned = transaction.body().replace("publicKey", "publickey");
    assert_eq!(verdict(&unsigned), Verdict::None);
}

#[test]
fn a_signature_of_one_purpose_is_none_of_another() {
    let (key, text) = (key(), r#"{"a":1}"#);
    let signature = key.signature(Purpose::Announce, text);
    assert!(is_signed(key.node_id(), Purpose::Announce, text, &signature));
    for other in [Purpose::Broadcast, Purpose::Transaction] {
        assert!(!is_signed(key.node_id(), other, text, &signature), "{other:?}");
    }
}

#[test]
fn nobody_makes_a_second_signature_of_a_first() {
    let transaction = signed(r#"{"amount":5}"#);
    let malleable = with_signature(&transaction, |bytes| add_order(&mut bytes[32..]));
    assert!(is_forged(&malleable), "S + L denotes the same number as S");
    assert_ne!(parse(&malleable).id(), transaction.id(), "and would be a second row");
    for bit in [0x80, 0x40, 0x20] {
        assert!(is_forged(&with_signature(&transaction, |bytes| bytes[63] |= bit)));
    }
}

#[test]
fn keys_under_which_anything_verifies_are_refused() {
    // With a key of small order and S = 0, R = identity, plain verification takes many messages or
    // all.
    let identity = [&[1_u8][..], &[0; 31]].concat();
    let order_two = [&[0xec_u8][..], &[0xff; 30], &[0x7f]].concat();
    let order_four = vec![0_u8; 32];
    let order_eight = data_encoding::HEXLOWER
        .decode(b"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")
        .expect("hex");
    // The field's prime and more: other spellings of 0, 1 and 2.
    let beyond = |n: u8| [&[0xed + n][..], &[0xff; 30], &[0x7f]].concat();
    for key in [identity.clone(), order_two, order_four, order_eight, beyond(0), beyond(1), beyond(2)] {
        let key = NodeId(key.try_into().expect("32 bytes"));
        for r in [&identity, &vec![0; 32]] {
            let signature = Signature([&r[..], &[0; 32]].concat().try_into().expect("64 bytes"));
            for n in 0..16 {
                assert!(!is_signed(key, Purpose::Transaction, &n.to_string(), &signature), "{key}");
            }
        }
    }
}

#[test]
fn a_batch_gives_the_verdict_that_each_gets_alone() {
    let good = signed(r#"{"a":1}"#);
    let other = sign(&key_of([9; 32]), &mut Parser::new(), parse(r#"{"a":2}"#)).expect("signed");
    let forged = parse(&with_signature(&good, |bytes| bytes[40] ^= 1));
    let malformed = parse(r#"{"publicKey":"","signature":""}"#);
    let unusable =
        parse(&good.body().replace(&key().node_id().to_string(), &NodeId(batch::SMALL_ORDER[0]).to_string()));
    let unsigned = parse(r#"{"a":3}"#);
    let all = [&unsigned, &good, &forged, &malformed, &other, &unusable, &good];
    let alone: Vec<Verdict> = all.iter().map(|transaction| verify(transaction)).collect();
    assert_eq!(verify_all(all), alone);
    let states = alone.iter().map(|verdict| verdict.state());
    use SignatureState::{Forged, None, Verified};
    assert!(states.eq([None, Verified, Forged, Forged, Verified, Forged, Verified]), "{alone:?}");
    assert!(verify_all([]).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, rng_seed: proptest::test_runner::RngSeed::Fixed(2026), ..ProptestConfig::with_cases(256) })]

    #[test]
    fn any_bit_flipped_fails(amount in any::<u32>(), note in "\\PC{0,20}", at in any::<prop::sample::Index>(), bit in 0..8_u32) {
        let transaction = signed(&serde_json::json!({ "amount": amount, "note": note }).to_string());
        prop_assert_eq!(verify(&transaction).state(), SignatureState::Verified);
        prop_assert!(is_forged(&with_signature(&transaction, |bytes| bytes[at.index(64)] ^= 1 << bit)));
        let mut other = key().node_id().0;
        other[at.index(32)] ^= 1 << bit;
        let text = transaction.body().replace(&key().node_id().to_string(), &NodeId(other).to_string());
        prop_assert!(is_forged(&text));
        // A bit of the text that is signed: what is still a transaction is another one, and not
        // signed.
        let mut bytes = transaction.body().as_bytes().to_vec();
        let place = at.index(bytes.len());
        bytes[place] ^= 1 << bit;
        if let Ok(changed) = std::str::from_utf8(&bytes)
            && let Ok(changed) = Transaction::parse(&mut Parser::new(), changed)
            && changed.id() != transaction.id()
        {
            prop_assert_ne!(verify(&changed).state(), SignatureState::Verified, "{}", changed.body());
        }
    }
}

/// The vector of docs/protocol.md, section 5.5.
#[test]
fn the_document_has_the_statements_and_signatures_of_both_ends() {
    let document = include_str!("../../../docs/protocol.md");
    let key = |first: u8| {
        let secret: [u8; 32] = std::array::from_fn(|n| first + n as u8);
        ed25519_dalek::SigningKey::from_bytes(&secret)
    };
    let party = |key: &ed25519_dalek::SigningKey, session: &str, nonce| Party {
        id: NodeId(key.verifying_key().to_bytes()),
        session: session.parse().expect("a session"),
        nonce: meshpool_proto::id::Nonce([nonce; 32]),
    };
    let keys = [key(0), key(32)];
    let dialler = party(&keys[0], "039aa9e5-5be8-4dd4-9b98-09ec88093d02", 0x11);
    let acceptor = party(&keys[1], "5d9b1f0c-1c3e-4a57-8f6e-2b7a90c4e113", 0x22);
    let address = "ws://localhost:4001".parse().expect("an address");
    let ip = "127.0.0.1".parse().expect("an IP address");
    for (key, direct) in keys.iter().zip([None, Some(true)]) {
        let statement = Statement { network: "p2p-node", dialler, acceptor, address: &address, ip, direct };
        let canonical = statement.canonical().expect("canonical");
        let signature = ed25519_dalek::Signer::sign(key, &Purpose::Handshake.message(&canonical)).to_bytes();
        let signature = Signature(signature);
        assert!(document.contains(&canonical), "{canonical}");
        assert!(document.contains(&signature.to_string()), "{signature}");
        let id = NodeId(key.verifying_key().to_bytes());
        assert!(is_signed(id, Purpose::Handshake, &canonical, &signature));
        assert!(!is_signed(id, Purpose::Announce, &canonical, &signature), "it is of no other purpose");
        let other = Statement { direct: Some(false), ..statement }.canonical().expect("canonical");
        assert!(!is_signed(id, Purpose::Handshake, &other, &signature));
    }
}
