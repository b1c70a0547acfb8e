//! Our node in a program that records when each transaction is accepted, which is visible only
//! inside the process. The node is the library with the settings of its folder, on a runtime of one
//! thread like those of the rivals.

use std::io::Read;

use anyhow::{Context, Result};
use clap::Parser;
use meshpool::config::{Flags, Settings};
use meshpool::protocol::event::Event;
use meshpool::{Network, RecvError};
use rivals::Delays;
use tokio::signal::unix::{SignalKind, signal};

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    flags: Flags,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    std::thread::spawn(|| {
        // The end of standard input is the end of the bench.
        std::io::stdin().read_to_end(&mut Vec::new()).unwrap_or_default();
        std::process::exit(0);
    });
    let flags = Arguments::parse().flags;
    let settings = Settings::read(flags.folder(), &flags, |name| std::env::var(name).ok())?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let node = Network::from(settings).start().await?;
    let (mut events, mut delays) = (node.events(), Delays::default());
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Ok(Event::Transaction { transaction, .. }) => delays.record(transaction.body().as_bytes()),
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
