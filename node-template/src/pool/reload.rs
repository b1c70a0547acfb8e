//! Takes over what another program did to the file: an editor, a helper of the exercise, a person.
//!
//! Rows that we knew keep their positions, rows that are gone are appended again, new ones are found. A row that is gone can be read from the old
//! file, if that was replaced or removed rather than overwritten; else it may be among the recent ones, which are kept in memory because a program
//! that reads, adds and writes back loses just those. Nothing of it shows to readers before it is done, so a failure midway changes nothing.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::pool::disk::{Disk, Stamp};
use crate::pool::error::PoolError;
use crate::pool::file::{BATCH_BYTES, PoolFile, Rows};
use crate::pool::index::Place;
use crate::pool::load::{self, Gather, Look};
use crate::pool::read::RowReader;
use crate::pool::repair::{self, Repair};
use crate::pool::shared::Shared;
use crate::protocol::transaction::{IdMap, IdSet, Transaction, TransactionId};
use crate::protocol::util::chunked_vec::ChunkedVec;

/// How many bytes of recently stored bodies are kept.
const RECENT_BYTES: usize = 4 * 1024 * 1024;
/// How many bytes of found bodies are told at once, about.
const FOUND_BYTES: usize = 1024 * 1024;
/// How long a file that looks damaged must stay as it is before it is repaired: another program may be writing it.
const SETTLE: Duration = Duration::from_millis(200);
/// How often a file that looks damaged may change before it is given up for now.
const SETTLES: usize = 25;

/// Rows in the file whose batch is not stored yet.
pub(crate) type Ahead = IdMap<Place>;

/// What a reload came to.
#[derive(Debug)]
pub(crate) struct Reloaded {
    pub(crate) file: PoolFile,
    pub(crate) repairs: Vec<Repair>,
    /// Gone from the file, and from everywhere else.
    pub(crate) lost: Vec<TransactionId>,
    /// New in the file; they have no positions yet.
    pub(crate) found: Vec<(TransactionId, Place)>,
    pub(crate) ahead: Ahead,
}

/// The transactions that were stored last, in the order of their positions.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    transactions: VecDeque<(usize, Transaction)>,
    bytes: usize,
}

