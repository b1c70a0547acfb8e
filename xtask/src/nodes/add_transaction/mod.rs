//! `add-transaction`: sends a running node one transaction or many, and reports what became of
//! them.
//!
//! It reports success only for what the node has on disk, and says if no other node has it. An
//! exercise peer confirms nothing, so nothing is claimed then.

mod many;
mod pools;
mod source;
mod tally;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use meshpool::client::Client;
use meshpool::client::exercise_fields::ExerciseFields as Stamp;
use meshpool::folder::node_key::NodeKey;
use meshpool::protocol::json::{JsonError, Parser};
use meshpool::protocol::transaction::{InvalidTransaction, Transaction};
use meshpool::protocol::wire::{Ack, AckStatus};
use meshpool::signing;

use crate::nodes::add_transaction::many::Input;
use crate::support::running_nodes::{block_on, reason, target};
use crate::support::terminal::{self, print};
use crate::support::workspace::{Folder, Workspace};

/// The amount of the exercise's reward transaction.
const REWARD: u32 = 100;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The transaction, a JSON object; "-" reads many from standard input [default: the reward
    /// transaction to MY_PUBLIC_KEY]
    #[arg(value_name = "JSON", conflicts_with = "file")]
    json: Option<String>,
    /// Send to node N [default: the node of the current folder, else the first that answers]
    #[arg(long, value_name = "N")]
    node: Option<u32>,
    /// Send it unchanged: add no id, timeStamp, hash or signature
    #[arg(long)]
    raw: bool,
    /// Do not sign it with the key of the node's folder
    #[arg(long)]
    unsigned: bool,
    /// Send those of this file: one per line, or the elements of a JSON array; "-" is standard
    /// input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Do not wait until the node has it on disk
    #[arg(long)]
    no_wait: bool,
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let stamp = Stamp::new(arguments.raw);
    let input = match (&arguments.json, &arguments.file) {
        (Some(text), _) if text == "-" => Some(Input::stdin()),
        (_, Some(path)) => Some(Input::open(path)?),
        _ => None,
    };
    if let Some(input) = input {
        return block_on(async {
            let (folder, client) = target(workspace, arguments.node).await?;
            let stamp = match signing_key(&folder, arguments)? {
                Some(key) => stamp.signed_by(Arc::new(key)),
                None => stamp,
            };
            many::run(workspace, &folder, client, arguments.no_wait, input, stamp).await
        });
    }
    // Checked first, so that a typing error gives the same message with and without a running node.
    let given = arguments.json.as_deref().map(|text| read(&stamp, text)).transpose()?;
    block_on(async {
        let (folder, client) = target(workspace, arguments.node).await?;
        let transaction = match given {
            Some(transaction) => transaction,
            None => reward(&folder, &client, &stamp)?,
        };
        let transaction = match signing_key(&folder, arguments)? {
            Some(key) => signing::sign(&key, &mut Parser::new(), transaction)?,
            None => transaction,
        };
        if arguments.no_wait || client.identity().is_none() {
            return send(&folder, client, &transaction, arguments.no_wait).await;
        }
        submit(workspace, &folder, client, &transaction).await
    })
}

/// Parses the transaction of the command line.
fn read(stamp: &Stamp, text: &str) -> Result<Transaction> {
    stamp.add(&mut Parser::new(), text).map_err(|error| match error {
        // A shell can spoil quotes and blanks, which gives this error only.
        InvalidTransaction::Json(JsonError::Unexpected { .. }) => {
            anyhow!("nothing was sent: {error}; for the shell, put the whole object into single quotes")
        }
        _ => anyhow!("nothing was sent: {error}"),
    })
}

/// Returns the folder's key if the transaction is to be signed. The folder of an exercise peer has
/// none.
fn signing_key(folder: &Folder, arguments: &Arguments) -> Result<Option<NodeKey>> {
    if arguments.unsigned || arguments.raw {
        return Ok(None);
    }
    NodeKey::load(&folder.path)
        .context("nothing was sent: it cannot be signed; --unsigned sends it without a signature")
}

/// Makes the exercise's reward: from nobody to the folder's key.
fn reward(folder: &Folder, client: &Client, stamp: &Stamp) -> Result<Transaction> {
    let key = folder.setting("MY_PUBLIC_KEY").or_else(|| client.identity().map(|identity| identity.node.to_string()));
    let Some(key) = key else {
        bail!("{0}/.env has no MY_PUBLIC_KEY: write one into it, or give the transaction as JSON", folder.name())
    };
    let body = serde_json::json!({ "fromAddress": null, "toAddress": key, "amount": REWARD }).to_string();
    Ok(stamp.add(&mut Parser::new(), &body)?)
}

/// Sends without waiting for an ACK.
async fn send(folder: &Folder, mut client: Client, transaction: &Transaction, no_wait: bool) -> Result<ExitCode> {
    client.send(transaction.body()).await?;
    if !client.close().await {
        bail!(
            "{} did not answer the close: it is not known whether it read the transaction; see its log",
            folder.name()
        );
    }
    print(format!("{}", transaction.id()))?;
    let why = if no_wait { "not waited for" } else { "a node of the exercise confirms nothing" };
    print(format!("sent to {}; whether it is stored is not known ({why})", folder.name()))?;
    Ok(ExitCode::SUCCESS)
}

/// Sends, waits until the node has it on disk, and then looks into the other pools.
async fn submit(
    workspace: &Workspace,
    folder: &Folder,
    mut client: Client,
    transaction: &Transaction,
) -> Result<ExitCode> {
    let ack = client.submit(transaction.body()).await?;
    client.close().await;
    if ack.status == AckStatus::Rejected {
        bail!("{} refused the transaction: {}", folder.name(), reason(&ack));
    }
    print(format!("{}", transaction.id()))?;
    print(format!("{}; {}", describe(&folder.name(), &ack), signing::verify(transaction)))?;
    let spread = pools::spread(workspace, &[transaction.id()]).await?;
    print(format!("{spread}"))?;
    Ok(ExitCode::SUCCESS)
}

fn describe(name: &str, ack: &Ack) -> String {
    match (ack.status, ack.links) {
        (AckStatus::Duplicate, _) => {
            format!("{name} has it already: the same content is one transaction, so nothing new was sent")
        }
        (_, 0) => format!("stored in {name}, but this node has no peers: nobody else has it yet"),
        (_, links) => format!("stored in {name}, and sent on {}", terminal::plural(links, "link")),
    }
}
