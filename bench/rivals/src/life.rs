//! When a rival ends: told by SIGTERM, and in any case when the bench does.

use std::io::Read;

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};

use crate::tally::Tally;

/// Runs a node until SIGTERM, then writes the delays. The process ends at once when its standard
/// input does: the bench is gone.
///
/// # Errors
/// The node's own, or the delays can not be written.
pub async fn end_with(tally: Tally, node: impl Future<Output = Result<()>>) -> Result<()> {
    std::thread::spawn(|| {
        // A failed reading is an end too.
        std::io::stdin().read_to_end(&mut Vec::new()).unwrap_or_default();
        std::process::exit(0);
    });
    let mut terminate = signal(SignalKind::terminate()).context("can not wait for SIGTERM")?;
    tokio::select! {
        result = node => result?,
        _ = terminate.recv() => {}
    }
    tally.write_delays()
}
