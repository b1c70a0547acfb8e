//! The cost of open pages: the same load with and without them.

use anyhow::Result;

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
    pages: usize,
    round: usize,
) -> Result<Pair> {
    let one = async |pages| throughput::run(paths, contestant, nodes, Target::One, count, pages).await;
    if round % 2 == 1 {
        let without = one(0).await?;
        return Ok(Pair { without, with: one(pages).await? });
    }
    let with = one(pages).await?;
    Ok(Pair { without: one(0).await?, with })
}
