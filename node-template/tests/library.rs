//! The library's handle: a node inside a program, alone and among others.

#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use common::embedded::{Embedded, event};
use common::{Keeper, eventually, exactly, transaction, within};
use meshpool::protocol::event::Event;
use meshpool::protocol::limits::Limits;
use meshpool::{LinkEnd, Network, NodeError};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A node that knows another.
async fn beside(other: &Embedded) -> Embedded {
    Embedded::start(|network| network.known_peer(other.address().clone())).await
}

/// Waits until a node is linked to exactly these.
async fn linked(node: &Embedded, peers: &[&Embedded]) {
    let mut expected: Vec<_> = peers.iter().map(|peer| peer.address().to_string()).collect();
    expected.sort();
    eventually(format!("the links of {}", node.address()), async || {
        let mut links = node.status().await.unwrap().connected;
        links.sort();
        if links == expected { Ok(()) } else { Err(format!("{links:?} instead of {expected:?}")) }
    })
    .await;
}

/// Waits until nodes hold the same and so many.
async fn equal(nodes: &[&Embedded], count: u64) {
    eventually("equal pools", async || {
        let mut pools = Vec::new();
        for node in nodes {
            pools.push(node.status().await.unwrap().pool);
        }
        let done = pools.iter().all(|pool| pool.count == count && *pool == pools[0]);
        if done { Ok(()) } else { Err(format!("{pools:?}")) }
    })
    .await;
}

#[tokio::test]
async fn a_submission_tells_its_links_and_whether_it_is_new_and_waits_for_the_disk() {
    let node = Embedded::with(Limits::default()).await;
    let alone = node.submit(&transaction(1)).await.unwrap();
    assert_eq!((alone.links, alone.duplicate), (0, false), "nobody is there, and that is said");
    let id = alone.id;
    alone.stored().await.unwrap();
    assert_eq!(node.transactions().unwrap(), [transaction(1)], "stored is on the disk");

    let peer = beside(&node).await;
    linked(&node, &[&peer]).await;
    let shared = node.submit(&transaction(2)).await.unwrap();
    assert_eq!((shared.links, shared.duplicate), (1, false));
    // The same content, written another way.
    let again = node.submit_text(&format!("  {:#} ", transaction(1))).await.unwrap();
    assert_eq!((again.id, again.links, again.duplicate), (id, 0, true));
    again.stored().await.unwrap();
    exactly(&peer, &[transaction(1), transaction(2)]).await;

    for (text, reason) in [
        ("[1]", "a transaction is a JSON object, as in {\"amount\":1}; this is an array"),
        ("7", "a transaction is a JSON object, as in {\"amount\":1}; this is a number"),
    ] {
        let error = node.submit_text(text).await.unwrap_err();
        assert!(matches!(error, NodeError::Invalid(_)) && error.to_string() == reason, "{error}");
    }
    for text in ["", "{", r#"{"n":12345678901234567891}"#, r#"{"n":1e400}"#, r#"{"n":"\ud800"}"#] {
        let error = node.submit_text(text).await.unwrap_err();
        assert!(matches!(error, NodeError::Invalid(_)) && !error.to_string().contains('\n'), "{text}: {error}");
    }
    let unwritable = node.submit(&std::collections::BTreeMap::from([((1, 2), 3)])).await.unwrap_err();
    assert!(matches!(unwritable, NodeError::Unwritable(_)), "{unwritable}");
    exactly(&node, &[transaction(1), transaction(2)]).await;
}

