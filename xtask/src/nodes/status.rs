//! `status`: shows what the running nodes report, and whether their pools agree.

use std::process::ExitCode;

use anyhow::Result;
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

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let statuses = running_nodes::block_on(ask(workspace, arguments.node))?;
    if statuses.is_empty() {
        return Err(running_nodes::none_running(workspace)?);
    }
    print(match arguments.json {
        true => format!("{:#}", as_json(&statuses)),
        false => describe(&statuses, arguments.node.is_some()),
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn ask(workspace: &Workspace, node: Option<u32>) -> Result<Vec<Named>> {
    let found = match node {
        Some(number) => {
            let folder = workspace.existing(number)?;
            let client = folder.connect().await?;
            vec![(folder, Found::Native(Box::new(client)))]
        }
        None => running_nodes::find(workspace).await?,
    };
    let mut native = Vec::new();
    for (folder, found) in found {
        match found {
            Found::Native(client) => native.push((folder, *client)),
            Found::Exercise(client) => {
                client.close().await;
                note!("{} is a node of the exercise, which reports no status", folder.name());
            }
            Found::Unresponsive(why) => {
                note!("warning: {} runs, but does not answer: {}", folder.name(), terminal::strip_control(&why))
            }
            Found::Down => {}
        }
    }
    let alone = node.is_some();
    let answers = join_all(native.into_iter().map(|(folder, client)| ask_one(folder, client))).await;
    let mut statuses = Vec::new();
    for answer in answers {
        match answer {
            Ok(status) => statuses.push(status),
            Err(error) if alone => return Err(error),
            Err(error) => note!("warning: {}", terminal::strip_control(&format!("{error:#}"))),
        }
    }
    Ok(statuses)
}

async fn ask_one(folder: Folder, mut client: Client) -> Result<Named> {
    let status = client.status(&[]).await?;
    client.close().await;
    Ok((folder.name(), status))
}
