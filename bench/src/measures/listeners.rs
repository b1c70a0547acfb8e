//! Open pages: connections that listen to a node's events as its page does.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::mesh::endpoint::Endpoint;

/// The port of a node's page is so much above that of its peers.
const PAGE_OFFSET: u16 = 4_000;
/// The start of an event about transactions.
const ACTIVITY: &[u8] = b"event: activity\n";

/// Open streams of events, each with the number of events about transactions.
#[derive(Debug)]
pub(super) struct Listeners(JoinSet<Result<u64>>);

impl Listeners {
    /// Opens so many at each node.
    pub(super) async fn open(endpoints: &[Endpoint], each: usize) -> Result<Self> {
        let mut listeners = JoinSet::new();
        for endpoint in endpoints.iter().flat_map(|endpoint| std::iter::repeat_n(endpoint, each)) {
            let stream = open(endpoint.port + PAGE_OFFSET).await?;
            listeners.spawn(count_events(stream));
        }
        Ok(Self(listeners))
    }

    /// Waits until each has ended with its node. It fails if one had no event: then nothing was
    /// measured.
    pub(super) async fn end(mut self) -> Result<()> {
        while let Some(events) = self.0.join_next().await {
            ensure!(events?? > 0, "an open page got no event about transactions");
        }
        Ok(())
    }
}

async fn open(port: u16) -> Result<BufReader<TcpStream>> {
    let failed = || format!("the page on port {port} cannot be opened");
    let mut stream = BufReader::new(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.with_context(failed)?);
    stream.write_all(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n").await.with_context(failed)?;
    let mut line = String::new();
    stream.read_line(&mut line).await.with_context(failed)?;
    ensure!(line.starts_with("HTTP/1.1 200 "), "the page on port {port} answered: {}", line.trim_end());
    Ok(stream)
}

async fn count_events(mut stream: BufReader<TcpStream>) -> Result<u64> {
    let (mut line, mut events) = (Vec::new(), 0);
    // An error is the end of the stream too.
    while stream.read_until(b'\n', &mut line).await.unwrap_or(0) > 0 {
        events += u64::from(line == ACTIVITY);
        line.clear();
    }
    Ok(events)
}
