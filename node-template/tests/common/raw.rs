//! A peer that speaks bytes: what a WebSocket library would not send, and what it would hide of
//! what comes back.

use std::net::Ipv4Addr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::node::address;
use super::within;

/// A TCP connection to a node.
pub struct Raw(pub TcpStream);

impl Raw {
    /// Connects, and says nothing.
    pub async fn connect(port: u16) -> Self {
        let stream = within("a connection", TcpStream::connect((Ipv4Addr::LOCALHOST, port))).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    /// Connects and upgrades.
    pub async fn upgraded(port: u16) -> Self {
        let mut raw = Self::connect(port).await;
        raw.write(request(port, "").as_bytes()).await;
        let answer = raw.head().await;
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        raw
    }

    /// Writes; `false` if the other side has gone.
    pub async fn write(&mut self, bytes: &[u8]) -> bool {
        within("the other side's reading", self.0.write_all(bytes)).await.is_ok()
    }

    /// Reads the head of an HTTP message.
    pub async fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = within("the head of an HTTP message", self.0.read_u8()).await else { break };
            head.push(byte);
        }
        String::from_utf8_lossy(&head).into_owned()
    }

    /// Reads until the connection ends, however it does.
    pub async fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // A reset is an end too.
        within("the end of the connection", self.0.read_to_end(&mut bytes)).await.ok();
        bytes
    }

    /// Reads until a close frame; gives its code and reason. `None` if the connection ends without
    /// one.
    pub async fn farewell(&mut self) -> Option<(u16, String)> {
        within("a close frame or the end of the connection", async {
            loop {
                let (first, length) = (self.0.read_u8().await.ok()?, self.0.read_u8().await.ok()?);
                let length = match length {
                    126 => usize::from(self.0.read_u16().await.ok()?),
                    length @ 0..126 => usize::from(length),
                    _ => panic!("nobody asked for a frame of more than 64 KiB"),
                };
                let mut payload = vec![0; length];
                self.0.read_exact(&mut payload).await.ok()?;
                if let (0x88, [a, b, reason @ ..]) = (first, &payload[..]) {
                    return Some((u16::from_be_bytes([*a, *b]), String::from_utf8_lossy(reason).into_owned()));
                }
            }
        })
        .await
    }

    /// Ends the connection by a reset.
    pub fn reset(self) {
        self.0.set_zero_linger().unwrap();
    }
}

/// A sound upgrade request; `headers`: more lines, each with its end.
pub fn request(port: u16, headers: &str) -> String {
    let host = address(port);
    let host = host.trim_start_matches("ws://");
    format!(
        "GET / HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n{headers}\r\n"
    )
}
