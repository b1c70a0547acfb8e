//! `up`: from nothing to a running mesh. Makes the folders where they are missing, builds once, starts the nodes, shows their logs, stops them.
//!
//! The nodes are children of this process, each in its own folder and process group, so that Ctrl+C reaches them through us, in order: asked to end,
//! waited for, and only then killed. A node that ends on its own is reported, and the others go on. Nodes that ran before are left as they are.

mod child;
mod mesh;
mod pages;
mod voice;

use std::cell::RefCell;
use std::path::PathBuf;
use std::pin::pin;
use std::process::{ExitCode, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::nodes::clone_node;
use crate::nodes::up::child::Phase;
use crate::nodes::up::mesh::Live;
use crate::nodes::up::voice::Voice;
use crate::support::cargo::build_node;
use crate::support::stop::Stop;
use crate::support::workspace::{Folder, Lock, Workspace};
use crate::support::{running_nodes, terminal};

/// How long a node may take to end after it was asked to.
const GRACE: Duration = Duration::from_secs(5);
/// For how long after a Ctrl+C another one is the same.
const SAME: Duration = Duration::from_millis(300);
/// How long the mesh may take before we say what is missing.
const LATE: Duration = Duration::from_secs(10);

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How many nodes: node-1 to node-N
    #[arg(value_name = "N", default_value_t = 3, value_parser = terminal::how_many)]
    nodes: u32,
    /// Build with optimisation
    #[arg(long)]
    release: bool,
    /// Start this program instead of building the node
    #[arg(long, hide = true, value_name = "FILE")]
    binary: Option<PathBuf>,
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let voice = Voice::new(arguments.nodes);
    let folders = folders(workspace, arguments.nodes, &voice)?;
    let mut idle = Vec::new();
    for folder in &folders {
        match folder.lock()? {
            Lock::Held(holder) => {
                let who = holder.map_or(String::new(), |holder| match holder.address {
                    Some(address) => format!(" (process {}, {address})", holder.pid),
                    None => format!(" (process {})", holder.pid),
                });
                voice.say(&format!("{} runs already{who}; it is left as it is", folder.name()));
            }
            Lock::Free => idle.push(folder.clone()),
        }
    }
    if idle.is_empty() {
        bail!("nothing to start: every node runs already; `cargo xtask status` shows them");
    }
    let binary = match &arguments.binary {
        Some(binary) => binary.canonicalize()?,
        None => build_node(workspace, arguments.release)?,
    };
    running_nodes::block_on(supervise(&binary, folders, idle, &voice))
}

fn folders(workspace: &Workspace, count: u32, voice: &Voice) -> Result<Vec<Folder>> {
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
            // Somebody who made it meanwhile made what we wanted.
            if clone_node::make(workspace, number, authority.as_ref())?.is_some() {
                voice.say(&format!("made {}", folder.name()));
            }
            clone_node::warn_of_taken_port(&folder);
        }
        folders.push(folder);
    }
    Ok(folders)
}

async fn supervise(
    binary: &std::path::Path,
    folders: Vec<Folder>,
    idle: Vec<Folder>,
    voice: &Voice,
) -> Result<ExitCode> {
    let mut stop = Stop::new()?;
    let (phase, _) = watch::channel(Phase::Run);
    let mut running = JoinSet::new();
    let exported = pages::exported_port(idle.len(), voice);
    for folder in &idle {
        running.spawn(child::start(binary, folder, exported.as_deref(), voice.of(folder.number), phase.subscribe())?);
    }
    let live: Live = RefCell::new(folders.into_iter().map(|folder| (folder.number, folder)).collect());
    let began = Instant::now();
    let mut mesh = pin!(mesh::complete(&live));
    let mut late = pin!(tokio::time::sleep(LATE));
    let (mut waiting, mut patient) = (true, true);
    while !running.is_empty() {
        tokio::select! {
            () = stop.asked() => return end(running, &phase, stop, voice).await,
            Some(ended) = running.join_next() => report(ended?, &live, voice),
            nodes = &mut mesh, if waiting => {
                waiting = false;
                voice.say(&invitation(nodes, began.elapsed(), pages::line(live.borrow().values(), exported.as_deref())));
            }
            () = &mut late, if waiting && patient => {
                patient = false;
                voice.say(&format!("the mesh is not complete after {} s: {}", LATE.as_secs(), mesh::missing(&live).await));
            }
        }
    }
    bail!("every node has ended on its own; their last lines above say why")
}

fn report((number, status): (u32, std::io::Result<ExitStatus>), live: &Live, voice: &Voice) {
    live.borrow_mut().remove(&number);
    let how = match status {
        Ok(status) => status.to_string(),
        Err(error) => format!("how is not known: {error}"),
    };
    voice.say(&format!("node-{number} has ended on its own ({how}); its last lines above say why"));
}

/// Asks all nodes to end, waits, and kills those that do not, or all at a second Ctrl+C. What comes right behind the first is no second: some programs that end others
/// signal a process and its group (timeout(1)), and fingers slip.
async fn end(
    mut running: JoinSet<(u32, std::io::Result<ExitStatus>)>,
    phase: &watch::Sender<Phase>,
    mut stop: Stop,
    voice: &Voice,
) -> Result<ExitCode> {
    voice.say(&format!("stopping {}", terminal::count(running.len(), "node")));
    phase.send_replace(Phase::Terminate);
    let ends = async |running: &mut JoinSet<_>| -> Result<()> {
        while let Some(ended) = running.join_next().await {
            let (number, status): (u32, std::io::Result<ExitStatus>) = ended?;
            match status? {
                status if status.success() => {}
                status => voice.say(&format!("node-{number} ended with {status}")),
            }
        }
        Ok(())
    };
    let again = async {
        tokio::time::sleep(SAME).await;
        stop.forget();
        voice.say("waiting for them to end; Ctrl+C again kills those that still run at once");
        stop.asked().await;
    };
    let ended = tokio::select! {
        ended = timeout(GRACE, ends(&mut running)) => ended.ok().transpose()?.map_or(Ended::Late, |()| Ended::All),
        () = again => Ended::Hurried,
    };
    let left = terminal::count(running.len(), "node");
    let are = if running.len() == 1 { "is" } else { "are" };
    match ended {
        Ended::All => {}
        Ended::Late => voice.say(&format!("{left} did not end within {} s and {are} killed", GRACE.as_secs())),
        Ended::Hurried => voice.say(&format!("asked again: {left} that had not ended {are} killed at once")),
    }
    if !running.is_empty() {
        phase.send_replace(Phase::Kill);
        ends(&mut running).await?;
    }
    voice.say("all nodes have ended");
    Ok(ExitCode::SUCCESS)
}

/// How waiting for the nodes to end came out.
enum Ended {
    All,
    /// Some took too long.
    Late,
    /// Whoever asked did not want to wait.
    Hurried,
}

fn invitation(nodes: usize, after: Duration, pages: Option<String>) -> String {
    let seconds = after.as_secs_f64();
    let complete = match nodes {
        1 => format!("the node is up, alone ({seconds:.1} s)"),
        _ => format!("the mesh is complete: {nodes} nodes, each linked to all others ({seconds:.1} s)"),
    };
    let pages = pages.map_or(String::new(), |pages| format!("{pages}\n"));
    format!(
        "{complete}; try, in another terminal:\n  \
         cargo xtask add-transaction '{{\"fromAddress\":\"ann\",\"toAddress\":\"bob\",\"amount\":5}}'\n  \
         cargo xtask status\n  \
         cat node-{nodes}/transactions.json\n\
         {pages}Ctrl+C stops all of them"
    )
}
