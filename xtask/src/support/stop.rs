//! The request to stop: Ctrl+C, SIGTERM and SIGHUP, or what the system has for them.

use anyhow::Result;
use futures_util::FutureExt;
use meshpool::binary::system::{EndSignals, ReloadSignal};

/// The signals by which a person or the system asks this process to stop.
pub(crate) struct Stop {
    ends: EndSignals,
    /// This program has no files to read again.
    hangup: ReloadSignal,
}

impl Stop {
    /// Catches the signals, which from now on do not end the process by themselves.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { ends: EndSignals::listen()?, hangup: ReloadSignal::listen()? })
    }

    /// Ignores signals that have come so far.
    pub(crate) fn forget(&mut self) {
        while self.asked().now_or_never().is_some() {}
    }

    pub(crate) async fn asked(&mut self) {
        tokio::select! {
            _ = self.ends.next() => {}
            () = self.hangup.next() => {}
        }
    }
}
