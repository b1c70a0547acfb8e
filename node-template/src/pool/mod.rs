//! The pool: `transactions.json` in the node's folder, the authority on what this node holds.
//!
//! The file is an array in the layout of `JSON.stringify(array, null, 2)`, which any program can
//! read after every batch; a long row that would take several times its size has one line. A batch
//! is one write that overwrites the closing bracket, and one wait for the disk. The file is never
//! rewritten as a whole, so storing costs the same whatever its size. A file of another layout
//! keeps it, and new rows have this one. Memory holds identities and locations, not bodies.
//!
//! **Positions.** A transaction's position is the number of transactions known before it: the order
//! of the file at the start, then the order of new identities in [`Report::Found`] and
//! [`Report::Stored`]. A position stays as long as the process runs, even if another program
//! reorders the file or removes the row; reading then skips it.
//!
//! **Threads.** The driver calls [`open`], then [`Pool::store`] and [`Pool::read`], and passes the
//! reports to the core. One thread, "pool", owns the file and writes. Readers never wait for it.
//!
//! **What it refuses.** A second node in the folder; a file that is valid JSON but not an array of
//! transactions, which is never overwritten. Damage is repaired, and the damaged bytes are kept in
//! another file. Other programs may write to the file: added rows are found, and removed rows are
//! restored if they can still be read. The caller limits the bytes that wait for the disk.
//!
//! | file | content |
//! |---|---|
//! | `window`, `scan` | finds rows and damage |
//! | `load`, `repair` | opens, creates and repairs the file |
//! | `file` | appends rows |
//! | `index` | identities and locations in memory |
//! | `progress` | how much was read at the start |
//! | `counts` | lost rows, and repairs |
//! | `numbering` | positions of a topic's rows that stay over restarts |
//! | `memory` | the items of a topic without a file |
//! | `writer`, `reload` | the thread; changes by other programs |
//! | `read`, `shared`, `reader` | reads rows back |
//! | `snapshot` | reads the file while its node appends to it |
//! | `disk` | the calls to the system, which tests replace |

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc as commands;

use prometheus_client::metrics::histogram::Histogram;
use tokio::sync::{mpsc, oneshot};

use crate::protocol::transaction::{Transaction, TransactionId};
use crate::util::counts::add;
use crate::util::lifetime::{Alive, Ended};

mod chunk;
mod counts;
mod disk;
mod error;
mod file;
mod index;
mod load;
mod lock;
mod memory;
mod numbering;
mod progress;
mod read;
mod reader;
mod reload;
mod repair;
mod report;
mod scan;
mod shared;
#[cfg(feature = "cli")]
mod snapshot;
mod window;
mod writer;

#[cfg(test)]
mod tests;

pub use chunk::Chunk;
#[cfg(feature = "web")]
pub(crate) use counts::described;
pub use error::PoolError;
pub use load::POOL_FILE;
pub use lock::LOCK_FILE;
#[cfg(all(feature = "cli", feature = "web"))]
pub(crate) use lock::announce_page;
pub(crate) use lock::{Lock, announce};
pub use reader::{Page, Reader};
pub use repair::Repair;
pub use report::Report;
#[cfg(feature = "cli")]
pub(crate) use snapshot::as_of_now;

use disk::Disk;
use index::{Index, Location};
use load::{FileState, RowSink};
pub(crate) use memory::Memory;
use numbering::Numbering;
pub(crate) use progress::Progress;
use shared::Shared;
use writer::{Command, Pauses, Writer};

/// How many levels a frame has around a transaction: TRANSACTION itself …
const LEVELS: usize = 1;
/// … and the TOPIC around it.
pub(crate) const TOPIC_LEVELS: usize = 2;
/// The folder of the topics' files, in the node's folder.
pub(crate) const TOPICS_FOLDER: &str = "topics";
/// How often what could not be read is tried again, each time after the writer has looked at it.
const TRIES: usize = 4;
/// Reports that wait for the driver before the writer waits too. Each batch is one, and the driver
/// takes all of them each turn.
const REPORTS: usize = 1_024;

