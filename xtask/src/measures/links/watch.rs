//! The node's memory once it has settled, and its CPU time while idle.

use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::time::sleep;

use crate::support::process::Process;

/// The interval between two readings of the memory.
const INTERVAL: Duration = Duration::from_secs(2);
/// The memory has settled when this many readings in a row are about equal.
const ALIKE: usize = 3;
/// Readings are about equal if they differ by less than one part in this many.
const PART: u64 = 200;
/// The longest wait. Memory that still grows then shows in the figure.
const PATIENCE: Duration = Duration::from_secs(90);

/// Returns the node's resident memory in bytes, once it has settled.
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

/// Returns the CPU time per second of the idle node, in milliseconds.
pub(crate) async fn cpu_per_second(node: &Process, time: Duration) -> Result<f64> {
    let (before, began) = (node.cpu()?, Instant::now());
    sleep(time).await;
    Ok((node.cpu()?.saturating_sub(before)).as_secs_f64() * 1e3 / began.elapsed().as_secs_f64())
}
