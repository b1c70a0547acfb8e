//! Raw WebSocket peers: what the exercise's official tests are, and what a node of the exercise
//! looks like from outside. They do only what a test tells them to.

use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::time::Duration;

use futures_util::{FutureExt, SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, accept_async, client_async};

use super::node::{address, free_port};
use super::{PATIENCE, within};

/// A peer that can be dialled: a listening port.
pub struct Tester {
    listener: TcpListener,
    port: u16,
}

impl Tester {
    /// Listens on a port that no other tester had: nodes go on dialling one that is gone, and must
    /// not reach the next.
    pub async fn listen() -> Self {
        loop {
            let port = free_port();
            match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
                Ok(listener) => return Self { listener, port },
                // Another test program looks just now whether it is free.
                Err(error) => assert_eq!(error.kind(), ErrorKind::AddrInUse, "{error}"),
            }
        }
    }

    /// As [`Self::listen`], with so small a receive buffer that a sender soon notices that nobody
    /// reads.
    pub fn listen_narrow() -> Self {
        let port = free_port();
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.set_recv_buffer_size(4 * 1024).unwrap();
        socket.bind((Ipv4Addr::LOCALHOST, port).into()).unwrap();
        Self { listener: socket.listen(16).unwrap(), port }
    }

    /// Where it can be dialled.
    pub fn address(&self) -> String {
        address(self.port)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Waits for somebody to dial, with patience.
    pub async fn accept(&self) -> Socket {
        self.accept_within(PATIENCE).await
    }

    /// Waits for somebody to dial.
    pub async fn accept_within(&self, patience: Duration) -> Socket {
        let accepted = timeout(patience, async { accept_async(self.accept_raw().await).await.unwrap() }).await;
        Socket(accepted.unwrap_or_else(|_| panic!("{} was not dialled within {patience:?}", self.address())))
    }

    /// Waits for a connection and leaves it as it is, before the upgrade.
    pub async fn accept_raw(&self) -> TcpStream {
        within(format!("a dial of {}", self.address()), self.listener.accept()).await.unwrap().0
    }

    /// Whether a connection waits that was not accepted yet.
    pub fn is_dialled(&self) -> bool {
        self.listener.accept().now_or_never().is_some()
    }

    /// What the official tests do again and again: dial the node, send a HANDSHAKE with our
    /// address, leave, and be dialled back within five seconds. Gives the socket that the node
    /// dialled.
    pub async fn greet(&self, node: u16) -> Socket {
        self.greet_with(node, &[self.address()]).await
    }

    /// [`Self::greet`] with a HANDSHAKE that lists these addresses.
    pub async fn greet_with(&self, node: u16, addresses: &[String]) -> Socket {
        Socket::dial(node).await.unwrap().say_hello(addresses).await;
        self.accept_within(Duration::from_secs(5)).await
    }
}

/// One WebSocket connection.
pub struct Socket(pub(super) WebSocketStream<TcpStream>);

impl Socket {
    /// Dials a node on this host; an error if nobody listens there.
    pub async fn dial(port: u16) -> Result<Self, String> {
        let stream =
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.map_err(|error| format!("not listening: {error}"))?;
        // Else the second of two small frames waits 40 ms for the first one's acknowledgement.
        stream.set_nodelay(true).unwrap();
        let upgrade = within("the upgrade", client_async(address(port), stream)).await;
        upgrade.map(|(socket, _)| Self(socket)).map_err(|error| format!("refused: {error}"))
    }

    /// As [`Self::dial`], with as large a buffer for what comes in as the system gives: as on a
    /// link whose buffer the system has grown.
    pub async fn dial_wide(port: u16) -> Result<Self, String> {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(8 * 1024 * 1024).unwrap();
        let stream = socket.connect((Ipv4Addr::LOCALHOST, port).into()).await;
        let stream = stream.map_err(|error| format!("not listening: {error}"))?;
        stream.set_nodelay(true).unwrap();
        let upgrade = within("the upgrade", client_async(address(port), stream)).await;
        upgrade.map(|(socket, _)| Self(socket)).map_err(|error| format!("refused: {error}"))
    }

    /// Sends a HANDSHAKE that lists these addresses, and leaves.
    pub async fn say_hello(mut self, addresses: &[String]) {
        self.send(&json!({ "type": "HANDSHAKE", "data": addresses })).await;
        self.close().await;
    }

    /// Sends a JSON value as a text frame.
    pub async fn send(&mut self, frame: &Value) {
        self.send_text(frame.to_string()).await;
    }

    /// Sends a text frame.
    pub async fn send_text(&mut self, text: impl Into<String>) {
        self.0.send(Message::text(text.into())).await.unwrap();
    }

    /// Writes bytes past the WebSocket. The other side may have closed already, which reading then
    /// tells.
    pub async fn write_raw(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).await.ok();
    }

    /// Waits for the next frame of any kind, or for the end of the connection, however it comes.
    pub async fn frame_or_end(&mut self) -> Option<Message> {
        within("a frame or the end of the connection", self.0.next()).await?.ok()
    }

    /// Waits for the next frame that is no ping or pong; it must be JSON.
    pub async fn frame(&mut self) -> Value {
        let next = within("a frame", async {
            loop {
                match self.0.next().await {
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    other => return other,
                }
            }
        });
        match next.await {
            Some(Ok(Message::Text(text))) => serde_json::from_str(&text).unwrap(),
            other => panic!("a text frame was due, not {other:?}"),
        }
    }

    /// Waits for the next frame, which must be a HANDSHAKE, and gives the addresses in it.
    pub async fn handshake(&mut self) -> Vec<String> {
        let frame = self.frame().await;
        assert_eq!(frame["type"], "HANDSHAKE", "{frame}");
        serde_json::from_value(frame["data"].clone()).unwrap()
    }

    /// Asks for the node's status. The answer also tells that the node has read all that was sent
    /// before.
    pub async fn status(&mut self) -> Value {
        self.send(&json!({ "type": "STATUS", "data": {} })).await;
        loop {
            let mut frame = self.frame().await;
            if frame["type"] == "STATUS" {
                return frame["data"].take();
            }
        }
    }

    /// Whether nothing has come that was not read yet, a ping apart.
    pub fn is_quiet(&mut self) -> bool {
        loop {
            match self.0.next().now_or_never() {
                None => return true,
                Some(Some(Ok(Message::Ping(_)))) => {}
                Some(_) => return false,
            }
        }
    }

    /// Waits for the other side to close; gives the code and reason of its close frame, if it sent
    /// one.
    pub async fn farewell(&mut self) -> Option<(u16, String)> {
        let mut farewell = None;
        // To the end of the connection: reading on is what answers the close frame.
        while let Some(frame) = self.frame_or_end().await {
            if let Message::Close(Some(frame)) = frame {
                farewell = Some((frame.code.into(), frame.reason.as_str().to_owned()));
            }
        }
        farewell
    }

    /// As [`Self::farewell`], however long that takes.
    pub async fn farewell_whenever(&mut self) -> Option<(u16, String)> {
        let mut farewell = None;
        while let Some(Ok(frame)) = self.0.next().await {
            if let Message::Close(Some(frame)) = frame {
                farewell = Some((frame.code.into(), frame.reason.as_str().to_owned()));
            }
        }
        farewell
    }

    /// Says goodbye and waits for the answer.
    pub async fn close(mut self) {
        // The other side may have closed first; then there is nobody to say goodbye to.
        if self.0.close(None).await.is_ok() {
            within("the end of the connection", async { while let Some(Ok(_)) = self.0.next().await {} }).await;
        }
    }
}
