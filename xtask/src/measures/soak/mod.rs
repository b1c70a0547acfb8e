//! `soak`: real nodes for a long time under all the trouble at once, and whether anything grows, or is lost.
//!
//! Each node has a network namespace of its own, on a network that only the soak has. Transactions are given to the nodes that live, and every acknowledgement is
//! remembered. Meanwhile nodes are ended and started again, the network is cut in two and healed, and strangers flood the nodes, or read slowly. Some nodes run all
//! the time: their memory, descriptors and tasks are watched. One more node, without links and trouble, is given the same transactions: what it takes more than at its
//! beginning is the pool's index. Then the trouble ends, all pools must become equal, and every file is read. What is drawn at random comes from a seed; when things
//! happen depends on the machine.

mod files;
mod findings;
mod judge;
mod ledger;
mod node;
mod pusher;
mod report;
mod sample;
mod strangers;
mod trouble;
mod world;

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
use crate::measures::soak::findings::Findings;
use crate::measures::soak::ledger::Ledger;
use crate::measures::soak::node::Node;
use crate::measures::soak::report::{EQUAL_WITHIN, Endured, Soaked};
use crate::measures::soak::strangers::Strangers;
use crate::measures::soak::world::World;
use crate::support::running_nodes::block_on;
use crate::support::stop::Stop;
use crate::support::terminal::{count, number, tell};
use crate::support::workspace::Workspace;

/// How often they are looked at meanwhile.
const LOOK: Duration = Duration::from_millis(500);
/// How many samples there are of each node, at least, and …
const SAMPLES: u32 = 60;
/// … how far apart they are at most.
const APART: Duration = Duration::from_secs(10);
/// Of so many nodes one runs all the time.
const STEADY: usize = 4;
/// How often a line tells how far it is.
const TOLD: Duration = Duration::from_secs(60);
/// What was seen of the nodes, in the soak's folder if nothing else is said.
const LOG: &str = "samples.csv";

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How long the trouble lasts, in minutes; there is a minute or so more for the end
    #[arg(long, value_name = "MINUTES", default_value_t = 60, value_parser = number(1..=10_080_u32, "60"))]
    minutes: u32,
    /// How many nodes
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = number(4..=world::MOST_NODES, "20"))]
    nodes: u32,
    /// To how many others each node links at most
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = number(2..=1_000_u32, "6"))]
    cap: u32,
    /// How many transactions are given to the nodes per second, all together
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = number(1..=1_000_u32, "50"))]
    rate: u32,
    /// What is drawn at random comes from this number
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = number(0..=u64::MAX, "7"))]
    seed: u64,
    /// Draw memory, descriptors and tasks into this folder
    #[arg(long, value_name = "FOLDER")]
    svg: Option<PathBuf>,
    /// Write everything that is seen of the nodes into this file, as CSV
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
    world::is_allowed()?;
    let (binary, root) = arguments.setup.prepare(workspace, "soak")?;
    let soaked = block_on(async {
        let mut stop = Stop::new()?;
        // What is dropped ends the nodes and removes the network: whichever way this ends.
        tokio::select! {
            soaked = soak(binary.into(), &root, arguments) => soaked.map(Some),
            () = stop.asked() => Ok(None),
        }
    });
    let kept = || format!("the nodes' folders are in {}", root.display());
    let remove = || fs::remove_dir_all(&root).with_context(|| format!("{} can not be removed", root.display()));
    let soaked = match soaked {
        Ok(Some(soaked)) => soaked,
        Ok(None) => {
            if root.exists() {
                remove()?;
            }
            bail!("stopped; all nodes are ended, their network and their folders are removed");
        }
        Err(error) if root.exists() => bail!("{error:#}; {}", kept()),
        Err(error) => return Err(error),
    };
    let report = soaked.report();
    tell(report.show(arguments.setup.format()))?;
    if let Some(folder) = &arguments.svg {
        soaked.draw(folder)?;
    }
    for finding in &soaked.findings {
        eprintln!("FOUND: {finding}");
    }
    ensure!(report.broken.is_empty(), "{}; {}", report.broken.join("; "), kept());
    remove()?;
    Ok(ExitCode::SUCCESS)
}

/// Everything, from the first node's start to the last file's reading.
async fn soak(binary: Arc<Path>, root: &Path, arguments: &Arguments) -> Result<Soaked> {
    let mut world = World::lay(arguments.nodes as usize)?;
    eprintln!("the network is laid: {}", count(world.namespaces(), "namespace"));
    let nodes = people(&mut world, binary, root, arguments.cap)?;
    try_join_all(nodes.iter().map(|node| node.start())).await?;
    let (alone, network) = nodes.split_last().context("there are nodes")?;
    let siege = Siege { world: &world, network, alone, ledger: Arc::default(), findings: Findings::default() };
    let path = arguments.samples.clone().unwrap_or_else(|| root.join(LOG));
    let log = File::create(&path).with_context(|| format!("{} can not be written", path.display()))?;
    let endured = siege.run(arguments, &nodes, BufWriter::new(log)).await?;
    let Siege { ledger, findings, .. } = siege;
    let equal_after = equal(network).await?;
    for ended in join_all(nodes.iter().map(|node| node.end(Signal::TERM))).await {
        findings.note(ended);
    }
    for fault in nodes.iter().flat_map(|node| node.faults()) {
        findings.add(fault);
    }
    let acknowledged = ledger.acknowledged();
    Ok(Soaked {
        time: arguments.time(),
        nodes: nodes.iter().enumerate().map(|(number, node)| (node.name.clone(), is_steady(number))).collect(),
        endured,
        counts: ledger.counts(),
        acknowledged: acknowledged.len(),
        equal_after,
        checked: files::check(network.iter().map(|node| &**node), &acknowledged)?,
        findings: findings.into_inner(),
    })
}

