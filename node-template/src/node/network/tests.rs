//! What becomes of a node whose own parts fail. The commands that make them are in test builds
//! alone.

#[cfg(unix)]
use std::io;

use futures_util::FutureExt;
use meshpool_proto::event::Event;
use tempfile::TempDir;

#[cfg(feature = "wan")]
use crate::config::{LookupMode, RelayMode};
use crate::driver::commands::{Command, Failure};
use crate::events::stream::{RecvError, TryRecvError};
use crate::node::handle::{Handle, NodeError};
use crate::node::network::*;
use crate::node::topic::{FollowError, Followed};

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
    node.commands.send(Command::Fail(Failure::PanicInPool { file: 0 })).await.expect("it runs");
    let error = node.ended().await;
    assert!(matches!(error, NodeError::PoolEnded), "{error}");
    assert!(error.to_string().contains("start the node again"), "{error}");
    assert_eq!(node.ended().await.to_string(), error.to_string(), "once more");
    assert_eq!(node.shutdown().await.expect_err("it had ended").to_string(), error.to_string());
    let again = self::node(&folder).await;
    assert_eq!(again.pooled_at_start(), 1, "what was acknowledged is there, and the folder is free");
    again.shutdown().await.expect("a clean end");
}

/// A node with two files: that of the pool, and that of a topic.
async fn with_topic(folder: &TempDir) -> Node {
    let network = Network::new("localhost").folder(folder.path()).topic("a", TopicConfig::on_disk());
    network.start().await.expect("a node")
}

#[tokio::test]
async fn a_node_does_not_outlive_the_thread_that_writes_a_topic() {
    let folder = TempDir::new().expect("a folder");
    let mut node = with_topic(&folder).await;
    node.commands.send(Command::Fail(Failure::PanicInPool { file: 1 })).await.expect("it runs");
    let error = node.ended().await;
    assert!(matches!(error, NodeError::PoolEnded), "{error}");
    with_topic(&folder).await.shutdown().await.expect("the folder is free");
}

/// What is accepted and not stored would be lost without a word.
#[tokio::test]
async fn a_thread_that_panics_while_the_node_shuts_down_is_no_clean_end() {
    for file in [0, 1] {
        let folder = TempDir::new().expect("a folder");
        let node = with_topic(&folder).await;
        let handle = node.handle();
        let (release, released) = std::sync::mpsc::channel();
        for failure in [Failure::HangInPool { file, released }, Failure::PanicInPool { file }] {
            node.commands.send(Command::Fail(failure)).await.expect("it runs");
        }
        node.status().await.expect("they were carried out");
        let ending = tokio::spawn(node.shutdown());
        while handle.status().await.is_ok() {}
        drop(release);
        let ended = ending.await.expect("no panic of the driver");
        assert!(matches!(ended, Err(NodeError::PoolEnded)), "file {file}: {ended:?}");
        with_topic(&folder).await.shutdown().await.expect("the folder is free");
    }
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
    assert_eq!(node.ended().await.to_string(), error.to_string(), "once more");
    assert_eq!(node.shutdown().await.expect_err("it had ended").to_string(), error.to_string());
    let again = restarted(&folder).await;
    assert_eq!(again.pooled_at_start(), 1);
    again.shutdown().await.expect("a clean end");
}

