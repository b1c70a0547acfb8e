//! How each message is written, and what is read of valid, invalid and long ones.

use std::sync::Arc;
use std::time::Duration;

use crate::address::PeerAddress;
use crate::id::{NodeId, Session};
use crate::json::Parser;
use crate::limits;
use crate::signature::{Purpose, Seal, Signature};
use crate::testing::net::Net;
use crate::transaction::{Origin, TransactionId};
use crate::wire::codec::age_of;
use crate::wire::*;

fn read(text: &str) -> Result<Message, Malformed> {
    Message::parse(&mut Parser::new(), text)
}

/// Reads a message of one type.
macro_rules! read_as {
    ($kind:ident, $text:expr) => {{
        let text: String = $text.to_owned();
        match read(&text) {
            Ok(Message::$kind(message)) => message,
            other => panic!("{text}: {other:?}"),
        }
    }};
}

fn node(n: u8) -> NodeId {
    NodeId([n; 32])
}

fn hex(n: u8) -> String {
    node(n).to_string()
}

fn session(n: u8) -> Session {
    Session::from_random([n; 16])
}

fn address(text: &str) -> PeerAddress {
    text.parse().expect(text)
}

/// A list of JSON texts.
fn list(entries: impl IntoIterator<Item = String>) -> String {
    format!("[{}]", entries.into_iter().map(|entry| format!("{entry:?}")).collect::<Vec<_>>().join(","))
}

fn addresses(count: usize) -> impl Iterator<Item = String> {
    (1..=count).map(|port| format!("ws://localhost:{port}"))
}

