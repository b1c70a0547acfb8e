//! `network`: shows the nodes of the network and their links, as one node knows them, as a table
//! and as a picture.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;

use crate::support::running_nodes::{block_on, target};
use crate::support::terminal::number;
use crate::support::workspace::Workspace;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Ask node N [default: the node of the current folder, else the first that answers]
    #[arg(long, value_name = "N", value_parser = number(1..=100_000_u32, "2"))]
    node: Option<u32>,
    /// Print all that the node reports, as JSON
    #[arg(long)]
    json: bool,
    /// Also draw the network as SVG into this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    block_on(async {
        let target = target(workspace, arguments.node).await?;
        meshpool::binary::show_network(target, arguments.json, arguments.svg.as_deref()).await
    })?;
    Ok(ExitCode::SUCCESS)
}
