//! Meshes of our nodes and nodes of the exercise: each way in which those vary, what they die of,
//! and hostile traffic beside them.

#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use common::node::{Node, address, free_port, full_mesh, javascript_is_here};
use common::tester::{Socket, Tester};
use common::{at_least, eventually, exactly, hostile, submit, transaction, transaction_frame};
use serde_json::json;

/// Three nodes of ours, linked.
async fn three_of_ours() -> Vec<Node> {
    let ports = [free_port(), free_port(), free_port()];
    let nodes: Vec<_> = ports.iter().map(|&port| Node::ours(port, &[ports[0], ports[2]])).collect();
    full_mesh(&nodes).await;
    nodes
}

/// A node of the exercise that knows one other node.
async fn join(flags: &str, known: &Node) -> Node {
    let node = Node::javascript(free_port(), &[known.port], flags);
    node.line("listening").await;
    node
}

/// Three of ours and at most two of the exercise, which join at the same time in different places;
/// linked, each to each.
async fn mixed_mesh(javascript: &[&str]) -> Vec<Node> {
    let mut nodes = three_of_ours().await;
    let known = [nodes[0].port, nodes[1].port];
    let joining = javascript.iter().zip(known).map(|(flags, known)| Node::javascript(free_port(), &[known], flags));
    nodes.extend(joining);
    full_mesh(&nodes).await;
    nodes
}

/// Runs a mesh with nodes of the exercise: one transaction entering at each node of either kind,
/// then many at once, reach every file once, and nobody dies. `once` says whether that holds of the
/// exercise's files too.
async fn live_with(javascript: &[&str], once: bool) {
    if !javascript_is_here() {
        return;
    }
    let mut nodes = mixed_mesh(javascript).await;
    let mut sent = Vec::new();
    // Those of the exercise first: one that relays only once must not have spent it on what came
    // from ours.
    for entry in (0..nodes.len()).rev() {
        sent.push(transaction(entry as u64));
        submit(&nodes[entry], &sent[sent.len() - 1..]).await;
        everywhere(&nodes, &sent, once).await;
    }
    let layout = nodes[0].file();
    for node in &nodes[..if once { nodes.len() } else { 3 }] {
        assert_eq!(node.file(), layout, "what came one after another stands so in every file, byte for byte");
    }
    let burst: Vec<_> = (100..160).map(transaction).collect();
    submit(&nodes[0], &burst[..30]).await;
    submit(&nodes[1], &burst[30..]).await;
    sent.extend(burst);
    everywhere(&nodes, &sent, once).await;
    full_mesh(&nodes).await;
    for node in &mut nodes {
        node.assert_alive();
    }
}

async fn everywhere(nodes: &[Node], sent: &[serde_json::Value], once: bool) {
    for (index, node) in nodes.iter().enumerate() {
        if once || index < 3 {
            exactly(node, sent).await;
        } else {
            at_least(node, sent).await;
        }
    }
}

#[tokio::test]
async fn own_address_first() {
    live_with(&["--own first", "--own first"], true).await;
}

#[tokio::test]
async fn own_address_last() {
    live_with(&["--own last", "--own last"], true).await;
}

#[tokio::test]
async fn reserialising() {
    live_with(&["--reserialise", "--reserialise --dedupe set"], true).await;
}

#[tokio::test]
async fn binary_frames() {
    live_with(&["--binary", "--binary"], true).await;
}

#[tokio::test]
async fn deduplicating_by_text() {
    live_with(&["--dedupe set", "--dedupe hash"], true).await;
}

/// Two such nodes in one mesh would send each other the same transaction for ever, whatever ours
/// do.
#[tokio::test]
async fn not_deduplicating() {
    live_with(&["--dedupe none"], false).await;
}

#[tokio::test]
async fn relaying_once() {
    live_with(&["--relays-once"], true).await;
}

#[tokio::test]
async fn reading_dialled_sockets() {
    live_with(&["--reads-dialled", "--reads-dialled --own last"], true).await;
}

#[tokio::test]
async fn without_error_handler() {
    live_with(&["--no-error-handler", "--no-error-handler"], true).await;
}

#[tokio::test]
async fn dying_of_dead_addresses() {
    live_with(&["--dies-of-dead-addresses", "--dies-of-dead-addresses"], true).await;
}

