//! The cost of open pages, or of views of frames: the same load with and without them.

use anyhow::Result;

use super::listeners::Open;
use super::throughput::{self, Run, Target};
use crate::contestants::Contestant;
use crate::mesh::Paths;

/// The same load twice.
#[derive(Debug)]
pub(crate) struct Pair {
    /// With no page open.
    pub(crate) without: Run,
    /// With pages open on every node.
    pub(crate) with: Run,
}

impl Pair {
    /// The ratio of the throughput.
    pub(crate) fn rate(&self) -> f64 {
        self.with.delivered_rate() / self.without.delivered_rate()
    }

    /// The ratio of the CPU time.
    pub(crate) fn cost(&self) -> f64 {
        self.with.cpu_per_delivery() / self.without.cpu_per_delivery()
    }
}

/// Runs both. The first is another one in every round, so that a machine that gets slower or faster
/// favours neither.
pub(crate) async fn run(
    paths: &Paths,
    contestant: &Contestant,
    nodes: usize,
    count: u64,
    open: Open,
    round: usize,
) -> Result<Pair> {
    let one = async |open| throughput::run(paths, contestant, nodes, Target::One, count, open).await;
    if round % 2 == 1 {
        let without = one(Open::NONE).await?;
        return Ok(Pair { without, with: one(open).await? });
    }
    let with = one(open).await?;
    Ok(Pair { without: one(Open::NONE).await?, with })
}
