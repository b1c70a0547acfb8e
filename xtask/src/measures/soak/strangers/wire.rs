//! A connection that speaks bytes: what a WebSocket library would not send.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::measures::soak::node::PORT;

/// How long one step may take; who is not let in within that gives up.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest answer to an upgrade that is read, in bytes.
const ANSWER: usize = 8 * 1024;

/// Connects from one of our addresses. `receives`: how many bytes the system takes for us that we have not read.
pub(crate) async fn connect(from: Ipv4Addr, to: Ipv4Addr, receives: Option<u32>) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if let Some(bytes) = receives {
        socket.set_recv_buffer_size(bytes)?;
    }
    socket.bind(SocketAddrV4::new(from, 0).into())?;
    Ok(timeout(PATIENCE, socket.connect(SocketAddrV4::new(to, PORT).into())).await??)
}

/// Asks for the upgrade to a WebSocket, and reads the answer's head.
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

/// Writes; an error if the other side has gone, or takes nothing for long.
pub(crate) async fn write(stream: &mut TcpStream, bytes: &[u8]) -> Result<()> {
    timeout(PATIENCE, stream.write_all(bytes)).await?.context("the node has closed")
}

/// A text frame as a client sends it. The mask is zero, so that the payload stands as it is.
pub(crate) fn text(text: &str) -> Vec<u8> {
    frame(0x81, text.as_bytes())
}

/// A frame with any first byte, sound or not.
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
