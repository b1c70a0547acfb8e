//! `soak`: runs real nodes for a long time under load, churn, partitions and attacks, and looks for
//! growth and loss.
//!
//! Each node has a network namespace, on a network of the soak's own. Clients submit transactions
//! and record every acknowledgement. Meanwhile nodes are stopped and started, the network is cut in
//! two and healed, and attackers flood the nodes or read slowly. Some nodes run all the time: their
//! memory, file descriptors and tasks are sampled. An isolated node gets the same transactions: its
//! growth is the pool's index. At the end all pools must become equal, and every file is checked.
//!
//! The random choices come from a seed; the times depend on the machine.

mod attackers;
mod churn;
mod findings;
mod judge;
mod ledger;
mod load;
mod report;
mod sample;

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures_util::future::{join_all, try_join_all};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use rustix::process::Signal;
use tokio::time::{Instant, interval, sleep, sleep_until, timeout};

use crate::measures::setup::Setup;
use crate::measures::soak::attackers::Attackers;
use crate::measures::soak::findings::Findings;
use crate::measures::soak::ledger::Ledger;
use crate::measures::soak::report::{Disturbances, EQUAL_WITHIN, Results};
use crate::support::namespace;
use crate::support::running_nodes::block_on;
use crate::support::stop::Stop;
use crate::support::terminal::note;
use crate::support::terminal::{number, plural, print};
use crate::support::testbed::netns::TestNetwork;
use crate::support::testbed::node::Node;
use crate::support::testbed::{netns, node, pool_files};
use crate::support::workspace::Workspace;

/// The interval of comparing the pools at the end.
const LOOK: Duration = Duration::from_millis(500);
/// The fewest samples of each node …
const SAMPLES: u32 = 60;
/// … and the longest interval between two of them.
const APART: Duration = Duration::from_secs(10);
/// Every so many nodes one runs all the time.
const STEADY: usize = 4;
/// The interval of progress lines.
const TOLD: Duration = Duration::from_secs(60);
/// The default file for the samples, in the soak's folder.
const LOG: &str = "samples.csv";

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Run for N minutes, and about one more at the end
    #[arg(long, value_name = "MINUTES", default_value_t = 60, value_parser = number(1..=10_080_u32, "60"))]
    minutes: u32,
    /// Start N nodes
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = number(4..=netns::MOST_NODES, "20"))]
    nodes: u32,
    /// Limit the links of each node to N
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = number(2..=1_000_u32, "6"))]
    cap: u32,
    /// Submit N transactions per second, all nodes together
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = number(1..=1_000_u32, "50"))]
    rate: u32,
    /// Draw random numbers from this seed
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = number(0..=u64::MAX, "7"))]
    seed: u64,
    /// Draw memory, file descriptors and tasks over time into this folder
    #[arg(long, value_name = "FOLDER")]
    svg: Option<PathBuf>,
    /// Write all samples into this file as CSV
    #[arg(long, value_name = "FILE")]
    samples: Option<PathBuf>,
    #[command(flatten)]
    setup: Setup,
}

impl Arguments {
    fn time(&self) -> Duration {
        Duration::from_secs(60) * self.minutes
    }
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    namespace::is_allowed()?;
    let (binary, root) = arguments.setup.prepare(workspace, "soak")?;
    let results = block_on(async {
        let mut stop = Stop::new()?;
        // Dropping this ends the nodes and removes their network.
        tokio::select! {
            results = soak(binary.into(), &root, arguments) => results.map(Some),
            () = stop.asked() => Ok(None),
        }
    });
    let kept = || format!("the nodes' folders are in {}", root.display());
    let remove = || fs::remove_dir_all(&root).with_context(|| format!("{} cannot be removed", root.display()));
    let results = match results {
        Ok(Some(results)) => results,
        Ok(None) => {
            if root.exists() {
                remove()?;
            }
            bail!("stopped; all nodes are ended, their network and their folders are removed");
        }
        Err(error) if root.exists() => bail!("{error:#}; {}", kept()),
        Err(error) => return Err(error),
    };
    let report = results.report();
    print(report.show(arguments.setup.format()))?;
    if let Some(folder) = &arguments.svg {
        results.draw(folder)?;
    }
    for finding in &results.findings {
        note!("FOUND: {finding}");
    }
    ensure!(report.broken.is_empty(), "{}; {}", report.broken.join("; "), kept());
    remove()?;
    Ok(ExitCode::SUCCESS)
}

/// Runs the soak, from the start of the first node to the check of the last file.
async fn soak(binary: Arc<Path>, root: &Path, arguments: &Arguments) -> Result<Results> {
    let mut test_network = TestNetwork::create(arguments.nodes as usize)?;
    note!("made the network: {}", plural(test_network.namespaces(), "namespace"));
    let nodes = make_nodes(&mut test_network, binary, root, arguments.cap)?;
    try_join_all(nodes.iter().map(|node| node.start())).await?;
    let (isolated, network) = nodes.split_last().context("there are nodes")?;
    let soak =
        Soak { test_network: &test_network, network, isolated, ledger: Arc::default(), findings: Findings::default() };
    let path = arguments.samples.clone().unwrap_or_else(|| root.join(LOG));
    let log = File::create(&path).with_context(|| format!("{} cannot be written", path.display()))?;
    let disturbances = soak.run(arguments, &nodes, BufWriter::new(log)).await?;
    let Soak { ledger, findings, .. } = soak;
    let equal_after = equal(network).await?;
    for ended in join_all(nodes.iter().map(|node| node.end(Signal::TERM))).await {
        findings.note(ended);
    }
    for fault in nodes.iter().flat_map(|node| node.faults()) {
        findings.add(fault);
    }
    let acknowledged = ledger.acknowledged();
    Ok(Results {
        time: arguments.time(),
        nodes: nodes.iter().enumerate().map(|(number, node)| (node.name.clone(), is_steady(number))).collect(),
        disturbances,
        counts: ledger.counts(),
        acknowledged: acknowledged.len(),
        equal_after,
        checked: pool_files::check(network.iter().map(|node| node.folder.clone()), &acknowledged)?,
        findings: findings.into_inner(),
    })
}

