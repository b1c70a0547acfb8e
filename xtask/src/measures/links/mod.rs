//! `links`: what ten thousand idle links cost one node, open and in a closed network, and how soon it takes in one more. Fails if a link takes more memory than it may.
//!
//! Starts a release node in a folder of its own with so many places (INBOUND_LINKS), and links to it from this process as so many full peers, each a node of its own,
//! which say HANDSHAKE and nothing more. What is measured is the node's resident memory, so what the system keeps for its sockets is not in it.

mod dial;
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

use crate::measures::links::dial::Side;
use crate::measures::links::table::Row;
use crate::measures::setup::{Setup, Watch};
use crate::support::process::Process;
use crate::support::terminal::{number, tell};
use crate::support::workspace::Workspace;

/// The most memory that an idle link of an open network may take, in bytes.
const MEMORY: u64 = 24 * 1024;
/// How many links are opened one after another to see how long that takes, …
const PROBES: usize = 200;
/// … and how many at once otherwise: far fewer than a node lets upgrade at once.
const AT_ONCE: usize = 32;
/// Descriptors of a node, or of this program, that are no links.
const OTHER_FILES: u64 = 400;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How many links one node is to have
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = number(LINKS, "10000"))]
    links: usize,
    /// Only a node of an open network
    #[arg(long, conflicts_with = "tls")]
    open: bool,
    /// Only a node of a closed network: TLS 1.3, certificates on both sides
    #[arg(long)]
    tls: bool,
    /// Link as nodes of the exercise instead of full peers
    #[arg(long)]
    plain: bool,
    #[command(flatten)]
    watch: Watch,
    #[command(flatten)]
    setup: Setup,
}

/// The fewest links that show anything beside the probes, and as many as there are ports for one other end.
const LINKS: RangeInclusive<usize> = PROBES * 3..=20_000;

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    allow_files(arguments.links as u64 + PROBES as u64 + OTHER_FILES)?;
    let measure = async |binary: &Path, root: &Path| measure(binary, root, arguments).await;
    let rows = arguments.setup.run(workspace, "links", measure)?;
    tell(table::show(&rows, arguments.setup.format()))?;
    for row in rows.iter().filter(|row| !row.secure) {
        let each = row.per_link();
        ensure!(each <= MEMORY, "out of bounds: a link takes {each} bytes of memory, at most {MEMORY} are allowed");
    }
    Ok(ExitCode::SUCCESS)
}

/// Raises the limit of open files as far as it has to be, here and for the node, which inherits it.
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
    setrlimit(Resource::Nofile, limit).context("the limit of open files can not be raised (ulimit -n)")
}

async fn measure(binary: &Path, root: &Path, arguments: &Arguments) -> Result<Vec<Row>> {
    let kinds: &[bool] = match (arguments.open, arguments.tls) {
        (true, _) => &[false],
        (_, true) => &[true],
        _ => &[false, true],
    };
    let mut rows = Vec::new();
    for secure in kinds {
        let folder = root.join(if *secure { "closed" } else { "open" });
        rows.push(measure_one(binary, &folder, *secure, arguments).await?);
    }
    Ok(rows)
}

/// One node, from its start to its end.
async fn measure_one(binary: &Path, folder: &Path, secure: bool, arguments: &Arguments) -> Result<Row> {
    let wanted = arguments.links;
    let side = Side::prepare(folder, secure, arguments.plain)?;
    let settings = format!("HTTP_PORT=0\nLOG=warn\nINBOUND_LINKS={}\n{}", wanted + PROBES, side.settings());
    let node = side.start(binary, &settings).await?;
    let before = watch::settled(&node).await?;
    let mut links = JoinSet::new();
    let mut accepts = Vec::new();
    let began = Instant::now();
    for open in [0, wanted / 2, wanted] {
        fill(&side, &node, &mut links, open).await?;
        let mut times = Vec::new();
        for _ in 0..PROBES {
            let (took, link) = side.link(&node.address).await?;
            times.push(took);
            links.spawn(link);
        }
        times.sort_unstable();
        accepts.push((open, times));
    }
    let all_after = began.elapsed();
    eprintln!("{} links after {:.1} s", links.len(), all_after.as_secs_f64());
    let after = watch::settled(&node).await?;
    // On a machine that is far too busy a node takes some for silent while they come.
    let mut lost = 0;
    while let Some(ended) = links.try_join_next() {
        if lost == 0 {
            eprintln!("a link ended while others were opened: {}", ended?);
        }
        lost += 1;
    }
    let count = links.len();
    let cpu = watch::cpu_per_second(&node, Duration::from_secs(arguments.watch.seconds)).await?;
    if let Some(ended) = links.try_join_next() {
        bail!("a link ended while nothing happened: {}", ended?);
    }
    let most = node.memory()?.peak;
    links.abort_all();
    while links.join_next().await.is_some() {}
    side.stop(node).await?;
    Ok(Row { secure, links: count, lost, all_after, before, after, most, cpu, accepts })
}

/// Opens links, many at once, until there are so many.
async fn fill(side: &Side, node: &Process, links: &mut JoinSet<String>, wanted: usize) -> Result<()> {
    let lacking = wanted.saturating_sub(links.len());
    let dialled = stream::iter(0..lacking).map(|_| side.link(&node.address));
    let mut dialled = std::pin::pin!(dialled.buffer_unordered(AT_ONCE));
    while let Some(dialled) = dialled.next().await {
        let (_, link) = dialled?;
        links.spawn(link);
    }
    Ok(())
}
