//! A node that has no file descriptor left: it keeps what it has, says so once, and accepts again
//! as soon as it can.

#![cfg(unix)]
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::process::Stdio;

use common::node::free_port;
use common::raw::Raw;
use common::tester::Socket;
use common::{eventually, transaction, within};
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// So many files and sockets the node may have open.
const DESCRIPTORS: usize = 64;

/// Starts a node under a limit; `option`: that of `ulimit`.
fn start(folder: &TempDir, port: u16, option: &str) -> Child {
    std::fs::write(folder.path().join(".env"), format!("PORT={port}\nHTTP_PORT=0\n")).unwrap();
    std::fs::write(folder.path().join("known-peers.json"), "[]").unwrap();
    let script = format!("ulimit {option} {DESCRIPTORS} && exec {}", env!("CARGO_BIN_EXE_meshpool"));
    Command::new("sh")
        .args(["-c", &script])
        .current_dir(folder.path())
        .stderr(Stdio::piped())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn a_limit_that_may_be_raised_is_raised_for_the_links_that_the_node_may_have() {
    let (folder, port) = (TempDir::new().unwrap(), free_port());
    let node = start(&folder, port, "-Sn");
    let mut link = eventually("the node's start", async || Socket::dial(port).await).await;
    link.status().await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", node.id().unwrap())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let mut numbers = line.split_whitespace().filter_map(|word| word.parse::<usize>().ok());
    let (current, most) = (numbers.next().unwrap(), numbers.next().unwrap());
    assert!(current == most || current > 1_024, "{line}");
    // Beyond what it began with, each is served.
    let mut strangers = Vec::new();
    for _ in 0..2 * DESCRIPTORS {
        strangers.push(Socket::dial(port).await.unwrap());
    }
    assert_eq!(strangers.last_mut().unwrap().status().await["pool"]["count"], 0);
}

#[tokio::test]
async fn a_node_without_a_descriptor_left_serves_its_links_and_accepts_again() {
    let (folder, port) = (TempDir::new().unwrap(), free_port());
    let mut node = start(&folder, port, "-n");
    let mut log = BufReader::new(node.stderr.take().unwrap()).lines();
    let mut link = eventually("the node's start", async || Socket::dial(port).await).await;
    link.status().await;
    let mut strangers = Vec::new();
    for _ in 0..120 {
        // The system completes connections that the node cannot accept, up to some 128.
        strangers.push(Raw::connect(port).await);
    }
    within("the warning of the start", async {
        while !log.next_line().await.unwrap().unwrap().contains("INBOUND_LINKS is 1024, but only 64 files") {}
    })
    .await;
    within("the line that says so", async {
        while !log.next_line().await.unwrap().unwrap().contains("raise the limit of open files (ulimit -n)") {}
    })
    .await;
    link.send_text(json!({ "type": "TRANSACTION", "data": transaction(1), "ack": true }).to_string()).await;
    let ack = within("an ACK", async {
        loop {
            let frame = link.frame().await;
            if frame["type"] == "ACK" {
                break frame;
            }
        }
    })
    .await;
    assert_eq!(ack["data"]["status"], "stored", "its links and its pool go on");
    drop(strangers);
    let mut newcomer = eventually("a new connection", async || Socket::dial(port).await).await;
    assert_eq!(newcomer.status().await["pool"]["count"], 1);
    assert!(node.try_wait().unwrap().is_none(), "it lives");
}
