use crate::events::describe::*;
use crate::protocol::id::{LinkId, NodeId};
use crate::protocol::json::Parser;
use crate::protocol::transaction::Transaction;

fn node(port: u16, byte: u8) -> PeerName {
    PeerName { node: Some(NodeId([byte; 32])), address: format!("ws://localhost:{port}").parse().ok() }
}

fn exercise_peer() -> PeerName {
    PeerName { node: None, address: "ws://localhost:4001".parse().ok() }
}

fn failed(error: DialError, retry_in: Option<u64>) -> Event {
    let address = "ws://localhost:4003".parse().unwrap();
    Event::DialFailed { address, error, retry_in: retry_in.map(Duration::from_millis) }
}

fn check(event: Event, expected_level: Level, expected: &str) {
    assert_eq!(Description(&event).to_string(), expected);
    assert_eq!(level(&event), expected_level, "{expected}");
}

#[test]
fn peers_come_and_go() {
    let address = || "ws://localhost:4003".parse().unwrap();
    for (event, level, text) in [
        (Event::Dialling { address: address() }, Level::DEBUG, "dialling ws://localhost:4003"),
        (
            Event::SelfDialled { address: address() },
            Level::INFO,
            "ws://localhost:4003 is this node itself: no link to it is needed",
        ),
        (
            Event::PeerUp { peer: node(4002, 0xa1), dialled: false, peers: 2 },
            Level::INFO,
            "linked to ws://localhost:4002 (a1a1a1a1), which dialled us; 2 peers",
        ),
        (
            Event::PeerUp { peer: exercise_peer(), dialled: true, peers: 1 },
            Level::INFO,
            "linked to ws://localhost:4001, which we dialled; 1 peer",
        ),
        (
            Event::PeerDown { peer: exercise_peer(), cause: "it went\n\u{1b}[2Jaway".into(), peers: 1 },
            Level::INFO,
            "lost ws://localhost:4001: it went away; 1 peer left",
        ),
        (
            Event::PeerDown { peer: exercise_peer(), cause: "no pong in 45 s".into(), peers: 0 },
            Level::INFO,
            "lost ws://localhost:4001: no pong in 45 s; no peer left",
        ),
        (
            Event::LanPeerFound { peer: node(4002, 0xa1), free: Some(3) },
            Level::INFO,
            "found ws://localhost:4002 (a1a1a1a1) by multicast DNS: 3 free slots",
        ),
        (
            Event::LanPeerFound { peer: node(4002, 0xa1), free: None },
            Level::INFO,
            "found ws://localhost:4002 (a1a1a1a1) by multicast DNS: it links to every node",
        ),
        (
            Event::AddressesLearned { peer: exercise_peer(), addresses: 1 },
            Level::INFO,
            "learned 1 address from ws://localhost:4001",
        ),
        (
            Event::PeerFault { link: LinkId(7), peer: node(4002, 0xb2), text: "type \u{7}ODD".to_owned() },
            Level::DEBUG,
            "link 7, ws://localhost:4002 (b2b2b2b2): type ODD",
        ),
    ] {
        check(event, level, text);
    }
}

/// An exercise peer may name no address of its own.
#[test]
fn a_peer_without_id_and_address_is_no_client() {
    let peer = PeerName { node: None, address: None };
    for (event, text) in [
        (
            Event::PeerUp { peer: peer.clone(), dialled: false, peers: 1 },
            "linked to an exercise peer, which dialled us",
        ),
        (Event::PeerDown { peer: peer.clone(), cause: "it ended".into(), peers: 0 }, "lost an exercise peer: it ended"),
        (Event::Declined { peer: peer.clone(), others: 2 }, "full: redirected an exercise peer to 2 others"),
        (Event::Declined { peer: peer.clone(), others: 0 }, "full: declined an exercise peer; no other"),
        (Event::PeerLagging { peer: peer.clone() }, "an exercise peer reads slower"),
        (Event::Replaying { peer: peer.clone(), ours: 2 }, "an exercise peer asked for the whole pool"),
        (Event::AddressesLearned { peer: peer.clone(), addresses: 2 }, "learned 2 addresses from an exercise peer"),
        (
            Event::HandshakeSent { link: LinkId(1), peer: peer.clone(), addresses: Vec::new(), more: 1 },
            "sent an exercise peer a HANDSHAKE",
        ),
        (
            Event::HandshakeReceived { link: LinkId(1), peer: peer.clone(), addresses: Vec::new(), more: 1 },
            "an exercise peer sent a HANDSHAKE",
        ),
        (Event::TransactionRefused { peer, reason: "no".to_owned() }, "refused a transaction from a client: no"),
    ] {
        let described = Description(&event).to_string();
        assert!(described.starts_with(text), "{described}");
    }
}

