//! What a mesh of ours keeps up whatever one link does: a peer that stops reading, and one whose
//! old words are said again.

#![cfg(feature = "net")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::time::Duration;

use common::embedded::{Embedded, event};
use common::node::{address, free_port};
use common::raw::Raw;
use common::relay::Relay;
use common::{exactly, transaction};
use meshpool::protocol::event::Event;
use meshpool::protocol::limits::Limits;
use meshpool::{LinkEnd, Network};
use serde_json::Value;
use tokio::io::AsyncWriteExt;

/// A transaction of so many kibibytes, told apart by its number.
fn fat(number: u64, kibibytes: usize) -> Value {
    let mut fat = transaction(number);
    fat["filling"] = "x".repeat(kibibytes * 1024).into();
    fat
}

/// Waits until each has one link to each other.
async fn linked(nodes: &[&Embedded]) {
    for node in nodes {
        let others: Vec<&Embedded> = nodes.iter().copied().filter(|other| other.id() != node.id()).collect();
        node.links_to(&others).await;
    }
}

/// A node with these limits that knows one address.
fn knowing(network: Network, limits: &Limits, known: String) -> Network {
    network.limits(limits.clone()).known_peer(known.parse().unwrap())
}

/// The same that nobody can dial.
fn hidden(network: Network, limits: &Limits, known: String) -> Network {
    knowing(network, limits, known).address(address(free_port()).parse().unwrap())
}

/// Three nodes, all linked; the third reaches the first over a relay alone. A link over a relay
/// proves nothing, so it would give way to a direct one: the first names the relay's address as its
/// own, and nobody can dial the third.
async fn mesh_with_a_relay(limits: &Limits) -> (Embedded, Embedded, Embedded, Relay) {
    let relay = Relay::to_nobody().await;
    let own = relay.address().parse().unwrap();
    let second = Embedded::with(limits.clone()).await;
    let known = second.address().to_string();
    let first = Embedded::start(|network| knowing(network, limits, known).address(own)).await;
    relay.lead_to(first.port());
    linked(&[&first, &second]).await;
    let third = Embedded::start(|network| hidden(network, limits, relay.address())).await;
    linked(&[&first, &second, &third]).await;
    (first, second, third, relay)
}

#[tokio::test]
async fn a_full_peer_that_stops_reading_costs_the_others_nothing_and_is_caught_up_on_a_new_link() {
    let limits = Limits { queue_bytes: 256 * 1024, write_deadline: Duration::from_millis(500), ..Limits::default() };
    let (first, second, third, relay) = mesh_with_a_relay(&limits).await;
    let (mut events, mut seen) = (first.events(), second.events());
    relay.carry(false);
    let sent: Vec<_> = (0..100).map(|number| fat(number, 100)).collect();
    for transaction in &sent {
        let submitted = first.submit(transaction).await.unwrap();
        event(&mut seen, "a transaction at the healthy peer", |event| match event {
            Event::Transaction { transaction, .. } => (transaction.id() == submitted.id).then_some(()),
            _ => None,
        })
        .await;
    }
    assert!(first.counted("queues_full").await > 0, "what is not read was queued all the same");
    let cause = event(&mut events, "the end of the dead link", |event| match event {
        Event::PeerDown { cause, .. } => Some(cause),
        _ => None,
    })
    .await;
    assert!(matches!(cause, LinkEnd::Stuck(_)), "{cause}");
    // The relay carries nothing ever again: a link past it, or a comparison with the healthy one,
    // brings what is missing.
    for node in [&first, &second, &third] {
        exactly(node, &sent).await;
    }
}

/// Says again what a dialler said, over a new connection; returns when the node has read it all, or
/// has had enough of it.
async fn replay(port: u16, said: &[u8]) {
    let mut raw = Raw::connect(port).await;
    raw.write(said).await;
    // The node may have closed first.
    raw.0.shutdown().await.ok();
    raw.rest().await;
}

