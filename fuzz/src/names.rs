//! The values that scripts choose from, few enough to repeat, and messages made of them.

use std::sync::Arc;
use std::time::Duration;

use meshpool_proto::Config;
use meshpool_proto::address::PeerAddress;
use meshpool_proto::frame::Frame;
use meshpool_proto::id::{NodeId, Nonce, Session};
use meshpool_proto::json::Parser;
use meshpool_proto::limits::Limits;
use meshpool_proto::signature::Unsigned;
use meshpool_proto::topic_name::TopicName;
use meshpool_proto::transaction::{Origin, Transaction, TransactionId};
use meshpool_proto::wire::{
    Ack, AckStatus, AnnounceFrame, Announcement, Beacon, Broadcast, BroadcastFrame, BroadcastId, CallBack, Declined,
    DialBack, ExerciseUpdate, Find, Found, Handshake, ImageInfo, ImageName, Join, NetworkFrame, NodeInfo, OtherSet,
    Sample, SearchId, StatusFrame, Step, Summary, SyncFrame, TopicFrame, TransactionFrame, Want, exercise_frame,
    graft_frame, prune_frame, want_frame,
};

use crate::script::Script;

/// The network of our nodes.
pub(crate) const NETWORK: &str = "test";
/// How many nodes there are; the first are ours.
const NODES: usize = 6;
/// How many transactions there are.
pub(crate) const TRANSACTIONS: usize = 32;

pub(crate) fn id(node: usize) -> NodeId {
    let mut id = [7; 32];
    id[0] = node as u8;
    NodeId(id)
}

/// The address of a node on this host.
pub(crate) fn address(node: usize) -> PeerAddress {
    let port = 4_001 + u16::try_from(node).expect("there are few nodes");
    PeerAddress::new("localhost", port).expect("a name and a port are an address")
}

/// The settings of a node, with defaults for everything but its names.
pub(crate) fn config(node: usize) -> Config {
    Config {
        node: id(node),
        session: session(node),
        agent: "test".into(),
        network: NETWORK.into(),
        address: address(node),
        known_peers: Vec::new(),
        wan: false,
        relays: false,
        remembered_peers: Vec::new(),
        remembered_exercise: Vec::new(),
        max_peers: None,
        genesis: None,
        since: 1_700_000_000,
        limits: Limits::default(),
        signer: Arc::new(Unsigned),
        seed: node as u64,
    }
}

pub(crate) fn session(run: usize) -> Session {
    Session::from_random([run as u8; 16])
}

pub(crate) fn transaction(number: usize) -> Transaction {
    let text = format!(r#"{{"amount":{number},"timeStamp":{}}}"#, 1_700_000_000 + number / 3);
    Transaction::parse(&mut Parser::new(), &text).expect("an object is a transaction")
}

fn any_id(script: &mut Script<'_>) -> NodeId {
    id(script.below(NODES))
}

fn any_session(script: &mut Script<'_>) -> Session {
    session(script.below(NODES))
}

/// An address of a node on this host, of a private or public host, or with a name.
pub(crate) fn any_address(script: &mut Script<'_>) -> PeerAddress {
    let text = match script.below(12) {
        node @ 0..NODES => return address(node),
        6 => "ws://127.0.0.1:4001",
        7 => "ws://10.0.0.7:4001",
        8 => "ws://198.51.100.7:4001",
        9 => "wss://198.51.100.8:4001",
        10 => "ws://example.org:4001",
        _ => {
            let host = script.byte();
            return PeerAddress::new(&format!("203.0.113.{host}"), 4_001).expect("an IP address and a port");
        }
    };
    text.parse().expect("an address")
}

pub(crate) fn any_transaction(script: &mut Script<'_>) -> Transaction {
    transaction(script.below(TRANSACTIONS))
}

fn any_origin(script: &mut Script<'_>) -> Origin {
    if script.flag() { Origin::Exercise(any_address(script)) } else { Origin::Node(any_id(script)) }
}

fn any_transaction_id(script: &mut Script<'_>) -> TransactionId {
    any_transaction(script).id()
}

/// A small number, or one at or beyond the end of a type or of a unit of time.
fn any_number(script: &mut Script<'_>) -> u64 {
    match script.byte() {
        small @ 0..240 => small.into(),
        choice => [u64::MAX, u64::MAX - 4, i64::MAX as u64, 1 << 53, (1 << 53) + 1, u32::MAX.into(), 600, 601]
            [usize::from(choice) % 8],
    }
}

/// The same, where fewer bits are read.
fn any_small_number(script: &mut Script<'_>) -> u32 {
    u32::try_from(any_number(script)).unwrap_or(u32::MAX)
}

/// Nothing, or what `one` makes.
fn perhaps<T>(script: &mut Script<'_>, one: impl Fn(&mut Script<'_>) -> T) -> Option<T> {
    script.flag().then(|| one(script))
}

