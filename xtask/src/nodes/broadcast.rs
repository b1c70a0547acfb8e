//! `broadcast`: has a running node send a text to every node in the network.

use std::process::ExitCode;

use anyhow::{Result, bail};
use meshpool::protocol::wire::{Ack, AckStatus, Broadcast};

use crate::support::running_nodes::{block_on, reason, target};
use crate::support::terminal::{self, print};
use crate::support::workspace::Workspace;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The text
    #[arg(value_name = "TEXT")]
    text: String,
    /// Let node N send it [default: the node of the current folder, else the first that answers]
    #[arg(long, value_name = "N")]
    node: Option<u32>,
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    // Checked first, so that an empty text gives the same error with and without a running node.
    Broadcast::check(&arguments.text).map_err(|error| anyhow::anyhow!("nothing was sent: {error}"))?;
    block_on(async {
        let (folder, mut client) = target(workspace, arguments.node).await?;
        if client.identity().is_none() {
            client.close().await;
            bail!("{} is a node of the exercise, which knows no broadcasts: name another with --node", folder.name());
        }
        let ack = client.broadcast(&arguments.text).await?;
        client.close().await;
        if ack.status == AckStatus::Rejected {
            bail!("{} refused the text: {}", folder.name(), reason(&ack));
        }
        print(describe(&folder.name(), &ack))?;
        Ok(ExitCode::SUCCESS)
    })
}

fn describe(name: &str, ack: &Ack) -> String {
    match ack.links {
        0 => format!(
            "sent by {name}, but this node has no peers: nobody else has it; a node that links to it within ten minutes gets it"
        ),
        links => format!("sent by {name}, on {}", terminal::plural(links, "link")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_links_are_said() {
        let ack = |links| Ack { id: String::new(), status: AckStatus::Sent, reason: None, links };
        assert!(describe("node-1", &ack(0)).contains("no peers: nobody else has it"));
        assert_eq!(describe("node-1", &ack(2)), "sent by node-1, on 2 links");
    }
}