#[test]
fn each_message_knows_its_type() {
    let (id, session) = (hex(1), session(1));
    for (kind, data) in [
        ("HANDSHAKE", "[]".to_owned()),
        ("TRANSACTION", "{}".to_owned()),
        ("ACK", r#"{"status":"stored"}"#.to_owned()),
        ("STATUS", "{}".to_owned()),
        ("SYNC", r#"{"everything":true}"#.to_owned()),
        ("WANT", "[]".to_owned()),
        ("PRUNE", "[]".to_owned()),
        ("GRAFT", "[]".to_owned()),
        ("JOIN", "{}".to_owned()),
        ("PEERS", "[]".to_owned()),
        ("DECLINED", "[]".to_owned()),
        ("BEACON", format!(r#"{{"root":"{session}","seq":0}}"#)),
        ("BROADCAST", format!(r#"{{"id":"{id}","message":"m","time":0}}"#)),
        ("ANNOUNCE", format!(r#"{{"node":"{id}","session":"{session}","since":0,"seq":0}}"#)),
        ("NETWORK", "{}".to_owned()),
        ("FIND", format!(r#"{{"id":"{}","hops":1}}"#, "0".repeat(32))),
        ("FOUND", format!(r#"{{"id":"{}","node":"{id}","address":"ws://a:1","images":[]}}"#, "0".repeat(32))),
        ("LATER", "[]".to_owned()),
    ] {
        let message = read(&format!(r#"{{"type":"{kind}","data":{data}}}"#)).expect(kind);
        assert_eq!(message.kind(), kind);
        assert_eq!(matches!(message, Message::Unknown(_)), kind == "LATER", "{kind}");
    }
}

#[test]
fn other_texts_are_no_messages() {
    for text in ["[]", "1", "{}", r#"{"type":1}"#, r#"{"type":null}"#, r#"{"type":"\ud800"}"#] {
        assert_eq!(read(text).expect_err(text), Malformed::Shape);
    }
    assert!(matches!(read("{").expect_err("half a text"), Malformed::Json(_)));
    for kind in
        ["HANDSHAKE", "TRANSACTION", "ACK", "SYNC", "WANT", "PEERS", "JOIN", "BEACON", "BROADCAST", "ANNOUNCE", "FIND"]
    {
        let error = read(&format!(r#"{{"type":"{kind}"}}"#)).expect_err(kind);
        let Malformed::Data { kind: of, .. } = &error else { panic!("{error}") };
        assert_eq!(*of, kind);
        assert!(error.to_string().starts_with(&format!("{kind}: ")), "{error}");
    }
    // The name of an unknown type is a stranger's text.
    let name = |length: usize| match read(&format!(r#"{{"type":"{}"}}"#, "é".repeat(length))) {
        Ok(Message::Unknown(kind)) => kind.chars().count(),
        other => panic!("{other:?}"),
    };
    assert_eq!((name(64), name(65)), (64, limits::SHOWN_CHARACTERS));
}

#[test]
fn a_handshake_is_written_as_specified() {
    let mut handshake = Handshake { addresses: vec![address("ws://localhost:1")], dropped: 0, node: None };
    let text = r#"{"type":"HANDSHAKE","data":["ws://localhost:1"]}"#;
    assert_eq!(handshake.to_frame().as_str(), text);
    assert_eq!(read_as!(Handshake, text), handshake);
    let info = NodeInfo {
        id: node(1),
        session: session(2),
        agent: "a/1".into(),
        protocol: 3,
        network: "n".into(),
        address: Some(address("ws://localhost:1")),
        max_peers: Some(8),
        topics: Vec::new(),
        calls_back: false,
        relays: false,
        proof: None,
    };
    handshake.node = Some(info.clone());
    let (id, session) = (hex(1), session(2));
    let text = format!(
        r#"{{"type":"HANDSHAKE","data":["ws://localhost:1"],"node":{{"id":"{id}","session":"{session}","agent":"a/1","protocol":3,"network":"n","address":"ws://localhost:1","maxPeers":8,"features":[]}}}}"#
    );
    assert_eq!(handshake.to_frame().as_str(), text);
    assert_eq!(read_as!(Handshake, text), handshake);
    handshake.node = Some(NodeInfo { calls_back: true, ..info.clone() });
    assert!(handshake.to_frame().as_str().ends_with(r#""features":["callback"]}}"#));
    assert_eq!(read_as!(Handshake, handshake.to_frame().as_str()), handshake);
    handshake.node = Some(NodeInfo { address: None, max_peers: None, ..info });
    assert!(handshake.to_frame().as_str().ends_with(r#""network":"n","maxPeers":null,"features":[]}}"#));
    assert_eq!(read_as!(Handshake, handshake.to_frame().as_str()), handshake);
}

#[test]
fn a_proof_is_read_as_it_was_written_and_has_one_form_for_each_role() {
    let with = |proof: &str| {
        let (id, session) = (hex(1), session(2));
        format!(r#"{{"type":"HANDSHAKE","data":[],"node":{{"id":"{id}","session":"{session}","proof":{proof}}}}}"#)
    };
    let (nonce, signature) = ("ab".repeat(32), "cd".repeat(64));
    let dialler = Proof::Dialler {
        nonce: nonce.parse().expect("a nonce"),
        address: address("ws://localhost:1"),
        ip: "::1".parse().expect("an IP address"),
        signature: signature.parse().expect("a signature"),
    };
    let acceptor = Proof::Acceptor { direct: true, signature: signature.parse().expect("a signature") };
    let dialled = format!(r#"{{"nonce":"{nonce}","address":"ws://localhost:1","ip":"::1","signature":"{signature}"}}"#);
    let accepted = format!(r#"{{"direct":true,"signature":"{signature}"}}"#);
    for (proof, text) in [(dialler, &dialled), (acceptor, &accepted)] {
        let mut read = read_as!(Handshake, with(text));
        assert_eq!(read.node.as_ref().and_then(|node| node.proof.as_deref().cloned()), Some(proof));
        assert!(read.to_frame().as_str().ends_with(&format!(r#","proof":{text}}}}}"#)), "{}", read.to_frame().as_str());
        read.node.as_mut().expect("a native peer").proof = None;
        assert!(!read.to_frame().as_str().contains("proof"));
    }
    let later = accepted.replace("{", r#"{"later":1,"#);
    assert!(read_as!(Handshake, with(&later)).node.expect("a native peer").proof.is_some(), "new members are ignored");
    for wrong in [
        "7".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        "true".to_owned(),
        dialled.replace("nonce", "once"),
        dialled.replace(r#""ip":"::1","#, ""),
        dialled.replace("::1", "localhost"),
        dialled.replace("ws://localhost:1", "localhost"),
        dialled.replace(&nonce, &nonce[1..]),
        dialled.replace(&nonce, &format!("{nonce}00")),
        dialled.replace(&nonce, &nonce.to_uppercase()),
        dialled.replace(&signature, &signature.to_uppercase()),
        dialled.replace(&signature, &signature[2..]),
        dialled.replace("{", r#"{"direct":true,"#),
        accepted.replace("true", "1"),
        accepted.replace("true", "null"),
        accepted.replace(&format!(r#""{signature}""#), "null"),
        format!(r#"{{"signature":"{signature}"}}"#),
        r#"{"direct":true}"#.to_owned(),
    ] {
        assert!(read(&with(&wrong)).is_err(), "{wrong}");
    }
    assert_eq!(read_as!(Handshake, with("null")).node.expect("a native peer").proof, None);
}

#[test]
fn a_handshake_needs_no_more_than_an_id_and_a_session() {
    let with = |node: String| format!(r#"{{"type":"HANDSHAKE","data":[],"node":{node}}}"#);
    let (id, session) = (hex(1), session(2));
    let least =
        read_as!(Handshake, with(format!(r#"{{"id":"{id}","session":"{session}","features":["f"],"later":1}}"#)));
    let expected = NodeInfo {
        id: node(1),
        session,
        agent: String::new(),
        protocol: 1,
        network: String::new(),
        address: None,
        max_peers: None,
        topics: Vec::new(),
        calls_back: false,
        relays: false,
        proof: None,
    };
    assert_eq!(least.node, Some(expected));
    let long = "é".repeat(65);
    let text = with(format!(
        r#"{{"id":"{id}","session":"{session}","agent":"{long}","network":"{long}","address":"no address"}}"#
    ));
    let info = read_as!(Handshake, text).node.expect("a native peer");
    assert_eq!((info.agent.chars().count(), info.network.chars().count(), info.address), (64, 64, None));
    for wrong in [
        "1".to_owned(),
        "{}".to_owned(),
        format!(r#"{{"id":"{id}"}}"#),
        format!(r#"{{"id":"{id}0","session":"{session}"}}"#),
        format!(r#"{{"id":"{id}","session":"{session}0"}}"#),
        format!(r#"{{"id":"{id}","session":"{session}","maxPeers":-1}}"#),
    ] {
        assert!(matches!(read(&with(wrong)), Err(Malformed::Data { kind: "HANDSHAKE", .. })));
    }
}

#[test]
fn entries_of_a_handshake_that_are_no_addresses_or_too_many_are_dropped() {
    let with = |data: String| format!(r#"{{"type":"HANDSHAKE","data":{data}}}"#);
    let counts = |data: String| {
        let handshake = read_as!(Handshake, with(data));
        (handshake.addresses.len(), handshake.dropped)
    };
    assert_eq!(counts(r#"["ws://a:1","http://a:1",1,null,["ws://b:1"],"ws://b:1"]"#.into()), (2, 4));
    let most = limits::HANDSHAKE_ADDRESSES;
    assert_eq!(counts(list(addresses(most))), (most, 0));
    assert_eq!(counts(list(addresses(most + 2))), (most, 2));
    for data in ["{}", "\"ws://a:1\"", "null"] {
        assert!(read(&with(data.into())).is_err(), "{data}");
    }
}

#[test]
fn a_join_is_written_as_specified() {
    let (id, root) = (hex(1), session(2));
    let all = Join { insist: true, want: None, moved_by: Some(node(1)), root: Some(root) };
    for (join, text) in [
        (Join::default(), r#"{"insist":false}"#.to_owned()),
        (Join { want: Some(Want::Random), ..Join::default() }, r#"{"insist":false,"want":"random"}"#.to_owned()),
        (
            Join { want: Some(Want::Neighbours), ..Join::default() },
            r#"{"insist":false,"want":"neighbours"}"#.to_owned(),
        ),
        (all, format!(r#"{{"insist":true,"movedBy":"{id}","root":"{root}"}}"#)),
    ] {
        let text = format!(r#"{{"type":"JOIN","data":{text}}}"#);
        assert_eq!(join.to_frame().as_str(), text);
        assert_eq!(read_as!(Join, text), join);
    }
    let text = r#"{"type":"JOIN","data":{"insist":true,"movedBy":"x","root":"y","later":1}}"#;
    assert_eq!(read_as!(Join, text), Join { insist: true, ..Join::default() });
    assert!(read(r#"{"type":"JOIN","data":{"want":"all"}}"#).is_err());
}

#[test]
fn peers_and_declined_are_written_as_specified() {
    let root = session(2);
    let one = vec![address("ws://localhost:1")];
    let sample = Sample { addresses: one.clone(), dropped: 0, free: Some(3), root: Some(root) };
    let text = format!(r#"{{"type":"PEERS","data":["ws://localhost:1"],"free":3,"root":"{root}"}}"#);
    assert_eq!(sample.to_frame().as_str(), text);
    assert_eq!(read_as!(Peers, text), sample);
    assert_eq!(Sample::default().to_frame().as_str(), r#"{"type":"PEERS","data":[]}"#);
    let reason = "r".repeat(limits::DECLINED_REASON);
    let declined =
        Declined { addresses: one, dropped: 0, retry_after: 60, reason: Some(reason.clone()), root: Some(root) };
    let text = format!(
        r#"{{"type":"DECLINED","data":["ws://localhost:1"],"retryAfter":60,"reason":"{reason}","root":"{root}"}}"#
    );
    assert_eq!(declined.to_frame().as_str(), text);
    assert_eq!(read_as!(Declined, text), declined);
    for none in ["\"\"", "7", "[\"r\"]", &format!("\"{reason}r\"")] {
        assert_eq!(read_as!(Declined, format!(r#"{{"type":"DECLINED","data":[],"reason":{none}}}"#)).reason, None);
    }
    assert_eq!(Declined::default().to_frame().as_str(), r#"{"type":"DECLINED","data":[],"retryAfter":0}"#);
    assert_eq!(read_as!(Declined, r#"{"type":"DECLINED","data":[]}"#), Declined::default());
    for free in ["-1", "1.5", "4294967296", "\"3\"", "null"] {
        assert_eq!(
            read_as!(Peers, format!(r#"{{"type":"PEERS","data":[],"free":{free},"root":1}}"#)),
            Sample::default()
        );
    }
    let most = format!(r#"{{"type":"PEERS","data":[],"free":{}}}"#, u32::MAX);
    assert_eq!(read_as!(Peers, most).free, Some(u32::MAX));
    for data in ["{}", "1"] {
        assert!(read(&format!(r#"{{"type":"PEERS","data":{data}}}"#)).is_err(), "{data}");
        assert!(read(&format!(r#"{{"type":"DECLINED","data":{data}}}"#)).is_err(), "{data}");
    }
}

#[test]
fn entries_of_a_sample_that_are_no_addresses_or_too_many_are_dropped() {
    let counts = |data: String| {
        let sample = read_as!(Peers, format!(r#"{{"type":"PEERS","data":{data}}}"#));
        let declined = read_as!(Declined, format!(r#"{{"type":"DECLINED","data":{data}}}"#));
        assert_eq!((&sample.addresses, sample.dropped), (&declined.addresses, declined.dropped));
        (sample.addresses.len(), sample.dropped)
    };
    assert_eq!(counts(r#"["ws://a:1",1,"a","ws://b:1"]"#.into()), (2, 2));
    assert_eq!(counts(list(addresses(16))), (limits::SAMPLE_ADDRESSES, 0));
    assert_eq!(counts(list(addresses(19))), (limits::SAMPLE_ADDRESSES, 3));
}

#[test]
fn a_beacon_is_written_as_specified() {
    let beacon = Beacon { root: session(2), seq: u64::MAX };
    let text = format!(r#"{{"type":"BEACON","data":{{"root":"{}","seq":{}}}}}"#, session(2), u64::MAX);
    assert_eq!(beacon.to_frame().as_str(), text);
    assert_eq!(read_as!(Beacon, text), beacon);
    assert!(read(r#"{"type":"BEACON","data":{"root":"x","seq":1}}"#).is_err());
}

#[test]
fn each_step_of_sync_is_written_as_specified() {
    let summary = || Summary { count: 7, sum: "0f".into() };
    let step = || Step { number: 9, message: vec![0x61, 0, 0xff] };
    for (frame, data) in [
        (SyncFrame::Summary(summary()), r#"{"count":7,"sum":"0f"}"#),
        (SyncFrame::Reply(summary()), r#"{"count":7,"sum":"0f","reply":true}"#),
        (SyncFrame::Everything, r#"{"everything":true}"#),
        (SyncFrame::Ask(step()), r#"{"number":9,"ask":"YQD/"}"#),
        (SyncFrame::Answer(step()), r#"{"number":9,"answer":"YQD/"}"#),
    ] {
        let text = |set: &str| format!(r#"{{"type":"SYNC","data":{data},"set":"{set}"}}"#);
        assert_eq!(frame.to_frame().as_str(), text("transactions"));
        assert_eq!(read_as!(Sync, text("transactions")), frame);
        assert_eq!(read_as!(Sync, text("a later one")), frame);
        assert_eq!(read_as!(Sync, format!(r#"{{"type":"SYNC","data":{data}}}"#)), frame);
        for (set, name) in [(OtherSet::Broadcasts, "broadcasts"), (OtherSet::Nodes, "nodes")] {
            assert_eq!(frame.to_frame_of(set).as_str(), text(name));
            let Ok(Message::SyncOther(of, other)) = read(&text(name)) else { panic!("{name}") };
            assert_eq!((of, other), (set, frame.clone()));
        }
    }
}

#[test]
fn a_sync_that_is_no_step_is_malformed() {
    for data in [
        "{}",
        "[]",
        r#"{"count":1}"#,
        r#"{"sum":""}"#,
        r#"{"number":1}"#,
        r#"{"ask":"YQ=="}"#,
        r#"{"answer":"YQ=="}"#,
        r#"{"number":1,"ask":"YQ"}"#,
        r#"{"number":1,"answer":"*"}"#,
        r#"{"number":-1,"ask":""}"#,
        r#"{"everything":false}"#,
    ] {
        let error = read(&format!(r#"{{"type":"SYNC","data":{data}}}"#)).expect_err(data);
        assert!(matches!(error, Malformed::Data { kind: "SYNC", .. }), "{error}");
    }
    let everything = r#"{"type":"SYNC","data":{"everything":true,"count":1,"sum":""}}"#;
    assert_eq!(read_as!(Sync, everything), SyncFrame::Everything);
}

#[test]
fn lists_of_names_are_cut_and_one_invalid_name_makes_them_malformed() {
    let text = |kind: &str, data: String| format!(r#"{{"type":"{kind}","data":{data}}}"#);
    let ids = |count: usize| list(std::iter::repeat_n(hex(1), count));
    let frame = want_frame(&[TransactionId([1; 32]), TransactionId([2; 32])]);
    assert_eq!(frame.as_str(), text("WANT", list([hex(1), hex(2)])));
    assert_eq!(read_as!(Want, frame.as_str()), [TransactionId([1; 32]), TransactionId([2; 32])]);
    let origins = [Origin::Node(node(1)), Origin::Exercise(address("ws://a:1"))];
    let names = list([hex(1), "plain:ws://a:1".to_owned()]);
    assert_eq!(prune_frame(&origins).as_str(), text("PRUNE", names.clone()));
    assert_eq!(graft_frame(&origins).as_str(), text("GRAFT", names.clone()));
    assert_eq!(read_as!(Prune, text("PRUNE", names.clone())), origins);
    assert_eq!(read_as!(Graft, text("GRAFT", names)), origins);
    for more in [0, 1] {
        assert_eq!(read_as!(Want, text("WANT", ids(limits::WANT_IDS + more))).len(), 1_000);
        assert_eq!(read_as!(Prune, text("PRUNE", ids(limits::ORIGINS + more))).len(), 1_000);
        assert_eq!(read_as!(Graft, text("GRAFT", ids(limits::ORIGINS + more))).len(), 1_000);
    }
    for kind in ["WANT", "PRUNE", "GRAFT"] {
        for (data, reason) in [
            ("{}".to_owned(), "data is not an array"),
            ("[1]".to_owned(), "an entry is not a text"),
            (list([hex(1), "x".to_owned()]), "expected"),
        ] {
            let error = read(&text(kind, data)).expect_err(reason).to_string();
            assert!(error.starts_with(&format!("{kind}: {reason}")), "{error}");
        }
    }
}

#[test]
fn a_question_for_the_status_may_ask_for_transactions() {
    let question = |count: u8| StatusFrame::Question { holds: (0..count).map(|n| TransactionId([n; 32])).collect() };
    assert_eq!(question(0).to_frame().as_str(), r#"{"type":"STATUS","data":{}}"#);
    let text = format!(r#"{{"type":"STATUS","data":{{"holds":{}}}}}"#, list([hex(0), hex(1)]));
    assert_eq!(question(2).to_frame().as_str(), text);
    assert_eq!(read_as!(Status, text), question(2));
    for text in [r#"{"type":"STATUS"}"#, r#"{"type":"STATUS","data":1}"#, r#"{"type":"STATUS","data":{}}"#] {
        assert_eq!(read_as!(Status, text), question(0));
    }
    for more in [0, 1] {
        let ids = list(std::iter::repeat_n(hex(1), limits::STATUS_IDS + more));
        let StatusFrame::Question { holds } =
            read_as!(Status, format!(r#"{{"type":"STATUS","data":{{"holds":{ids}}}}}"#))
        else {
            panic!("it is a question")
        };
        assert_eq!(holds.len(), 1_000);
    }
    assert!(read(r#"{"type":"STATUS","data":{"holds":["x"]}}"#).is_err());
    assert!(read(r#"{"type":"STATUS","data":{"holds":1}}"#).is_err());
}

#[test]
fn a_status_is_written_as_specified() {
    let row = |state, seconds, cause: Option<&str>| PeerRow {
        address: "ws://a:1".into(),
        state,
        seconds,
        known: true,
        cause: cause.map(Into::into),
    };
    let status = Status {
        node: "n".into(),
        session: "s".into(),
        agent: "a".into(),
        network: "w".into(),
        address: "d".into(),
        dial_backs: Some(crate::wire::DialBacks { reached: 1, failed: 2, error: Some("why".into()) }),
        uptime: 1,
        connected: vec!["c".into()],
        known: 2,
        max_peers: Some(8),
        peers: vec![row(PeerState::Connected, None, None), row(PeerState::Banned, Some(1.5), Some("why"))],
        pool: Summary { count: 3, sum: "0".into() },
        writable: true,
        pool_full: true,
        alone_seconds: Some(7),
        certificate_begins: Some(1_700_000_000),
        certificate_expires: Some(1_800_000_000),
        topics: vec![TopicRow {
            name: "blocks".into(),
            items: 1,
            bytes: 2,
            end: 3,
            members: 4,
            reconciled: 5,
            writable: true,
            refused: 6,
            ignored: 7,
            deferred: 8,
            oldest: Some(9),
            newest: None,
        }],
        held: 4,
        counters: [("dials".to_owned(), 5)].into(),
        ..Status::default()
    };
    let text = concat!(
        r#"{"type":"STATUS","data":{"node":"n","session":"s","agent":"a","network":"w","address":"d","#,
        r#""dialBacks":{"reached":1,"failed":2,"error":"why"},"uptime":1,"#,
        r#""connected":["c"],"attempting":[],"known":2,"maxPeers":8,"peers":["#,
        r#"{"address":"ws://a:1","state":"connected","known":true},"#,
        r#"{"address":"ws://a:1","state":"kept","seconds":1.5,"known":true,"cause":"why"}],"#,
        r#""pool":{"count":3,"sum":"0"},"writable":true,"poolFull":true,"aloneSeconds":7,"#,
        r#""certificateBegins":1700000000,"certificateExpires":1800000000,"#,
        r#""topics":[{"name":"blocks","items":1,"bytes":2,"end":3,"members":4,"reconciled":5,"writable":true,"#,
        r#""refused":6,"ignored":7,"deferred":8,"oldest":9}],"held":4,"counters":{"dials":5}}}"#
    );
    let answer = StatusFrame::Answer(Box::new(status));
    assert_eq!(answer.to_frame().as_str(), text);
    assert_eq!(read_as!(Status, text), answer);
    assert!(read(r#"{"type":"STATUS","data":{"node":"n"}}"#).is_err());
    for (state, name) in [
        (PeerState::Pending, "pending"),
        (PeerState::Declined, "declined"),
        (PeerState::Failed, "failed"),
        (PeerState::Idle, "idle"),
    ] {
        assert_eq!(serde_json::to_value(state).expect("a text"), name);
    }
}

#[test]
fn network_is_written_as_specified() {
    let question = NetworkFrame::Question { after: None };
    assert_eq!(question.to_frame().as_str(), r#"{"type":"NETWORK","data":{}}"#);
    for text in [r#"{"type":"NETWORK"}"#, r#"{"type":"NETWORK","data":"x"}"#, r#"{"type":"NETWORK","data":{}}"#] {
        assert_eq!(read_as!(Network, text), question);
    }
    let question = NetworkFrame::Question { after: Some(node(1)) };
    let text = format!(r#"{{"type":"NETWORK","data":{{"after":"{}"}}}}"#, hex(1));
    assert_eq!(question.to_frame().as_str(), text);
    assert_eq!(read_as!(Network, text), question);
    assert!(read(r#"{"type":"NETWORK","data":{"after":"x"}}"#).is_err());
    let member = Member {
        node: "n".into(),
        session: "s".into(),
        address: None,
        since: 1,
        peers: vec!["p".into()],
        links: 2,
        max_peers: Some(3),
        free: Some(4),
        heard: 5,
        me: true,
    };
    let answer = NetworkFrame::Answer(Members { nodes: vec![member], more: true });
    let text = concat!(
        r#"{"type":"NETWORK","data":{"nodes":[{"node":"n","session":"s","address":null,"since":1,"peers":["p"],"#,
        r#""links":2,"maxPeers":3,"free":4,"heard":5,"me":true}],"more":true}}"#
    );
    assert_eq!(answer.to_frame().as_str(), text);
    assert_eq!(read_as!(Network, text), answer);
    assert!(read(r#"{"type":"NETWORK","data":{"nodes":[]}}"#).is_err());
}

fn announcement() -> Announcement {
    Announcement {
        node: node(1),
        session: session(2),
        address: Some(address("ws://a:1")),
        since: 3,
        seq: 4,
        peers: vec![node(5)],
        links: 6,
        max_peers: Some(7),
        nodes: 8,
        interval: 9,
        topics: Vec::new(),
        left: false,
        seal: None,
    }
}

#[test]
fn an_announcement_is_written_as_specified() {
    let (id, run, peer) = (hex(1), session(2), hex(5));
    let data = format!(
        r#"{{"node":"{id}","session":"{run}","address":"ws://a:1","since":3,"seq":4,"peers":["{peer}"],"links":6,"maxPeers":7,"nodes":8,"interval":9}}"#
    );
    let mut frame = AnnounceFrame { announcement: announcement(), synced: None };
    let text = format!(r#"{{"type":"ANNOUNCE","data":{data}}}"#);
    assert_eq!(frame.to_frame(session(9)).as_str(), text);
    assert_eq!(read_as!(Announce, text), frame);
    frame.synced = Some(Duration::from_millis(1_500));
    let text = format!(r#"{{"type":"ANNOUNCE","data":{data},"session":"{}","age":1.5}}"#, session(9));
    assert_eq!(frame.to_frame(session(9)).as_str(), text);
    assert_eq!(read_as!(Announce, text), frame);
    let least = Announcement {
        address: None,
        peers: vec![],
        links: 0,
        max_peers: None,
        nodes: 0,
        interval: 0,
        ..announcement()
    };
    let text = format!(r#"{{"type":"ANNOUNCE","data":{{"node":"{id}","session":"{run}","since":3,"seq":4}}}}"#);
    assert_eq!(read_as!(Announce, text), AnnounceFrame { announcement: least.clone(), synced: None });
    let left = AnnounceFrame { announcement: Announcement { left: true, ..least }, synced: None };
    assert!(left.to_frame(session(9)).as_str().ends_with(r#""nodes":0,"interval":0,"left":true}}"#));
    assert_eq!(read_as!(Announce, left.to_frame(session(9)).as_str()), left);
}

#[test]
fn an_announcement_names_so_many_peers_and_valid_ids_alone() {
    let with = |members: String| {
        format!(r#"{{"type":"ANNOUNCE","data":{{"node":"{}","since":3,"seq":4,{members}}}}}"#, hex(1))
    };
    let run = session(2);
    for more in [0, 1] {
        let peers = list(std::iter::repeat_n(hex(5), limits::ANNOUNCED_PEERS + more));
        let text = with(format!(r#""session":"{run}","peers":{peers},"address":"no address""#));
        let announcement = read_as!(Announce, text).announcement;
        assert_eq!((announcement.peers.len(), announcement.address), (1_024, None));
    }
    for wrong in [
        r#""session":"x""#.to_owned(),
        format!(r#""session":"{run}","peers":["x"]"#),
        format!(r#""session":"{run}","seq":-1"#),
        format!(r#""session":"{run}","node":"x""#),
    ] {
        assert!(read(&with(wrong)).is_err());
    }
}

#[test]
fn signed_data_is_sent_as_it_was_signed() {
    let net = Net::signed(1);
    let signer = net.pretend(0);
    let mut signed = announcement();
    assert_eq!(signed.sealed_bytes(), 0);
    signed.seal(&signer);
    let seal = signed.seal.clone().expect("it is signed");
    assert_eq!(signed.sealed_bytes(), seal.canonical.len());
    assert!(seal.canonical.starts_with(r#"{"address":"ws://a:1","interval":9,"#), "{}", seal.canonical);
    // What is sent is the seal, not the members.
    let frame = AnnounceFrame { announcement: Announcement { seq: 99, ..signed.clone() }, synced: None };
    let text = format!(r#"{{"type":"ANNOUNCE","data":{},"signature":"{}"}}"#, seal.canonical, seal.signature);
    assert_eq!(frame.to_frame(session(9)).as_str(), text);
    assert_eq!(read_as!(Announce, text).announcement, signed);
    let mut broadcast = broadcast();
    broadcast.seal(&signer);
    let seal = broadcast.seal.clone().expect("it is signed");
    let id = hex(1);
    assert_eq!(seal.canonical, format!(r##"{{"id":"{id}","message":"hi","time":1.5,"title":"#BROADCAST"}}"##));
    let frame = BroadcastFrame {
        broadcast: Broadcast { time: 9.0, ..broadcast.clone() },
        origin: None,
        ack: false,
        synced: None,
    };
    let text = format!(r#"{{"type":"BROADCAST","data":{},"signature":"{}"}}"#, seal.canonical, seal.signature);
    assert_eq!(frame.to_frame(session(9)).as_str(), text);
    assert_eq!(read_as!(Broadcast, text).broadcast, broadcast);
    for kind in ["ANNOUNCE", "BROADCAST"] {
        let text = format!(r#"{{"type":"{kind}","data":{},"signature":"x"}}"#, seal.canonical);
        assert!(read(&text).is_err(), "{kind}");
    }
}

fn broadcast() -> Broadcast {
    Broadcast { id: BroadcastId([1; 32]), message: "hi".into(), time: 1.5, seal: None }
}

#[test]
fn a_broadcast_is_written_as_specified() {
    let id = hex(1);
    let data = format!(r##"{{"id":"{id}","title":"#BROADCAST","message":"hi","time":1.5}}"##);
    let plain = BroadcastFrame { broadcast: broadcast(), origin: None, ack: false, synced: None };
    let flooded = BroadcastFrame { origin: Some(Origin::Node(node(7))), ..plain.clone() };
    let synced = BroadcastFrame { synced: Some(Duration::from_secs(2)), ..plain.clone() };
    for (frame, siblings) in [
        (&plain, String::new()),
        (&flooded, format!(r#","from":"{}""#, hex(7))),
        (&BroadcastFrame { ack: true, ..plain.clone() }, r#","ack":true"#.to_owned()),
        (&synced, format!(r#","session":"{}","age":2.0"#, session(9))),
    ] {
        let text = format!(r#"{{"type":"BROADCAST","data":{data}{siblings}}}"#);
        assert_eq!(frame.to_frame(session(9)).as_str(), text);
        assert_eq!(read_as!(Broadcast, text), *frame);
    }
    let client = BroadcastFrame::client_frame(broadcast());
    assert_eq!(client.as_str(), format!(r#"{{"type":"BROADCAST","data":{data},"ack":true}}"#));
    for siblings in [r#","from":"somebody""#, r#","ack":1"#, r#","ack":false"#, r#","from":1"#] {
        assert_eq!(read_as!(Broadcast, format!(r#"{{"type":"BROADCAST","data":{data}{siblings}}}"#)), plain);
    }
    let with = |id: &str, message: &str| {
        format!(r#"{{"type":"BROADCAST","data":{{"id":"{id}","message":"{message}","time":1.5}}}}"#)
    };
    assert_eq!(read_as!(Broadcast, with(&id, "hi")), plain, "the title is not needed");
    assert!(read(&with(&id, "")).is_err() && read(&with("x", "hi")).is_err());
    assert!(read(&with(&id, &"x".repeat(limits::BROADCAST_BYTES))).is_ok());
    assert!(read(&with(&id, &"x".repeat(limits::BROADCAST_BYTES + 1))).is_err());
}

#[test]
fn a_text_may_be_broadcast_that_is_neither_empty_nor_too_long() {
    assert_eq!(Broadcast::check(""), Err(InvalidBroadcast::Empty));
    assert_eq!((Broadcast::check("a"), Broadcast::check(&"a".repeat(16 * 1024))), (Ok(()), Ok(())));
    assert_eq!(Broadcast::check(&"a".repeat(16 * 1024 + 1)), Err(InvalidBroadcast::TooLong(16 * 1024 + 1)));
    let error = InvalidBroadcast::TooLong(99_999).to_string();
    assert_eq!(error, "the text has 99999 bytes; at most 16384 are broadcast");
}

#[test]
fn ids_of_broadcasts_are_64_digits() {
    let id = BroadcastId([0xab; 32]);
    assert_eq!(id.to_string(), "ab".repeat(32));
    assert_eq!(format!("{id:?}"), "BroadcastId(abababab)");
    assert_eq!(id.to_string().parse(), Ok(id));
    let error = "ab".parse::<BroadcastId>().expect_err("too short").to_string();
    assert_eq!(error, "expected a broadcast's id: 64 hexadecimal digits");
}

#[test]
fn an_age_is_bounded_and_nonsense_is_zero() {
    let day = limits::OLDEST.as_secs_f64();
    for (age, seconds) in [
        ("0", 0.0),
        ("1.5", 1.5),
        ("-1", 0.0),
        ("\"9\"", 0.0),
        ("null", 0.0),
        ("1e400", 0.0),
        ("86399", 86_399.0),
        ("86400", day),
        ("86401", day),
        ("1e18", day),
    ] {
        let text = format!(r#"{{"age":{age}}}"#);
        let mut parser = Parser::new();
        let frame = parser.parse(&text).expect("JSON");
        assert_eq!(age_of(frame), Duration::from_secs_f64(seconds), "{age}");
    }
    let mut parser = Parser::new();
    assert_eq!(age_of(parser.parse("{}").expect("JSON")), Duration::ZERO);
}

#[test]
fn frames_of_clients_and_acks_are_written_as_specified() {
    let frame = TransactionFrame::client_frame(r#"{ "a":1}"#, true);
    assert_eq!(frame.as_str(), r#"{"type":"TRANSACTION","data":{ "a":1},"ack":true}"#);
    let frame = TransactionFrame::client_frame("{}", false);
    assert_eq!(frame.as_str(), r#"{"type":"TRANSACTION","data":{}}"#);
    let frame = TransactionFrame::sync_frame("{}", session(9));
    assert_eq!(frame.as_str(), format!(r#"{{"type":"TRANSACTION","data":{{}},"session":"{}"}}"#, session(9)));
    let read = read_as!(Transaction, frame.as_str());
    assert!(read.synced && !read.ack && read.origin.is_none());
    let ack = |status, reason: Option<&str>| Ack { id: "i".into(), status, reason: reason.map(Into::into), links: 2 };
    for (ack, data) in [
        (ack(AckStatus::Stored, None), r#"{"id":"i","status":"stored","links":2}"#),
        (ack(AckStatus::Duplicate, None), r#"{"id":"i","status":"duplicate","links":2}"#),
        (ack(AckStatus::Sent, None), r#"{"id":"i","status":"sent","links":2}"#),
        (ack(AckStatus::Rejected, Some("w")), r#"{"id":"i","status":"rejected","reason":"w","links":2}"#),
    ] {
        let text = format!(r#"{{"type":"ACK","data":{data}}}"#);
        assert_eq!(ack.to_frame().as_str(), text);
        assert_eq!(read_as!(Ack, text), ack);
    }
    let least = Ack { id: String::new(), status: AckStatus::Sent, reason: None, links: 0 };
    assert_eq!(read_as!(Ack, r#"{"type":"ACK","data":{"status":"sent"}}"#), least);
}

#[test]
fn data_that_is_no_transaction_is_a_message_all_the_same() {
    let frame = read_as!(Transaction, r#"{"type":"TRANSACTION","data":[1],"ack":true}"#);
    assert!(frame.transaction.is_err() && frame.ack && !frame.synced);
}

#[test]
fn find_and_found_are_written_as_specified() {
    let id = SearchId([0xab; 16]);
    let digits = "ab".repeat(16);
    for (name, member) in [(Some("a.jpg"), r#","name":"a.jpg""#), (None, "")] {
        let find = Find { id, name: name.map(|name| name.parse().expect("a name")), hops: 3 };
        let text = format!(r#"{{"type":"FIND","data":{{"id":"{digits}"{member},"hops":3}}}}"#);
        assert_eq!(find.to_frame().as_str(), text);
        assert_eq!(read_as!(Find, text), find);
    }
    let image = |sha256| ImageInfo { name: "a".parse().expect("a name"), size: 9, sha256 };
    let found =
        Found { id, node: node(1), address: address("ws://a:1"), images: vec![image(Some([2; 32])), image(None)] };
    let text = format!(
        r#"{{"type":"FOUND","data":{{"id":"{digits}","node":"{}","address":"ws://a:1","images":[{{"name":"a","size":9,"sha256":"{}"}},{{"name":"a","size":9}}]}}}}"#,
        hex(1),
        hex(2)
    );
    assert_eq!(found.to_frame().as_str(), text);
    assert_eq!(read_as!(Found, text), found);
    for (wrong, right) in [(digits.as_str(), "0"), ("ws://a:1", "a"), (&*hex(1), "1")] {
        assert!(read(&text.replacen(wrong, right, 1)).is_err(), "{wrong}");
    }
    for more in [0, 1] {
        let found = Found { images: vec![image(None); limits::FOUND_IMAGES + more], ..found.clone() };
        assert_eq!(read_as!(Found, found.to_frame().as_str()).images.len(), 256);
    }
}

#[test]
fn ids_of_searches_are_32_digits() {
    let id = SearchId([0xab; 16]);
    assert_eq!(id.to_string(), "ab".repeat(16));
    assert_eq!(format!("{id:?}"), format!("SearchId({})", "ab".repeat(16)));
    assert_eq!("AB".repeat(16).parse(), Ok(id));
    for text in ["", &"a".repeat(31), &"a".repeat(33), &"g".repeat(32), &"a".repeat(34)] {
        assert_eq!(text.parse::<SearchId>(), Err("expected a search's id: 32 hexadecimal digits"), "{text}");
    }
}

#[test]
fn an_invalid_name_of_an_image_says_why() {
    for (name, reason) in [
        (String::new(), "1 to 200 bytes long"),
        ("x".repeat(201), "1 to 200 bytes long"),
        (".a".into(), "one that does not begin with a dot"),
        ("a/b".into(), "that of a file in the folder images, without / and \\"),
        ("a\\b".into(), "that of a file in the folder images, without / and \\"),
        ("a:b.jpg".into(), "one without a colon, and without a dot or a blank at its end"),
        ("a.".into(), "one without a colon, and without a dot or a blank at its end"),
        ("a.jpg ".into(), "one without a colon, and without a dot or a blank at its end"),
        ("nul.jpg".into(), "not that of a device of Windows, such as CON, NUL or COM1"),
        ("a\u{7}".into(), "one without control characters"),
    ] {
        let error = name.parse::<ImageName>().expect_err(reason).to_string();
        assert_eq!(error, format!("an image's name is {reason}"));
    }
    // Each end of the ranges that change the direction of text.
    for one in ['\u{61c}', '\u{200e}', '\u{200f}', '\u{2028}', '\u{202e}', '\u{2066}', '\u{2069}'] {
        assert!(format!("a{one}b").parse::<ImageName>().is_err(), "{one:?}");
    }
    for one in ['\u{200d}', '\u{2010}', '\u{2027}', '\u{202f}', '\u{2065}', '\u{206a}'] {
        assert!(format!("a{one}b").parse::<ImageName>().is_ok(), "{one:?}");
    }
    let name: ImageName = "a b.png".parse().expect("a name");
    assert_eq!((name.as_str(), name.to_string()), ("a b.png", "a b.png".to_owned()));
}

#[test]
fn a_seal_is_the_canonical_data_of_a_frame_with_a_signature() {
    let signature = Signature([0xcd; 64]);
    let read = |text: &str| Seal::read(Parser::new().parse(text).expect("JSON"));
    let data = r#"{"b":1.0,"a":2}"#;
    let seal = Seal { canonical: r#"{"a":2,"b":1}"#.into(), signature };
    let text = format!(r#"{{"data":{data},"signature":"{signature}"}}"#);
    assert_eq!(read(&text), Ok(Some(Arc::new(seal.clone()))));
    assert_eq!(seal.raw().get(), r#"{"a":2,"b":1}"#);
    assert_eq!(read(&format!(r#"{{"data":{data}}}"#)), Ok(None));
    assert_eq!(read(&format!(r#"{{"signature":"{signature}"}}"#)), Ok(None));
    for wrong in [r#""ab""#, "1", "null"] {
        assert!(read(&format!(r#"{{"data":{data},"signature":{wrong}}}"#)).is_err(), "{wrong}");
    }
    assert!(read(&format!(r#"{{"data":1e400,"signature":"{signature}"}}"#)).is_err());
    let long = |length: usize| format!(r#"{{"data":"{}","signature":"{signature}"}}"#, "x".repeat(length - 2));
    assert!(read(&long(limits::SEALED_BYTES)).is_ok());
    let error = read(&long(limits::SEALED_BYTES + 1)).expect_err("too long");
    assert_eq!(error, "its data has 131073 bytes; at most 131072 are allowed");
    let net = Net::signed(1);
    let made = Seal::make(&net.pretend(0), Purpose::Announce, &[1.5, 2.0]).expect("it signs");
    assert_eq!(made.canonical, "[1.5,2]");
    assert!(Seal::make(&crate::signature::Unsigned, Purpose::Announce, &1).is_none());
    assert!(Seal::make(&net.pretend(0), Purpose::Announce, &u64::MAX).is_none(), "JavaScript cannot hold it");
}

#[test]
fn topics_are_named_in_handshake_and_announcement_and_of_too_many_or_invalid_ones_some_are_kept() {
    let many = list((0..20).map(|n| format!("t{n}")));
    let data = format!(r#""node":"{}","session":"{}","since":3,"seq":4,"topics":{many}"#, hex(1), session(2));
    let announcement = read_as!(Announce, format!(r#"{{"type":"ANNOUNCE","data":{{{data}}}}}"#)).announcement;
    let names: Vec<_> = (0..limits::TOPICS).map(|n| format!("t{n}").parse().expect("a name")).collect();
    assert_eq!(announcement.topics, names);
    let frame = AnnounceFrame { announcement, synced: None };
    assert_eq!(read_as!(Announce, frame.to_frame(session(9)).as_str()), frame);
    let node = format!(r#""id":"{}","session":"{}","network":"n","topics":["a","No","b"]"#, hex(1), session(2));
    let handshake = read_as!(Handshake, format!(r#"{{"type":"HANDSHAKE","data":[],"node":{{{node}}}}}"#));
    let topics = &handshake.node.as_ref().expect("native").topics;
    assert_eq!(topics.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a", "b"]);
    assert!(handshake.to_frame().as_str().contains(r#""topics":["a","b"]"#));
    assert_eq!(read_as!(Handshake, handshake.to_frame().as_str()), handshake);
}

#[test]
fn a_callback_has_a_nonce_and_no_address() {
    let call_back = CallBack { nonce: crate::id::Nonce([0xab; 32]) };
    let text = format!(r#"{{"type":"CALLBACK","data":{{"nonce":"{}"}}}}"#, "ab".repeat(32));
    assert_eq!(call_back.to_frame().as_str(), text);
    assert_eq!(read_as!(CallBack, text), call_back);
}

#[test]
fn addresses_of_a_later_kind_are_left_out_of_lists_and_make_single_ones_missing() {
    // So earlier releases read node ids: an entry less, and no broken message.
    let (id, run, later) = (hex(1), session(2), "later:00@relay.example:1");
    let list = format!(r#"["ws://a:1","{later}"]"#);
    let node = format!(r#"{{"id":"{id}","session":"{run}","network":"n","address":"{later}"}}"#);
    let hello = read_as!(Handshake, format!(r#"{{"type":"HANDSHAKE","data":{list},"node":{node}}}"#));
    assert_eq!((hello.addresses.len(), hello.dropped), (1, 1));
    assert_eq!(hello.node.expect("a native peer").address, None, "as one that accepts no connections");
    assert_eq!(read_as!(Peers, format!(r#"{{"type":"PEERS","data":{list}}}"#)).dropped, 1);
    assert_eq!(read_as!(Declined, format!(r#"{{"type":"DECLINED","data":{list}}}"#)).dropped, 1);
    let data = format!(r#"{{"node":"{id}","session":"{run}","address":"{later}","since":1,"seq":1}}"#);
    let announced = read_as!(Announce, format!(r#"{{"type":"ANNOUNCE","data":{data}}}"#));
    assert_eq!(announced.announcement.address, None);
    // These are broken without their address, so no node id is sent in them unasked.
    for text in [
        format!(r#"{{"type":"DIALBACK","data":{{"address":"{later}","reached":true}}}}"#),
        format!(
            r#"{{"type":"FOUND","data":{{"id":"{}","node":"{id}","address":"{later}","images":[]}}}}"#,
            "07".repeat(16)
        ),
    ] {
        assert!(read(&text).is_err(), "{text}");
    }
}

#[test]
fn node_ids_travel_with_their_relays() {
    let id = crate::address::PeerAddress::of_node(node(1), ["relay.example:1".parse().expect("a relay")]);
    let text = format!(r#"{{"type":"PEERS","data":["iroh:{}@relay.example:1"]}}"#, hex(1));
    let sample = Sample { addresses: vec![id.clone()], ..Sample::default() };
    assert_eq!(sample.to_frame().as_str(), text);
    assert_eq!(read_as!(Peers, text).addresses[0].to_string(), id.to_string());
}
