//! `links`: measures what ten thousand idle links cost one node, in an open and in a closed
//! network or over iroh, and how soon it accepts one more. Fails if a link takes more memory than
//! its bound.
//!
//! A release node gets as many slots (INBOUND_LINKS), and this process links to it as that many
//! native peers, each with an id of its own. The figure is the node's resident memory, without what
//! the system keeps for its sockets.

mod dialer;
mod network;
mod over_iroh;
mod table;
mod watch;

use std::ops::RangeInclusive;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures_util::{StreamExt, stream};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::task::JoinSet;

use crate::measures::links::dialer::Dialer;
use crate::measures::links::network::Network;
use crate::measures::links::table::Row;
use crate::measures::setup::{Setup, Watch};
use crate::support::process::Process;
use crate::support::terminal::note;
use crate::support::terminal::{number, print};
use crate::support::workspace::Workspace;

/// The most memory that an idle link of an open network may take, in bytes.
const MEMORY: u64 = 24 * 1024;
/// How much more memory a node may take at the end of [`Arguments::reconnect`] than after the first
/// quarter of it.
const GROWTH: f64 = 1.1;
/// How long a node may take to notice that the other ends of its links are gone.
const NOTICED: Duration = Duration::from_secs(20);
/// How many links are opened one after another to measure the time, …
const PROBES: usize = 200;
/// … and how many in parallel otherwise: far fewer than a node upgrades at once.
const AT_ONCE: usize = 32;
/// How many of those that are opened in parallel may break.
const BROKEN: usize = 10;
/// File descriptors of a node, or of this program, besides its links.
const OTHER_FILES: u64 = 400;
/// File descriptors of an endpoint over iroh: a UDP socket, and a netlink socket with its wakers.
const FILES_OF_AN_ENDPOINT: u64 = 8;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Open N links to the node
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = number(LINKS, "10000"))]
    links: usize,
    /// Measure in an open network; without --open, --tls and --iroh in an open and a closed one
    #[arg(long)]
    open: bool,
    /// Measure in a closed network: TLS 1.3 with certificates on both sides
    #[arg(long)]
    tls: bool,
    /// Measure links over iroh, each with an endpoint of its own, so choose fewer with --links
    #[arg(long, conflicts_with = "exercise")]
    iroh: bool,
    /// Link as exercise peers instead of native peers
    #[arg(long)]
    exercise: bool,
    /// Afterwards end all links and open others, again and again for N minutes
    #[arg(long, value_name = "N", default_value_t = 0)]
    reconnect: u64,
    #[command(flatten)]
    watch: Watch,
    #[command(flatten)]
    setup: Setup,
}

impl Arguments {
    fn networks(&self) -> Vec<Network> {
        let named = [(self.open, Network::Open), (self.tls, Network::Closed), (self.iroh, Network::OverIroh)];
        let named: Vec<_> = named.into_iter().filter(|(is_named, _)| *is_named).map(|(_, network)| network).collect();
        if named.is_empty() { vec![Network::Open, Network::Closed] } else { named }
    }
}

