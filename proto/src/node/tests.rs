//! Numbers at and beyond all bounds: in every field of every message, on a link in every state, and
//! in what the runtime reads from files and from the clock.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use serde_json::Value;

use super::*;
use crate::connections::table::{NativePeer, PendingPeer};
use crate::frame::Frame;
use crate::id::Session;
use crate::json::Parser;
use crate::mdns_record::Record;
use crate::testing::net::{Net, address, id};
use crate::testing::parts::transaction;
use crate::topic_name::TopicSet;
use crate::wire::{
    Ack, AckStatus, AnnounceFrame, Announcement, Beacon, Broadcast, BroadcastFrame, BroadcastId, CallBack, Declined,
    DialBack, DialBacks, ExerciseUpdate, Find, Floor, Found, Handshake, ImageInfo, Join, Members, NodeInfo, PathRow,
    PeerRow, PeerState, RememberedExercise, Sample, SearchId, Step, Summary, SyncFrame, TopicFrame, TopicRow, Want,
    exercise_frame, graft_frame, prune_frame, want_frame,
};
use crate::{RequestId, Retention, TopicInput};

/// What JSON can hold where a number is due: the ends of the types of Rust and of JavaScript, and
/// what is none of their integers.
const NUMBERS: [&str; 11] = [
    "18446744073709551615",
    "18446744073709551611",
    "18446744073709551616",
    "9223372036854775807",
    "9007199254740992",
    "9007199254740993",
    "4294967295",
    "0",
    "-1",
    "0.5",
    "1e308",
];
const WHOLE: [u64; 7] = [u64::MAX, u64::MAX - 4, i64::MAX as u64, (1 << 53) + 1, 1 << 53, u32::MAX as u64, 0];

/// The native peer, and the exercise peer, that the frames speak of.
const PEER: usize = 9;
const EXERCISE: usize = 50;
const TOPIC: &str = "a";

fn session() -> Session {
    Session::from_random([9; 16])
}

