//! The node's memory once it has come to rest, and its processor time while it rests.

use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::time::sleep;

use crate::support::process::Process;

/// How often memory is looked at.
const INTERVAL: Duration = Duration::from_secs(2);
/// So many looks in a row must show about the same.
const ALIKE: usize = 3;
/// How much looks may differ that count as the same: one in so many.
const PART: u64 = 200;
/// After so long it counts as settled in any case: then it grows all the time, and the figure will show that.
const PATIENCE: Duration = Duration::from_secs(90);

/// The node's resident memory in bytes, once it has settled.
pub(crate) async fn settled(node: &Process) -> Result<u64> {
    let began = Instant::now();
    let (mut last, mut alike) = (node.memory()?.resident, 1);
    while alike < ALIKE && began.elapsed() < PATIENCE {
        sleep(INTERVAL).await;
        let now = node.memory()?.resident;
        alike = if now.abs_diff(last) <= last / PART { alike + 1 } else { 1 };
        last = now;
    }
    Ok(last)
}

/// How much processor time the node takes in a second, in milliseconds.
pub(crate) async fn cpu_per_second(node: &Process, time: Duration) -> Result<f64> {
    let (before, began) = (node.cpu()?, Instant::now());
    sleep(time).await;
    Ok((node.cpu()?.saturating_sub(before)).as_secs_f64() * 1e3 / began.elapsed().as_secs_f64())
}
