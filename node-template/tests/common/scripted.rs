//! A scripted peer: it introduces itself to a real node as a native peer does, and then says what a
//! test tells it to and waits for what the test wants (as P2PInterface of Bitcoin Core).
//!
//! ```ignore
//! let mut peer = ScriptedPeer::link(node.port()).await;
//! peer.say("WANT", json!(["00".repeat(32)])).await;
//! let answer = peer.hear("TRANSACTION").await;
//! let counters = peer.settled().await["counters"].take();
//! assert_eq!(peer.farewell().await.unwrap().0, 1008);
//! ```
//!
//! It answers pings while it waits. What it does not wait for, it does not read.

use std::sync::atomic::{AtomicU8, Ordering};

use meshpool::protocol::address::PeerAddress;
use meshpool::protocol::id::{NodeId, Session};
use meshpool::protocol::wire::{Handshake, NodeInfo, PROTOCOL};
use serde_json::{Value, json};

use super::tester::Socket;
use super::within;

/// A native peer that is linked to a node.
pub struct ScriptedPeer {
    pub info: NodeInfo,
    pub socket: Socket,
    /// The node's HANDSHAKE.
    pub greeting: Value,
}

impl ScriptedPeer {
    /// Links to a node, which cannot dial this peer. Each has an id of its own.
    pub async fn link(node: u16) -> Self {
        Self::link_as(node, |info| info).await
    }

    /// As [`Self::link`], with a changed introduction.
    pub async fn link_as(node: u16, change: impl FnOnce(NodeInfo) -> NodeInfo) -> Self {
        Self::introduce(Socket::dial(node).await.unwrap(), change(Self::info())).await
    }

    /// As [`Self::link`], on a link whose buffer for what comes in is large.
    pub async fn link_wide(node: u16) -> Self {
        Self::introduce(Socket::dial_wide(node).await.unwrap(), Self::info()).await
    }

    /// What it says of itself.
    pub fn info() -> NodeInfo {
        static PEERS: AtomicU8 = AtomicU8::new(0);
        let number = PEERS.fetch_add(1, Ordering::Relaxed);
        NodeInfo {
            id: NodeId([number; 32]),
            session: Session::from_random([number; 16]),
            agent: "a scripted peer".into(),
            protocol: PROTOCOL,
            network: "p2p-node".into(),
            address: None,
            max_peers: None,
            topics: Vec::new(),
            calls_back: false,
            relays: false,
            proof: None,
        }
    }

    async fn introduce(socket: Socket, info: NodeInfo) -> Self {
        let mut peer = Self { info, socket, greeting: Value::Null };
        let addresses: Vec<PeerAddress> = peer.info.address.iter().cloned().collect();
        let hello = Handshake { addresses, dropped: 0, node: Some(peer.info.clone()) };
        peer.socket.send_text(hello.to_frame().as_str()).await;
        peer.greeting = peer.hear("HANDSHAKE").await;
        peer
    }

    /// Sends a message.
    pub async fn say(&mut self, kind: &str, data: Value) {
        self.socket.send(&json!({ "type": kind, "data": data })).await;
    }

    /// Waits for a message of a kind; others are read and dropped.
    pub async fn hear(&mut self, kind: &str) -> Value {
        self.hear_where(kind, |_| true).await
    }

    /// Waits for a message of a kind that is wanted.
    pub async fn hear_where(&mut self, kind: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        within(format!("a {kind} that is wanted"), async {
            loop {
                let frame = self.socket.frame().await;
                if frame["type"] == kind && wanted(&frame) {
                    return frame;
                }
            }
        })
        .await
    }

    /// Waits until the node has handled all that was said; returns its status.
    pub async fn settled(&mut self) -> Value {
        self.socket.status().await
    }

    /// Waits until the node closes; returns the code and the reason.
    pub async fn farewell(&mut self) -> Option<(u16, String)> {
        self.socket.farewell().await
    }
}
