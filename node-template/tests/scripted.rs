//! Attacks and faults of a native peer, each a script of a few lines.

#![cfg(feature = "net")]
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use common::embedded::Embedded;
use common::scripted::ScriptedPeer;
use common::tester::Socket;
use common::{eventually, transaction, transaction_frame};
use meshpool::protocol::limits::Limits;
use serde_json::json;

#[tokio::test]
async fn a_scripted_peer_is_a_native_peer() {
    let node = Embedded::with(Limits::default()).await;
    let mut peer = ScriptedPeer::link(node.port()).await;
    assert_eq!(peer.greeting["node"]["id"], node.id().to_string());
    let submitted = node.submit(&transaction(1)).await.unwrap();
    let frame = peer.hear("TRANSACTION").await;
    assert_eq!((&frame["data"], &frame["from"]), (&transaction(1), &json!(node.id().to_string())));
    let id = submitted.id;
    submitted.stored().await.unwrap();
    // It is new to a second one, which asks for it.
    let mut second = ScriptedPeer::link(node.port()).await;
    second.say("WANT", json!([id.to_string()])).await;
    assert_eq!(second.hear("TRANSACTION").await["data"], transaction(1));
    assert_eq!(second.settled().await["pool"]["count"], 1);
}

/// What a peer that stops reading may have on its way, in bytes, with room for a slow machine: the
/// window of what is sent and unread, and what the link's task took from the queue at once.
const ON_ITS_WAY: usize = 1024 * 1024;

#[tokio::test]
async fn a_prune_takes_back_what_a_peer_has_not_read() {
    let node = Embedded::with(Limits::default()).await;
    let mut peer = ScriptedPeer::link(node.port()).await;
    let fat = |number: u64| {
        let mut fat = transaction(number);
        fat["filling"] = "x".repeat(32 * 1024).into();
        fat
    };
    let mut sent = 0;
    // It reads, and answers pings.
    for number in 0..40 {
        node.submit(&fat(number)).await.unwrap();
        peer.hear_where("TRANSACTION", |frame| frame["data"]["hash"] == fat(number)["hash"]).await;
        sent += 1;
    }
    // It reads no more, and 3.5 MiB are on their way or queued.
    for number in sent..sent + 112 {
        node.submit(&fat(number)).await.unwrap();
    }
    assert_eq!(node.counted("queues_full").await, 0, "nothing was dropped for want of room");
    let queued = async || node.links().await.unwrap().iter().map(|link| link.queued_bytes).sum::<usize>();
    let before = queued().await;
    assert!(before > 2 * ON_ITS_WAY, "{before} bytes are queued here, the rest is in the kernels' buffers");
    peer.say("PRUNE", json!([node.id().to_string()])).await;
    eventually("an empty queue", async || match queued().await {
        bytes if bytes < ON_ITS_WAY => Ok(()),
        bytes => Err(format!("{bytes} bytes")),
    })
    .await;
    let mut bytes = 0;
    peer.socket.send(&json!({ "type": "STATUS", "data": {} })).await;
    loop {
        let frame = peer.socket.frame().await;
        match frame["type"].as_str() {
            Some("STATUS") => break,
            Some("TRANSACTION") => bytes += frame.to_string().len(),
            _ => {}
        }
    }
    assert!(bytes < ON_ITS_WAY, "{bytes} bytes came after a PRUNE");
}

#[tokio::test]
async fn unasked_answers_and_wants_for_nothing_leave_the_node_as_it_is() {
    let node = Embedded::with(Limits::default()).await;
    let mut peer = ScriptedPeer::link(node.port()).await;
    peer.say("WANT", json!([("ab".repeat(32))])).await;
    peer.say("ACK", json!({ "id": "cd".repeat(32), "status": "stored" })).await;
    peer.say(
        "FOUND",
        json!({ "id": "ef".repeat(16), "node": peer.info.id.to_string(), "address": "ws://127.0.0.1:9", "images": [] }),
    )
    .await;
    let status = peer.settled().await;
    assert_eq!(status["pool"]["count"], 0, "{status}");
    let mut client = Socket::dial(node.port()).await.unwrap();
    client.send_text(transaction_frame(&transaction(7))).await;
    assert_eq!(peer.hear("TRANSACTION").await["data"], transaction(7), "it is still served");
}
