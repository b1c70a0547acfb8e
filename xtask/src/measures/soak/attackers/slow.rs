//! Slow clients: they read a few bytes per second or none, or take long to upgrade.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Result;
use futures_util::FutureExt;
use rand::RngExt;
use rand::rngs::Xoshiro256PlusPlus;
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::TcpStream;
use tokio::time::{Instant, interval};

use crate::measures::soak::attackers::shared::Shared;
use crate::measures::soak::attackers::{spam, wire};
use crate::support::testbed::{frames, node};

/// How long a client stays if it is not closed, in seconds.
const STAYS: std::ops::Range<u64> = 20..120;
/// The receive buffer of the client's socket, in bytes.
const RECEIVES: u32 = 4_096;
/// Bytes that a client reads per second, if any.
const READS: usize = 8;
/// Transactions per second of the client that reads no ACK.
const AGAIN: usize = 200;

/// Attacks one node in one way until the time is over or the node closes the connection.
pub(crate) async fn once(shared: &Shared, from: Ipv4Addr, to: Ipv4Addr, rng: &mut Xoshiro256PlusPlus) -> Result<()> {
    let mut stream = wire::connect(from, to, Some(RECEIVES)).await?;
    shared.connected();
    let until = Instant::now() + Duration::from_secs(rng.random_range(STAYS));
    let mut seconds = interval(Duration::from_secs(1));
    let way = rng.random_range(0..5);
    if way == 4 {
        // The upgrade request, one byte per second.
        for byte in frames::request(to).bytes() {
            seconds.tick().await;
            wire::write(&mut stream, &[byte]).await?;
        }
        return Ok(());
    }
    wire::upgrade(&mut stream, to).await?;
    match way {
        // Native peers; one of them never reads.
        0 | 1 => spam::introduce(&mut stream, from, rng).await?,
        // An exercise peer.
        2 => {
            let handshake = format!(r#"{{"type":"HANDSHAKE","data":["ws://{from}:{}"]}}"#, node::PORT);
            wire::write(&mut stream, &frames::text(&handshake)).await?;
        }
        _ => {}
    }
    while seconds.tick().await < until && !is_closed(&stream) {
        match way {
            1 => {
                let mut few = [0; READS];
                if stream.read(&mut few).await? == 0 {
                    return Ok(());
                }
            }
            // A client that asks for ACKs and reads none.
            3 => {
                let Some(body) = shared.ledger.recent(rng.random_range(0..usize::MAX)) else { continue };
                let again = format!(r#"{{"type":"TRANSACTION","data":{body},"ack":true}}"#);
                for _ in 0..AGAIN {
                    wire::write(&mut stream, &frames::text(&again)).await?;
                    shared.sent();
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether the node has closed the connection; reads nothing.
fn is_closed(stream: &TcpStream) -> bool {
    let ready = stream.ready(Interest::READABLE).now_or_never();
    ready.is_some_and(|ready| ready.map_or(true, |ready| ready.is_read_closed()))
}
