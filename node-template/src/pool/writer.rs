//! The thread that writes: it stores batches, and reports the results.
//!
//! Invariants: an identity is reported as stored only after the wait for the disk. Positions follow
//! the order of the reports. A failed batch is retried unchanged until it is stored or the pool is
//! closed. After a failure the file is read again before the next write.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use crate::events::text::plural;
use crate::pool::disk::Disk;
use crate::pool::error::PoolError;
use crate::pool::file::{BATCH_BYTES, PoolFile};
use crate::pool::index::Location;
use crate::pool::numbering::Numbering;
use crate::pool::read::RowReader;
use crate::pool::reload::{Recent, Reloaded};
use crate::pool::report::Report;
use crate::pool::shared::Shared;
use crate::pool::{reload, repair};
use crate::protocol::causes::StoreError;
use crate::protocol::transaction::{IdSet, Transaction, TransactionId};
use crate::util::counts::add;

/// From so many bytes of forgotten rows on the file is rewritten without them.
const COMPACT_BYTES: u64 = 256 * 1024;
/// How often in a row another program may interfere with a batch before that is a failure.
const INTERFERENCES: usize = 5;

/// Commands of the handles.
#[derive(Debug)]
pub(crate) enum Command {
    /// Appends these. `known_new`: see [`Pool::store_new`](crate::pool::Pool::store_new).
    Store { batch: Vec<Transaction>, known_new: Option<u64> },
    /// Checks the file for changes by other programs, then answers.
    Check(oneshot::Sender<()>),
    /// Forgets these for good.
    Forget(Vec<TransactionId>),
    /// Stores what waits, then ends the writer.
    Close,
    /// Panics.
    #[cfg(test)]
    Panic,
    /// Hangs, as a disk may, until the sender is dropped.
    #[cfg(test)]
    Hang(Receiver<()>),
}

/// The pauses of the writer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pauses {
    /// After the first failure of a series …
    pub(crate) first: Duration,
    /// … doubling up to this.
    pub(crate) longest: Duration,
    /// When idle, between two checks of the file: one `stat` each.
    pub(crate) idle: Duration,
}

impl Default for Pauses {
    fn default() -> Self {
        Self { first: Duration::from_millis(500), longest: Duration::from_secs(10), idle: Duration::from_secs(1) }
    }
}

#[derive(Debug)]
pub(crate) struct Writer {
    disk: Box<dyn Disk>,
    pauses: Pauses,
    shared: Arc<Shared>,
    file: PoolFile,
    commands: Receiver<Command>,
    reports: mpsc::Sender<Report>,
    /// Transactions that are not stored yet, in order.
    backlog: VecDeque<Transaction>,
    backlog_bytes: usize,
    /// If the backlog was new as of this many reports of found rows; `None`: unknown.
    known_new: Option<u64>,
    /// The number of such reports.
    found: u64,
    checks: Vec<oneshot::Sender<()>>,
    /// The backlog is stored, and no further command is read.
    closing: bool,
    /// The end was reported.
    gave_up: bool,
    /// The file must be read again before a write.
    stale: bool,
    /// A failed write is still in the file.
    torn: bool,
    /// Content may be missing on the disk although the system considers it written: a wait failed,
    /// and the write could not be undone.
    unsynced: bool,
    /// The next pause, during a series of failures.
    failing: Option<Duration>,
    recent: Recent,
    /// Rows that are forgotten and still in the file, and how many bytes they have.
    dead: IdSet,
    dead_bytes: u64,
    /// How the rows of the file are numbered, to write it down.
    numbering: Numbering,
    /// After a rewriting that failed: when the next is tried, and the pause before it.
    compact_again: Option<(Instant, Duration)>,
}

