//! One measured run: a mesh is started, transactions are pushed at it, and the clock stops when
//! every node has all of them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::time::sleep;

use crate::contestant::Contestant;
use crate::load::Pushers;
use crate::mesh::{Known, Mesh, Places};
use crate::pages::Listeners;
use crate::pool;
use crate::status::Copies;

/// How long a complete mesh is left alone before it is loaded: links opened twice are sorted out by
/// then, and gossipsub has had a heartbeat.
const SETTLE: Duration = Duration::from_millis(1_200);

/// At whom the transactions are pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// At one node.
    One,
    /// At all nodes at once, each its share.
    All,
}

/// What a run showed.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    /// How many transactions were pushed.
    pub(crate) count: u64,
    /// Until every node had accepted all; where something is lost, until the last that came.
    pub(crate) delivered: Duration,
    /// Until every node's pool had all.
    pub(crate) stored: Duration,
    /// CPU time of all nodes together.
    pub(crate) cpu: Duration,
    /// How many deliveries there were to make: transactions by nodes other than the one they were
    /// pushed at.
    pub(crate) due: u64,
    /// Which copies came to the nodes, where they count them.
    pub(crate) copies: Option<Copies>,
    /// Each node's memory before, in bytes.
    pub(crate) idle: Vec<u64>,
    /// Each node's memory after, in bytes.
    pub(crate) resident: Vec<u64>,
    /// How many transactions never came, all nodes together.
    pub(crate) missing: u64,
    /// How many came to the program again that it had already, all nodes together.
    pub(crate) twice: u64,
}

/// Makes one run, with so many pages open on every node. What the nodes left on disk is checked at
/// the end.
pub(crate) async fn run(
    places: &Places,
    contestant: &Contestant,
    nodes: usize,
    target: Target,
    count: u64,
    pages: usize,
) -> Result<Run> {
    let mut mesh = Mesh::start(places, contestant, nodes, Known::All, false)?;
    mesh.complete().await?;
    sleep(SETTLE).await;
    let listeners = Listeners::open(&mesh.ports(), pages).await?;
    let mut doors = mesh.doors();
    if target == Target::One {
        doors.truncate(1);
    }
    let pushers = Pushers::connect(doors, count, contestant.wants_signatures()).await?;
    let idle = mesh.resident()?;
    let (cpu, start) = (mesh.cpu_time()?, Instant::now());
    let pushing = pushers.go();
    let accepted = mesh.wait(|status| (status.accepted, count)).await?;
    let (mut missing, delivered) = (accepted.missing, accepted.moved - start);
    // A rival's pool has what it has accepted.
    let mut stored = delivered;
    if missing == 0 && contestant.is_ours() {
        let kept = mesh.wait(|status| (status.stored, count)).await?;
        // It can all have been there already when it was first asked.
        (missing, stored) = (kept.missing, (kept.moved - start).max(delivered));
    }
    let cpu = mesh.cpu_time()? - cpu;
    let resident = mesh.resident()?;
    let statuses = mesh.statuses().await?;
    let copies = statuses.iter().map(|status| status.copies).sum();
    let twice = statuses.iter().map(|status| status.twice).sum();
    if missing == 0 {
        pushing.finish()?;
    }
    mesh.stop().await?;
    listeners.end().await?;
    if contestant.keeps_a_file() && missing == 0 {
        for folder in mesh.folders() {
            pool::check(folder, count).with_context(|| format!("{} of {nodes} nodes", contestant.name()))?;
        }
    }
    let due = count * (nodes as u64 - 1);
    Ok(Run { count, delivered, stored, cpu, due, copies, idle, resident, missing, twice })
}
