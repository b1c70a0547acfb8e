//! The binary's terminal: lines typed go to everybody, others' are shown, and there are three ways
//! to leave.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use common::embedded::{Embedded, event};
use common::node::{clear_environment, collect, free_port};
use common::tester::Socket;
use common::{PATIENCE, eventually, within};
use meshpool::protocol::event::Event;
use meshpool::protocol::limits::Limits;
use meshpool::{Departure, Events};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::watch;
use tokio::time::timeout;

/// A running binary whose standard input a test holds.
struct Typist {
    child: Child,
    port: u16,
    stdin: Option<ChildStdin>,
    shown: watch::Receiver<Vec<String>>,
    _folder: TempDir,
}

impl Typist {
    fn start(known: &Embedded, arguments: &[&str]) -> Self {
        let (folder, port) = (TempDir::new().unwrap(), free_port());
        std::fs::write(folder.path().join(".env"), format!("PORT={port}\n")).unwrap();
        let known = serde_json::json!([known.address().to_string()]).to_string();
        std::fs::write(folder.path().join("known-peers.json"), known).unwrap();
        let mut child = command(folder.path(), arguments).spawn().unwrap();
        let (lines, shown) = watch::channel(Vec::new());
        tokio::spawn(collect(child.stdout.take().unwrap(), Arc::new(lines)));
        let stdin = child.stdin.take();
        Self { child, port, stdin, shown, _folder: folder }
    }

    async fn type_in(&mut self, text: &str) {
        self.stdin.as_mut().unwrap().write_all(text.as_bytes()).await.unwrap();
    }

    /// Waits for a line that ends so, and gives it.
    async fn shows(&self, end: &str) -> String {
        let find = |lines: &Vec<String>| lines.iter().find(|line| line.ends_with(end)).cloned();
        let mut shown = self.shown.clone();
        let found = timeout(PATIENCE, shown.wait_for(|lines| find(lines).is_some())).await;
        match found {
            Ok(Ok(lines)) => find(&lines).unwrap(),
            _ => panic!("no line that ends with {end:?} in {:?}", self.shown.borrow()),
        }
    }

