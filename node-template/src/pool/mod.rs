//! The pool: `transactions.json` in the node's folder, the truth about what this node holds.
//!
//! The file is an array laid out as `JSON.stringify(array, null, 2)` lays it out, readable by any program after every batch. It grows by one write
//! that overwrites the closing bracket, and one wait for the disk, per batch; it is never rewritten as a whole, so that storing costs the same
//! however large the pool is. A file of another layout is taken as it is, and grows in ours. Memory holds identities and places, not bodies.
//!
//! **Positions.** A transaction's position is how many were known to this process before it: the order of the file when it was opened, then the
//! order of the reports [`Report::Found`] and [`Report::Stored`], each naming of a new identity counting one. A position is given once and kept
//! while the process lives, also when another program reorders the file or loses the row; reading then passes over it.
//!
//! **Who drives it.** The node's driver: [`open`], then [`Pool::store`] as the core orders, [`Pool::read`] to feed a link, and the reports back
//! into the core. One thread, "pool", owns the file and writes; readers read beside it and never wait for the disk's troubles.
//!
//! **What it refuses.** A second node in the folder; a file that is sound JSON but no array of transactions, which is never overwritten. Damage is
//! repaired, and what is cut out is kept beside the file. Other programs may write to the file: what they add is found, once the disk was waited
//! for, and what they lose is put back, as far as it can still be read. It does not bound what waits for the disk: the caller does, by bytes.
//!
//! Map: `scan` finds rows and damage, on `window`; `load` opens, `repair` mends; `file` appends; `index` is the memory; `writer` is the thread,
//! `reload` takes over what others wrote; `read` reads back, through what `shared` holds, `reader` for people; `disk` is the seam to the system.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc as commands;
use std::time::Duration;

use prometheus_client::metrics::histogram::Histogram;
use tokio::sync::{mpsc, oneshot, watch};

use crate::protocol::transaction::{Transaction, TransactionId};

mod disk;
mod error;
mod file;
mod index;
mod load;
mod lock;
mod read;
mod reader;
mod reload;
mod repair;
mod scan;
mod shared;
mod window;
mod writer;

#[cfg(test)]
mod tests;

pub use error::PoolError;
pub use load::POOL_FILE;
pub use lock::{LOCK_FILE, announce};
pub use reader::{Page, Reader};
pub use repair::Repair;
#[cfg(feature = "cli")]
pub(crate) use repair::utc;

use disk::Disk;
use index::{Index, Place};
use load::{Gather, Look};
use read::Plan;
use shared::Shared;
use writer::{Command, Pauses, Writer};

/// How often reading is tried while another program changes the file.
const TRIES: usize = 5;
/// How many reports wait to be taken before the writer waits as well. Each batch is one, so a driver that takes them all at each turn never gets near.
const REPORTS: usize = 1_024;

/// Upper bounds of [`Report::Stored::synced_in`]'s buckets, in seconds: from a fast disk to one that
/// hangs.
const SYNC_BOUNDS: [f64; 12] = [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.5, 2.0, 10.0];

/// Returns an empty histogram of the seconds that batches took to reach the disk.
pub(crate) fn sync_histogram() -> Histogram {
    Histogram::new(SYNC_BOUNDS)
}

/// A handle to the pool; a clone is another handle to the same. The writer ends when it is closed or the last handle is dropped.
#[derive(Debug, Clone)]
pub struct Pool {
    shared: Arc<Shared>,
    commands: commands::Sender<Command>,
    /// Its other end is dropped when the writer has ended.
    ended: watch::Receiver<()>,
}

/// A pool that was just opened.
#[derive(Debug)]
pub struct Opened {
    /// The handle.
    pub pool: Pool,
    /// What the writer has to tell. It ends when the writer has ended. A writer whose reports nobody takes waits, unless this is dropped.
    pub reports: mpsc::Receiver<Report>,
    /// What the pool holds: the identities of the positions from 0 on.
    pub ids: Vec<TransactionId>,
    /// The times of the same transactions, see [`Transaction::time`].
    pub times: Vec<u64>,
    /// What was damaged and is repaired.
    pub repairs: Vec<Repair>,
}