/// They list the peer that they have just dialled behind all others, and themselves before or
/// behind them. The peer that is taken for the sender does not get its transaction from us, so a
/// wrong guess keeps it from a third node.
#[tokio::test]
async fn the_sender_is_told_from_the_others_wherever_it_lists_itself() {
    let node = Node::ours(free_port(), &[]);
    node.linked_to([]).await;
    let other = Tester::listen().await;
    let mut link_of_other = other.greet(node.port).await;
    link_of_other.handshake().await;
    for (number, own_first) in [(0, true), (2, false)] {
        let sender = Tester::listen().await;
        let mut addresses = vec![other.address(), node.address()];
        addresses.insert(if own_first { 0 } else { 2 }, sender.address());
        let mut socket = Socket::dial(node.port).await.unwrap();
        socket.send(&json!({ "type": "HANDSHAKE", "data": addresses })).await;
        let mut link = sender.accept().await;
        link.handshake().await;
        socket.send_text(transaction_frame(&transaction(number))).await;
        assert_eq!(link_of_other.frame().await["data"], transaction(number), "own address first: {own_first}");
        submit(&node, &[transaction(number + 1)]).await;
        assert_eq!(link_of_other.frame().await["data"], transaction(number + 1));
        assert_eq!(link.frame().await["data"], transaction(number + 1), "it got its own transaction back");
    }
}

#[tokio::test]
async fn a_forgetful_node_is_told_of_those_it_forgot() {
    if !javascript_is_here() {
        return;
    }
    let nodes = three_of_ours().await;
    let forgetful = Node::javascript(free_port(), &[nodes[0].port, free_port()], "--forgets");
    forgetful.line("failed").await;
    for node in &nodes {
        forgetful.line(&format!("connected {}", node.address())).await;
    }
    submit(&forgetful, &[transaction(1)]).await;
    everywhere(&nodes, &[transaction(1)], true).await;
}

#[tokio::test]
async fn a_type_blind_node_dies_of_transactions_twice_in_all() {
    if !javascript_is_here() {
        return;
    }
    let mut nodes = mixed_mesh(&["--type-blind --no-error-handler"]).await;
    let mut blind = nodes.pop().unwrap();
    let mut sent = Vec::new();
    for life in 0..2 {
        sent.push(transaction(life));
        submit(&nodes[life as usize], &sent[sent.len() - 1..]).await;
        everywhere(&nodes, &sent, true).await;
        blind.line("died").await;
        blind.start_again();
        blind.line("listening").await;
        for node in &nodes {
            blind.line(&format!("connected {}", node.address())).await;
        }
    }
    // From now on it gets handshakes only.
    for life in 2..20 {
        sent.push(transaction(life));
        submit(&nodes[life as usize % 3], &sent[sent.len() - 1..]).await;
        everywhere(&nodes, &sent, true).await;
        assert!(blind.responds().await, "it died a third time, of transaction {life}");
    }
    nodes.iter_mut().for_each(Node::assert_alive);
}

/// The node is in nobody's `known-peers.json`, and dials nobody while it stands still.
#[cfg(unix)]
#[tokio::test]
async fn a_node_that_stands_still_while_ours_restarts_misses_nothing() {
    use rustix::process::{Pid, Signal, kill_process};
    if !javascript_is_here() {
        return;
    }
    let mut ours = Node::ours(free_port(), &[]);
    ours.linked_to([]).await;
    let javascript = join("", &ours).await;
    ours.linked_to([javascript.address()]).await;
    let mut sent = vec![transaction(0)];
    submit(&ours, &sent).await;
    exactly(&javascript, &sent).await;
    eventually("the peer cache", async || {
        let peers = std::fs::read_to_string(ours.folder().join("peers.json")).map_err(|error| error.to_string())?;
        if peers.contains(&javascript.address()) { Ok(()) } else { Err(peers) }
    })
    .await;
    let pid = Pid::from_raw(javascript.pid() as i32).unwrap();
    kill_process(pid, Signal::STOP).unwrap();
    let batches: Vec<Vec<_>> = [1..40, 40..80].into_iter().map(|batch| batch.map(transaction).collect()).collect();
    submit(&ours, &batches[0]).await;
    exactly(&ours, &[&sent[..], &batches[0]].concat()).await;
    ours.kill().await;
    ours.start_again();
    eventually("the restart", async || ours.status().await).await;
    submit(&ours, &batches[1]).await;
    kill_process(pid, Signal::CONT).unwrap();
    sent.extend(batches.concat());
    exactly(&ours, &sent).await;
    at_least(&javascript, &sent).await;
}

