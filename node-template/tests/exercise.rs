//! The exercise's official tests, acted out against real node folders: three nodes, and testers
//! that behave as those tests do.

#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use common::node::{Node, address, free_port, full_mesh};
use common::tester::{Socket, Tester};
use common::{exactly, submit, transaction, transaction_frame};
use serde_json::json;
use tokio::time::Instant;

/// The exercise's own layout: every folder knows the first and the third node, so the second is
/// only ever learned from its own dial.
fn three_nodes() -> Vec<Node> {
    let ports = [free_port(), free_port(), free_port()];
    ports.iter().map(|&port| Node::ours(port, &[ports[0], ports[2]])).collect()
}

async fn mesh_of_three() -> Vec<Node> {
    let nodes = three_nodes();
    full_mesh(&nodes).await;
    nodes
}

/// A node that nobody else knows, and that listens.
async fn lone_node() -> Node {
    let port = free_port();
    let node = Node::ours(port, &[port]);
    node.linked_to([]).await;
    node
}

/// Fails unless exactly these addresses were told, each once.
fn assert_told(told: &[String], expected: impl IntoIterator<Item = String>) {
    let set: BTreeSet<_> = told.iter().cloned().collect();
    assert_eq!(set.len(), told.len(), "an address is told twice: {told:?}");
    assert_eq!(set, expected.into_iter().collect(), "told on the left, due on the right");
}

#[tokio::test]
async fn a_tester_is_dialled_back_and_told_the_whole_mesh() {
    let nodes = mesh_of_three().await;
    let mut waits = Vec::new();
    for _ in 0..3 {
        for node in &nodes {
            let tester = Tester::listen().await;
            let begin = Instant::now();
            let mut socket = tester.greet(node.port).await;
            waits.push(begin.elapsed());
            let mesh = nodes.iter().map(Node::address);
            // Each tester is gone when the next one comes, so none but the present one may be told.
            assert_told(&socket.handshake().await, mesh.chain([tester.address()]));
        }
    }
    waits.sort_unstable();
    let median = waits[waits.len() / 2];
    assert!(
        median < Duration::from_secs(1),
        "dialled back after {median:?}; the tests allow five seconds, a person should not notice"
    );
}

#[tokio::test]
async fn known_peers_are_dialled_at_the_start() {
    let (tester, port) = (Tester::listen().await, free_port());
    let node = Node::ours(port, &[port, tester.port()]);
    let told = tester.accept().await.handshake().await;
    assert_told(&told, [node.address(), tester.address()]);
}

#[tokio::test]
async fn a_known_peer_that_comes_up_later_is_dialled() {
    let (port, later) = (free_port(), free_port());
    let mut node = Node::ours(port, &[port, later]);
    node.linked_to([]).await;
    let other = Node::ours(later, &[]);
    node.linked_to([other.address()]).await;
    node.assert_alive();
}

#[tokio::test]
async fn every_address_of_a_handshake_is_dialled() {
    let node = lone_node().await;
    let (first, second, third) = (Tester::listen().await, Tester::listen().await, Tester::listen().await);
    let addresses = [first.address(), second.address(), third.address()];
    let mut links = vec![first.greet_with(node.port, &addresses).await];
    links.push(second.accept().await);
    links.push(third.accept().await);
    let mut told = BTreeSet::new();
    for link in &mut links {
        let data = link.handshake().await;
        assert!(data.contains(&node.address()), "its own address is missing: {data:?}");
        told.extend(data);
    }
    assert_told(&Vec::from_iter(told), addresses.into_iter().chain([node.address()]));
}

#[tokio::test]
async fn an_address_is_dialled_once_however_often_it_is_told() {
    let node = lone_node().await;
    let (often, last) = (Tester::listen().await, Tester::listen().await);
    let mut sockets = Vec::new();
    for _ in 0..5 {
        let mut socket = Socket::dial(node.port).await.unwrap();
        socket.send(&json!({ "type": "HANDSHAKE", "data": [often.address(), often.address()] })).await;
        sockets.push(socket);
    }
    let mut link = often.accept().await;
    assert_told(&link.handshake().await, [node.address(), often.address()]);
    for socket in &mut sockets {
        socket.send(&json!({ "type": "HANDSHAKE", "data": [often.address()] })).await;
    }
    // Whatever else the node might have dialled on those words, it has dialled by the time it has
    // dialled this one.
    let mut link_of_last = last.greet(node.port).await;
    assert_told(&link_of_last.handshake().await, [node.address(), often.address(), last.address()]);
    assert!(!often.is_dialled(), "a second connection to an address that is linked");
}