/// A frame of each kind, with all its members.
fn frames() -> Vec<Frame> {
    let (addresses, text) = (vec![address(EXERCISE)], || "text".to_owned());
    let node = NodeInfo {
        id: id(PEER),
        session: session(),
        agent: text(),
        protocol: 1,
        network: "test".into(),
        address: Some(address(PEER)),
        max_peers: Some(6),
        topics: vec![TOPIC.parse().expect("a name")],
        calls_back: true,
        relays: true,
        proof: None,
    };
    let announcement = |node, left| Announcement {
        node: id(node),
        session: session(),
        address: Some(address(node)),
        since: 1,
        seq: 2,
        peers: vec![id(0), id(PEER)],
        links: 3,
        max_peers: Some(4),
        nodes: 5,
        interval: 6,
        topics: vec![TOPIC.parse().expect("a name")],
        left,
        seal: None,
    };
    let announce =
        |node, synced, left| AnnounceFrame { announcement: announcement(node, left), synced }.to_frame(session());
    let broadcast = |number, synced| {
        let (id, message, origin) = (BroadcastId([number; 32]), "text".into(), Some(Origin::Node(id(PEER))));
        let broadcast = Broadcast { id, message, time: 1.5, seal: None };
        BroadcastFrame { broadcast, origin, ack: true, synced }.to_frame(session())
    };
    let summary = || Summary { count: 7, sum: "0".repeat(64) };
    let floor = Floor { time: 8, id: [1; 32] };
    let step = || Step { number: 1, message: vec![0x61] };
    let syncs = || {
        let since = |reply| SyncFrame::Since { floor, summary: summary(), reply };
        let summaries = [SyncFrame::Summary(summary()), SyncFrame::Reply(summary()), since(false), since(true)];
        summaries.into_iter().chain([SyncFrame::Everything, SyncFrame::Ask(step()), SyncFrame::Answer(step())])
    };
    let body = r#"{"n":1,"timeStamp":1700000000,"amount":1.5,"list":[1]}"#;
    let transactions = || [TransactionFrame::client_frame(body, true), TransactionFrame::sync_frame(body, session())];
    let age = Some(Duration::from_secs(3));
    let image = ImageInfo { name: "cat.jpg".parse().expect("a name"), size: 9, sha256: Some([1; 32]) };
    let search = SearchId([7; 16]);
    let mut frames = vec![
        Handshake { addresses: addresses.clone(), dropped: 0, node: Some(node) }.to_frame(),
        Handshake { addresses: addresses.clone(), dropped: 0, node: None }.to_frame(),
        Ack { id: "00".repeat(32), status: AckStatus::Stored, reason: None, links: 1 }.to_frame(),
        want_frame(&[transaction(1).id()]),
        prune_frame(&[Origin::Node(id(PEER))]),
        graft_frame(&[Origin::Node(id(PEER))]),
        graft_frame(&[]),
        broadcast(1, None),
        broadcast(2, age),
        announce(PEER, None, false),
        announce(20, None, false),
        announce(20, age, false),
        announce(20, None, true),
        StatusFrame::Question { holds: Vec::new() }.to_frame(),
        StatusFrame::Answer(Box::new(status())).to_frame(),
        NetworkFrame::Question { after: None }.to_frame(),
        NetworkFrame::Answer(Members { nodes: vec![member()], more: true }).to_frame(),
        Join { insist: true, want: None, moved_by: Some(id(1)), root: Some(session()) }.to_frame(),
        Join { insist: false, want: Some(Want::Random), moved_by: None, root: Some(session()) }.to_frame(),
        Sample { addresses: addresses.clone(), dropped: 0, free: Some(1), root: Some(session()) }.to_frame(),
        Declined { addresses, dropped: 0, retry_after: 30, reason: Some(text()), root: Some(session()) }.to_frame(),
        Beacon { root: Session::from_random([0; 16]), seq: 1 }.to_frame(),
        Find { id: search, name: None, hops: 3 }.to_frame(),
        Found { id: search, node: id(PEER), address: address(PEER), images: vec![image] }.to_frame(),
        DialBack { address: address(0), error: Some(text()) }.to_frame(),
        CallBack { nonce: Nonce([1; 32]) }.to_frame(),
        exercise_frame(&[ExerciseUpdate { address: address(EXERCISE), drops: Some(2), lacks: Some(4), event: 5 }]),
        Frame::from(r#"{"type":"LATER","data":7}"#.to_owned()),
    ];
    for set in [OtherSet::Broadcasts, OtherSet::BroadcastDigests, OtherSet::Nodes] {
        frames.extend(syncs().map(|sync| sync.to_frame_of(set)));
    }
    frames.extend(syncs().map(|sync| sync.to_frame()).chain(transactions()));
    let inner: Vec<Frame> = syncs().map(|sync| sync.to_frame()).chain(transactions()).collect();
    frames.extend(inner.iter().map(|frame| TopicFrame::wrap(&TOPIC.parse().expect("a name"), frame)));
    frames
}

fn status() -> Status {
    let mut status = Net::new(1).cores[0].status(Instant::now(), &[]);
    status.dial_backs = Some(DialBacks { reached: 1, failed: 2, error: None });
    status.paths = vec![PathRow { link: 1, peer: "p".into(), path: "direct".into(), round_trip_micros: 2 }];
    status.peers =
        vec![PeerRow { address: "a".into(), state: PeerState::Failed, seconds: Some(1.5), known: true, cause: None }];
    status.topics = vec![TopicRow { oldest: Some(1), newest: Some(2), ..TopicRow::default() }];
    status.alone_seconds = Some(1);
    (status.certificate_begins, status.certificate_expires) = (Some(1), Some(2));
    status
}

fn member() -> Member {
    Member {
        node: id(PEER).to_string(),
        session: session().to_string(),
        address: None,
        since: 1,
        peers: Vec::new(),
        links: 2,
        max_peers: Some(3),
        free: Some(1),
        heard: 4,
        me: false,
    }
}

/// Returns a frame with each of [`NUMBERS`] in place of each of its numbers, in a list for each.
fn with_other_numbers(frame: &Frame) -> Vec<Vec<String>> {
    let mut frame: Value = serde_json::from_str(frame.as_str()).expect("a frame is JSON");
    let mut places = Vec::new();
    find_numbers(&frame, String::new(), &mut places);
    let mut frames = Vec::new();
    for place in places {
        let number = frame.pointer_mut(&place).expect("it was found there");
        let before = std::mem::replace(number, Value::from("a number"));
        let text = frame.to_string();
        frames.push(NUMBERS.iter().map(|number| text.replace(r#""a number""#, number)).collect());
        *frame.pointer_mut(&place).expect("it was found there") = before;
    }
    frames
}

fn find_numbers(value: &Value, at: String, places: &mut Vec<String>) {
    match value {
        Value::Number(_) => places.push(at),
        Value::Array(entries) => {
            (0..)
                .zip(entries)
                .for_each(|(index, entry): (usize, _)| find_numbers(entry, format!("{at}/{index}"), places));
        }
        Value::Object(members) => {
            members.iter().for_each(|(name, member)| find_numbers(member, format!("{at}/{name}"), places));
        }
        _ => {}
    }
}

/// The states of a link, as the other end makes them.
const STATES: [&str; 10] = [
    "client",
    "stranger",
    "exercise inbound",
    "exercise outbound",
    "standby",
    "asked",
    "waiting",
    "dialled",
    "verifying",
    "established",
];

/// A node that has seen nothing yet: what it knows already it does not look at.
struct Rig {
    net: Net,
    opened: u16,
}

impl Rig {
    fn new(max_peers: Option<u32>) -> Self {
        let mut net = Net::new(2);
        let age = Some(Duration::from_secs(60));
        net.declare(0, TOPIC, Retention { age, count: Some(100), bytes: Some(10_000) });
        net.cores[0].cx.config.max_peers = max_peers;
        Self { net, opened: 0 }
    }

    fn open(&mut self, state: &str) -> LinkId {
        self.opened += 1;
        let [high, low] = self.opened.to_be_bytes();
        // A stranger whose messages are refused is banned, and the next one is not.
        let remote = if state == "stranger" { Ipv4Addr::new(11, high, low, 7) } else { Ipv4Addr::LOCALHOST };
        if state == "exercise outbound" {
            return self.net.exercise(0, EXERCISE);
        }
        let link = self.net.client_from(0, remote.into());
        let node = &mut self.net.cores[0];
        let peer = NativePeer {
            id: id(PEER),
            session: session(),
            address: Some(address(PEER)),
            wan: None,
            proved: true,
            topics: TopicSet::shared(&node.cx.topics, &node.cx.topics),
            calls_back: true,
        };
        let pending = |node| {
            let node: Option<NodeInfo> = node;
            let node = node.map(Box::new);
            PendingPeer { id: id(PEER), node, addresses: Vec::new(), requests_priority: false }
        };
        let info = || match Message::parse(&mut Parser::new(), frames()[0].as_str()) {
            Ok(Message::Handshake(handshake)) => handshake.node,
            other => panic!("{other:?}"),
        };
        let links = &mut node.connections.links;
        let open = links.get_mut(link).expect("it is open");
        if ["standby", "asked", "dialled"].contains(&state) {
            open.dialled = Some(address(PEER));
        }
        match state {
            "exercise inbound" => open.state = LinkState::ExerciseInbound { address: Some(address(EXERCISE)) },
            "standby" => open.state = LinkState::Standby(peer),
            "asked" => open.state = LinkState::AwaitingAdmission(pending(None)),
            "waiting" => open.state = LinkState::AwaitingAdmission(pending(info())),
            "dialled" => links.set_native(link, LinkState::HelloSent(peer)),
            "verifying" => links.set_native(link, LinkState::Verifying(peer)),
            "established" => {
                links.set_native(link, LinkState::Established(peer));
                node.on_neighbor_up(link);
                while node.poll_output().is_some() {}
            }
            _ => {}
        }
        link
    }

    /// Has the node handle a frame, and then use what it keeps of it: its timers fire, an exercise
    /// peer and a native peer link, and its tables are read.
    fn feed(&mut self, state: &str, text: &str) {
        let link = self.open(state);
        self.net.receive(0, link, text);
        self.net.pass(Duration::from_millis(150));
        let exercise = self.net.exercise(0, EXERCISE);
        self.net.tell(0, Input::Submit { request: RequestId(0), transaction: transaction(1) });
        self.net.end(0, link);
        self.net.link(0, 1);
        self.net.pass(Duration::from_secs(6));
        self.net.end(0, exercise);
        let client = self.net.client(0);
        self.net.receive(0, client, r#"{"type":"STATUS","data":{}}"#);
        self.net.receive(0, client, r#"{"type":"NETWORK","data":{}}"#);
        let answers = |frame: &String| frame.starts_with(r#"{"type":"NETWORK""#);
        assert!(self.net.to_clients.iter().any(answers), "after {text} on a link that is {state}");
    }
}

#[test]
fn no_number_in_a_message_ends_a_node_whatever_the_state_of_the_link() {
    let frames = frames();
    let places: usize = frames.iter().map(|frame| with_other_numbers(frame).len()).sum();
    assert!(places > 100, "{places} numbers");
    for (max_peers, state) in STATES.iter().flat_map(|state| [(Some(64), state), (None, state)]) {
        let mut refusing = Rig::new(max_peers);
        for frame in &frames {
            let message = Message::parse(&mut Parser::new(), frame.as_str()).expect("a message");
            let link = refusing.open(state);
            let sender = refusing.net.cores[0].connections.links.get(link).expect("it is open").sender();
            let verdict =
                MessageRates::default().judge(refusing.net.now, link, sender, MessageKind::of(&message, false));
            refusing.net.end(0, link);
            for text in with_other_numbers(frame).iter().flatten() {
                if matches!(verdict, Verdict::Ignore | Verdict::Refuse(_)) {
                    let link = refusing.open(state);
                    refusing.net.receive(0, link, text);
                    refusing.net.end(0, link);
                } else {
                    Rig::new(max_peers).feed(state, text);
                }
            }
        }
    }
}

#[test]
fn the_frames_of_these_tests_are_of_every_kind() {
    let (mut parser, mut kinds) = (Parser::new(), BTreeSet::new());
    for frame in frames() {
        let message = Message::parse(&mut parser, frame.as_str()).expect("a message");
        kinds.extend([false, true].map(|own| MessageKind::of(&message, own)));
    }
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), MessageKind::ALL);
}

/// A node that we ask for addresses may take us for a neighbor until it has read JOIN.
#[test]
fn what_a_node_that_is_asked_for_addresses_sends_as_to_a_neighbor_is_no_fault() {
    use MessageKind::{Announce, Broadcast, DialBack, Exercise, Graft, GraftAll, Join, Sync, Topic, Transaction};
    let sent_to_neighbors = [Transaction, Sync, Graft, GraftAll, Broadcast, Announce, Join, DialBack, Exercise, Topic];
    let mut rig = Rig::new(None);
    let link = rig.open("asked");
    let mut kinds = BTreeSet::new();
    for frame in frames() {
        let message = Message::parse(&mut Parser::new(), frame.as_str()).expect("a message");
        let kind = MessageKind::of(&message, false);
        if sent_to_neighbors.contains(&kind) {
            kinds.insert(kind);
            rig.net.receive(0, link, frame.as_str());
        }
    }
    let node = &rig.net.cores[0];
    assert_eq!((kinds.len(), node.counters().violations), (sent_to_neighbors.len(), 0));
    assert!(node.connections.links.get(link).is_some_and(|open| !open.closing));
    assert_eq!((node.store.index().count(), node.presence.count()), (0, 1), "nothing of it is taken");
}

/// Writes a number as negentropy does.
fn varint(number: u64) -> Vec<u8> {
    let digits = (64 - number.leading_zeros()).div_ceil(7).max(1);
    (0..digits).rev().map(|digit| (number >> (7 * digit)) as u8 & 0x7f | if digit > 0 { 0x80 } else { 0 }).collect()
}

#[test]
fn no_number_in_a_question_or_an_answer_of_a_comparison_ends_a_node() {
    for time in WHOLE {
        for (prefix, kind, count) in [(0, 0, 0), (0, 1, 0), (0, 2, 0), (32, 2, u64::MAX), (33, 1, 0), (u64::MAX, 2, 1)]
        {
            let mut message = vec![0x61];
            for _ in 0..2 {
                message.extend(varint(time));
                message.extend(varint(prefix));
                message.extend(vec![0xff; prefix.min(40) as usize]);
                message.extend(varint(kind));
                match kind {
                    1 => message.extend([7; 16]),
                    2 => message.extend(varint(count)),
                    _ => {}
                }
            }
            for frame in [SyncFrame::Ask, SyncFrame::Answer] {
                let frame = frame(Step { number: 1, message: message.clone() });
                for text in [frame.to_frame(), frame.to_frame_of(OtherSet::Broadcasts)] {
                    let mut rig = Rig::new(None);
                    for number in 2..42 {
                        let transaction = transaction(number);
                        rig.net.tell(0, Input::Submit { request: RequestId(0), transaction });
                    }
                    rig.net.broadcast(0, "text");
                    rig.net.pass(Duration::from_secs(10));
                    rig.feed("established", text.as_str());
                }
            }
        }
    }
}

#[test]
fn no_number_of_the_runtime_ends_a_node() {
    for number in WHOLE {
        let mut net = Net::new(1);
        let peer = |n, drops| {
            let address = address(EXERCISE + n);
            RememberedExercise { address, reach: Scope::Public, drops, position: Some(number) }
        };
        net.remembered.insert(0, vec![peer(0, u32::try_from(number).unwrap_or(u32::MAX)), peer(1, 1)]);
        net.declare(
            0,
            TOPIC,
            Retention { age: Some(Duration::from_secs(number)), count: Some(number), bytes: Some(number) },
        );
        net.cores[0].cx.config.since = number;
        for n in 0..2 {
            // It drops its link at the first transaction, however often it did before.
            for time in 0..3 {
                let link = net.exercise(0, EXERCISE + n);
                net.tell(0, Input::Submit { request: RequestId(0), transaction: transaction(10 * n as u32 + time) });
                net.pass(Duration::from_secs(4_000));
                net.tell(0, Input::Marked { link, number });
                net.end(0, link);
            }
        }
        net.tell(0, Input::TimeOfDay { seconds: number });
        net.publish(0, TOPIC, r#"{"timeStamp":1800000000}"#);
        net.pass(Duration::from_secs(3));
        for time in [number as f64, f64::MAX, f64::MIN, -1.0] {
            net.tell(0, Input::Broadcast { request: RequestId(0), message: "text".into(), time });
        }
        let record = Record {
            node: id(PEER),
            session: session(),
            network: "test".into(),
            address: address(PEER),
            free: Some(u32::try_from(number).unwrap_or(u32::MAX)),
        };
        net.tell(0, Input::DiscoveryStarted);
        net.tell(0, Input::RecordDiscovered { record: Ok(record), scope: Scope::Private });
        net.tell(0, Input::Topic { topic: 0, input: TopicInput::Removed { ids: vec![transaction(1).id()] } });
        net.pass(Duration::from_secs(60));
        net.tell(0, Input::Shutdown);
    }
}
