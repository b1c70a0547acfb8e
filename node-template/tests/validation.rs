//! The application's say on transactions: what it refuses is told why, is not stored, not passed
//! on, and not asked for again.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::embedded::{Embedded, event};
use common::{eventually, exactly, transaction};
use meshpool::protocol::event::Event;
use meshpool::protocol::transaction::Transaction;
use meshpool::protocol::wire::AckStatus;
use meshpool::{Client, NodeError};
use serde_json::json;

fn no_bad_ones(transaction: &Transaction) -> Result<(), String> {
    if transaction.body().contains("bad") { Err("it is bad".to_owned()) } else { Ok(()) }
}

#[tokio::test]
async fn the_reason_reaches_whoever_sent_it() {
    let node = Embedded::start(|network| network.validate(no_bad_ones)).await;
    let mut client = Client::connect(node.address()).await.unwrap();
    let ack = client.submit(r#"{"is":"bad"}"#).await.unwrap();
    assert_eq!((ack.status, ack.reason.as_deref(), ack.links), (AckStatus::Rejected, Some("it is bad"), 0));
    assert_eq!(ack.id.len(), 64, "it is a transaction, if an unwanted one");
    let ack = client.submit(&transaction(1).to_string()).await.unwrap();
    assert_eq!(ack.status, AckStatus::Stored);
    client.close().await;
    let refused = node.submit(&json!({ "is": "bad" })).await.unwrap_err();
    assert!(matches!(&refused, NodeError::Refused(reason) if reason == "it is bad"), "{refused}");
    exactly(&node, &[transaction(1)]).await;
}

#[tokio::test]
async fn what_a_peer_floods_or_holds_is_refused_once_and_not_wanted_again() {
    let (asked, peer) = (Arc::new(AtomicUsize::new(0)), Embedded::start(|network| network).await);
    for n in 0..20 {
        peer.submit(&json!({ "bad": n })).await.unwrap().stored().await.unwrap();
    }
    peer.submit(&transaction(1)).await.unwrap();
    let counting = Arc::clone(&asked);
    let strict = Embedded::start(|network| {
        network.known_peer(peer.address().clone()).validate(move |transaction| {
            counting.fetch_add(usize::from(transaction.body().contains("bad")), Ordering::Relaxed);
            no_bad_ones(transaction)
        })
    })
    .await;
    let mut events = strict.events();
    // What the pools differ by comes with the first comparison; of it one is taken.
    eventually("the good one", async || match strict.status().await.unwrap().pool.count {
        1 => Ok(()),
        count => Err(format!("{count} are held")),
    })
    .await;
    peer.submit(&json!({ "bad": "flooded" })).await.unwrap();
    peer.submit(&transaction(2)).await.unwrap();
    event(&mut events, "the next good one", |event| match event {
        Event::Transaction { .. } => Some(()),
        _ => None,
    })
    .await;
    // Rounds go on, since the pools differ for good. Of what was refused nothing is sent again.
    let rounds = strict.counted("sync_rounds_differed").await;
    eventually("three more rounds", async || match strict.counted("sync_rounds_differed").await {
        now if now >= rounds + 3 => Ok(()),
        now => Err(format!("{now} after {rounds}")),
    })
    .await;
    assert_eq!(asked.load(Ordering::Relaxed), 21, "each was looked at once");
    exactly(&strict, &[transaction(1), transaction(2)]).await;
}

#[tokio::test]
async fn a_strict_node_passes_nothing_on_that_it_refuses() {
    let strict = Embedded::start(|network| network.validate(no_bad_ones)).await;
    let behind = Embedded::start(|network| network.known_peer(strict.address().clone())).await;
    let mut client = Client::connect(strict.address()).await.unwrap();
    eventually("a link", async || match strict.status().await.unwrap().connected.len() {
        1 => Ok(()),
        links => Err(links.to_string()),
    })
    .await;
    client.submit(r#"{"is":"bad"}"#).await.unwrap();
    client.submit(&transaction(1).to_string()).await.unwrap();
    client.close().await;
    exactly(&behind, &[transaction(1)]).await;
}
