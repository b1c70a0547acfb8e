//! Asks a node how far it is: one STATUS frame, one answer. Every contestant understands it, so
//! that all are judged by the same eye.
//!
//! It speaks the protocol by hand and takes nothing from the node's library: a fault there can not
//! hide itself here.

use anyhow::{Context, Result, bail};
use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use serde::de::IgnoredAny;
use tokio_tungstenite::tungstenite::Message;

use crate::door::{Door, Socket};

/// What of a node's status is of interest here.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Status {
    /// To how many nodes it is linked.
    pub(crate) connected: usize,
    /// How many transactions it has accepted since its start.
    pub(crate) accepted: u64,
    /// How many of them its pool holds: on disk, with ours; what it has in memory, with a rival
    /// that keeps nothing.
    pub(crate) stored: u64,
    /// How many came to the program a second time. Only rivals in Rust count that: the others'
    /// files, or their Sets, show it.
    pub(crate) twice: u64,
    /// What it counted of copies. Only ours does.
    pub(crate) copies: Option<Copies>,
}

/// Which copies of transactions came to a node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Copies {
    /// Those of transactions that it had already.
    pub(crate) duplicate: u64,
    /// Those that were new, and came because pools were compared: not pushed by a neighbour.
    pub(crate) synced: u64,
}

impl std::iter::Sum for Copies {
    fn sum<I: Iterator<Item = Self>>(copies: I) -> Self {
        copies.fold(Self::default(), |sum, one| Self {
            duplicate: sum.duplicate + one.duplicate,
            synced: sum.synced + one.synced,
        })
    }
}

/// Asks one node, over a connection that it keeps.
#[derive(Debug)]
pub(crate) struct Probe {
    door: Door,
    socket: Option<Socket>,
}

impl Probe {
    pub(crate) fn new(door: Door) -> Self {
        Self { door, socket: None }
    }

    /// The node's status. An error means that it does not listen, has closed the connection, or
    /// does not speak as expected; it can be asked again.
    pub(crate) async fn ask(&mut self) -> Result<Status> {
        // It is put back only after a whole exchange.
        let mut socket = match self.socket.take() {
            Some(socket) => socket,
            None => self.door.open().await?,
        };
        socket.send(Message::text(r#"{"type":"STATUS","data":{}}"#)).await?;
        let status = loop {
            match socket.next().await.context("the node closed the connection")?? {
                Message::Text(text) => break read(&text)?,
                Message::Close(_) => bail!("the node closed the connection"),
                _ => {}
            }
        };
        self.socket = Some(socket);
        Ok(status)
    }
}

fn read(text: &str) -> Result<Status> {
    let answer: Answer =
        serde_json::from_str(text).with_context(|| format!("an answer to STATUS was due, not {text}"))?;
    let Data { connected, pool, twice, counters } = answer.data;
    Ok(Status {
        connected: connected.len(),
        accepted: counters.as_ref().map_or(pool.count, |counters| counters.transactions_accepted),
        stored: pool.count,
        twice,
        copies: counters.map(|counters| Copies {
            duplicate: counters.transactions_duplicate,
            synced: counters.transactions_synced,
        }),
    })
}

#[derive(Deserialize)]
struct Answer {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    connected: Vec<IgnoredAny>,
    pool: Pool,
    #[serde(default)]
    twice: u64,
    counters: Option<Counters>,
}

#[derive(Deserialize)]
struct Pool {
    count: u64,
}

#[derive(Deserialize)]
struct Counters {
    transactions_accepted: u64,
    transactions_duplicate: u64,
    transactions_synced: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rival_without_counters_has_accepted_what_it_holds() {
        let status =
            read(r#"{"type":"STATUS","data":{"connected":["a","b"],"attempting":[],"pool":{"count":7}}}"#).unwrap();
        assert_eq!((status.connected, status.accepted, status.stored, status.copies), (2, 7, 7, None));
    }

    #[test]
    fn a_rival_tells_what_came_twice() {
        let status = read(r#"{"type":"STATUS","data":{"connected":[0],"pool":{"count":7},"twice":3}}"#).unwrap();
        assert_eq!((status.connected, status.accepted, status.twice), (1, 7, 3));
    }

    #[test]
    fn what_is_accepted_and_what_is_on_disk_are_told_apart() {
        let text = r#"{"type":"STATUS","data":{"connected":[],"pool":{"count":7,"sum":""},
            "counters":{"transactions_accepted":9,"transactions_duplicate":18,"transactions_synced":2,"dials":1}}}"#;
        let status = read(text).unwrap();
        let copies = Copies { duplicate: 18, synced: 2 };
        assert_eq!((status.accepted, status.stored, status.copies), (9, 7, Some(copies)));
    }
}
