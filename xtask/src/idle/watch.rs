//! What a network costs over some time.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures_util::future::try_join_all;
use meshpool::protocol::wire::Status;
use tokio::time::sleep;

use crate::process::Process;

/// The counter of what a node writes on links to peers.
const SENT: &str = "peers_sent_bytes";
/// How long the nodes rest after they were asked, before their processor time is read.
const REST: Duration = Duration::from_secs(1);

/// What a network cost. Each list has one entry per node.
pub(super) struct Costs {
    pub(super) links: Vec<f64>,
    /// Milliseconds of processor time per second.
    pub(super) cpu: Vec<f64>,
    /// Bytes written to peers per second.
    pub(super) sent: Vec<f64>,
    /// Announcements sent per second.
    pub(super) announced: Vec<f64>,
    /// Dials per minute: visits, searches for places, and probes.
    pub(super) dialled: Vec<f64>,
    /// Resident memory, in MiB.
    pub(super) memory: Vec<f64>,
    /// How much of all processors' time the machine used meanwhile, the nodes included: from 0 to 1.
    pub(super) busy: f64,
}

/// Watches nodes. What it costs them to be asked is in none of the figures but memory.
pub(super) async fn watch(network: &[Process], time: Duration) -> Result<Costs> {
    let before = statuses(network).await?;
    sleep(REST).await;
    let (cpu_before, machine_before, began) = (cpu(network)?, machine()?, Instant::now());
    sleep(time).await;
    let (cpu_after, machine_after, took) = (cpu(network)?, machine()?, began.elapsed().as_secs_f64());
    let after = statuses(network).await?;
    let each = |counters: &[&str]| -> Vec<f64> {
        let counted = |status: &Status| {
            let counts = counters.iter().filter_map(|counter| status.counters.get(*counter));
            counts.sum::<u64>()
        };
        let pairs = before.iter().zip(&after);
        pairs.map(|((at, was), (then, is))| (counted(is) - counted(was)) as f64 / (*then - *at).as_secs_f64()).collect()
    };
    let memory: Result<Vec<(u64, u64)>> = network.iter().map(Process::memory).collect();
    let spent = cpu_before.iter().zip(&cpu_after).map(|(before, after)| after.saturating_sub(*before).as_secs_f64());
    let [busy, all] = [0, 1].map(|part| (machine_after[part] - machine_before[part]) as f64);
    Ok(Costs {
        links: after.iter().map(|(_, status)| status.connected.len() as f64).collect(),
        cpu: spent.map(|spent| spent * 1e3 / took).collect(),
        sent: each(&[SENT]),
        announced: each(&["announcements_sent"]),
        dialled: each(&["dials", "probes"]).into_iter().map(|dials| dials * 60.0).collect(),
        memory: memory?.into_iter().map(|(now, _)| now as f64 / f64::from(1 << 20)).collect(),
        busy: busy / all.max(1.0),
    })
}

async fn statuses(network: &[Process]) -> Result<Vec<(Instant, Status)>> {
    try_join_all(network.iter().map(async |node| anyhow::Ok((Instant::now(), node.status().await?)))).await
}

fn cpu(network: &[Process]) -> Result<Vec<Duration>> {
    network.iter().map(Process::cpu).collect()
}

/// The processors' time since the machine started, in ticks: what was used, and all.
fn machine() -> Result<[u64; 2]> {
    let stat = fs::read_to_string("/proc/stat").context("/proc/stat can not be read")?;
    ticks(&stat).context("/proc/stat tells no processor time")
}

/// Reads proc_stat(5): user, nice, system, idle, iowait, irq, softirq, steal; of a guest's time the rest tells once more.
fn ticks(stat: &str) -> Option<[u64; 2]> {
    let fields = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
    let fields: Vec<u64> = fields.take(8).map_while(|field| field.parse().ok()).collect();
    let rests = fields.get(3)? + fields.get(4)?;
    let all = fields.iter().sum::<u64>();
    Some([all - rests, all])
}

#[cfg(test)]
mod tests {
    use super::ticks;

    #[test]
    fn the_processors_time_is_read() {
        assert_eq!(ticks("cpu  10 1 5 100 20 0 2 3 50 0\ncpu0 5 0\n"), Some([21, 141]));
        assert_eq!(ticks("cpu  10 1\n"), None);
    }
}
