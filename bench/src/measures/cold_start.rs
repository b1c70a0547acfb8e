//! The time from the start of the first process until every node is linked to all others.

use std::time::Duration;

use anyhow::Result;
use tokio::time::sleep;

use crate::contestants::Contestant;
use crate::mesh::{Known, Mesh, Paths};

/// The pause before the memory is read.
const SETTLE: Duration = Duration::from_secs(1);

/// The result of a cold start.
#[derive(Debug, Clone)]
pub(crate) struct ColdStart {
    /// The time until the mesh was complete.
    pub(crate) complete: Duration,
    /// The CPU time of all nodes until then.
    pub(crate) cpu: Duration,
    /// Each node's memory after [`SETTLE`], in bytes.
    pub(crate) resident: Vec<u64>,
}

/// Starts a mesh once.
pub(crate) async fn run(paths: &Paths, contestant: &Contestant, nodes: usize, known: Known) -> Result<ColdStart> {
    let mut mesh = Mesh::start(paths, contestant, nodes, known, false).await?;
    let complete = mesh.complete().await?;
    let cpu = mesh.starting_cpu_time()?;
    sleep(SETTLE).await;
    let resident = mesh.resident()?;
    mesh.stop().await?;
    Ok(ColdStart { complete, cpu, resident })
}
