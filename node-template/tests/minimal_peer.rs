//! `interop/minimal-peer.mjs`, which was written from `docs/protocol.md` alone, among three nodes.
//! What this shows of the peer, it shows of the document.

#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::process::Stdio;
use std::sync::Arc;

use common::node::{Node, collect, free_port, full_mesh, interop, javascript_is_here};
use common::tester::Socket;
use common::{eventually, exactly, submit, transaction, within};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};
use tokio::sync::watch;

/// A running minimal peer. It ends with its standard input, so at the latest with this.
struct Peer {
    child: Child,
    output: watch::Receiver<Vec<String>>,
    /// What nodes call it: its address, or its id if it accepts no connections.
    name: String,
}

impl Peer {
    /// Starts it: on any free port, or without a server.
    async fn start(server: bool, known: &[&Node]) -> Self {
        let mut command = Command::new("node");
        command.arg(interop().join("minimal-peer.mjs"));
        if server {
            command.args(["--port", "0"]);
        }
        for node in known {
            command.args(["--peer", &node.address()]);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let (lines, output) = watch::channel(Vec::new());
        tokio::spawn(collect(child.stdout.take().unwrap(), Arc::new(lines)));
        let mut peer = Self { child, output, name: String::new() };
        let up = peer.event("up", 0, |_| true).await;
        peer.name = up["address"].as_str().or(up["id"].as_str()).unwrap().to_owned();
        peer
    }

    /// Waits for the `number`th event of a kind, and gives it.
    async fn event(&self, kind: &str, number: usize, wanted: impl Fn(&Value) -> bool) -> Value {
        let nth = |lines: &Vec<String>| events(lines, kind).filter(|event| wanted(event)).nth(number);
        let mut output = self.output.clone();
        let found = within(format!("'{kind}' at the minimal peer"), output.wait_for(|lines| nth(lines).is_some()));
        nth(&found.await.unwrap()).unwrap()
    }

    /// Gives a transaction. Returns its identity and on how many links it went out.
    async fn give(&mut self, transaction: &Value) -> (Value, u64) {
        let before = events(&self.output.borrow(), "given").count();
        let line = format!("{transaction}\n");
        self.child.stdin.as_mut().unwrap().write_all(line.as_bytes()).await.unwrap();
        let given = self.event("given", before, |_| true).await;
        (given["identity"].clone(), given["links"].as_u64().unwrap())
    }

    /// Waits until a transaction came. Returns its identity.
    async fn gets(&self, transaction: &Value) -> Value {
        self.event("transaction", 0, |event| event["data"] == *transaction).await["identity"].clone()
    }

    /// Ends it, and fails unless exactly these transactions came to it, each once.
    async fn end(mut self, expected: &[Value]) {
        drop(self.child.stdin.take());
        within("the end of the minimal peer", self.child.wait()).await.unwrap();
        let mut output = self.output.clone();
        let all = async { while output.changed().await.is_ok() {} };
        within("the end of its output", all).await;
        let mut came: Vec<_> =
            events(&self.output.borrow(), "transaction").map(|mut event| event["data"].take()).collect();
        came.sort_by_key(|transaction| transaction["amount"].as_u64());
        assert_eq!(came, expected, "something came twice, not at all, or was never sent");
    }
}

/// The events of a kind.
fn events<'a>(lines: &'a [String], kind: &'a str) -> impl Iterator<Item = Value> + 'a {
    let events = lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
    events.filter(move |event| event["event"] == kind)
}

/// Three nodes of ours that know these.
fn three_of_ours(known: impl Fn(&[u16]) -> Vec<u16>) -> Vec<Node> {
    let ports = [free_port(), free_port(), free_port()];
    ports.iter().map(|&port| Node::ours(port, &known(&ports))).collect()
}

/// Waits until each node is linked to the others and to a peer, and to nobody else.
async fn full_mesh_with(nodes: &[Node], peer: &Peer) {
    for node in nodes {
        let others = nodes.iter().map(Node::address).filter(|other| *other != node.address());
        node.linked_to(others.chain([peer.name.clone()])).await;
    }
}

async fn everywhere(nodes: &[Node], sent: &[Value]) {
    for node in nodes {
        exactly(node, sent).await;
    }
}

/// Fails unless each node has on its disk what the peer calls so. Its file has it a moment before.
async fn held_as(nodes: &[Node], identities: &[Value]) {
    for node in nodes {
        let mut socket = Socket::dial(node.port).await.unwrap();
        eventually(node.address(), async || {
            socket.send(&json!({ "type": "STATUS", "data": { "holds": identities } })).await;
            match socket.frame().await["data"]["held"].clone() {
                held if held == identities.len() => Ok(()),
                held => Err(format!("it holds {held}, or calls them otherwise")),
            }
        })
        .await;
    }
}

/// Fails if a node holds anything against anybody, or was sent something that it does not know.
async fn no_violation(nodes: &[Node]) {
    for node in nodes {
        let counters = node.status().await.unwrap()["counters"].take();
        for name in ["violations", "answers_unsolicited", "messages_unknown", "transactions_refused"] {
            assert_eq!(counters[name], 0, "{}: {name}", node.address());
        }
    }
}

/// Joins a mesh, gets and gives, leaves, and gets what it missed.
async fn live_among_ours(server: bool) {
    if !javascript_is_here() {
        return;
    }
    let nodes = three_of_ours(|ports| ports.to_vec());
    full_mesh(&nodes).await;
    let sent: Vec<_> = (1..=4).map(transaction).collect();

    let mut peer = Peer::start(server, &[&nodes[0]]).await;
    full_mesh_with(&nodes, &peer).await;
    // A node has its link as soon as it has answered; the peer has it when it has read the answer.
    for node in &nodes {
        let id = node.status().await.unwrap()["node"].clone();
        peer.event("linked", 0, |event| event["node"] == id).await;
    }
    let (given, links) = peer.give(&sent[0]).await;
    assert_eq!(links, 3);
    everywhere(&nodes, &sent[..1]).await;
    submit(&nodes[1], &sent[1..2]).await;
    everywhere(&nodes, &sent[..2]).await;
    let got = peer.gets(&sent[1]).await;
    held_as(&nodes, &[given, got]).await;
    peer.end(&sent[1..2]).await;

    full_mesh(&nodes).await;
    submit(&nodes[2], &sent[2..3]).await;
    everywhere(&nodes, &sent[..3]).await;

    // It kept nothing, so it missed all.
    let mut peer = Peer::start(server, &[&nodes[1]]).await;
    for transaction in &sent[..3] {
        peer.gets(transaction).await;
    }
    full_mesh_with(&nodes, &peer).await;
    peer.give(&sent[3]).await;
    everywhere(&nodes, &sent).await;
    no_violation(&nodes).await;
    peer.end(&sent[..3]).await;
    no_violation(&nodes).await;
}

#[tokio::test]
async fn a_peer_that_accepts_connections() {
    live_among_ours(true).await;
}

#[tokio::test]
async fn a_peer_that_accepts_none() {
    live_among_ours(false).await;
}

/// Nodes that know nobody else find each other by its HANDSHAKEs, and fetch what it was given
/// before.
#[tokio::test]
async fn a_mesh_forms_around_it() {
    if !javascript_is_here() {
        return;
    }
    let mut peer = Peer::start(true, &[]).await;
    let early = transaction(1);
    let (identity, links) = peer.give(&early).await;
    assert_eq!(links, 0, "there is nobody yet");
    let port = peer.name.rsplit(':').next().unwrap().parse().unwrap();
    let nodes = three_of_ours(|_| vec![port]);
    full_mesh_with(&nodes, &peer).await;
    everywhere(&nodes, std::slice::from_ref(&early)).await;
    held_as(&nodes, &[identity]).await;
    no_violation(&nodes).await;
    peer.end(&[]).await;
}
