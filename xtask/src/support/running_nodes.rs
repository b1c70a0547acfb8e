//! The workspace's nodes as they run: who answers at the address that a folder names.
//!
//! A node of the exercise, which greets with nothing, is told apart and never asked anything: some die of a question.

use anyhow::{Context, Error, Result, anyhow};
use futures_util::future::join_all;
use meshpool::client::Client;
use meshpool::protocol::wire::Ack;

use crate::support::terminal;
use crate::support::workspace::{Folder, Lock, Workspace};

/// What was found in a folder.
#[derive(Debug)]
pub(crate) enum Found {
    /// A node of ours answers.
    Full(Box<Client>),
    /// A node of the exercise, or another program that speaks WebSocket, answers.
    Plain(Box<Client>),
    /// Nobody answers, and no node runs there.
    Down,
    /// A node runs there, but gives no answer, for this reason.
    Mute(String),
}

/// Asks every folder's node, all at once; in the order of their numbers.
pub(crate) async fn find(workspace: &Workspace) -> Result<Vec<(Folder, Found)>> {
    let folders = workspace.folders()?;
    let found = join_all(folders.iter().map(knock)).await;
    Ok(folders.into_iter().zip(found).collect())
}

/// The nodes of ours that answer; the others are said goodbye.
pub(crate) async fn full(workspace: &Workspace) -> Result<Vec<(Folder, Client)>> {
    let mut nodes = Vec::new();
    for (folder, found) in find(workspace).await? {
        match found {
            Found::Full(client) => nodes.push((folder, *client)),
            Found::Plain(client) => {
                client.close().await;
            }
            Found::Down | Found::Mute(_) => {}
        }
    }
    Ok(nodes)
}

/// Asks one folder's node.
pub(crate) async fn knock(folder: &Folder) -> Found {
    match connect(folder).await {
        Ok(client) if client.identity().is_some() => Found::Full(Box::new(client)),
        Ok(client) => Found::Plain(Box::new(client)),
        Err(error) => match folder.lock() {
            Ok(Lock::Held(_)) => Found::Mute(format!("{error:#}")),
            _ => Found::Down,
        },
    }
}

/// Connects to one folder's node.
pub(crate) async fn connect(folder: &Folder) -> Result<Client> {
    let address = folder.address()?;
    if !address.is_secure() {
        return Client::connect(&address).await.with_context(|| folder.name());
    }
    // The folder's own certificate lets its operator in.
    let credentials = folder.credentials().with_context(|| folder.name())?;
    Client::connect_as(&address, &credentials).await.with_context(|| folder.name())
}

/// The node that was named, or that of the current folder, or the first that answers.
pub(crate) async fn target(workspace: &Workspace, node: Option<u32>) -> Result<(Folder, Client)> {
    let named = node.map(|number| workspace.existing(number)).transpose()?.or_else(|| workspace.current_folder());
    if let Some(folder) = named {
        let client = connect(&folder).await?;
        return Ok((folder, client));
    }
    let mut chosen = None;
    for (folder, found) in find(workspace).await? {
        match found {
            Found::Full(client) | Found::Plain(client) if chosen.is_none() => chosen = Some((folder, *client)),
            Found::Full(client) | Found::Plain(client) => {
                client.close().await;
            }
            Found::Down | Found::Mute(_) => {}
        }
    }
    match chosen {
        Some(chosen) => Ok(chosen),
        None => Err(nobody(workspace)?),
    }
}

/// Why a node refused a transaction.
pub(crate) fn reason(ack: &Ack) -> String {
    terminal::plain(ack.reason.as_deref().unwrap_or("it gave no reason; see its log"))
}

/// The error where a running node is needed and none answers: what to do depends on whether there is a folder to start one in.
pub(crate) fn nobody(workspace: &Workspace) -> Result<Error> {
    let folders = workspace.folders()?;
    Ok(match folders.first() {
        None => {
            anyhow!("no node is running, and there is no node folder: `cargo xtask up 3` makes three and starts them")
        }
        Some(first) => anyhow!(
            "no node is running ({} asked): start one with `cd {} && cargo run`",
            terminal::count(folders.len(), "folder"),
            first.name()
        ),
    })
}

/// Says goodbye to all, at once: a node logs a client that just vanishes as a fault.
pub(crate) async fn close(clients: impl IntoIterator<Item = Client>) {
    join_all(clients.into_iter().map(Client::close)).await;
}

/// Runs a task that waits for sockets.
pub(crate) fn block_on<T>(task: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("the system gives no more threads or files; close some programs")?.block_on(task)
}
