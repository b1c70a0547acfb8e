//! What strangers may do to a node on real sockets, and what the node and everybody else on it must
//! then still do.

#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use common::embedded::{Embedded, event};
use common::hostile::masked;
use common::node::{Node, address, free_port};
use common::raw::{Raw, request};
use common::scripted::ScriptedPeer;
use common::tester::{Socket, Tester};
use common::{Keeper, eventually, exactly, hostile, submit, transaction, transaction_frame, within};
use meshpool::LinkEnd;
use meshpool::protocol::address::PeerAddress;
use meshpool::protocol::event::Event;
use meshpool::protocol::limits::{Limits, MESSAGE_BYTES};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const MEBIBYTE: usize = 1024 * 1024;

/// A process of ours that knows nobody, is warm, and listens.
async fn lone_node(settings: &str) -> Node {
    let node = Node::ours_with(free_port(), &[], settings);
    node.linked_to([]).await;
    node
}

/// Loopback addresses, all different, at which nobody listens: port 9, "discard".
fn dead_addresses(from: usize, count: usize) -> Vec<String> {
    let dead = |n: usize| format!("ws://127.{}.{}.{}:9", 100 + n / 65_536, n / 256 % 256, n % 256);
    (from..from + count).map(dead).collect()
}

fn handshake(addresses: &[String]) -> Value {
    json!({ "type": "HANDSHAKE", "data": addresses })
}

/// Fails unless a peer is dialled back, and gets a transaction that a client submits.
async fn assert_serves(port: u16, number: u64) {
    let tester = Tester::listen().await;
    let mut link = tester.greet(port).await;
    link.handshake().await;
    let mut client = Socket::dial(port).await.unwrap();
    client.send_text(transaction_frame(&transaction(number))).await;
    while link.frame().await["data"] != transaction(number) {}
}

#[tokio::test]
async fn a_handshake_of_a_million_addresses_is_cut_off() {
    let node = lone_node("").await;
    let before = node.resident_bytes();
    // Written before it connects: on a busy machine that takes longer than a stranger may be
    // silent.
    let text = handshake(&dead_addresses(0, 1_000_000)).to_string();
    let frame = masked(0x81, text.as_bytes());
    let mut raw = Raw::upgraded(node.port).await;
    raw.write(&frame).await;
    // On Windows a reset takes back what was not read yet.
    let code = raw.farewell().await.map(|(code, _)| code);
    assert!(code == Some(1009) || code.is_none() && cfg!(windows), "{code:?}");
    let grown = node.resident_bytes().saturating_sub(before);
    assert!(grown < 4 * MEBIBYTE, "it took {grown} bytes of memory for {} that it refused", text.len());
}

#[tokio::test]
async fn many_handshakes_of_a_thousand_addresses_fill_a_bounded_table_and_nobody_is_kept_out() {
    let node = lone_node("PEER_TABLE=1500").await;
    let mut liar = Socket::dial(node.port).await.unwrap();
    for round in 0..4 {
        liar.send(&handshake(&dead_addresses(round * 1_000, 1_000))).await;
    }
    let before = {
        liar.status().await;
        node.resident_bytes()
    };
    for round in 4..40 {
        liar.send(&handshake(&dead_addresses(round * 1_000, 1_000))).await;
    }
    let status = liar.status().await;
    assert!(status["known"].as_u64().unwrap() <= 1_501, "{status}");
    assert!(status["counters"]["addresses_without_room"].as_u64().unwrap() > 10_000, "{status}");
    let grown = node.resident_bytes().saturating_sub(before);
    // All of them would take twice as much, and the test is built without optimisation too.
    assert!(grown < 3 * MEBIBYTE, "36,000 addresses for which there was no room took {grown} bytes");
    assert_serves(node.port, 1).await;
}

#[tokio::test]
async fn a_node_finds_itself_under_every_alias_and_lists_none() {
    let node = Embedded::with(Limits::default()).await;
    let port = node.port();
    let aliases = ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "[::]", "LOCALHOST"]
        .map(|host| format!("ws://{host}:{port}"));
    let mut events = node.events();
    let tester = Tester::listen().await;
    let mut link = tester.greet_with(port, &[&[tester.address()][..], &aliases[..]].concat()).await;
    assert_eq!(link.handshake().await, [node.address().to_string(), tester.address()]);
    // The last one is the address by which it goes; nobody need dial that. The third is another
    // form of the first.
    for found in 0..aliases.len() - 2 {
        let address = event(&mut events, &format!("finding itself, after {found} aliases"), |event| match event {
            Event::SelfDialled { address } => Some(address.to_string()),
            Event::PeerUp { peer, .. } if peer.to_string() != tester.address() => panic!("linked to {peer}"),
            _ => None,
        })
        .await;
        assert!(aliases.contains(&address), "{address}");
    }
    let dials = node.counted("dials").await;
    let second = Tester::listen().await;
    let mut link = second.greet_with(port, &[&[second.address()][..], &aliases[..]].concat()).await;
    let told = [node.address().to_string(), second.address(), tester.address()];
    assert_eq!(link.handshake().await, told);
    assert_eq!(node.counted("dials").await, dials + 1, "an alias that is known was dialled again");
}

