//! The delay of a transaction at a low rate: from when it is sent to one node until another node
//! has accepted it.
//!
//! The pusher writes the time into the transaction, and every node records the age of a transaction
//! that it accepts. Both read the clock that all processes of a machine share. Our node is embedded
//! in a program for that. All write their records into a file.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use measuring::percentile;
use tokio::time::sleep;

use super::pushers::send_slowly;
use crate::contestants::Contestant;
use crate::mesh::{Known, Mesh, Paths};

/// The pause after the mesh is complete.
const SETTLE: Duration = Duration::from_millis(1_200);
/// The interval of transactions: 100 per second.
const PAUSE: Duration = Duration::from_millis(10);

/// The result of a run.
#[derive(Debug, Clone)]
pub(crate) struct Delays {
    /// The median.
    pub(crate) median: Duration,
    /// The 99% quantile.
    pub(crate) p99: Duration,
    /// The maximum.
    pub(crate) max: Duration,
    /// Deliveries that did not happen, all nodes together.
    pub(crate) missing: u64,
}

/// Runs once.
pub(crate) async fn run(paths: &Paths, contestant: &Contestant, nodes: usize, time: Duration) -> Result<Delays> {
    let count = (time.as_millis() / PAUSE.as_millis()) as u64;
    let mut mesh = Mesh::start(paths, contestant, nodes, Known::All, true).await?;
    mesh.complete().await?;
    sleep(SETTLE).await;
    // No status is requested meanwhile.
    send_slowly(&mesh.endpoints()[0], count, PAUSE).await.context("a node did not read all transactions")?;
    let missing = mesh.wait(|status| (status.accepted, count)).await?.missing;
    if contestant.kind.is_ours() {
        let statuses = mesh.statuses().await?;
        mesh.check_links(&statuses)?;
    }
    mesh.stop().await?;
    // The delays of the first node are those from the bench.
    let mut delays = Vec::new();
    for folder in mesh.folders().skip(1) {
        delays.append(&mut read(&folder.join("delays"))?);
    }
    delays.sort_unstable();
    let at = |part| Duration::from_nanos(percentile(&delays, part).unwrap_or_default());
    Ok(Delays { median: at(0.5), p99: at(0.99), max: at(1.0), missing })
}

fn read(path: &Path) -> Result<Vec<u64>> {
    let text = fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let delays = text.lines().map(str::parse).collect::<Result<_, _>>();
    delays.with_context(|| format!("{} has a line that is no number", path.display()))
}
