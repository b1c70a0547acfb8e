//! The events by which a person or the system asks this process to end.

use std::io;

use tokio::signal::windows::{
    CtrlBreak, CtrlC, CtrlClose, CtrlShutdown, ctrl_break, ctrl_c, ctrl_close, ctrl_shutdown,
};

use crate::system::types::EndReason;
use crate::system::windows::end_pipe::EndPipe;

/// The events that ask this process to end.
#[derive(Debug)]
pub struct EndSignals {
    interrupt: CtrlC,
    stop: CtrlBreak,
    close: CtrlClose,
    shutdown: CtrlShutdown,
    /// `None`: it cannot be made, as in a sandbox; then the process ends by its console only.
    pipe: Option<EndPipe>,
}

impl EndSignals {
    /// Catches the events, which from now on do not end the process by themselves.
    ///
    /// # Errors
    /// The system's.
    pub fn listen() -> io::Result<Self> {
        let pipe = EndPipe::listen().inspect_err(|error| {
            tracing::warn!(
                "other programs cannot ask this one to end: its pipe cannot be made: {error}; end it with Ctrl+C in its window"
            );
        });
        Ok(Self {
            interrupt: ctrl_c()?,
            stop: ctrl_break()?,
            close: ctrl_close()?,
            shutdown: ctrl_shutdown()?,
            pipe: pipe.ok(),
        })
    }

    /// Waits for the next one. Cancel-safe.
    pub async fn next(&mut self) -> EndReason {
        let asked = async {
            match &mut self.pipe {
                Some(pipe) => pipe.asked().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => EndReason::Interrupt,
            _ = self.stop.recv() => EndReason::Request("Ctrl+Break"),
            _ = self.close.recv() => EndReason::Request("the window was closed"),
            _ = self.shutdown.recv() => EndReason::Request("the system ends"),
            () = asked => EndReason::Request("another process asks"),
        }
    }
}

/// There is no such event: the files are read again by a request (`POST /api/reload`).
#[derive(Debug)]
pub struct ReloadSignal;

impl ReloadSignal {
    /// Does nothing.
    ///
    /// # Errors
    /// None.
    pub fn listen() -> io::Result<Self> {
        Ok(Self)
    }

    /// Never returns.
    pub async fn next(&mut self) {
        std::future::pending().await
    }
}
