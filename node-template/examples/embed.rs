//! Two nodes in one program: one submits a transaction, the other tells of it. Run it with `cargo
//! run -p meshpool --example embed`.

use std::error::Error;

use meshpool::Network;
use meshpool::protocol::event::Event;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (home, away) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let alice = Network::new("localhost").folder(home.path()).start().await?;
    let bob = Network::new("localhost").folder(away.path()).known_peer(alice.address().clone()).start().await?;

    let (mut seen_by_alice, mut seen_by_bob) = (alice.events(), bob.events());
    // An event comes after it happened: whoever subscribes late asks the status first.
    while alice.status().await?.connected.is_empty() {
        seen_by_alice.recv().await?;
    }

    let submitted = alice.submit(&serde_json::json!({ "from": "alice", "to": "bob", "amount": 5 })).await?;
    println!("alice: {} went out on {} link(s)", submitted.id, submitted.links);
    submitted.stored().await?;
    println!("alice: it is on my disk");

    loop {
        if let Event::Transaction { transaction, .. } = seen_by_bob.recv().await? {
            println!("bob:   I have {} = {}", transaction.id(), transaction.body());
            break;
        }
    }
    bob.shutdown().await?;
    alice.shutdown().await?;
    Ok(())
}
