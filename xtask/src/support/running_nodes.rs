//! The running nodes of the workspace: which answer at the addresses of their folders.
//!
//! Exercise peers, which send no identity, are recognised and never asked anything: some crash on a
//! question.

use std::io;
use std::time::Duration;

use anyhow::{Context, Error, Result, anyhow};
use futures_util::future::join_all;
use meshpool::binary::Target;
use meshpool::binary::system::THEN;
use meshpool::{Client, ClientError};
use tokio::time::timeout;

use crate::support::terminal;
use crate::support::workspace::{Folder, Lock, Workspace};

/// How long [`probe`] waits for one node. A node closes a client that is silent for 5 s, and the
/// clients of other nodes may have to wait for this one and for a close, which takes at most 2 s.
const PATIENCE: Duration = Duration::from_secs(2);

/// The answer at a folder's address.
#[derive(Debug)]
pub(crate) enum Found {
    /// A native peer answers.
    Native(Box<Client>),
    /// An exercise peer, or another program that speaks WebSocket, answers.
    Exercise(Box<Client>),
    /// Nothing answers, and no node holds the folder's lock.
    Down,
    /// A node holds the lock, or the connection is accepted, but no answer comes, for this reason.
    Unresponsive(String),
}

/// Connects to every folder's node at once; returns them in the order of their numbers.
pub(crate) async fn find(workspace: &Workspace) -> Result<Vec<(Folder, Found)>> {
    let folders = workspace.folders()?;
    let found = join_all(folders.iter().map(probe)).await;
    Ok(folders.into_iter().zip(found).collect())
}

/// Connects to one folder's node and says what answers.
pub(crate) async fn probe(folder: &Folder) -> Found {
    match timeout(PATIENCE, folder.connect()).await {
        Ok(Ok(client)) if client.identity().is_some() => Found::Native(Box::new(client)),
        Ok(Ok(client)) => Found::Exercise(Box::new(client)),
        Ok(Err(error)) if is_silent(&error) => Found::Unresponsive(silent(folder)),
        Ok(Err(error)) => match folder.lock() {
            Ok(Lock::Held(_)) => Found::Unresponsive(format!("{} does not answer: {error:#}", folder.name())),
            Ok(Lock::Free) => Found::Down,
            // Whether a node runs there is not known.
            Err(error) => Found::Unresponsive(format!("{error:#}")),
        },
        Err(_) => Found::Unresponsive(silent(folder)),
    }
}

/// Connects to a node that the user chose.
pub(crate) async fn connect(folder: &Folder) -> Result<Client> {
    let connected = folder.connect().await;
    connected.map_err(|error| if is_silent(&error) { anyhow!(silent(folder)) } else { error })
}

/// Returns whether connecting ended because no answer came.
fn is_silent(error: &Error) -> bool {
    matches!(
        error.downcast_ref(),
        Some(ClientError::Unreachable { cause, .. }) if cause.kind() == io::ErrorKind::TimedOut
    )
}

fn silent(folder: &Folder) -> String {
    let address = folder.address().map_or_else(|_| "its address".to_owned(), |address| address.to_string());
    format!(
        "{} does not answer: {address} sends nothing; it is busy or suspended: look at its log or its terminal",
        folder.name()
    )
}

/// Returns the named node, or that of the current folder, or the first that answers.
pub(crate) async fn target(workspace: &Workspace, node: Option<u32>) -> Result<Target> {
    let named = node.map(|number| workspace.existing(number)).transpose()?.or_else(|| workspace.current_folder());
    if let Some(folder) = named {
        let client = connect(&folder).await?;
        return Ok(Target::Folder((*folder).clone(), Box::new(client)));
    }
    let (mut chosen, mut others, mut unresponsive) = (None, Vec::new(), Vec::new());
    for (folder, found) in find(workspace).await? {
        match found {
            Found::Native(client) | Found::Exercise(client) if chosen.is_none() => {
                chosen = Some(Target::Folder((*folder).clone(), client));
            }
            Found::Native(client) | Found::Exercise(client) => others.push(*client),
            Found::Unresponsive(why) => unresponsive.push(why),
            Found::Down => {}
        }
    }
    close_all(others).await;
    match chosen {
        Some(chosen) => Ok(chosen),
        None => Err(none_running(workspace, &unresponsive)?),
    }
}

/// Returns the error for a task that needs a running node, where there are only these that do not
/// answer, or none. The remedy depends on whether there is a folder.
pub(crate) fn none_running(workspace: &Workspace, unresponsive: &[String]) -> Result<Error> {
    if !unresponsive.is_empty() {
        return Ok(anyhow!(unresponsive.join("; ")));
    }
    let folders = workspace.folders()?;
    Ok(match folders.first() {
        None => {
            anyhow!("no node is running, and there is no node folder: `cargo xtask up 3` makes three and starts them")
        }
        Some(first) => anyhow!(
            "no node is running ({} asked): start one with `cd {}{THEN}cargo run`",
            terminal::plural(folders.len(), "folder"),
            first.name()
        ),
    })
}

/// Closes all clients at once. A node logs one that just vanishes as a fault.
pub(crate) async fn close_all(clients: impl IntoIterator<Item = Client>) {
    join_all(clients.into_iter().map(Client::close)).await;
}

/// Runs a future on a new runtime.
pub(crate) fn block_on<T>(task: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("the system gives no more threads or files; close some programs")?.block_on(task)
}
