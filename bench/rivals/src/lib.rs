//! What the rivals have in common: they are started in a folder as a node of ours is, take
//! transactions and STATUS frames over a WebSocket as ours does, and tell what was delivered. So
//! the bench pushes at all alike and judges all by the same eye; what differs is how transactions
//! travel between the nodes.
//!
//! Every rival is a process with a runtime of one thread. It keeps nothing on disk and does not
//! look into a transaction, but for the number by which it is counted. The programs are in
//! `src/bin/`.

mod folder;
mod intake;
mod life;
mod payload;
mod tally;

pub use folder::{Folder, peer_port};
pub use intake::{Intake, listen};
pub use life::end_with;
pub use payload::stamp;
pub use tally::{Delays, Tally};

use clap::Parser;

/// What every rival understands.
#[derive(Debug, Clone, Copy, Parser)]
pub struct Arguments {
    /// Queues as the library sets them, instead of as long as a burst
    #[arg(long)]
    pub stock: bool,
    /// Messages without author, number and signature
    #[arg(long)]
    pub unsigned: bool,
    /// How many frames leave per flush
    #[arg(long, default_value_t = 1)]
    pub flush: usize,
    /// Write how long each delivery took into the file `delays`, in nanoseconds, when told to end
    #[arg(long)]
    pub delays: bool,
}

/// More messages than any burst of the bench has: where a queue is not stock, it holds so many.
pub const ENOUGH: usize = 4_000_000;
