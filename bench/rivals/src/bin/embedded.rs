//! Our node inside another program, which notes when each transaction is accepted: for the delay
//! alone, since nobody outside sees that moment. The node is the library as it is, with the
//! settings of its folder, on a runtime of one thread, as the rivals have it.

use std::io::Read;

use anyhow::{Context, Result};
use clap::Parser;
use meshpool::Network;
use meshpool::protocol::event::Event;
use meshpool::config::{Flags, Settings};
use rivals::Delays;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::broadcast::error::RecvError;

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    flags: Flags,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    std::thread::spawn(|| {
        // When the bench is gone, so are we.
        std::io::stdin().read_to_end(&mut Vec::new()).unwrap_or_default();
        std::process::exit(0);
    });
    let flags = Arguments::parse().flags;
    let settings = Settings::read(flags.folder(), &flags, |name| std::env::var(name).ok())?;
    let mut terminate = signal(SignalKind::terminate()).context("can not wait for SIGTERM")?;
    let node = Network::from(settings).start().await?;
    let (mut events, mut delays) = (node.events(), Delays::default());
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Ok(Event::Transaction { transaction, .. }) => delays.note(transaction.body().as_bytes()),
                Ok(_) => {}
                Err(RecvError::Lagged(missed)) => eprintln!("{missed} events were missed"),
                Err(RecvError::Closed) => break,
            },
            _ = terminate.recv() => break,
        }
    }
    delays.write()?;
    node.shutdown().await?;
    Ok(())
}
