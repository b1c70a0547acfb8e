//! Closed networks: who is let in, who is not, and what both sides are told.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

#[path = "closed/authority.rs"]
mod authority;
mod common;

use std::time::{Duration, SystemTime};

use common::embedded::{Embedded, event};
use common::node::{Node, free_port, javascript_is_here};
use common::raw::Raw;
use common::tester::Socket;
use common::{eventually, exactly, transaction, within};
use futures_util::{SinkExt, StreamExt};
use meshpool::binary::pool::LOCK_FILE;
use meshpool::describe;
use meshpool::protocol::address::PeerAddress;
use meshpool::{Client, ClientError, Events, NodeKey};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;

use authority::{Ca, client, tls};

/// Waits for an event whose words hold all of these.
async fn told(events: &mut Events, parts: &[&str]) -> String {
    event(events, &format!("{parts:?}"), |event| {
        let (_, text) = describe(&event);
        parts.iter().all(|part| text.contains(part)).then_some(text)
    })
    .await
}

/// Waits until a node is linked to this many.
async fn linked(node: &Embedded, peers: usize) {
    eventually(format!("{peers} links of {}", node.address()), async || {
        let connected = node.status().await.unwrap().connected;
        if connected.len() == peers { Ok(()) } else { Err(format!("{connected:?}")) }
    })
    .await;
}

#[tokio::test]
async fn three_members_mesh_and_flood_and_their_operators_get_in() {
    let ca = Ca::new();
    let one = ca.start(|network| network).await;
    let known = one.address().clone();
    assert!(known.is_secure(), "{known}");
    let told = std::fs::read_to_string(one.folder.path().join(LOCK_FILE)).unwrap();
    assert!(told.contains("wss://"), "where tools on this host find the node: {told:?}");
    let two = ca.start(|network| network.known_peer(known.clone())).await;
    let three = ca.start(|network| network.known_peer(known.clone())).await;
    for node in [&one, &two, &three] {
        linked(node, 2).await;
    }
    let sent = transaction(1);
    one.submit(&sent).await.unwrap().stored().await.unwrap();
    let mut operator = client(two.folder.path(), two.address()).await;
    let other = transaction(2);
    operator.submit(&other.to_string()).await.unwrap();
    let status = operator.status(&[]).await.unwrap();
    assert!(status.connected.iter().all(|peer| peer.starts_with("wss://")), "{:?}", status.connected);
    operator.close().await;
    for node in [&one, &two, &three] {
        exactly(node, &[sent.clone(), other.clone()]).await;
        assert_eq!(node.counted("impostors_refused").await + node.counted("connections_refused").await, 0);
    }
}

#[tokio::test]
async fn a_stranger_without_a_certificate_of_the_authority_is_told_and_so_is_the_node() {
    let ca = Ca::new();
    let node = ca.start(|network| network).await;
    let mut events = node.events();
    // Without one.
    let mut stranger = tls(node.port(), None).await.unwrap();
    let error = within("the alert", stranger.read_u8()).await.expect_err("nothing comes").to_string();
    assert!(error.contains("CertificateRequired"), "{error}");
    told(&mut events, &["127.0.0.1", "no certificate", "issue-certificate"]).await;
    // With one of another authority.
    let other = Ca::new().folder();
    let mut stranger = tls(node.port(), Some(other.path())).await.unwrap();
    let error = within("the alert", stranger.read_u8()).await.expect_err("nothing comes").to_string();
    assert!(error.contains("UnknownCA"), "{error}");
    told(&mut events, &["127.0.0.1", "another authority", "issue-certificate"]).await;
    // With one that has expired.
    let expired = ca.folder();
    let id = NodeKey::load(expired.path()).unwrap().unwrap().node_id();
    let (now, hour) = (SystemTime::now(), Duration::from_secs(3_600));
    let pem = ca.authority.issue_between(id, now - 2 * hour, now - hour).unwrap();
    std::fs::write(expired.path().join("node.pem"), pem).unwrap();
    let mut stranger = tls(node.port(), Some(expired.path())).await.unwrap();
    let error = within("the alert", stranger.read_u8()).await.expect_err("nothing comes").to_string();
    assert!(error.contains("CertificateExpired"), "{error}");
    told(&mut events, &["127.0.0.1", "expired", "issue-certificate"]).await;
    assert_eq!(node.counted("connections_refused").await, 3);
    assert_eq!(node.counted("links_opened").await, 0);
    // Neither gets an operator's client further.
    let refused = Client::connect(node.address()).await;
    assert!(matches!(refused, Err(ClientError::Secure { .. })), "{refused:?}");
}

