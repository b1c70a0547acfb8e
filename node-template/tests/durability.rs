//! What was acknowledged is on the disk: also when the node is killed under load, again and again,
//! and when the disk is full.
//!
//! `KILLS` sets how often the node is killed: 10 unless set, 50 in CI, 500 when somebody has the
//! time. `SEED` repeats the moments of a run.

#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use common::mount::Mount;
use common::node::{Node, free_port, full_mesh};
use common::tester::Socket;
use common::{eventually, transaction};
use meshpool::Client;
use meshpool::protocol::json::Parser;
use meshpool::protocol::transaction::Transaction;
use meshpool::protocol::wire::AckStatus;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use tokio::sync::watch;

/// The identities of what a node's file holds; an error if it cannot be read as what it must be.
fn pool(node: &Node) -> Result<BTreeSet<String>, String> {
    let mut parser = Parser::new();
    let mut ids = BTreeSet::new();
    for row in node.transactions()? {
        let transaction = Transaction::parse(&mut parser, &row.to_string()).map_err(|error| error.to_string())?;
        if !ids.insert(transaction.id().to_string()) {
            return Err(format!("twice: {row}"));
        }
    }
    Ok(ids)
}

/// Clients that submit to nodes for as long as this lives, one transaction after the other and each
/// with its ACK.
struct Load {
    /// By port: the identities whose ACK came, and said that they are on the disk of that node.
    acknowledged: Arc<Mutex<BTreeMap<u16, BTreeSet<String>>>>,
    /// How many that are.
    count: watch::Receiver<usize>,
    tasks: tokio::task::JoinSet<()>,
}

impl Load {
    fn on(ports: &[u16], clients: usize) -> Self {
        let (acknowledged, (counter, count)) = (Arc::default(), watch::channel(0));
        let counter = Arc::new(counter);
        let mut tasks = tokio::task::JoinSet::new();
        for port in ports {
            for _ in 0..clients {
                // No client of any load sends what another one sends.
                static CLIENTS: AtomicU64 = AtomicU64::new(0);
                let first = CLIENTS.fetch_add(1, Ordering::Relaxed) << 32;
                tasks.spawn(submit_for_ever(*port, first, Arc::clone(&acknowledged), Arc::clone(&counter)));
            }
        }
        Self { acknowledged, count, tasks }
    }

    /// Waits for so many more ACKs, of all nodes together.
    async fn more(&mut self, acks: usize) {
        let goal = *self.count.borrow() + acks;
        common::within(format!("{acks} more ACKs"), self.count.wait_for(|count| *count >= goal)).await.unwrap();
    }

    /// Ends it; the identities that were acknowledged, by port.
    async fn end(mut self) -> BTreeMap<u16, BTreeSet<String>> {
        self.tasks.shutdown().await;
        std::mem::take(&mut self.acknowledged.lock().unwrap())
    }
}

async fn submit_for_ever(
    port: u16,
    first: u64,
    acknowledged: Arc<Mutex<BTreeMap<u16, BTreeSet<String>>>>,
    counter: Arc<watch::Sender<usize>>,
) {
    let address = common::node::address(port).parse().unwrap();
    let mut number = first;
    loop {
        // A node that is down is asked again and again; the test that kills it starts it again.
        let Ok(mut client) = Client::connect(&address).await else {
            tokio::task::yield_now().await;
            continue;
        };
        loop {
            number += 1;
            match client.submit(&transaction(number).to_string()).await {
                Ok(ack) if ack.status == AckStatus::Stored => {
                    acknowledged.lock().unwrap().entry(port).or_default().insert(ack.id);
                    counter.send_modify(|count| *count += 1);
                }
                Ok(ack) => panic!("{ack:?}"),
                Err(_) => break,
            }
        }
    }
}

fn number_from_environment(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name} is {text}")))
}

#[tokio::test]
async fn what_was_acknowledged_survives_kill_9_and_everybody_converges() {
    let kills = number_from_environment("KILLS", 10);
    let seed = number_from_environment("SEED", u64::from(std::process::id()));
    eprintln!("SEED={seed} repeats the moments at which the node is killed");
    let mut rng = SmallRng::seed_from_u64(seed);
    let ports = [free_port(), free_port(), free_port()];
    let mut nodes: Vec<_> = ports.iter().map(|&port| Node::ours(port, &ports)).collect();
    full_mesh(&nodes).await;
    let mut load = Load::on(&ports[..2], 4);
    for kill in 1..=kills {
        load.more(rng.random_range(1..200)).await;
        nodes[0].kill().await;
        nodes[0].start_again();
        // It must come back, and be of use again, before it is killed again.
        let node = &nodes[0];
        let said = |error| format!("{error}; it said:\n{}", node.said().join("\n"));
        eventually(format!("the node that was killed {kill} times"), async || node.status().await.map_err(said)).await;
    }
    load.more(50).await;
    let acknowledged = load.end().await;
    full_mesh(&nodes).await;
    assert!(acknowledged[&ports[0]].len() > 10, "the victim acknowledged nothing: the load came to nothing");
    let all: BTreeSet<_> = acknowledged.values().flatten().cloned().collect();
    eventually("equal pools", async || {
        let pools = [pool(&nodes[0])?, pool(&nodes[1])?, pool(&nodes[2])?];
        let missing = all.difference(&pools[0]).count();
        if missing > 0 {
            return Err(format!("{missing} acknowledged transactions are not in the victim's file"));
        }
        if pools[0] == pools[1] && pools[1] == pools[2] {
            Ok(())
        } else {
            Err(format!("{:?} rows", pools.map(|pool| pool.len())))
        }
    })
    .await;
    for node in &mut nodes {
        node.assert_alive();
    }
    eprintln!(
        "killed {kills} times; {} transactions were acknowledged, and each is in all three files once",
        all.len()
    );
}

