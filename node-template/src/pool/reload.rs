//! Adopts changes that another program made to the file: an editor, a helper of the exercise, a
//! person.
//!
//! Known rows keep their positions, removed rows are restored, new rows are found. A removed row is
//! read from the old file, if that was replaced rather than overwritten, or from the recent ones in
//! memory: a program that reads, adds and writes back loses just those. Readers see the result at
//! once, at the end, so a failure changes nothing.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::events::text::plural;
use crate::pool::disk::Disk;
use crate::pool::error::{PoolError, named};
use crate::pool::file::{BATCH_BYTES, PoolFile, Rows};
use crate::pool::index::Location;
use crate::pool::load::{self, FileState, POOL_FILE, RowSink};
use crate::pool::read::RowReader;
use crate::pool::repair::{self, Repair};
use crate::pool::shared::Shared;
use crate::protocol::transaction::{IdMap, IdSet, Transaction, TransactionId};
use crate::protocol::util::chunked_vec::ChunkedVec;
use crate::system::FileStamp;

/// Bytes of recently stored transactions that are kept.
const RECENT_BYTES: usize = 4 * 1024 * 1024;
/// Bytes of found transactions per report, about.
const FOUND_BYTES: usize = 1024 * 1024;
/// How long a damaged file must stay unchanged before it is repaired: another program may be
/// writing it.
const SETTLE: Duration = Duration::from_millis(200);
/// How often a damaged file may change before this attempt fails.
const SETTLES: usize = 25;

/// Rows in the file that belong to the batch being stored.
pub(crate) type Ahead = IdMap<Location>;

/// The result of a reload.
#[derive(Debug)]
pub(crate) struct Reloaded {
    pub(crate) file: PoolFile,
    pub(crate) repairs: Vec<Repair>,
    /// Removed from the file, and not restorable.
    pub(crate) lost: Vec<TransactionId>,
    /// The number of rows that were written into the file again.
    pub(crate) restored: u64,
    /// New in the file, without positions yet, or lost before and in it again.
    pub(crate) found: Vec<(TransactionId, Location)>,
    pub(crate) ahead: Ahead,
}

/// Recently stored transactions, in the order of their positions.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    transactions: VecDeque<(usize, Transaction)>,
    bytes: usize,
}

impl Recent {
    /// Adds one, and drops the oldest beyond the limit.
    pub(crate) fn keep(&mut self, position: usize, transaction: Transaction) {
        self.bytes += transaction.frame().len();
        let kept = (position, transaction);
        if self.transactions.back().is_none_or(|(last, _)| *last < position) {
            self.transactions.push_back(kept);
        } else {
            // A lost row that is stored again has its old position.
            match self.find(position) {
                Ok(at) => {
                    self.bytes -= self.transactions[at].1.frame().len();
                    self.transactions[at] = kept;
                }
                Err(at) => self.transactions.insert(at, kept),
            }
        }
        while self.bytes > RECENT_BYTES {
            let Some((_, oldest)) = self.transactions.pop_front() else {
                return;
            };
            self.bytes -= oldest.frame().len();
        }
    }

    fn get(&self, position: usize) -> Option<&Transaction> {
        let at = self.find(position).ok()?;
        Some(&self.transactions[at].1)
    }

    fn find(&self, position: usize) -> Result<usize, usize> {
        self.transactions.binary_search_by_key(&position, |(position, _)| *position)
    }
}

/// Opens and reads the file again. `None` if it changed while missing rows were restored.
pub(crate) fn reload(
    shared: &Shared,
    disk: &dyn Disk,
    recent: &Recent,
    storing: &IdSet,
) -> Result<Option<Reloaded>, PoolError> {
    let mut repairs = Vec::new();
    let (mut file, mut reread) = settled(shared, disk, storing, &mut repairs)?;
    let Some((lost, restored)) = restore_rows(&mut file, &mut reread.locations, shared, disk, recent)? else {
        return Ok(None);
    };
    let mut state = shared.state();
    state.index.set_locations(reread.locations);
    state.file = Arc::clone(file.file());
    drop(state);
    Ok(Some(Reloaded { file, repairs, lost, restored, found: reread.found, ahead: reread.ahead }))
}

/// Gives found rows their positions, of lost ones the old ones, and reports them in parts. Returns
/// `false` if some are missing: the file changed again.
pub(crate) fn announce(
    shared: &Shared,
    found: Vec<(TransactionId, Location)>,
    mut report: impl FnMut(Vec<Transaction>),
) -> Result<bool, PoolError> {
    let mut reader = RowReader::new(Arc::clone(&shared.state().file));
    let (mut part, mut bytes, mut all) = (Vec::new(), 0, true);
    let mut seen = IdSet::default();
    for (id, location) in found {
        match reader.read(&id, location) {
            Ok(Some(transaction)) => {
                // Of duplicate rows the first counts.
                if seen.insert(id) {
                    shared.state().index.set_location(id, location);
                    bytes += transaction.body_bytes();
                    part.push(transaction);
                }
            }
            Ok(None) => all = false,
            Err(error) => {
                // Rows with a position must be reported.
                report(part);
                return Err(PoolError::io("read", shared.path())(error));
            }
        }
        if bytes >= FOUND_BYTES {
            report(std::mem::take(&mut part));
            bytes = 0;
        }
    }
    if !part.is_empty() {
        report(part);
    }
    Ok(all)
}

