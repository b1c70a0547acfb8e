//! Topics of embedded nodes: who gets what, what is stored, and following it.

#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::time::Duration;

use common::embedded::Embedded;
use common::mount::Protected;
use common::prover::Prover;
use common::tester::Tester;
use common::{eventually, within};
use meshpool::{Follow, FollowError, Followed, Network, NodeError, StartError, TopicConfig, TopicError, TypedItem};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};

/// A node that knows another.
async fn beside(other: &Embedded, describe: impl FnOnce(Network) -> Network) -> Embedded {
    Embedded::start(|network| describe(network.known_peer(other.address().clone()))).await
}

/// The next item, with its position.
async fn item(follow: &mut Follow) -> (u64, Value) {
    match within("an item", follow.next()).await.unwrap() {
        Followed::Item { position, transaction } => (position, serde_json::from_str(transaction.body()).unwrap()),
        other => panic!("{other:?}"),
    }
}

async fn items(follow: &mut Follow, count: usize) -> Vec<(u64, Value)> {
    let mut items = Vec::new();
    while items.len() < count {
        items.push(item(follow).await);
    }
    items
}

fn blocks(network: Network) -> Network {
    network.topic("blocks", TopicConfig::on_disk())
}

/// Waits until a node has so many linked members of a topic.
async fn members(node: &Embedded, topic: &str, count: usize) {
    let topic = node.topic(topic).unwrap();
    eventually(format!("the members of {}", topic.name()), async || {
        let members = topic.status().await.unwrap().members.len();
        if members == count { Ok(()) } else { Err(format!("{members} instead of {count}")) }
    })
    .await;
}

#[tokio::test]
async fn members_get_all_of_a_topic_in_their_own_order_and_others_nothing() {
    let first = Embedded::start(|network| blocks(network).topic("chat", TopicConfig::in_memory())).await;
    let second = beside(&first, blocks).await;
    let stranger = beside(&first, |network| network).await;
    second.links_to(&[&first, &stranger]).await;
    members(&second, "blocks", 1).await;

    let (here, there) = (first.topic("blocks").unwrap(), second.topic("blocks").unwrap());
    let mut follow = there.follow(0);
    let submitted = here.publish(&json!({ "height": 1 })).await.unwrap();
    assert_eq!((submitted.links, submitted.duplicate), (1, false));
    submitted.stored().await.unwrap();
    assert_eq!(item(&mut follow).await, (0, json!({ "height": 1 })));
    there.publish(&json!({ "height": 2 })).await.unwrap().stored().await.unwrap();
    assert_eq!(item(&mut follow).await, (1, json!({ "height": 2 })));
    assert_eq!(items(&mut here.follow(0), 2).await.len(), 2);
    assert!(here.publish(&json!({ "height": 2 })).await.unwrap().duplicate);

    for node in [&first, &second, &stranger] {
        assert_eq!(node.status().await.unwrap().pool.count, 0, "the default topic has nothing of it");
        assert_eq!(node.counted("messages_unknown").await, 0);
    }
    assert!(!stranger.folder.path().join("topics").exists());
    assert!(matches!(stranger.topic("blocks"), Err(NodeError::UnknownTopic(_))));
    let file = std::fs::read_to_string(first.folder.path().join("topics/blocks.json")).unwrap();
    assert_eq!(file, "[\n  {\n    \"height\": 1\n  },\n  {\n    \"height\": 2\n  }\n]");
}

