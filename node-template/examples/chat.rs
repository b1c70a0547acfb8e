//! A chat without a server: each line typed goes to everybody. Run it in two terminals, or on two
//! machines:
//!
//! ```text
//! cargo run -p meshpool --example chat
//! cargo run -p meshpool --example chat -- ws://localhost:<the port that the first one says>
//! ```

use std::error::Error;

use meshpool::Network;
use meshpool::events::text::strip_control;
use meshpool::protocol::event::Event;
use tokio::sync::mpsc;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let mut network = Network::new("localhost").folder(folder.path());
    for peer in std::env::args().skip(1) {
        network = network.known_peer(peer.parse()?);
    }
    let node = network.start().await?;
    println!("this node is {}; type something, or end with Ctrl+D", node.address());
    let (mut events, mut lines) = (node.events(), typed());
    loop {
        tokio::select! {
            line = lines.recv() => match line {
                Some(line) => match node.broadcast(line).await {
                    Ok(told) => println!("  (sent on {} links)", told.links),
                    Err(error) => println!("  (not sent: {error})"),
                },
                None => break,
            },
            event = events.recv() => match event? {
                // A text of others may hold what steers a terminal: it is made plain before it is
                // shown.
                Event::Broadcast { broadcast, sender, peer: Some(_), .. } => {
                    println!("{sender}: {}", strip_control(&broadcast.message));
                }
                Event::NodeJoined { node, .. } => println!("  ({node} joined)"),
                Event::NodeLeft { node, cause, .. } => println!("  ({node} left: {cause})"),
                _ => {}
            },
        }
    }
    node.shutdown().await?;
    Ok(())
}

/// The lines of standard input, read by a thread: a read can not be taken back.
fn typed() -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel(16);
    std::thread::spawn(move || {
        std::io::stdin().lines().map_while(Result::ok).try_for_each(|line| sender.blocking_send(line))
    });
    lines
}