/// What the writer has to tell, in the order in which it happened.
#[derive(Debug)]
pub enum Report {
    /// A batch is on the disk.
    Stored {
        /// All that were given to [`Pool::store`], in that order; also those that the file held already.
        ids: Vec<TransactionId>,
        /// How long the write and the wait for the disk took.
        synced_in: Duration,
    },
    /// The file does not take what waits. It is kept and tried again, with growing pauses, until [`Report::Recovered`]; told once, not for every try.
    Failed {
        /// One line: what happened, where, what to do.
        error: String,
    },
    /// The file takes transactions again.
    Recovered,
    /// Another program put transactions into the file. They have taken the next positions. One that is also being stored may be named here first.
    Found {
        /// Which.
        transactions: Vec<Transaction>,
    },
    /// Another program removed transactions from the file, and they can not be read any more. They keep their positions, which hold nothing until
    /// they are stored again.
    Lost {
        /// Which.
        ids: Vec<TransactionId>,
    },
    /// A person should know.
    Warning {
        /// One line.
        text: String,
    },
}

/// Some of what the pool holds.
#[derive(Debug, Clone)]
pub struct Chunk {
    /// In the order of their positions; those that were lost are left out.
    pub transactions: Vec<Transaction>,
    /// The position after the last of them.
    pub next: u64,
    /// Whether that is the end that was asked for, or the end of what is on the disk.
    pub end: bool,
}

/// Opens the pool of a node's folder: takes the folder's lock, makes or repairs the file, reads it, starts the writer.
///
/// # Errors
/// [`PoolError`], with nothing left half done: a file that could not be repaired is as it was.
pub fn open(folder: &Path) -> Result<Opened, PoolError> {
    open_on(folder, Box::new(disk::System), Pauses::default())
}

fn open_on(folder: &Path, disk: Box<dyn Disk>, pauses: Pauses) -> Result<Opened, PoolError> {
    let folder = load::whole(folder)?;
    let path = load::path_in(&folder);
    let lock = lock::Lock::take(&folder)?;
    let mut repairs = Vec::new();
    let (file, Loaded { index, times }) = loop {
        match load::look(&path, Loaded { index: Index::new(), times: Vec::new() })? {
            Look::Sound(file, loaded) => break (file, loaded),
            Look::Missing => repair::make_empty(&path, disk.as_ref())?,
            // A repair leaves a sound file; if it is damaged again, somebody else is at it.
            Look::Damaged(_) if repairs.len() > 1 => return Err(PoolError::Unsettled { path }),
            Look::Damaged(damaged) => {
                let (repair, mended) = load::mend(&path, damaged, disk.as_ref())?;
                repairs.push(repair);
                if let Some(mended) = mended {
                    break mended;
                }
            }
        }
    };
    // What is in it counts as stored from here on: who wrote it, this program before it was killed among them, may not have waited for the disk.
    disk.sync(file.file()).map_err(PoolError::io("write", &path))?;
    disk.sync_folder(repair::folder_of(&path)).map_err(PoolError::io("write", &folder))?;
    let ids = index.ids().collect();
    let shared = Arc::new(Shared::new(path.clone(), index, Arc::clone(file.file())));
    let (command_sender, command_receiver) = commands::channel();
    let (report_sender, reports) = mpsc::channel(REPORTS);
    let (end, ended) = watch::channel(());
    let writer = Writer::new(disk, pauses, Arc::clone(&shared), file, command_receiver, report_sender);
    std::thread::Builder::new()
        .name("pool".to_owned())
        .spawn(move || {
            writer.run();
            // In this order: who waits for the end may open the folder again at once.
            drop(lock);
            drop(end);
        })
        .map_err(PoolError::io("start a thread for", &path))?;
    Ok(Opened { pool: Pool { shared, commands: command_sender, ended }, reports, ids, times, repairs })
}

/// What the first reading of the file gathers.
#[derive(Debug)]
struct Loaded {
    index: Index,
    /// By position.
    times: Vec<u64>,
}

