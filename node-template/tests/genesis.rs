//! A GENESIS, a cap or a peer that is wrong: one clear line each, and where the node can go on it
//! goes on.

#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use std::net::Ipv4Addr;
use std::process::Stdio;

use common::embedded::Embedded;
use common::hostile::not_a_node;
use common::node::{Node, clear_environment, free_port};
use common::within;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;

/// A node with this genesis address, and the one warning that it prints.
async fn warning(genesis: &str, settings: &str) -> (Node, String) {
    warning_of(genesis, settings, |_| ()).await
}

/// The same; `chosen` is told the node's port before it starts.
async fn warning_of(genesis: &str, settings: &str, chosen: impl FnOnce(u16)) -> (Node, String) {
    let port = free_port();
    chosen(port);
    let node = Node::ours_with(port, &[], &format!("GENESIS={genesis}\n{settings}"));
    let warnings = |said: &[String]| -> Vec<String> {
        said.iter()
            .filter(|line| line.contains("WARN"))
            .map(|line| line.split_once("WARN ").unwrap().1.to_owned())
            .collect()
    };
    let told = common::eventually("a warning", async || {
        let told = warnings(&node.said());
        if told.is_empty() { Err(format!("{:#?}", node.said())) } else { Ok(told) }
    })
    .await;
    assert_eq!(told.len(), 1, "{told:#?}");
    (node, told[0].clone())
}

/// What a node says that does not start, and its exit code.
async fn refusal(env: &str, arguments: &[&str]) -> (i32, String) {
    let folder = TempDir::new().unwrap();
    for (file, text) in [(".env", env), ("known-peers.json", "[]"), ("transactions.json", "[]")] {
        std::fs::write(folder.path().join(file), text).unwrap();
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_meshpool"));
    clear_environment(command.as_std_mut());
    command.current_dir(folder.path()).args(arguments).kill_on_drop(true).stdin(Stdio::null());
    let output = within("the node's end", command.output()).await.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.lines().count(), 1, "{said}");
    (output.status.code().unwrap(), said.trim_end().to_owned())
}

/// A listener that greets each client as an SSH server does.
async fn ssh_server() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut guests = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.write_all(b"SSH-2.0-OpenSSH_9.6\r\n").await.ok();
            guests.push(stream);
        }
    });
    format!("ws://127.0.0.1:{port}")
}

const NOBODY: &str = "no other peer is known: check GENESIS, or name a peer with PEERS";

#[tokio::test]
async fn a_genesis_that_is_this_node_itself_is_refused() {
    let port = free_port();
    let (code, said) = refusal(&format!("PORT={port}\nGENESIS=localhost:{port}"), &[]).await;
    assert_eq!(code, 1, "{said}");
    assert!(said.contains(&format!("GENESIS is localhost:{port} (")), "{said}");
    let ends = "that is this node itself; name another node, or leave GENESIS out at the first one";
    assert!(said.contains(ends), "{said}");
}

#[tokio::test]
async fn a_genesis_that_leads_home_under_another_name_is_told() {
    // As behind a router that forwards a port: nothing in the settings says so, the identity does.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = format!("ws://127.0.0.1:{}", listener.local_addr().unwrap().port());
    let (home, port) = tokio::sync::watch::channel(0);
    tokio::spawn(async move {
        while let Ok((mut outside, _)) = listener.accept().await {
            let port = *port.clone().wait_for(|port| *port != 0).await.unwrap();
            tokio::spawn(async move {
                let mut inside = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
                tokio::io::copy_bidirectional(&mut outside, &mut inside).await.ok();
            });
        }
    });
    for settings in ["", "MAX_PEERS=3"] {
        let here = |port| {
            home.send_replace(port);
        };
        let (mut node, said) = warning_of(&address, settings, here).await;
        let line = "this node itself: ignored; name another node, or leave it out at the first one";
        assert_eq!(said, format!("GENESIS is {address}, {line}"));
        assert_eq!(node.said().iter().filter(|line| line.contains(&address)).count(), 2, "{:#?}", node.said());
        node.assert_alive();
    }
}

#[tokio::test]
async fn a_genesis_that_is_a_web_server_is_told() {
    let address = not_a_node().await;
    let (mut node, said) = warning(&address, "").await;
    assert_eq!(
        said,
        format!(
            "genesis: cannot ask {address} (what answers there is no node: it says HTTP 500 Internal Server Error); {NOBODY}"
        )
    );
    node.assert_alive();
}

#[tokio::test]
async fn a_genesis_that_is_an_ssh_server_is_told() {
    let address = ssh_server().await;
    let (mut node, said) = warning(&address, "").await;
    assert_eq!(said, format!("genesis: cannot ask {address} (what answers there speaks no WebSocket); {NOBODY}"));
    node.assert_alive();
}

#[tokio::test]
async fn a_genesis_of_another_network_is_told() {
    let other = Embedded::start(|network| network.name("other")).await;
    let (mut node, said) = warning(&other.address().to_string(), "MAX_PEERS=3").await;
    assert_eq!(
        said,
        format!(
            "genesis: cannot ask {} (it closed the connection: this is the network 'other', yours is 'p2p-node'; set NETWORK alike (1013)); {NOBODY}",
            other.address()
        )
    );
    node.assert_alive();
}

#[tokio::test]
async fn a_genesis_that_is_not_there_is_told() {
    let address = format!("ws://localhost:{}", free_port());
    let (mut node, said) = warning(&address, "MAX_PEERS=3").await;
    assert_eq!(said, format!("genesis: cannot ask {address} (nobody listens there); {NOBODY}"));
    node.assert_alive();
}

#[tokio::test]
async fn a_cap_or_a_peer_that_is_none_is_refused() {
    let cap = "it is a whole number from 1 to 10000, 3 or more for a robust network; leave it out to link to all nodes";
    let peer = "a peer is ws://host:port or host:port, several are separated by commas";
    for (arguments, begins, remedy) in [
        (["-n", "0"], "MAX_PEERS is 0 (from --max-peers)", cap),
        (["-n", "abc"], "MAX_PEERS is abc (from --max-peers)", cap),
        (["-n", "2.5"], "MAX_PEERS is 2.5 (from --max-peers)", cap),
        (["-p", "nonsense"], "PEERS is nonsense (from --peers)", peer),
        (["-p", "http://localhost:4001"], "PEERS is http://localhost:4001 (from --peers)", peer),
    ] {
        let (code, said) = refusal("PORT=0", &arguments).await;
        assert_eq!(code, 2, "{said}");
        assert!(said.contains(begins) && said.contains(remedy), "{arguments:?}: {said}");
    }
}
