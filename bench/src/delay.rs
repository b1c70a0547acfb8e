//! How long a single transaction takes when the nodes have little to do: from when it is pushed at
//! one node until another has accepted it.
//!
//! Whoever pushes writes the time into the transaction, and every node notes how old it is when the
//! node's program is told of it. Both read the clock that all processes of a machine share. Ours is
//! embedded in a program for that, the others note it themselves; all leave what they noted in a
//! file.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::sleep;

use crate::contestant::Contestant;
use crate::load;
use crate::mesh::{Known, Mesh, Places};

/// How long a complete mesh is left alone before.
const SETTLE: Duration = Duration::from_millis(1_200);
/// How long after one transaction the next is pushed: 100 per second.
const PAUSE: Duration = Duration::from_millis(10);

/// What a run showed.
#[derive(Debug, Clone)]
pub(crate) struct Delays {
    /// Half of all deliveries took no longer.
    pub(crate) half: Duration,
    /// 99 of 100 took no longer.
    pub(crate) most: Duration,
    /// The slowest.
    pub(crate) slowest: Duration,
    /// How many transactions never came, all nodes together.
    pub(crate) missing: u64,
}

/// Makes one run.
pub(crate) async fn run(places: &Places, contestant: &Contestant, nodes: usize, time: Duration) -> Result<Delays> {
    let count = (time.as_millis() / PAUSE.as_millis()) as u64;
    let mut mesh = Mesh::start(places, contestant, nodes, Known::All, true)?;
    mesh.complete().await?;
    sleep(SETTLE).await;
    let first = &mesh.doors()[0];
    // Nobody is asked anything meanwhile.
    load::trickle(first, count, PAUSE).await.context("a node did not take what was pushed at it")?;
    let missing = mesh.wait(|status| (status.accepted, count)).await?.missing;
    mesh.stop().await?;
    // The first node's are of the way from the bench to it.
    let mut delays = Vec::new();
    for folder in mesh.folders().skip(1) {
        delays.append(&mut read(&folder.join("delays"))?);
    }
    delays.sort_unstable();
    Ok(Delays {
        half: percentile(&delays, 50),
        most: percentile(&delays, 99),
        slowest: percentile(&delays, 100),
        missing,
    })
}

fn read(path: &Path) -> Result<Vec<u64>> {
    let text = fs::read_to_string(path).with_context(|| format!("{} can not be read", path.display()))?;
    let delays = text.lines().map(str::parse).collect::<Result<_, _>>();
    delays.with_context(|| format!("{} has a line that is no number", path.display()))
}

/// The least that so many of a hundred do not exceed; zero of none.
fn percentile(sorted: &[u64], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    Duration::from_nanos(sorted.get(rank).copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let delays: Vec<_> = (1..=200).collect();
        let of = |percent| percentile(&delays, percent).as_nanos();
        assert_eq!((of(50), of(99), of(100)), (100, 198, 200));
        assert_eq!(percentile(&[], 50), Duration::ZERO);
        assert_eq!(percentile(&[7], 99).as_nanos(), 7);
    }
}
