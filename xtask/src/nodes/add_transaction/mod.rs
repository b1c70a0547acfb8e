//! `add-transaction`: sends a running node one transaction or many, and reports what became of
//! them, in the other pools of the workspace too.

mod pools;

use std::process::ExitCode;

use anyhow::Result;
use meshpool::binary::add;

use crate::support::running_nodes::{block_on, target};
use crate::support::terminal::number;
use crate::support::workspace::Workspace;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    what: add::What,
    /// Send to node N [default: the node of the current folder, else the first that answers]
    #[arg(long, value_name = "N", value_parser = number(1..=100_000_u32, "2"))]
    node: Option<u32>,
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let accepted = block_on(add::run(
        async || target(workspace, arguments.node).await,
        &arguments.what,
        false,
        async |ids| Ok(Some(pools::spread(workspace, ids).await?.to_string())),
    ))?;
    Ok(if accepted { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