#[tokio::test]
async fn events_come_in_the_order_in_which_things_happen() {
    let first = Embedded::with(Limits::default()).await;
    let mut events = first.events();
    let second = beside(&first).await;
    linked(&first, &[&second]).await;
    second.submit(&transaction(1)).await.unwrap();
    let (name, id) = (second.address().to_string(), second.id());
    let mut second = Some(second);
    let mut story = Vec::new();
    while story.last() != Some(&"down") {
        match within("the next event", events.recv()).await.unwrap() {
            Event::PeerUp { peer, dialled, peers } => {
                assert_eq!((peer.node, dialled, peers), (Some(id), false, 1));
                story.push("up");
            }
            Event::Transaction { transaction: taken, peer, links, .. } => {
                assert_eq!(taken.body(), transaction(1).to_string());
                assert_eq!((peer.unwrap().node, links), (Some(id), 0));
                story.push("transaction");
            }
            Event::Stored { ids, pool } => {
                assert_eq!((ids.len(), pool), (1, 1));
                assert_eq!(first.transactions().unwrap(), [transaction(1)]);
                story.push("stored");
                second.take().unwrap().stop().await;
            }
            Event::PeerDown { peer, cause, peers } => {
                assert_eq!((peer.address.unwrap().to_string(), peers), (name.clone(), 0));
                let reason = "this node is shutting down".to_owned();
                assert_eq!(cause, LinkEnd::ClosedByPeer { code: Some(1001), reason });
                assert!(cause.to_string().ends_with("this node is shutting down (1001)"), "{cause}");
                story.push("down");
            }
            _ => {}
        }
    }
    assert_eq!(story, ["up", "transaction", "stored", "down"]);
}

#[tokio::test]
async fn the_status_tells_how_the_node_stands() {
    let first = Embedded::with(Limits::default()).await;
    let second = beside(&first).await;
    linked(&first, &[&second]).await;
    first.submit(&transaction(1)).await.unwrap().stored().await.unwrap();
    equal(&[&first, &second], 1).await;
    let status = first.status().await.unwrap();
    assert_eq!((status.node, status.session), (first.id().to_string(), first.session().to_string()));
    assert_eq!((status.address, status.network.as_str()), (first.address().to_string(), "p2p-node"));
    assert_eq!((status.connected, status.attempting), (vec![second.address().to_string()], Vec::new()));
    assert_eq!((status.pool.count, status.writable), (1, true));
    assert_eq!(status.counters["transactions_accepted"], 1);
    assert!(status.agent.starts_with("p2p-node/"), "{}", status.agent);
}

#[tokio::test]
async fn a_shutdown_stores_what_was_taken_and_releases_folder_and_port() {
    let node = Embedded::with(Limits::default()).await;
    let (port, id, session) = (node.port(), node.id(), node.session());
    let sent: Vec<_> = (0..500).map(transaction).collect();
    for transaction in &sent {
        node.submit(transaction).await.unwrap();
    }
    let folder = node.stop().await;
    let again = Embedded::start_in(folder, |network| network.port(port)).await;
    assert_eq!(again.pooled_at_start(), sent.len());
    assert_eq!((again.port(), again.id()), (port, id), "the folder's key is its identity");
    assert_ne!(again.session(), session, "each run is another");
    exactly(&again, &sent).await;
}

#[tokio::test]
async fn dropping_the_handle_stops_the_node() {
    let (first, watcher) = (Embedded::with(Limits::default()).await, Embedded::with(Limits::default()).await);
    let second =
        Embedded::start(|network| network.known_peer(first.address().clone()).known_peer(watcher.address().clone()))
            .await;
    linked(&second, &[&first, &watcher]).await;
    let mut events = watcher.events();
    let Embedded { node, folder } = second;
    let (port, handle) = (node.address().port(), node.handle());
    drop(node);
    event(&mut events, "the goodbye", |event| matches!(event, Event::PeerDown { .. }).then_some(())).await;
    within("the end", handle.gone()).await;
    let again = Network::new("localhost").folder(folder.path()).port(port).start().await.unwrap();
    within("the end", again.shutdown()).await.unwrap();
}

#[tokio::test]
async fn what_keeps_a_node_from_starting_is_one_line() {
    let node = Embedded::with(Limits::default()).await;
    let port = node.port();
    let free = TempDir::new().unwrap();
    let foreign = TempDir::new().unwrap();
    std::fs::write(foreign.path().join("transactions.json"), "{}").unwrap();
    for (network, what) in [
        (Network::new("localhost").folder(node.folder.path()), "is in use by another node (pid "),
        (Network::new("localhost").folder(free.path()).port(port), " on localhost is in use (as the program asked)"),
        (Network::new("localhost").folder(free.path().join("nowhere")), "make the folder"),
        (Network::new("192.0.2.1").folder(free.path()), "cannot listen on 192.0.2.1, port 0 (as the program asked): "),
        (Network::new("localhost").folder(foreign.path()), "the file is left as it is"),
    ] {
        let error = network.start().await.unwrap_err();
        let line = error.to_string();
        assert!(line.contains(what) && !line.contains('\n'), "{line}");
        assert!(std::error::Error::source(&error).is_none_or(|source| !line.contains(&source.to_string())), "{line}");
    }
    assert_eq!(std::fs::read_to_string(foreign.path().join("transactions.json")).unwrap(), "{}");
    // Nothing of what failed holds the folder.
    Embedded::start_in(free, |network| network).await.stop().await;
}

