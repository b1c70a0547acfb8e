//! How many pools hold transactions: asks every running node of the workspace until all do or time
//! is up.

use std::fmt;
use std::time::Duration;

use anyhow::Result;
use futures_util::future::join_all;
use meshpool::Client;
use meshpool::protocol::limits::STATUS_IDS;
use meshpool::protocol::transaction::TransactionId;
use tokio::time::{Instant, sleep};

use crate::support::running_nodes;
use crate::support::workspace::{Folder, Workspace};

/// A pool lacks some if it gains none in this time. A mesh takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(2);
/// The interval between two questions to one node.
const INTERVAL: Duration = Duration::from_millis(50);

/// The pools that hold everything, and those that do not.
#[derive(Debug)]
pub(crate) struct Spread {
    hold: usize,
    lack: Vec<String>,
}

/// Asks all running nodes at once.
pub(crate) async fn spread(workspace: &Workspace, ids: &[TransactionId]) -> Result<Spread> {
    let nodes = running_nodes::native(workspace).await?;
    let answers = join_all(nodes.into_iter().map(|(folder, client)| holds_all(folder, client, ids))).await;
    let lack: Vec<_> = answers.iter().filter(|(_, holds)| !holds).map(|(folder, _)| folder.name()).collect();
    Ok(Spread { hold: answers.len() - lack.len(), lack })
}

/// Asks one node until its pool holds all, or has gained none for a while.
async fn holds_all(folder: Folder, mut client: Client, ids: &[TransactionId]) -> (Folder, bool) {
    let mut rest = ids;
    let mut held = 0;
    let mut deadline = Instant::now() + PATIENCE;
    while !rest.is_empty() && Instant::now() < deadline {
        // Asks again only for the first incomplete part, not for the whole of a large file.
        let (part, after) = rest.split_at(rest.len().min(STATUS_IDS));
        let Ok(status) = client.status(part).await else {
            return (folder, false);
        };
        if status.held >= part.len() {
            (rest, held) = (after, 0);
            deadline = Instant::now() + PATIENCE;
            continue;
        }
        if status.held > held {
            held = status.held;
            deadline = Instant::now() + PATIENCE;
        }
        sleep(INTERVAL).await;
    }
    client.close().await;
    (folder, rest.is_empty())
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "in {} of {} pools", self.hold, self.hold + self.lack.len())?;
        if self.lack.is_empty() {
            return Ok(());
        }
        let seconds = PATIENCE.as_secs();
        write!(
            f,
            " after {seconds} s: not yet in {}; `cargo xtask status` shows whether they are linked",
            self.lack.join(", ")
        )
    }
}