impl Writer {
    pub(crate) fn new(
        disk: Box<dyn Disk>,
        pauses: Pauses,
        shared: Arc<Shared>,
        file: PoolFile,
        commands: Receiver<Command>,
        reports: mpsc::Sender<Report>,
    ) -> Self {
        let numbering = shared.numbering().clone();
        Self {
            numbering,
            dead: IdSet::default(),
            dead_bytes: 0,
            compact_again: None,
            disk,
            pauses,
            shared,
            file,
            commands,
            reports,
            backlog: VecDeque::new(),
            backlog_bytes: 0,
            known_new: None,
            found: 0,
            checks: Vec::new(),
            closing: false,
            gave_up: false,
            stale: false,
            torn: false,
            unsynced: false,
            failing: None,
            recent: Recent::default(),
        }
    }

    /// Runs until the pool is closed or the last handle is dropped.
    pub(crate) fn run(mut self) {
        loop {
            if self.backlog.is_empty() && self.checks.is_empty() {
                if self.closing {
                    self.check_at_end();
                    // Before the reports end, which is when others ask.
                    return self.shared.note_closed();
                }
                match self.commands.recv_timeout(self.pauses.idle) {
                    Ok(command) => self.handle(command),
                    // Finds changes by other programs when nothing is stored.
                    Err(RecvTimeoutError::Timeout) => {
                        self.check();
                        self.shared.state().index.update_table();
                        self.compact_if_due();
                        self.file.free_buffer();
                    }
                    Err(RecvTimeoutError::Disconnected) => self.closing = true,
                }
            }
            self.handle_waiting();
            if !self.checks.is_empty() || !self.shared.suspects().is_empty() {
                self.check();
            }
            self.store_batch();
            self.compact_if_due();
        }
    }

    fn handle(&mut self, command: Command) {
        match command {
            Command::Store { batch, known_new } => {
                self.known_new = if self.backlog.is_empty() { known_new } else { self.known_new.min(known_new) };
                self.backlog_bytes += batch.iter().map(|transaction| transaction.body_bytes()).sum::<usize>();
                self.backlog.extend(batch);
            }
            Command::Forget(ids) => self.forget(&ids),
            Command::Check(reply) => self.checks.push(reply),
            Command::Close => self.closing = true,
            #[cfg(test)]
            Command::Panic => panic!("as a test wants it"),
            #[cfg(test)]
            Command::Hang(released) => released.recv().unwrap_or_default(),
        }
    }

    /// Reads the commands that wait, until the next batch is full.
    fn handle_waiting(&mut self) {
        while !self.closing && self.backlog_bytes < BATCH_BYTES {
            match self.commands.try_recv() {
                Ok(command) => self.handle(command),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => self.closing = true,
            }
        }
    }

    fn forget(&mut self, ids: &[TransactionId]) {
        let mut state = self.shared.state();
        for id in ids {
            if let Some(location) = state.index.forget(id) {
                self.dead_bytes += location.length() as u64;
                self.dead.insert(*id);
            }
        }
    }

    /// Rewrites the file without forgotten rows, if those are more than the rest.
    fn compact_if_due(&mut self) {
        let length = self.file.length();
        if self.closing || self.dead_bytes < COMPACT_BYTES.max(length.saturating_sub(self.dead_bytes)) {
            return;
        }
        if self.compact_again.is_some_and(|(after, _)| Instant::now() < after) {
            return;
        }
        match self.compact() {
            Ok(()) => {
                self.compact_again = None;
                self.on_success();
            }
            // The file takes batches all the same, so it is no failure of the disk.
            Err(error) => {
                let pause = self.compact_again.map(|(_, pause)| pause);
                if pause.is_none() {
                    let text = format!("{error}; the file keeps rows that were removed, until that works");
                    self.report(Report::Warning { text });
                }
                let pause = pause.map_or(self.pauses.first, |pause| (pause * 2).min(self.pauses.longest));
                self.compact_again = Some((Instant::now() + pause, pause));
            }
        }
    }