#[tokio::test]
async fn a_disk_that_hangs_keeps_no_node_from_ending() {
    let folder = TempDir::new().expect("a folder");
    let node = node(&folder).await;
    let (release, released) = std::sync::mpsc::channel();
    node.commands.send(Command::Fail(Failure::HangInPool { file: 0, released })).await.expect("it runs");
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

/// All ways to learn of the end, and the folder is free at each of them.
#[tokio::test]
async fn a_node_has_ended_once_all_is_written_and_its_folder_is_free() {
    let folder = TempDir::new().expect("a folder");
    let node = node(&folder).await;
    let (handle, mut events) = (node.handle(), node.events());
    let mut follow = node.topic("transactions").expect("the default one").follow(0);
    let (release, released) = std::sync::mpsc::channel();
    node.commands.send(Command::Fail(Failure::HangInPool { file: 0, released })).await.expect("it runs");
    node.submit(&serde_json::json!({ "waits": 1 })).await.expect("taken");
    drop(node);
    // From here on the node is ending: it takes no calls.
    while handle.status().await.is_ok() {}
    assert!(!handle.has_ended() && handle.gone().now_or_never().is_none(), "its pool hangs");
    assert!(follow.next().now_or_never().is_none(), "and may store more");
    loop {
        match events.try_recv() {
            Ok(_) => {}
            Err(error) => break assert_eq!(error, TryRecvError::Empty),
        }
    }
    let closed = tokio::spawn(async move { while events.recv().await.is_ok() {} });
    drop(release);
    assert!(matches!(follow.next().await, Ok(Followed::Item { position: 0, .. })));
    assert!(matches!(follow.next().await, Err(FollowError::Ended { position: 1 })));
    assert!(handle.has_ended());
    handle.gone().await;
    closed.await.expect("the events end");
    assert!(matches!(handle.events().recv().await, Err(RecvError::Closed)), "a listener after the end");
    let again = self::node(&folder).await;
    assert_eq!(again.pooled_at_start(), 1, "the folder is free at once");
    again.shutdown().await.expect("a clean end");
}

/// A function may hold a handle, whose node holds the function.
#[tokio::test]
async fn a_node_that_has_ended_keeps_no_function_of_the_application() {
    let folder = TempDir::new().expect("a folder");
    let (held, cell) = (Arc::new(()), Arc::new(std::sync::OnceLock::<Handle>::new()));
    let captured = || (Arc::clone(&held), Arc::clone(&cell));
    let judged = |captured: (Arc<()>, Arc<_>)| {
        move |_: Transaction, _: pool::Reader| {
            let _ = &captured;
            async { Validation::Accept }
        }
    };
    let validated = |captured: (Arc<()>, Arc<_>)| {
        move |_: &Transaction| {
            let _ = &captured;
            Ok(())
        }
    };
    let topic = TopicConfig::in_memory().validate(validated(captured())).validate_with(judged(captured()));
    let network = Network::new("localhost").folder(folder.path()).topic("a", topic);
    let node = network.validate(validated(captured())).validate_with(judged(captured())).start().await.expect("a node");
    let handler = |captured: (Arc<()>, Handle)| {
        move |_: crate::requests::Request| {
            let captured = captured.clone();
            async move { captured.1.status().await.map(|_| "7") }
        }
    };
    node.serve(handler((Arc::clone(&held), node.handle())));
    assert!(cell.set(node.handle()).is_ok());
    drop(cell);
    let handle = node.handle();
    handle.topic("a").expect("declared").publish(&serde_json::json!({ "a": 1 })).await.expect("taken");
    assert_eq!(handle.request(handle.id(), "x").await.expect("an answer"), "7");
    assert_eq!(Arc::strong_count(&held), 6);
    node.shutdown().await.expect("a clean end");
    assert_eq!(Arc::strong_count(&held), 1);
    handle.serve(handler((Arc::clone(&held), handle.clone())));
    assert_eq!(Arc::strong_count(&held), 1, "it would never be called");
    let late = handle.submit(&serde_json::json!({ "b": 1 })).await;
    assert!(matches!(late, Err(NodeError::Ended)), "{late:?}");
}

#[cfg(unix)]
#[tokio::test]
async fn what_could_not_be_stored_is_counted_over_all_topics() {
    let folder = TempDir::new().expect("a folder");
    let path = folder.path().join("node");
    std::fs::create_dir(&path).expect("made");
    let network = Network::new("localhost").folder(&path).topic("a", TopicConfig::on_disk());
    let node = network.topic("b", TopicConfig::on_disk()).start().await.expect("a node");
    std::fs::remove_dir_all(&path).expect("removed");
    let mut accepted = 0;
    for (topic, count) in [("b", 3), ("a", 2)] {
        for n in 0..count {
            let published = node.topic(topic).expect("declared").publish(&serde_json::json!({ "n": n })).await;
            accepted += u64::from(published.is_ok());
        }
    }
    match node.shutdown().await {
        Err(NodeError::NotStored { lost, error }) => {
            assert!(lost == accepted && lost > 1, "{lost} of {accepted}");
            assert!(error.to_string().contains("/topics/"), "of one that lost something: {error}");
        }
        other => panic!("{other:?}"),
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

#[tokio::test]
async fn what_a_file_of_settings_cannot_say_a_program_cannot_either() {
    let folder = TempDir::new().expect("a folder");
    let network = || Network::new("localhost").folder(folder.path());
    let address = |text: &str| text.parse::<PeerAddress>().expect(text);
    let mut refused = vec![
        (network().address(address("wss://a.example:1")), "ADDRESS is wss://a.example:1: wss:// is the address of"),
        (network().address(address("ws://0.0.0.0:1")), "no node can dial that host"),
        (network().address(address("ws://224.0.0.1:1")), "a multicast or broadcast address"),
        (network().address(address("ws://[fe80::1]:1")), "a link-local address needs a zone"),
        (network().address(address("ws://a.example:1")).genesis(address("ws://a.example:1")), "this node itself"),
        (network().max_peers(10_001), "MAX_PEERS is 10001: it is a whole number from 1 to 10000"),
    ];
    #[cfg(feature = "wan")]
    {
        let relays = ["a:1", "b:1", "c:1", "d:1"].map(|relay| relay.parse().expect(relay)).to_vec();
        let with = |mode, relay| WanSettings { mode, relay, ..WanSettings::default() };
        let many = WanSettings { mode: WanMode::On, relays, ..WanSettings::default() };
        let found_by = |name: &str| {
            let lookup = LookupMode::Dht { bootstrap: vec!["b.example:1".to_owned(), name.to_owned()] };
            WanSettings { mode: WanMode::On, lookup, ..WanSettings::default() }
        };
        let by_id = PeerAddress::of_node(NodeKey::from_bytes(&[7; 32]).node_id(), []);
        refused.extend([
            (network().address(by_id), "follows from its key"),
            (network().wan(with(WanMode::Off, RelayMode::Members)), "RELAY is members: WAN is off"),
            (network().wan(many), "RELAYS is 4 relays: three relays are used at most"),
            (network().wan(found_by("a.example")), "LOOKUP_BOOTSTRAP is \"a.example\": a node of the DHT is host:port"),
        ]);
        for host in ["0.0.0.0", "::", "[::]"] {
            let relay = Network::new(host).folder(folder.path()).wan(with(WanMode::Auto, RelayMode::On));
            refused.push((relay, "RELAY is on: a relay needs an address that others can dial; set HOST=0.0.0.0 and"));
        }
        #[cfg(feature = "tls")]
        refused.push((
            network().closed("ca.pem", "node.pem").wan(with(WanMode::On, RelayMode::On)),
            "RELAY is on: a node of a closed network is no relay; run a node of an open network beside it",
        ));
    }
    for (network, part) in refused {
        let error = network.start().await.expect_err(part).to_string();
        assert!(error.contains(part) && !error.contains('\n'), "{error}");
    }
    let node = network().max_peers(10_000).start().await.expect("as many as a file may say");
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
