//! `down`: stops running nodes, whatever started them: `up` in another terminal, `up --detach`, an
//! `up` that was killed, or `cargo run`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use futures_util::future::join_all;
use meshpool::binary::system;
use tokio::time::{Instant, sleep};

use crate::support::running_nodes::block_on;
use crate::support::terminal::{self, number, print};
use crate::support::workspace::{Folder, Holder, Lock, Workspace};

/// The time in which a node ends by itself, at the latest, and some more.
const GRACE: Duration = Duration::from_secs(12);
/// The time in which a killed node must be gone.
const KILLED: Duration = Duration::from_secs(5);
/// How often the locks are looked at. A node releases its lock when it ends.
const INTERVAL: Duration = Duration::from_millis(20);

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Stop node-1 to node-N [default: all that run]
    #[arg(value_name = "N", value_parser = terminal::node_count, conflicts_with = "node")]
    nodes: Option<u32>,
    /// Stop only node N
    #[arg(long, value_name = "N", value_parser = number(1..=100_000_u32, "2"))]
    node: Option<u32>,
    /// Kill at once, without time to say goodbye and to store what waits
    #[arg(long)]
    kill: bool,
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let folders = match (arguments.node, arguments.nodes) {
        (Some(number), _) => vec![workspace.existing(number)?],
        (None, Some(most)) => workspace.folders()?.into_iter().filter(|folder| folder.number <= most).collect(),
        (None, None) => workspace.folders()?,
    };
    block_on(stop(&folders, arguments.kill))
}

async fn stop(folders: &[Folder], kill: bool) -> Result<ExitCode> {
    let outcomes = join_all(folders.iter().map(|folder| stop_one(folder, kill))).await;
    let (mut ended, mut left) = (0, Vec::new());
    for (folder, outcome) in folders.iter().zip(outcomes) {
        let name = folder.name();
        match outcome? {
            Outcome::Down => {}
            Outcome::Ended(holder) => {
                ended += 1;
                print(format!("{name} ({holder}) has ended"))?;
            }
            Outcome::Killed(holder) => {
                ended += 1;
                let why = if kill {
                    "was killed".to_owned()
                } else {
                    format!("did not end within {} s and was killed", GRACE.as_secs())
                };
                print(format!("{name} ({holder}) {why}"))?;
            }
            Outcome::Left(why) => left.push(format!("{name} {why}")),
        }
    }
    match (ended, &left[..]) {
        (0, []) => print("no node runs")?,
        (_, []) => print(format!("{} stopped", terminal::plural(ended, "node")))?,
        _ => bail!("not stopped: {}", left.join("; ")),
    }
    Ok(ExitCode::SUCCESS)
}

/// What became of one folder's node.
enum Outcome {
    Down,
    Ended(Holder),
    Killed(Holder),
    /// It runs on, and why.
    Left(String),
}

async fn stop_one(folder: &Folder, kill: bool) -> Result<Outcome> {
    let Some(holder) = holder(folder).await? else {
        return Ok(match folder.lock()? {
            Lock::Free => Outcome::Down,
            Lock::Held(_) => Outcome::Left(
                "runs, but its node.lock does not say in which process; stop it where it was started".into(),
            ),
        });
    };
    let Some(pid) = folder.process(&holder) else {
        return Ok(match folder.lock()? {
            Lock::Free => Outcome::Ended(holder),
            Lock::Held(_) => Outcome::Left(format!(
                "({holder}) runs where this user or this machine cannot see it, perhaps in a container; stop it where it was started"
            )),
        });
    };
    let ways = [(false, GRACE), (true, KILLED)].into_iter().skip(usize::from(kill));
    for (kill, patience) in ways {
        if let Err(error) = if kill { system::kill(pid) } else { system::end(pid) } {
            return Ok(Outcome::Left(format!(
                "({holder}) cannot be stopped: {error}; stop it as the user that runs it"
            )));
        }
        if is_free_within(folder, &holder, pid, patience).await? {
            return Ok(if kill { Outcome::Killed(holder) } else { Outcome::Ended(holder) });
        }
    }
    Ok(Outcome::Left(format!("({holder}) was killed and is still there; perhaps its disk hangs")))
}

/// Returns who holds a folder's lock, once two looks agree: a node that just started has the lock a
/// moment before its file says so.
async fn holder(folder: &Folder) -> Result<Option<Holder>> {
    let mut before = None;
    for _ in 0..10 {
        let Lock::Held(now) = folder.lock()? else { return Ok(None) };
        if now.is_some() && now == before {
            return Ok(now);
        }
        before = now;
        sleep(INTERVAL).await;
    }
    Ok(None)
}

/// Waits until a process no longer holds a folder's lock.
async fn is_free_within(folder: &Folder, holder: &Holder, pid: u32, patience: Duration) -> Result<bool> {
    let until = Instant::now() + patience;
    loop {
        if matches!(folder.lock()?, Lock::Free) || folder.process(holder) != Some(pid) {
            return Ok(true);
        }
        if Instant::now() >= until {
            return Ok(false);
        }
        sleep(INTERVAL).await;
    }
}
