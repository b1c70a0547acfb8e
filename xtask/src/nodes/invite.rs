//! `invite` and `join`: two people link their nodes, wherever they are, with one line of text.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use meshpool::Invite;
use meshpool::binary::invite;

use crate::nodes::clone_node;
use crate::support::cargo::build_node;
use crate::support::running_nodes::{self, Found};
use crate::support::terminal::{number, print};
use crate::support::workspace::{Folder, Workspace};

#[derive(Debug, clap::Args)]
pub(crate) struct InviteArguments {
    /// Invite to node N [default: the first that runs]
    #[arg(long, value_name = "N", value_parser = number(1..=100_000_u32, "2"))]
    node: Option<u32>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct JoinArguments {
    /// The line that `cargo xtask invite` prints elsewhere, in quotation marks
    #[arg(value_name = "INVITE")]
    invite: String,
    /// Only make the folder; start the node later with `cargo run` inside it
    #[arg(long)]
    no_run: bool,
}

/// Prints an invite to the network of a running node.
pub(crate) fn invite(workspace: &Workspace, arguments: &InviteArguments) -> Result<ExitCode> {
    running_nodes::block_on(async {
        let folder = match arguments.node.map(|number| workspace.existing(number)).transpose()? {
            Some(folder) => folder,
            None => first(workspace).await?,
        };
        invite::show(&folder).await
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Returns the folder of the first node that runs, that of the current folder before others.
async fn first(workspace: &Workspace) -> Result<Folder> {
    if let Some(folder) = workspace.current_folder() {
        return Ok(folder);
    }
    let (mut native, mut clients, mut unresponsive) = (None, Vec::new(), Vec::new());
    for (folder, found) in running_nodes::find(workspace).await? {
        match found {
            Found::Native(client) => {
                native.get_or_insert(folder);
                clients.push(*client);
            }
            Found::Exercise(client) => clients.push(*client),
            Found::Unresponsive(why) => unresponsive.push(why),
            Found::Down => {}
        }
    }
    running_nodes::close_all(clients).await;
    match native {
        Some(folder) => Ok(folder),
        None => Err(running_nodes::none_running(workspace, &unresponsive)?),
    }
}

/// Makes a node folder that follows an invite, and runs its node until Ctrl+C.
pub(crate) fn join(workspace: &Workspace, arguments: &JoinArguments) -> Result<ExitCode> {
    // A line that is no invite makes no folder.
    let parsed: Invite = arguments.invite.parse()?;
    for folder in workspace.folders()? {
        invite::check_own(&folder.path, &parsed)?;
    }
    // The node that is run below has this environment too.
    invite::check_chosen(&parsed, None, meshpool::binary::environment)?;
    invite::check_dialled(&workspace.template(""), &parsed)?;
    let folder = clone_node::make_next(workspace, None, |draft| invite::write_down(draft, &parsed))?;
    print(format!("made {}: it joins the network '{}' through {}", folder.name(), parsed.network, parsed.address))?;
    clone_node::warn_of_taken_port(&folder);
    if arguments.no_run {
        print(format!("next: cd {}{}cargo run", folder.name(), meshpool::binary::system::THEN))?;
        return Ok(ExitCode::SUCCESS);
    }
    let binary = build_node(workspace, false)?;
    let status = Command::new(binary).current_dir(&folder.path).status();
    let status = status.with_context(|| format!("the node of {} did not start", folder.name()))?;
    if !status.success() {
        bail!("the node of {} ended: {status}; its lines above say why", folder.name());
    }
    Ok(ExitCode::SUCCESS)
}
