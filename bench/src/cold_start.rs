//! How long a mesh takes from nothing: from the start of the first process until every node is
//! linked to all others.

use std::time::Duration;

use anyhow::Result;
use tokio::time::sleep;

use crate::contestant::Contestant;
use crate::mesh::{Known, Mesh, Places};

/// How long the mesh is left alone before its memory is read.
const SETTLE: Duration = Duration::from_secs(1);

/// What a cold start showed.
#[derive(Debug, Clone)]
pub(crate) struct ColdStart {
    /// Until the mesh was complete.
    pub(crate) complete: Duration,
    /// CPU time of all nodes together until then.
    pub(crate) cpu: Duration,
    /// Each node's memory a moment later, in bytes.
    pub(crate) resident: Vec<u64>,
}

/// Starts a mesh once.
pub(crate) async fn run(places: &Places, contestant: &Contestant, nodes: usize, known: Known) -> Result<ColdStart> {
    let mut mesh = Mesh::start(places, contestant, nodes, known, false)?;
    let complete = mesh.complete().await?;
    let cpu = mesh.starting_cpu_time()?;
    sleep(SETTLE).await;
    let resident = mesh.resident()?;
    mesh.stop().await?;
    Ok(ColdStart { complete, cpu, resident })
}
