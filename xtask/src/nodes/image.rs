//! `image`: copies an image from the network into a file, and lists the images.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use meshpool::binary::Target;
use meshpool::binary::images;

use crate::support::running_nodes::{block_on, target};
use crate::support::terminal::number;
use crate::support::workspace::Workspace;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Write an image into a file, whichever node has it
    Get {
        /// The image's name, such as cat.jpg
        #[arg(value_name = "NAME")]
        name: String,
        /// Write this file [default: the image's name in the current folder]
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Ask node N [default: the node of the current folder, else the first that answers]
        #[arg(long, value_name = "N", value_parser = number(1..=100_000_u32, "2"))]
        node: Option<u32>,
    },
    /// List the images known in the network
    List {
        /// Ask node N [default: the node of the current folder, else the first that answers]
        #[arg(long, value_name = "N", value_parser = number(1..=100_000_u32, "2"))]
        node: Option<u32>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    match &arguments.what {
        What::Get { name, output, node } => {
            // Checked first, so that an invalid name gives the same error with and without a
            // running node.
            let wanted = images::Wanted::new(name, output.as_deref())?;
            block_on(async { wanted.get(native(workspace, *node).await?, false).await })?;
        }
        What::List { node, json } => {
            block_on(async { images::list(native(workspace, *node).await?, *json).await })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn native(workspace: &Workspace, node: Option<u32>) -> Result<Target> {
    let target = target(workspace, node).await?;
    if target.is_exercise() {
        let name = target.name();
        target.close().await;
        bail!("{name} is a node of the exercise, which knows no images: name another with --node");
    }
    Ok(target)
}
