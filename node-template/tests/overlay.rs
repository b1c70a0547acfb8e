//! Nodes with a cap on their links, on real sockets: in any order of starting all get their links,
//! everything reaches all nodes, and no third party is harmed.

#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::time::Duration;

use common::embedded::{Embedded, event};
use common::node::free_port;
use common::tester::{Socket, Tester};
use common::{eventually, exactly, in_time, transaction};
use meshpool::protocol::address::PeerAddress;
use meshpool::protocol::event::Event;
use meshpool::protocol::wire::PeerState;
use serde_json::{Value, json};

async fn capped(most: u32, known: &[&Embedded]) -> Embedded {
    let known: Vec<_> = known.iter().map(|node| node.address().clone()).collect();
    Embedded::start(|network| known.into_iter().fold(network.max_peers(most), |network, peer| network.known_peer(peer)))
        .await
}

fn dead() -> PeerAddress {
    PeerAddress::new("localhost", free_port()).unwrap()
}

/// How long a network may take until each node has its links, as the simulator's stories allow it:
/// mostly it is a second, but a node that is left with one link asks the others again, each once in
/// ten seconds.
const SETTLE: Duration = Duration::from_secs(60);

/// Waits until each node has at least `least` links, and checks that none has more than `most`.
async fn places(nodes: &[&Embedded], least: usize, most: usize) {
    for node in nodes {
        in_time(format!("the links of {}", node.address()), SETTLE, async || {
            let links = node.status().await.unwrap().connected;
            assert!(links.len() <= most, "{} has {links:?}, {most} are allowed", node.address());
            if links.len() >= least { Ok(()) } else { Err(format!("{links:?}")) }
        })
        .await;
    }
}

/// A full peer that says what a test tells it to: its HANDSHAKE, and a JOIN.
async fn stranger(node: u16, number: u8, address: &str, join: Value) -> Socket {
    let mut socket = Socket::dial(node).await.unwrap();
    let id = format!("{number:02x}").repeat(32);
    let session = format!("{number:02x}00c5d9-1c5b-4a0e-8d43-0f1f3b1c2a77");
    let about = json!({"id": id, "session": session, "agent": "stranger", "protocol": 1, "network": "p2p-node",
        "address": address, "maxPeers": 4, "features": []});
    socket.send(&json!({"type": "HANDSHAKE", "data": [address], "node": about})).await;
    socket.send(&json!({"type": "JOIN", "data": join})).await;
    socket
}

#[tokio::test]
async fn more_nodes_than_places_all_have_two_links_and_every_transaction() {
    let first = capped(3, &[]).await;
    let mut nodes = vec![first];
    for _ in 0..6 {
        nodes.push(capped(3, &[&nodes[0]]).await);
    }
    let all: Vec<&Embedded> = nodes.iter().collect();
    places(&all, 2, 3).await;
    for (number, node) in nodes.iter().enumerate() {
        node.submit(&transaction(number as u64)).await.unwrap().stored().await.unwrap();
    }
    let sent: Vec<Value> = (0..nodes.len() as u64).map(transaction).collect();
    for node in &nodes {
        exactly(node, &sent).await;
    }
    places(&all, 2, 3).await;
}

#[tokio::test]
async fn whoever_starts_before_the_node_that_it_knows_gets_its_links_too() {
    let port = free_port();
    let first = PeerAddress::new("localhost", port).unwrap();
    let mut nodes = Vec::new();
    for _ in 0..3 {
        nodes.push(Embedded::start(|network| network.max_peers(3).known_peer(first.clone())).await);
    }
    nodes.push(Embedded::start(|network| network.max_peers(3).port(port)).await);
    places(&nodes.iter().collect::<Vec<_>>(), 2, 3).await;
}

