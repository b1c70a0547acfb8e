//! Sends a node one transaction or many, and reports what became of them.
//!
//! It reports success only for what the node has on disk, and says if no other node has it. An
//! exercise peer confirms nothing, so nothing is claimed then.

mod many;
mod source;
pub(crate) use source::Source;
mod tally;
mod what;

use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};

pub use crate::cli::add::what::What;

use crate::cli::add::many::Input;
use crate::cli::node_folder::NodeFolder;
use crate::cli::target::{Target, reason};
use crate::cli::terminal::{plural, print};
use crate::client::exercise_fields::ExerciseFields as Stamp;
use crate::folder::node_key::NodeKey;
use crate::protocol::json::{JsonError, Parser};
use crate::protocol::transaction::{InvalidTransaction, Transaction, TransactionId};
use crate::protocol::wire::{Ack, AckStatus};
use crate::signing;

/// The amount of the exercise's reward transaction.
const REWARD: u32 = 100;

/// Sends what is wanted to the node that `open` connects to. `spread`: looks into other pools, and
/// returns a text about them. Returns whether all was accepted.
///
/// # Errors
/// Nothing was sent, or the node gives no answer.
pub async fn run(
    open: impl AsyncFnOnce() -> Result<Target>,
    what: &What,
    as_json: bool,
    spread: impl AsyncFn(&[TransactionId]) -> Result<Option<String>>,
) -> Result<bool> {
    let stamp = Stamp::new(what.raw);
    let text = what.text()?;
    let input = match (&text, &what.file) {
        (Some(text), _) if text == "-" => Some(Input::stdin()),
        (_, Some(path)) => Some(Input::open(path)?),
        _ => None,
    };
    if let Some(input) = input {
        let target = open().await?;
        let stamp = match signing_key(&target, what)? {
            Some(key) => stamp.signed_by(Arc::new(key)),
            None => stamp,
        };
        return many::run(target, what, input, stamp, as_json, spread).await;
    }
    // Checked first, so that a typing error gives the same message with and without a running node.
    let given = text.as_deref().map(|text| read(&stamp, text)).transpose()?;
    let mut target = open().await?;
    let transaction = match given {
        Some(transaction) => transaction,
        None => reward(&mut target, &stamp).await?,
    };
    let transaction = match signing_key(&target, what)? {
        Some(key) => signing::sign(&key, &mut Parser::new(), transaction)?,
        None => transaction,
    };
    if what.no_wait || target.is_exercise() {
        return send(target, &transaction, what, as_json).await;
    }
    let (name, ack) = (target.name(), target.submit(&transaction, what.signs()).await?);
    let is_remote = matches!(target, Target::Api(_));
    target.close().await;
    if ack.status == AckStatus::Rejected {
        bail!("{name} refused the transaction: {}", reason(&ack));
    }
    // A node elsewhere may have signed it, which changes its identity.
    let verdict = (!is_remote).then(|| signing::verify(&transaction));
    let id = if is_remote { ack.id.clone() } else { transaction.id().to_string() };
    if as_json {
        let signature = verdict.map(|verdict| verdict.state());
        let status = if ack.status == AckStatus::Duplicate { "duplicate" } else { "stored" };
        print_json(&json!({ "id": id, "node": name, "status": status, "links": ack.links, "signature": signature }))?;
        return Ok(true);
    }
    let verdict = verdict.map_or_else(String::new, |verdict| format!("; {verdict}"));
    print(id)?;
    print(format!("{}{verdict}", describe(&name, &ack)))?;
    if let Some(spread) = spread(&[transaction.id()]).await? {
        print(spread)?;
    }
    Ok(true)
}

fn print_json(value: &Value) -> Result<()> {
    Ok(print(format!("{value:#}"))?)
}

/// Parses the transaction of the command line.
fn read(stamp: &Stamp, text: &str) -> Result<Transaction> {
    stamp.add(&mut Parser::new(), text).map_err(|error| match error {
        // A shell can spoil quotes and blanks, which gives this error only.
        InvalidTransaction::Json(JsonError::Unexpected { .. }) => {
            anyhow!("nothing was sent: {error}; for the shell, put the whole object into single quotes, or write its fields as in `to=bob amount=5`")
        }
        _ => anyhow!("nothing was sent: {error}"),
    })
}

/// Returns the folder's key if the transaction is to be signed here. The folder of an exercise peer
/// has none, and a node elsewhere signs itself.
fn signing_key(target: &Target, what: &What) -> Result<Option<NodeKey>> {
    match target {
        Target::Folder(folder, _) if what.signs() => NodeKey::load(&folder.path)
            .context("nothing was sent: it cannot be signed; --unsigned sends it without a signature"),
        _ => Ok(None),
    }
}

/// Makes the exercise's reward: from nobody to the folder's key.
async fn reward(target: &mut Target, stamp: &Stamp) -> Result<Transaction> {
    let key = match target {
        Target::Folder(folder, client) => own_key(folder)
            .or_else(|| client.identity().map(|identity| identity.node.to_string()))
            .with_context(|| {
                let name = folder.name();
                format!("{name}/.env has no MY_PUBLIC_KEY: write one into it, or give the transaction as JSON")
            })?,
        Target::Api(_) => target.status().await?.node,
    };
    let body = json!({ "fromAddress": null, "toAddress": key, "amount": REWARD }).to_string();
    Ok(stamp.add(&mut Parser::new(), &body)?)
}

fn own_key(folder: &NodeFolder) -> Option<String> {
    folder.setting("MY_PUBLIC_KEY")
}

/// Sends without waiting for an ACK.
async fn send(target: Target, transaction: &Transaction, what: &What, as_json: bool) -> Result<bool> {
    let name = target.name();
    let Target::Folder(_, mut client) = target else {
        bail!("{name}: the API always waits for the disk: leave --no-wait out");
    };
    client.send(transaction.body()).await?;
    if !client.close().await {
        bail!("{name} did not answer the close: it is not known whether it read the transaction; see its log");
    }
    let id = transaction.id().to_string();
    if as_json {
        print_json(&json!({ "id": id, "node": name, "status": "sent" }))?;
        return Ok(true);
    }
    print(id)?;
    let why = if what.no_wait { "not waited for" } else { "a node of the exercise confirms nothing" };
    print(format!("sent to {name}; whether it is stored is not known ({why})"))?;
    Ok(true)
}

fn describe(name: &str, ack: &Ack) -> String {
    match (ack.status, ack.links) {
        (AckStatus::Duplicate, _) => {
            format!("{name} has it already: the same content is one transaction, so nothing new was sent")
        }
        (_, 0) => format!("stored in {name}, but this node has no peers: nobody else has it yet"),
        (_, links) => format!("stored in {name}, and sent on {}", plural(links, "link")),
    }
}
