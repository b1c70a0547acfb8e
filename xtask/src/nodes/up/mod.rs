//! `up`: makes missing node folders, builds once, starts the nodes, shows their logs, and stops
//! them.
//!
//! The nodes are children of this process, each in its own folder and process group. At Ctrl+C this
//! process asks them to end, waits, and kills those that are left. A node that ends by itself is
//! reported and the others run on. Nodes that ran before are left alone.
//!
//! With `--detach` the nodes run on, with their logs in their folders; `logs` shows them and `down`
//! ends them.

mod child;
pub(crate) mod detached;
mod mesh;
pub(crate) mod output;
mod pages;

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::{ExitCode, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use meshpool::binary::system::canonical;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::nodes::clone_node;
use crate::nodes::up::child::Phase;
use crate::nodes::up::detached::LOG_FILE;
use crate::nodes::up::mesh::Live;
use crate::nodes::up::output::Output;
use crate::support::cargo::build_node;
use crate::support::end_node::GRACE;
use crate::support::stop::Stop;
use crate::support::workspace::{Folder, Lock, Workspace};
use crate::support::{running_nodes, terminal};

/// A Ctrl+C so soon after the first one is the same request.
const SAME: Duration = Duration::from_millis(300);
/// After this time the missing links are reported.
const LATE: Duration = Duration::from_secs(10);

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Start node-1 to node-N
    #[arg(value_name = "N", default_value_t = 3, value_parser = terminal::node_count)]
    nodes: u32,
    /// Build a release
    #[arg(long)]
    release: bool,
    /// Let the nodes run on in the background; `logs` shows their logs, `down` stops them
    #[arg(long, short)]
    detach: bool,
    /// Start this program instead of building the node
    #[arg(long, hide = true, value_name = "FILE")]
    binary: Option<PathBuf>,
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let output = Output::new(arguments.nodes);
    let folders = folders(workspace, arguments.nodes, &output)?;
    let before = idle(&folders, &output)?;
    let binary = match &arguments.binary {
        Some(binary) => canonical(binary).with_context(|| format!("{} cannot be opened", binary.display()))?,
        None => build_node(workspace, arguments.release)?,
    };
    // The build takes a while, and another `up` may have started some of them meanwhile.
    let idle = idle(&before, &output)?;
    if arguments.detach {
        return running_nodes::block_on(detach(&binary, folders, idle, &output));
    }
    running_nodes::block_on(supervise(&binary, folders, idle, &output))
}

/// Returns the folders in which no node runs, and prints of the others that one does.
///
/// # Errors
/// There is none.
fn idle(folders: &[Folder], output: &Output) -> Result<Vec<Folder>> {
    let mut idle = Vec::new();
    for folder in folders {
        match folder.lock()? {
            Lock::Held(holder) => {
                let who = holder.map_or(String::new(), |holder| format!(" ({holder})"));
                output.print(&format!("{} runs already{who}; it is left alone", folder.name()));
            }
            Lock::Free => idle.push(folder.clone()),
        }
    }
    if idle.is_empty() {
        bail!("nothing to start: every node runs already; `cargo xtask status` shows them");
    }
    Ok(idle)
}

fn folders(workspace: &Workspace, count: u32, output: &Output) -> Result<Vec<Folder>> {
    let authority = clone_node::authority(workspace)?;
    let mut folders = Vec::new();
    for number in 1..=count {
        let folder = workspace.folder(number);
        if !folder.exists() {
            if folder.path.symlink_metadata().is_ok() {
                bail!(
                    "{} is there, but is no node's folder: it has no .env of its own; move it away",
                    folder.path.display()
                );
            }
            // A folder that another process made meanwhile is as good.
            if clone_node::make(workspace, number, authority.as_ref(), |_| Ok(()))?.is_some() {
                output.print(&format!("made {}", folder.name()));
            }
            clone_node::warn_of_taken_port(&folder);
        }
        folders.push(folder);
    }
    Ok(folders)
}

async fn supervise(binary: &Path, folders: Vec<Folder>, idle: Vec<Folder>, output: &Output) -> Result<ExitCode> {
    let mut stop = Stop::new()?;
    let (phase, _) = watch::channel(Phase::Run);
    let mut running = JoinSet::new();
    let exported = pages::exported_port(idle.len(), output);
    for folder in &idle {
        running.spawn(child::start(binary, folder, exported.as_deref(), output.of(folder.number), phase.subscribe())?);
    }
    let live: Live = RefCell::new(folders.into_iter().map(|folder| (folder.number, folder)).collect());
    let began = Instant::now();
    let mut mesh = pin!(async {
        let nodes = mesh::wait_until_complete(&live).await;
        let after = began.elapsed();
        next_steps(nodes, after, pages::line(&live, exported.as_deref()).await, ATTACHED)
    });
    let mut late = pin!(tokio::time::sleep(LATE));
    let (mut waiting, mut patient, mut failed) = (true, true, false);
    while !running.is_empty() {
        tokio::select! {
            () = stop.asked() => return end(running, &phase, stop, failed, output).await,
            Some(ended) = running.join_next() => failed |= !report(ended?, &live, output),
            next_steps = &mut mesh, if waiting => {
                waiting = false;
                output.print(&next_steps);
            }
            () = &mut late, if waiting && patient => {
                patient = false;
                output.print(&format!("the mesh is not complete after {} s: {}", LATE.as_secs(), mesh::describe_gaps(&live).await));
            }
        }
    }
    if failed {
        bail!("every node has ended; the last lines above of those that ended on their own say why");
    }
    output.print("all nodes were stopped");
    Ok(ExitCode::SUCCESS)
}