/// What is acknowledged by a node that dies right then must be in its own file, with nobody there
/// to bring it back.
#[tokio::test]
async fn what_a_lone_node_acknowledged_survives_kill_9() {
    let mut node = Node::ours(free_port(), &[]);
    node.linked_to([]).await;
    for acks in [1, 7, 40] {
        let mut load = Load::on(&[node.port], 4);
        load.more(acks).await;
        node.kill().await;
        let acknowledged = load.end().await;
        node.start_again();
        node.linked_to([]).await;
        let held = pool(&node).unwrap();
        let lost: Vec<_> = acknowledged[&node.port].difference(&held).collect();
        assert!(lost.is_empty(), "acknowledged and not in the file: {lost:?}");
    }
}

/// A transaction of some eight kibibytes.
fn large(number: u64) -> serde_json::Value {
    json!({ "hash": format!("{number:064x}"), "filling": "x".repeat(8 * 1024) })
}

#[tokio::test]
async fn a_full_disk_acknowledges_nothing_and_what_waits_is_stored_when_there_is_room() {
    const SENT: u64 = 64;
    let Some(mount) = Mount::memory(1024) else { return };
    let peer = Node::ours(free_port(), &[]);
    let mut node = Node::ours_in(mount.folder(), free_port(), &[peer.port], "");
    node.linked_to([peer.address()]).await;
    let ballast = mount.fill();
    let mut client = Socket::dial(node.port).await.unwrap();
    for number in 0..SENT {
        client.send(&json!({ "type": "TRANSACTION", "data": large(number), "ack": true })).await;
    }
    let failed = |line: &&String| line.contains(" ERROR ");
    eventually("the error", async || match node.said().iter().find(failed) {
        Some(line) if line.contains("No space left on device") && line.contains("free space on the disk") => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    // The others have all of them: what is sent on does not wait for this disk.
    common::exactly(&peer, &(0..SENT).map(large).collect::<Vec<_>>()).await;
    let mut other = Socket::dial(node.port).await.unwrap();
    let status = other.status().await;
    assert_eq!((&status["writable"], &status["pool"]["count"]), (&json!(false), &json!(0)), "{status}");
    assert_eq!(node.transactions(), Ok(Vec::new()), "the file is an array, and what was not stored is not in it");
    assert!(client.is_quiet(), "an ACK without a disk");
    std::fs::remove_file(ballast).unwrap();
    for _ in 0..SENT {
        let frame = client.frame().await;
        assert_eq!((&frame["type"], &frame["data"]["status"]), (&json!("ACK"), &json!("stored")), "{frame}");
    }
    common::exactly(&node, &(0..SENT).map(large).collect::<Vec<_>>()).await;
    eventually("the recovery", async || {
        let status = other.status().await;
        if status["writable"] == json!(true) { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
    let said = eventually("the line of the recovery", async || {
        let said = node.said();
        let recovered = said.iter().any(|line| line.ends_with("transactions.json takes transactions again"));
        if recovered { Ok(said) } else { Err(said.join("\n")) }
    })
    .await;
    assert_eq!(said.iter().filter(failed).count(), 1, "a series of failures is one line: {said:#?}");
    node.assert_alive();
}

#[tokio::test]
async fn a_disk_that_stays_full_refuses_before_memory_runs_out() {
    const SENT: u64 = 200;
    let Some(mount) = Mount::memory(4096) else { return };
    let node = Node::ours_in(mount.folder(), free_port(), &[], "UNSTORED_BYTES=1048576");
    node.linked_to([]).await;
    let ballast = mount.fill();
    let mut client = Socket::dial(node.port).await.unwrap();
    client.send(&json!({ "type": "TRANSACTION", "data": large(0), "ack": true })).await;
    let mut other = Socket::dial(node.port).await.unwrap();
    eventually("the error", async || {
        let status = other.status().await;
        if status["writable"] == json!(false) { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
    for number in 1..SENT {
        client.send(&json!({ "type": "TRANSACTION", "data": large(number), "ack": true })).await;
    }
    let refused = eventually("all of them taken or refused", async || {
        let counters = other.status().await["counters"].take();
        let (taken, refused) = (counters["transactions_accepted"].as_u64(), counters["transactions_refused"].as_u64());
        if taken.unwrap() + refused.unwrap() == SENT { Ok(refused.unwrap()) } else { Err(counters.to_string()) }
    })
    .await;
    let most = SENT - 1024 / 8;
    assert!((most..most + 8).contains(&refused), "what waits has at most 1 MiB: {refused} of {SENT} are refused");
    for _ in 0..refused {
        let ack = client.frame().await["data"].take();
        assert_eq!(ack["status"], "rejected", "{ack}");
        assert!(ack["reason"].as_str().unwrap().starts_with("the disk takes no writes: free space"), "{ack}");
    }
    assert!(client.is_quiet(), "an ACK without a disk");
    std::fs::remove_file(ballast).unwrap();
    let kept: Vec<_> = (0..SENT - refused).map(large).collect();
    for _ in &kept {
        assert_eq!(client.frame().await["data"]["status"], "stored");
    }
    common::exactly(&node, &kept).await;
    client.send(&json!({ "type": "TRANSACTION", "data": transaction(1_000), "ack": true })).await;
    assert_eq!(client.frame().await["data"]["status"], "stored", "it takes transactions again");
}