/// The nodes under disturbance, and what is recorded of them.
struct Soak<'a> {
    test_network: &'a TestNetwork,
    network: &'a [Arc<Node>],
    isolated: &'a Arc<Node>,
    ledger: Arc<Ledger>,
    findings: Findings,
}

impl Soak<'_> {
    /// Runs all disturbances until the time is over. Then every node runs, and the network is
    /// whole.
    async fn run(&self, arguments: &Arguments, nodes: &[Arc<Node>], mut log: impl Write) -> Result<Disturbances> {
        let Self { test_network, network, isolated, ledger, findings } = self;
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(arguments.seed);
        let (began, time) = (Instant::now(), arguments.time());
        let until = began + time;
        let attackers = Attackers::start(&test_network.attackers, network.len(), ledger, &mut rng)?;
        let churning_nodes = network.iter().enumerate().filter(|(number, _)| !is_steady(*number));
        let churning_nodes: Vec<_> = churning_nodes.map(|(_, node)| Arc::clone(node)).collect();
        let pushing = load::push(network, isolated, arguments.rate, until, fork(&mut rng), ledger);
        let churning = churn::churn(&churning_nodes, until, fork(&mut rng), findings);
        let cutting = churn::partition(test_network, began, until, fork(&mut rng));
        let watching = sample::watch(nodes, (time / SAMPLES).min(APART), began, until, &mut log, findings);
        let leaving = async {
            sleep_until(until).await;
            let counts = attackers.shared.counts();
            drop(attackers);
            counts
        };
        tokio::select! {
            (pushed, churned, cuts, watched, attackers) =
                async { tokio::join!(pushing, churning, cutting, watching, leaving) } =>
            {
                pushed?;
                Ok(Disturbances { watched: watched?, cuts: cuts?, churned, attackers })
            }
            () = progress(network, ledger, findings, began) => bail!("progress has no end"),
        }
    }
}

/// Whether a node runs all the time. The first node of each half does, since the others know its
/// address.
fn is_steady(number: usize) -> bool {
    number.is_multiple_of(STEADY)
}

fn fork(rng: &mut Xoshiro256PlusPlus) -> Xoshiro256PlusPlus {
    Xoshiro256PlusPlus::seed_from_u64(rng.random())
}

/// Makes the nodes: those of the network, and last the isolated one.
fn make_nodes(test_network: &mut TestNetwork, binary: Arc<Path>, root: &Path, cap: u32) -> Result<Vec<Arc<Node>>> {
    let namespaces = std::mem::take(&mut test_network.nodes);
    let others = namespaces.len();
    // A steady node of the right half.
    let right = (others / 2..others).find(|number| is_steady(*number)).unwrap_or(0);
    let address = |number: usize| format!("ws://{}:{}", netns::host(number), node::PORT);
    let mut nodes = Vec::new();
    for (number, namespace) in namespaces.into_iter().enumerate() {
        let known: Vec<_> = [0, right].into_iter().filter(|known| *known != number).map(address).collect();
        let settings = format!("HOST=0.0.0.0\nADDRESS={}\nMAX_PEERS={cap}\nLOG=warn\n", address(number));
        let name = format!("node-{}", number + 1);
        nodes.push(Arc::new(Node::make(name, root, namespace, Arc::clone(&binary), &known, &settings)?));
    }
    let (name, settings) = ("isolated".to_owned(), "LOG=warn\n");
    let namespace = test_network.isolated.take().context("it is taken once")?;
    nodes.push(Arc::new(Node::make(name, root, namespace, binary, &[], settings)?));
    Ok(nodes)
}

/// Prints the progress now and then.
async fn progress(network: &[Arc<Node>], ledger: &Ledger, findings: &Findings, began: Instant) {
    let mut minutes = interval(TOLD);
    minutes.tick().await;
    loop {
        minutes.tick().await;
        let up = network.iter().filter(|node| node.pid().is_some()).count();
        note!(
            "{:.0} min: {up} of {} up, {} submitted, {} acknowledged, {}",
            began.elapsed().as_secs_f64() / 60.0,
            plural(network.len(), "node"),
            ledger.counts().pushed,
            ledger.count_acknowledged(),
            plural(findings.len(), "finding")
        );
    }
}

/// Waits until all pools are equal. Returns the time that took; `None` if it took too long.
async fn equal(network: &[Arc<Node>]) -> Result<Option<Duration>> {
    let began = Instant::now();
    let waiting = async {
        loop {
            let pools = join_all(network.iter().map(|node| node.pool())).await;
            // A node that is too busy to answer is asked again.
            if let Ok(pools) = pools.into_iter().collect::<Result<Vec<_>>>()
                && pools.windows(2).all(|pair| pair[0] == pair[1])
            {
                return began.elapsed();
            }
            sleep(LOOK).await;
        }
    };
    Ok(timeout(EQUAL_WITHIN, waiting).await.ok())
}
