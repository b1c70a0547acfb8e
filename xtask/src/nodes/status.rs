//! `status`: shows what the running nodes report, and whether their pools agree.

use std::process::ExitCode;

use anyhow::{Context, Result};
use futures_util::future::join_all;
use meshpool::Client;
use meshpool::binary::{Named, describe_status as describe, status_as_json as as_json};

use crate::support::running_nodes::{self, Found};
use crate::support::terminal::note;
use crate::support::terminal::{self, number, print};
use crate::support::workspace::{Folder, Workspace};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Show only node N, with its peers
    #[arg(long, value_name = "N", value_parser = number(1..=100_000_u32, "2"))]
    node: Option<u32>,
    /// Print all that the nodes report, as JSON
    #[arg(long)]
    json: bool,
}

/// What one folder's node says.
enum Answer {
    Status(Box<Named>),
    /// It is a node of the exercise, which this line says.
    Exercise(String),
    /// It runs and does not answer, for this reason.
    Unresponsive(String),
    /// It does not run.
    Down,
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let statuses = running_nodes::block_on(ask(workspace, arguments.node))?;
    print(match arguments.json {
        true => format!("{:#}", as_json(&statuses)),
        false => describe(&statuses, arguments.node.is_some()),
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn ask(workspace: &Workspace, node: Option<u32>) -> Result<Vec<Named>> {
    if let Some(number) = node {
        let folder = workspace.existing(number)?;
        let client = running_nodes::connect(&folder).await?;
        return Ok(vec![status(&folder, client).await?]);
    }
    let (mut statuses, mut reasons) = (Vec::new(), Vec::new());
    for answer in join_all(workspace.folders()?.iter().map(ask_one)).await {
        match answer {
            Answer::Status(status) => statuses.push(*status),
            Answer::Exercise(line) => reasons.push(("", line)),
            Answer::Unresponsive(line) => reasons.push(("warning: ", terminal::strip_control(&line))),
            Answer::Down => {}
        }
    }
    if statuses.is_empty() {
        let lines: Vec<_> = reasons.into_iter().map(|(_, line)| line).collect();
        return Err(running_nodes::none_running(workspace, &lines)?);
    }
    for (level, line) in reasons {
        note!("{level}{line}");
    }
    Ok(statuses)
}

/// Asks a node as soon as it is connected. It would close a client that waits for the others first.
async fn ask_one(folder: &Folder) -> Answer {
    match running_nodes::probe(folder).await {
        Found::Native(client) => match status(folder, *client).await {
            Ok(status) => Answer::Status(Box::new(status)),
            Err(error) => Answer::Unresponsive(format!("{error:#}")),
        },
        Found::Exercise(client) => {
            client.close().await;
            Answer::Exercise(format!("{} is a node of the exercise, which reports no status", folder.name()))
        }
        Found::Unresponsive(why) => Answer::Unresponsive(why),
        Found::Down => Answer::Down,
    }
}

async fn status(folder: &Folder, mut client: Client) -> Result<Named> {
    let status = client.status(&[]).await.with_context(|| folder.name())?;
    client.close().await;
    Ok((folder.name(), status))
}