#[tokio::test]
async fn following_goes_on_after_a_restart_where_it_was_and_through_the_default_topic_too() {
    let first = Embedded::start(blocks).await;
    let topic = first.topic("blocks").unwrap();
    for height in 0..5 {
        topic.publish(&json!({ "height": height })).await.unwrap();
    }
    let mut follow = topic.follow(0);
    let read: Vec<_> = items(&mut follow, 3).await.into_iter().map(|(position, _)| position).collect();
    assert_eq!((read, follow.position()), (vec![0, 1, 2], 3));
    let from = follow.position();
    items(&mut follow, 2).await;
    let ended = async { within("the end", follow.next()).await.unwrap_err() };
    let (folder, ended) = tokio::join!(first.stop(), ended);
    assert!(matches!(ended, FollowError::Ended { position: 5 }), "{ended}");

    let first = Embedded::start_in(folder, blocks).await;
    let second = beside(&first, blocks).await;
    members(&second, "blocks", 1).await;
    second.topic("blocks").unwrap().publish(&json!({ "height": 5 })).await.unwrap();
    let mut follow = first.topic("blocks").unwrap().follow(from);
    let heights: Vec<_> =
        items(&mut follow, 3).await.into_iter().map(|(at, item)| (at, item["height"].clone())).collect();
    assert_eq!(heights, [(3, json!(3)), (4, json!(4)), (5, json!(5))]);

    let mut follow = second.topic("transactions").unwrap().follow(0);
    first.submit(&json!({ "n": 1 })).await.unwrap();
    assert_eq!(item(&mut follow).await, (0, json!({ "n": 1 })));
    first.topic("transactions").unwrap().publish(&json!({ "n": 2 })).await.unwrap();
    assert_eq!(item(&mut follow).await, (1, json!({ "n": 2 })));
}

#[tokio::test]
async fn a_slow_follower_misses_nothing_and_gets_nothing_twice() {
    let first = Embedded::start(|network| network.topic("a", TopicConfig::in_memory().keep_bytes(1 << 30))).await;
    let second = beside(&first, blocks_and_a).await;
    members(&second, "a", 1).await;
    let (here, there) = (first.topic("a").unwrap(), second.topic("a").unwrap());
    let mut follow = there.follow(0);
    let count = 3_000;
    let mut last = None;
    for n in 0..count {
        last = Some(here.publish(&json!({ "n": n })).await.unwrap());
    }
    last.unwrap().stored().await.unwrap();
    let items = items(&mut follow, count).await;
    assert!(items.iter().enumerate().all(|(n, (position, _))| *position == n as u64));
    let mut numbers: Vec<_> = items.iter().map(|(_, item)| item["n"].as_u64().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..count as u64).collect::<Vec<_>>());
    assert!(items.iter().all(|(_, item)| item["timeStamp"].is_u64()), "a topic with retention adds the time");
}

fn blocks_and_a(network: Network) -> Network {
    blocks(network).topic("a", TopicConfig::on_disk().keep_count(1_000_000))
}

#[tokio::test]
async fn what_retention_removed_is_passed_over_and_does_not_come_again() {
    let first = Embedded::start(|network| network.topic("a", TopicConfig::on_disk())).await;
    let second = beside(&first, |network| network.topic("a", TopicConfig::in_memory().keep_count(20))).await;
    members(&second, "a", 1).await;
    let (here, there) = (first.topic("a").unwrap(), second.topic("a").unwrap());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    for n in 0..200 {
        here.publish(&json!({ "n": n, "timeStamp": now - 300 + n })).await.unwrap();
    }
    let mut follow = there.follow(199);
    assert_eq!(item(&mut follow).await.0, 199);
    let kept = there.positions();
    assert_eq!(kept.end, 200);
    assert!((20..=21).contains(&(kept.end - kept.start)), "{kept:?}");
    let mut follow = there.follow(0);
    let gap = within("a gap", follow.next()).await.unwrap();
    assert!(matches!(gap, Followed::Removed { from: 0, until } if until == kept.start), "{gap:?}");
    assert_eq!(item(&mut follow).await.1["n"], json!(kept.start));
    // Nothing older is fetched from the one that keeps all, and what is new comes.
    second.node.status().await.unwrap();
    here.publish(&json!({ "n": "new", "timeStamp": now })).await.unwrap();
    let mut follow = there.follow(200);
    assert_eq!(item(&mut follow).await.1["n"], json!("new"));
    assert_eq!(here.status().await.unwrap().count, 201);
    let refused = there.publish(&json!({ "n": "old", "timeStamp": now - 1_000 })).await.unwrap_err();
    assert!(refused.to_string().contains("older than what this topic keeps"), "{refused}");
    let refused = there.publish(&json!({ "n": "early", "timeStamp": now + 1_000 })).await.unwrap_err();
    assert!(refused.to_string().contains("in the future"), "{refused}");
}

