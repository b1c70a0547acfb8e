//! Signatures: what is signed verifies, in every layout; what is changed does not, unless it still says the same; and nothing has a second signature.
//!
//! The judge beside ours is put together of others' parts: serde_json, serde_json_canonicalizer, and the strict check of ed25519-dalek.

use std::fs;
use std::sync::OnceLock;

use ed25519_dalek::VerifyingKey;
use meshpool::folder::node_key::{NODE_KEY, NodeKey};
use meshpool_proto::id::Session;
use meshpool_proto::json::{Parser, Value, write_pretty};
use meshpool_proto::wire::{Announcement, Broadcast, Message};
use meshpool_proto::signature::{PUBLIC_KEY, Purpose, SIGNATURE, Seal, Signer};
use meshpool_proto::transaction::Transaction;
use meshpool::signing::{SignatureState, Verdict, sign, verify};
use serde_json::Map;

use crate::script::Script;
use crate::{folder, planted};

/// Signs what the rest of the input says, and judges it and changes of it.
pub fn run(data: &[u8]) {
    let mut script = Script::new(data);
    let purpose = [Purpose::Transaction, Purpose::Transaction, Purpose::Broadcast, Purpose::Announce][script.below(4)];
    let edits = script.few(any_edit);
    let Ok(text) = str::from_utf8(script.rest()) else { return };
    match purpose {
        Purpose::Transaction => transaction(text, &edits),
        _ => message(purpose, text, &edits),
    }
}

/// The key that signs, the same in every run.
fn key() -> &'static NodeKey {
    static KEY: OnceLock<NodeKey> = OnceLock::new();
    KEY.get_or_init(|| {
        let folder = folder::new();
        let file = folder.path().join(NODE_KEY);
        fs::write(&file, "07".repeat(32)).expect("written");
        #[cfg(unix)]
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("ours");
        NodeKey::load(folder.path()).expect("a key").expect("there is one")
    })
}

fn transaction(text: &str, edits: &[Edit]) {
    let mut parser = Parser::new();
    let Ok(given) = Transaction::parse(&mut parser, text) else { return };
    check(&given);
    let Ok(signed) = sign(key(), &mut parser, given.clone()) else { return };
    if signed.id() == given.id() {
        // It has a signature already, or names somebody else.
        return;
    }
    assert_eq!(verify(&signed), Verdict::Verified(key().node_id()), "of {}", signed.body());
    check(&signed);
    if let Some(Ok(changed)) = edited(signed.body(), edits).map(|text| Transaction::parse(&mut parser, &text)) {
        check(&changed);
        let verified = verify(&changed).state() == SignatureState::Verified;
        assert!(!verified || changed.id() == signed.id(), "a change verifies: {}", changed.body());
    }
}

/// Judges a transaction as others would, in every layout; and if it is of our key, whether it is the only one.
fn check(transaction: &Transaction) {
    let (body, mut verdict) = (transaction.body(), verify(transaction));
    // A signature in capitals counts, as in most programs.
    if planted::is_due(|| verdict.state() == SignatureState::Forged) {
        let lower = Transaction::parse(&mut Parser::new(), &body.to_lowercase().replace("publickey", PUBLIC_KEY));
        verdict = lower.map_or(verdict, |lower| verify(&lower));
    }
    let mut members: Map<_, _> = serde_json::from_str(body).expect("a transaction is an object");
    let canonical = serde_json_canonicalizer::to_string(&members).expect("it can be written");
    let mut pretty = Vec::new();
    write_pretty(body, 0, &mut pretty);
    let mut parser = Parser::new();
    for layout in [canonical.as_str(), str::from_utf8(&pretty).expect("a text")] {
        let same = Transaction::parse(&mut parser, layout).expect("the same in other words");
        assert_eq!((same.id(), verify(&same)), (transaction.id(), verdict), "of {body} as {layout}");
    }
    let (named, signature) = (members.get(PUBLIC_KEY).cloned(), members.shift_remove(SIGNATURE));
    let theirs = match (named, signature) {
        (Some(named), Some(signature)) => {
            let rest = serde_json_canonicalizer::to_string(&members).expect("it can be written");
            let strict = is_signed(named.as_str(), signature.as_str(), &rest);
            if strict { SignatureState::Verified } else { SignatureState::Forged }
        }
        _ => SignatureState::None,
    };
    assert_eq!(verdict.state(), theirs, "of {body}");
    if verdict == Verdict::Verified(key().node_id()) {
        let rest = serde_json::to_string(&members).expect("it can be written");
        let rest = Transaction::parse(&mut parser, &rest).expect("it is shorter");
        let again = sign(key(), &mut parser, rest).expect("there is room");
        assert_eq!(again.id(), transaction.id(), "a second signature under {body}");
    }
}

