//! The request to stop: Ctrl+C, SIGTERM and SIGHUP.

use anyhow::Result;
use futures_util::FutureExt;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals by which a person or the system asks this process to stop.
pub(crate) struct Stop {
    signals: [Signal; 3],
}

impl Stop {
    /// Catches the signals, which from now on do not end the process by themselves.
    pub(crate) fn new() -> Result<Self> {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let [interrupt, terminate, hangup] = kinds.map(signal);
        Ok(Self { signals: [interrupt?, terminate?, hangup?] })
    }

    /// Ignores signals that have come so far.
    pub(crate) fn forget(&mut self) {
        while self.asked().now_or_never().is_some() {}
    }

    pub(crate) async fn asked(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.signals;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
