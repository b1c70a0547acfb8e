//! The signals by which a person or the system asks this process for something.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::system::types::EndReason;

/// The signals that ask this process to end.
#[derive(Debug)]
pub struct EndSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl EndSignals {
    /// Catches the signals, which from now on do not end the process by themselves.
    ///
    /// # Errors
    /// The system's.
    pub fn listen() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for the next one. Cancel-safe.
    pub async fn next(&mut self) -> EndReason {
        tokio::select! {
            _ = self.interrupt.recv() => EndReason::Interrupt,
            _ = self.terminate.recv() => EndReason::Request("SIGTERM"),
        }
    }
}

/// The signal that asks this process to read its files again, or, of one without files, to end.
#[derive(Debug)]
pub struct ReloadSignal(Signal);

impl ReloadSignal {
    /// Catches the signal.
    ///
    /// # Errors
    /// The system's.
    pub fn listen() -> io::Result<Self> {
        Ok(Self(signal(SignalKind::hangup())?))
    }

    /// Waits for the next one. Cancel-safe.
    pub async fn next(&mut self) {
        self.0.recv().await;
    }
}
