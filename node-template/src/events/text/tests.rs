use crate::events::text::*;
use crate::protocol::id::{LinkId, NodeId};
use crate::protocol::json::Parser;
use crate::protocol::transaction::Transaction;

fn node(port: u16, byte: u8) -> PeerName {
    PeerName { node: Some(NodeId([byte; 32])), address: format!("ws://localhost:{port}").parse().ok() }
}

fn plain_peer() -> PeerName {
    PeerName { node: None, address: "ws://localhost:4001".parse().ok() }
}

fn failed(error: &str, retry_in: Option<u64>) -> Event {
    let address = "ws://localhost:4003".parse().unwrap();
    Event::DialFailed { address, error: error.to_owned(), retry_in: retry_in.map(Duration::from_millis) }
}

fn check(event: Event, expected_level: Level, expected: &str) {
    assert_eq!(Words(&event).to_string(), expected);
    assert_eq!(level(&event), expected_level, "{expected}");
}

#[test]
fn peers_come_and_go() {
    let address = || "ws://localhost:4003".parse().unwrap();
    for (event, level, words) in [
        (Event::Dialling { address: address() }, Level::DEBUG, "dialling ws://localhost:4003"),
        (
            Event::SelfDialled { address: address() },
            Level::INFO,
            "ws://localhost:4003 is this node itself: it is not dialled again",
        ),
        (
            Event::PeerUp { peer: node(4002, 0xa1), dialled: false, peers: 2 },
            Level::INFO,
            "linked to ws://localhost:4002 (a1a1a1a1), which dialled us; 2 peers",
        ),
        (
            Event::PeerUp { peer: plain_peer(), dialled: true, peers: 1 },
            Level::INFO,
            "linked to ws://localhost:4001, which we dialled; 1 peer",
        ),
        (
            Event::PeerDown { peer: plain_peer(), cause: "it went\n\u{1b}[2Jaway".to_owned(), peers: 1 },
            Level::INFO,
            "lost ws://localhost:4001: it went away; 1 peer left",
        ),
        (
            Event::PeerDown { peer: plain_peer(), cause: "no pong in 45 s".to_owned(), peers: 0 },
            Level::INFO,
            "lost ws://localhost:4001: no pong in 45 s; no peer left",
        ),
        (
            Event::LanPeerFound { peer: node(4002, 0xa1), free: Some(3) },
            Level::INFO,
            "found ws://localhost:4002 (a1a1a1a1) by multicast DNS: 3 free places",
        ),
        (
            Event::LanPeerFound { peer: node(4002, 0xa1), free: None },
            Level::INFO,
            "found ws://localhost:4002 (a1a1a1a1) by multicast DNS: it links to all",
        ),
        (
            Event::AddressesLearned { peer: plain_peer(), addresses: 1 },
            Level::INFO,
            "learned 1 address from ws://localhost:4001",
        ),
        (
            Event::PeerFault { link: LinkId(7), peer: node(4002, 0xb2), text: "type \u{7}ODD".to_owned() },
            Level::DEBUG,
            "link 7, ws://localhost:4002 (b2b2b2b2): type ODD",
        ),
    ] {
        check(event, level, words);
    }
}

#[test]
fn a_failed_dial_is_told_until_it_repeats_itself() {
    for (error, wait, level, words) in [
        ("Connection refused (os error 111)", Some(800), Level::INFO, "refused the connection; trying again in 0.8 s"),
        (
            "actively refused it. (os error 10061)",
            Some(4_999),
            Level::INFO,
            "refused the connection; trying again in 5.0 s",
        ),
        (
            "Connection refused (os error 111)",
            Some(5_000),
            Level::DEBUG,
            "refused the connection; trying again in 5.0 s",
        ),
        ("connection timed out", None, Level::INFO, "did not answer in time; it is forgotten"),
        (
            "no such \u{1b}[31mhost",
            Some(60_000),
            Level::DEBUG,
            "could not be dialled: no such host; trying again in 60.0 s",
        ),
    ] {
        check(failed(error, wait), level, &format!("ws://localhost:4003 {words}"));
    }
}

