//! Has a node send a text to every node in the network.

use anyhow::{Result, bail};
use serde_json::json;

use crate::cli::target::{Target, reason};
use crate::cli::terminal::{plural, print};
use crate::protocol::wire::{Ack, AckStatus, Broadcast};

/// Fails if the text cannot be sent, whether or not a node runs.
///
/// # Errors
/// What is wrong with it.
pub fn check(text: &str) -> Result<()> {
    Broadcast::check(text).map_err(|error| anyhow::anyhow!("nothing was sent: {error}"))
}

/// Sends a text and prints on how many links it went out. `other`: the flag that names another
/// node.
///
/// # Errors
/// The node refuses it or gives no answer.
pub async fn send(mut target: Target, text: &str, as_json: bool, other: &str) -> Result<()> {
    let name = target.name();
    if target.is_exercise() {
        target.close().await;
        bail!("{name} is a node of the exercise, which knows no broadcasts: name another with {other}");
    }
    let ack = target.broadcast(text).await?;
    target.close().await;
    if ack.status == AckStatus::Rejected {
        bail!("{name} refused the text: {}", reason(&ack));
    }
    match as_json {
        true => print(format!("{:#}", json!({ "id": ack.id, "sentBy": name, "links": ack.links })))?,
        false => print(describe(&name, &ack))?,
    }
    Ok(())
}

fn describe(name: &str, ack: &Ack) -> String {
    match ack.links {
        0 => format!(
            "sent by {name}, but this node has no peers: nobody else has it; a node that links to it within ten minutes gets it"
        ),
        links => format!("sent by {name}, on {}", plural(links, "link")),
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
