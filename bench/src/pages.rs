//! Pages that are open while a mesh works: whoever listens to a node's events as its page does, and
//! what they cost the mesh.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::contestant::Contestant;
use crate::mesh::Places;
use crate::throughput::{self, Run, Target};

/// How far above its peers' port a node has its page.
const ABOVE_PORT: u16 = 4_000;
/// What of a stream tells of transactions.
const ACTIVITY: &[u8] = b"event: activity\n";

/// The same work twice.
#[derive(Debug)]
pub(crate) struct Pair {
    /// With no page open.
    pub(crate) without: Run,
    /// With pages open on every node.
    pub(crate) with: Run,
}

impl Pair {
    /// Which part of the throughput is left with pages open.
    pub(crate) fn rate(&self) -> f64 {
        self.with.delivered_rate() / self.without.delivered_rate()
    }

    /// How many times the CPU time is taken with pages open.
    pub(crate) fn cost(&self) -> f64 {
        self.with.cpu_per_delivery() / self.without.cpu_per_delivery()
    }
}

/// Makes both runs. Which is the first changes from round to round, so that a machine that tires or
/// warms up favours neither.
pub(crate) async fn run(
    places: &Places,
    contestant: &Contestant,
    nodes: usize,
    count: u64,
    pages: usize,
    round: usize,
) -> Result<Pair> {
    let one = async |pages| throughput::run(places, contestant, nodes, Target::One, count, pages).await;
    if round % 2 == 1 {
        let without = one(0).await?;
        return Ok(Pair { without, with: one(pages).await? });
    }
    let with = one(pages).await?;
    Ok(Pair { without: one(0).await?, with })
}

/// Open streams of events.
#[derive(Debug)]
pub(crate) struct Listeners(JoinSet<Result<u64>>);

impl Listeners {
    /// Opens so many at each node.
    pub(crate) async fn open(ports: &[u16], each: usize) -> Result<Self> {
        let mut listeners = JoinSet::new();
        for port in ports.iter().flat_map(|port| std::iter::repeat_n(*port, each)) {
            let stream = open(port + ABOVE_PORT).await?;
            listeners.spawn(read(stream));
        }
        Ok(Self(listeners))
    }

    /// Waits until each has ended with its node, and fails if one was told of no transaction: then
    /// nothing was measured.
    pub(crate) async fn end(mut self) -> Result<()> {
        while let Some(told) = self.0.join_next().await {
            ensure!(told?? > 0, "an open page was told of no transaction");
        }
        Ok(())
    }
}

async fn open(port: u16) -> Result<BufReader<TcpStream>> {
    let failed = || format!("the page on port {port} can not be opened");
    let mut stream = BufReader::new(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.with_context(failed)?);
    stream.write_all(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n").await.with_context(failed)?;
    let mut line = String::new();
    stream.read_line(&mut line).await.with_context(failed)?;
    ensure!(line.starts_with("HTTP/1.1 200 "), "the page on port {port} answered: {}", line.trim_end());
    Ok(stream)
}

/// How many frames told of transactions.
async fn read(mut stream: BufReader<TcpStream>) -> Result<u64> {
    let (mut line, mut told) = (Vec::new(), 0);
    // However it ends, it ended: what counts is what came.
    while stream.read_until(b'\n', &mut line).await.unwrap_or(0) > 0 {
        told += u64::from(line == ACTIVITY);
        line.clear();
    }
    Ok(told)
}