/// The time of trouble: who is in it, and what is written down.
struct Siege<'a> {
    world: &'a World,
    network: &'a [Arc<Node>],
    alone: &'a Arc<Node>,
    ledger: Arc<Ledger>,
    findings: Findings,
}

impl Siege<'_> {
    /// All the trouble, at once, until the time is over; then every node runs, and the network is whole.
    async fn run(&self, arguments: &Arguments, nodes: &[Arc<Node>], mut log: impl Write) -> Result<Endured> {
        let Self { world, network, alone, ledger, findings } = self;
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(arguments.seed);
        let (began, time) = (Instant::now(), arguments.time());
        let until = began + time;
        let strangers = Strangers::come(&world.strangers, network.len(), ledger, &mut rng)?;
        let restless = network.iter().enumerate().filter(|(number, _)| !is_steady(*number));
        let restless: Vec<_> = restless.map(|(_, node)| Arc::clone(node)).collect();
        let pushing = pusher::push(network, alone, arguments.rate, until, fork(&mut rng), ledger);
        let churning = trouble::churn(&restless, until, fork(&mut rng), findings);
        let cutting = trouble::cuts(world, began, until, fork(&mut rng));
        let watching = sample::watch(nodes, (time / SAMPLES).min(APART), began, until, &mut log, findings);
        let leaving = async {
            sleep_until(until).await;
            let counts = strangers.crowd.counts();
            drop(strangers);
            counts
        };
        tokio::select! {
            (pushed, churned, cuts, watched, strangers) =
                async { tokio::join!(pushing, churning, cutting, watching, leaving) } =>
            {
                pushed?;
                Ok(Endured { watched: watched?, cuts: cuts?, churned, strangers })
            }
            () = progress(network, ledger, findings, began) => bail!("progress has no end"),
        }
    }
}

/// Whether a node runs all the time. The first node of each side does, for they are whom all others know.
fn is_steady(number: usize) -> bool {
    number.is_multiple_of(STEADY)
}

fn fork(rng: &mut Xoshiro256PlusPlus) -> Xoshiro256PlusPlus {
    Xoshiro256PlusPlus::seed_from_u64(rng.random())
}

/// Makes the nodes' folders: those of the network, and last the one by itself.
fn people(world: &mut World, binary: Arc<Path>, root: &Path, cap: u32) -> Result<Vec<Arc<Node>>> {
    let seats = std::mem::take(&mut world.nodes);
    let others = seats.len();
    // One on each side, that runs all the time.
    let right = (others / 2..others).find(|number| is_steady(*number)).unwrap_or(0);
    let address = |number: usize| format!("ws://{}:{}", world::host(number), node::PORT);
    let mut nodes = Vec::new();
    for (number, seat) in seats.into_iter().enumerate() {
        let known: Vec<_> = [0, right].into_iter().filter(|known| *known != number).map(address).collect();
        let settings = format!("HOST=0.0.0.0\nADDRESS={}\nMAX_PEERS={cap}\nLOG=warn\n", address(number));
        let name = format!("node-{}", number + 1);
        nodes.push(Arc::new(Node::make(name, root, seat, Arc::clone(&binary), &known, &settings)?));
    }
    let (name, settings) = ("alone".to_owned(), "LOG=warn\n");
    let seat = world.alone.take().context("it is taken once")?;
    nodes.push(Arc::new(Node::make(name, root, seat, binary, &[], settings)?));
    Ok(nodes)
}

/// Tells how far it is, again and again.
async fn progress(network: &[Arc<Node>], ledger: &Ledger, findings: &Findings, began: Instant) {
    let mut minutes = interval(TOLD);
    minutes.tick().await;
    loop {
        minutes.tick().await;
        let up = network.iter().filter(|node| node.pid().is_some()).count();
        eprintln!(
            "{:.0} min: {up} of {} up, {} pushed, {} acknowledged, {}",
            began.elapsed().as_secs_f64() / 60.0,
            count(network.len(), "node"),
            ledger.counts().pushed,
            ledger.count_acknowledged(),
            count(findings.len(), "finding")
        );
    }
}

/// Waits until all pools are equal. Tells how long that took; `None`: longer than it may.
async fn equal(network: &[Arc<Node>]) -> Result<Option<Duration>> {
    let began = Instant::now();
    let waiting = async {
        loop {
            let pools = join_all(network.iter().map(|node| node.pool())).await;
            // Who is too busy to answer is asked again.
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