impl Recent {
    /// Keeps one, and forgets the oldest.
    pub(crate) fn keep(&mut self, position: usize, transaction: Transaction) {
        self.bytes += transaction.frame().len();
        let kept = (position, transaction);
        if self.transactions.back().is_none_or(|(last, _)| *last < position) {
            self.transactions.push_back(kept);
        } else {
            // A row that was lost has its old position again.
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

/// Opens and reads the file again. `None` if it changed once more while missing rows were put back.
pub(crate) fn reload(
    shared: &Shared,
    disk: &dyn Disk,
    recent: &Recent,
    storing: &IdSet,
) -> Result<Option<Reloaded>, PoolError> {
    let mut repairs = Vec::new();
    let (mut file, mut gathered) = settled(shared, disk, storing, &mut repairs)?;
    let Some(lost) = put_back(&mut file, &mut gathered.places, shared, disk, recent)? else {
        return Ok(None);
    };
    let mut state = shared.state();
    state.index.set_places(gathered.places);
    state.file = Arc::clone(file.file());
    drop(state);
    Ok(Some(Reloaded { file, repairs, lost, found: gathered.found, ahead: gathered.ahead }))
}

/// Gives found rows their positions and tells them, a part at a time. `false` if some are not there any more: the file changed once more.
pub(crate) fn announce(
    shared: &Shared,
    found: Vec<(TransactionId, Place)>,
    mut tell: impl FnMut(Vec<Transaction>),
) -> Result<bool, PoolError> {
    let mut reader = RowReader::new(Arc::clone(&shared.state().file));
    let (mut part, mut bytes, mut all) = (Vec::new(), 0, true);
    for (id, place) in found {
        match reader.read(&id, place) {
            Ok(Some(transaction)) => {
                if shared.state().index.insert(id, place) {
                    bytes += transaction.body_bytes();
                    part.push(transaction);
                }
            }
            Ok(None) => all = false,
            Err(error) => {
                // What has a position must be told.
                tell(part);
                return Err(PoolError::io("read", shared.path())(error));
            }
        }
        if bytes >= FOUND_BYTES {
            tell(std::mem::take(&mut part));
            bytes = 0;
        }
    }
    if !part.is_empty() {
        tell(part);
    }
    Ok(all)
}

struct Gathered<'a> {
    shared: &'a Shared,
    storing: &'a IdSet,
    places: ChunkedVec<Place>,
    found: Vec<(TransactionId, Place)>,
    ahead: Ahead,
}

impl Gather for Gathered<'_> {
    fn row(&mut self, transaction: Transaction, place: Place) {
        let id = transaction.id();
        match self.shared.state().index.position(&id) {
            Some(position) if self.places.at(position).is_lost() => self.places.set(position, place),
            // The same row twice: the first counts.
            Some(_) => {}
            None if self.storing.contains(&id) => {
                self.ahead.entry(id).or_insert(place);
            }
            None => self.found.push((id, place)),
        }
    }
}

/// A sound file at the path. What looks damaged or is missing may be half written: it is left alone until it has stopped changing.
fn settled<'a>(
    shared: &'a Shared,
    disk: &dyn Disk,
    storing: &'a IdSet,
    repairs: &mut Vec<Repair>,
) -> Result<(PoolFile, Gathered<'a>), PoolError> {
    let path = shared.path();
    let mut before: Option<Option<Stamp>> = None;
    for _ in 0..SETTLES {
        let places = ChunkedVec::filled(Place::LOST, shared.state().index.len());
        let gathered = Gathered { shared, storing, places, found: Vec::new(), ahead: Ahead::default() };
        let (now, damaged) = match load::look(path, gathered)? {
            Look::Sound(file, gathered) => return Ok((file, gathered)),
            Look::Damaged(damaged) => (Some(damaged.stamp()), Some(damaged)),
            Look::Missing => (None, None),
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
        let (repair, mended) = load::mend(path, damaged, disk)?;
        repairs.push(repair);
        if let Some(mended) = mended {
            return Ok(mended);
        }
    }
    Err(PoolError::Unsettled { path: path.to_owned() })
}

/// Appends the rows that the new file lacks, and notes their places. Tells which could not be found anywhere; `None` if somebody interfered.
fn put_back(
    file: &mut PoolFile,
    places: &mut ChunkedVec<Place>,
    shared: &Shared,
    disk: &dyn Disk,
    recent: &Recent,
) -> Result<Option<Vec<TransactionId>>, PoolError> {
    let path = shared.path();
    let mut old = RowReader::new(Arc::clone(&shared.state().file));
    let (mut lost, mut rows, mut waiting) = (Vec::new(), file.rows(), Vec::new());
    for position in 0..places.len() {
        let (id, place) = {
            let state = shared.state();
            (state.index.id(position), state.index.place(position))
        };
        if place.is_lost() || !places.at(position).is_lost() {
            continue;
        }
        let kept = match recent.get(position) {
            Some(transaction) => Some(transaction.clone()),
            None => old.read(&id, place).map_err(PoolError::io("read", path))?,
        };
        let Some(transaction) = kept else {
            lost.push(id);
            continue;
        };
        waiting.push((position, rows.push(transaction.body())));
        if rows.bytes() >= BATCH_BYTES {
            let full = std::mem::replace(&mut rows, file.rows());
            if !append(file, full, places, &mut waiting, path, disk)? {
                return Ok(None);
            }
            rows = file.rows();
        }
    }
    let undisturbed = waiting.is_empty() || append(file, rows, places, &mut waiting, path, disk)?;
    Ok(undisturbed.then_some(lost))
}

fn append(
    file: &mut PoolFile,
    rows: Rows,
    places: &mut ChunkedVec<Place>,
    waiting: &mut Vec<(usize, Place)>,
    path: &Path,
    disk: &dyn Disk,
) -> Result<bool, PoolError> {
    if let Err(error) = file.append(disk, rows) {
        // If this fails too, the torn tail is repaired when the file is read again; nothing in it is the only copy.
        file.restore(disk).ok();
        return Err(PoolError::io("write", path)(error));
    }
    for (position, place) in waiting.drain(..) {
        places.set(position, place);
    }
    file.leave(path).map_err(PoolError::io("read", path))
}
