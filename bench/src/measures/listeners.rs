//! Open pages: connections that listen to a node's events as its page does; and views of frames,
//! which ask for those of one link every second.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::mesh::endpoint::Endpoint;

/// The port of a node's page is so much above that of its peers.
const PAGE_OFFSET: u16 = 4_000;
/// The start of an event about transactions.
const ACTIVITY: &[u8] = b"event: activity\n";

/// How often a view asks for frames.
const EVERY: Duration = Duration::from_secs(1);

/// What is open on every node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Viewer {
    /// A page.
    Page,
    /// A view of the frames of the first link to a native peer.
    Frames,
}

/// What is open on every node, and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Open {
    pub(crate) each: usize,
    pub(crate) what: Viewer,
}

impl Open {
    pub(crate) const NONE: Self = Self { each: 0, what: Viewer::Page };
}

/// Open streams of events, each with the number of events about transactions; or views, each with
/// the number of frames.
#[derive(Debug)]
pub(super) struct Listeners(JoinSet<Result<u64>>);

impl Listeners {
    /// Opens so many at each node.
    pub(super) async fn open(endpoints: &[Endpoint], open: Open) -> Result<Self> {
        let mut listeners = JoinSet::new();
        for endpoint in endpoints.iter().flat_map(|endpoint| std::iter::repeat_n(endpoint, open.each)) {
            let port = endpoint.port + PAGE_OFFSET;
            match open.what {
                Viewer::Page => {
                    let stream = open_page(port).await?;
                    listeners.spawn(count_events(stream));
                }
                Viewer::Frames => {
                    let link = first_link(port).await?;
                    listeners.spawn(count_frames(port, link));
                }
            }
        }
        Ok(Self(listeners))
    }

    /// Waits until each has ended with its node. It fails if one had no event: then nothing was
    /// measured.
    pub(super) async fn end(mut self) -> Result<()> {
        while let Some(events) = self.0.join_next().await {
            ensure!(events?? > 0, "an open page got no event about transactions, or a view no frame");
        }
        Ok(())
    }
}

async fn open_page(port: u16) -> Result<BufReader<TcpStream>> {
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

/// Returns what a node's API answers.
async fn get(port: u16, path: &str) -> Result<Value> {
    let failed = || format!("{path} on port {port}");
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.with_context(failed)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.with_context(failed)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.with_context(failed)?;
    let (head, body) = answer.split_once("\r\n\r\n").with_context(failed)?;
    ensure!(head.starts_with("HTTP/1.1 200 "), "{}: {head}", failed());
    serde_json::from_str(body).with_context(failed)
}

async fn first_link(port: u16) -> Result<u64> {
    let links = get(port, "/api/links").await?;
    let native = links["links"].as_array().into_iter().flatten().find(|link| link["kind"] == "native");
    native.and_then(|link| link["id"].as_u64()).with_context(|| format!("no link on port {port}: {links}"))
}

/// Counts the recorded frames of a link, until its node has ended.
async fn count_frames(port: u16, link: u64) -> Result<u64> {
    let mut last = 0;
    // An error is the end of the node too.
    while let Ok(answer) = get(port, &format!("/api/links/{link}/frames?after={last}")).await {
        last = answer["last"].as_u64().unwrap_or(last);
        tokio::time::sleep(EVERY).await;
    }
    Ok(last)
}