#[tokio::test]
async fn silent_and_slow_connections_are_closed_in_time_and_a_peer_gets_in_meanwhile() {
    let limits = Limits { upgrade_timeout: Duration::from_secs(2), inbound_links: 100, ..Limits::default() };
    let node = Embedded::with(limits).await;
    let mut connections = tokio::task::JoinSet::new();
    for number in 0..200 {
        let mut raw = Raw::connect(node.port()).await;
        connections.spawn(async move {
            let slow = async {
                for byte in request(1, "").bytes().cycle().take(if number % 2 == 0 { 0 } else { 100_000 }) {
                    // Not a wait for anything: this is what a slow sender is. It goes on until the
                    // node has had enough.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    if !raw.write(&[byte]).await {
                        break;
                    }
                }
            };
            slow.await;
            raw.rest().await
        });
    }
    let peer = Embedded::start(|network| network.known_peer(node.address().clone())).await;
    eventually("the link of a peer", async || match node.status().await.unwrap().connected {
        peers if peers == [peer.address().to_string()] => Ok(()),
        peers => Err(format!("{peers:?}")),
    })
    .await;
    while let Some(connection) = within("the end of all slow connections", connections.join_next()).await {
        connection.unwrap();
    }
    assert_eq!(node.status().await.unwrap().connected, [peer.address().to_string()]);
}

