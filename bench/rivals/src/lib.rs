//! What the rivals share: like our node they start in a folder, take TRANSACTION and STATUS frames
//! over a WebSocket, and report what was delivered. The bench treats all alike; only the way of
//! transactions between the nodes differs.
//!
//! Every rival is a process with a runtime of one thread. It keeps nothing on disk and reads only
//! the number of a transaction. The programs are in `src/bin/`.

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

/// The command line of a rival.
#[derive(Debug, Clone, Copy, Parser)]
pub struct Arguments {
    /// Queues of the library, instead of as long as a burst
    #[arg(long)]
    pub stock: bool,
    /// Messages without author, number and signature
    #[arg(long)]
    pub unsigned: bool,
    /// How many frames are sent per flush
    #[arg(long, default_value_t = 1)]
    pub flush: usize,
    /// At SIGTERM, write the delay of each delivery in nanoseconds into the file `delays`
    #[arg(long)]
    pub delays: bool,
}

/// The capacity of long queues: more messages than any burst of the bench.
pub const ENOUGH: usize = 4_000_000;
