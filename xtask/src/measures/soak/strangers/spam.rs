//! What spammers throw at a node, one connection after another.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Result;
use data_encoding::HEXLOWER;
use rand::RngExt;
use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::IndexedRandom;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::measures::soak::strangers::{Crowd, wire};
use crate::measures::soak::{node, world};

/// How many frames one flood has at most.
const FLOOD: u32 = 400;
/// How many connections one series of them has at most.
const SERIES: u32 = 40;
/// Text that is no message, and messages whose data is none.
const BROKEN: [&str; 12] = [
    "",
    "garbage",
    "null",
    "7",
    "[]",
    "{}",
    "{",
    r#"{"type":1}"#,
    r#"{"type":null,"data":[]}"#,
    r#"{"type":"HANDSHAKE","data":7}"#,
    r#"{"type":"TRANSACTION","data":{"half":"\ud800"}}"#,
    r#"{"type":"SYNC","data":{"number":-1,"ask":"!"},"set":"transactions"}"#,
];
/// The ways to spam.
const WAYS: [Way; 8] =
    [Way::Broken, Way::Frames, Way::Unknown, Way::Duplicates, Way::Gossip, Way::Questions, Way::Pings, Way::Reconnects];
/// How many pings are sent at once.
const PINGS: usize = 100;

/// A way to spam.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// Broken JSON.
    Broken,
    /// Frames that break the WebSocket protocol.
    Frames,
    /// Messages of types that do not exist.
    Unknown,
    /// Transactions that were sent before, with the wish for an ACK.
    Duplicates,
    /// As a peer: PEERS that nobody asked for, ANNOUNCEs that nobody signed, HANDSHAKEs of addresses where nobody is.
    Gossip,
    /// As a peer: WANTs, comparisons and searches.
    Questions,
    /// Pings, of which no answer is read.
    Pings,
    /// Connections that come and go.
    Reconnects,
}

/// Spams one node in one way.
pub(crate) async fn once(crowd: &Crowd, from: Ipv4Addr, to: Ipv4Addr, rng: &mut Xoshiro256PlusPlus) -> Result<()> {
    let way = *WAYS.choose(rng).expect("there are ways");
    if matches!(way, Way::Reconnects) {
        for _ in 0..rng.random_range(1..=SERIES) {
            let mut stream = wire::connect(from, to, None).await?;
            crowd.connected();
            match rng.random_range(0..3) {
                0 => stream.set_zero_linger()?,
                1 => wire::upgrade(&mut stream, to).await?,
                _ => wire::write(&mut stream, &wire::request(to).as_bytes()[..20]).await?,
            }
        }
        return Ok(());
    }
    let mut stream = wire::connect(from, to, None).await?;
    crowd.connected();
    wire::upgrade(&mut stream, to).await?;
    if matches!(way, Way::Gossip | Way::Questions) {
        introduce(&mut stream, from, rng).await?;
        // Who is given a place is listened to in more things than who is not.
        sleep(Duration::from_millis(rng.random_range(0..1_000))).await;
    }
    for _ in 0..rng.random_range(1..=FLOOD) {
        let frame = frame(way, crowd, rng);
        send(crowd, &mut stream, &frame).await?;
    }
    Ok(())
}

async fn send(crowd: &Crowd, stream: &mut TcpStream, frame: &[u8]) -> Result<()> {
    wire::write(stream, frame).await?;
    crowd.sent();
    Ok(())
}

/// Says that we are a full peer with a cap, and want a place.
pub(crate) async fn introduce(stream: &mut TcpStream, from: Ipv4Addr, rng: &mut Xoshiro256PlusPlus) -> Result<()> {
    let address = format!("ws://{from}:{}", node::PORT);
    let handshake = json!({ "type": "HANDSHAKE", "data": [address], "node": {
        "id": hex(rng), "session": session(rng), "agent": "stranger/1", "protocol": 1, "network": "p2p-node",
        "address": address, "maxPeers": 6, "features": [],
    } });
    // Of two parts of a network the one with the lesser root is believed to be the other's to join: a lie is a cause to dial.
    let join = json!({ "type": "JOIN", "data": { "insist": rng.random_bool(0.2), "root": session(rng) } });
    wire::write(stream, &wire::text(&handshake.to_string())).await?;
    wire::write(stream, &wire::text(&join.to_string())).await
}

