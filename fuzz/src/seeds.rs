//! The seeds: frames that real cores send each other, and files that a node writes.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use meshpool::binary::pool::POOL_FILE;
use meshpool_proto::id::Nonce;
use meshpool_proto::json::Parser;
use meshpool_proto::signature::Signature;
use meshpool_proto::wire::{ChunkOf, FailedCause, Hello, Message, Proof, RequestFrame, TransactionFrame};
use meshpool_proto::{Input, RequestId};

use crate::names::{address, config};
use crate::net::Net;
use crate::{folder, names, pool};

/// A seed: its target, name and content.
pub type Seed = (&'static str, String, Vec<u8>);

/// The maximum size of a frame that becomes a seed: short ones are more useful to a fuzzer.
const FRAME_BYTES: usize = 1_200;

/// Frames whose numbers are at the ends of their types: calculations with them may overflow.
const NUMBERS: [(&str, &str); 2] = [
    (
        "exercise_numbers",
        r#"{"type":"EXERCISE","data":[{"address":"ws://localhost:5001","drops":4294967295,"lacks":18446744073709551615,"event":9007199254740993}]}"#,
    ),
    ("declined_numbers", r#"{"type":"DECLINED","data":[],"retryAfter":18446744073709551615}"#),
];

/// All seeds.
pub fn all() -> Vec<Seed> {
    let frames = frames();
    let mut seeds: Vec<Seed> = Vec::new();
    let others = frames_of_every_type().into_iter().filter(|(kind, _)| !frames.contains_key(kind));
    for (kind, text) in others.chain(frames.clone()) {
        seeds.push(("frame", kind.to_lowercase(), text.into_bytes()));
    }
    for (name, text) in NUMBERS {
        seeds.push(("frame", name.into(), text.as_bytes().to_vec()));
    }
    seeds.extend(request_frames());
    seeds.push(("canonical", "transaction".into(), names::transaction(1).body().as_bytes().to_vec()));
    let numbers = br#"{"b":[1e21,-0,0.1,1E-7,9007199254740992],"a":{"\u20ac":"\ud83d\ude00\n","\r":null},"a":true}"#;
    seeds.push(("canonical", "numbers".into(), numbers.to_vec()));
    for (index, text) in
        ["ws://localhost:4001", "wss://[2001:db8::7]:443/", "WS://Example.ORG:04001", "ws://10.0.0.7:1"]
            .into_iter()
            .enumerate()
    {
        seeds.push(("address", index.to_string(), text.as_bytes().to_vec()));
    }
    seeds.push(("protocol", "a_visit".into(), visit(&frames)));
    seeds.push(("sync", "a_comparison".into(), comparison(&frames)));
    let env = include_str!("../../node-template/.env");
    seeds.push(("settings", "template".into(), [env, include_str!("../../known-peers.json")].join("\0").into_bytes()));
    let every = "PORT=4001\nHOST=0.0.0.0\nMAX_PEERS=6\nGENESIS=localhost:4002\nNETWORK='a b'\nPEERS=localhost:4003,ws://10.0.0.7:1\n\
        ADDRESS=ws://192.0.2.1:4001\nLOG=debug\nLOG_FORMAT=json\nREQUIRE_SIGNATURES=1\nDISCOVERY=mdns\nPLAIN=off\nHTTP_PORT=8080\n\0[\"ws://localhost:4001\"]";
    seeds.push(("settings", "every".into(), every.as_bytes().to_vec()));
    let lists = "\0[]\0# who left\r\n10.0.0.0/8\n[2001:db8::]/32 # all of them\n::1\nAB:"
        .chars()
        .chain("ab".repeat(31).chars())
        .collect::<String>();
    seeds.push(("settings", "lists".into(), lists.into_bytes()));
    for (index, text) in signed(&frames).into_iter().enumerate() {
        seeds.push(("signature", index.to_string(), text));
    }
    let file = pool_file();
    seeds.push(("pool", "torn".into(), file[..file.len() * 2 / 3].to_vec()));
    seeds.push(("pool", "whole".into(), file));
    seeds
}

/// The shortest frame of each type that nodes send, in a mesh and in capped networks.
fn frames() -> BTreeMap<String, String> {
    let mut shortest: BTreeMap<String, String> = BTreeMap::new();
    let mut parser = Parser::new();
    for cap in [None, Some(1), Some(2)] {
        for text in traffic(cap) {
            let message = Message::parse(&mut parser, &text).expect("a node sends messages");
            let kept = shortest.entry(message.kind().to_owned()).or_insert_with(|| text.clone());
            if text.len() < kept.len() {
                *kept = text;
            }
        }
    }
    shortest.retain(|_, text| text.len() <= FRAME_BYTES);
    shortest
}

/// A frame of each type. Some are too rare for a short run, and a fuzzer does not guess their
/// names.
fn frames_of_every_type() -> BTreeMap<String, String> {
    let mut parser = Parser::new();
    let any = (0..=u8::MAX).map(|kind| names::any_message(&mut crate::script::Script::new(&[kind, 1, 1, 1, 1, 1])));
    any.filter_map(|text| Some((Message::parse(&mut parser, &text).ok()?.kind().to_owned(), text))).collect()
}

/// The frames of requests, and a chunk.
fn request_frames() -> impl Iterator<Item = Seed> {
    let signature = Signature([7; 64]);
    let (nonce, ip) = (Nonce([9; 32]), IpAddr::V4(Ipv4Addr::LOCALHOST));
    let hello = |proof, callback| {
        let (node, session) = (names::id(1), names::session(1));
        RequestFrame::Hello(Box::new(Hello { network: names::NETWORK.into(), node, session, proof, callback }))
    };
    let dialler = Proof::Dialler { nonce, address: address(1), ip, signature };
    let frames = [
        ("hello_dialler", hello(dialler, Some(nonce))),
        ("hello_acceptor", hello(Proof::Acceptor { direct: true, signature }, None)),
        ("ask", RequestFrame::Request { id: 1, bytes: 7, timeout: 30_000 }),
        ("answer", RequestFrame::Response { id: 1, bytes: 7 }),
        ("failed", RequestFrame::Failed { id: 1, cause: FailedCause::NotServed, reason: "why".into() }),
        ("cancel", RequestFrame::Cancel { id: 1 }),
    ];
    let texts = frames.into_iter().map(|(name, frame)| (name, frame.to_text().into_bytes()));
    let all = texts.chain([("chunk", ChunkOf::Response.to_bytes(1, b"content"))]);
    all.map(|(name, bytes)| ("frame", format!("request_{name}"), bytes))
}

/// All frames of four nodes and a client of the first in two minutes.
fn traffic(max_peers: Option<u32>) -> Vec<String> {
    let mut net = Net::new(false);
    net.recorded = Some(Vec::new());
    for node in 0..4 {
        let mut config = config(node);
        config.max_peers = max_peers;
        config.known_peers = (0..node).map(address).collect();
        net.add(config, (0..3).map(|number| names::transaction(5 * node + number)).collect());
        net.nodes[node].disk.is_immediate = true;
    }
    net.pass(Duration::from_secs(20));
    let client = net.accept(0, IpAddr::V4(Ipv4Addr::LOCALHOST));
    let client_frames = [
        TransactionFrame::client_frame(names::transaction(30).body(), true).as_str().to_owned(),
        r#"{"type":"STATUS","data":{}}"#.to_owned(),
        r#"{"type":"NETWORK","data":{}}"#.to_owned(),
    ];
    for text in client_frames {
        net.receive(0, client, &text);
        net.recorded.get_or_insert_default().push(text);
    }
    net.handle(1, Input::Submit { request: RequestId(1), transaction: names::transaction(31) });
    net.handle(2, Input::Broadcast { request: RequestId(2), message: "hello".into(), time: 1.5 });
    let search = names::any_search(&mut crate::script::Script::new(&[1]));
    net.handle(0, Input::ImageSearch { search, name: None });
    net.pass(Duration::from_secs(100));
    net.recorded.unwrap_or_default()
}

/// A script in which a stranger connects and sends all of them.
fn visit(frames: &BTreeMap<String, String>) -> Vec<u8> {
    // Known peers and a cap; an empty pool; two strangers.
    let mut script = vec![0x80 | 16 | 3, 0, 0, 0, 0, 3];
    let first = frames.get_key_value("HANDSHAKE").into_iter();
    for (_, text) in first.chain(frames.iter().filter(|(_, text)| text.len() < 400)) {
        script.extend([22, 0]);
        push_text(&mut script, text);
        script.extend([5 + 32 * 6, 8, 3]);
    }
    script.extend([2, 0, 1, 1, 1, 0, 6 + 32 * 4]);
    script
}

/// A script in which a native peer repeats the anti-entropy of others.
fn comparison(frames: &BTreeMap<String, String>) -> Vec<u8> {
    let mut script = vec![0x0f, 0xf0, 0, 1, 0xf0, 0x0f, 0, 2, 1, 1];
    for text in ["SYNC", "WANT", "TRANSACTION"].into_iter().filter_map(|kind| frames.get(kind)) {
        script.push(0x7f);
        push_text(&mut script, text);
        script.push(0x80 | 100);
    }
    // Well-formed messages: a question and an answer with an empty negentropy message.
    script.extend([0, 0, 3, 1, 1, 0, 0x61, 0x80, 0, 4, 1, 1, 0, 0x61]);
    script
}

/// Signed texts, each with one edit: a transaction, and the data of messages that nodes sign.
fn signed(frames: &BTreeMap<String, String>) -> Vec<Vec<u8>> {
    let data = |kind: &str| {
        let frame: serde_json::Value = serde_json::from_str(frames.get(kind)?).expect("a frame is JSON");
        Some(frame["data"].to_string())
    };
    let transaction = names::transaction(1).body().to_owned();
    let texts = [(0, Some(transaction)), (2, data("BROADCAST")), (3, data("ANNOUNCE"))];
    let head = |purpose| [purpose, 1, 17, 0, 0, 0, 0, b'x'];
    texts.into_iter().filter_map(|(purpose, text)| Some([&head(purpose)[..], text?.as_bytes()].concat())).collect()
}

fn push_text(script: &mut Vec<u8>, text: &str) {
    script.extend((text.len() as u16).to_le_bytes());
    script.extend(text.as_bytes());
}

/// A pool file as a node writes it.
fn pool_file() -> Vec<u8> {
    let folder = folder::new();
    pool::write(folder.path(), (0..4).map(names::transaction).collect());
    fs::read(folder.path().join(POOL_FILE)).expect("it was written")
}