    fn compact(&mut self) -> Result<(), PoolError> {
        // What another program wrote meanwhile is taken in first.
        if self.compare(&[])?.is_none() {
            return Ok(());
        }
        let (rows, file, end) = {
            let state = self.shared.state();
            let index = &state.index;
            let live = (index.first()..index.len()).filter(|position| !index.location(*position).is_lost());
            let rows: Vec<_> = live.map(|position| (position, index.id(position), index.location(position))).collect();
            (rows, Arc::clone(&state.file), index.len() as u64)
        };
        let positions: Vec<u64> = rows.iter().map(|(position, ..)| *position as u64).collect();
        let path = self.shared.path().to_owned();
        self.numbering.save(&path, self.disk.as_ref(), &positions, (rows.last().map(|(_, id, _)| *id), end))?;
        let mut reader = RowReader::new(file);
        let read = rows.iter().map(|(_, id, location)| {
            let row = match reader.read(id, *location) {
                Ok(Some(row)) => Ok(row),
                Ok(None) => Err(PoolError::Unsettled { path: path.clone() }),
                Err(error) => Err(PoolError::io("read", &path)(error)),
            };
            row.inspect_err(|_| self.shared.suspect([*id]))
        });
        repair::replace_rows(&path, self.disk.as_ref(), read)?;
        self.numbering.on_rewritten();
        self.dead.clear();
        self.dead_bytes = 0;
        // As if another program had replaced it: the new locations are read from it.
        self.stale = true;
        self.compare_until_stable().unwrap_or(Ok(()))
    }

    fn check(&mut self) {
        let suspects = std::mem::take(&mut *self.shared.suspects());
        match self.compare_until_stable() {
            Some(Ok(())) => {
                self.lose_unreadable(suspects);
                self.on_success();
            }
            Some(Err(error)) => _ = self.on_failure(&error),
            None => {}
        }
        self.answer_checks();
    }

    /// Gives up those of the rows that cannot be read, if no other program changed the file.
    /// Readers would never get past them, and peers may have them.
    fn lose_unreadable(&mut self, suspects: IdSet) {
        let shared = Arc::clone(&self.shared);
        let mut lost: Vec<(usize, TransactionId, Location)> = Vec::new();
        for id in suspects {
            let mut state = shared.state();
            let Some(position) = state.index.position(&id) else { continue };
            let location = state.index.location(position);
            if !location.is_lost() {
                lost.push((position, id, location));
            }
        }
        lost.sort_unstable_by_key(|(position, ..)| *position);
        let mut reader = RowReader::new(Arc::clone(self.file.file()));
        lost.retain(|(_, id, location)| !matches!(reader.read(id, *location), Ok(Some(_))));
        if lost.is_empty() || !self.file.is_unchanged(shared.path()).is_ok_and(|unchanged| unchanged) {
            return;
        }
        let ids: Vec<TransactionId> = lost.into_iter().map(|(_, id, _)| id).collect();
        ids.iter().for_each(|id| shared.state().index.lose(id));
        add(&shared.counts.lost, ids.len() as u64);
        let text = reload::describe_unreadable(shared.path(), ids.len() as u64);
        self.report(Report::Lost { ids });
        self.report(Report::Warning { text });
    }

    /// Checks the file a last time: another program may have replaced it since the last batch, and
    /// what was stored is acknowledged.
    fn check_at_end(&mut self) {
        if !self.gave_up
            && let Some(Err(error)) = self.compare_until_stable()
        {
            self.give_up(&error, 0);
        }
    }

    /// Compares the file until no other program interferes; `None` if one always does.
    fn compare_until_stable(&mut self) -> Option<Result<(), PoolError>> {
        (0..INTERFERENCES).find_map(|_| self.compare(&[]).map(|ahead| ahead.map(|_| ())).transpose())
    }

    fn answer_checks(&mut self) {
        for reply in self.checks.drain(..) {
            // The caller may have stopped waiting.
            reply.send(()).ok();
        }
    }

    fn store_batch(&mut self) {
        let (known_new, mut batch) = (self.known_new, self.next_batch());
        if batch.is_empty() {
            return;
        }
        let ids = batch.iter().map(Transaction::id).collect();
        loop {
            match self.attempt(&mut batch, known_new) {
                Ok(synced_in) => {
                    self.on_success();
                    let file_bytes = self.file.length();
                    return self.report(Report::Stored { ids, synced_in, file_bytes });
                }
                Err(error) if self.closing => return self.give_up(&error, batch.len()),
                Err(error) => {
                    let pause = self.on_failure(&error);
                    self.pause(pause);
                }
            }
        }
    }

