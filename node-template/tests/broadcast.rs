//! Texts to everybody, over real sockets: each node is told once, also who comes back, and a node
//! of the exercise is left alone.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use common::embedded::{Embedded, event};
use common::eventually;
use common::node::address;
use common::tester::{Socket, Tester};
use meshpool::protocol::event::Event;
use meshpool::protocol::limits::{BROADCAST_BYTES, Limits};
use meshpool::protocol::wire::AckStatus;
use meshpool::{Client, Events, NodeError, TryRecvError};
use serde_json::json;

async fn beside(other: &Embedded) -> Embedded {
    Embedded::start(|network| network.known_peer(other.address().clone())).await
}

/// Waits until a node has so many links.
async fn linked(node: &Embedded, links: usize) {
    eventually("links", async || {
        let connected = node.status().await.unwrap().connected;
        if connected.len() == links { Ok(()) } else { Err(format!("{connected:?}")) }
    })
    .await;
}

/// The next text that a node is told.
async fn text(events: &mut Events) -> String {
    event(events, "a broadcast", |event| match event {
        Event::Broadcast { broadcast, .. } => Some(broadcast.message.to_string()),
        _ => None,
    })
    .await
}

/// The texts that a node was told until now.
fn texts_until_now(events: &mut Events) -> Vec<String> {
    let mut texts = Vec::new();
    loop {
        match events.try_recv() {
            Ok(Event::Broadcast { broadcast, .. }) => texts.push(broadcast.message.to_string()),
            Ok(_) => {}
            Err(TryRecvError::Empty) => return texts,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn a_text_reaches_every_node_once_with_its_sender_and_time() {
    let one = Embedded::with(Limits::default()).await;
    let mut own = one.events();
    let nobody = one.broadcast("is anybody there?").await.unwrap();
    assert_eq!(nobody.links, 0);
    let Event::Broadcast { peer: None, links: 0, .. } = own.recv().await.unwrap() else { panic!("not of our own") };
    let (two, three) = (beside(&one).await, beside(&one).await);
    for node in [&one, &two, &three] {
        linked(node, 2).await;
    }
    let mut events = [two.events(), three.events()];
    let told = one.broadcast("hé\u{1b}[31m\n").await.unwrap();
    assert_eq!(told.links, 2);
    for events in &mut events {
        // What was said before they came they may get just now.
        let (broadcast, sender) = event(events, "the broadcast", |event| match event {
            Event::Broadcast { broadcast, sender, .. } if broadcast.id == told.id => Some((broadcast, sender)),
            _ => None,
        })
        .await;
        assert_eq!(&*broadcast.message, "hé\u{1b}[31m\n", "unchanged: a program that shows it makes it harmless");
        assert_eq!((sender.node, sender.address.as_ref()), (Some(one.id()), Some(one.address())));
        assert!(broadcast.time > 1.7e9 && broadcast.time < 1e10, "{}", broadcast.time);
    }
    for (one, events) in [&two, &three].into_iter().zip(&mut events) {
        one.broadcast("mine").await.unwrap();
        text(events).await;
    }
    for error in [one.broadcast("").await, one.broadcast("x".repeat(BROADCAST_BYTES + 1)).await] {
        assert!(matches!(error, Err(NodeError::InvalidBroadcast(_))), "{error:?}");
    }
    one.stop().await;
    two.stop().await;
    three.stop().await;
}

#[tokio::test]
async fn who_was_away_is_told_and_nobody_is_told_twice() {
    let one = Embedded::with(Limits::default()).await;
    let two = beside(&one).await;
    linked(&two, 1).await;
    let mut seen_by_two = two.events();
    for n in 0..50 {
        one.broadcast(format!("before {n}")).await.unwrap();
    }
    for n in 0..50 {
        assert_eq!(text(&mut seen_by_two).await, format!("before {n}"));
    }
    // The sender is gone for ever; two has kept what it said.
    let folder = one.stop().await;
    let three = beside(&two).await;
    let mut seen_by_three = three.events();
    let mut told: Vec<String> = Vec::new();
    while told.len() < 50 {
        told.push(text(&mut seen_by_three).await);
    }
    told.sort_by_key(|text| text[7..].parse::<u32>().unwrap());
    assert_eq!(told, (0..50).map(|n| format!("before {n}")).collect::<Vec<_>>());
    // The sender comes back, to both, and says one thing more. Nobody is told again, and it not of
    // what it said itself.
    let one = Embedded::start_in(folder, |network| network.known_peer(two.address().clone())).await;
    let mut seen_by_one = one.events();
    linked(&one, 2).await;
    eventually("its own words", async || {
        let came = one.counted("broadcasts_synced").await;
        if came == 50 { Ok(()) } else { Err(came.to_string()) }
    })
    .await;
    one.broadcast("after").await.unwrap();
    assert_eq!(text(&mut seen_by_two).await, "after");
    assert_eq!(text(&mut seen_by_three).await, "after");
    assert_eq!(texts_until_now(&mut seen_by_one), ["after"]);
    for events in [&mut seen_by_two, &mut seen_by_three] {
        assert!(texts_until_now(events).is_empty());
    }
}

#[tokio::test]
async fn a_client_broadcasts_and_is_told_on_how_many_links() {
    let one = Embedded::with(Limits::default()).await;
    let mut events = one.events();
    let mut client = Client::connect(one.address()).await.unwrap();
    let ack = client.broadcast("nobody").await.unwrap();
    assert_eq!((ack.status, ack.links), (AckStatus::Sent, 0));
    let two = beside(&one).await;
    linked(&one, 1).await;
    let mut seen_by_two = two.events();
    let mut client = Client::connect(one.address()).await.unwrap();
    let ack = client.broadcast("hello").await.unwrap();
    assert_eq!((ack.status, ack.links, ack.id.len()), (AckStatus::Sent, 1, 64));
    client.close().await;
    assert_eq!([text(&mut events).await, text(&mut events).await], ["nobody", "hello"]);
    while text(&mut seen_by_two).await != "hello" {}
}

#[tokio::test]
async fn a_node_of_the_exercise_gets_no_broadcast_and_no_announcement() {
    let tester = Tester::listen().await;
    let known = tester.address().parse().unwrap();
    let one = Embedded::start(|network| network.known_peer(known)).await;
    let mut plain = tester.accept().await;
    let two = beside(&one).await;
    // The exercise's node and the full peer.
    linked(&one, 2).await;
    one.broadcast("not for it").await.unwrap();
    let mut seen_by_two = two.events();
    one.broadcast("nor this").await.unwrap();
    while text(&mut seen_by_two).await != "nor this" {}
    one.submit(&json!({ "n": 1 })).await.unwrap();
    loop {
        let frame = plain.frame().await;
        match frame["type"].as_str().unwrap() {
            "HANDSHAKE" => {}
            "TRANSACTION" => break,
            other => panic!("a node of the exercise was sent {other}"),
        }
    }
    // And what it says is no broadcast.
    let mut speaks = Socket::dial(one.port()).await.unwrap();
    speaks.send_text(json!({ "type": "HANDSHAKE", "data": [address(9)] }).to_string()).await;
    let frame =
        json!({ "type": "BROADCAST", "data": { "id": "ab".repeat(32), "title": "", "message": "x", "time": 1 } });
    speaks.send_text(frame.to_string()).await;
    speaks.send_text(json!({ "type": "TRANSACTION", "data": { "n": 2 } }).to_string()).await;
    let mut own = one.events();
    event(&mut own, "its transaction", |event| match event {
        Event::Transaction { transaction, .. } => (transaction.body() == r#"{"n":2}"#).then_some(()),
        Event::Broadcast { broadcast, .. } => panic!("{broadcast:?}"),
        _ => None,
    })
    .await;
}
