//! The costs of a network over some time.

use std::time::{Duration, Instant};

use anyhow::Result;
use futures_util::future::try_join_all;
use measuring::proc::machine_time;
use meshpool::protocol::wire::Status;
use tokio::time::sleep;

use crate::support::process::Process;

/// The counter of bytes written to peers.
const SENT: &str = "peers_sent_bytes";
/// The pause between asking the nodes and reading their CPU time.
const REST: Duration = Duration::from_secs(1);

/// The costs of a network. Each list has one entry per node.
pub(crate) struct Costs {
    pub(crate) links: Vec<f64>,
    /// Milliseconds of CPU time per second.
    pub(crate) cpu: Vec<f64>,
    /// Bytes written to peers per second.
    pub(crate) sent: Vec<f64>,
    /// Announcements sent per second.
    pub(crate) announced: Vec<f64>,
    /// Dials per minute: for shuffles, for free slots, and probes.
    pub(crate) dialled: Vec<f64>,
    /// Resident memory, in MiB.
    pub(crate) memory: Vec<f64>,
    /// The part of all processors' time that the machine used, the nodes included: from 0 to 1.
    pub(crate) busy: f64,
}

/// Watches nodes. Asking them costs CPU time and bytes, which are in none of the figures.
pub(crate) async fn watch(network: &[Process], time: Duration) -> Result<Costs> {
    let before = statuses(network).await?;
    sleep(REST).await;
    let (cpu_before, machine_before, began) = (cpu(network)?, machine_time()?, Instant::now());
    sleep(time).await;
    let (cpu_after, machine_after, took) = (cpu(network)?, machine_time()?, began.elapsed().as_secs_f64());
    let after = statuses(network).await?;
    let each = |counters: &[&str]| -> Vec<f64> {
        let counted = |status: &Status| {
            let counts = counters.iter().filter_map(|counter| status.counters.get(*counter));
            counts.sum::<u64>()
        };
        let pairs = before.iter().zip(&after);
        pairs.map(|((at, was), (then, is))| (counted(is) - counted(was)) as f64 / (*then - *at).as_secs_f64()).collect()
    };
    let memory: Result<Vec<_>> = network.iter().map(Process::memory).collect();
    let spent = cpu_before.iter().zip(&cpu_after).map(|(before, after)| after.saturating_sub(*before).as_secs_f64());
    let busy = (machine_after.busy - machine_before.busy).as_secs_f64();
    let total = (machine_after.total - machine_before.total).as_secs_f64();
    Ok(Costs {
        links: after.iter().map(|(_, status)| status.connected.len() as f64).collect(),
        cpu: spent.map(|spent| spent * 1e3 / took).collect(),
        sent: each(&[SENT]),
        announced: each(&["announcements_sent"]),
        dialled: each(&["dials", "probes"]).into_iter().map(|dials| dials * 60.0).collect(),
        memory: memory?.into_iter().map(|memory| memory.resident as f64 / f64::from(1 << 20)).collect(),
        busy: busy / total.max(0.01),
    })
}

async fn statuses(network: &[Process]) -> Result<Vec<(Instant, Status)>> {
    try_join_all(network.iter().map(async |node| anyhow::Ok((Instant::now(), node.status().await?)))).await
}

fn cpu(network: &[Process]) -> Result<Vec<Duration>> {
    network.iter().map(Process::cpu).collect()
}
