//! A network that is cut in two and healed, under load from both sides: in network namespaces,
//! where the cut is real and TCP has to find out by itself.

#![cfg(target_os = "linux")]
#![cfg(all(feature = "net", target_os = "linux"))]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::namespace::{Inhabitant, TwoSides, address};
use common::{eventually, transaction};
use meshpool::protocol::json::Parser;
use meshpool::protocol::limits::Limits;
use meshpool::protocol::transaction::{Transaction, TransactionId};
use tokio::sync::watch;

/// How many nodes, half of them on each side.
const NODES: usize = 10;

/// Limits under which a cut is noticed in two seconds, not in 45.
fn limits() -> Limits {
    Limits {
        ping_interval: Duration::from_millis(500),
        dead_after: Duration::from_secs(2),
        dial_timeout: Duration::from_secs(1),
        backoff_min: Duration::from_millis(100),
        backoff_max: Duration::from_secs(1),
        host_dials: 1_000,
        ..Limits::default()
    }
}

/// Waits until each node is linked to all those that it can reach, and to nobody else.
async fn linked(nodes: &[Inhabitant], reach: impl Fn(usize, usize) -> bool) {
    for (number, inhabitant) in nodes.iter().enumerate() {
        let expected: BTreeSet<_> =
            (0..NODES).filter(|other| *other != number && reach(number, *other)).map(address).collect();
        eventually(format!("the links of {}", address(number)), async || {
            let links: BTreeSet<_> = inhabitant.node.status().await.unwrap().connected.into_iter().collect();
            if links == expected { Ok(()) } else { Err(format!("{links:?} instead of {expected:?}")) }
        })
        .await;
    }
}

/// Submits to a node, one after the other, until there is nobody who reads the count; tells what
/// was acknowledged: what is on that node's disk.
async fn load(
    inhabitant: &Inhabitant,
    numbers: Arc<AtomicU64>,
    acknowledged: watch::Sender<usize>,
) -> Vec<TransactionId> {
    let mut ids = Vec::new();
    while !acknowledged.is_closed() {
        let number = numbers.fetch_add(1, Ordering::Relaxed);
        let submitted = inhabitant.node.submit(&transaction(number)).await.unwrap();
        ids.push(submitted.id);
        submitted.stored().await.unwrap();
        acknowledged.send_replace(ids.len());
    }
    ids
}

/// Waits until each node has acknowledged so many more.
async fn more(counts: &mut [watch::Receiver<usize>], acks: usize) {
    for (number, count) in counts.iter_mut().enumerate() {
        let goal = *count.borrow() + acks;
        let what = format!("{acks} more acknowledgements of {}", address(number));
        common::within(what, count.wait_for(|count| *count >= goal)).await.unwrap();
    }
}

#[tokio::test]
async fn two_halves_that_were_cut_apart_under_load_have_everything_again() {
    let Some(sides) = TwoSides::lay(NODES) else { return };
    let mut nodes = Vec::new();
    for number in 0..NODES {
        let known = |network| {
            (0..NODES)
                .fold(network, |network: meshpool::Network, other| network.known_peer(address(other).parse().unwrap()))
        };
        nodes.push(sides.start(number, move |network| known(network.limits(limits()))).await);
    }
    linked(&nodes, |_, _| true).await;

    let numbers = Arc::new(AtomicU64::new(0));
    let (counters, mut counts): (Vec<_>, Vec<_>) = nodes.iter().map(|_| watch::channel(0)).unzip();
    let loads = counters.into_iter().zip(&nodes).map(|(counter, node)| load(node, Arc::clone(&numbers), counter));
    let mut cut_for = Duration::ZERO;
    let story = async {
        more(&mut counts, 20).await;
        let cut = Instant::now();
        sides.cut();
        linked(&nodes, |a, b| sides.is_left(a) == sides.is_left(b)).await;
        more(&mut counts, 20).await;
        cut_for = cut.elapsed();
        sides.heal();
        let healed = Instant::now();
        linked(&nodes, |_, _| true).await;
        let meshed = healed.elapsed();
        more(&mut counts, 20).await;
        drop(counts);
        (healed, meshed)
    };
    let (acknowledged, (healed, meshed)) = tokio::join!(futures_util::future::join_all(loads), story);
    let all: BTreeSet<TransactionId> = acknowledged.into_iter().flatten().collect();

    for (number, inhabitant) in nodes.iter().enumerate() {
        eventually(format!("the pool of {}", address(number)), async || {
            let pool = inhabitant.node.status().await.unwrap().pool;
            if pool.count == all.len() as u64 { Ok(()) } else { Err(format!("{} of {}", pool.count, all.len())) }
        })
        .await;
        let text = std::fs::read_to_string(inhabitant.folder.path().join("transactions.json")).unwrap();
        let rows: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
        let mut parser = Parser::new();
        let held: Vec<_> =
            rows.iter().map(|row| Transaction::parse(&mut parser, &row.to_string()).unwrap().id()).collect();
        assert_eq!(held.len(), all.len(), "{} holds something twice", address(number));
        assert_eq!(held.into_iter().collect::<BTreeSet<_>>(), all, "{}", address(number));
    }
    eprintln!(
        "{} transactions; cut for {cut_for:.1?}; one mesh again {meshed:.1?} after the healing, equal pools at most {:.1?} after it",
        all.len(),
        healed.elapsed()
    );
}