/// Upper bounds of [`Report::Stored::synced_in`]'s buckets, in seconds: from a fast disk to one
/// that hangs.
const SYNC_BOUNDS: [f64; 12] = [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.5, 2.0, 10.0];

/// Returns an empty histogram of the seconds that batches took to reach the disk.
pub(crate) fn sync_histogram() -> Histogram {
    Histogram::new(SYNC_BOUNDS)
}

/// A handle to the pool. Clones share it. The writer ends with [`Self::close`] or the last handle.
#[derive(Debug, Clone)]
pub struct Pool {
    shared: Arc<Shared>,
    commands: commands::Sender<Command>,
    /// The end of the writer.
    ended: Ended,
}

/// An open pool.
#[derive(Debug)]
pub struct Opened {
    /// The handle.
    pub pool: Pool,
    /// The reports of the writer, until it has ended. If they are not read, the writer waits,
    /// unless this is dropped.
    pub reports: mpsc::Receiver<Report>,
    /// The identities of the positions from 0 on.
    pub ids: Vec<TransactionId>,
    /// The times of these transactions, see [`Transaction::time`].
    pub times: Vec<u64>,
    /// The lengths of their bodies, of a topic's file.
    pub lengths: Vec<u32>,
    /// The repairs that were made.
    pub repairs: Vec<Repair>,
}

/// Opens the pool of a node's folder: takes the folder's lock, creates or repairs the file, reads
/// it, and starts the writer.
///
/// # Errors
/// [`PoolError`]. A file that could not be repaired is as it was.
pub fn open(folder: &Path) -> Result<Opened, PoolError> {
    open_watched(folder, Lock::take(folder)?, &Progress::default())
}

/// As [`open`], with the folder's lock, which the writer holds until its end. `progress` says how
/// far it is.
///
/// # Errors
/// As [`open`].
pub(crate) fn open_watched(folder: &Path, lock: Lock, progress: &Progress) -> Result<Opened, PoolError> {
    open_with(folder, lock, Box::new(disk::System), Pauses::default(), progress)
}

/// The file of a folder, as the next start finds it.
#[cfg(feature = "cli")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inspected {
    /// It has this many rows.
    Sound(u64),
    /// The start repairs it, and keeps this many rows.
    Damaged(u64),
    /// The start makes it.
    Missing,
}

/// Reads the file of a folder, and says what the next start does with it. Changes nothing.
///
/// # Errors
/// The start fails.
#[cfg(feature = "cli")]
pub(crate) fn inspect(folder: &Path) -> Result<Inspected, PoolError> {
    struct Count(u64);
    impl RowSink for Count {
        fn levels(&self) -> usize {
            LEVELS
        }

        fn row(&mut self, _: Transaction, _: Location) {
            self.0 += 1;
        }
    }
    let folder = load::canonical(folder)?;
    let (path, lock) = (load::path_in(&folder), folder.join(LOCK_FILE));
    let found = match load::open(&path, Count(0))? {
        FileState::Sound(_, Count(rows)) => Inspected::Sound(rows),
        FileState::Damaged(damaged) => Inspected::Damaged(load::repairable(&path, &damaged)?),
        FileState::Missing => Inspected::Missing,
    };
    load::check_kind(&lock)?;
    if lock.is_dir() {
        return Err(PoolError::io("open", &lock)(std::io::ErrorKind::IsADirectory.into()));
    }
    for path in [&folder, repair::folder_of(&path), &lock] {
        match crate::system::check_writable(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(PoolError::io("write", path)(error));
            }
            _ => {}
        }
    }
    Ok(found)
}

/// As [`open`], of a topic, in a folder that is created if it is missing. The lock is that of the
/// node's folder.
///
/// # Errors
/// As [`open`].
pub(crate) fn open_topic(folder: &Path, lock: Lock, name: &str) -> Result<Opened, PoolError> {
    open_topic_on(folder, lock, name, Box::new(disk::System), Pauses::default())
}