#[tokio::test]
async fn what_a_full_peer_said_doubles_nothing_when_it_is_said_again() {
    let (first, second, third, relay) = mesh_with_a_relay(&Limits::default()).await;
    let mut sent: Vec<_> = (0..60).map(transaction).collect();
    for (number, transaction) in sent.iter().enumerate() {
        [&first, &second, &third][number % 3].submit(transaction).await.unwrap();
    }
    for node in [&first, &second, &third] {
        exactly(node, &sent).await;
    }
    let tape = relay.tape();
    let said = tape.iter().max_by_key(|said| said.len()).unwrap();
    assert!(
        said.windows(7).any(|part| part == b"GET / H") && said.len() > 20 * 200,
        "the link that spoke is on the tape"
    );

    // While the one who said it is linked, thrice at once; at a node that never heard it; and when
    // the one who said it is gone.
    tokio::join!(replay(first.port(), said), replay(first.port(), said), replay(first.port(), said));
    replay(second.port(), said).await;
    linked(&[&first, &second, &third]).await;
    let folder = third.stop().await;
    replay(first.port(), said).await;
    replay(second.port(), said).await;
    linked(&[&first, &second]).await;
    let third = Embedded::start_in(folder, |network| hidden(network, &Limits::default(), relay.address())).await;
    linked(&[&first, &second, &third]).await;

    for (number, node) in (1_000..).zip([&first, &second, &third]) {
        sent.push(transaction(number));
        node.submit(&transaction(number)).await.unwrap();
    }
    for node in [&first, &second, &third] {
        exactly(node, &sent).await;
    }
}

/// A measurement, which means something with optimisation alone: `cargo test --release -p meshpool
/// --test reliability -- --ignored --nocapture`.
#[cfg(not(debug_assertions))]
mod measured {
    use std::collections::HashMap;
    use std::time::Instant;

    use super::*;

    /// How long transactions take from their submission at one node until another has them, sorted.
    async fn delays(from: &Embedded, to: &Embedded, numbers: std::ops::Range<u64>) -> Vec<Duration> {
        const EVERY: Duration = Duration::from_millis(2);
        let mut seen = to.events();
        let mut turn = tokio::time::interval(EVERY);
        let (mut submitted, mut delivered) = (HashMap::new(), HashMap::new());
        let count = numbers.clone().count();
        let submitting = async {
            for number in numbers {
                turn.tick().await;
                let began = Instant::now();
                submitted.insert(from.submit(&fat(number, 8)).await.unwrap().id, began);
            }
        };
        let watching = async {
            while delivered.len() < count {
                if let Event::Transaction { transaction, .. } = seen.recv().await.unwrap() {
                    delivered.insert(transaction.id(), Instant::now());
                }
            }
        };
        tokio::join!(submitting, watching);
        let mut delays: Vec<_> = submitted.iter().map(|(id, began)| delivered[id] - *began).collect();
        delays.sort_unstable();
        delays
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "measures for half a minute; `cargo xtask test --long` runs it"]
    async fn a_full_peer_that_never_reads_leaves_the_delay_between_the_others_as_it_was() {
        const ROUNDS: usize = 4;
        const SENT: u64 = 1_000;
        let limits = Limits { queue_bytes: 256 * 1024, write_deadline: Duration::from_secs(60), ..Limits::default() };
        let (first, second, third, relay) = mesh_with_a_relay(&limits).await;
        let mut next = 0;
        let mut measured = [Vec::new(), Vec::new()];
        for round in 0..2 * ROUNDS {
            let reads = round % 2 == 0;
            relay.carry(reads);
            if !reads {
                let before = first.counted("queues_full").await;
                while first.counted("queues_full").await == before {
                    first.submit(&fat(next, 200)).await.unwrap();
                    next += 1;
                }
            }
            // What was to be done for the last round, or to fill the queue, is not measured.
            let reading = if reads { vec![&second, &third] } else { vec![&second] };
            eventually("equal pools", async || {
                let whole = first.status().await.unwrap().pool;
                for node in &reading {
                    let pool = node.status().await.unwrap().pool;
                    if pool != whole {
                        return Err(format!("{pool:?} instead of {whole:?}"));
                    }
                }
                Ok(())
            })
            .await;
            let delays = delays(&first, &second, next..next + SENT).await;
            next += SENT;
            let at = |part: usize| delays[(delays.len() - 1) * part / 100];
            eprintln!("{}: p50 {:?}, p99 {:?}", if reads { "all read" } else { "one never reads" }, at(50), at(99));
            measured[usize::from(!reads)].push(at(99));
        }
        let [reading, stuck] = measured.map(|mut p99| {
            p99.sort_unstable();
            p99[0]
        });
        eprintln!("p99, the best of {ROUNDS}: {reading:?} while all read, {stuck:?} while one never reads");
        assert!(stuck <= reading * 3 / 2 + Duration::from_millis(1), "{stuck:?} instead of {reading:?}");
    }
}