#[test]
fn a_failed_dial_is_logged_at_info_until_it_repeats() {
    let nobody = DialError::NobodyListens;
    for (error, wait, level, text) in [
        (nobody.clone(), Some(800), Level::INFO, "could not be dialled: nobody listens there; trying again in 0.8 s"),
        (nobody.clone(), Some(4_999), Level::INFO, "could not be dialled: nobody listens there; trying again in 5.0 s"),
        (nobody, Some(5_000), Level::DEBUG, "could not be dialled: nobody listens there; trying again in 5.0 s"),
        (DialError::TimedOut(Duration::from_secs(5)), None, Level::INFO, "did not answer in time; it is forgotten"),
        (
            "no such \u{1b}[31mhost".into(),
            Some(60_000),
            Level::DEBUG,
            "could not be dialled: no such host; trying again in 60.0 s",
        ),
    ] {
        check(failed(error, wait), level, &format!("ws://localhost:4003 {text}"));
    }
}

#[test]
fn a_transaction_says_where_it_comes_from_and_goes_to() {
    let transaction = Transaction::parse(&mut Parser::new(), r#"{"amount":1}"#).unwrap();
    let id = transaction.id().to_string();
    let (of_node, of_exercise) =
        (Origin::Node(NodeId([1; 32])), Origin::Exercise("ws://localhost:4001".parse().unwrap()));
    let client = PeerName { node: None, address: None };
    for (origin, peer, links, text) in [
        (Some(of_node.clone()), None, 2, " of our own: sent to 2 peers"),
        (Some(of_node.clone()), None, 0, " of our own: no peer is linked"),
        (Some(of_exercise.clone()), Some(exercise_peer()), 1, " from ws://localhost:4001: passed on to 1 peer"),
        (Some(of_exercise), Some(exercise_peer()), 0, " from ws://localhost:4001: passed on to no other peer"),
        (Some(of_node), Some(client), 3, " from a client: passed on to 3 peers"),
        (None, Some(node(4002, 0xa1)), 0, ", which we lacked, from ws://localhost:4002 (a1a1a1a1): not passed on"),
    ] {
        let event = Event::Transaction { transaction: transaction.clone(), origin, peer, links };
        check(event, Level::INFO, &format!("transaction {}…{text}, writing it to transactions.json", &id[..8]));
    }
    let refused = Event::TransactionRefused { peer: exercise_peer(), reason: "the pool is full".to_owned() };
    check(refused, Level::DEBUG, "refused a transaction from ws://localhost:4001: the pool is full");
}

#[test]
fn the_pool_and_warnings() {
    let remedy = "x".repeat(300);
    for (event, level, text) in [
        (
            Event::Stored { ids: vec![TransactionId([1; 32]); 3], pool: 120 },
            Level::DEBUG,
            "3 transactions written to transactions.json, which holds 120 now",
        ),
        (
            Event::StoreFailed { error: "cannot write node-1/transactions.json:\nno space left; make room".into() },
            Level::ERROR,
            "cannot write node-1/transactions.json: no space left; make room",
        ),
        (Event::StoreRecovered, Level::INFO, "transactions.json takes transactions again"),
        (
            Event::Replaying { peer: exercise_peer(), ours: 12 },
            Level::INFO,
            "ws://localhost:4001 asked for the whole pool: sending it 12 transactions",
        ),
        (
            Event::PeerLagging { peer: exercise_peer() },
            Level::WARN,
            "ws://localhost:4001 reads slower than we send: the rest follows from transactions.json as it catches up",
        ),
        (
            Event::PeerLagging { peer: node(4001, 0xab) },
            Level::WARN,
            "ws://localhost:4001 (abababab) reads slower than we send: it gets the rest by comparing pools, once it has caught up",
        ),
        (Event::Warning { text: remedy.clone() }, Level::WARN, &remedy),
    ] {
        check(event, level, text);
    }
}

/// The events are of another crate and may become more, so the compiler does not say what lacks a
/// text.
#[test]
fn each_event_has_a_text_of_its_own() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto/src/event.rs");
    // A package holds this crate alone.
    let Ok(definitions) = std::fs::read_to_string(path) else { return };
    let texts = include_str!("../describe.rs");
    for name in ["Event", "BootstrapStep", "AddressOutcome"] {
        let (_, from) = definitions.split_once(&format!("pub enum {name} {{\n")).expect(name);
        let (variants, _) = from.split_once("\n}").expect("its end");
        let variants = variants.lines().filter_map(|line| line.strip_prefix("    "));
        let variants = variants.filter(|line| line.starts_with(|first: char| first.is_ascii_uppercase()));
        let variants: Vec<&str> =
            variants.filter_map(|line| line.split(|other: char| !other.is_ascii_alphanumeric()).next()).collect();
        assert!(variants.len() > 5, "{name}: {variants:?}");
        for variant in variants {
            let has = |end: char| texts.contains(&format!("{name}::{variant}{end}"));
            assert!([' ', ',', '(', ')'].into_iter().any(has), "{name}::{variant} has no text");
        }
    }
}