fn open_topic_on(
    folder: &Path,
    lock: Lock,
    name: &str,
    disk: Box<dyn Disk>,
    pauses: Pauses,
) -> Result<Opened, PoolError> {
    let topics = folder.join(TOPICS_FOLDER);
    match std::fs::create_dir(&topics) {
        Ok(()) => disk.sync_folder(folder).map_err(PoolError::io("write", folder))?,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && topics.is_dir() => {}
        Err(error) => return Err(PoolError::io("create", &topics)(error)),
    }
    let path = load::canonical(&topics)?.join(format!("{name}.json"));
    open_file(crate::folder::replace::follow(&path), true, lock, disk, pauses, &Progress::default())
}

#[cfg(test)]
fn open_on(folder: &Path, disk: Box<dyn Disk>, pauses: Pauses) -> Result<Opened, PoolError> {
    open_with(folder, Lock::take(folder)?, disk, pauses, &Progress::default())
}

fn open_with(
    folder: &Path,
    lock: Lock,
    disk: Box<dyn Disk>,
    pauses: Pauses,
    progress: &Progress,
) -> Result<Opened, PoolError> {
    open_file(load::path_in(&load::canonical(folder)?), false, lock, disk, pauses, progress)
}

fn open_file(
    path: PathBuf,
    is_topic: bool,
    lock: Lock,
    disk: Box<dyn Disk>,
    pauses: Pauses,
    progress: &Progress,
) -> Result<Opened, PoolError> {
    let folder = repair::folder_of(&path).to_owned();
    let mut repairs = Vec::new();
    let (file, Loaded { index, times, lengths, .. }) = loop {
        // A file that is missing or locked shows below.
        progress.begin(path.metadata().map_or(0, |file| file.len()));
        let lengths = is_topic.then(Vec::new);
        match load::open(&path, Loaded { index: Index::new(), times: Vec::new(), lengths, progress })? {
            FileState::Sound(file, loaded) => break (file, loaded),
            FileState::Missing => repair::make_empty(&path, disk.as_ref())?,
            // A repaired file is damaged again only if another program writes to it.
            FileState::Damaged(_) if repairs.len() > 1 => return Err(PoolError::Unsettled { path }),
            FileState::Damaged(damaged) => {
                let (repair, mended) = load::repair(&path, damaged, disk.as_ref())?;
                repairs.push(repair);
                if let Some(mended) = mended {
                    break mended;
                }
            }
        }
    };
    // The content counts as stored from here on, but its writer may not have waited for the disk:
    // another program, or this one before it was killed.
    disk.sync(file.file()).map_err(PoolError::io("write", &path))?;
    disk.sync_folder(repair::folder_of(&path)).map_err(PoolError::io("write", &folder))?;
    let ids: Vec<_> = index.ids().collect();
    let (numbering, levels) =
        if is_topic { (Numbering::load(&path, &ids)?, TOPIC_LEVELS) } else { (Numbering::default(), LEVELS) };
    let shared = Arc::new(Shared::new(path.clone(), index, Arc::clone(file.file()), numbering, levels));
    add(&shared.counts.repairs, repairs.len() as u64);
    let (command_sender, command_receiver) = commands::channel();
    let (report_sender, reports) = mpsc::channel(REPORTS);
    let alive = Alive::default();
    let ended = alive.ended();
    let writer = Writer::new(disk, pauses, Arc::clone(&shared), file, command_receiver, report_sender);
    std::thread::Builder::new()
        .name("pool".to_owned())
        .spawn(move || {
            writer.run();
            // In this order: after the end of the last one the folder can be opened again.
            drop(lock);
            drop(alive);
        })
        .map_err(PoolError::io("start a thread for", &path))?;
    let lengths = lengths.unwrap_or_default();
    Ok(Opened { pool: Pool { shared, commands: command_sender, ended }, reports, ids, times, lengths, repairs })
}

/// The rows of the file at the start.
#[derive(Debug)]
struct Loaded<'a> {
    index: Index,
    /// By position.
    times: Vec<u64>,
    /// By position, of a topic.
    lengths: Option<Vec<u32>>,
    progress: &'a Progress,
}

