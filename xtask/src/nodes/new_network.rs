//! `new-network`: makes the certificate authority of a closed network, in a folder of its own.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use meshpool::tls::{Authority, CA_KEY};

use crate::support::terminal::{note, print};
use crate::support::workspace::Workspace;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Make it in this folder [default: network-ca in the workspace, where clone-node finds it]
    #[arg(value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let folder = arguments.folder.clone().unwrap_or_else(|| workspace.authority());
    Authority::create(&folder)?;
    let shown = folder.display();
    print(format!("made the authority of a closed network in {shown}"))?;
    for warning in Authority::warnings(&folder) {
        note!("warning: {warning}");
    }
    print(format!(
        "keep {shown}/{CA_KEY} safe: anyone who has it can admit nodes, and without it no node can be added"
    ))?;
    let named = if folder == workspace.authority() { String::new() } else { format!(" --ca {shown}") };
    print(format!("next: cargo xtask clone-node{named}"))?;
    if !workspace.folders()?.is_empty() {
        print("the node folders that are there stay open; `cargo xtask delete-nodes` removes them")?;
    }
    Ok(ExitCode::SUCCESS)
}
