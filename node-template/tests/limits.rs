//! Every bound of `protocol/limits.rs` pushed against from outside: up to it all is well, one over
//! it is refused in the way the table says.
//!
//! What needs no socket, or an address beyond loopback, drives the core itself. `inbound_per_ip`,
//! from which loopback is exempt, and the rate of transactions have their tests beside the code.

#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::time::Duration;

use common::core::Core;
use common::embedded::Embedded;
use common::hostile::masked;
use common::raw::{Raw, request};
use common::tester::{Socket, Tester};
use common::{Keeper, eventually, exactly, transaction};
use meshpool::NodeError;
use meshpool::protocol::event::Event;
use meshpool::protocol::limits::{
    ACKS_DUE, ADDRESS_BYTES, HANDSHAKE_ADDRESSES, JSON_DEPTH, Limits, MESSAGE_BYTES, STATUS_IDS, TRANSACTION_BYTES,
};
use meshpool::protocol::{Input, Output};
use serde_json::{Value, json};

/// Sends a client's transaction, and waits for the ACK.
async fn ack(client: &mut Socket, body: &str) -> Value {
    client.send_text(format!(r#"{{"type":"TRANSACTION","data":{body},"ack":true}}"#)).await;
    let frame = client.frame().await;
    assert_eq!(frame["type"], "ACK", "{frame}");
    frame["data"].clone()
}

/// A transaction whose compact JSON has so many bytes.
fn transaction_of(bytes: usize) -> String {
    let empty = r#"{"filling":""}"#.len();
    format!(r#"{{"filling":"{}"}}"#, "x".repeat(bytes - empty))
}

#[tokio::test]
async fn accepted_links_are_bounded_and_a_place_that_is_left_is_given_on() {
    let patient = Limits { client_silence: Duration::from_secs(600), ..Limits::default() };
    let node = Embedded::with(Limits { inbound_links: 3, ..patient }).await;
    let mut sockets = Vec::new();
    for _ in 0..3 {
        let mut socket = Socket::dial(node.port()).await.unwrap();
        socket.status().await;
        sockets.push(socket);
    }
    let (code, reason) = Socket::dial(node.port()).await.unwrap().farewell().await.unwrap();
    assert_eq!((code, reason.as_str()), (1013, "this node has no room for another connection"));
    sockets.pop().unwrap().close().await;
    eventually("the place that was left", async || {
        let mut socket = Socket::dial(node.port()).await?;
        socket.write_raw(&masked(0x81, br#"{"type":"STATUS"}"#)).await;
        match socket.frame_or_end().await {
            Some(frame) if frame.is_text() => Ok(()),
            other => Err(format!("refused: {other:?}")),
        }
    })
    .await;
    assert_eq!(sockets[0].status().await["address"], node.address().to_string(), "those who are in stay in");
}

#[tokio::test]
async fn a_transaction_has_at_most_256_kibibytes() {
    let node = Embedded::with(Limits::default()).await;
    let mut client = Socket::dial(node.port()).await.unwrap();
    assert_eq!(ack(&mut client, &transaction_of(TRANSACTION_BYTES)).await["status"], "stored");
    let refused = ack(&mut client, &transaction_of(TRANSACTION_BYTES + 1)).await;
    assert_eq!(refused["status"], "rejected");
    assert_eq!(refused["reason"], "the transaction has 262145 bytes; at most 262144 are allowed");
    assert_eq!(node.transactions().unwrap().len(), 1);
}

#[tokio::test]
async fn json_nests_at_most_64_levels() {
    let node = Embedded::with(Limits::default()).await;
    let mut client = Socket::dial(node.port()).await.unwrap();
    // The frame is one level, the transaction another.
    let nested = |depth: usize| format!(r#"{{"deep":{}{}}}"#, "[".repeat(depth - 2), "]".repeat(depth - 2));
    assert_eq!(ack(&mut client, &nested(JSON_DEPTH)).await["status"], "stored");
    client.send_text(format!(r#"{{"type":"TRANSACTION","data":{}}}"#, nested(JSON_DEPTH + 1))).await;
    assert_eq!(client.farewell().await.unwrap().0, 1007);
}

#[tokio::test]
async fn a_message_has_at_most_a_mebibyte() {
    let node = Embedded::with(Limits::default()).await;
    let mut client = Socket::dial(node.port()).await.unwrap();
    let message = |bytes: usize| {
        let empty = r#"{"type":"FILLING","data":""}"#.len();
        format!(r#"{{"type":"FILLING","data":"{}"}}"#, "x".repeat(bytes - empty))
    };
    client.send_text(message(MESSAGE_BYTES)).await;
    assert_eq!(client.status().await["counters"]["messages_unknown"], 1);
    let mut raw = Raw::upgraded(node.port()).await;
    raw.write(&masked(0x81, message(MESSAGE_BYTES + 1).as_bytes())).await;
    assert_eq!(raw.farewell().await, Some((1009, "a message that is too long".into())));
}

#[tokio::test]
async fn a_client_that_is_silent_is_sent_away_and_one_that_speaks_is_not() {
    let node = Embedded::with(Limits { client_silence: Duration::from_secs(1), ..Limits::default() }).await;
    let mut talking = Socket::dial(node.port()).await.unwrap();
    let mut others = std::pin::pin!(async {
        let mut silent = Socket::dial(node.port()).await.unwrap();
        let mut quiet = Raw::upgraded(node.port()).await;
        let farewell = silent.farewell().await;
        assert_eq!(farewell, Some((1000, "no message that this node answers came for 1 s".into())));
        assert_eq!(quiet.farewell().await.unwrap().0, 1000, "who never spoke is silent, too");
    });
    loop {
        tokio::select! {
            () = &mut others => break,
            // However long it takes until the others are sent away, this one is not silent.
            _ = talking.status() => {}
        }
    }
    talking.status().await;
}

#[tokio::test]
async fn a_peer_that_answers_no_ping_is_given_up() {
    let limits = Limits {
        ping_interval: Duration::from_millis(100),
        dead_after: Duration::from_millis(300),
        ..Limits::default()
    };
    let node = Embedded::with(limits).await;
    let mut events = node.events();
    let mut dead = Raw::upgraded(node.port()).await;
    dead.write(&masked(0x81, br#"{"type":"HANDSHAKE","data":[]}"#)).await;
    let living = Tester::listen().await;
    let mut link = living.greet(node.port()).await;
    tokio::select! {
        farewell = dead.farewell() => assert_eq!(farewell, Some((1001, "nothing came on this link for 0 s, not even answers to pings".into()))),
        // Reading is what answers its pings.
        frame = async { loop { link.frame_or_end().await.unwrap(); } } => frame,
    }
    while let Ok(event) = events.try_recv() {
        assert!(!matches!(event, Event::PeerDown { .. }), "{event:?}");
    }
}

#[tokio::test]
async fn a_full_queue_loses_nothing_however_small_it_is() {
    let node = Embedded::with(Limits { queue_bytes: 16 * 1024, ..Limits::default() }).await;
    let peer = Tester::listen_narrow();
    let mut link = peer.greet(node.port()).await;
    link.handshake().await;
    let sent: Vec<_> = (0..20_000).map(transaction).collect();
    for transaction in &sent {
        node.submit(transaction).await.unwrap();
    }
    assert!(node.counted("queues_full").await > 0, "the queue was never full");
    let mut missing: std::collections::BTreeSet<_> = sent.iter().map(|sent| sent["hash"].to_string()).collect();
    while !missing.is_empty() {
        missing.remove(&link.frame().await["data"]["hash"].to_string());
    }
}

#[tokio::test]
async fn a_client_that_asks_and_does_not_read_is_sent_away() {
    let node = Embedded::with(Limits { control_bytes: 4 * 1024, ..Limits::default() }).await;
    let mut client = Socket::dial(node.port()).await.unwrap();
    // The answers are more than the system's own buffers take.
    client.write_raw(&masked(0x81, br#"{"type":"STATUS"}"#).repeat(20_000)).await;
    let farewell = client.farewell().await;
    let expected = Some((1008, "you do not read what you asked for".into()));
    // On Windows a reset takes back what was not read yet.
    assert!(farewell == expected || farewell.is_none() && cfg!(windows), "{farewell:?}");
}

#[tokio::test]
async fn a_full_pool_refuses_with_the_reason_and_passes_nothing_on() {
    let node = Embedded::with(Limits { pool_transactions: 3, ..Limits::default() }).await;
    let peer = Tester::listen().await;
    let mut link = peer.greet(node.port()).await;
    link.handshake().await;
    let mut client = Socket::dial(node.port()).await.unwrap();
    for number in 0..3 {
        assert_eq!(ack(&mut client, &transaction(number).to_string()).await["status"], "stored");
        assert_eq!(link.frame().await["data"], transaction(number));
    }
    let full = "the pool is full: it holds 3 transactions, and POOL_TRANSACTIONS allows 3";
    let refused = ack(&mut client, &transaction(3).to_string()).await;
    assert_eq!((&refused["status"], &refused["reason"]), (&json!("rejected"), &json!(full)));
    let refused = node.submit(&transaction(4)).await.unwrap_err();
    assert!(matches!(&refused, NodeError::Refused(reason) if reason == full), "{refused}");
    assert_eq!(ack(&mut client, &transaction(1).to_string()).await["status"], "duplicate", "what it holds it knows");
    // Whatever was sent to the peer has come before the answer to its ping.
    link.write_raw(&masked_as_server(0x89)).await;
    let mut answer = link.frame_or_end().await.unwrap();
    while answer.is_ping() {
        // It asks too, whenever it waited for long.
        answer = link.frame_or_end().await.unwrap();
    }
    assert!(answer.is_pong(), "a refused transaction was passed on: {answer:?}");
    exactly(&node, &[transaction(0), transaction(1), transaction(2)]).await;
}

#[tokio::test]
async fn a_pool_full_of_bytes_refuses_with_the_reason_also_after_a_restart() {
    let limits = Limits { pool_bytes: 1_000, ..Limits::default() };
    let node = Embedded::with(limits.clone()).await;
    let mut client = Socket::dial(node.port()).await.unwrap();
    assert_eq!(ack(&mut client, &transaction_of(1_200)).await["status"], "stored");
    let full = |refused: &Value| {
        refused["status"] == "rejected" && refused["reason"].as_str().unwrap().contains("and POOL_BYTES allows 1000")
    };
    let refused = ack(&mut client, &transaction(1).to_string()).await;
    assert!(full(&refused), "{refused}");
    let folder = node.stop().await;
    let node = Embedded::start_in(folder, |network| network.limits(limits)).await;
    let mut client = Socket::dial(node.port()).await.unwrap();
    let refused = ack(&mut client, &transaction(1).to_string()).await;
    assert!(full(&refused), "{refused}");
}

/// An empty frame as a server sends it.
fn masked_as_server(first: u8) -> [u8; 2] {
    [first, 0]
}

#[tokio::test]
async fn a_handshake_brings_at_most_a_thousand_addresses_of_256_bytes() {
    let node = Embedded::with(Limits { dials_in_flight: 1, ..Limits::default() }).await;
    let mut liar = Socket::dial(node.port()).await.unwrap();
    let addresses: Vec<_> = (0..1_500).map(|n| format!("ws://127.77.{}.{}:9", n / 256, n % 256)).collect();
    liar.send(&json!({ "type": "HANDSHAKE", "data": addresses })).await;
    let status = liar.status().await;
    assert_eq!(status["known"], HANDSHAKE_ADDRESSES);
    assert_eq!(status["counters"]["addresses_dropped"], 500);
    let long = |length: usize| format!("ws://127.78.0.1:{:0>1$}", 9, length - "ws://127.78.0.1:".len());
    liar.send(&json!({ "type": "HANDSHAKE", "data": [long(ADDRESS_BYTES), long(ADDRESS_BYTES + 1)] })).await;
    assert_eq!(liar.status().await["counters"]["addresses_dropped"], 501);
}

#[tokio::test]
async fn dials_under_way_are_bounded() {
    let limits = Limits { dials_in_flight: 4, dial_timeout: Duration::from_secs(60), ..Limits::default() };
    let node = Embedded::with(limits).await;
    let mut silent = Vec::new();
    for _ in 0..10 {
        silent.push(Tester::listen().await);
    }
    let addresses: Vec<_> = silent.iter().map(Tester::address).collect();
    let mut liar = Socket::dial(node.port()).await.unwrap();
    liar.send(&json!({ "type": "HANDSHAKE", "data": addresses })).await;
    eventually("four dials", async || match node.status().await.unwrap().attempting.len() {
        4 => Ok(()),
        dials => Err(format!("{dials} dials")),
    })
    .await;
    assert_eq!(node.counted("dials").await, 4);
    // Each that is done makes room for one more.
    for (tester, dials) in silent[..4].iter().zip(5..) {
        drop(tester.accept_raw().await);
        eventually("one more dial", async || match node.counted("dials").await {
            counted if counted == dials => Ok(()),
            counted => Err(format!("{counted} instead of {dials}")),
        })
        .await;
        assert!(node.status().await.unwrap().attempting.len() <= 4);
    }
}

#[tokio::test]
async fn an_upgrade_request_has_at_most_8_kibibytes() {
    let node = Embedded::with(Limits::default()).await;
    let with = |filling: usize| request(node.port(), &format!("X: {}\r\n", "x".repeat(filling)));
    let most = Limits::default().upgrade_bytes - with(0).len();
    let mut raw = Raw::connect(node.port()).await;
    raw.write(with(most).as_bytes()).await;
    assert!(raw.head().await.starts_with("HTTP/1.1 101 "));
    let mut raw = Raw::connect(node.port()).await;
    raw.write(with(most + 1).as_bytes()).await;
    assert_eq!(raw.head().await, "");
}

#[tokio::test]
async fn one_status_asks_for_at_most_a_thousand_identities() {
    let node = Embedded::with(Limits::default()).await;
    let known = node.submit(&transaction(1)).await.unwrap();
    let id = known.id.to_string();
    known.stored().await.unwrap();
    let mut client = Socket::dial(node.port()).await.unwrap();
    client.send(&json!({ "type": "STATUS", "data": { "holds": vec![id; STATUS_IDS + 1] } })).await;
    assert_eq!(client.frame().await["data"]["held"], STATUS_IDS);
}

#[tokio::test]
async fn a_link_may_bring_fifteen_messages_that_break_the_rules_and_no_more() {
    let node = Embedded::with(Limits::default()).await;
    let mut socket = Socket::dial(node.port()).await.unwrap();
    for _ in 0..15 {
        socket.send(&json!({ "type": "HANDSHAKE", "data": 7 })).await;
    }
    assert_eq!(socket.status().await["counters"]["frames_malformed"], 15);
    socket.send(&json!([])).await;
    assert_eq!(socket.farewell().await, Some((1008, "too many messages that break the rules".into())));
}

/// Counts dials, and lets each fail at once.
fn dials(core: &mut Core, outputs: Vec<Output>) -> Vec<String> {
    let mut dialled = Vec::new();
    let mut pending = outputs;
    while let Some(output) = pending.pop() {
        if let Output::Dial { address, sources, .. } = output {
            let (allowed, more) = core.dial(address.clone(), &sources);
            dialled.extend(allowed.then(|| address.to_string()));
            pending.extend(more);
        }
    }
    dialled
}

fn dials_within(core: &mut Core, time: Duration) -> Vec<String> {
    let mut dialled = Vec::new();
    for _ in 0..time.as_millis() / 100 {
        let outputs = core.pass(Duration::from_millis(100));
        dialled.extend(dials(core, outputs));
    }
    dialled
}

#[test]
fn one_peers_word_brings_16_dials_a_second_at_first_and_then_one() {
    let mut core = Core::new(Limits::default());
    let link = core.link("203.0.113.7");
    let addresses: Vec<_> = (0..200).map(|n| format!("ws://192.0.2.{n}:4001")).collect();
    let outputs = core.receive(link, &json!({ "type": "HANDSHAKE", "data": addresses }));
    let mut first = dials(&mut core, outputs);
    first.extend(dials_within(&mut core, Duration::from_millis(500)));
    let distinct = |dialled: &[String]| dialled.iter().collect::<std::collections::BTreeSet<_>>().len();
    assert_eq!(distinct(&first), 16);
    first.extend(dials_within(&mut core, Duration::from_secs(2)));
    // Those that failed are dialled again, and count as well.
    assert!((32..=34).contains(&distinct(&first)), "{first:?}");
    let later = dials_within(&mut core, Duration::from_secs(60));
    let all = distinct(&[first, later].concat());
    assert!((90..=95).contains(&all), "32 at first and 60 in a minute, not {all}");
}

#[test]
fn one_host_is_dialled_at_most_four_times_in_ten_seconds_on_the_word_of_one_address_group() {
    // Sixteen links of one liar; all names stand for one address, with the address itself.
    let mut core = Core::new(Limits::default());
    for liar in 0..16 {
        let link = core.link(&format!("2001:db8:1:1::{liar}"));
        let name = |n| if n % 2 == 0 { format!("victim-{liar}-{n}.example") } else { "198.51.100.200".into() };
        let addresses: Vec<_> = (0..20).map(|n| format!("ws://{}:{}", name(n), 1_000 + liar * 20 + n)).collect();
        let outputs = core.receive(link, &json!({ "type": "HANDSHAKE", "data": addresses }));
        assert!(dials(&mut core, outputs).is_empty(), "a dial waits for its timer");
    }
    let step = Duration::from_millis(100);
    let steps = (0..600).flat_map(|number| vec![number * step; dials_within(&mut core, step).len()]);
    let times: Vec<_> = steps.collect();
    assert!((12..=28).contains(&times.len()), "four in each ten seconds of a minute, not {times:?}");
    for five in times.windows(5) {
        assert!(five[4] - five[0] >= Duration::from_secs(10) - step, "{five:?}");
    }
    assert!(core.protocol.counters().dials_put_off > 0);
}

#[test]
fn the_word_of_others_never_shortens_a_back_off() {
    let mut core = Core::new(Limits::default());
    let gossip = json!({ "type": "HANDSHAKE", "data": ["ws://203.0.113.7:4001", "ws://192.0.2.1:4001", "ws://203.0.113.7:4002"] });
    let link = core.link("203.0.113.7");
    core.receive(link, &gossip);
    let quiet = dials_within(&mut core, Duration::from_secs(120));
    let to = |dialled: &[String]| dialled.iter().filter(|address| address.contains("192.0.2.1")).count();
    // The same again, while it is named ten times a second, on links that come and go.
    let mut core = Core::new(Limits::default());
    let mut busy = Vec::new();
    for _ in 0..1_200 {
        let link = core.link("203.0.113.7");
        core.receive(link, &gossip);
        core.tell(Input::LinkClosed { link, cause: "it comes and goes".into() });
        busy.extend(dials_within(&mut core, Duration::from_millis(100)));
    }
    // One more in each minute, once it was forgotten.
    assert!(to(&busy) <= to(&quiet) + 3, "{} dials instead of {}", to(&busy), to(&quiet));
}

#[test]
fn loopback_addresses_are_taken_from_loopback_alone() {
    let mut core = Core::new(Limits::default());
    let told = json!({ "type": "HANDSHAKE", "data": ["ws://localhost:22", "ws://10.0.0.1:22", "ws://192.0.2.1:4001"] });
    for (remote, dialled) in [("203.0.113.7", 1), ("10.9.9.9", 2), ("127.0.0.1", 3)] {
        let link = core.link(remote);
        let outputs = core.receive(link, &told);
        let mut known = dials(&mut core, outputs);
        known.extend(dials_within(&mut core, Duration::from_millis(100)));
        assert_eq!(core.protocol.status(core.now, &[]).known, dialled, "{remote}: {known:?}");
    }
    assert_eq!(core.protocol.counters().addresses_out_of_scope, 3);
}

#[test]
fn gossip_that_fills_the_table_keeps_nobody_out_who_announces_itself() {
    let mut core = Core::new(Limits { peer_table: 40, dials_in_flight: 100, ..Limits::default() });
    let liar = core.link("203.0.113.7");
    let addresses: Vec<_> = (0..100).map(|n| format!("ws://192.0.2.{n}:4001")).collect();
    core.receive(liar, &json!({ "type": "HANDSHAKE", "data": addresses }));
    // These dials hang, the others wait for their time.
    core.pass(Duration::from_millis(10));
    for honest in ["ws://198.51.100.7:4001", "ws://198.51.100.8:4001"] {
        let link = core.link("198.51.100.7");
        core.receive(link, &json!({ "type": "HANDSHAKE", "data": [honest, "ws://198.51.100.1:4001"] }));
        let outputs = core.pass(Duration::from_millis(10));
        let dialled = |output: &Output| matches!(output, Output::Dial { address, .. } if address.to_string() == honest);
        assert!(outputs.iter().any(dialled), "{honest} said hello and is not dialled: {outputs:?}");
        assert_eq!(core.protocol.status(core.now, &[]).known, 40, "the table is bounded all the same");
    }
}

#[test]
fn one_handshake_displaces_few_addresses_from_a_full_table() {
    let mut core = Core::new(Limits { peer_table: 200, gossip_burst: 10, ..Limits::default() });
    let link = core.link("127.0.0.1");
    let named = |from: u8| (0..200).map(|n| format!("ws://127.0.{from}.{n}:9")).collect::<Vec<_>>();
    core.receive(link, &json!({ "type": "HANDSHAKE", "data": named(1) }));
    // Each of them has failed, so that it may go.
    assert!(dials_within(&mut core, Duration::from_secs(15)).len() >= 200);
    // To find the one that has to go costs a look at all of them: too much to be done for each that
    // a stranger names.
    core.receive(link, &json!({ "type": "HANDSHAKE", "data": named(2) }));
    // The first and the last count as its own.
    assert_eq!(core.protocol.counters().addresses_without_room, 200 - 10 - 2);
}

#[test]
fn asking_again_and_again_for_an_ack_that_the_disk_holds_up_takes_no_memory() {
    let mut core = Core::new(Limits::default());
    let link = core.link("127.0.0.1");
    let frame = json!({ "type": "TRANSACTION", "data": { "n": 1 }, "ack": true });
    let mut closed = 0;
    for asked in 0..100_000 {
        for output in core.receive(link, &frame) {
            if let Output::Close { code, .. } = output {
                assert_eq!((code, asked), (1008, ACKS_DUE));
                closed += 1;
            }
        }
    }
    assert_eq!(closed, 1, "it may ask without end");
}

#[test]
fn a_link_that_was_not_read_is_not_taken_for_a_silent_one() {
    let limits = Limits::default();
    let mut core = Core::new(limits.clone());
    let held_up = core.link("198.51.100.2");
    let closed = |outputs: Vec<Output>| outputs.iter().any(|output| matches!(output, Output::Close { .. }));
    for link in [Some(held_up), None] {
        assert!(!closed(core.pass(limits.client_silence * 4 / 5)));
        core.tell(Input::ReadsPaused { link });
    }
    assert!(!closed(core.pass(limits.client_silence * 4 / 5)), "it was excused");
    assert!(closed(core.pass(limits.client_silence)), "and then it was silent");
}