    fn next_batch(&mut self) -> Vec<Transaction> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while let Some(transaction) = self.backlog.pop_front() {
            bytes += transaction.body_bytes();
            batch.push(transaction);
            if bytes >= BATCH_BYTES {
                break;
            }
        }
        self.backlog_bytes -= bytes;
        batch
    }

    /// Tries once to write a batch to the disk, and empties it. Returns how long the write took.
    fn attempt(&mut self, batch: &mut Vec<Transaction>, known_new: Option<u64>) -> Result<Duration, PoolError> {
        for _ in 0..INTERFERENCES {
            let Some(ahead) = self.compare(batch)? else { continue };
            let begun = Instant::now();
            // Otherwise identities may have positions: of found rows, or of lost ones.
            let all_new = known_new == Some(self.found) && ahead.is_empty() && !self.shared.state().index.any_lost();
            let mut rows = self.file.rows();
            let (mut located, mut rewritten) = (Vec::with_capacity(batch.len()), Vec::new());
            let mut seen = IdSet::default();
            for (number, transaction) in batch.iter().enumerate() {
                let id = transaction.id();
                if !all_new && (!seen.insert(id) || self.shared.state().index.is_live(&id)) {
                    continue;
                }
                let there = ahead.get(&id).copied();
                rewritten.extend(there.map(Location::range));
                located.push((number, there.unwrap_or_else(|| rows.push(transaction.body()))));
            }
            if located.is_empty() {
                return Ok(begun.elapsed());
            }
            let disk = self.disk.as_ref();
            let mut rewrites = rewritten.into_iter().map(|range| self.file.rewrite_range(disk, range));
            if let Err(error) = rewrites.try_for_each(|row| row).and_then(|()| self.file.append(disk, rows)) {
                self.on_failed_append();
                return Err(PoolError::io("write", self.shared.path())(error));
            }
            if !self.record()? {
                continue;
            }
            let mut state = self.shared.state();
            let mut located = located.into_iter().peekable();
            for (number, transaction) in batch.drain(..).enumerate() {
                let Some((_, location)) = located.next_if(|(located, _)| *located == number) else { continue };
                let id = transaction.id();
                let position =
                    if all_new { state.index.append(id, location) } else { state.index.set_location(id, location) };
                self.recent.keep(position, transaction);
            }
            drop(state);
            self.shared.note_growth();
            return Ok(begun.elapsed());
        }
        Err(PoolError::Unsettled { path: self.shared.path().to_owned() })
    }

    /// Compares the file with the last known version, and adopts changes by other programs. Returns
    /// those of `storing` that the file has already; `None` if the file changed again.
    fn compare(&mut self, storing: &[Transaction]) -> Result<Option<reload::Ahead>, PoolError> {
        let path = self.shared.path().to_owned();
        if self.torn && self.file.is_unchanged(&path).map_err(PoolError::io("read", &path))? {
            self.file.restore(self.disk.as_ref()).map_err(PoolError::io("repair", &path))?;
        }
        self.torn = false;
        if !self.stale && self.file.is_unchanged(&path).map_err(PoolError::io("read", &path))? {
            return Ok(Some(reload::Ahead::default()));
        }
        self.stale = true;
        let storing = storing.iter().map(Transaction::id).collect();
        let reloaded = reload::reload(&self.shared, self.disk.as_ref(), &self.recent, &storing);
        self.unsynced |= reloaded.is_err();
        let Some(Reloaded { file, repairs, lost, restored, found, ahead }) = reloaded? else {
            return Ok(None);
        };
        self.file = file;
        // Those of forgotten rows are in the file still.
        let found: Vec<_> = found.into_iter().filter(|(id, _)| !self.dead.contains(id)).collect();
        add(&self.shared.counts.repairs, repairs.len() as u64);
        add(&self.shared.counts.lost, lost.len() as u64);
        for repair in repairs {
            self.report(Report::Warning { text: repair.of_running_node(restored) });
        }
        if !lost.is_empty() {
            let text = reload::describe_lost(&path, lost.len() as u64);
            self.report(Report::Lost { ids: lost });
            self.report(Report::Warning { text });
        }
        if !self.sync_reloaded()? {
            return Ok(None);
        }
        let mut reports = 0;
        let all_found = reload::announce(&self.shared, found, |transactions| {
            reports += 1;
            self.report(Report::Found { transactions });
        });
        if reports > 0 {
            self.shared.note_growth();
        }
        self.found += reports;
        let all_found = all_found?;
        self.stale = !all_found;
        Ok(all_found.then_some(ahead))
    }

    /// Waits for the disk after a reload: the content counts as stored from here on, but the
    /// program that wrote it may not have waited. Returns `false` if the file changed.
    fn sync_reloaded(&mut self) -> Result<bool, PoolError> {
        let (disk, path) = (self.disk.as_ref(), self.shared.path());
        let waited = match self.unsynced {
            true => self.file.rewrite_all(disk, path),
            false => disk.sync(self.file.file()).map(|()| true),
        };
        self.unsynced = !matches!(waited, Ok(true));
        let undisturbed = waited.map_err(PoolError::io("write", path))?;
        let folder = repair::folder_of(path);
        disk.sync_folder(folder).map_err(PoolError::io("write", folder))?;
        Ok(undisturbed)
    }

    fn on_failed_append(&mut self) {
        self.stale = true;
        self.torn = self.file.restore(self.disk.as_ref()).is_err();
        self.unsynced |= self.torn;
        if self.torn {
            // If this fails too, the file counts as changed by another program, and is read again.
            self.file.note().ok();
        }
    }

    fn record(&mut self) -> Result<bool, PoolError> {
        let undisturbed = self.file.record(self.shared.path()).map_err(PoolError::io("read", self.shared.path()));
        self.stale = !matches!(undisturbed, Ok(true));
        undisturbed
    }

    fn on_success(&mut self) {
        if self.failing.take().is_some() {
            self.report(Report::Recovered);
        }
    }

    /// Reports the first failure of a series. Returns the pause before the next attempt.
    fn on_failure(&mut self, error: &PoolError) -> Duration {
        let pause = match self.failing {
            None => {
                let error = StoreError::new(error.kind(), format!("{error}; the node keeps trying"));
                self.report(Report::Failed { error });
                self.pauses.first
            }
            Some(pause) => pause,
        };
        self.failing = Some((pause * 2).min(self.pauses.longest));
        pause
    }

    fn give_up(&mut self, error: &PoolError, in_batch: usize) {
        let lost = in_batch + self.backlog.len();
        self.backlog.clear();
        self.backlog_bytes = 0;
        self.gave_up = true;
        let lost = lost as u64;
        let text = format!("{error}; not stored at the node's end: {}", plural(lost, "transaction", "transactions"));
        self.report(Report::GaveUp { lost, error: StoreError::new(error.kind(), text) });
    }

    /// Waits, and reads commands. Ends early when the pool is closed.
    fn pause(&mut self, pause: Duration) {
        let until = Instant::now() + pause;
        while !self.closing {
            match self.commands.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(command) => self.handle(command),
                Err(RecvTimeoutError::Timeout) => return,
                Err(RecvTimeoutError::Disconnected) => self.closing = true,
            }
            if !self.checks.is_empty() {
                // A check does not wait for the disk's recovery. Its failure belongs to the
                // reported series.
                let suspects = std::mem::take(&mut *self.shared.suspects());
                if let Some(Ok(())) = self.compare_until_stable() {
                    self.lose_unreadable(suspects);
                }
                self.answer_checks();
            }
        }
    }

    fn report(&self, report: Report) {
        // Fails if the driver has dropped the receiver, as it may at shutdown.
        self.reports.blocking_send(report).ok();
    }
}
