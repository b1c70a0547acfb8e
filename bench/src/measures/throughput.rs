//! Throughput: transactions are sent to a mesh, and the clock stops when every node has all of
//! them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::time::sleep;

use super::listeners::{Listeners, Open};
use super::pushers::Pushers;
use crate::contestants::Contestant;
use crate::mesh::status::Copies;
use crate::mesh::{Known, Mesh, Paths, pool};

/// The pause after the mesh is complete: duplicate links are closed by then, and gossipsub has had
/// a heartbeat.
const SETTLE: Duration = Duration::from_millis(1_200);

/// The nodes that transactions are sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// One node.
    One,
    /// All nodes at once, each its share.
    All,
}

/// The result of a run.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    /// Transactions that were sent.
    pub(crate) count: u64,
    /// Time until every node had accepted all; after losses, until the last one that arrived.
    pub(crate) delivered: Duration,
    /// Time until every node's pool had all.
    pub(crate) stored: Duration,
    /// CPU time of all nodes together.
    pub(crate) cpu: Duration,
    /// Expected deliveries: transactions times the nodes to which they were not sent.
    pub(crate) due: u64,
    /// Copies that the nodes received, where they count them.
    pub(crate) copies: Option<Copies>,
    /// Each node's memory before, in bytes.
    pub(crate) idle: Vec<u64>,
    /// Each node's memory after, in bytes.
    pub(crate) resident: Vec<u64>,
    /// Deliveries that did not happen, all nodes together.
    pub(crate) missing: u64,
    /// Transactions that were delivered twice, all nodes together.
    pub(crate) twice: u64,
}

impl Run {
    /// Deliveries that happened.
    pub(crate) fn deliveries(&self) -> u64 {
        self.due - self.missing.min(self.due)
    }

    /// Transactions per second that every node accepted; after losses, the mean per node.
    pub(crate) fn delivered_rate(&self) -> f64 {
        self.arrived() / self.delivered.as_secs_f64()
    }

    /// Transactions per second that every node's pool had.
    pub(crate) fn stored_rate(&self) -> f64 {
        self.arrived() / self.stored.as_secs_f64()
    }

    /// CPU time of all nodes per delivery, in microseconds.
    pub(crate) fn cpu_per_delivery(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.deliveries().max(1) as f64
    }

    fn arrived(&self) -> f64 {
        self.count as f64 * self.deliveries() as f64 / self.due as f64
    }
}

/// Runs once, with this open on every node. The pool files are checked at the end.
pub(crate) async fn run(
    paths: &Paths,
    contestant: &Contestant,
    nodes: usize,
    target: Target,
    count: u64,
    open: Open,
) -> Result<Run> {
    let mut mesh = Mesh::start(paths, contestant, nodes, Known::All, false).await?;
    mesh.complete().await?;
    sleep(SETTLE).await;
    let mut endpoints = mesh.endpoints();
    let listeners = Listeners::open(&endpoints, open).await?;
    if target == Target::One {
        endpoints.truncate(1);
    }
    let pushers = Pushers::connect(endpoints, count, contestant.kind.is_signed()).await?;
    let idle = mesh.resident()?;
    let (cpu, start) = (mesh.cpu_time()?, Instant::now());
    let pushing = pushers.start();
    let accepted = mesh.wait(|status| (status.accepted, count)).await?;
    let (mut missing, delivered) = (accepted.missing, accepted.progressed - start);
    // A rival's pool has what it accepted.
    let mut stored = delivered;
    if missing == 0 && contestant.kind.is_ours() {
        let kept = mesh.wait(|status| (status.stored, count)).await?;
        // All of it may be there at the first request.
        (missing, stored) = (kept.missing, (kept.progressed - start).max(delivered));
    }
    let cpu = mesh.cpu_time()? - cpu;
    let resident = mesh.resident()?;
    let statuses = mesh.statuses().await?;
    if contestant.kind.is_ours() {
        mesh.check_links(&statuses)?;
    }
    let copies = statuses.iter().map(|status| status.copies).sum();
    let twice = statuses.iter().map(|status| status.twice).sum();
    if missing == 0 {
        pushing.finish()?;
    }
    mesh.stop().await?;
    listeners.end().await?;
    if contestant.has_pool_file() && missing == 0 {
        for folder in mesh.folders() {
            pool::check(folder, count).with_context(|| format!("{} of {nodes} nodes", contestant.name))?;
        }
    }
    let due = count * (nodes as u64 - 1);
    Ok(Run { count, delivered, stored, cpu, due, copies, idle, resident, missing, twice })
}