#[tokio::test]
async fn a_node_never_links_to_itself() {
    let node = lone_node().await;
    let aliases =
        [address(node.port), format!("ws://127.0.0.1:{}", node.port), format!("ws://LOCALHOST:{}/", node.port)];
    let tester = Tester::listen().await;
    let mut link = tester.greet_with(node.port, &[&[tester.address()][..], &aliases[..]].concat()).await;
    assert_told(&link.handshake().await, [node.address(), tester.address()]);
    let second = Tester::listen().await;
    let mut link_of_second = second.greet(node.port).await;
    assert_told(&link_of_second.handshake().await, [node.address(), tester.address(), second.address()]);
    node.linked_to([tester.address(), second.address()]).await;
}

#[tokio::test]
async fn a_closed_peer_is_told_to_nobody() {
    let node = lone_node().await;
    let stays = Tester::listen().await;
    let mut kept = stays.greet(node.port).await;
    kept.handshake().await;
    for politely in [true, false] {
        let leaves = Tester::listen().await;
        let mut link = leaves.greet(node.port).await;
        assert_told(&link.handshake().await, [node.address(), stays.address(), leaves.address()]);
        drop(leaves);
        if politely {
            link.close().await
        } else {
            drop(link)
        }
        // The end of a connection may be heard of after the next one.
        node.linked_to([stays.address()]).await;
        let next = Tester::listen().await;
        let mut link = next.greet(node.port).await;
        assert_told(&link.handshake().await, [node.address(), stays.address(), next.address()]);
    }
}

#[tokio::test]
async fn a_node_that_is_killed_is_told_to_nobody_and_linked_again_when_it_is_back() {
    let mut nodes = mesh_of_three().await;
    nodes[1].kill().await;
    let left = [nodes[0].address(), nodes[2].address()];
    nodes[0].linked_to([left[1].clone()]).await;
    let tester = Tester::listen().await;
    let told = tester.greet(nodes[0].port).await.handshake().await;
    assert_told(&told, left.into_iter().chain([tester.address()]));
    drop(tester);
    nodes[1].start_again();
    full_mesh(&nodes).await;
}

#[tokio::test]
async fn a_tester_that_closes_as_soon_as_it_is_dialled_back_hurts_nobody() {
    let mut node = lone_node().await;
    for _ in 0..3 {
        let before_the_upgrade = Tester::listen().await;
        let mut socket = Socket::dial(node.port).await.unwrap();
        socket.send(&json!({ "type": "HANDSHAKE", "data": [before_the_upgrade.address()] })).await;
        drop(before_the_upgrade.accept_raw().await);
        drop(socket);
        let after_it = Tester::listen().await;
        drop(after_it.greet(node.port).await);
        let politely = Tester::listen().await;
        politely.greet(node.port).await.close().await;
    }
    let tester = Tester::listen().await;
    assert_told(&tester.greet(node.port).await.handshake().await, [node.address(), tester.address()]);
    node.assert_alive();
}

/// `add-transaction.js` opens, sends and closes without waiting for anything; some versions of it
/// just end.
#[tokio::test]
async fn a_transaction_sent_on_the_way_out_reaches_all_three_files() {
    let nodes = mesh_of_three().await;
    let sent: Vec<_> = (0..6).map(transaction).collect();
    for (transaction, node) in sent.iter().zip(nodes.iter().cycle()) {
        let mut socket = Socket::dial(node.port).await.unwrap();
        socket.send_text(transaction_frame(transaction)).await;
        if transaction["amount"].as_u64().unwrap() % 2 == 0 { socket.close().await } else { drop(socket) }
    }
    for node in &nodes {
        exactly(node, &sent).await;
    }
}

#[tokio::test]
async fn the_file_is_laid_out_as_json_stringify_does_it() {
    let node = lone_node().await;
    let odd = json!({ "hash": "é\u{1f}\"\\\u{2028}/", "nested": { "empty": {}, "none": [], "some": [1, null, true, { "x": -0.5 }] } });
    let sent = [transaction(1), odd, transaction(2)];
    submit(&node, &sent).await;
    exactly(&node, &sent).await;
    assert_eq!(node.file(), serde_json::to_string_pretty(&sent).unwrap());
}
