//! A tiny blockchain pool with rules: every node refuses what breaks them, so no cheat spreads,
//! whoever sends it. Run it with `cargo run -p meshpool --example rules`.

use std::error::Error;

use meshpool::protocol::transaction::Transaction;
use meshpool::{Client, Network, Node};
use serde::Deserialize;
use tempfile::TempDir;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payment {
    from_address: Option<String>,
    to_address: String,
    amount: f64,
}

/// What a payment must be. It looks at the payment alone: every node must come to the same answer,
/// whatever else it knows.
fn rules(transaction: &Transaction) -> Result<(), String> {
    let payment: Payment =
        serde_json::from_str(transaction.body()).map_err(|error| format!("this pool takes payments: {error}"))?;
    match payment {
        Payment { amount, .. } if amount <= 0.0 => Err("an amount is more than 0".to_owned()),
        Payment { from_address: None, amount, .. } if amount != 100.0 => Err("a reward is 100".to_owned()),
        Payment { from_address: Some(from), to_address, .. } if from == to_address => {
            Err("nobody pays himself".to_owned())
        }
        _ => Ok(()),
    }
}

async fn start(known: Option<&Node>) -> Result<(Node, TempDir), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let mut network = Network::new("localhost").folder(folder.path()).validate(rules);
    if let Some(known) = known {
        network = network.known_peer(known.address().clone());
    }
    Ok((network.start().await?, folder))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (bank, _folder) = start(None).await?;
    let (shop, _other_folder) = start(Some(&bank)).await?;
    let mut client = Client::connect(bank.address()).await?;
    for text in [
        r#"{"fromAddress":null,"toAddress":"ann","amount":100}"#,
        r#"{"fromAddress":null,"toAddress":"eve","amount":1000000}"#,
        r#"{"fromAddress":"ann","toAddress":"bob","amount":5}"#,
        r#"{"fromAddress":"ann","toAddress":"ann","amount":5}"#,
        r#"{"hello":"world"}"#,
    ] {
        let ack = client.submit(text).await?;
        println!("{text}\n  {:?} {}", ack.status, ack.reason.unwrap_or_default());
    }
    client.close().await;
    println!("the bank holds {} transactions", bank.status().await?.pool.count);
    shop.shutdown().await?;
    bank.shutdown().await?;
    Ok(())
}
