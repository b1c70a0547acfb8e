//! What becomes of a node whose own parts fail. The commands that make them are in test builds
//! alone.

use meshpool_proto::event::Event;
use tempfile::TempDir;

use crate::driver::commands::{Command, Failure};
use crate::node::handle::NodeError;
use crate::node::network::*;

async fn node(folder: &TempDir) -> Node {
    Network::new("localhost").folder(folder.path()).start().await.expect("a node")
}

async fn counted(node: &Node, name: &str) -> u64 {
    node.status().await.expect("a status").counters[name]
}

#[tokio::test]
async fn a_background_task_that_panics_is_a_dial_that_failed() {
    let folder = TempDir::new().expect("a folder");
    let node = node(&folder).await;
    let mut events = node.events();
    let address: PeerAddress = "ws://localhost:1".parse().expect("an address");
    node.commands.send(Command::Fail(Failure::PanicInTask { address: address.clone() })).await.expect("it runs");
    let failed = loop {
        if let Event::DialFailed { address, error, .. } = events.recv().await.expect("an event") {
            break (address, error);
        }
    };
    assert_eq!(failed, (address, "a fault of this program".into()));
    assert_eq!(counted(&node, "tasks_panicked").await, 1);
    node.submit(&serde_json::json!({ "it": "lives" })).await.expect("taken").stored().await.expect("stored");
    node.shutdown().await.expect("a clean end");
}

#[tokio::test]
async fn a_node_does_not_outlive_the_thread_that_writes_its_pool() {
    let folder = TempDir::new().expect("a folder");
    let mut node = node(&folder).await;
    node.submit(&serde_json::json!({ "before": 1 })).await.expect("taken").stored().await.expect("stored");
    node.commands.send(Command::Fail(Failure::PanicInPool)).await.expect("it runs");
    let error = node.ended().await;
    assert!(matches!(error, NodeError::PoolEnded), "{error}");
    assert!(error.to_string().contains("start the node again"), "{error}");
    let again = self::node(&folder).await;
    assert_eq!(again.pooled_at_start(), 1, "what was acknowledged is there, and the folder is free");
    again.shutdown().await.expect("a clean end");
}

#[tokio::test]
async fn a_node_does_not_outlive_its_driver_and_what_it_acknowledged_is_there() {
    let folder = TempDir::new().expect("a folder");
    let mut node = node(&folder).await;
    node.submit(&serde_json::json!({ "before": 1 })).await.expect("taken").stored().await.expect("stored");
    node.commands.send(Command::Fail(Failure::PanicInDriver)).await.expect("it runs");
    let error = node.ended().await;
    assert!(
        matches!(error, NodeError::Panicked(_)) && error.to_string().contains("a fault of this program"),
        "{error}"
    );
    let again = restarted(&folder).await;
    assert_eq!(again.pooled_at_start(), 1);
    again.shutdown().await.expect("a clean end");
}

#[tokio::test]
async fn a_disk_that_hangs_keeps_no_node_from_ending() {
    let folder = TempDir::new().expect("a folder");
    let node = node(&folder).await;
    let (release, released) = std::sync::mpsc::channel();
    node.commands.send(Command::Fail(Failure::HangInPool { released })).await.expect("it runs");
    let waits = node.submit(&serde_json::json!({ "waits": 1 })).await.expect("taken");
    // From here on nothing happens but that time passes.
    tokio::time::pause();
    let error = node.shutdown().await.expect_err("it is not stored");
    assert!(matches!(error, NodeError::Stuck), "{error}");
    tokio::time::resume();
    assert!(waits.stored().await.is_err(), "nothing is acknowledged that is not on the disk");
    drop(release);
    let again = restarted(&folder).await;
    assert_eq!(again.pooled_at_start(), 1, "once the disk goes on, what was taken is stored");
    again.shutdown().await.expect("a clean end");
}

/// A node in the same folder, once the pool's thread of the last one has let go of it.
async fn restarted(folder: &TempDir) -> Node {
    loop {
        match Network::new("localhost").folder(folder.path()).start().await {
            Ok(again) => return again,
            Err(error) => assert!(error.to_string().contains("in use"), "{error}"),
        }
    }
}

#[cfg(unix)]
#[test]
fn a_port_that_only_root_may_listen_on_is_named_as_such() {
    let error = |kind: io::ErrorKind, port| {
        let (origin, host) = ("by default".to_owned(), "localhost".to_owned());
        StartError::Bind { origin, host, port, error: kind.into() }.to_string()
    };
    assert!(error(io::ErrorKind::PermissionDenied, 80).contains("only root may listen on ports below 1024"));
    for (kind, port) in [(io::ErrorKind::PermissionDenied, 4_001), (io::ErrorKind::AddrNotAvailable, 80)] {
        assert!(error(kind, port).ends_with("; check HOST and PORT"));
    }
}

#[tokio::test]
async fn a_name_that_no_invite_can_carry_is_refused_at_the_start() {
    let folder = TempDir::new().expect("a folder");
    for (name, part) in [
        (String::new(), "is not empty"),
        ("n".repeat(100), "at most 64 characters"),
        ("a\nb".to_owned(), "U+000A"),
        ("a\u{200b}".to_owned(), "U+200B"),
        (" a".to_owned(), "begin or end with a space"),
    ] {
        let error =
            Network::new("localhost").folder(folder.path()).name(name).start().await.expect_err(part).to_string();
        assert!(error.contains(part) && error.contains("Network::name"), "{error}");
    }
    assert!(!folder.path().join("transactions.json").exists(), "nothing was made");
    let node = Network::new("localhost").folder(folder.path()).name("it's").start().await.expect("a node");
    node.shutdown().await.expect("a clean end");
}

#[cfg(feature = "wan")]
#[tokio::test]
async fn a_node_does_not_join_by_its_own_invite() {
    let folder = TempDir::new().expect("a folder");
    let key = NodeKey::load_or_create(folder.path()).expect("a key");
    let invite = |node| Invite { address: PeerAddress::of_node(node, []), network: "net".to_owned() };
    let own = invite(key.node_id());
    let by_folder = || Network::new("localhost").folder(folder.path()).join(&own);
    let other = || NodeKey::from_bytes(&[7; 32]);
    let by_key = Network::new("localhost").folder(folder.path()).key(other()).join(&invite(other().node_id()));
    for network in [by_folder(), by_key] {
        let error = network.start().await.expect_err("its own").to_string();
        assert!(error.contains("invite of this node itself"), "{error}");
    }
    // With another key it is another node.
    let node = by_folder().key(other()).start().await.expect("a node, and the folder is free");
    node.shutdown().await.expect("a clean end");
}
