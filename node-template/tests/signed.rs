//! Signatures, over real sockets: what a node that requires them takes and refuses, what everybody
//! is shown, and that nobody speaks for another node.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::io::Write;
use std::process::{Command, Stdio};

use common::embedded::Embedded;
use common::tester::{Socket, Tester};
use common::{Keeper, eventually, transaction, transaction_frame, within};
use data_encoding::HEXLOWER;
use meshpool::config::{Flags, HttpSettings, Settings};
use meshpool::http::Server;
use meshpool::protocol::json::Parser;
use meshpool::protocol::signature::Purpose;
use meshpool::protocol::transaction::Transaction;
use meshpool::protocol::wire::{Ack, AckStatus};
use meshpool::signing::{self, SignatureState, Verdict};
use meshpool::{Client, NodeError, NodeKey};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn new_key() -> NodeKey {
    NodeKey::load_or_create(TempDir::new().unwrap().path()).unwrap()
}

fn parse(text: &str) -> Transaction {
    Transaction::parse(&mut Parser::new(), text).unwrap()
}

/// A transaction's text, signed.
fn signed(key: &NodeKey, value: &Value) -> String {
    signing::sign(key, &mut Parser::new(), parse(&value.to_string())).unwrap().body().to_owned()
}

fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// A node that takes signed transactions only.
async fn strict() -> Embedded {
    Embedded::start(|network| network.require_signatures(true)).await
}

async fn linked(one: &Embedded, others: usize) {
    eventually("links", async || match one.status().await.unwrap().connected.len() {
        links if links == others => Ok(()),
        links => Err(links.to_string()),
    })
    .await;
}

async fn holds(node: &Embedded, count: u64) {
    eventually("the pool", async || match node.status().await.unwrap().pool.count {
        held if held == count => Ok(()),
        held => Err(held.to_string()),
    })
    .await;
}