/// Starts the nodes, waits until all are linked to all, and leaves them running.
async fn detach(binary: &Path, folders: Vec<Folder>, idle: Vec<Folder>, output: &Output) -> Result<ExitCode> {
    let exported = pages::exported_port(idle.len(), output);
    let mut running = FuturesUnordered::new();
    let live: Live = RefCell::new(folders.into_iter().map(|folder| (folder.number, folder)).collect());
    for folder in idle {
        let end = detached::start(binary, &folder, exported.as_deref())?;
        running.push(async move { (end.await, folder) });
    }
    let began = Instant::now();
    let mut mesh = pin!(async {
        let nodes = timeout(LATE, mesh::wait_until_complete(&live)).await.ok()?;
        let after = began.elapsed();
        Some(next_steps(nodes, after, pages::line(&live, exported.as_deref()).await, DETACHED))
    });
    let mut ended = 0;
    loop {
        tokio::select! {
            Some((status, folder)) = running.next() => {
                report((folder.number, status), &live, output);
                output.print(&format!("the end of {}/{LOG_FILE}: {}", folder.name(), detached::last_line(&folder)));
                ended += 1;
                if running.is_empty() {
                    bail!("every node has ended on its own; their last lines above say why");
                }
            }
            complete = &mut mesh => {
                match complete {
                    Some(next_steps) => output.print(&next_steps),
                    None => {
                        let gaps = mesh::describe_gaps(&live).await;
                        output.print(&format!("the mesh is not complete after {} s: {gaps}; the nodes run on\n{DETACHED}", LATE.as_secs()));
                    }
                }
                return Ok(if ended == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE });
            }
        }
    }
}

/// Tells that a node has ended. Returns whether it was stopped, as by `cargo xtask down`: then it
/// ends without an error.
fn report((number, status): (u32, std::io::Result<ExitStatus>), live: &Live, output: &Output) -> bool {
    live.borrow_mut().remove(&number);
    let how = match status {
        Ok(status) if status.success() => {
            output.print(&format!("node-{number} was stopped"));
            return true;
        }
        Ok(status) => status.to_string(),
        Err(error) => format!("its status is not known: {error}"),
    };
    output.print(&format!("node-{number} has ended on its own ({how}); its last lines above say why"));
    false
}

/// Asks all nodes to end, waits, and kills those that are late, or all at a second Ctrl+C. It is a
/// failure if one was killed or has ended with an error, such as transactions that were not stored;
/// `failed`: one has done so before.
///
/// A signal right after the first is ignored: timeout(1), for example, signals a process and then
/// its group.
async fn end(
    mut running: JoinSet<(u32, std::io::Result<ExitStatus>)>,
    phase: &watch::Sender<Phase>,
    mut stop: Stop,
    failed: bool,
    output: &Output,
) -> Result<ExitCode> {
    output.print(&format!("stopping {}", terminal::plural(running.len(), "node")));
    phase.send_replace(Phase::Terminate);
    let failed = Cell::new(failed);
    let ends = async |running: &mut JoinSet<_>| -> Result<()> {
        while let Some(ended) = running.join_next().await {
            let (number, status): (u32, std::io::Result<ExitStatus>) = ended?;
            match status? {
                status if status.success() => {}
                status => {
                    failed.set(true);
                    output.print(&format!("node-{number} ended with {status}"));
                }
            }
        }
        Ok(())
    };
    let again = async {
        tokio::time::sleep(SAME).await;
        stop.forget();
        output.print("waiting for them to end; Ctrl+C again kills those that still run at once");
        stop.asked().await;
    };
    let ended = tokio::select! {
        ended = timeout(GRACE, ends(&mut running)) => ended.ok().transpose()?.map_or(Ended::TimedOut, |()| Ended::All),
        () = again => Ended::Interrupted,
    };
    let left = terminal::plural(running.len(), "node");
    let are = if running.len() == 1 { "is" } else { "are" };
    match ended {
        Ended::All => {}
        Ended::TimedOut => output.print(&format!("{left} did not end within {} s and {are} killed", GRACE.as_secs())),
        Ended::Interrupted => output.print(&format!("second request: {left} that had not ended {are} killed")),
    }
    if !running.is_empty() {
        phase.send_replace(Phase::Kill);
        ends(&mut running).await?;
    }
    if failed.get() {
        output.print("all nodes have ended, not all without an error: their last lines above say why");
        return Ok(ExitCode::FAILURE);
    }
    output.print("all nodes have ended");
    Ok(ExitCode::SUCCESS)
}

/// How the wait for the nodes ended.
enum Ended {
    All,
    /// The time was over.
    TimedOut,
    /// A second Ctrl+C came.
    Interrupted,
}

/// How the nodes are stopped, where this process does it.
const ATTACHED: &str = "Ctrl+C stops all of them";
/// The same where they run on without it.
const DETACHED: &str = "`cargo xtask logs --follow` shows their logs, `cargo xtask down` stops them";

fn next_steps(nodes: usize, after: Duration, pages: Option<String>, stop: &str) -> String {
    let seconds = after.as_secs_f64();
    let complete = match nodes {
        1 => format!("the node is up, alone ({seconds:.1} s)"),
        _ => format!("the mesh is complete: {nodes} nodes, each linked to all others ({seconds:.1} s)"),
    };
    let pages = pages.map_or(String::new(), |pages| format!("{pages}\n"));
    format!(
        "{complete}; try, in another terminal:\n  \
         cargo xtask add-transaction fromAddress=ann toAddress=bob amount=5\n  \
         cargo xtask status\n  \
         cargo xtask transactions --node {nodes}\n\
         {pages}{stop}"
    )
}
