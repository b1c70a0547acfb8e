//! A TCP connection that sends what a WebSocket library would not.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::measures::soak::node::PORT;

/// The time of one step, after which the attacker gives up.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest response to an upgrade, in bytes.
const ANSWER: usize = 8 * 1024;

/// Connects from an address. `receives` is the size of the receive buffer in bytes.
pub(crate) async fn connect(from: Ipv4Addr, to: Ipv4Addr, receives: Option<u32>) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if let Some(bytes) = receives {
        socket.set_recv_buffer_size(bytes)?;
    }
    socket.bind(SocketAddrV4::new(from, 0).into())?;
    Ok(timeout(PATIENCE, socket.connect(SocketAddrV4::new(to, PORT).into())).await??)
}

/// Requests the upgrade to a WebSocket and reads the head of the response.
pub(crate) async fn upgrade(stream: &mut TcpStream, to: Ipv4Addr) -> Result<()> {
    write(stream, request(to).as_bytes()).await?;
    let mut head = Vec::new();
    let reading = async {
        while !head.ends_with(b"\r\n\r\n") {
            ensure!(head.len() < ANSWER, "an endless answer");
            head.push(stream.read_u8().await?);
        }
        Ok(())
    };
    timeout(PATIENCE, reading).await??;
    ensure!(head.starts_with(b"HTTP/1.1 101 "), "no upgrade");
    Ok(())
}

pub(crate) fn request(to: Ipv4Addr) -> String {
    format!(
        "GET / HTTP/1.1\r\nHost: {to}:{PORT}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
}

/// Writes. It is an error if the node has closed, or takes nothing for long.
pub(crate) async fn write(stream: &mut TcpStream, bytes: &[u8]) -> Result<()> {
    timeout(PATIENCE, stream.write_all(bytes)).await?.context("the node has closed")
}

/// Makes a text frame of a client. The mask is zero, so the payload is unchanged.
pub(crate) fn text(text: &str) -> Vec<u8> {
    frame(0x81, text.as_bytes())
}

/// Makes a frame with any first byte, valid or not.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..126 => frame.push(0x80 | length as u8),
        length @ 126..0x1_0000 => {
            frame.push(0x80 | 126);
            frame.extend((length as u16).to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}
