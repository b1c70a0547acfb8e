//! The application's say on transactions: what it refuses is told why, is not stored, not passed
//! on, and not asked for again.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::embedded::{Embedded, event};
use common::tester::Socket;
use common::{Keeper, eventually, exactly, transaction, within};
use meshpool::protocol::event::Event;
use meshpool::protocol::limits::Limits;
use meshpool::protocol::transaction::Transaction;
use meshpool::protocol::wire::AckStatus;
use meshpool::{Client, Followed, NodeError, TopicConfig, Until, Validation};
use serde_json::{Value, json};

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
    let rounds = strict.counted("sync_rounds").await;
    eventually("three more rounds", async || match strict.counted("sync_rounds").await {
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

/// The number in a transaction of these tests: each has to follow the one before it.
fn number(transaction: &Transaction) -> u64 {
    let body: serde_json::Value = serde_json::from_str(transaction.body()).unwrap();
    body["n"].as_u64().unwrap()
}

/// Accepts what names no other transaction, or one that is on the disk.
async fn after_another(transaction: Transaction, pool: meshpool::PoolReader) -> Validation {
    let value: Value = serde_json::from_str(transaction.body()).unwrap();
    let Some(after) = value["after"].as_str() else { return Validation::Accept };
    match pool.find(&after.parse().unwrap()).await.unwrap() {
        Some(_) => Validation::Accept,
        None => Validation::Defer(Until::changed()),
    }
}

/// Accepts 0, and each number whose predecessor is on the disk.
async fn in_sequence(transaction: Transaction, pool: meshpool::PoolReader) -> Validation {
    let n = number(&transaction);
    if n == 0 {
        return Validation::Accept;
    }
    let page = pool.page(None, 1_000, usize::MAX).await.unwrap();
    match page.rows.iter().any(|(_, other)| number(other) == n - 1) {
        true => Validation::Accept,
        false => Validation::Defer(Until::changed()),
    }
}

#[tokio::test]
async fn orphans_wait_for_their_parents_in_whatever_order_they_come() {
    let node = Embedded::start(|network| network.validate_with(in_sequence)).await;
    let behind = Embedded::start(|network| network.known_peer(node.address().clone())).await;
    node.links_to(&[&behind]).await;
    // The peer has no rules, so it has and floods all, the last first.
    for n in (0..30).rev() {
        behind.submit(&json!({ "n": n })).await.unwrap();
    }
    eventually("the whole chain", async || match node.status().await.unwrap().pool.count {
        30 => Ok(()),
        count => Err(format!("{count} are held")),
    })
    .await;
    let stored: Vec<u64> = node.transactions().unwrap().iter().map(|one| one["n"].as_u64().unwrap()).collect();
    assert_eq!(stored, (0..30).collect::<Vec<_>>(), "in the order of the chain");
    // What is missing by now is told at once to the application itself.
    let deferred = node.submit(&json!({ "n": 31 })).await.unwrap_err();
    assert!(matches!(deferred, NodeError::Deferred), "{deferred}");
    node.submit(&json!({ "n": 30 })).await.unwrap().stored().await.unwrap();
    node.submit(&json!({ "n": 31 })).await.unwrap();
}

#[tokio::test]
async fn what_is_held_by_peers_comes_by_comparison_and_is_deferred_and_accepted() {
    let full = Embedded::start(|network| network).await;
    for n in (0..20).rev() {
        full.submit(&json!({ "n": n })).await.unwrap().stored().await.unwrap();
    }
    let late = Embedded::start(|network| network.known_peer(full.address().clone()).validate_with(in_sequence)).await;
    eventually("the whole chain", async || match late.status().await.unwrap().pool.count {
        20 => Ok(()),
        count => Err(format!("{count} are held")),
    })
    .await;
}

#[tokio::test]
async fn a_function_that_panics_ignores_the_transaction_and_neither_ends_a_link_nor_goes_through_a_call() {
    fn bug(transaction: &Transaction) -> Result<(), String> {
        assert!(number(transaction) != 1, "a bug of the application");
        Ok(())
    }
    let node = Embedded::start(|network| network.validate(bug).topic("a", TopicConfig::on_disk().validate(bug))).await;
    let submitted = node.submit(&json!({ "n": 1 })).await.unwrap_err().to_string();
    let published = node.topic("a").unwrap().publish(&json!({ "n": 1 })).await.unwrap_err().to_string();
    assert!(submitted.contains("ignores") && submitted == published, "{submitted}, {published}");
    assert_eq!(node.counted("tasks_panicked").await, 2);

    // A member without rules holds it, and offers it in each comparison.
    let holder = Embedded::start(|network| network.known_peer(node.address().clone())).await;
    let mut events = node.events();
    for n in 0..3 {
        holder.submit(&json!({ "n": n })).await.unwrap().stored().await.unwrap();
    }
    let holds = async |expected: u64| {
        eventually("the others", async || match node.status().await.unwrap().pool.count {
            count if count == expected => Ok(()),
            count => Err(format!("{count} are held")),
        })
        .await;
    };
    holds(2).await;
    holder.submit(&json!({ "n": 3 })).await.unwrap();
    holds(3).await;
    assert_eq!(node.counted("tasks_panicked").await, 3, "it is asked for once");
    while let Ok(event) = events.try_recv() {
        assert!(!matches!(event, Event::PeerDown { .. }), "{event:?}");
    }
}

#[tokio::test]
async fn each_verdict_reaches_a_client_and_no_other_message_waits_for_it() {
    let (go, went) = tokio::sync::watch::channel(false);
    let node = Embedded::start(|network| {
        network.validate_with(move |transaction, _| {
            let mut went = went.clone();
            async move {
                match number(&transaction) {
                    1 => Validation::Reject("it is 1".to_owned()),
                    2 => Validation::Ignore,
                    3 => {
                        went.wait_for(|went| *went).await.unwrap();
                        Validation::Accept
                    }
                    4 => panic!("for the test"),
                    _ => Validation::Defer(Until::after(std::time::Duration::ZERO)),
                }
            }
        })
    })
    .await;
    let mut client = Client::connect(node.address()).await.unwrap();
    for (n, reason) in [(1, "it is 1"), (2, "ignores"), (4, "ignores")] {
        let ack = client.submit(&json!({ "n": n }).to_string()).await.unwrap();
        assert_eq!(ack.status, AckStatus::Rejected);
        assert!(ack.reason.as_ref().is_some_and(|text| text.contains(reason)), "{ack:?}");
    }
    let mut waiting = Client::connect(node.address()).await.unwrap();
    let waits = tokio::spawn(async move { waiting.submit(&json!({ "n": 3 }).to_string()).await });
    // While its rules wait, the node answers everything else, and judges others.
    let ack = client.submit(&json!({ "n": 1, "again": true }).to_string()).await.unwrap();
    assert_eq!(ack.status, AckStatus::Rejected);
    assert_eq!(client.status(&[]).await.unwrap().pool.count, 0);
    go.send(true).unwrap();
    assert_eq!(waits.await.unwrap().unwrap().status, AckStatus::Stored);
    exactly(&node, &[json!({ "n": 3 })]).await;
    assert_eq!(node.counted("transactions_ignored").await, 2);
    client.close().await;
}

#[tokio::test]
async fn a_client_is_not_closed_for_silence_while_its_transaction_is_judged_or_deferred() {
    let limits = Limits { client_silence: std::time::Duration::from_millis(100), ..Limits::default() };
    let (go, went) = tokio::sync::watch::channel(false);
    let node = Embedded::start(|network| {
        network.limits(limits).validate_with(move |transaction, _| {
            let mut went = went.clone();
            async move {
                let defers = number(&transaction) == 1;
                if defers && !*went.borrow() {
                    return Validation::Defer(Until::after(std::time::Duration::from_millis(10)));
                }
                went.wait_for(|went| *went).await.unwrap();
                Validation::Accept
            }
        })
    })
    .await;
    let waits: Vec<_> = [1, 2]
        .map(|n| {
            let address = node.address().clone();
            tokio::spawn(async move {
                Client::connect(&address).await.unwrap().submit(&json!({ "n": n }).to_string()).await
            })
        })
        .into();
    // It says nothing, and comes after them: so their time is over too once it is closed.
    eventually("both are judged", async || match node.links().await.unwrap().len() {
        2 => Ok(()),
        links => Err(format!("{links} links")),
    })
    .await;
    for _ in 0..3 {
        let mut idle = Socket::dial(node.port()).await.unwrap();
        while idle.frame_or_end().await.is_some() {}
    }
    go.send(true).unwrap();
    for waits in waits {
        assert_eq!(waits.await.unwrap().unwrap().status, AckStatus::Stored);
    }
}

#[tokio::test]
async fn what_a_client_that_left_had_sent_is_judged_and_flooded_all_the_same() {
    let (go, went) = tokio::sync::watch::channel(false);
    let (asked, judged) = tokio::sync::mpsc::unbounded_channel();
    let mut judged = judged;
    let node = Embedded::start(|network| {
        network.validate_with(move |_, _| {
            let (mut went, asked) = (went.clone(), asked.clone());
            async move {
                asked.send(()).unwrap();
                went.wait_for(|went| *went).await.unwrap();
                Validation::Accept
            }
        })
    })
    .await;
    let mut socket = common::tester::Socket::dial(node.port()).await.unwrap();
    socket.send(&json!({ "type": "TRANSACTION", "data": transaction(1) })).await;
    common::within("the judgement", judged.recv()).await.unwrap();
    drop(socket);
    eventually("the end of the link", async || match node.links().await.unwrap().len() {
        0 => Ok(()),
        links => Err(links.to_string()),
    })
    .await;
    go.send(true).unwrap();
    exactly(&node, &[transaction(1)]).await;
}

/// Waits until a node has a linked member of the topic `chain`.
async fn has_member(node: &Embedded) {
    let topic = node.topic("chain").unwrap();
    eventually("a member", async || match topic.status().await.unwrap().members.len() {
        0 => Err("none".to_owned()),
        _ => Ok(()),
    })
    .await;
}

#[tokio::test]
async fn a_late_member_takes_a_long_chain_link_by_link() {
    const LENGTH: u64 = 600;
    let of = |network: meshpool::Network, config: TopicConfig| network.topic("chain", config);
    let full = Embedded::start(|network| of(network, TopicConfig::in_memory())).await;
    let (chain, mut after) = (full.topic("chain").unwrap(), None);
    for n in 0..LENGTH {
        let sent = chain.publish(&json!({ "n": n, "after": after })).await.unwrap();
        after = Some(sent.id.to_string());
    }
    let late = Embedded::start(|network| {
        let network = network.known_peer(full.address().clone());
        of(network, TopicConfig::in_memory().validate_with(after_another))
    })
    .await;
    let chain = late.topic("chain").unwrap();
    eventually("the whole chain", async || match chain.status().await.unwrap().count {
        LENGTH => Ok(()),
        count => Err(format!("{count} are held")),
    })
    .await;
}

#[tokio::test]
async fn a_topic_has_rules_with_state_of_its_own_and_they_read_its_own_items() {
    for config in [TopicConfig::on_disk, TopicConfig::in_memory] {
        let node = Embedded::start(|network| network.topic("chain", config().validate_with(in_sequence))).await;
        let behind =
            Embedded::start(|network| network.known_peer(node.address().clone()).topic("chain", config())).await;
        has_member(&behind).await;
        // The default topic has no rules: what its rules would defer is stored.
        node.submit(&json!({ "n": 29 })).await.unwrap().stored().await.unwrap();
        let (judging, free) = (node.topic("chain").unwrap(), behind.topic("chain").unwrap());
        for n in (0..30).rev() {
            free.publish(&json!({ "n": n })).await.unwrap();
        }
        let mut follow = judging.follow(0);
        for n in 0..30 {
            match within("an item", follow.next()).await.unwrap() {
                Followed::Item { transaction, .. } => assert_eq!(number(&transaction), n, "in the order of the chain"),
                other => panic!("{other:?}"),
            }
        }
        let status = judging.status().await.unwrap();
        assert_eq!((status.count, status.refused), (30, 0));
        assert!(status.deferred > 0, "{status:?}");
        let deferred = judging.publish(&json!({ "n": 31 })).await.unwrap_err();
        assert!(matches!(deferred, NodeError::Deferred), "{deferred}");
        judging.publish(&json!({ "n": 30 })).await.unwrap().stored().await.unwrap();
        judging.publish(&json!({ "n": 31 })).await.unwrap();
        assert_eq!(judging.pool().page(None, 2, usize::MAX).await.unwrap().rows.len(), 2);
        exactly(&node, &[json!({ "n": 29 })]).await;
    }
}

/// Judges an item by its number: 1 is rejected, 2 is ignored.
async fn by_number(item: Transaction, _: meshpool::PoolReader) -> Validation {
    match number(&item) {
        1 => Validation::Reject("it is 1".to_owned()),
        2 => Validation::Ignore,
        _ => Validation::Accept,
    }
}

#[tokio::test]
async fn two_topics_with_rules_judge_their_own_items_and_their_verdicts_are_counted() {
    let both = |network: meshpool::Network| {
        network.topic("chain", TopicConfig::on_disk()).topic("other", TopicConfig::in_memory())
    };
    let strict = Embedded::start(|network| {
        let network = network.topic("chain", TopicConfig::on_disk().validate_with(by_number));
        let all_but_3 = async |item: Transaction, _| match number(&item) {
            3 => Validation::Reject("it is 3".to_owned()),
            _ => Validation::Accept,
        };
        network.topic("other", TopicConfig::in_memory().validate_with(all_but_3)).validate_with(by_number)
    })
    .await;
    let peer = Embedded::start(|network| both(network.known_peer(strict.address().clone()))).await;
    has_member(&peer).await;
    for name in ["chain", "other"] {
        for n in 1..=4 {
            peer.topic(name).unwrap().publish(&json!({ "n": n })).await.unwrap();
        }
    }
    for (name, expected) in [("chain", (2, 1, 1)), ("other", (3, 1, 0))] {
        let topic = strict.topic(name).unwrap();
        eventually(format!("the items of {name}"), async || {
            let status = topic.status().await.unwrap();
            let counted = (status.count, status.refused, status.ignored);
            if counted == expected { Ok(()) } else { Err(format!("{counted:?}")) }
        })
        .await;
    }
    let refused = strict.topic("chain").unwrap().publish(&json!({ "n": 1 })).await.unwrap_err();
    assert!(matches!(&refused, NodeError::Refused(reason) if reason == "it is 1"), "{refused}");
    strict.topic("other").unwrap().publish(&json!({ "n": 1 })).await.unwrap();
    assert_eq!(strict.status().await.unwrap().connected.len(), 1, "nobody is to blame");
}

#[tokio::test]
async fn an_item_whose_bringer_left_is_judged_and_stored_in_its_topic() {
    let (go, went) = tokio::sync::watch::channel(false);
    let (asked, mut judged) = tokio::sync::mpsc::unbounded_channel();
    let node = Embedded::start(|network| {
        let rules = move |_, _| {
            let (mut went, asked) = (went.clone(), asked.clone());
            async move {
                asked.send(()).unwrap();
                went.wait_for(|went| *went).await.unwrap();
                Validation::Accept
            }
        };
        network.topic("chain", TopicConfig::on_disk().validate_with(rules))
    })
    .await;
    let peer =
        Embedded::start(|network| network.known_peer(node.address().clone()).topic("chain", TopicConfig::on_disk()))
            .await;
    has_member(&peer).await;
    peer.topic("chain").unwrap().publish(&json!({ "n": 1 })).await.unwrap();
    within("the judgement", judged.recv()).await.unwrap();
    peer.stop().await;
    node.links_to(&[]).await;
    go.send(true).unwrap();
    let topic = node.topic("chain").unwrap();
    assert!(matches!(within("the item", topic.follow(0).next()).await.unwrap(), Followed::Item { position: 0, .. }));
    assert_eq!(node.status().await.unwrap().pool.count, 0, "the default topic has nothing of it");
}