impl RowSink for Loaded<'_> {
    fn levels(&self) -> usize {
        if self.lengths.is_some() { TOPIC_LEVELS } else { LEVELS }
    }

    fn row(&mut self, transaction: Transaction, location: Location) {
        self.progress.advance(location.offset());
        if self.index.insert(transaction.id(), location) {
            self.times.push(transaction.time());
            if let Some(lengths) = &mut self.lengths {
                lengths.push(transaction.body_bytes() as u32);
            }
        }
    }
}

impl Pool {
    /// Appends transactions to the file, in this order, together with others that wait. Never
    /// blocks. [`Report::Stored`] follows.
    ///
    /// After [`Self::close`] they are dropped.
    pub fn store(&self, batch: Vec<Transaction>) {
        self.command(Command::Store { batch, known_new: None });
    }

    /// As [`Self::store`], for a caller that tracks the content of the pool: none of these were
    /// stored or given before, as of the first `found` reports [`Report::Found`]. If there were no
    /// more reports, the writer skips the look-ups.
    pub fn store_new(&self, batch: Vec<Transaction>, found: u64) {
        self.command(Command::Store { batch, known_new: Some(found) });
    }

    /// Forgets transactions for good. Their rows are removed when the file is next rewritten, which
    /// is once they are more than the rest.
    pub fn forget(&self, ids: Vec<TransactionId>) {
        self.command(Command::Forget(ids));
    }

    /// Reads transactions from position `from` to before `until`, or to the end of the pool. Ends
    /// early when the rows exceed `max_bytes`, but returns at least one.
    ///
    /// # Errors
    /// [`PoolError::Io`]; [`PoolError::Overwritten`] if another program wrote over the file. Single
    /// rows that cannot be read are lost, and are no error.
    pub async fn read(&self, from: u64, until: Option<u64>, max_bytes: usize) -> Result<Chunk, PoolError> {
        let plan = || self.shared.plan(from, until, max_bytes);
        let (transactions, (next, end)) = self.shared.read_again(TRIES, plan, || self.look()).await?;
        Ok(Chunk { transactions, next, end })
    }

    /// Reads single transactions by their positions, in that order, up to about `max_bytes`,
    /// without lost ones. Also returns how many of the positions were processed.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub async fn read_these(
        &self,
        positions: &[u64],
        max_bytes: usize,
    ) -> Result<(Vec<Transaction>, usize), PoolError> {
        let plan = || self.shared.plan_these(positions, max_bytes);
        self.shared.read_again(TRIES, plan, || self.look()).await
    }

    /// Returns a read-only handle.
    pub fn reader(&self) -> Reader {
        Reader::of_file(Arc::clone(&self.shared))
    }

    /// Makes the writer check the file for changes by other programs, as it does before each batch.
    /// Returns when they are reported.
    pub async fn look(&self) {
        let (reply, answer) = oneshot::channel();
        self.command(Command::Check(reply));
        // No answer means that the pool is closed.
        answer.await.ok();
    }

    /// Makes the writer store what waits, check the file a last time, and end. If that fails, it
    /// gives up with a last [`Report::GaveUp`]. The reports end once the writer has.
    pub fn begin_close(&self) {
        self.command(Command::Close);
    }

    /// As [`Self::begin_close`], and waits until the writer has ended. The caller must keep reading
    /// the reports, or drop their receiver.
    pub async fn close(&self) {
        self.begin_close();
        self.ended.wait().await;
    }

    /// Whether the writer has ended as it was told to, not in a panic. It is certain once the
    /// reports have ended.
    pub(crate) fn has_closed(&self) -> bool {
        self.shared.has_closed()
    }

    /// Counts the lost rows and the repairs of several files.
    pub(crate) fn counts<'a>(pools: impl Iterator<Item = &'a Self>) -> Vec<(&'static str, u64)> {
        let mut sums: Vec<(&'static str, u64)> = Vec::new();
        for pool in pools {
            for (name, count) in pool.shared.counts() {
                match sums.iter_mut().find(|(other, _)| *other == name) {
                    Some((_, sum)) => *sum += count,
                    None => sums.push((name, count)),
                }
            }
        }
        sums
    }

    /// Makes the writer panic.
    #[cfg(test)]
    pub(crate) fn panic(&self) {
        self.command(Command::Panic);
    }

    /// Makes the writer hang until the sender is dropped.
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