/// Fewer links show little besides the probes; more do not fit into the ports of one address.
const LINKS: RangeInclusive<usize> = PROBES * 3..=20_000;

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let links = (arguments.links + 3 * PROBES) as u64;
    allow_files(links * if arguments.iroh { FILES_OF_AN_ENDPOINT } else { 1 } + OTHER_FILES)?;
    let measure = async |binary: &Path, root: &Path| measure(binary, root, arguments).await;
    let rows = arguments.setup.run(workspace, "links", measure)?;
    print(table::show(&rows, arguments.setup.format()))?;
    for row in rows.iter().filter(|row| row.network == Network::Open) {
        let each = row.per_link();
        ensure!(each <= MEMORY, "out of bounds: a link takes {each} bytes of memory, at most {MEMORY} are allowed");
    }
    for row in &rows {
        if let (Some(quarter), Some(end)) = (row.turns.get(row.turns.len() / 4), row.turns.last()) {
            let grown = *end as f64 / *quarter as f64;
            ensure!(
                grown <= GROWTH,
                "out of bounds: while its links were replaced the node's memory grew {grown:.2} times, at most {GROWTH} are allowed"
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Raises the limit of open files as far as needed, for this process and the node, which inherits
/// it.
fn allow_files(wanted: u64) -> Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    let most = limit.maximum.unwrap_or(u64::MAX);
    ensure!(
        most >= wanted,
        "so many links need {wanted} open files, and at most {most} are allowed here: choose fewer with --links, or raise the limit (ulimit -Hn, as root)"
    );
    limit.current = Some(wanted);
    setrlimit(Resource::Nofile, limit).context("the limit of open files cannot be raised (ulimit -n)")
}

async fn measure(binary: &Path, root: &Path, arguments: &Arguments) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for network in arguments.networks() {
        rows.push(measure_one(binary, &root.join(network.folder()), network, arguments).await?);
    }
    Ok(rows)
}

/// Measures one node, from its start to its end.
async fn measure_one(binary: &Path, folder: &Path, network: Network, arguments: &Arguments) -> Result<Row> {
    let wanted = arguments.links;
    let mut dialer = Dialer::prepare(folder, network, arguments.exercise)?;
    let slots = wanted + PROBES;
    // All links over iroh come from one stranger.
    let settings =
        format!("HTTP_PORT=0\nLOG=warn\nINBOUND_LINKS={slots}\nINBOUND_LINKS_PER_IP={slots}\n{}", dialer.settings());
    let node = dialer.start(binary, &settings).await?;
    let before = watch::settled(&node).await?;
    let mut links = JoinSet::new();
    let mut accepts = Vec::new();
    let began = Instant::now();
    for open in [0, wanted / 2, wanted] {
        fill(&dialer, &node, &mut links, open).await?;
        let mut times = Vec::new();
        for _ in 0..PROBES {
            let (took, link) = dialer.link(&node.address).await?;
            times.push(took);
            links.spawn(link);
        }
        times.sort_unstable();
        accepts.push((open, times));
    }
    let all_after = began.elapsed();
    note!("{} links after {:.1} s", links.len(), all_after.as_secs_f64());
    let after = watch::settled(&node).await?;
    // On an overloaded machine the node closes some links as silent while others are opened.
    let mut lost = 0;
    while let Some(ended) = links.try_join_next() {
        if lost == 0 {
            note!("a link ended while others were opened: {}", ended?);
        }
        lost += 1;
    }
    let count = links.len();
    let cpu = watch::cpu_per_second(&node, Duration::from_secs(arguments.watch.seconds)).await?;
    if let Some(ended) = links.try_join_next() {
        bail!("a link ended while nothing happened: {}", ended?);
    }
    let most = node.memory()?.peak;
    let turns = replace(&dialer, &node, &mut links, Duration::from_mins(arguments.reconnect)).await?;
    end_all(&mut links).await;
    dialer.stop(node).await?;
    Ok(Row { network, links: count, lost, all_after, before, after, most, cpu, accepts, turns })
}

/// Ends all links and opens as many, again and again. Returns the node's memory after each turn.
async fn replace(dialer: &Dialer, node: &Process, links: &mut JoinSet<String>, time: Duration) -> Result<Vec<u64>> {
    let (count, began) = (links.len(), Instant::now());
    let mut turns = Vec::new();
    while began.elapsed() < time {
        end_all(links).await;
        // Those that are gone without a word have their places until then.
        tokio::time::sleep(NOTICED).await;
        fill(dialer, node, links, count).await?;
        turns.push(watch::settled(node).await?);
        note!("turn {}: {} KiB", turns.len(), turns.last().map_or(0, |bytes| bytes / 1024));
    }
    Ok(turns)
}

async fn end_all(links: &mut JoinSet<String>) {
    links.abort_all();
    while links.join_next().await.is_some() {}
}

/// Opens links in parallel until there are `wanted`. On an overloaded machine some break meanwhile.
async fn fill(dialer: &Dialer, node: &Process, links: &mut JoinSet<String>, wanted: usize) -> Result<()> {
    let mut broken = 0;
    while links.len() < wanted {
        let dialled = stream::iter(links.len()..wanted).map(|_| dialer.link(&node.address));
        let mut dialled = std::pin::pin!(dialled.buffer_unordered(AT_ONCE));
        while let Some(dialled) = dialled.next().await {
            match dialled {
                Ok((_, link)) => drop(links.spawn(link)),
                Err(error) if broken == BROKEN => return Err(error),
                Err(error) => {
                    broken += 1;
                    note!("a link broke while it was opened: {error:#}");
                }
            }
        }
    }
    Ok(())
}
