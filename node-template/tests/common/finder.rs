//! A peer that says it has an image, and does with a transfer what a test tells it to.

use std::net::Ipv4Addr;

use futures_util::{SinkExt, StreamExt};
use meshpool::protocol::id::{NodeId, Session, UpgradeIdentity};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async, client_async};

use super::within;

/// The subprotocol of a transfer.
const TRANSFER: &str = "p2p-node.image";

/// A full peer of one node.
pub struct Finder {
    id: NodeId,
    address: String,
    link: WebSocketStream<TcpStream>,
    transfers: mpsc::Receiver<WebSocketStream<TcpStream>>,
}

/// A transfer that a node has opened.
pub struct Transfer {
    socket: WebSocketStream<TcpStream>,
    /// What the node asked for.
    pub asked: Value,
}

impl Finder {
    /// Links to a node as a full peer; two with different numbers are two nodes.
    pub async fn link(node: u16, number: u8) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = format!("ws://127.0.0.1:{}", listener.local_addr().unwrap().port());
        let (id, session) = (NodeId([number; 32]), Session::from_random([number; 16]));
        let (sender, transfers) = mpsc::channel(16);
        tokio::spawn(accept(listener, UpgradeIdentity { node: id, session }, sender));
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, node)).await.unwrap();
        let (link, _) = client_async(format!("ws://localhost:{node}"), stream).await.unwrap();
        let mut finder = Self { id, address, link, transfers };
        let info = json!({
            "id": id.to_string(), "session": session.to_string(), "agent": "test", "protocol": 1, "network": "p2p-node",
            "address": finder.address, "maxPeers": null, "features": [],
        });
        finder.send(&json!({ "type": "HANDSHAKE", "data": [finder.address], "node": info })).await;
        finder.frame("HANDSHAKE").await;
        finder
    }

    pub async fn send(&mut self, frame: &Value) {
        self.link.send(Message::text(frame.to_string())).await.unwrap();
    }

    /// Waits for a frame of a type.
    pub async fn frame(&mut self, kind: &str) -> Value {
        within(format!("a {kind}"), async {
            loop {
                if let Message::Text(text) = self.link.next().await.unwrap().unwrap() {
                    let frame: Value = serde_json::from_str(&text).unwrap();
                    if frame["type"] == kind {
                        return frame;
                    }
                }
            }
        })
        .await
    }

    /// Waits for a question, and gives its id.
    pub async fn asked(&mut self) -> Value {
        self.frame("FIND").await["data"]["id"].clone()
    }

    /// Says that it has an image with this content.
    pub async fn offer(&mut self, id: &Value, name: &str, content: &[u8]) {
        let sha256 = data_encoding::HEXLOWER.encode(&Sha256::digest(content));
        let image = json!({ "name": name, "size": content.len(), "sha256": sha256 });
        let (node, address) = (self.id.to_string(), self.address.clone());
        let data = json!({ "id": id, "node": node, "address": address, "images": [image] });
        self.send(&json!({ "type": "FOUND", "data": data })).await;
    }

    /// Waits for a transfer.
    pub async fn transfer(&mut self) -> Transfer {
        let mut socket = within("a transfer", self.transfers.recv()).await.unwrap();
        let asked = match within("FETCH", socket.next()).await.unwrap().unwrap() {
            Message::Text(text) => serde_json::from_str(&text).unwrap(),
            other => panic!("FETCH was due, not {other:?}"),
        };
        Transfer { socket, asked }
    }
}

impl Transfer {
    /// From which byte on the node wants it.
    pub fn offset(&self) -> usize {
        self.asked["data"]["offset"].as_u64().unwrap() as usize
    }

    /// Sends some bytes.
    pub async fn send(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(64 * 1024) {
            // The node may have had enough.
            if self.socket.send(Message::binary(chunk.to_vec())).await.is_err() {
                return;
            }
        }
    }

    /// Sends one frame, however large.
    pub async fn send_frame(&mut self, bytes: Vec<u8>) {
        self.socket.send(Message::binary(bytes)).await.ok();
    }

    /// Sends so many pings, or until the node has had enough, and reads nothing.
    pub async fn ping(&mut self, count: usize) {
        for _ in 0..count {
            if self.socket.send(Message::Ping(vec![b'x'; 125].into())).await.is_err() {
                return;
            }
        }
    }

    /// Breaks off without a word.
    pub fn vanish(self) {
        self.socket.get_ref().set_zero_linger().unwrap();
    }

    /// Waits until the node has left.
    pub async fn end(mut self) {
        within("the end of a transfer", async { while let Some(Ok(_)) = self.socket.next().await {} }).await;
    }
}

async fn accept(listener: TcpListener, identity: UpgradeIdentity, transfers: mpsc::Sender<WebSocketStream<TcpStream>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let mut transfer = false;
        #[allow(clippy::result_large_err, reason = "the library's callback is defined so")]
        let greet = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
            let headers = response.headers_mut();
            headers.insert(UpgradeIdentity::HEADER, identity.to_string().parse().unwrap());
            if let Some(protocol) = request.headers().get("sec-websocket-protocol") {
                assert_eq!(protocol, TRANSFER);
                headers.insert("sec-websocket-protocol", TRANSFER.parse().unwrap());
                transfer = true;
            }
            Ok(response)
        };
        let Ok(mut socket) = accept_hdr_async(stream, greet).await else { continue };
        if transfer {
            transfers.send(socket).await.unwrap();
        } else {
            // A probe: it leaves by itself.
            tokio::spawn(async move { while let Some(Ok(_)) = socket.next().await {} });
        }
    }
}