#[test]
fn a_handshake_says_what_was_done_with_each_address() {
    let address = |port: u16| format!("ws://localhost:{port}").parse().unwrap();
    let outcomes = [
        (AddressOutcome::Ourselves, "is this node itself"),
        (AddressOutcome::Connected, "is linked already"),
        (AddressOutcome::Attempting, "is being dialled already"),
        (AddressOutcome::Verifying, "is dialled back, to see whether that node answers there"),
        (AddressOutcome::Dialled { after: Duration::ZERO }, "is dialled"),
        (AddressOutcome::Dialled { after: Duration::from_millis(1_250) }, "is dialled in 1.2 s"),
        (AddressOutcome::Kept, "is kept until a slot is wanted"),
        (
            AddressOutcome::Waiting { failures: 3, retry_in: Some(Duration::from_secs(4)) },
            "was known, failed 3 times, and is dialled again in 4.0 s",
        ),
        (AddressOutcome::Waiting { failures: 0, retry_in: None }, "was known, and waits until a slot is wanted"),
        (AddressOutcome::OutOfScope, "is refused: it makes sense only on that peer's host or network"),
        (AddressOutcome::NotDialable, "is refused: it is a node id, and this node dials none (WAN=on lets it)"),
        (AddressOutcome::NoRoom, "is refused: no room for it (raise PEER_TABLE), or it failed too often a moment ago"),
    ];
    let named: Vec<NamedAddress> = (4001..)
        .zip(&outcomes)
        .map(|(port, (outcome, _))| NamedAddress { address: address(port), outcome: outcome.clone() })
        .collect();
    for (named, (_, text)) in named.iter().zip(outcomes) {
        assert_eq!(outcome(&named.outcome), text);
    }
    let received = |addresses: &[NamedAddress], more| Event::HandshakeReceived {
        link: LinkId(1),
        peer: node(4002, 0xa1),
        addresses: addresses.to_vec(),
        more,
    };
    check(
        received(&named[..2], 0),
        Level::DEBUG,
        "ws://localhost:4002 (a1a1a1a1) sent a HANDSHAKE with 2 addresses: ws://localhost:4001 is this node itself; ws://localhost:4002 is linked already",
    );
    let long = Description(&received(&named, 70)).to_string();
    assert!(long.contains("with 82 addresses: ") && long.ends_with("; and 74 more"), "{long}");
    assert_eq!(title(&received(&named, 70)), "ws://localhost:4002 (a1a1a1a1) sent a HANDSHAKE with 82 addresses");
    check(received(&[], 0), Level::DEBUG, "ws://localhost:4002 (a1a1a1a1) sent a HANDSHAKE with 0 addresses");
    let sent = Event::HandshakeSent { link: LinkId(1), peer: exercise_peer(), addresses: vec![address(4001)], more: 0 };
    check(sent, Level::DEBUG, "sent ws://localhost:4001 a HANDSHAKE with 1 address");
    let opened = |node| Event::LinkOpened { link: LinkId(1), address: address(4001), node };
    check(opened(Some(NodeId([0xa1; 32]))), Level::DEBUG, "ws://localhost:4001 answered: node a1a1a1a1 is there");
    check(opened(None), Level::DEBUG, "ws://localhost:4001 answered without an id: an exercise peer is there");
    let synced = Event::Synced { link: LinkId(1), peer: node(4002, 0xa1), transactions: 3, first: Vec::new() };
    check(
        synced,
        Level::DEBUG,
        "3 transactions that this node lacked came from ws://localhost:4002 (a1a1a1a1), by comparing pools",
    );
}
