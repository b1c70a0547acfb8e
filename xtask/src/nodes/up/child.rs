//! One node as a child process: started in its folder, with its output forwarded.

use std::io::{self, IsTerminal};
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use anyhow::{Context, Result};
use meshpool::binary::system;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use crate::nodes::up::output::{NodeOutput, Stream};
use crate::nodes::up::pages::HTTP_PORT;
use crate::support::workspace::Folder;

/// Settings of a single folder. Exported in this shell, they would override those of all folders.
const PER_FOLDER: [&str; 3] = ["PORT", "ADDRESS", "MY_PUBLIC_KEY"];

/// What the nodes are to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Run on.
    Run,
    /// Shut down.
    Terminate,
    /// Be killed.
    Kill,
}

/// Returns the command that starts the node of a folder. `http_port` is the exported HTTP_PORT, if
/// it holds for this node.
pub(crate) fn command(binary: &Path, folder: &Folder, http_port: Option<&str>) -> Command {
    let mut command = Command::new(binary);
    for name in PER_FOLDER {
        command.env_remove(name);
    }
    match http_port {
        Some(port) => command.env(HTTP_PORT, port),
        None => command.env_remove(HTTP_PORT),
    };
    command.current_dir(&folder.path).stdin(Stdio::null());
    // With a group of its own the node gets Ctrl+C once, from us, and not from the terminal.
    system::leave_group(command.as_std_mut());
    command
}

/// Starts the node of a folder. The future forwards the output, follows `phase`, and returns how
/// the process ended.
pub(crate) fn start(
    binary: &Path,
    folder: &Folder,
    http_port: Option<&str>,
    output: NodeOutput,
    phase: watch::Receiver<Phase>,
) -> Result<impl Future<Output = (u32, io::Result<ExitStatus>)> + Send + 'static> {
    let mut command = command(binary, folder, http_port);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    // The node does not see our terminal.
    if io::stderr().is_terminal() {
        command.args(["--log-transactions", "each"]);
    }
    let mut child =
        command.spawn().with_context(|| format!("{} cannot be started with {}", folder.name(), binary.display()))?;
    let number = folder.number;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    Ok(async move {
        let (status, (), ()) = tokio::join!(
            wait_or_signal(child, phase),
            forward_lines(stdout, &output, Stream::Out),
            forward_lines(stderr, &output, Stream::Error)
        );
        (number, status)
    })
}

async fn wait_or_signal(mut child: Child, mut phase: watch::Receiver<Phase>) -> io::Result<ExitStatus> {
    loop {
        tokio::select! {
            status = child.wait() => return status,
            Ok(()) = phase.changed() => {
                let phase = *phase.borrow_and_update();
                // Without an id it has been waited for, and another process may have the number by
                // now.
                let Some(id) = child.id() else { continue };
                match phase {
                    Phase::Run => {}
                    Phase::Terminate => system::end(id)?,
                    Phase::Kill => system::kill(id)?,
                }
            }
        }
    }
}

async fn forward_lines(source: Option<impl AsyncRead + Unpin>, output: &NodeOutput, stream: Stream) {
    let Some(source) = source else { return };
    let mut lines = BufReader::new(source);
    let mut line = Vec::new();
    // A read error on the pipe ends the forwarding, not the node.
    while lines.read_until(b'\n', &mut line).await.is_ok_and(|bytes| bytes > 0) {
        output.print(stream, &String::from_utf8_lossy(line.trim_ascii_end()));
        line.clear();
    }
}
