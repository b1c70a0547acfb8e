//! `down`: stops running nodes, whatever started them: `up` in another terminal, `up --detach`, an
//! `up` or a `lesson` that was killed, or `cargo run`.

use std::process::ExitCode;

use anyhow::{Result, bail};
use futures_util::future::join_all;

use crate::support::end_node::{GRACE, Outcome, end_node};
use crate::support::left_lessons::LeftLesson;
use crate::support::running_nodes::block_on;
use crate::support::terminal::{self, number, print};
use crate::support::workspace::{Folder, Workspace};

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
    let mut lessons = Vec::new();
    let mut folders = match (arguments.node, arguments.nodes) {
        (Some(number), _) => vec![workspace.existing(number)?],
        (None, Some(most)) => workspace.folders()?.into_iter().filter(|folder| folder.number <= most).collect(),
        (None, None) => {
            lessons = LeftLesson::find(workspace)?;
            workspace.folders()?
        }
    };
    folders.extend(LeftLesson::folders(&lessons)?);
    block_on(stop(&folders, &lessons, arguments.kill))
}

async fn stop(folders: &[Folder], lessons: &[LeftLesson], kill: bool) -> Result<ExitCode> {
    let outcomes = join_all(folders.iter().map(|folder| end_node(folder, kill))).await;
    let (mut stopped, mut left) = (Vec::new(), Vec::new());
    for (folder, outcome) in folders.iter().zip(outcomes) {
        let name = folder.name();
        match outcome? {
            Outcome::Down => {}
            Outcome::Ended(holder) => {
                print(format!("{name} ({holder}) has ended"))?;
                stopped.push(holder.pid);
            }
            Outcome::Killed(holder) => {
                let why = if kill {
                    "was killed".to_owned()
                } else {
                    format!("did not end within {} s and was killed", GRACE.as_secs())
                };
                print(format!("{name} ({holder}) {why}"))?;
                stopped.push(holder.pid);
            }
            Outcome::Left(why) => left.push(format!("{name} {why}")),
        }
    }
    let mut ended = stopped.len();
    for lesson in lessons {
        match lesson.kill(&stopped) {
            Ok(0) => {}
            Ok(killed) => {
                ended += killed;
                print(format!("{} of the exercise in {} killed", terminal::plural(killed, "node"), lesson.name()))?;
            }
            Err(error) => left.push(error.to_string()),
        }
    }
    match (ended, &left[..]) {
        (0, []) => print("no node runs")?,
        (_, []) => print(format!("{} stopped", terminal::plural(ended, "node")))?,
        _ => bail!("not stopped: {}", left.join("; ")),
    }
    Ok(ExitCode::SUCCESS)
}