fn is_signed(key: Option<&str>, signature: Option<&str>, canonical: &str) -> bool {
    let (Some(key), Some(signature)) = (key.and_then(bytes::<32>), signature.and_then(bytes::<64>)) else {
        return false;
    };
    let message = [b"p2p-node TRANSACTION\n", canonical.as_bytes()].concat();
    let signature = ed25519_dalek::Signature::from_bytes(&signature);
    VerifyingKey::from_bytes(&key).is_ok_and(|key| key.verify_strict(&message, &signature).is_ok())
}

/// What lower-case hexadecimal digits stand for, if they are as many.
fn bytes<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let lower = |digit: u8| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit);
    if digits.len() != 2 * N || !digits.bytes().all(lower) {
        return None;
    }
    let byte = |n: usize| u8::from_str_radix(&digits[2 * n..2 * n + 2], 16).expect("digits");
    Some(std::array::from_fn(byte))
}

/// What a message says under its signature.
#[derive(Debug, PartialEq)]
enum Said {
    Broadcast(Broadcast),
    Announcement(Announcement),
}

impl Said {
    /// What is said in a frame, and the frame in which it is passed on.
    fn read(text: &str) -> Option<(Self, String)> {
        let session = Session::from_random([1; 16]);
        match Message::parse(&mut Parser::new(), text).ok()? {
            Message::Broadcast(frame) => {
                let passed_on = frame.to_frame(session).as_str().to_owned();
                Some((Self::Broadcast(frame.broadcast), passed_on))
            }
            Message::Announce(frame) => {
                let passed_on = frame.to_frame(session).as_str().to_owned();
                Some((Self::Announcement(frame.announcement), passed_on))
            }
            _ => None,
        }
    }

    fn seal(&self) -> Option<&Seal> {
        match self {
            Self::Broadcast(broadcast) => broadcast.seal.as_deref(),
            Self::Announcement(announcement) => announcement.seal.as_deref(),
        }
    }

    /// Whether our key signed it.
    fn is_ours(&self) -> bool {
        let purpose = match self {
            Self::Broadcast(_) => Purpose::Broadcast,
            Self::Announcement(_) => Purpose::Announce,
        };
        key().vouches(key().node_id(), purpose, self.seal())
    }
}

/// Signs the data of a message.
fn message(purpose: Purpose, data: &str, edits: &[Edit]) {
    let mut parser = Parser::new();
    let Ok(normal) = parser.parse(data).and_then(Value::normal) else { return };
    let canonical = normal.canonical().to_owned();
    let signature = key().signature(purpose, &canonical);
    let kind = if purpose == Purpose::Broadcast { "BROADCAST" } else { "ANNOUNCE" };
    let text = format!(r#"{{"type":"{kind}","data":{data},"signature":"{signature}"}}"#);
    let Some((said, passed_on)) = Said::read(&text) else { return };
    assert_eq!(said.seal().map(|seal| &*seal.canonical), Some(&*canonical));
    assert!(said.is_ours(), "{text} is signed");
    let (heard, _) = Said::read(&passed_on).expect("what is passed on is a message");
    assert_eq!(heard, said, "who is told of {text} hears what was said");
    if let Some((changed, _)) = edited(&text, edits).and_then(|text| Said::read(&text)) {
        assert!(!changed.is_ours() || changed == said, "{changed:?} verifies as {text}");
    }
}

/// A change of a text at one place.
#[derive(Debug, Clone, Copy)]
struct Edit {
    place: usize,
    what: u8,
    byte: u8,
}

fn any_edit(script: &mut Script<'_>) -> Edit {
    Edit { place: script.number() as usize, what: script.byte(), byte: script.byte() }
}

/// A text after some changes; `None` if it is none any more, or there are no changes.
fn edited(text: &str, edits: &[Edit]) -> Option<String> {
    let mut bytes = text.as_bytes().to_vec();
    for Edit { place, what, byte } in edits {
        let place = place % bytes.len().max(1);
        let old = *bytes.get(place)?;
        let new = match what % 8 {
            0 => vec![*byte],
            1 => vec![old ^ 1 << (byte % 8)],
            2 => Vec::new(),
            3 => vec![*byte, old],
            4 => vec![old, old],
            // In other words the same, in the right places.
            5 => format!("\\u{old:04x}").into_bytes(),
            6 => vec![b" \t\r\n"[usize::from(byte % 4)], old],
            _ => vec![old.to_ascii_uppercase()],
        };
        bytes.splice(place..=place, new);
    }
    String::from_utf8(bytes).ok().filter(|_| !edits.is_empty())
}