#[tokio::test]
async fn networks_of_different_names_do_not_link_and_say_why() {
    let one = Embedded::start(|network| network.name("one")).await;
    let mut events = one.events();
    let other = Embedded::start(|network| network.name("other").known_peer(one.address().clone())).await;
    let text = event(&mut events, "the reason", |event| match event {
        Event::Warning { text } => Some(text),
        Event::PeerUp { peer, .. } => panic!("linked to {peer}"),
        _ => None,
    })
    .await;
    let reason = "belongs to the network 'other', this node to 'one'; set NETWORK alike to link them";
    assert!(text.ends_with(reason), "{text}");
    assert_eq!(other.submit(&transaction(1)).await.unwrap().links, 0);
    assert_eq!(one.status().await.unwrap().connected, Vec::<String>::new());
    assert_eq!(one.transactions().unwrap(), Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_joiner_gets_the_whole_pool_while_new_transactions_flow() {
    const OLD: u64 = 10_000;
    const NEW: u64 = 1_000;
    let folder = TempDir::new().unwrap();
    let rows: Vec<_> = (0..OLD).map(transaction).collect();
    std::fs::write(folder.path().join("transactions.json"), serde_json::to_string_pretty(&rows).unwrap()).unwrap();
    let old = Embedded::start_in(folder, |network| network).await;
    assert_eq!(old.pooled_at_start() as u64, OLD);
    let joiner = beside(&old).await;
    for number in 0..NEW {
        let node = if number % 2 == 0 { &old } else { &joiner };
        node.submit(&transaction(OLD + number)).await.unwrap();
    }
    equal(&[&old, &joiner], OLD + NEW).await;
    exactly(&joiner, &(0..OLD + NEW).map(transaction).collect::<Vec<_>>()).await;
    assert!(joiner.counted("transactions_synced").await > 0, "it came by comparison");
}

#[tokio::test]
async fn a_node_that_was_away_gets_what_it_missed_and_brings_what_it_alone_has() {
    let first = Embedded::with(Limits::default()).await;
    let second = beside(&first).await;
    linked(&first, &[&second]).await;
    first.submit(&transaction(1)).await.unwrap();
    equal(&[&first, &second], 1).await;
    let folder = second.stop().await;
    first.submit(&transaction(2)).await.unwrap().stored().await.unwrap();
    let alone = Embedded::start_in(folder, |network| network).await;
    alone.submit(&transaction(3)).await.unwrap();
    let folder = alone.stop().await;
    let back = Embedded::start_in(folder, |network| network.known_peer(first.address().clone())).await;
    equal(&[&first, &back], 3).await;
    for node in [&first, &back] {
        exactly(node, &[transaction(1), transaction(2), transaction(3)]).await;
    }
}

#[tokio::test]
async fn what_another_program_writes_into_the_file_spreads() {
    let first = Embedded::with(Limits::default()).await;
    let second = beside(&first).await;
    linked(&first, &[&second]).await;
    first.submit(&transaction(1)).await.unwrap().stored().await.unwrap();
    equal(&[&first, &second], 1).await;
    // As an editor or the exercise's helper does: read all, add a row, write all.
    let mut rows = first.transactions().unwrap();
    rows.push(transaction(2));
    std::fs::write(first.folder.path().join("transactions.json"), json!(rows).to_string()).unwrap();
    for node in [&first, &second] {
        exactly(node, &[transaction(1), transaction(2)]).await;
    }
    let known = first.submit(&transaction(2)).await.unwrap();
    assert!(known.duplicate, "it is the node's own now");
    second.submit(&transaction(3)).await.unwrap();
    for node in [&first, &second] {
        exactly(node, &[transaction(1), transaction(2), transaction(3)]).await;
    }
}