#[tokio::test]
async fn nodes_of_two_closed_networks_say_so_on_both_sides() {
    let node = Ca::new().start(|network| network).await;
    let mut events = node.events();
    let known = node.address().clone();
    let other = Ca::new().start(|network| network.known_peer(known)).await;
    told(&mut other.events(), &["could not be dialled", "another authority", "issue-certificate"]).await;
    told(&mut events, &["was refused", "another closed network"]).await;
}

#[tokio::test]
async fn who_claims_the_id_of_another_is_closed_with_the_reason() {
    let ca = Ca::new();
    let node = ca.start(|network| network).await;
    let mut events = node.events();
    let thief = ca.folder();
    let own = NodeKey::load(thief.path()).unwrap().unwrap().node_id();
    let claimed = "ab".repeat(32);
    let stream = tls(node.port(), Some(thief.path())).await.unwrap();
    let (mut socket, _) = client_async(node.address().to_string(), stream).await.unwrap();
    let hello = json!({
        "type": "HANDSHAKE", "data": ["wss://localhost:9"],
        "node": { "id": claimed, "session": "00000000-0000-4000-8000-000000000001", "agent": "a", "protocol": 1, "network": "p2p-node" },
    });
    socket.send(Message::text(hello.to_string())).await.unwrap();
    let farewell = within("a close frame", async {
        loop {
            if let Some(Ok(Message::Close(Some(frame)))) = socket.next().await {
                return frame;
            }
        }
    })
    .await;
    assert_eq!(u16::from(farewell.code), 1008);
    assert!(farewell.reason.contains("abababab") && farewell.reason.contains(&own.short()), "{}", farewell.reason);
    told(&mut events, &["was refused", "certificate's key", "node.key"]).await;
    assert_eq!(node.counted("impostors_refused").await, 1);
}

#[tokio::test]
async fn open_and_closed_nodes_that_meet_tell_each_other_why_they_part() {
    let closed = Ca::new().start(|network| network).await;
    let mut at_closed = closed.events();
    let to_closed = PeerAddress::new("localhost", closed.port()).unwrap();
    let open = Embedded::start(|network| network.known_peer(to_closed)).await;
    told(&mut open.events(), &["could not be dialled", "closed network", "issue-certificate"]).await;
    told(&mut at_closed, &["was refused", "open network", "issue-certificate"]).await;

    let mut at_open = open.events();
    let to_open = open.address().clone().secured();
    let other = Ca::new().start(|network| network.known_peer(to_open)).await;
    told(&mut other.events(), &["could not be dialled", "does not use TLS", "open network"]).await;
    told(&mut at_open, &["was refused", "closed network", "NETWORK_CA"]).await;

    // Nor is the wrong scheme dialled.
    let wrong = Ca::new().start(|network| network.known_peer("ws://localhost:9".parse().unwrap())).await;
    told(&mut wrong.events(), &["ws://localhost:9", "wss://"]).await;
    let wrong = Embedded::start(|network| network.known_peer("wss://localhost:9".parse().unwrap())).await;
    told(&mut wrong.events(), &["wss://localhost:9", "NETWORK_CA"]).await;
}

#[tokio::test]
async fn a_browser_at_a_closed_node_reads_why() {
    let node = Ca::new().start(|network| network).await;
    let mut raw = Raw::connect(node.port()).await;
    raw.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let answer = String::from_utf8(raw.rest().await).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 426 ") && answer.contains("\r\n\r\nthis node is in a closed network"),
        "{answer}"
    );
    assert!(answer.ends_with("; this node serves no page\n"), "{answer}");
    let mut raw = Raw::connect(node.port()).await;
    raw.write(b"HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let answer = String::from_utf8(raw.rest().await).unwrap();
    assert!(answer.starts_with("HTTP/1.1 426 ") && answer.ends_with("\r\n\r\n"), "{answer}");
}

