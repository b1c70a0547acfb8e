//! `broadcast`: has a running node send a text to every node in the network.

use std::process::ExitCode;

use anyhow::Result;
use meshpool::binary::send;

use crate::support::running_nodes::{block_on, target};
use crate::support::terminal::number;
use crate::support::workspace::Workspace;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The text
    #[arg(value_name = "TEXT")]
    text: String,
    /// Let node N send it [default: the node of the current folder, else the first that answers]
    #[arg(long, value_name = "N", value_parser = number(1..=100_000_u32, "2"))]
    node: Option<u32>,
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    // Checked first, so that an empty text gives the same error with and without a running node.
    send::check(&arguments.text)?;
    block_on(async { send::send(target(workspace, arguments.node).await?, &arguments.text, false, "--node").await })?;
    Ok(ExitCode::SUCCESS)
}
