//! A rival ends at SIGTERM, or when the bench ends.

use std::io::Read;

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};

use crate::tally::Tally;

/// Runs a node until SIGTERM, then writes the delays. The process exits when its standard input
/// ends, which means that the bench has ended.
///
/// # Errors
/// That of the node, or the delays cannot be written.
pub async fn end_with(tally: Tally, node: impl Future<Output = Result<()>>) -> Result<()> {
    std::thread::spawn(|| {
        // A read error is an end too.
        std::io::stdin().read_to_end(&mut Vec::new()).unwrap_or_default();
        std::process::exit(0);
    });
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    tokio::select! {
        result = node => result?,
        _ = terminate.recv() => {}
    }
    tally.write_delays()
}