#[tokio::test]
async fn a_full_node_names_others_and_closes_with_1013_and_its_table_says_so_at_the_other_side() {
    let (one, other) = (capped(1, &[]).await, Embedded::start(|network| network.max_peers(1)).await);
    let third = capped(1, &[&one]).await;
    places(&[&one, &third], 1, 1).await;
    let mut told = one.events();
    let mut guest = stranger(one.port(), 7, "ws://localhost:9", json!({})).await;
    let declined = guest.frame().await;
    assert_eq!((&declined["type"], &declined["data"]), (&json!("DECLINED"), &json!([third.address().to_string()])));
    assert!(declined["retryAfter"].as_u64().unwrap() >= 5, "{declined}");
    assert_eq!(guest.farewell().await.unwrap().0, 1013);
    let others = event(&mut told, "the redirect", |event| match event {
        Event::Declined { others, .. } => Some(others),
        _ => None,
    });
    assert_eq!(others.await, 1);
    other.stop().await;
    let late = capped(1, &[&one]).await;
    eventually("the row of the full node", async || {
        let rows = late.status().await.unwrap().peers;
        let row = rows.iter().find(|row| row.address == one.address().to_string()).cloned();
        match row {
            Some(row) if row.state == PeerState::Declined && row.seconds.is_some() && row.known => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn a_node_of_the_exercise_is_dialled_once_told_of_others_and_closed_with_1013() {
    let one = capped(1, &[]).await;
    let other = capped(1, &[&one]).await;
    places(&[&one, &other], 1, 1).await;
    let plain = Tester::listen().await;
    let mut dialled = plain.greet(one.port()).await;
    assert_eq!(dialled.handshake().await, [other.address().to_string()], "the others, without the full one itself");
    assert_eq!(dialled.farewell().await.unwrap().0, 1013);
    // Again at once: it is not dialled a second time, and its own socket is closed.
    let mut again = Socket::dial(one.port()).await.unwrap();
    again.send(&json!({"type": "HANDSHAKE", "data": [plain.address()]})).await;
    assert_eq!(again.farewell().await.unwrap().0, 1013);
    assert!(!plain.is_dialled());
    assert_eq!(one.status().await.unwrap().connected, [other.address().to_string()]);
}

#[tokio::test]
async fn a_node_of_the_exercise_takes_one_place_where_there_is_one() {
    let node = capped(2, &[]).await;
    let plain = Tester::listen().await;
    let mut dialled = plain.greet(node.port()).await;
    assert_eq!(dialled.handshake().await, [node.address().to_string(), plain.address()]);
    assert_eq!(node.status().await.unwrap().connected, [plain.address()]);
    let mut own = Socket::dial(node.port()).await.unwrap();
    own.send(&json!({"type": "HANDSHAKE", "data": [plain.address()]})).await;
    own.send(&json!({"type": "TRANSACTION", "data": transaction(1)})).await;
    exactly(&node, &[transaction(1)]).await;
    let friend = capped(2, &[&node]).await;
    places(&[&node], 2, 2).await;
    exactly(&friend, &[transaction(1)]).await;
}

#[tokio::test]
async fn genesis_names_a_node_and_may_die_afterwards() {
    let genesis = capped(3, &[]).await;
    let second = Embedded::start(|network| network.max_peers(3).genesis(genesis.address().clone())).await;
    places(&[&second, &genesis], 1, 3).await;
    let third = Embedded::start(|network| network.max_peers(3).genesis(genesis.address().clone())).await;
    let mut told = third.events();
    places(&[&genesis, &second, &third], 2, 3).await;
    genesis.stop().await;
    second.submit(&transaction(1)).await.unwrap();
    exactly(&third, &[transaction(1)]).await;
    // The next one finds genesis down: the peers of its last run serve.
    let folder = third.stop().await;
    let kept: Vec<String> =
        serde_json::from_str(&std::fs::read_to_string(folder.path().join("peers.json")).unwrap()).unwrap();
    assert!(kept.contains(&second.address().to_string()), "{kept:?}");
    let down = dead();
    let third = Embedded::start_in(folder, |network| network.max_peers(3).genesis(down)).await;
    places(&[&third], 1, 3).await;
    assert!(told.recv().await.is_ok(), "the events of the first run were there to be read");
}

#[tokio::test]
async fn a_genesis_node_of_another_network_is_no_end_known_peers_serve() {
    let (foreign, friend) = (Embedded::start(|network| network.name("other")).await, capped(3, &[]).await);
    let node = Embedded::start(|network| {
        network.max_peers(3).genesis(foreign.address().clone()).known_peer(friend.address().clone())
    });
    let node = node.await;
    places(&[&node], 1, 3).await;
    assert_eq!(node.status().await.unwrap().connected, [friend.address().to_string()]);
}

#[tokio::test]
async fn genesis_joins_a_full_mesh_as_well() {
    let genesis = Embedded::start(|network| network).await;
    let mut nodes = vec![genesis];
    for _ in 0..3 {
        let genesis = nodes[0].address().clone();
        nodes.push(Embedded::start(|network| network.genesis(genesis)).await);
    }
    places(&nodes.iter().collect::<Vec<_>>(), 3, 3).await;
}

#[tokio::test]
async fn a_node_without_a_cap_gets_a_place_among_full_ones() {
    let one = capped(2, &[]).await;
    let nodes = [&one, &capped(2, &[&one]).await, &capped(2, &[&one]).await];
    places(&nodes, 2, 2).await;
    let mesh = Embedded::start(|network| network.known_peer(one.address().clone())).await;
    places(&[&mesh], 1, 3).await;
    mesh.submit(&transaction(1)).await.unwrap();
    for node in nodes {
        exactly(node, &[transaction(1)]).await;
    }
}

#[tokio::test]
async fn answers_that_nobody_asked_for_change_nothing() {
    let node = capped(3, &[]).await;
    // With two links it asks nobody for more.
    let friends = [&capped(3, &[&node]).await, &capped(3, &[&node]).await];
    places(&[&node], 2, 3).await;
    let plain = Tester::listen().await;
    let mut liar = stranger(node.port(), 9, &plain.address(), json!({})).await;
    plain.accept_raw().await;
    let hello = liar.frame().await;
    assert_eq!(hello["type"], "HANDSHAKE", "{hello}");
    let trap = Tester::listen().await;
    liar.send(&json!({"type": "PEERS", "data": [trap.address()], "free": 4_000_000_000_u32})).await;
    liar.status().await;
    assert!(!trap.is_dialled());
    places(&friends, 2, 3).await;
    let status = node.status().await.unwrap();
    assert_eq!(status.counters["answers_unsolicited"], 1);
    assert!(!status.peers.iter().any(|row| row.address == trap.address()), "{:?}", status.peers);
    // A flood of them ends the link.
    for _ in 0..16 {
        liar.send(&json!({"type": "PEERS", "data": []})).await;
    }
    assert_eq!(liar.farewell().await.unwrap().0, 1008);
}

#[tokio::test]
async fn who_insists_from_an_address_that_is_not_its_own_takes_nobodys_place() {
    let one = capped(1, &[]).await;
    let other = capped(1, &[&one]).await;
    places(&[&one, &other], 1, 1).await;
    for number in 0..3 {
        let nobody = dead().to_string();
        let mut liar = stranger(one.port(), 20 + number, &nobody, json!({"insist": true})).await;
        assert_eq!(liar.frame().await["type"], "DECLINED");
        assert_eq!(liar.farewell().await.unwrap().0, 1013);
    }
    assert_eq!(one.status().await.unwrap().connected, [other.address().to_string()]);
    assert_eq!(one.counted("slots_swapped").await, 0);
}