#[test]
fn a_transaction_says_where_it_comes_from_and_goes_to() {
    let transaction = Transaction::parse(&mut Parser::new(), r#"{"amount":1}"#).unwrap();
    let id = transaction.id().to_string();
    let (of_node, of_plain) = (Origin::Node(NodeId([1; 32])), Origin::Exercise("ws://localhost:4001".parse().unwrap()));
    let client = PeerName { node: None, address: None };
    for (origin, peer, links, words) in [
        (Some(of_node.clone()), None, 2, " of our own: sent to 2 peers"),
        (Some(of_node.clone()), None, 0, " of our own: no peer is linked to send it to"),
        (Some(of_plain.clone()), Some(plain_peer()), 1, " from ws://localhost:4001: passed on to 1 peer"),
        (Some(of_plain), Some(plain_peer()), 0, " from ws://localhost:4001: nobody else to pass it on to"),
        (Some(of_node), Some(client), 3, " from a client: passed on to 3 peers"),
        (None, Some(node(4002, 0xa1)), 0, ", which we lacked, from ws://localhost:4002 (a1a1a1a1): not passed on"),
    ] {
        let event = Event::Transaction { transaction: transaction.clone(), origin, peer, links };
        check(event, Level::INFO, &format!("transaction {}…{words}, writing it to transactions.json", &id[..8]));
    }
    let refused = Event::TransactionRefused { peer: plain_peer(), reason: "the pool is full".to_owned() };
    check(refused, Level::DEBUG, "refused a transaction from ws://localhost:4001: the pool is full");
}

#[test]
fn the_pool_and_warnings() {
    let remedy = "x".repeat(300);
    for (event, level, words) in [
        (
            Event::Stored { ids: vec![TransactionId([1; 32]); 3], pool: 120 },
            Level::DEBUG,
            "3 transactions written to transactions.json, which holds 120 now",
        ),
        (
            Event::StoreFailed {
                error: "can not write node-1/transactions.json:\nno space left; make room".to_owned(),
            },
            Level::ERROR,
            "can not write node-1/transactions.json: no space left; make room",
        ),
        (Event::StoreRecovered, Level::INFO, "transactions.json takes transactions again"),
        (
            Event::Replaying { peer: plain_peer(), ours: 12 },
            Level::INFO,
            "ws://localhost:4001 asked for the whole pool: sending it 12 transactions",
        ),
        (
            Event::PeerLagging { peer: plain_peer() },
            Level::WARN,
            "ws://localhost:4001 reads slower than we send: the rest follows from transactions.json as it catches up",
        ),
        (Event::Warning { text: remedy.clone() }, Level::WARN, &remedy),
    ] {
        check(event, level, words);
    }
}

#[test]
fn foreign_text_can_not_touch_the_terminal() {
    for (text, shown) in [
        ("HANDSHAKE", "HANDSHAKE"),
        ("žluťoučký 🦀", "žluťoučký 🦀"),
        ("a\u{1b}[31;1mb\u{1b}[0mc", "abc"),
        ("\u{1b}]0;title\u{7}x", "0;titlex"),
        ("\u{9b}2Jx\u{85}\u{0}\u{8}\u{7f}y", "xy"),
        ("one\r\ntwo\tthree\u{2028}four", "one  two three four"),
        ("\u{1b}", ""),
        ("\u{1b}[", ""),
        ("\u{1b}[12", ""),
        ("\u{1b}[é", "é"),
        ("\u{1b}\u{1b}[31mx", "x"),
        ("\u{202e}abc\u{2066}\u{200f}", "abc"),
        ("", ""),
    ] {
        assert_eq!(plain(text), shown, "{text:?}");
    }
    assert_eq!(plain(&"é".repeat(200)), "é".repeat(200));
    assert_eq!(plain(&"é".repeat(201)), "é".repeat(199) + "…");
    assert_eq!(plain(&("x".repeat(200) + "\u{1b}[0m\u{7}")), "x".repeat(200), "what is removed does not count");
}

#[test]
fn a_burst_of_transactions_is_counted() {
    let start = Instant::now();
    let at = |millis| start + Duration::from_millis(millis);
    let mut sparing = Sparing::default();
    assert_eq!(sparing.deadline(), None);
    assert_eq!((0..1_254).filter(|_| sparing.admits(at(100))).count(), 20);
    assert_eq!(sparing.deadline(), Some(at(1_100)));
    assert_eq!(sparing.held_back(at(1_099)), None);
    assert_eq!(sparing.held_back(at(1_100)), Some(1_234));
    assert_eq!(sparing.held_back(at(1_101)), None, "told once");
    assert_eq!(sparing.deadline(), None);
    assert!(sparing.admits(at(1_102)), "a new second, a new allowance");
}

#[test]
fn an_even_trickle_is_told_whole() {
    let start = Instant::now();
    let mut sparing = Sparing::default();
    assert!((0..100).all(|step| sparing.admits(start + step * Duration::from_millis(50))));
    assert_eq!(sparing.deadline(), None);
}

#[cfg(feature = "cli")]
#[test]
fn a_burst_in_the_log() {
    let transaction = Transaction::parse(&mut Parser::new(), r#"{"amount":1}"#).unwrap();
    let event = Event::Transaction { transaction, origin: None, peer: None, links: 1 };
    let lines = crate::cli::logs::tests::logged(false, || {
        let now = Instant::now();
        let mut sparing = Sparing::default();
        for _ in 0..22 {
            sparing.report(now, &event);
        }
        sparing.report(now, &Event::StoreRecovered);
        sparing.tick(now + SECOND);
        sparing.tick(now + SECOND);
    });
    let lines: Vec<_> = lines.lines().map(|line| line.split_once(' ').unwrap().1).collect();
    assert_eq!(lines.len(), 22, "{lines:?}");
    assert!(lines[..20].iter().all(|line| line.starts_with("transaction ")));
    assert_eq!(
        lines[20..],
        ["transactions.json takes transactions again", "… and 2 more transactions in the last second"]
    );
}

#[cfg(feature = "cli")]
#[test]
fn an_event_is_one_line_of_its_level() {
    let lines = crate::cli::logs::tests::logged(false, || {
        report(&Event::StoreFailed { error: "disk\nfull".to_owned() });
        report(&Event::PeerLagging { peer: plain_peer() });
        report(&failed("Connection refused", Some(800)));
        report(&failed("Connection refused", Some(8_000)));
    });
    let levels: Vec<_> = lines.lines().map(|line| line.split(' ').nth(1).unwrap()).collect();
    assert_eq!(levels, ["ERROR", "WARN", "ws://localhost:4003", "DEBUG"]);
}
