//! Spammers: they flood a node with frames or connections.

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

use crate::measures::soak::attackers::shared::Shared;
use crate::measures::soak::attackers::wire;
use crate::support::testbed::{frames, netns, node};

/// The most frames of one flood.
const FLOOD: u32 = 400;
/// The most connections of one series.
const SERIES: u32 = 40;
/// Text that is no message, and messages with invalid data.
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
/// All ways to spam.
const WAYS: [Way; 8] =
    [Way::Broken, Way::Frames, Way::Unknown, Way::Duplicates, Way::Gossip, Way::Questions, Way::Pings, Way::Reconnects];
/// The pings that are sent at once.
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
    /// Known transactions, with a request for an ACK.
    Duplicates,
    /// As a peer: unexpected PEERS, ANNOUNCEs with a bad signature, HANDSHAKEs with addresses where
    /// no node is.
    Gossip,
    /// As a peer: WANT, SYNC, FIND and GRAFT.
    Questions,
    /// Pings whose pongs are not read.
    Pings,
    /// Connections that open and close.
    Reconnects,
}

/// Spams one node in one way.
pub(crate) async fn once(shared: &Shared, from: Ipv4Addr, to: Ipv4Addr, rng: &mut Xoshiro256PlusPlus) -> Result<()> {
    let way = *WAYS.choose(rng).expect("there are ways");
    if matches!(way, Way::Reconnects) {
        for _ in 0..rng.random_range(1..=SERIES) {
            let mut stream = wire::connect(from, to, None).await?;
            shared.connected();
            match rng.random_range(0..3) {
                0 => stream.set_zero_linger()?,
                1 => wire::upgrade(&mut stream, to).await?,
                _ => wire::write(&mut stream, &frames::request(to).as_bytes()[..20]).await?,
            }
        }
        return Ok(());
    }
    let mut stream = wire::connect(from, to, None).await?;
    shared.connected();
    wire::upgrade(&mut stream, to).await?;
    if matches!(way, Way::Gossip | Way::Questions) {
        introduce(&mut stream, from, rng).await?;
        // A node listens to more messages from a peer that it has admitted.
        sleep(Duration::from_millis(rng.random_range(0..1_000))).await;
    }
    for _ in 0..rng.random_range(1..=FLOOD) {
        let frame = frame(way, shared, rng);
        send(shared, &mut stream, &frame).await?;
    }
    Ok(())
}

async fn send(shared: &Shared, stream: &mut TcpStream, frame: &[u8]) -> Result<()> {
    wire::write(stream, frame).await?;
    shared.sent();
    Ok(())
}

/// Introduces itself as a native peer with a limit on its links, and asks for a slot.
pub(crate) async fn introduce(stream: &mut TcpStream, from: Ipv4Addr, rng: &mut Xoshiro256PlusPlus) -> Result<()> {
    let address = format!("ws://{from}:{}", node::PORT);
    let handshake = json!({ "type": "HANDSHAKE", "data": [address], "node": {
        "id": hex(rng), "session": session(rng), "agent": "attacker/1", "protocol": 1, "network": "p2p-node",
        "address": address, "maxPeers": 6, "features": [],
    } });
    // A node dials towards the partition with the lower id, so a false id makes it dial.
    let join = json!({ "type": "JOIN", "data": { "insist": rng.random_bool(0.2), "root": session(rng) } });
    wire::write(stream, &frames::text(&handshake.to_string())).await?;
    wire::write(stream, &frames::text(&join.to_string())).await
}

fn frame(way: Way, shared: &Shared, rng: &mut Xoshiro256PlusPlus) -> Vec<u8> {
    let addresses = |rng: &mut Xoshiro256PlusPlus| -> Vec<String> {
        (0..8).map(|_| format!("ws://{}:{}", netns::unused_address(rng.random()), node::PORT)).collect()
    };
    let text = match way {
        Way::Broken | Way::Reconnects => (*BROKEN.choose(rng).expect("there are some")).to_owned(),
        Way::Frames => return broken_frame(rng),
        // The longest payload of a control frame.
        Way::Pings => return frames::frame(0x89, &[b'x'; 125]).repeat(PINGS),
        Way::Unknown => json!({ "type": format!("X{}", rng.random::<u32>()), "data": hex(rng) }).to_string(),
        Way::Duplicates => match shared.ledger.recent(rng.random_range(0..usize::MAX)) {
            Some(body) => format!(r#"{{"type":"TRANSACTION","data":{body},"ack":true}}"#),
            None => String::new(),
        },
        Way::Gossip => match rng.random_range(0..3) {
            0 => json!({ "type": "PEERS", "data": addresses(rng), "free": 1, "root": session(rng) }).to_string(),
            1 => json!({ "type": "HANDSHAKE", "data": addresses(rng) }).to_string(),
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
    frames::text(&text)
}

fn broken_frame(rng: &mut Xoshiro256PlusPlus) -> Vec<u8> {
    let text = br#"{"type":"HANDSHAKE","data":[]}"#;
    match rng.random_range(0..5) {
        // Reserved bits, an unknown opcode, a continuation without a start, an invalid close code.
        0 => frames::frame(0xc1, text),
        1 => frames::frame(0x83, text),
        2 => frames::frame(0x80, text),
        3 => frames::frame(0x88, &999_u16.to_be_bytes()),
        // A text frame of 2^62 bytes.
        _ => vec![0x81, 0xff, 0x3f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0],
    }
}

fn announcement(rng: &mut Xoshiro256PlusPlus) -> String {
    json!({ "type": "ANNOUNCE", "data": {
        "address": format!("ws://{}:{}", netns::unused_address(rng.random()), node::PORT), "interval": 10, "links": 3, "maxPeers": null,
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