    async fn ended(&mut self) -> ExitStatus {
        within("the end of the process", self.child.wait()).await.unwrap()
    }
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meshpool"));
    clear_environment(command.as_std_mut());
    command.current_dir(folder).args(arguments).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// Waits until a node has announced itself: it is linked at its own end too.
async fn joined(events: &mut Events) {
    event(events, "its announcement", |event| matches!(event, Event::NodeJoined { .. }).then_some(())).await;
}

async fn linked(node: &Embedded) {
    eventually("a link", async || {
        let connected = node.status().await.unwrap().connected;
        if connected.len() == 1 { Ok(()) } else { Err(format!("{connected:?}")) }
    })
    .await;
}

#[tokio::test]
async fn lines_are_broadcast_and_what_others_say_is_shown_once_and_harmless() {
    let node = Embedded::with(Limits::default()).await;
    let mut events = node.events();
    let mut typist = Typist::start(&node, &["--stdin"]);
    joined(&mut events).await;
    typist.type_in("hello\n\n   \nagain\n").await;
    for text in ["hello", "again"] {
        event(&mut events, text, |event| match event {
            Event::Broadcast { broadcast, .. } => {
                assert_eq!(&*broadcast.message, text, "blank lines say nothing");
                Some(())
            }
            _ => None,
        })
        .await;
    }
    node.broadcast("for\u{1b}[2J you\nand you").await.unwrap();
    node.broadcast("last").await.unwrap();
    let line = typist.shows("last").await;
    let (time, rest) = line.split_once(' ').unwrap();
    assert!(time.len() == 8 && time.matches(':').count() == 2, "{line}");
    assert_eq!(rest, format!("{} ({}): last", node.address(), node.id().short()));
    let lines = typist.shown.borrow().clone();
    assert_eq!(lines.len(), 2, "what was typed there is not shown again: {lines:?}");
    assert!(lines[0].ends_with(": for you and you"), "{lines:?}");
}

#[tokio::test]
async fn who_is_alone_is_told_so() {
    let node = Embedded::with(Limits::default()).await;
    let mut typist = Typist::start(&node, &["--stdin"]);
    linked(&node).await;
    node.stop().await;
    // Its link ends in a moment; until then it may have said it to somebody.
    eventually("being told", async || {
        typist.type_in("anybody?\n").await;
        let told = typist.shown.borrow().iter().any(|line| line == "(no peer is linked: no other node has it yet)");
        if told { Ok(()) } else { Err("not told".to_owned()) }
    })
    .await;
    typist.type_in(&format!("{}\n", "x".repeat(20_000))).await;
    typist.shows("bytes; at most 16384 are broadcast)").await;
}

#[tokio::test]
async fn the_last_line_and_the_end_of_input_end_the_node() {
    let node = Embedded::with(Limits::default()).await;
    let mut events = node.events();
    for last in [Some("!DISCONNECT\n"), None] {
        let mut typist = Typist::start(&node, &["--stdin"]);
        joined(&mut events).await;
        typist.type_in("goodbye\n").await;
        match last {
            Some(last) => typist.type_in(last).await,
            None => drop(typist.stdin.take()),
        }
        assert_eq!(typist.ended().await.code(), Some(0));
        let text = event(&mut events, "what was said before", |event| match event {
            Event::Broadcast { broadcast, .. } => Some(broadcast.message.to_string()),
            _ => None,
        })
        .await;
        assert_eq!(text, "goodbye");
        let cause = event(&mut events, "its leaving", |event| match event {
            Event::NodeLeft { cause, .. } => Some(cause),
            _ => None,
        })
        .await;
        assert_eq!(cause, Departure::Goodbye);
    }
}

#[tokio::test]
async fn without_a_terminal_nothing_is_read() {
    let node = Embedded::with(Limits::default()).await;
    let mut events = node.events();
    let mut typist = Typist::start(&node, &[]);
    joined(&mut events).await;
    typist.type_in("not for you\n!DISCONNECT\n").await;
    drop(typist.stdin.take());
    node.broadcast("still there?").await.unwrap();
    typist.shows("still there?").await;
    let heard = event(&mut events, "our own", |event| match event {
        Event::Broadcast { broadcast, .. } => Some(broadcast.message.to_string()),
        _ => None,
    })
    .await;
    assert_eq!(heard, "still there?", "and nothing before it");
}

#[tokio::test]
async fn a_flood_of_one_node_is_cut_short_and_hides_no_other() {
    const FLOOD: usize = 600;
    let flooder = Embedded::with(Limits::default()).await;
    let typist = Typist::start(&flooder, &["--stdin"]);
    linked(&flooder).await;
    let honest = Embedded::start(|network| network.known_peer(flooder.address().clone())).await;
    eventually("all links", async || {
        let connected = honest.status().await.unwrap().connected;
        if connected.len() == 2 { Ok(()) } else { Err(format!("{connected:?}")) }
    })
    .await;
    for _ in 0..FLOOD {
        flooder.broadcast("🦀".repeat(4_096)).await.unwrap();
    }
    let mut client = Socket::dial(typist.port).await.unwrap();
    while client.status().await["counters"]["broadcasts_accepted"] != FLOOD {}
    honest.broadcast("hello from the other").await.unwrap();
    typist.shows(": hello from the other").await;
    let lines = typist.shown.borrow().clone();
    let flood: Vec<_> = lines.iter().filter(|line| line.contains("🦀")).collect();
    assert!((10..=40).contains(&flood.len()), "{} lines of the flood", flood.len());
    assert!(flood.iter().all(|line| line.len() < 500 && line.ends_with("🦀…")), "{:?}", flood[0]);
    let others = lines.iter().filter(|line| !line.contains("🦀")).collect::<Vec<_>>();
    assert_eq!(others.len(), 1, "no line counts what was left out before a minute has passed: {others:?}");
}
