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

use crate::support::running_nodes::{self, Found};
use crate::support::workspace::{Folder, Workspace};

/// A pool lacks some if it gains none in this time. A mesh takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(2);
/// The interval between two questions to one node.
const INTERVAL: Duration = Duration::from_millis(50);

/// The pools that hold everything, those that do not, and the nodes that do not answer.
#[derive(Debug, Default)]
pub(crate) struct Spread {
    hold: usize,
    lack: Vec<String>,
    unresponsive: Vec<String>,
}

/// What one node says.
enum Answer {
    Holds,
    Lacks,
    /// It runs and does not answer.
    Unresponsive,
    /// It does not run, or is a node of the exercise.
    None,
}

/// Asks all running nodes at once.
pub(crate) async fn spread(workspace: &Workspace, ids: &[TransactionId]) -> Result<Spread> {
    let folders = workspace.folders()?;
    let answers = join_all(folders.iter().map(|folder| ask_one(folder, ids))).await;
    let mut spread = Spread::default();
    for (folder, answer) in folders.iter().zip(answers) {
        match answer {
            Answer::Holds => spread.hold += 1,
            Answer::Lacks => spread.lack.push(folder.name()),
            Answer::Unresponsive => spread.unresponsive.push(folder.name()),
            Answer::None => {}
        }
    }
    Ok(spread)
}

/// Asks a node as soon as it is connected. It would close a client that waits for the others first.
async fn ask_one(folder: &Folder, ids: &[TransactionId]) -> Answer {
    match running_nodes::probe(folder).await {
        Found::Native(client) => holds_all(*client, ids).await,
        Found::Exercise(client) => {
            client.close().await;
            Answer::None
        }
        Found::Unresponsive(_) => Answer::Unresponsive,
        Found::Down => Answer::None,
    }
}

/// Asks one node until its pool holds all, or has gained none for a while.
async fn holds_all(mut client: Client, ids: &[TransactionId]) -> Answer {
    let mut rest = ids;
    let mut held = 0;
    let mut deadline = Instant::now() + PATIENCE;
    while !rest.is_empty() && Instant::now() < deadline {
        // Asks again only for the first incomplete part, not for the whole of a large file.
        let (part, after) = rest.split_at(rest.len().min(STATUS_IDS));
        let Ok(status) = client.status(part).await else {
            return Answer::Unresponsive;
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
    if rest.is_empty() { Answer::Holds } else { Answer::Lacks }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "in {} of {} pools", self.hold, self.hold + self.lack.len())?;
        if !self.lack.is_empty() {
            let seconds = PATIENCE.as_secs();
            let lack = self.lack.join(", ");
            write!(f, " after {seconds} s: not yet in {lack}; `cargo xtask status` shows whether they are linked")?;
        }
        match self.unresponsive.as_slice() {
            [] => Ok(()),
            [one] => write!(f, "; {one} does not answer"),
            many => write!(f, "; {} do not answer", many.join(", ")),
        }
    }
}