impl Gather for Loaded {
    fn row(&mut self, transaction: Transaction, place: Place) {
        if self.index.insert(transaction.id(), place) {
            self.times.push(transaction.time());
        }
    }
}

impl Pool {
    /// Has transactions appended to the file, in this order, together with whatever else waits. Never blocks. Answered by [`Report::Stored`].
    ///
    /// After [`Self::close`] they go nowhere, as they would if they had come a moment later.
    pub fn store(&self, batch: Vec<Transaction>) {
        self.command(Command::Store { batch, heard: None });
    }

    /// As [`Self::store`], for a caller who keeps account of what the pool holds: nothing of this was in it, nor given to it before, by the first `heard` reports
    /// [`Report::Found`]. If there were no more, none of it has to be looked for.
    pub fn store_new(&self, batch: Vec<Transaction>, heard: u64) {
        self.command(Command::Store { batch, heard: Some(heard) });
    }

    /// Reads transactions from position `from` on, until before `until`, or the end of what is on the disk. Ends early when their rows in the file
    /// amount to more than `max_bytes`, but not before the first.
    ///
    /// # Errors
    /// [`PoolError::Io`]; [`PoolError::Unsettled`] if another program changes the file again and again meanwhile.
    pub async fn read(&self, from: u64, until: Option<u64>, max_bytes: usize) -> Result<Chunk, PoolError> {
        for _ in 0..TRIES {
            let (plan, next, end) = self.shared.plan(from, until, max_bytes);
            if let Some(transactions) = self.carry_out(plan).await? {
                return Ok(Chunk { transactions, next, end });
            }
            self.look().await;
        }
        Err(PoolError::Unsettled { path: self.shared.path().to_owned() })
    }

    /// Reads single transactions by their positions, in that order, about `max_bytes` of them; those that were lost are left out. Tells with how many of the
    /// positions that is done.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub async fn read_these(
        &self,
        positions: &[u64],
        max_bytes: usize,
    ) -> Result<(Vec<Transaction>, usize), PoolError> {
        for _ in 0..TRIES {
            let (plan, done) = self.shared.plan_these(positions, max_bytes);
            if let Some(transactions) = self.carry_out(plan).await? {
                return Ok((transactions, done));
            }
            self.look().await;
        }
        Err(PoolError::Unsettled { path: self.shared.path().to_owned() })
    }

    /// A handle for reading alone.
    pub fn reader(&self) -> Reader {
        Reader::new(Arc::clone(&self.shared))
    }

    async fn carry_out(&self, plan: Plan) -> Result<Option<Vec<Transaction>>, PoolError> {
        let read = tokio::task::spawn_blocking(move || plan.read()).await;
        // The runtime drops blocking work only when it ends.
        read.map_err(|_| PoolError::Closed)?.map_err(PoolError::io("read", self.shared.path()))
    }

    /// Has the writer compare the file with what it left, as it does before each batch; returns when what somebody else did to it is reported.
    pub async fn look(&self) {
        let (reply, answer) = oneshot::channel();
        self.command(Command::Look(reply));
        // An answer that does not come means that the pool is closed: nothing is left to compare.
        answer.await.ok();
    }

    /// Stores what waits, then ends the writer and releases the folder. If the file does not take it, it is tried once more and given up with a last
    /// [`Report::Failed`]. Meanwhile the reports must be taken, or their receiver dropped.
    pub async fn close(&self) {
        self.command(Command::Close);
        let mut ended = self.ended.clone();
        // Nothing is ever sent: the error that the sender is gone is what is waited for.
        while ended.changed().await.is_ok() {}
    }

    /// Ends the writer by a panic.
    #[cfg(test)]
    pub(crate) fn panic(&self) {
        self.command(Command::Panic);
    }

    /// Has the writer hang until the sender is gone.
    #[cfg(test)]
    pub(crate) fn hang(&self, released: commands::Receiver<()>) {
        self.command(Command::Hang(released));
    }

    fn command(&self, command: Command) {
        if self.commands.send(command).is_err() {
            tracing::debug!("the pool is closed already");
        }
    }
}