/// Describes rows that another program removed from the file of a running node, and that it cannot
/// restore itself.
pub(crate) fn describe_lost(path: &Path, lost: u64) -> String {
    let lost = plural(lost, "transaction", "transactions");
    format!(
        "another program wrote over {}: {lost} that it held cannot be read any more; {}",
        named(path),
        how_to_restore(path)
    )
}

/// Describes rows that cannot be read, although no program changed the file.
pub(crate) fn describe_unreadable(path: &Path, lost: u64) -> String {
    let lost = plural(lost, "transaction", "transactions");
    format!(
        "{}: {lost} that it held cannot be read any more, although no program changed the file: check the disk; {}",
        named(path),
        how_to_restore(path)
    )
}

fn how_to_restore(path: &Path) -> String {
    let copy = match path.file_name().is_some_and(|name| name == POOL_FILE) {
        true => "add the rest from a copy with 'meshpool import FILE'",
        false => "add the rest from a copy of the file",
    };
    format!("peers send again what they have, {copy}")
}

struct Reread<'a> {
    shared: &'a Shared,
    storing: &'a IdSet,
    locations: ChunkedVec<Location>,
    found: Vec<(TransactionId, Location)>,
    ahead: Ahead,
}

impl RowSink for Reread<'_> {
    fn levels(&self) -> usize {
        self.shared.levels()
    }

    fn row(&mut self, transaction: Transaction, location: Location) {
        let id = transaction.id();
        let known = {
            let mut state = self.shared.state();
            let position = state.index.position(&id);
            position.map(|position| (position, state.index.location(position).is_lost()))
        };
        match known {
            // It is there again. If it is also being stored, that is reported.
            Some((_, true)) if !self.storing.contains(&id) => self.found.push((id, location)),
            Some((position, _)) if self.locations.at(position).is_lost() => self.locations.set(position, location),
            // A duplicate row: the first counts.
            Some(_) => {}
            None if self.storing.contains(&id) => {
                self.ahead.entry(id).or_insert(location);
            }
            None => self.found.push((id, location)),
        }
    }
}

/// Waits for a sound file at the path. A damaged or missing one may be half written: it is left
/// alone until it stops changing.
fn settled<'a>(
    shared: &'a Shared,
    disk: &dyn Disk,
    storing: &'a IdSet,
    repairs: &mut Vec<Repair>,
) -> Result<(PoolFile, Reread<'a>), PoolError> {
    let path = shared.path();
    let mut before: Option<Option<FileStamp>> = None;
    for _ in 0..SETTLES {
        let locations = shared.state().index.no_locations();
        let reread = Reread { shared, storing, locations, found: Vec::new(), ahead: Ahead::default() };
        let (now, damaged) = match load::open(path, reread)? {
            FileState::Sound(file, reread) => return Ok((file, reread)),
            FileState::Damaged(damaged) => (Some(damaged.stamp()), Some(damaged)),
            FileState::Missing => (None, None),
        };
        if before != Some(now) {
            before = Some(now);
            disk.wait(SETTLE);
            continue;
        }
        let Some(damaged) = damaged else {
            repair::make_empty(path, disk)?;
            continue;
        };
        let (repair, mended) = load::repair(path, damaged, disk)?;
        repairs.push(repair);
        if let Some(mended) = mended {
            return Ok(mended);
        }
    }
    Err(PoolError::Unsettled { path: path.to_owned() })
}

/// Appends the rows that the new file lacks, and sets their locations. Returns the lost ones, and
/// how many were appended; `None` if another program interfered.
fn restore_rows(
    file: &mut PoolFile,
    locations: &mut ChunkedVec<Location>,
    shared: &Shared,
    disk: &dyn Disk,
    recent: &Recent,
) -> Result<Option<(Vec<TransactionId>, u64)>, PoolError> {
    let path = shared.path();
    let mut old = RowReader::new(Arc::clone(&shared.state().file));
    let (mut lost, mut restored, mut rows, mut waiting) = (Vec::new(), 0, file.rows(), Vec::new());
    let first = shared.state().index.first();
    for position in first..locations.len() {
        let (id, location) = {
            let state = shared.state();
            (state.index.id(position), state.index.location(position))
        };
        if location.is_lost() || !locations.at(position).is_lost() {
            continue;
        }
        let kept = match recent.get(position) {
            Some(transaction) => Some(transaction.clone()),
            // The old file is gone: a row of it that cannot be read now never can.
            None => old.read(&id, location).unwrap_or(None),
        };
        let Some(transaction) = kept else {
            lost.push(id);
            continue;
        };
        restored += 1;
        waiting.push((position, rows.push(transaction.body())));
        if rows.bytes() >= BATCH_BYTES {
            let full = std::mem::replace(&mut rows, file.rows());
            if !append(file, full, locations, &mut waiting, path, disk)? {
                return Ok(None);
            }
            rows = file.rows();
        }
    }
    let undisturbed = waiting.is_empty() || append(file, rows, locations, &mut waiting, path, disk)?;
    Ok(undisturbed.then_some((lost, restored)))
}

fn append(
    file: &mut PoolFile,
    rows: Rows,
    locations: &mut ChunkedVec<Location>,
    waiting: &mut Vec<(usize, Location)>,
    path: &Path,
    disk: &dyn Disk,
) -> Result<bool, PoolError> {
    if let Err(error) = file.append(disk, rows) {
        // If this fails too, the next reload repairs the torn tail, which has no only copy.
        file.restore(disk).ok();
        return Err(PoolError::io("write", path)(error));
    }
    for (position, location) in waiting.drain(..) {
        locations.set(position, location);
    }
    file.record(path).map_err(PoolError::io("read", path))
}
