//! Signatures: a signed text verifies in every layout; a changed text does not, unless its content
//! is the same; and no text has a second signature.
//!
//! The reference is made of serde_json, serde_json_canonicalizer and the strict check of
//! ed25519-dalek.

use std::fs;
use std::sync::OnceLock;

use ed25519_dalek::VerifyingKey;
use meshpool::NodeKey;
use meshpool::binary::NODE_KEY;
use meshpool::signing::{SignatureState, Verdict, sign, verify};
use meshpool_proto::id::Session;
use meshpool_proto::json::{Parser, Value, write_pretty};
use meshpool_proto::signature::{PUBLIC_KEY, Purpose, SIGNATURE, Seal, Signer};
use meshpool_proto::transaction::Transaction;
use meshpool_proto::wire::{Announcement, Broadcast, Message};
use serde_json::Map;

use crate::script::Script;
use crate::{folder, planted};

/// Signs the rest of the input, and verifies it and an edited copy.
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

/// The signing key, the same in every run.
fn key() -> &'static NodeKey {
    static KEY: OnceLock<NodeKey> = OnceLock::new();
    KEY.get_or_init(|| {
        let folder = folder::new();
        let file = folder.path().join(NODE_KEY);
        fs::write(&file, "07".repeat(32)).expect("written");
        #[cfg(unix)]
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("the file is ours");
        NodeKey::load(folder.path()).expect("it is valid").expect("it exists")
    })
}

fn transaction(text: &str, edits: &[Edit]) {
    let mut parser = Parser::new();
    let Ok(given) = Transaction::parse(&mut parser, text) else { return };
    check(&given);
    let Ok(signed) = sign(key(), &mut parser, given.clone()) else { return };
    if signed.id() == given.id() {
        // It has a signature already, or another public key.
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

/// Compares the verdict with the reference, in every layout. With our key, checks that a second
/// signature would be the same.
fn check(transaction: &Transaction) {
    let (body, mut verdict) = (transaction.body(), verify(transaction));
    // Planted: a signature in upper case is valid.
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
        let same = Transaction::parse(&mut parser, layout).expect("the same in another layout");
        assert_eq!((same.id(), verify(&same)), (transaction.id(), verdict), "of {body} as {layout}");
    }
    let (named, signature) = (members.get(PUBLIC_KEY).cloned(), members.shift_remove(SIGNATURE));
    let expected = match (named, signature) {
        (Some(named), Some(signature)) => {
            let rest = serde_json_canonicalizer::to_string(&members).expect("it can be written");
            let strict = is_signed(named.as_str(), signature.as_str(), &rest);
            if strict { SignatureState::Verified } else { SignatureState::Forged }
        }
        _ => SignatureState::None,
    };
    assert_eq!(verdict.state(), expected, "of {body}");
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

/// The bytes of lower-case hexadecimal digits, if their number is right.
fn bytes<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let lower = |digit: u8| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit);
    if digits.len() != 2 * N || !digits.bytes().all(lower) {
        return None;
    }
    let byte = |n: usize| u8::from_str_radix(&digits[2 * n..2 * n + 2], 16).expect("digits");
    Some(std::array::from_fn(byte))
}

/// The signed content of a message.
#[derive(Debug, PartialEq)]
enum Content {
    Broadcast(Broadcast),
    Announcement(Announcement),
}

impl Content {
    /// The content of a frame, and the frame that forwards it.
    fn read(text: &str) -> Option<(Self, String)> {
        let session = Session::from_random([1; 16]);
        match Message::parse(&mut Parser::new(), text).ok()? {
            Message::Broadcast(frame) => {
                let forwarded = frame.to_frame(session).as_str().to_owned();
                Some((Self::Broadcast(frame.broadcast), forwarded))
            }
            Message::Announce(frame) => {
                let forwarded = frame.to_frame(session).as_str().to_owned();
                Some((Self::Announcement(frame.announcement), forwarded))
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

/// Signs the data of a message, and verifies it and an edited copy.
fn message(purpose: Purpose, data: &str, edits: &[Edit]) {
    let mut parser = Parser::new();
    let Ok(normal) = parser.parse(data).and_then(Value::normal) else { return };
    let canonical = normal.canonical().to_owned();
    let signature = key().signature(purpose, &canonical);
    let kind = if purpose == Purpose::Broadcast { "BROADCAST" } else { "ANNOUNCE" };
    let text = format!(r#"{{"type":"{kind}","data":{data},"signature":"{signature}"}}"#);
    let Some((content, forwarded)) = Content::read(&text) else { return };
    assert_eq!(content.seal().map(|seal| &*seal.canonical), Some(&*canonical));
    assert!(content.is_ours(), "{text} is signed");
    let (again, _) = Content::read(&forwarded).expect("it forwards a message");
    assert_eq!(again, content, "{text} is forwarded with the same content");
    if let Some((changed, _)) = edited(&text, edits).and_then(|text| Content::read(&text)) {
        assert!(!changed.is_ours() || changed == content, "{changed:?} verifies as {text}");
    }
}

/// An edit of a text at one position.
#[derive(Debug, Clone, Copy)]
struct Edit {
    position: usize,
    what: u8,
    byte: u8,
}

fn any_edit(script: &mut Script<'_>) -> Edit {
    Edit { position: script.number() as usize, what: script.byte(), byte: script.byte() }
}

/// A text after some edits; `None` if it is no UTF-8 any more, or there are no edits.
fn edited(text: &str, edits: &[Edit]) -> Option<String> {
    let mut bytes = text.as_bytes().to_vec();
    for Edit { position, what, byte } in edits {
        let position = position % bytes.len().max(1);
        let old = *bytes.get(position)?;
        let new = match what % 8 {
            0 => vec![*byte],
            1 => vec![old ^ 1 << (byte % 8)],
            2 => Vec::new(),
            3 => vec![*byte, old],
            4 => vec![old, old],
            // Inside a string it is the same character.
            5 => format!("\\u{old:04x}").into_bytes(),
            6 => vec![b" \t\r\n"[usize::from(byte % 4)], old],
            _ => vec![old.to_ascii_uppercase()],
        };
        bytes.splice(position..=position, new);
    }
    String::from_utf8(bytes).ok().filter(|_| !edits.is_empty())
}
