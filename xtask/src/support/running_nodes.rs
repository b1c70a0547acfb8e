//! The running nodes of the workspace: which answer at the addresses of their folders.
//!
//! Exercise peers, which send no identity, are recognised and never asked anything: some crash on a
//! question.

use anyhow::{Context, Error, Result, anyhow};
use futures_util::future::join_all;
use meshpool::Client;
use meshpool::binary::Target;
use meshpool::binary::system::THEN;

use crate::support::terminal;
use crate::support::workspace::{Folder, Lock, Workspace};

/// The answer at a folder's address.
#[derive(Debug)]
pub(crate) enum Found {
    /// A native peer answers.
    Native(Box<Client>),
    /// An exercise peer, or another program that speaks WebSocket, answers.
    Exercise(Box<Client>),
    /// Nothing answers, and no node holds the folder's lock.
    Down,
    /// A node holds the lock but does not answer, for this reason.
    Unresponsive(String),
}

/// Connects to every folder's node at once; returns them in the order of their numbers.
pub(crate) async fn find(workspace: &Workspace) -> Result<Vec<(Folder, Found)>> {
    let folders = workspace.folders()?;
    let found = join_all(folders.iter().map(probe)).await;
    Ok(folders.into_iter().zip(found).collect())
}

/// Returns the native peers that answer, and closes the other connections.
pub(crate) async fn native(workspace: &Workspace) -> Result<Vec<(Folder, Client)>> {
    let mut nodes = Vec::new();
    for (folder, found) in find(workspace).await? {
        match found {
            Found::Native(client) => nodes.push((folder, *client)),
            Found::Exercise(client) => {
                client.close().await;
            }
            Found::Down | Found::Unresponsive(_) => {}
        }
    }
    Ok(nodes)
}

/// Connects to one folder's node and says what answers.
pub(crate) async fn probe(folder: &Folder) -> Found {
    match folder.connect().await {
        Ok(client) if client.identity().is_some() => Found::Native(Box::new(client)),
        Ok(client) => Found::Exercise(Box::new(client)),
        Err(error) => match folder.lock() {
            Ok(Lock::Held(_)) => Found::Unresponsive(format!("{error:#}")),
            _ => Found::Down,
        },
    }
}

/// Returns the named node, or that of the current folder, or the first that answers.
pub(crate) async fn target(workspace: &Workspace, node: Option<u32>) -> Result<Target> {
    let named = node.map(|number| workspace.existing(number)).transpose()?.or_else(|| workspace.current_folder());
    if let Some(folder) = named {
        let client = folder.connect().await?;
        return Ok(Target::Folder((*folder).clone(), Box::new(client)));
    }
    let mut chosen = None;
    for (folder, found) in find(workspace).await? {
        match found {
            Found::Native(client) | Found::Exercise(client) if chosen.is_none() => {
                chosen = Some(Target::Folder((*folder).clone(), client));
            }
            Found::Native(client) | Found::Exercise(client) => {
                client.close().await;
            }
            Found::Down | Found::Unresponsive(_) => {}
        }
    }
    match chosen {
        Some(chosen) => Ok(chosen),
        None => Err(none_running(workspace)?),
    }
}

/// Returns the error for a task that needs a running node. The remedy depends on whether there is a
/// folder.
pub(crate) fn none_running(workspace: &Workspace) -> Result<Error> {
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