/// Frames that break the protocol, or that carry what is no message, each with the code by which
/// the link is closed.
fn breaches() -> Vec<(&'static str, Vec<u8>, u16)> {
    let text = br#"{"type":"HANDSHAKE","data":[]}"#;
    let nested = |depth: usize| format!(r#"{{"type":"X","data":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
    let announced = |first: u8, length: u64| [&[first, 0xff][..], &length.to_be_bytes(), &[0; 4]].concat();
    let unmasked = [&[0x81, text.len() as u8], &text[..]].concat();
    let fragments = |frames: &[(u8, &[u8])]| frames.iter().flat_map(|(first, part)| masked(*first, part)).collect();
    vec![
        ("a text of 2^62 bytes", announced(0x81, 1 << 62), 1009),
        ("a text of 2^63 bytes", announced(0x81, 1 << 63), 1009),
        ("a text one byte too long, announced", announced(0x81, MESSAGE_BYTES as u64 + 1), 1009),
        ("bytes one too long, announced", announced(0x82, MESSAGE_BYTES as u64 + 1), 1009),
        ("one too long in two fragments", fragments(&[(0x01, &vec![b' '; MESSAGE_BYTES]), (0x80, b" ")]), 1009),
        ("a frame without a mask", unmasked, 1002),
        ("the first reserved bit", masked(0xc1, text), 1002),
        ("the second reserved bit", masked(0xa1, text), 1002),
        ("the third reserved bit", masked(0x91, text), 1002),
        ("a reserved opcode", masked(0x83, text), 1002),
        ("the last reserved opcode", masked(0x87, text), 1002),
        ("a reserved control opcode", masked(0x8b, text), 1002),
        ("a continuation of nothing", masked(0x80, text), 1002),
        ("a new text in the midst of another", fragments(&[(0x01, b"{"), (0x81, text)]), 1002),
        ("a ping in fragments", masked(0x09, b"ping"), 1002),
        ("a ping that is too long", masked(0x89, &[b'x'; 126]), 1002),
        ("half a close code", masked(0x88, b"\x03"), 1002),
        ("bad UTF-8", masked(0x81, b"\"\xff\xfe\""), 1007),
        ("bad UTF-8 at the seam of fragments", fragments(&[(0x01, b"\"\xe2\x82"), (0x80, b"\"")]), 1007),
        ("a surrogate in UTF-8", masked(0x81, b"\"\xed\xa0\x80\""), 1007),
        ("bytes that are no UTF-8", masked(0x82, b"\"\xff\""), 1007),
        ("nothing", masked(0x81, b""), 1007),
        ("broken JSON", masked(0x81, br#"{"type":"HANDSHAKE","data":["#), 1007),
        ("two values", masked(0x81, b"{} {}"), 1007),
        ("JSON with a control character", masked(0x81, b"{\"type\":\"\x01\"}"), 1007),
        ("JSON that is too deep", masked(0x81, nested(64).as_bytes()), 1007),
        ("JSON that is far too deep", masked(0x81, nested(500_000).as_bytes()), 1007),
        ("a zero byte", masked(0x81, b"\0"), 1007),
    ]
}

#[tokio::test]
async fn every_breach_of_the_protocol_has_its_close_code_and_hurts_nobody() {
    let mut node = lone_node("").await;
    let mut bystander = Socket::dial(node.port).await.unwrap();
    let before = node.resident_bytes();
    for (what, bytes, code) in breaches() {
        let mut raw = Raw::upgraded(node.port).await;
        raw.write(&bytes).await;
        let farewell = raw.farewell().await;
        assert_eq!(farewell.as_ref().map(|(code, _)| *code), Some(code), "{what}: {farewell:?}");
        bystander.status().await;
    }
    let grown = node.resident_bytes().saturating_sub(before);
    assert!(grown < 16 * MEBIBYTE, "memory grew by {grown} bytes");
    hostile::throw_everything(node.port).await;
    assert_serves(node.port, 1).await;
    node.assert_alive();
    let faults: Vec<_> = node.said().into_iter().filter(|line| line.contains("fault of this program")).collect();
    assert!(faults.is_empty(), "{faults:?}");
}

#[tokio::test]
async fn what_is_announced_and_never_sent_takes_no_memory() {
    let node = lone_node("").await;
    let before = node.resident_bytes();
    let mut liars = Vec::new();
    for _ in 0..200 {
        let mut raw = Raw::upgraded(node.port).await;
        raw.write(&[&[0x81, 0xff][..], &(MESSAGE_BYTES as u64).to_be_bytes(), &[0; 4], b"{\"type\""].concat()).await;
        liars.push(raw);
    }
    node.status().await.unwrap();
    let grown = node.resident_bytes().saturating_sub(before);
    assert!(grown < 20 * MEBIBYTE, "200 links that announced a mebibyte each took {grown} bytes");
}

#[tokio::test]
async fn endless_fragments_end_at_the_longest_message() {
    let node = lone_node("").await;
    let before = node.resident_bytes();
    let mut raw = Raw::upgraded(node.port).await;
    let mut sent = 0;
    let mut first = 0x01;
    while raw.write(&masked(first, &[b' '; 16 * 1024])).await {
        (first, sent) = (0x00, sent + 16 * 1024);
        assert!(sent < 64 * MEBIBYTE, "it goes on reading");
    }
    // On Windows a reset takes back what was not read yet.
    let code = raw.farewell().await.map(|(code, _)| code);
    assert!(code == Some(1009) || code.is_none() && cfg!(windows), "{code:?}");
    let grown = node.resident_bytes().saturating_sub(before);
    assert!(grown < 8 * MEBIBYTE, "memory grew by {grown} bytes");
}

/// Transactions of 100 KiB, told apart by their numbers.
fn fat(numbers: std::ops::Range<u64>) -> Vec<Value> {
    let fatten = |number| {
        let mut fat = transaction(number);
        fat["filling"] = "x".repeat(100 * 1024).into();
        fat
    };
    numbers.map(fatten).collect()
}

/// Waits for transactions on a link until each of them has come; tells how many came once more.
async fn all(link: &mut Socket, sent: &[Value]) -> usize {
    let mut missing: BTreeSet<_> = sent.iter().map(|sent| sent["hash"].to_string()).collect();
    let mut repeated = 0;
    while !missing.is_empty() {
        let frame = link.frame().await;
        if frame["type"] == "TRANSACTION" {
            repeated += usize::from(!missing.remove(&frame["data"]["hash"].to_string()));
        }
    }
    repeated
}

#[tokio::test]
async fn a_peer_that_reads_late_costs_the_others_nothing_and_misses_nothing() {
    let node = lone_node("QUEUE_BYTES=1048576\nUNSTORED_BYTES=2097152").await;
    let (healthy, lazy) = (Tester::listen().await, Tester::listen_narrow());
    let mut reading = healthy.greet(node.port).await;
    let mut sleeping = lazy.greet(node.port).await;
    sleeping.handshake().await;
    node.linked_to([healthy.address(), lazy.address()]).await;
    let mut client = Socket::dial(node.port).await.unwrap();
    let (warm, sent) = (fat(0..60), fat(60..400));
    for transaction in &warm {
        client.send_text(transaction_frame(transaction)).await;
    }
    all(&mut reading, &warm).await;
    let before = node.resident_bytes();
    for piece in sent.chunks(5) {
        for transaction in piece {
            client.send_text(transaction_frame(transaction)).await;
        }
        assert_eq!(all(&mut reading, piece).await, 0, "what fits into its queue comes once");
    }
    let status = client.status().await;
    assert!(status["counters"]["queues_full"].as_u64().unwrap() > 0, "the lazy one's queue was never full: {status}");
    let grown = node.resident_bytes().saturating_sub(before);
    assert!(grown < 16 * MEBIBYTE, "34 MB of transactions that one peer does not read took {grown} bytes of memory");
    let repeated = all(&mut sleeping, &[warm, sent].concat()).await;
    // Only what waited for the disk when the queue became full, and had no place in the file yet,
    // may come again.
    assert!(repeated * 100 * 1024 <= 4 * MEBIBYTE, "{repeated} came twice");
    client.send_text(transaction_frame(&transaction(1_000))).await;
    assert_eq!(all(&mut sleeping, &[transaction(1_000)]).await, 0, "it is fed no more when it has all");
}

#[tokio::test]
async fn a_peer_that_never_reads_is_given_up() {
    let limits = Limits { queue_bytes: 256 * 1024, write_deadline: Duration::from_millis(500), ..Limits::default() };
    let node = Embedded::with(limits).await;
    let mut events = node.events();
    let (healthy, dead) = (Tester::listen().await, Tester::listen_narrow());
    let mut reading = healthy.greet(node.port()).await;
    let unread = dead.greet(node.port()).await;
    for transaction in &fat(0..100) {
        node.submit(transaction).await.unwrap();
        assert_eq!(all(&mut reading, std::slice::from_ref(transaction)).await, 0);
    }
    let (gone, cause) = event(&mut events, "the end of the dead link", |event| match event {
        Event::PeerDown { peer, cause, .. } => Some((peer.to_string(), cause)),
        _ => None,
    })
    .await;
    assert_eq!(gone, dead.address());
    assert!(matches!(cause, LinkEnd::Stuck(_)), "{cause}");
    drop(unread);
}

#[tokio::test]
async fn two_thousand_connections_that_come_and_go_leave_nothing_behind() {
    let node = lone_node("").await;
    let before = node.descriptors();
    for number in 0..2_000 {
        match number % 4 {
            0 => Raw::connect(node.port).await.reset(),
            1 => {
                let mut raw = Raw::connect(node.port).await;
                raw.write(b"GET / HTTP/1.1\r\n").await;
                raw.reset();
            }
            2 => Raw::upgraded(node.port).await.reset(),
            _ => {
                let mut raw = Raw::upgraded(node.port).await;
                raw.write(&masked(0x81, br#"{"type":"HANDSHAKE","data":[]}"#)).await;
                raw.reset();
            }
        }
    }
    eventually("as few open descriptors as before", async || {
        let open = node.descriptors();
        if open <= before { Ok(()) } else { Err(format!("{open} instead of {before}")) }
    })
    .await;
    assert_serves(node.port, 1).await;
}

#[tokio::test]
async fn connections_that_come_and_go_leave_no_task_behind() {
    let node = Embedded::with(Limits::default()).await;
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    // It is all there once it has served somebody who has left again.
    Socket::dial(node.port()).await.unwrap().status().await;
    let before = tasks();
    for number in 0..300 {
        let mut raw = Raw::upgraded(node.port()).await;
        if number % 2 == 0 {
            raw.write(&masked(0x81, br#"{"type":"STATUS"}"#)).await;
        }
        raw.reset();
    }
    eventually("as few tasks as before", async || {
        let alive = tasks();
        if alive <= before { Ok(()) } else { Err(format!("{alive} instead of {before}")) }
    })
    .await;
}

/// The links between nodes of this host: of each, one end has a port that is listened on. `None` on
/// systems without /proc.
fn links_between(ports: &[u16]) -> Option<usize> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    const ESTABLISHED: &str = "01";
    let tables = ["tcp", "tcp6"].map(|table| std::fs::read_to_string(format!("/proc/net/{table}")).unwrap_or_default());
    let ends = tables.iter().flat_map(|table| table.lines().skip(1)).filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, _, state) = (fields.next()?, fields.next()?, fields.next()?);
        let port = u16::from_str_radix(local.rsplit(':').next()?, 16).ok()?;
        (state == ESTABLISHED).then_some(port)
    });
    Some(ends.filter(|port| ports.contains(port)).count())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_nodes_that_start_at_once_have_one_link_for_each_pair() {
    const NODES: usize = 20;
    let ports: Vec<u16> = (0..NODES).map(|_| free_port()).collect();
    let addresses: Vec<PeerAddress> = ports.iter().map(|port| address(*port).parse().unwrap()).collect();
    let barrier = std::sync::Arc::new(tokio::sync::Barrier::new(NODES));
    let starts = ports.iter().map(|&port| {
        let (barrier, addresses) = (barrier.clone(), addresses.clone());
        tokio::spawn(async move {
            barrier.wait().await;
            let known = move |network| addresses.into_iter().fold(network, meshpool::Network::known_peer);
            Embedded::start(|network| known(network.port(port))).await
        })
    });
    let mut nodes = Vec::new();
    for start in starts.collect::<Vec<_>>() {
        nodes.push(start.await.unwrap());
    }
    let settled = async || {
        eventually("one link for each pair", async || {
            for node in &nodes {
                let status = node.status().await.unwrap();
                if status.connected.len() != NODES - 1 || !status.attempting.is_empty() {
                    return Err(format!("{} is linked to {:?}", status.address, status.connected));
                }
            }
            let links = links_between(&ports);
            let all = links.is_none_or(|links| links == NODES * (NODES - 1) / 2);
            if all { Ok(()) } else { Err(format!("{links:?} links")) }
        })
        .await;
    };
    settled().await;
    let mut events: Vec<_> = nodes.iter().map(|node| node.events()).collect();
    let sent: Vec<_> = (0..NODES as u64).map(transaction).collect();
    for (node, transaction) in nodes.iter().zip(&sent) {
        assert_eq!(node.submit(transaction).await.unwrap().links, NODES - 1);
    }
    for node in &nodes {
        exactly(node, &sent).await;
    }
    settled().await;
    for events in &mut events {
        while let Ok(event) = events.try_recv() {
            assert!(!matches!(event, Event::PeerUp { .. } | Event::PeerDown { .. }), "not stable: {event:?}");
        }
    }
}

#[tokio::test]
async fn web_pages_are_refused() {
    let node = Embedded::with(Limits::default()).await;
    let port = node.port();
    let mut events = node.events();
    for origin in [
        "https://evil.example",
        "https://evil.example/",
        "null",
        "",
        "http://localhost",
        "http://localhost:1",
        &format!("http://evil.example:{port}"),
        &format!("http://localhost.evil.example:{port}"),
    ] {
        for name in ["Origin", "origin", "ORIGIN"] {
            let mut raw = Raw::connect(port).await;
            raw.write(request(port, &format!("{name}: {origin}\r\n")).as_bytes()).await;
            let answer = raw.head().await;
            assert!(answer.starts_with("HTTP/1.1 403 "), "{name}: {origin}: {answer}");
            assert!(!answer.contains("p2p-node:"), "a web page learns who this is: {answer}");
            let body = String::from_utf8(raw.rest().await).unwrap();
            assert!(body.contains("web pages may not open this port"), "{body}");
            assert!(answer.contains(&format!("\r\ncontent-length: {}\r\n", body.len())), "{answer}");
        }
    }
    let line = event(&mut events, "a warning", |event| match event {
        Event::Warning { text } => Some(text),
        _ => None,
    });
    assert!(line.await.contains("127.0.0.1 was refused: it sent the Origin of a web page"));
    // The name of a page that DNS leads here.
    for host in ["evil.example", "localhost.evil.example"] {
        let mut raw = Raw::connect(port).await;
        let rebound = request(port, &format!("Origin: http://{host}:{port}\r\n"));
        raw.write(rebound.replace("Host: localhost", &format!("Host: {host}")).as_bytes()).await;
        assert!(raw.head().await.starts_with("HTTP/1.1 403 "), "{host}");
    }
    assert_serves(port, 1).await;
}

#[tokio::test]
async fn an_origin_with_the_address_that_was_dialled_is_no_web_page() {
    let node = Embedded::with(Limits::default()).await;
    let port = node.port();
    for origin in [
        format!("http://localhost:{port}"),
        format!("http://127.0.0.1:{port}"),
        format!("http://[::1]:{port}"),
        format!("https://LOCALHOST:{port}"),
        address(port),
        "http://localhost/".to_owned(),
    ] {
        let mut raw = Raw::connect(port).await;
        raw.write(request(port, &format!("Origin: {origin}\r\n")).as_bytes()).await;
        let answer = raw.head().await;
        assert!(answer.starts_with("HTTP/1.1 101 ") && answer.contains("p2p-node:"), "{origin}: {answer}");
    }
}

#[tokio::test]
async fn an_upgrade_that_is_not_valid_is_answered_with_what_it_lacks_and_logged_once() {
    let node = Embedded::with(Limits::default()).await;
    let port = node.port();
    let mut events = node.events();
    let valid = request(port, "");
    let replaced = |what: &str, by: &str| {
        assert!(valid.contains(what), "{valid}");
        valid.replace(what, by)
    };
    let key = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
    let version = "Sec-WebSocket-Version: 13\r\n";
    let invalid = [
        (replaced(version, "Sec-WebSocket-Version: 8\r\n"), 426, "'Sec-WebSocket-Version: 13'"),
        (replaced(version, "Sec-WebSocket-Version: 8, 13\r\n"), 426, "'Sec-WebSocket-Version: 13'"),
        (replaced(version, ""), 426, "'Sec-WebSocket-Version: 13'"),
        (replaced(key, ""), 400, "no Sec-WebSocket-Key"),
        (replaced(key, "Sec-WebSocket-Key: c2hvcnQ=\r\n"), 400, "16 bytes"),
        (replaced("HTTP/1.1", "HTTP/1.0"), 400, "proxy_http_version 1.1"),
        (replaced("Connection: Upgrade\r\n", ""), 400, "'Connection: Upgrade'"),
        (replaced("Connection: Upgrade\r\n", "Connection: close\r\n"), 400, "'Connection: Upgrade'"),
        (replaced("Upgrade: websocket", "Upgrade: h2c, websocket"), 400, "'Upgrade: websocket'"),
        // As nginx passes it on without the lines for a WebSocket, by its default and by HTTP/1.1.
        (
            replaced("Connection: Upgrade\r\n", "Connection: close\r\n")
                .replace("Upgrade: websocket\r\n", "")
                .replace("HTTP/1.1", "HTTP/1.0"),
            426,
            "proxy_set_header Upgrade $http_upgrade",
        ),
        (replaced("Upgrade: websocket\r\n", ""), 426, "'Upgrade: websocket'"),
        (replaced("GET ", "POST "), 400, "GET"),
        (replaced("GET ", "POST ") + "a body", 400, "GET"),
        (request(port, "a line without its colon\r\n"), 400, "HTTP/1.1"),
        (request(port, &"X: x\r\n".repeat(200)), 400, "HTTP/1.1"),
        // A subprotocol takes the same way.
        (
            replaced(version, "Sec-WebSocket-Protocol: p2p-node.request\r\nSec-WebSocket-Version: 8\r\n"),
            426,
            "'Sec-WebSocket-Version: 13'",
        ),
    ];
    for (request, status, named) in &invalid {
        let mut raw = Raw::connect(port).await;
        raw.write(request.as_bytes()).await;
        let mut answer = Vec::new();
        within("an orderly end", raw.0.read_to_end(&mut answer)).await.unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{request}: {answer:?}"));
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
        assert!(body.contains(named) && body.ends_with('\n') && body.lines().count() == 1, "{request}: {answer}");
        assert!(head.contains(&format!("\r\nContent-Length: {}", body.len())), "{answer}");
        assert!(head.contains("\r\nContent-Type: text/plain"), "{answer}");
        assert!(!answer.contains("p2p-node:"), "{answer}");
        let of_version = named.contains("Sec-WebSocket-Version");
        assert_eq!(head.contains("\r\nSec-WebSocket-Version: 13\r\n"), of_version, "{answer}");
    }
    let head = {
        let mut raw = Raw::connect(port).await;
        raw.write(replaced("GET ", "HEAD ").as_bytes()).await;
        String::from_utf8(raw.rest().await).unwrap()
    };
    assert!(head.starts_with("HTTP/1.1 400 ") && head.ends_with("\r\n\r\n"), "{head}");
    // It is counted once the connection has ended at both sides.
    let expected = invalid.len() as u64 + 1;
    eventually("the count of all", async || {
        let counted = node.counted("connections_refused").await;
        if counted == expected { Ok(()) } else { Err(format!("{counted} of {expected}")) }
    })
    .await;
    // Each kind once: the address, what is missing, and the remedy.
    let mut lines: Vec<String> = Vec::new();
    while let Ok(event) = events.try_recv() {
        if let Event::Warning { text } = event {
            lines.push(text);
        }
    }
    let of_http_1_0 = lines.iter().filter(|line| line.contains("HTTP/1.0")).collect::<Vec<_>>();
    assert!(
        of_http_1_0.len() == 1
            && of_http_1_0[0].starts_with("a connection from 127.0.0.1 was refused: its WebSocket upgrade")
            && of_http_1_0[0].contains("a proxy must speak HTTP/1.1 to this port"),
        "{lines:#?}"
    );
    let of_version = lines.iter().filter(|line| line.contains("Sec-WebSocket-Version")).count();
    assert!(of_version == 1 && lines.len() == 9, "one for each kind: {lines:#?}");
    assert_serves(port, 1).await;
}

#[tokio::test]
async fn strangers_behind_a_proxy_of_this_host_are_no_programs_of_it() {
    let limits = Limits { inbound_per_ip: 2, ..Limits::default() };
    let proxies = vec!["127.0.0.1".parse().unwrap()];
    let trusting = Embedded::start(|network| network.limits(limits.clone()).trusted_proxies(proxies)).await;
    let other = Embedded::start(|network| network.limits(limits)).await;
    let connect = async |node: &Embedded, headers: &str| {
        let mut raw = Raw::connect(node.port()).await;
        raw.write(request(node.port(), headers).as_bytes()).await;
        assert!(raw.head().await.starts_with("HTTP/1.1 101 "), "{headers}");
        raw
    };
    let is_answered = async |node: &Embedded, mut raw: Raw| {
        let mut events = node.events();
        raw.write(&masked(0x81, br#"{"type":"STATUS","data":{}}"#)).await;
        let refused = event(&mut events, "a refusal", |event| match event {
            Event::PeerFault { text, .. } => text.contains("only clients on this host").then_some(()),
            _ => None,
        });
        tokio::select! {
            first = raw.0.read_u8() => first.unwrap() == 0x81,
            () = refused => false,
        }
    };
    assert!(is_answered(&trusting, connect(&trusting, "").await).await, "a program of this host");
    assert!(is_answered(&other, connect(&other, "").await).await);
    for headers in [
        "X-Forwarded-For: 203.0.113.9\r\n",
        "X-Forwarded-For: 127.0.0.1, 203.0.113.9\r\n",
        "X-Forwarded-For: 203.0.113.9, 127.0.0.1\r\n",
        "X-Forwarded-For: unknown\r\n",
        "X-Forwarded-For: ::1\r\n",
        "X-Real-IP: 203.0.113.9\r\n",
        "Forwarded: for=203.0.113.9\r\n",
        "Via: 1.1 proxy\r\n",
        "X-Forwarded-Proto: https\r\n",
        "CF-Connecting-IP: 203.0.113.9\r\n",
    ] {
        for node in [&trusting, &other] {
            assert!(!is_answered(node, connect(node, headers).await).await, "{headers}");
        }
    }
    // The limit of connections holds for each client, and a claim of its own changes nothing.
    // Two more are only referred to others.
    let mut held = Vec::new();
    for number in 0..5 {
        let claims = format!("X-Forwarded-For: 10.0.0.{number}, 203.0.113.77\r\n");
        held.push(connect(&trusting, &claims).await);
    }
    let (code, reason) = held[4].farewell().await.unwrap();
    assert!(code == 1013 && reason.contains("no room"), "{code} {reason}");
    assert!(is_answered(&trusting, connect(&trusting, "").await).await);
}

#[tokio::test]
async fn other_protocols_on_the_port_are_closed_and_get_no_answer_worth_having() {
    let node = Embedded::with(Limits { upgrade_timeout: Duration::from_secs(1), ..Limits::default() }).await;
    let long = format!("GET / HTTP/1.1\r\n{}\r\n", format!("X: {}\r\n", "x".repeat(1_000)).repeat(20));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "X: x\r\n".repeat(1_000));
    let strangers: [&[u8]; 12] = [
        b"",
        b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03 a TLS hello",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"EHLO localhost\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"{\"type\":\"STATUS\"}\n",
        &[0; 1_000],
        &[0xff; 20_000],
        long.as_bytes(),
        many.as_bytes(),
    ];
    for bytes in strangers {
        let mut raw = Raw::connect(node.port()).await;
        raw.write(bytes).await;
        let answer = raw.rest().await;
        let shown = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || shown.starts_with("HTTP/1.1 4"), "{:?}: {shown}", String::from_utf8_lossy(bytes));
    }
    assert_serves(node.port(), 1).await;
}

#[tokio::test]
async fn a_service_that_is_no_node_is_sent_an_upgrade_request_and_nothing_else() {
    let limits = Limits { dial_timeout: Duration::from_secs(1), ..Limits::default() };
    let endless = "HTTP/1.1 101 Switching Protocols\r\n".to_owned() + &"X: x\r\n".repeat(100_000);
    let wrong_key = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                     Sec-WebSocket-Accept: AAAA\r\n\r\n";
    let answers: [&str; 8] = [
        "",
        "220 mail.example ESMTP\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK",
        "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        wrong_key,
        &endless,
        "\x00\x01\x02 nothing known",
    ];
    for answer in answers {
        let service = Tester::listen().await;
        let known: PeerAddress = service.address().parse().unwrap();
        let node = Embedded::start(|network| network.limits(limits.clone()).known_peer(known.clone())).await;
        let mut events = node.events();
        node.submit(&transaction(1)).await.unwrap();
        let mut raw = Raw(service.accept_raw().await);
        let request = raw.head().await;
        assert!(request.starts_with("GET / HTTP/1.1\r\n") && request.ends_with("\r\n\r\n"), "{request}");
        assert!(!request.contains(&node.id().to_string()), "it says who it is before it knows to whom");
        raw.write(answer.as_bytes()).await;
        let rest = raw.rest().await;
        assert!(rest.is_empty(), "after {answer:.40?} came {:?}", String::from_utf8_lossy(&rest));
        event(&mut events, "a failed dial", |event| match event {
            Event::DialFailed { address, .. } => (address == known).then_some(()),
            Event::PeerUp { peer, .. } => panic!("{peer} counts as a peer"),
            _ => None,
        })
        .await;
    }
}

#[tokio::test]
async fn different_transactions_under_one_hash_or_id_are_all_kept() {
    let first = Embedded::with(Limits::default()).await;
    let second = Embedded::start(|network| network.known_peer(first.address().clone())).await;
    eventually("a link", async || match first.status().await.unwrap().connected.len() {
        1 => Ok(()),
        links => Err(format!("{links} links")),
    })
    .await;
    let mut sent = Vec::new();
    for number in 0..4 {
        sent.push(json!({ "hash": "7", "id": 1, "amount": number }));
        let node = if number % 2 == 0 { &first } else { &second };
        assert!(!node.submit(&sent[number]).await.unwrap().duplicate);
    }
    for node in [&first, &second] {
        eventually("all of them in the file", async || {
            let mut held = node.transactions()?;
            held.sort_by_key(|held| held["amount"].as_u64());
            if held == sent { Ok(()) } else { Err(format!("{held:?}")) }
        })
        .await;
    }
}

#[tokio::test]
async fn what_is_replayed_is_stored_once_also_after_a_restart() {
    let mut node = lone_node("").await;
    let recorder = Tester::listen().await;
    let mut link = recorder.greet(node.port).await;
    link.handshake().await;
    let sent: Vec<_> = (0..20).map(transaction).collect();
    submit(&node, &sent).await;
    let mut frames = Vec::new();
    for _ in &sent {
        frames.push(link.frame().await);
    }
    exactly(&node, &sent).await;
    drop((link, recorder));
    for restarted in [false, true] {
        if restarted {
            node.kill().await;
            node.start_again();
            node.linked_to([]).await;
        }
        let mut replayer = Socket::dial(node.port).await.unwrap();
        for frame in &frames {
            replayer.send(frame).await;
            replayer.send_text(format!("{frame:#}")).await;
            let mut sorted = frame.clone();
            sorted.sort_all_objects();
            sorted["ack"] = true.into();
            replayer.send(&sorted).await;
            assert_eq!(replayer.frame().await["data"]["status"], "duplicate");
            // As a full peer's answer to a comparison, and under another sender's name.
            sorted["session"] = "00000000-0000-4000-8000-000000000000".into();
            sorted["from"] = "plain:ws://127.0.0.1:9".into();
            replayer.send(&sorted).await;
            assert_eq!(replayer.frame().await["data"]["status"], "duplicate");
        }
        exactly(&node, &sent).await;
    }
}

#[tokio::test]
async fn no_control_character_of_a_stranger_reaches_the_log() {
    const ESCAPES: &str = "\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}\r\n\u{8}";
    let service = Tester::listen().await;
    let node = Node::ours_with(free_port(), &[service.port()], "LOG=trace");
    let mut raw = Raw(service.accept_raw().await);
    raw.head().await;
    raw.write(format!("HTTP/1.1 500 {ESCAPES}\r\nX-{ESCAPES}: {ESCAPES}\r\n\r\n").as_bytes()).await;
    raw.rest().await;
    let full = |network: &str| {
        json!({
            "type": "HANDSHAKE", "data": [format!("ws://{ESCAPES}:1"), "ws://127.0.0.1:9"],
            "node": {
                "id": "ab".repeat(32), "session": "00000000-0000-4000-8000-000000000000", "agent": ESCAPES,
                "protocol": 1, "network": network, "address": format!("ws://{ESCAPES}:1"),
            },
        })
    };
    for frame in [
        json!({ "type": ESCAPES, "data": ESCAPES }),
        json!({ "type": "TRANSACTION", "data": ESCAPES }),
        json!({ "type": "TRANSACTION", "data": { ESCAPES: ESCAPES }, "from": ESCAPES }),
        json!({ "type": "ACK", "data": { "id": ESCAPES, "status": ESCAPES, "reason": ESCAPES } }),
        json!({ "type": "SYNC", "data": { "count": ESCAPES } }),
        json!({ "type": "STATUS", "data": { "holds": [ESCAPES] } }),
        full("p2p-node"),
        full(ESCAPES),
    ] {
        let mut socket = Socket::dial(node.port).await.unwrap();
        socket.send(&frame).await;
        let mut farewell = 4_001_u16.to_be_bytes().to_vec();
        farewell.extend(ESCAPES.as_bytes());
        socket.write_raw(&masked(0x88, &farewell)).await;
        socket.farewell().await;
    }
    let mut raw = Raw::upgraded(node.port).await;
    raw.write(&masked(0x81, ESCAPES.as_bytes())).await;
    raw.farewell().await;
    let mut raw = Raw::connect(node.port).await;
    raw.write(format!("GET {ESCAPES} {ESCAPES}\r\nX-{ESCAPES}: {ESCAPES}\r\n\r\n").as_bytes()).await;
    raw.0.shutdown().await.unwrap();
    raw.rest().await;
    assert_serves(node.port, 1).await;
    // A line is written after what it tells of.
    let said = eventually("the lines of such text", async || {
        let said = node.said();
        let has = |part| said.iter().any(|line| line.contains(part));
        if has("unknown type") && has("belongs to the network") { Ok(said) } else { Err(said.join("\n")) }
    })
    .await;
    let raw: Vec<_> = said
        .iter()
        .filter(|line| line.contains(|character: char| character.is_control() || character == '\u{202e}'))
        .collect();
    assert!(raw.is_empty(), "{raw:#?}");
}

#[tokio::test]
async fn copies_that_name_no_origin_do_not_stop_a_link() {
    let node = lone_node("").await;
    let mut peer = ScriptedPeer::link(node.port).await;
    // What came out of a pool is kept without an origin, and so its plain text is that of a copy.
    let synced = &fat(1..2)[0];
    peer.socket.send(&json!({ "type": "TRANSACTION", "data": synced, "session": "any" })).await;
    let mut client = Socket::dial(node.port).await.unwrap();
    while client.status().await["pool"]["count"] != 1 {}
    for _ in 0..8 {
        client.send_text(transaction_frame(synced)).await;
    }
    // What is read at once is answered before its copies are counted.
    client.status().await;
    let status = client.status().await;
    assert_eq!(status["counters"]["transactions_duplicate"], 8, "{status}");
}

/// Each of its GRAFTs breaks a tree, and the node asks its neighbour to send that origin again.
#[tokio::test]
async fn who_breaks_trees_does_not_have_honest_nodes_ban_each_other() {
    let one = lone_node("").await;
    let two = Node::ours(free_port(), &[one.port]);
    let mut client = Socket::dial(one.port).await.unwrap();
    while client.status().await["connected"].as_array().is_none_or(Vec::is_empty) {}
    let links = client.status().await["counters"]["links_opened"].clone();
    let mut sent = Vec::new();
    let mut liars = [ScriptedPeer::link(one.port).await, ScriptedPeer::link(one.port).await];
    for number in 0..600_u64 {
        for (which, liar) in liars.iter_mut().enumerate() {
            let transaction = transaction(2 * number + which as u64);
            let origin = format!("{:064x}", 1 + 2 * number + which as u64);
            liar.socket.send(&json!({ "type": "TRANSACTION", "data": transaction, "from": origin })).await;
            liar.say("GRAFT", json!([origin])).await;
            sent.push(transaction);
        }
    }
    // What the first node sent the second one about each comes before the next transaction.
    exactly(&two, &sent).await;
    let status = client.status().await;
    assert!(status["counters"]["grafts_sent"].as_u64() >= Some(500), "{status}");
    let opened = |status: &Value| status["counters"]["links_opened"].as_u64();
    assert_eq!(opened(&status), links.as_u64().map(|links| links + 2), "the liars' links, and no other: {status}");
}