/// What makes a refusal of a signed transaction: a name, its text, and a part of the reason.
fn refusals(key: &NodeKey, other: &NodeKey) -> Vec<(&'static str, String, &'static str)> {
    let good = signed(key, &json!({ "amount": 5 }));
    let (own, signature) = (key.node_id().to_string(), value(&good)["signature"].as_str().unwrap().to_owned());
    let theirs = value(&signed(other, &json!({ "amount": 5 })))["signature"].as_str().unwrap().to_owned();
    vec![
        ("unsigned", r#"{"amount":5}"#.into(), "it is not signed"),
        ("only a key", format!(r#"{{"amount":5,"publicKey":"{own}"}}"#), "it is not signed"),
        ("only a signature", format!(r#"{{"amount":5,"signature":"{signature}"}}"#), "it is not signed"),
        ("a changed content", good.replace(":5", ":6"), "not that of its publicKey"),
        ("a member more", good.replace(":5", ":5,\"to\":\"eve\""), "not that of its publicKey"),
        ("another's signature", good.replace(&signature, &theirs), "not that of its publicKey"),
        ("another's key", good.replace(&own, &other.node_id().to_string()), "not that of its publicKey"),
        ("S + L", good.replace(&signature, &plus_order(&signature)), "not that of its publicKey"),
        ("upper-case hex", good.replace(&signature, &signature.to_uppercase()), "128 lower-case"),
        ("an upper-case key", good.replace(&own, &own.to_uppercase()), "64 lower-case"),
        ("a longer signature", good.replace(&signature, &format!("{signature}00")), "128 lower-case"),
        ("no text", good.replace(&format!("\"{signature}\""), "1"), "128 lower-case"),
    ]
}

/// The same signature with S + L in place of S: the other number that stands for the same scalar.
fn plus_order(signature: &str) -> String {
    let order = HEXLOWER.decode(b"edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010").unwrap();
    let mut bytes = HEXLOWER.decode(signature.as_bytes()).unwrap();
    let mut carry = 0;
    for (byte, order) in bytes[32..].iter_mut().zip(order) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        *byte = sum as u8;
        carry = sum >> 8;
    }
    HEXLOWER.encode(&bytes)
}

#[tokio::test]
async fn what_is_not_signed_well_is_refused_with_the_reason_counted_and_not_passed_on() {
    let node = strict().await;
    let behind = Embedded::start(|network| network.known_peer(node.address().clone())).await;
    linked(&node, 1).await;
    let (key, other) = (new_key(), new_key());
    let mut client = Client::connect(node.address()).await.unwrap();
    let refusals = refusals(&key, &other);
    for (what, text, reason) in &refusals {
        let Ack { status, reason: told, links, id } = client.submit(text).await.unwrap();
        assert_eq!((status, links, id.len()), (AckStatus::Rejected, 0, 64), "{what}");
        let told = told.unwrap();
        assert!(told.contains(reason) && told.contains("REQUIRE_SIGNATURES"), "{what}: {told}");
    }
    let good = signed(&key, &json!({ "amount": 5 }));
    let ack = client.submit(&good).await.unwrap();
    assert_eq!((ack.status, ack.links), (AckStatus::Stored, 1));
    assert_eq!(client.submit(&good).await.unwrap().status, AckStatus::Duplicate);
    client.close().await;
    assert_eq!(node.transactions().unwrap(), [value(&good)]);
    holds(&behind, 1).await;
    assert_eq!(behind.transactions().unwrap(), [value(&good)], "and nothing else was passed on");
    let unsigned = refusals.iter().filter(|(_, _, reason)| reason.contains("not signed")).count() as u64;
    let counters = node.status().await.unwrap().counters;
    assert_eq!(counters["transactions_unsigned"], unsigned);
    assert_eq!(counters["transactions_forged"], refusals.len() as u64 - unsigned);
    assert_eq!(counters["transactions_refused"], refusals.len() as u64);

    // The application is told the same.
    let error = node.submit(&json!({ "amount": 5 })).await.unwrap_err();
    assert!(matches!(&error, NodeError::Refused(reason) if reason.contains("it is not signed")), "{error}");
}

#[tokio::test]
async fn other_layouts_of_the_same_content_are_as_good() {
    let (key, node) = (new_key(), strict().await);
    let mut client = Client::connect(node.address()).await.unwrap();
    for n in 0..3 {
        let good = value(&signed(&key, &json!({ "note": "é", "amount": 150, "n": n, "in": { "b": 0.1, "a": [] } })));
        let (own, signature) = (&good["publicKey"], &good["signature"]);
        let text = [
            format!(
                r#"{{"signature":{signature},"in":{{"a":[],"b":0.1}},"n":{n},"publicKey":{own},"amount":150,"note":"é"}}"#
            ),
            format!(
                r#"{{"note":"\u00e9","amount":1.50e2,"n":{n}.0,"in":{{"b":1e-1,"a":[ ]}},"publicKey":{own},"signature":{signature}}}"#
            ),
            good.to_string(),
        ];
        for (copy, text) in text.iter().enumerate() {
            let expected = if copy == 0 { AckStatus::Stored } else { AckStatus::Duplicate };
            assert_eq!(client.submit(text).await.unwrap().status, expected, "{text}");
        }
    }
    client.close().await;
    let listed = node.pool().page(None, 10, 1 << 20).await.unwrap();
    for (_, transaction) in &listed.rows {
        assert_eq!(signing::verify(transaction), Verdict::Verified(key.node_id()));
    }
    assert_eq!(listed.rows.len(), 3);
}

#[tokio::test]
async fn what_others_hold_without_a_signature_is_asked_for_once_and_never_again() {
    let key = new_key();
    let lenient = Embedded::start(|network| network).await;
    for n in 0..10 {
        lenient.submit(&transaction(n)).await.unwrap();
    }
    let mut forged = value(&signed(&key, &json!({ "n": 1 })));
    forged["n"] = json!(2);
    lenient.submit(&forged).await.unwrap();
    let good = value(&signed(&key, &json!({ "n": 3 })));
    lenient.submit(&good).await.unwrap().stored().await.unwrap();
    assert_eq!(lenient.transactions().unwrap().len(), 12, "where signatures are not required, any object is taken");

    let node = Embedded::start(|network| network.require_signatures(true).known_peer(lenient.address().clone())).await;
    holds(&node, 1).await;
    // The pools differ for good, so rounds go on; what was refused is not sent again.
    let rounds = node.counted("sync_rounds").await;
    eventually("three more rounds", async || match node.counted("sync_rounds").await {
        now if now >= rounds + 3 => Ok(()),
        now => Err(format!("{now} after {rounds}")),
    })
    .await;
    assert_eq!((node.counted("transactions_unsigned").await, node.counted("transactions_forged").await), (10, 1));
    assert_eq!(node.transactions().unwrap(), [good]);
}

#[tokio::test]
async fn a_node_of_the_exercise_is_welcome_where_signatures_are_not_required_and_hands_on_signed_ones_where_they_are() {
    let key = new_key();
    let lenient = Embedded::start(|network| network).await;
    let node = strict().await;
    let plain = Tester::listen().await;
    for node in [&lenient, &node] {
        plain.greet(node.port()).await.close().await;
        let mut speaks = Socket::dial(node.port()).await.unwrap();
        speaks.send(&json!({ "type": "HANDSHAKE", "data": [plain.address()] })).await;
        speaks.send_text(transaction_frame(&transaction(1))).await;
        // As JSON.stringify of a JavaScript node writes what it parsed.
        let reformatted = signed(&key, &json!({ "amount": 1e2 })).replace("100.0", "100");
        speaks.send_text(transaction_frame(&value(&reformatted))).await;
        speaks.close().await;
    }
    holds(&lenient, 2).await;
    holds(&node, 1).await;
    assert_eq!(node.transactions().unwrap()[0]["amount"], 100);
    assert_eq!(node.counted("transactions_unsigned").await, 1);
}

#[tokio::test]
async fn a_program_has_its_submissions_signed_if_it_likes() {
    let signing = Embedded::start(|network| network.sign_submissions(true)).await;
    let id = signing.id();
    signing.submit(&json!({ "n": 1 })).await.unwrap();
    signing.submit(&json!({ "n": 2, "publicKey": "mine" })).await.unwrap();
    signing.submit(&json!({ "n": 3, "signature": null })).await.unwrap().stored().await.unwrap();
    let held = signing.transactions().unwrap();
    assert_eq!(signing::verify(&parse(&held[0].to_string())), Verdict::Verified(id));
    assert_eq!(held[1], json!({ "n": 2, "publicKey": "mine" }), "what a person wrote stays");
    assert_eq!(held[2], json!({ "n": 3, "signature": null }));

    let by_hand = Embedded::start(|network| network).await;
    let transaction = by_hand.sign(parse(r#"{"n":1}"#)).unwrap();
    assert_eq!(signing::verify(&transaction), Verdict::Verified(by_hand.id()));
    by_hand.submit(&json!({ "n": 1 })).await.unwrap().stored().await.unwrap();
    assert_eq!(by_hand.transactions().unwrap(), [json!({ "n": 1 })]);
}

/// Asks a node's HTTP side.
async fn ask(site: &Server, method: &str, path: &str, body: &str) -> Value {
    within("an answer", async {
        let mut socket = TcpStream::connect(site.address()).await.unwrap();
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        value(answer.split_once("\r\n\r\n").unwrap().1)
    })
    .await
}

#[tokio::test]
async fn the_api_says_how_each_stands_and_the_page_signs_what_its_owner_writes() {
    let node = Embedded::start(|network| network).await;
    let settings = HttpSettings { port: Some(0), ..HttpSettings::default() };
    let site = Server::start(node.handle(), &settings).await.unwrap();
    let key = new_key();
    let good = signed(&key, &json!({ "n": 1 }));
    let posts = [
        ("/api/transactions", good.clone(), "verified"),
        ("/api/transactions", good.replace(":1", ":2"), "forged"),
        ("/api/transactions", r#"{"n":3}"#.to_owned(), "none"),
        ("/api/transactions?sign=true", r#"{"n":4}"#.to_owned(), "verified"),
        // As the page does it.
        ("/api/transactions?stamp=true", r#"{"n":5}"#.to_owned(), "verified"),
        ("/api/transactions?stamp=true&sign=false", r#"{"n":6}"#.to_owned(), "none"),
        ("/api/transactions?stamp=true", r#"{"n":7,"publicKey":"mine"}"#.to_owned(), "none"),
        ("/api/transactions?stamp=true", r#"{"n":8,"publicKey":"mine","signature":"mine"}"#.to_owned(), "forged"),
    ];
    for (path, body, state) in &posts {
        let taken = ask(&site, "POST", path, body).await;
        let one = ask(&site, "GET", &format!("/api/transactions/{}", taken["id"].as_str().unwrap()), "").await;
        assert_eq!(one["signature"], *state, "{path} {body}: {one}");
        let given = value(body);
        for name in ["publicKey", "signature"] {
            assert!(given.get(name).is_none_or(|given| one["transaction"][name] == *given), "{name} stays: {one}");
        }
    }
    let stamped = &ask(&site, "GET", "/api/transactions?search=%22n%22:5", "").await["transactions"][0];
    assert_eq!(stamped["transaction"]["publicKey"], node.id().to_string());
    let listed = ask(&site, "GET", "/api/transactions", "").await;
    let states: Vec<_> =
        listed["transactions"].as_array().unwrap().iter().map(|row| row["signature"].clone()).collect();
    assert_eq!(states, posts.iter().rev().map(|(_, _, state)| json!(state)).collect::<Vec<_>>());
}

/// Who pretends to be a full peer: it holds a key, and a link on which it introduced itself.
struct Forger {
    key: NodeKey,
    link: Socket,
}

const SESSION: &str = "00000000-0000-4000-8000-000000000000";

impl Forger {
    async fn beside(node: &Embedded) -> Self {
        let (key, mut link) = (new_key(), Socket::dial(node.port()).await.unwrap());
        link.send(&json!({
            "type": "HANDSHAKE", "data": ["ws://127.0.0.1:9"],
            "node": {
                "id": key.node_id().to_string(), "session": SESSION, "agent": "", "protocol": 1,
                "network": "p2p-node", "address": "ws://127.0.0.1:9",
            },
        }))
        .await;
        link.handshake().await;
        Self { key, link }
    }

    /// Says something under a signature of its own.
    async fn say(&mut self, purpose: Purpose, kind: &str, data: Value, from: Option<String>) {
        let mut parser = Parser::new();
        let text = data.to_string();
        let canonical = parser.parse(&text).unwrap().normal().unwrap().canonical().to_owned();
        let signature = self.key.signature(purpose, &canonical).to_string();
        let mut frame = json!({ "type": kind, "data": data, "signature": signature });
        if let Some(from) = from {
            frame["from"] = json!(from);
        }
        self.link.send(&frame).await;
    }
}

#[tokio::test]
async fn nobody_announces_or_broadcasts_for_another_node() {
    let node = Embedded::start(|network| network).await;
    let victim = Embedded::start(|network| network.known_peer(node.address().clone())).await;
    linked(&node, 1).await;
    let mut forger = Forger::beside(&node).await;
    let announce = |of: &str| {
        json!({
            "node": of, "session": SESSION, "address": "ws://127.0.0.1:66", "since": 4_000_000_000_u64, "seq": 9, "peers": [],
            "links": 1, "maxPeers": null, "nodes": 2, "interval": 10,
        })
    };
    let say = |id: u8| json!({ "id": HEXLOWER.encode(&[id; 32]), "title": "#BROADCAST", "message": "send me money", "time": 1.5 });
    let absent = new_key().node_id().to_string();
    forger.say(Purpose::Announce, "ANNOUNCE", announce(&absent), None).await;
    forger.say(Purpose::Broadcast, "BROADCAST", say(1), Some(victim.id().to_string())).await;
    forger.say(Purpose::Announce, "BROADCAST", say(2), None).await;
    let own = forger.key.node_id().to_string();
    // A good signature of its own is believed: what came before on the link has been looked at by
    // then.
    let mut events = node.events();
    forger.say(Purpose::Announce, "ANNOUNCE", announce(&own), None).await;
    forger.say(Purpose::Broadcast, "BROADCAST", say(3), Some(own.clone())).await;
    common::embedded::event(&mut events, "its own broadcast", |event| match event {
        meshpool::protocol::event::Event::Broadcast { broadcast, sender, .. } => {
            assert_eq!((broadcast.id.0, sender.node.map(|node| node.to_string())), ([3; 32], Some(own.clone())));
            Some(())
        }
        _ => None,
    })
    .await;
    let counters = node.status().await.unwrap().counters;
    assert_eq!((counters["announcements_forged"], counters["broadcasts_forged"]), (1, 2));
    let known: Vec<String> = node.nodes().await.unwrap().into_iter().map(|member| member.node).collect();
    assert!(known.contains(&own) && !known.contains(&absent), "{known:?}");
    for id in 4..40 {
        forger.say(Purpose::Broadcast, "BROADCAST", say(id), Some(victim.id().to_string())).await;
    }
    let farewell = forger.link.farewell().await;
    assert_eq!(farewell, Some((1008, "too many messages that break the rules".to_owned())));
}

#[test]
fn nodejs_verifies_what_we_sign_and_signs_what_we_verify() {
    let key = new_key();
    let texts: Vec<String> = (0..200)
        .map(|n| {
            let odd = ["é", "\u{1f600}", "\u{0}\u{1f}", "\"\\/", "\u{2028}", "\u{fb33}\u{10000}"][n % 6];
            let number = [1e21, 1e-7, 0.1, -0.0, 5e-324, 123_456_789_012_345_680.0, 100.0][n % 7];
            let content = json!({ odd: number, "n": n, "in": [null, true, { "b": odd, "a": {} }], "hash": "", "signatur": 1, "signature2": 2 });
            signed(&key, &content)
        })
        .collect();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/signatures.js");
    let mut node = Command::new("node").arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = node.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || {
            for text in &texts {
                writeln!(stdin, "{text}").unwrap();
            }
        });
        node.wait_with_output().unwrap()
    });
    assert!(output.status.success(), "node failed: {}", output.status);
    let answers = String::from_utf8(output.stdout).unwrap();
    let mut signers = std::collections::BTreeSet::new();
    for (n, answer) in answers.lines().map(value).enumerate() {
        assert_eq!(answer["verified"], true, "{n}");
        match signing::verify(&parse(answer["signed"].as_str().unwrap())) {
            Verdict::Verified(signer) => signers.insert(signer),
            other => panic!("{n}: {other:?}: {answer}"),
        };
    }
    assert_eq!((answers.lines().count(), signers.len()), (200, 1));
    assert!(!signers.contains(&key.node_id()));
}

#[test]
fn the_setting_is_read_from_the_flag_the_environment_and_the_file() {
    let read = |env: &str, flag: Option<&str>, environment: Option<&str>| {
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join(".env"), format!("PORT=4001\n{env}")).unwrap();
        std::fs::write(folder.path().join("known-peers.json"), "[]").unwrap();
        let flags = Flags { require_signatures: flag.map(str::to_owned), ..Flags::default() };
        Settings::read(folder.path(), &flags, |name| {
            (name == "REQUIRE_SIGNATURES").then_some(environment)?.map(str::to_owned)
        })
        .map(|settings| settings.require_signatures)
        .map_err(|error| error.to_string())
    };
    for (env, flag, environment, required) in [
        ("", None, None, false),
        ("REQUIRE_SIGNATURES=1", None, None, true),
        ("REQUIRE_SIGNATURES=", None, None, false),
        ("REQUIRE_SIGNATURES=on", None, Some("0"), false),
        ("REQUIRE_SIGNATURES=0", Some("1"), Some("off"), true),
    ] {
        assert_eq!(read(env, flag, environment), Ok(required), "{env} {flag:?} {environment:?}");
    }
    let error = read("REQUIRE_SIGNATURES=maybe", None, None).unwrap_err();
    assert!(error.contains("REQUIRE_SIGNATURES is maybe") && error.contains("(1) or not (0)"), "{error}");
    assert_eq!(SignatureState::None, signing::verify(&parse("{}")).state());
}
