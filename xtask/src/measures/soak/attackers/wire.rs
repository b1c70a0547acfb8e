//! A TCP connection that sends what a WebSocket library would not.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::support::testbed::frames::request;
use crate::support::testbed::node::PORT;

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

/// Writes. It is an error if the node has closed, or takes nothing for long.
pub(crate) async fn write(stream: &mut TcpStream, bytes: &[u8]) -> Result<()> {
    timeout(PATIENCE, stream.write_all(bytes)).await?.context("the node has closed")
}