pub(crate) fn any_search(script: &mut Script<'_>) -> SearchId {
    SearchId([script.byte() % 4; 16])
}

pub(crate) fn any_image(script: &mut Script<'_>) -> ImageName {
    let names = ["cat.jpg", "dog.png", "a b.gif"];
    names[script.below(names.len())].parse().expect("a name of an image")
}

pub(crate) fn any_images(script: &mut Script<'_>) -> Vec<ImageInfo> {
    script.few(|script| ImageInfo {
        name: any_image(script),
        size: any_number(script),
        sha256: perhaps(script, |script| [script.byte(); 32]),
    })
}

/// The `node` of a native node's HANDSHAKE.
pub(crate) fn node_info(node: usize, run: usize, max_peers: Option<u32>) -> NodeInfo {
    NodeInfo {
        id: id(node),
        session: session(run),
        agent: "stranger".into(),
        protocol: 1,
        network: NETWORK.into(),
        address: Some(address(node)),
        max_peers,
        topics: vec![topic()],
        calls_back: true,
        relays: false,
        proof: None,
    }
}

/// The topic that every node has.
pub(crate) fn topic() -> TopicName {
    "a".parse().expect("a name")
}

fn any_node_info(script: &mut Script<'_>) -> NodeInfo {
    let (node, run) = (script.below(NODES), script.below(NODES));
    let max_peers = perhaps(script, any_small_number);
    let mut node = node_info(node, run, max_peers);
    match script.below(8) {
        0 => node.network = "another".into(),
        1 => node.protocol = any_small_number(script),
        2 => node.address = None,
        3 => node.address = Some(any_address(script)),
        4 => node.topics = Vec::new(),
        _ => {}
    }
    node
}

/// A step of anti-entropy, also with bytes that no honest node sends.
fn any_sync(script: &mut Script<'_>) -> SyncFrame {
    let summary = |script: &mut Script<'_>| Summary { count: any_number(script), sum: hex(script.byte()) };
    let step = |script: &mut Script<'_>| Step { number: script.below(4) as u64, message: script.bytes().to_vec() };
    match script.below(5) {
        0 => SyncFrame::Summary(summary(script)),
        1 => SyncFrame::Reply(summary(script)),
        2 => SyncFrame::Everything,
        3 => SyncFrame::Ask(step(script)),
        _ => SyncFrame::Answer(step(script)),
    }
}

fn hex(byte: u8) -> String {
    format!("{byte:02x}").repeat(32)
}

/// A message of anti-entropy, or a transaction.
pub(crate) fn any_sync_message(script: &mut Script<'_>) -> String {
    let frame = match script.below(8) {
        0..4 => any_sync(script).to_frame(),
        4 => want_frame(&script.few(any_transaction_id)),
        5 => TransactionFrame::sync_frame(any_transaction(script).body(), any_session(script)),
        6 => relayed(script),
        _ => any_sync(script).to_frame_of(any_set(script)),
    };
    frame.as_str().to_owned()
}

fn any_set(script: &mut Script<'_>) -> OtherSet {
    if script.flag() { OtherSet::Nodes } else { OtherSet::Broadcasts }
}

fn relayed(script: &mut Script<'_>) -> Frame {
    let origin = any_origin(script);
    any_transaction(script).with_origin(&origin).frame().clone()
}

