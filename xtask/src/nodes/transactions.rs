//! `transactions`: lists a node's `transactions.json`, the newest last, and checks the signatures.
//! The node need not run.

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::support::terminal::number;
use crate::support::workspace::{Folder, Workspace};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// List those of node N [default: the node of the current folder, else the first one]
    #[arg(long, value_name = "N", value_parser = number(1..=100_000_u32, "2"))]
    node: Option<u32>,
    /// List the newest K; all are counted
    #[arg(long, value_name = "K", default_value_t = 20, value_parser = number(0..=1_000_000_usize, "20"))]
    last: usize,
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let folder = folder(workspace, arguments.node)?;
    meshpool::binary::show_file(&folder, arguments.last, false)?;
    Ok(ExitCode::SUCCESS)
}

fn folder(workspace: &Workspace, node: Option<u32>) -> Result<Folder> {
    if let Some(number) = node {
        return workspace.existing(number);
    }
    let first = || Ok::<_, anyhow::Error>(workspace.folders()?.into_iter().next());
    match workspace.current_folder().map_or_else(first, |folder| Ok(Some(folder)))? {
        Some(folder) => Ok(folder),
        None => bail!("there is no node folder: make one with `cargo xtask clone-node`"),
    }
}