/// An HTTP error would end a node of the exercise.
#[tokio::test]
async fn a_node_of_the_exercise_that_dials_a_closed_node_is_accepted_and_closed() {
    let node = Ca::new().start(|network| network).await;
    let mut events = node.events();
    let mut socket = Socket::dial(node.port()).await.unwrap();
    // It may speak before it reads the close frame.
    socket.send(&json!({ "type": "HANDSHAKE", "data": ["ws://localhost:9"] })).await;
    let (code, reason) = socket.farewell().await.unwrap();
    assert!(code == 1008 && reason.contains("closed") && reason.contains("wss://"), "{code} {reason}");
    told(&mut events, &["was refused", "open network", "issue-certificate"]).await;
    // One that comes in parts is one all the same.
    let mut raw = Raw::connect(node.port()).await;
    for part in ["GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgr", "ade: websocket\r\n"] {
        raw.write(part.as_bytes()).await;
    }
    raw.write(b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n").await;
    let head = raw.head().await;
    assert!(head.starts_with("HTTP/1.1 101 ") && head.contains("p2p-node: closed\r\n"), "{head}");
    assert_eq!(raw.farewell().await.map(|(code, _)| code), Some(1008));
}

#[tokio::test]
async fn a_javascript_node_survives_its_dial_of_a_closed_node() {
    if !javascript_is_here() {
        return;
    }
    let closed = Ca::new().start(|network| network).await;
    let flags = "--no-error-handler --type-blind --reads-dialled";
    let mut javascript = Node::javascript(free_port(), &[closed.port()], flags);
    javascript.line(&format!("lost ws://localhost:{}", closed.port())).await;
    assert!(javascript.responds().await);
    javascript.assert_alive();
}

#[tokio::test]
async fn a_plain_request_over_tls_is_answered_too() {
    let ca = Ca::new();
    let node = ca.start(|network| network).await;
    let member = ca.folder();
    let mut stream = tls(node.port(), Some(member.path())).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    within("the answer", stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 426 ") && answer.ends_with("; this node serves no page\n"), "{answer}");
}

#[tokio::test]
async fn an_upgrade_that_is_not_valid_is_answered_with_and_without_tls() {
    let ca = Ca::new();
    let node = ca.start(|network| network).await;
    let mut events = node.events();
    let request = |version: &str, key: &str| {
        format!(
            "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: {version}\r\n{key}\r\n"
        )
    };
    let (old, keyless) = (request("8", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"), request("13", ""));
    let member = ca.folder();
    for (request, status, named) in
        [(&old, "426", "'Sec-WebSocket-Version: 13'"), (&keyless, "400", "no Sec-WebSocket-Key")]
    {
        let mut stream = tls(node.port(), Some(member.path())).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        within("the answer", stream.read_to_string(&mut answer)).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.contains(named), "{answer}");
        told(&mut events, &["was refused", named]).await;

        let mut raw = Raw::connect(node.port()).await;
        raw.write(request.as_bytes()).await;
        let answer = String::from_utf8(raw.rest().await).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert!(answer.contains("this node is in a closed network") && answer.contains(named), "{answer}");
    }
    told(&mut events, &["was refused", "it spoke no TLS"]).await;
}

#[tokio::test]
async fn plain_off_refuses_a_node_of_the_exercise_and_lets_the_operator_in() {
    let node = Embedded::start(|network| network.exercise_peers(false)).await;
    let mut events = node.events();
    let mut plain = Socket::dial(node.port()).await.unwrap();
    plain.send(&json!({ "type": "HANDSHAKE", "data": ["ws://localhost:9"] })).await;
    let (code, reason) = plain.farewell().await.unwrap();
    assert!(code == 1008 && reason.contains("PLAIN=off"), "{code} {reason}");
    told(&mut events, &["was refused", "node of the exercise", "PLAIN=on"]).await;
    assert_eq!(node.counted("exercise_refused").await, 1);
    let mut operator = Client::connect(node.address()).await.unwrap();
    operator.submit(&transaction(1).to_string()).await.unwrap();
    operator.close().await;
}

#[tokio::test]
async fn a_certificate_is_renewed_while_the_node_runs_and_a_bad_one_is_not_taken() {
    let ca = Ca::new();
    let node = ca.start(|network| network).await;
    let shown = async || {
        let stream = tls(node.port(), None).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    };
    let first = shown().await;
    std::fs::write(node.folder.path().join("node.pem"), "no certificate").unwrap();
    let error = node.reload().await.expect_err("it cannot be used").to_string();
    assert!(error.contains("node.pem") && error.contains("--request-certificate"), "{error}");
    assert_eq!(shown().await, first, "the old one stays in force");
    ca.certify(node.folder.path(), Duration::from_secs(40 * 24 * 3_600));
    node.reload().await.unwrap();
    assert_ne!(shown().await, first);
    let other = ca.start(|network| network.known_peer(node.address().clone())).await;
    linked(&other, 1).await;
}

#[tokio::test]
async fn a_node_that_is_denied_loses_its_link_and_gets_it_back() {
    let ca = Ca::new();
    let node = ca.start(|network| network).await;
    let (mut events, list) = (node.events(), node.folder.path().join("denied.txt"));
    let other = ca.start(|network| network.known_peer(node.address().clone())).await;
    let bystander = ca.start(|network| network.known_peer(node.address().clone())).await;
    for node in [&node, &other, &bystander] {
        linked(node, 2).await;
    }
    let mut at_other = other.events();
    std::fs::write(&list, format!("{} # lost its laptop\n", other.id())).unwrap();
    node.reload().await.unwrap();
    told(&mut at_other, &["lost", "denied", "node id"]).await;
    told(&mut events, &["was refused", "denied.txt"]).await;
    linked(&node, 1).await;
    std::fs::write(&list, "this is no rule").unwrap();
    let error = node.reload().await.expect_err("no rule").to_string();
    assert!(error.contains("denied.txt, line 1"), "{error}");
    linked(&node, 1).await;
    std::fs::remove_file(&list).unwrap();
    node.reload().await.unwrap();
    linked(&node, 2).await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_key_that_others_can_read_is_refused_with_the_remedy() {
    use std::os::unix::fs::PermissionsExt;

    use meshpool::Network;

    let ca = Ca::new();
    let folder = ca.folder();
    std::fs::set_permissions(folder.path().join("node.key"), std::fs::Permissions::from_mode(0o640)).unwrap();
    let started = Network::new("localhost").folder(folder.path()).closed("ca.pem", "node.pem").start().await;
    let error = started.expect_err("refused").to_string();
    assert!(error.contains("node.key") && error.contains("chmod 600"), "{error}");
}

#[cfg(unix)]
#[tokio::test]
async fn the_binary_joins_takes_sighup_and_keeps_its_secret_out_of_the_log() {
    use rustix::process::{Pid, Signal, kill_process};
    use tempfile::TempDir;

    let ca = Ca::new();
    let (one, two) = (ca.folder(), ca.folder());
    let secrets: Vec<String> =
        [&one, &two].map(|folder| std::fs::read_to_string(folder.path().join("node.key")).unwrap()).into();
    let ports = [free_port(), free_port()];
    let settings = format!("NETWORK_CA=ca.pem\nLOG=trace\nHTTP_PORT=0\nPEERS=localhost:{}", ports[0]);
    let start = |folder: TempDir, port| Node::ours_in(folder, port, &[], &settings);
    let (one, mut two) = (start(one, ports[0]), start(two, ports[1]));
    let says = async |node: &Node, part: &str| {
        eventually(format!("{part:?} of {}", node.address()), async || {
            let said = node.said();
            if said.iter().any(|line| line.contains(part)) { Ok(()) } else { Err(said.join("\n")) }
        })
        .await;
    };
    says(&two, "linked to wss://").await;
    says(&one, "linked to wss://").await;
    let hangup = |node: &Node| kill_process(Pid::from_raw(node.pid() as i32).unwrap(), Signal::HUP).unwrap();
    hangup(&two);
    says(&two, "reloaded the access rules").await;
    std::fs::write(two.folder().join("denied.txt"), "nobody").unwrap();
    hangup(&two);
    says(&two, "SIGHUP: everything stays as it was").await;
    two.assert_alive();
    for node in [&one, &two] {
        let said = node.said().join("\n").to_lowercase();
        for secret in &secrets {
            let secret = secret.trim();
            assert!(secret.len() == 64 && !said.contains(secret), "the key is in the log");
            assert!(!said.contains(&secret[..24]) && !said.contains("private key"), "part of the key is in the log");
        }
        assert!(said.contains("debug"), "the whole log was looked at");
    }
}