fn frame(way: Way, crowd: &Crowd, rng: &mut Xoshiro256PlusPlus) -> Vec<u8> {
    let anybody = |rng: &mut Xoshiro256PlusPlus| -> Vec<String> {
        (0..8).map(|_| format!("ws://{}:{}", world::nobody(rng.random()), node::PORT)).collect()
    };
    let text = match way {
        Way::Broken | Way::Reconnects => (*BROKEN.choose(rng).expect("there are some")).to_owned(),
        Way::Frames => return broken_frame(rng),
        // The longest that there may be.
        Way::Pings => return wire::frame(0x89, &[b'x'; 125]).repeat(PINGS),
        Way::Unknown => json!({ "type": format!("X{}", rng.random::<u32>()), "data": hex(rng) }).to_string(),
        Way::Duplicates => match crowd.ledger.recent(rng.random_range(0..usize::MAX)) {
            Some(body) => format!(r#"{{"type":"TRANSACTION","data":{body},"ack":true}}"#),
            None => String::new(),
        },
        Way::Gossip => match rng.random_range(0..3) {
            0 => json!({ "type": "PEERS", "data": anybody(rng), "free": 1, "root": session(rng) }).to_string(),
            1 => json!({ "type": "HANDSHAKE", "data": anybody(rng) }).to_string(),
            _ => announcement(rng),
        },
        Way::Questions => match rng.random_range(0..4) {
            0 => json!({ "type": "WANT", "data": (0..100).map(|_| hex(rng)).collect::<Vec<_>>() }).to_string(),
            1 => json!({ "type": "SYNC", "data": { "count": 5, "sum": hex(rng) }, "set": "transactions" }).to_string(),
            2 => {
                json!({ "type": "FIND", "data": { "id": &hex(rng)[..32], "name": "cat.jpg", "hops": 32 } }).to_string()
            }
            _ => json!({ "type": "GRAFT", "data": [hex(rng)] }).to_string(),
        },
    };
    wire::text(&text)
}

fn broken_frame(rng: &mut Xoshiro256PlusPlus) -> Vec<u8> {
    let text = br#"{"type":"HANDSHAKE","data":[]}"#;
    match rng.random_range(0..5) {
        // Reserved bits, an unknown opcode, a continuation of nothing, a close code that does not exist.
        0 => wire::frame(0xc1, text),
        1 => wire::frame(0x83, text),
        2 => wire::frame(0x80, text),
        3 => wire::frame(0x88, &999_u16.to_be_bytes()),
        // A text of 2^62 bytes.
        _ => vec![0x81, 0xff, 0x3f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0],
    }
}

fn announcement(rng: &mut Xoshiro256PlusPlus) -> String {
    json!({ "type": "ANNOUNCE", "data": {
        "address": format!("ws://{}:{}", world::nobody(rng.random()), node::PORT), "interval": 10, "links": 3, "maxPeers": null,
        "node": hex(rng), "nodes": 3, "peers": [hex(rng), hex(rng)], "seq": 7,
        "session": session(rng), "since": 1_795_270_900,
    }, "signature": hex(rng) + &hex(rng) })
    .to_string()
}

fn session(rng: &mut Xoshiro256PlusPlus) -> String {
    uuid::Builder::from_random_bytes(rng.random()).into_uuid().to_string()
}

fn hex(rng: &mut Xoshiro256PlusPlus) -> String {
    HEXLOWER.encode(&rng.random::<[u8; 32]>())
}