#[tokio::test]
async fn a_full_node_names_no_node_that_is_gone() {
    if !javascript_is_here() {
        return;
    }
    let full = Node::ours_with(free_port(), &[], "MAX_PEERS=1");
    full.linked_to([]).await;
    let other = Node::ours_with(free_port(), &[full.port], "MAX_PEERS=1");
    full.linked_to([other.address()]).await;
    // One that was declined and one that was redirected are killed.
    let mut declined = Node::ours_with(free_port(), &[full.port], "MAX_PEERS=1");
    eventually("a declined node", async || {
        let status = full.status().await?;
        let declined = status["counters"]["slots_declined"].as_u64().unwrap();
        if declined > 0 { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
    let mut redirected = join("", &full).await;
    redirected.line(&format!("told {}", other.address())).await;
    declined.kill().await;
    redirected.kill().await;
    let mut joiner = join("--no-error-handler", &full).await;
    joiner.line(&format!("told {}", other.address())).await;
    joiner.line(&format!("connected {}", other.address())).await;
    assert!(joiner.responds().await);
    joiner.assert_alive();
    let (told, gone) = (joiner.told(), [declined.address(), redirected.address()]);
    assert!(gone.iter().all(|gone| !told.contains(gone)), "told of {told:?}, and {gone:?} are gone");
}

#[tokio::test]
async fn hostile_traffic_beside_reaches_no_node_of_the_exercise() {
    if !javascript_is_here() {
        return;
    }
    let flags = [
        "--no-error-handler --dies-of-dead-addresses --reads-dialled",
        "--type-blind --no-error-handler --reads-dialled",
    ];
    let mut nodes = mixed_mesh(&flags).await;
    let mesh: Vec<_> = nodes.iter().map(Node::address).collect();
    let (error, dead) = (hostile::not_a_node().await, address(free_port()));
    for node in &nodes[..3] {
        Socket::dial(node.port).await.unwrap().say_hello(&[dead.clone(), error.clone()]).await;
        hostile::throw_everything(node.port).await;
    }
    // A node that is back sends all peers a HANDSHAKE again, and names the peers that it learned.
    nodes[2].kill().await;
    for gone in [0, 1, 3, 4] {
        nodes[gone].linked_to(others(&mesh, &[gone, 2])).await;
    }
    nodes[2].start_again();
    full_mesh(&nodes).await;
    for node in &mut nodes {
        node.assert_alive();
    }
    for node in &mut nodes[3..] {
        let strangers: Vec<_> = node.told().into_iter().filter(|address| !mesh.contains(address)).collect();
        assert!(strangers.is_empty(), "told of {strangers:?}, which are no nodes");
        assert!(node.responds().await, "died of what came last");
    }
}

#[tokio::test]
async fn a_node_of_the_exercise_that_restarts_is_dialled_again() {
    if !javascript_is_here() {
        return;
    }
    let mut nodes = mixed_mesh(&["", "--own last"]).await;
    let mesh: Vec<_> = nodes.iter().map(Node::address).collect();
    nodes[3].kill().await;
    for left in [0, 1, 2, 4] {
        nodes[left].linked_to(others(&mesh, &[left, 3])).await;
    }
    // It dials nobody now, so only those who remember it can bring it back.
    nodes[3].forget_known_peers();
    nodes[3].start_again();
    full_mesh(&nodes).await;
    submit(&nodes[3], &[transaction(1)]).await;
    everywhere(&nodes, &[transaction(1)], true).await;
}

#[tokio::test]
async fn whoever_joins_is_told_of_nobody_who_is_gone() {
    if !javascript_is_here() {
        return;
    }
    let mut nodes = mixed_mesh(&["", ""]).await;
    let mesh: Vec<_> = nodes.iter().map(Node::address).collect();
    let (mut ours, mut javascript) = (nodes.remove(2), nodes.remove(2));
    ours.kill().await;
    javascript.kill().await;
    for (index, node) in [0, 1, 4].into_iter().zip(&nodes) {
        node.linked_to(others(&mesh, &[index, 2, 3])).await;
    }
    let joiner = join("--dies-of-dead-addresses --no-error-handler", &nodes[0]).await;
    nodes.push(joiner);
    full_mesh(&nodes).await;
    for node in &mut nodes {
        node.assert_alive();
    }
    let told = nodes[3].told();
    assert!(!told.contains(&mesh[2]) && !told.contains(&mesh[3]), "told of nodes that are gone: {told:?}");
}

fn others(mesh: &[String], without: &[usize]) -> Vec<String> {
    mesh.iter().enumerate().filter(|(index, _)| !without.contains(index)).map(|(_, address)| address.clone()).collect()
}