fn announcement(script: &mut Script<'_>) -> AnnounceFrame {
    let announcement = Announcement {
        node: any_id(script),
        session: any_session(script),
        address: perhaps(script, any_address),
        since: any_number(script),
        seq: any_number(script),
        peers: script.few(any_id),
        links: any_small_number(script),
        max_peers: perhaps(script, any_small_number),
        nodes: any_small_number(script),
        interval: any_small_number(script),
        topics: Vec::new(),
        left: script.flag(),
        seal: None,
    };
    AnnounceFrame { announcement, synced: perhaps(script, |script| Duration::from_secs(any_number(script))) }
}

fn broadcast(script: &mut Script<'_>) -> Frame {
    let broadcast = Broadcast {
        id: BroadcastId([script.byte() % 8; 32]),
        message: Arc::from(format!("text {}", script.byte())),
        time: if script.flag() { 1.5 } else { f64::MAX },
        seal: None,
    };
    let (origin, ack) = (perhaps(script, any_origin), script.flag());
    let synced = perhaps(script, |script| Duration::from_secs(any_number(script)));
    BroadcastFrame { broadcast, origin, ack, synced }.to_frame(any_session(script))
}

/// A well-formed message of any type.
pub(crate) fn any_message(script: &mut Script<'_>) -> String {
    let frame = match script.below(24) {
        0 => Handshake { addresses: script.few(any_address), dropped: 0, node: None }.to_frame(),
        1 => {
            let node = Some(any_node_info(script));
            Handshake { addresses: script.few(any_address), dropped: 0, node }.to_frame()
        }
        2 => relayed(script),
        3 => TransactionFrame::client_frame(any_transaction(script).body(), script.flag()),
        4 => StatusFrame::Question { holds: script.few(any_transaction_id) }.to_frame(),
        5..8 => return any_sync_message(script),
        8 => prune_frame(&script.few(any_origin)),
        9 => graft_frame(&script.few(any_origin)),
        10 => {
            let want = perhaps(script, |script| if script.flag() { Want::Random } else { Want::Neighbours });
            let (moved_by, root) = (perhaps(script, any_id), perhaps(script, any_session));
            Join { insist: script.flag(), want, moved_by, root }.to_frame()
        }
        11 => {
            let (addresses, free) = (script.few(any_address), perhaps(script, any_small_number));
            Sample { addresses, dropped: 0, free, root: perhaps(script, any_session) }.to_frame()
        }
        12 => {
            let (addresses, retry_after) = (script.few(any_address), any_number(script));
            let reason = script.flag().then(|| "no room".to_owned());
            Declined { addresses, dropped: 0, retry_after, reason, root: perhaps(script, any_session) }.to_frame()
        }
        13 => Beacon { root: any_session(script), seq: any_number(script) }.to_frame(),
        14 => broadcast(script),
        15 => {
            let sender = any_session(script);
            announcement(script).to_frame(sender)
        }
        16 => NetworkFrame::Question { after: perhaps(script, any_id) }.to_frame(),
        17 => {
            let name = perhaps(script, any_image);
            Find { id: any_search(script), name, hops: any_small_number(script) }.to_frame()
        }
        18 => {
            let (node, address) = (any_id(script), any_address(script));
            Found { id: any_search(script), node, address, images: any_images(script) }.to_frame()
        }
        19 => {
            let message = match script.below(4) {
                0 => relayed(script),
                1 => prune_frame(&script.few(any_origin)),
                2 => graft_frame(&script.few(any_origin)),
                _ => Frame::from(any_sync_message(script)),
            };
            TopicFrame::wrap(&topic(), &message)
        }
        20 => CallBack { nonce: Nonce([script.byte(); 32]) }.to_frame(),
        21 => exercise_frame(&script.few(|script| ExerciseUpdate {
            address: any_address(script),
            drops: perhaps(script, any_small_number),
            lacks: perhaps(script, any_number),
            event: any_number(script),
        })),
        22 => {
            let error = perhaps(script, |_| "refused".to_owned());
            DialBack { address: any_address(script), error }.to_frame()
        }
        _ => Ack { id: hex(script.byte()), status: AckStatus::Stored, reason: None, links: 0 }.to_frame(),
    };
    frame.as_str().to_owned()
}
