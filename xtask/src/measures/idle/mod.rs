//! `idle`: measures what nodes with a limit on their links cost while nothing happens, and whether
//! that grows with the network.
//!
//! The nodes start in folders of their own and know one address. They are watched once each has its
//! links and the warm-up is over. CPU time is the system's count, bytes are the nodes'. CPU time
//! hardly depends on what else the machine does; wall time would.

mod table;
mod watch;

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::future::{join_all, try_join_all};
use tokio::time::sleep;

use crate::measures::setup::{Setup, Watch};
use crate::support::process::Process;
use crate::support::terminal::note;
use crate::support::terminal::{number, plural, print};
use crate::support::workspace::Workspace;

/// A node has joined when it has this many links, or all that are possible.
const LINKS: usize = 2;
/// The time in which all nodes must have joined.
const PATIENCE: Duration = Duration::from_secs(180);
/// The interval of asking them meanwhile; each answer costs them CPU time.
const INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Measure networks of so many nodes, one after another
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "10,100,200", value_parser = number(2..=1_000_u32, "10 or 10,100"))]
    nodes: Vec<u32>,
    /// Limit the links of each node to N
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = number(1..=1_000_u32, "6"))]
    cap: u32,
    /// Wait this long after all nodes have joined, while they fill their slots and spread
    /// announcements
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = number(0..=3_600_u64, "120"))]
    warm_up: u64,
    #[command(flatten)]
    watch: Watch,
    #[command(flatten)]
    setup: Setup,
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let measure = async |binary: &Path, root: &Path| measure(binary, root, arguments).await;
    let rows = arguments.setup.run(workspace, "idle", measure)?;
    print(table::show(&rows, arguments.setup.format()))?;
    Ok(ExitCode::SUCCESS)
}

async fn measure(binary: &Path, root: &Path, arguments: &Arguments) -> Result<Vec<table::Row>> {
    let mut rows = Vec::new();
    for nodes in &arguments.nodes {
        let network = start(binary, &root.join(nodes.to_string()), *nodes, arguments.cap).await?;
        let joined = join(&network, arguments.cap).await?;
        note!("{}: all have joined after {:.0} s", plural(network.len(), "node"), joined.as_secs_f64());
        sleep(Duration::from_secs(arguments.warm_up)).await;
        let costs = watch::watch(&network, Duration::from_secs(arguments.watch.seconds)).await?;
        rows.push(table::Row { cap: arguments.cap, costs });
        for ended in join_all(network.into_iter().map(Process::stop)).await {
            ended?;
        }
    }
    Ok(rows)
}

/// Starts the nodes one after another. All others know the first.
async fn start(binary: &Path, root: &Path, nodes: u32, cap: u32) -> Result<Vec<Process>> {
    let settings = format!("HTTP_PORT=0\nLOG=warn\nMAX_PEERS={cap}\n");
    let mut network: Vec<Process> = Vec::new();
    for number in 1..=nodes {
        let folder = root.join(format!("node-{number}"));
        fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        fs::write(folder.join(meshpool::binary::pool::POOL_FILE), "[]")?;
        let known: Vec<_> = network.first().map(|first| &first.address).into_iter().collect();
        network.push(Process::start(binary, &folder, &known, &settings).await?);
    }
    Ok(network)
}

/// Waits until each node has joined; returns the time since the last start.
async fn join(network: &[Process], cap: u32) -> Result<Duration> {
    let wanted = LINKS.min(network.len() - 1).min(cap as usize);
    let began = Instant::now();
    loop {
        let all = try_join_all(network.iter().map(Process::status)).await?;
        let lacking = all.iter().filter(|status| status.connected.len() < wanted).count();
        if lacking == 0 {
            return Ok(began.elapsed());
        }
        let nodes = network.len();
        ensure!(
            began.elapsed() < PATIENCE,
            "after {PATIENCE:?} {lacking} of {nodes} nodes have fewer than {wanted} links"
        );
        sleep(INTERVAL).await;
    }
}
