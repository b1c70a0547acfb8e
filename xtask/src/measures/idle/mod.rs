//! `idle`: what nodes with a cap on their links cost while nothing happens, and whether that grows with the network.
//!
//! Starts so many real nodes in folders of their own, all with one address to begin with, waits until each has its links and the beginning is over, and then watches:
//! processor time as the system counts it, bytes as the nodes count them. Processor time suffers little from whatever else the machine does, wall time much.

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
use crate::support::terminal::{count, number, tell};
use crate::support::workspace::Workspace;

/// How many links a node must have, if there are as many others, before it counts as joined.
const LINKS: usize = 2;
/// How long all nodes together may take to have them.
const PATIENCE: Duration = Duration::from_secs(180);
/// How often they are asked meanwhile: each answer costs them processor time.
const INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How many nodes, one network after another
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "10,100,200", value_parser = number(2..=1_000_u32, "10 or 10,100"))]
    nodes: Vec<u32>,
    /// To how many others each node links at most
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = number(1..=1_000_u32, "6"))]
    cap: u32,
    /// How long the beginning lasts, from when all have links: free places are looked for, and everybody is told of everybody
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
    tell(table::show(&rows, arguments.setup.format()))?;
    Ok(ExitCode::SUCCESS)
}

async fn measure(binary: &Path, root: &Path, arguments: &Arguments) -> Result<Vec<table::Row>> {
    let mut rows = Vec::new();
    for nodes in &arguments.nodes {
        let network = start(binary, &root.join(nodes.to_string()), *nodes, arguments.cap).await?;
        let joined = join(&network, arguments.cap).await?;
        eprintln!("{}: all have links after {:.0} s", count(network.len(), "node"), joined.as_secs_f64());
        sleep(Duration::from_secs(arguments.warm_up)).await;
        let costs = watch::watch(&network, Duration::from_secs(arguments.watch.seconds)).await?;
        rows.push(table::Row { cap: arguments.cap, costs });
        for ended in join_all(network.into_iter().map(Process::stop)).await {
            ended?;
        }
    }
    Ok(rows)
}

/// Starts the nodes, one after another: the first is the one that all others know.
async fn start(binary: &Path, root: &Path, nodes: u32, cap: u32) -> Result<Vec<Process>> {
    let settings = format!("HTTP_PORT=0\nLOG=warn\nMAX_PEERS={cap}\n");
    let mut network: Vec<Process> = Vec::new();
    for number in 1..=nodes {
        let folder = root.join(format!("node-{number}"));
        fs::create_dir_all(&folder).with_context(|| format!("{} can not be made", folder.display()))?;
        fs::write(folder.join(meshpool::pool::POOL_FILE), "[]")?;
        let known: Vec<_> = network.first().map(|first| &first.address).into_iter().collect();
        network.push(Process::start(binary, &folder, &known, &settings).await?);
    }
    Ok(network)
}

/// Waits until each node has links. Tells how long that took from the last start.
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
            "after {PATIENCE:?} {lacking} of {nodes} nodes have less than {wanted} links"
        );
        sleep(INTERVAL).await;
    }
}