#[tokio::test]
async fn a_late_member_gets_a_topic_of_memory_from_the_others_and_it_is_gone_with_them() {
    let memory = |network: Network| network.topic("chat", TopicConfig::in_memory());
    let first = Embedded::start(memory).await;
    let chat = first.topic("chat").unwrap();
    for n in 0..50 {
        chat.publish(&json!({ "n": n })).await.unwrap().stored().await.unwrap();
    }
    let late = beside(&first, memory).await;
    items(&mut late.topic("chat").unwrap().follow(0), 50).await;
    assert!(!first.folder.path().join("topics").exists());
    late.stop().await;
    let again = Embedded::start_in(first.stop().await, memory).await;
    assert_eq!(again.topic("chat").unwrap().positions(), 0..0);
}

#[tokio::test]
async fn each_topic_has_rules_of_its_own_for_its_application_and_for_what_comes() {
    let strict = |transaction: &meshpool::Transaction| match transaction.body().contains("good") {
        true => Ok(()),
        false => Err("it is not good".to_owned()),
    };
    let first = Embedded::start(|network| {
        network.topic("a", TopicConfig::on_disk()).topic("b", TopicConfig::on_disk().require_signatures(true))
    })
    .await;
    let second = beside(&first, |network| {
        network.topic("b", TopicConfig::on_disk()).topic("a", TopicConfig::on_disk().validate(strict))
    })
    .await;
    members(&second, "a", 1).await;
    let (here, there) = (first.topic("a").unwrap(), second.topic("a").unwrap());
    let error = there.publish(&json!({ "n": 1 })).await.unwrap_err();
    assert!(matches!(&error, NodeError::Refused(reason) if reason == "it is not good"), "{error}");
    here.publish(&json!({ "n": 1 })).await.unwrap();
    here.publish(&json!({ "n": "good" })).await.unwrap();
    assert_eq!(item(&mut there.follow(0)).await, (0, json!({ "n": "good" })));
    let error = first.topic("b").unwrap().publish(&json!({ "n": 1 })).await.unwrap_err();
    assert!(error.to_string().contains("not signed"), "{error}");
    second.topic("b").unwrap().publish(&json!({ "n": 1 })).await.unwrap();
    let signed =
        first.sign(meshpool::Transaction::parse(&mut meshpool::protocol::json::Parser::new(), r#"{"n":2}"#).unwrap());
    first.topic("b").unwrap().publish_text(signed.unwrap().body()).await.unwrap();
    assert_eq!(item(&mut first.topic("b").unwrap().follow(0)).await.1["n"], json!(2));
    // The default topic has no such rule.
    second.submit(&json!({ "n": 1 })).await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_declared_is_said_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let start = async |describe: fn(Network) -> Network| {
        describe(Network::new("localhost").folder(folder.path())).start().await.map(|_| ()).unwrap_err()
    };
    let error = start(|network| network.topic("My Blocks", TopicConfig::on_disk())).await;
    assert!(matches!(error, StartError::Topic(TopicError::Name { .. })), "{error}");
    assert_eq!(
        error.to_string(),
        "\"My Blocks\" is no topic: a topic's name has 1 to 32 of the characters a-z, 0-9 and -, and is neither transactions nor a device of Windows, such as nul or com1"
    );
    let error = start(|network| blocks(blocks(network))).await;
    assert!(matches!(error, StartError::Topic(TopicError::Twice(_))), "{error}");
    let error =
        start(|network| (0..17).fold(network, |network, n| network.topic(format!("t{n}"), TopicConfig::in_memory())))
            .await;
    assert!(matches!(error, StartError::Topic(TopicError::TooMany(17))), "{error}");
    std::fs::create_dir(folder.path().join("topics")).unwrap();
    std::fs::write(folder.path().join("topics/blocks.json"), "7").unwrap();
    let error = start(blocks).await;
    assert!(error.to_string().contains("topics/blocks.json:1:1"), "{error}");
    // Nothing holds the folder after that.
    std::fs::remove_file(folder.path().join("topics/blocks.json")).unwrap();
    let node = Embedded::start_in(folder, blocks).await;
    node.stop().await;
}

#[tokio::test]
async fn what_another_program_puts_into_a_topics_file_spreads() {
    let first = Embedded::start(blocks).await;
    let second = beside(&first, blocks).await;
    members(&second, "blocks", 1).await;
    first.topic("blocks").unwrap().publish(&json!({ "n": 1 })).await.unwrap().stored().await.unwrap();
    let path = first.folder.path().join("topics/blocks.json");
    std::fs::write(&path, r#"[{"n":1},{"n":2}]"#).unwrap();
    let mut follow = second.topic("blocks").unwrap().follow(0);
    let numbers: Vec<_> = items(&mut follow, 2).await.into_iter().map(|(_, item)| item["n"].clone()).collect();
    assert_eq!(numbers, [json!(1), json!(2)]);
}

#[tokio::test]
async fn old_items_leave_by_themselves() {
    let brief = |network: Network| network.topic("a", TopicConfig::in_memory().keep_for(Duration::from_secs(2)));
    let node = Embedded::start(brief).await;
    let topic = node.topic("a").unwrap();
    topic.publish(&json!({ "n": 1 })).await.unwrap().stored().await.unwrap();
    eventually("an empty topic", async || {
        let count = topic.status().await.unwrap().count;
        if count == 0 { Ok(()) } else { Err(format!("{count} are left")) }
    })
    .await;
    assert_eq!(topic.positions(), 1..1);
}

#[tokio::test]
async fn items_of_a_type_come_with_their_signers_and_others_are_told() {
    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Block {
        height: u64,
    }
    let node = Embedded::start(|network| blocks(network).sign_submissions(true)).await;
    let topic = node.topic("blocks").unwrap().typed::<Block>();
    topic.publish(&Block { height: 1 }).await.unwrap();
    let other = beside(&node, blocks).await;
    let typed = other.topic("blocks").unwrap().typed::<Block>();
    let mut follow = typed.follow(0);
    let TypedItem::Item { position: 0, signer, value, .. } = within("a block", follow.next()).await.unwrap() else {
        panic!("it is a block")
    };
    assert_eq!((signer, value), (Some(node.id()), Block { height: 1 }));
    typed.topic().publish(&json!({ "depth": 2 })).await.unwrap();
    assert!(matches!(within("another", follow.next()).await.unwrap(), TypedItem::Other { position: 1, .. }));
    assert_eq!(follow.position(), 2);
}

#[tokio::test]
async fn nothing_of_a_topic_reaches_an_exercise_node_or_others_without_it_between_its_members() {
    let first = Embedded::start(blocks).await;
    let exercise = Tester::listen().await;
    let mut of_first = exercise.greet(first.port()).await;
    let between = beside(&first, |network| network).await;
    let second = beside(&first, blocks).await;
    // Both members dial the exercise node, the second because the first told it of it.
    let mut of_second = exercise.greet(second.port()).await;
    // A node of the previous release names no topics.
    let previous = Prover::new();
    let mut of_previous = previous.link(first.port()).await;
    members(&second, "blocks", 1).await;
    let mut follow = second.topic("blocks").unwrap().follow(0);
    for height in 0..5 {
        first.topic("blocks").unwrap().publish(&json!({ "height": height })).await.unwrap();
    }
    items(&mut follow, 5).await;
    for (node, sockets) in [(&first, vec![&mut of_first, &mut of_previous.socket]), (&second, vec![&mut of_second])] {
        // What comes before it was sent before it.
        node.submit(&json!({ "last of": node.port() })).await.unwrap();
        for socket in sockets {
            loop {
                let frame = socket.frame().await;
                assert!(frame["type"] != "TOPIC" && !frame.to_string().contains("height"), "{frame}");
                if frame["data"]["last of"] == node.port() {
                    break;
                }
            }
        }
    }
    assert_eq!(between.counted("messages_unknown").await, 0);
    assert_eq!(between.status().await.unwrap().topics, []);
    assert!(!between.folder.path().join("topics").exists());
    let row = first.status().await.unwrap().topics.remove(0);
    assert_eq!((row.name.as_str(), row.items, row.members), ("blocks", 5, 1));
}

#[tokio::test]
async fn a_folder_of_topics_that_cannot_be_used_is_one_line_with_the_remedy() {
    let one_line = |error: StartError, parts: [&str; 2]| {
        let error = error.to_string();
        assert!(!error.contains('\n') && parts.iter().all(|part| error.contains(part)), "{error}");
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("topics");
    let start = async || blocks(Network::new("localhost").folder(folder.path())).start().await;
    std::fs::write(&path, "").unwrap();
    one_line(start().await.map(|_| ()).unwrap_err(), ["topics away", "move the file "]);
    std::fs::remove_file(&path).unwrap();
    // A new topic in a folder that takes no file, then one whose file takes no writes.
    std::fs::create_dir(&path).unwrap();
    let Some(protected) = Protected::file(&path) else { return };
    one_line(start().await.map(|_| ()).unwrap_err(), ["topics/blocks.json", "mount it writable"]);
    drop(protected);
    std::fs::write(path.join("blocks.json"), r#"[{"height":1}]"#).unwrap();
    let protected = Protected::file(&path.join("blocks.json"));
    one_line(start().await.map(|_| ()).unwrap_err(), ["topics/blocks.json", "mount it writable"]);
    drop(protected);
    let node = start().await.unwrap();
    assert_eq!(item(&mut node.topic("blocks").unwrap().follow(0)).await, (0, json!({ "height": 1 })));
    node.shutdown().await.unwrap();
}

/// The folder of the process that is killed, and how many items it keeps.
const FOLDER: &str = "TOPIC_TEST_FOLDER";
const KEEP: &str = "TOPIC_TEST_KEEP";
/// So many of its items make the file worth rewriting.
const KEPT: u64 = 100;

fn killed_topic(keep: bool) -> TopicConfig {
    if keep { TopicConfig::on_disk().keep_count(KEPT) } else { TopicConfig::on_disk() }
}

/// The process of the test below: it publishes, and names what is stored.
#[tokio::test]
async fn a_process_publishes_until_it_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let config = killed_topic(std::env::var_os(KEEP).is_some());
    let node = Network::new("localhost").folder(folder).topic("a", config).start().await.unwrap();
    let topic = node.topic("a").unwrap();
    let padding = "x".repeat(4_000);
    // Of one second only so many would be kept, and by their ids.
    let item = |n: u64| json!({ "n": n, "padding": padding, "timeStamp": 1_700_000_000 + n });
    let mut next = topic.positions().end;
    loop {
        let mut waiting = Vec::new();
        for n in next..next + 20 {
            waiting.push((n, topic.publish(&item(n)).await.unwrap()));
        }
        next += 20;
        for (n, submitted) in waiting {
            submitted.stored().await.unwrap();
            println!("stored {n}");
        }
    }
}

#[tokio::test]
async fn a_topic_survives_kill_9_in_the_middle_of_appends_and_rewritings() {
    for keep in [false, true] {
        let mut folder = tempfile::tempdir().unwrap();
        let mut acknowledged = None;
        for turn in 1..=4 {
            let mut process = tokio::process::Command::new(std::env::current_exe().unwrap());
            process.args(["a_process_publishes_until_it_is_killed", "--exact", "--nocapture"]);
            process.env(FOLDER, folder.path()).stdout(std::process::Stdio::piped()).kill_on_drop(true);
            if keep {
                process.env(KEEP, "1");
            }
            let mut process = process.spawn().unwrap();
            let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
            let mut more = turn * 150 + rand::random_range(0..100);
            while more > 0 {
                let line = within("an item that is stored", lines.next_line()).await.unwrap().expect("it runs");
                if let Some(n) = line.strip_prefix("stored ") {
                    acknowledged = Some(n.parse::<u64>().unwrap());
                    more -= 1;
                }
            }
            process.kill().await.unwrap();
            while let Some(line) = within("the end of what it said", lines.next_line()).await.unwrap() {
                let stored = line.strip_prefix("stored ").and_then(|n| n.parse().ok());
                acknowledged = acknowledged.max(stored);
            }
            let node = Embedded::start_in(folder, |network| network.topic("a", killed_topic(keep))).await;
            let topic = node.topic("a").unwrap();
            let (kept, last) = (topic.positions(), acknowledged.unwrap());
            assert!(kept.end > last, "{kept:?} without {last}");
            let mut follow = topic.follow(0);
            let mut held = 0;
            while follow.position() < kept.end {
                match within("an item", follow.next()).await.unwrap() {
                    Followed::Item { position, transaction } => {
                        let item: Value = serde_json::from_str(transaction.body()).unwrap();
                        assert_eq!(item["n"], json!(position), "an item has the position that it had");
                        held += 1;
                    }
                    gap => assert!(keep, "{gap:?}"),
                }
            }
            match keep {
                false => assert_eq!(held, kept.end, "all is there"),
                true => assert!(held >= KEPT.min(kept.end), "{held} of {kept:?}"),
            }
            folder = node.stop().await;
        }
    }
}
