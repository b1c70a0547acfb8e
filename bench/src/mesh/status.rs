//! Requests the STATUS of a node. Every contestant answers it, so all are measured alike.
//!
//! Nothing is taken from the node's library, so a bug there cannot hide here. The names of the
//! counters are those of all releases: builds of different releases can be compared.

use anyhow::{Context, Result, bail};
use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use serde::de::IgnoredAny;
use tokio_tungstenite::tungstenite::Message;

use super::endpoint::{Endpoint, Socket};

/// The part of a node's status that the bench uses.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Status {
    /// The number of links to other nodes.
    pub(crate) connected: usize,
    /// Transactions accepted since its start.
    pub(crate) accepted: u64,
    /// Transactions in its pool: on disk for our node, in memory for a rival without a file.
    pub(crate) stored: u64,
    /// Transactions that were delivered twice; counted by rivals in Rust only.
    pub(crate) twice: u64,
    /// Counters of copies; our node only.
    pub(crate) copies: Option<Copies>,
}

/// Copies of transactions that a node received.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Copies {
    /// Copies of transactions that it had already.
    pub(crate) duplicate: u64,
    /// New ones that anti-entropy brought.
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

/// Requests the status of a node over a connection that stays open.
#[derive(Debug)]
pub(crate) struct Probe {
    endpoint: Endpoint,
    socket: Option<Socket>,
}

impl Probe {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        Self { endpoint, socket: None }
    }

    /// Requests the status. After an error it can be requested again.
    pub(super) async fn request(&mut self) -> Result<Status> {
        // The connection is kept only after a complete exchange.
        let mut socket = match self.socket.take() {
            Some(socket) => socket,
            None => self.endpoint.connect().await?,
        };
        socket.send(Message::text(r#"{"type":"STATUS","data":{}}"#)).await?;
        let status = loop {
            match socket.next().await.context("the node closed the connection")?? {
                Message::Text(text) => break parse(&text)?,
                Message::Close(_) => bail!("the node closed the connection"),
                _ => {}
            }
        };
        self.socket = Some(socket);
        Ok(status)
    }
}

fn parse(text: &str) -> Result<Status> {
    let answer: Answer =
        serde_json::from_str(text).with_context(|| format!("expected an answer to STATUS, got {text}"))?;
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
    fn without_counters_what_is_in_the_pool_is_accepted() {
        let status =
            parse(r#"{"type":"STATUS","data":{"connected":["a","b"],"attempting":[],"pool":{"count":7}}}"#).unwrap();
        assert_eq!((status.connected, status.accepted, status.stored, status.copies), (2, 7, 7, None));
    }

    #[test]
    fn a_rival_counts_what_is_delivered_twice() {
        let status = parse(r#"{"type":"STATUS","data":{"connected":[0],"pool":{"count":7},"twice":3}}"#).unwrap();
        assert_eq!((status.connected, status.accepted, status.twice), (1, 7, 3));
    }

    #[test]
    fn accepted_and_stored_are_different_counts() {
        let text = r#"{"type":"STATUS","data":{"connected":[],"pool":{"count":7,"sum":""},
            "counters":{"transactions_accepted":9,"transactions_duplicate":18,"transactions_synced":2,"dials":1}}}"#;
        let status = parse(text).unwrap();
        let copies = Copies { duplicate: 18, synced: 2 };
        assert_eq!((status.accepted, status.stored, status.copies), (9, 7, Some(copies)));
    }
}
