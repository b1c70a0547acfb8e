//! The named pipe by which another process asks this one to end. Windows has no signal for that.
//!
//! By default only the user who made a pipe, administrators and the system may write to one
//! ("Named Pipe Security and Access Rights"), and remote clients are refused.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Write};

use tokio::io::AsyncReadExt;
use tokio::net::windows::named_pipe::{NamedPipeServer, ServerOptions};

/// What is written to the pipe.
const END: u8 = b'E';
/// ERROR_PIPE_BUSY: another process is asking.
const BUSY: i32 = 231;

fn name(id: u32) -> String {
    format!(r"\\.\pipe\meshpool-end-{id}")
}

/// The end that is asked.
#[derive(Debug)]
pub(crate) struct EndPipe(NamedPipeServer);

impl EndPipe {
    /// Makes the pipe of this process.
    ///
    /// # Errors
    /// The system's; another process has made it.
    pub(crate) fn listen() -> io::Result<Self> {
        let mut options = ServerOptions::new();
        options.first_pipe_instance(true).reject_remote_clients(true).access_outbound(false);
        Ok(Self(options.create(name(std::process::id()))?))
    }

    /// Waits until a process asks. Cancel-safe.
    pub(crate) async fn asked(&mut self) {
        loop {
            // It fails if a client has gone already; then the next one is waited for.
            let read = match self.0.connect().await {
                Ok(()) => self.0.read_u8().await,
                Err(error) => Err(error),
            };
            if matches!(read, Ok(END)) {
                return;
            }
            if self.0.disconnect().is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Asks a process to end.
///
/// # Errors
/// The system's.
pub(crate) fn ask(id: u32) -> io::Result<()> {
    let written = OpenOptions::new().write(true).open(name(id)).and_then(|mut pipe| pipe.write_all(&[END]));
    match written {
        // It is gone, or is asked already.
        Err(error) if error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(BUSY) => Ok(()),
        written => written,
    }
}
