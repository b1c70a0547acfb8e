//! One node as a child process: started in its folder, its lines shown, ended when asked to.

use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use crate::nodes::up::pages::HTTP_PORT;
use crate::nodes::up::voice::{Speaker, Stream};
use crate::support::workspace::Folder;

/// What differs from folder to folder: exported in this shell, it would be the same for all nodes and win over each folder's own.
const PER_FOLDER: [&str; 3] = ["PORT", "ADDRESS", "MY_PUBLIC_KEY"];

/// What the nodes are to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Go on.
    Run,
    /// End in order.
    Terminate,
    /// End at once.
    Kill,
}

/// Starts the node of a folder; `http_port`: the exported HTTP_PORT, where it holds for this node. The future shows its lines and obeys `phase`; it ends with the process, and tells how that ended.
pub(crate) fn start(
    binary: &Path,
    folder: &Folder,
    http_port: Option<&str>,
    speaker: Speaker,
    phase: watch::Receiver<Phase>,
) -> Result<impl Future<Output = (u32, io::Result<ExitStatus>)> + Send + 'static> {
    let mut command = Command::new(binary);
    for name in PER_FOLDER {
        command.env_remove(name);
    }
    match http_port {
        Some(port) => command.env(HTTP_PORT, port),
        None => command.env_remove(HTTP_PORT),
    };
    command
        .current_dir(&folder.path)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    // A group of its own: the terminal's Ctrl+C comes to us alone, and once to the node, from us.
    command.process_group(0);
    let mut child =
        command.spawn().with_context(|| format!("{} can not be started with {}", folder.name(), binary.display()))?;
    let number = folder.number;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    Ok(async move {
        let (status, (), ()) = tokio::join!(
            obey(child, phase),
            show(stdout, &speaker, Stream::Out),
            show(stderr, &speaker, Stream::Error)
        );
        (number, status)
    })
}

async fn obey(mut child: Child, mut phase: watch::Receiver<Phase>) -> io::Result<ExitStatus> {
    loop {
        tokio::select! {
            status = child.wait() => return status,
            Ok(()) = phase.changed() => {
                let signal = match *phase.borrow_and_update() {
                    Phase::Run => continue,
                    Phase::Terminate => Signal::TERM,
                    Phase::Kill => Signal::KILL,
                };
                // Without an id it has been waited for already, and the number may belong to somebody else by now.
                let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
                match pid.map(|pid| kill_process(pid, signal)) {
                    Some(Err(error)) if error != rustix::io::Errno::SRCH => return Err(error.into()),
                    _ => {}
                }
            }
        }
    }
}

async fn show(source: Option<impl AsyncRead + Unpin>, speaker: &Speaker, stream: Stream) {
    let Some(source) = source else { return };
    let mut lines = BufReader::new(source);
    let mut line = Vec::new();
    // A read error on our own pipe ends the show, not the node.
    while lines.read_until(b'\n', &mut line).await.is_ok_and(|bytes| bytes > 0) {
        speaker.say(stream, &String::from_utf8_lossy(line.trim_ascii_end()));
        line.clear();
    }
}
