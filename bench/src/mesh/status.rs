//! Requests the STATUS of a node. Every contestant answers it, so all are measured alike.
//!
//! Nothing is taken from the node's library, so a bug there cannot hide here. The names of the
//! counters are those of all releases: builds of different releases can be compared.

use std::collections::HashSet;

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
    /// The nodes that it is linked to over iroh; our node only.
    pub(crate) over_iroh: usize,
    /// The nodes among them to which a link takes a direct path.
    pub(crate) direct: usize,
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

impl Status {
    /// Returns the number of links that are of the kind that is measured: over iroh on a direct
    /// path, or over TCP.
    pub(super) fn links(&self, over_iroh: bool) -> usize {
        if over_iroh { self.direct } else { self.connected.saturating_sub(self.over_iroh) }
    }
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
    let Data { connected, paths, pool, twice, counters } = answer.data;
    Ok(Status {
        connected: connected.len(),
        over_iroh: peers(&paths, |_| true),
        direct: peers(&paths, |path| path.starts_with("direct to ")),
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
    #[serde(default)]
    paths: Vec<PathRow>,
    pool: Pool,
    #[serde(default)]
    twice: u64,
    counters: Option<Counters>,
}

#[derive(Deserialize)]
struct PathRow {
    peer: String,
    path: String,
}

/// Returns the number of peers with such a path. Two links to one peer may be open for a moment.
fn peers(rows: &[PathRow], is: impl Fn(&str) -> bool) -> usize {
    rows.iter().filter(|row| is(&row.path)).map(|row| &row.peer).collect::<HashSet<_>>().len()
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
    fn links_over_iroh_are_counted_by_their_paths() {
        let text = r#"{"type":"STATUS","data":{"connected":["iroh:a","iroh:b","ws://c:1"],"pool":{"count":0},"paths":[
            {"link":1,"peer":"iroh:a","path":"direct to 127.0.0.1:9","roundTripMicros":90},
            {"link":2,"peer":"iroh:b","path":"over relay 127.0.0.1:8","roundTripMicros":80},
            {"link":3,"peer":"iroh:a","path":"direct to 127.0.0.1:9","roundTripMicros":70}]}}"#;
        let status = parse(text).unwrap();
        assert_eq!((status.connected, status.over_iroh, status.direct), (3, 2, 1));
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
