//! The one thread that writes: takes what waits, writes it in batches, and tells what became of it.
//!
//! Invariants: an identity is reported stored only after its row and the disk's word for it; positions are given in the order of the reports; a
//! batch that failed is tried again as it was until it is stored or the pool is closed. After a failure nothing is written before the file has
//! been opened and read again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use crate::events::text::plural;
use crate::pool::disk::Disk;
use crate::pool::error::PoolError;
use crate::pool::file::{BATCH_BYTES, PoolFile};
use crate::pool::index::Place;
use crate::pool::reload::{Recent, Reloaded};
use crate::pool::shared::Shared;
use crate::pool::{Report, reload, repair};
use crate::protocol::transaction::{IdSet, Transaction};

/// How often in a row another program may disturb one batch before that is a failure.
const DISTURBANCES: usize = 5;

/// What the handles ask of the writer.
#[derive(Debug)]
pub(crate) enum Command {
    /// Append these. If they are new by all that was found, after so many reports of it.
    Store { batch: Vec<Transaction>, heard: Option<u64> },
    /// Compare the file with what was left, then answer.
    Look(oneshot::Sender<()>),
    /// Store what waits, then end.
    Close,
    /// Panic.
    #[cfg(test)]
    Panic,
    /// Hang, as a disk may, until the sender is gone.
    #[cfg(test)]
    Hang(Receiver<()>),
}

/// How long the writer waits after a failure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pauses {
    /// After the first of a series …
    pub(crate) first: Duration,
    /// … doubling up to this.
    pub(crate) longest: Duration,
    /// With nothing to do, between two looks at what others did to the file: one `stat` each.
    pub(crate) idle: Duration,
}

impl Default for Pauses {
    fn default() -> Self {
        Self { first: Duration::from_millis(500), longest: Duration::from_secs(10), idle: Duration::from_secs(1) }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Writer {
    disk: Box<dyn Disk>,
    pauses: Pauses,
    shared: Arc<Shared>,
    file: PoolFile,
    commands: Receiver<Command>,
    reports: mpsc::Sender<Report>,
    /// Not stored yet, in order.
    backlog: VecDeque<Transaction>,
    backlog_bytes: usize,
    /// After how many reports of what was found all in the backlog was new; `None`: some of it may not be.
    heard: Option<u64>,
    /// How many such reports there were.
    found: u64,
    looks: Vec<oneshot::Sender<()>>,
    /// Nothing more is taken: store the backlog and end.
    closing: bool,
    /// The file must be opened and read again before anything is written.
    stale: bool,
    /// A failed write is still in the file.
    torn: bool,
    /// What stands in the file may not be on the disk, although the system takes it for written: a wait failed, and what it was for could not be cut off.
    doubtful: bool,
    /// The pause after the next failure, during a series of them.
    failing: Option<Duration>,
    recent: Recent,
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
        Self {
            disk,
            pauses,
            shared,
            file,
            commands,
            reports,
            backlog: VecDeque::new(),
            backlog_bytes: 0,
            heard: None,
            found: 0,
            looks: Vec::new(),
            closing: false,
            stale: false,
            torn: false,
            doubtful: false,
            failing: None,
            recent: Recent::default(),
        }
    }

    /// Works until the pool is closed or no handle is left.
    pub(crate) fn run(mut self) {
        loop {
            if self.backlog.is_empty() && self.looks.is_empty() {
                if self.closing {
                    return;
                }
                match self.commands.recv_timeout(self.pauses.idle) {
                    Ok(command) => self.take(command),
                    // What an editor or another program did is found also when nothing is to be stored.
                    Err(RecvTimeoutError::Timeout) => {
                        self.look();
                        self.shared.state().index.settle();
                        self.file.rest();
                    }
                    Err(RecvTimeoutError::Disconnected) => self.closing = true,
                }
            }
            self.take_waiting();
            if !self.looks.is_empty() {
                self.look();
            }
            self.store_batch();
        }
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Store { batch, heard } => {
                self.heard = if self.backlog.is_empty() { heard } else { self.heard.min(heard) };
                self.backlog_bytes += batch.iter().map(|transaction| transaction.body_bytes()).sum::<usize>();
                self.backlog.extend(batch);
            }
            Command::Look(reply) => self.looks.push(reply),
            Command::Close => self.closing = true,
            #[cfg(test)]
            Command::Panic => panic!("as a test wants it"),
            #[cfg(test)]
            Command::Hang(released) => released.recv().unwrap_or_default(),
        }
    }

    /// Takes what came in meanwhile, as far as it fits into the next batch.
    fn take_waiting(&mut self) {
        while !self.closing && self.backlog_bytes < BATCH_BYTES {
            match self.commands.try_recv() {
                Ok(command) => self.take(command),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => self.closing = true,
            }
        }
    }

    fn look(&mut self) {
        match self.settle() {
            Some(Ok(())) => self.on_success(),
            Some(Err(error)) => _ = self.on_failure(&error),
            None => {}
        }
        self.answer_looks();
    }

    /// Compares until nobody disturbs that; `None` if somebody always does.
    fn settle(&mut self) -> Option<Result<(), PoolError>> {
        (0..DISTURBANCES).find_map(|_| self.compare(&[]).map(|ahead| ahead.map(|_| ())).transpose())
    }

    fn answer_looks(&mut self) {
        for reply in self.looks.drain(..) {
            // Whoever asked may have stopped waiting.
            reply.send(()).ok();
        }
    }

    fn store_batch(&mut self) {
        let (heard, mut batch) = (self.heard, self.next_batch());
        if batch.is_empty() {
            return;
        }
        let ids = batch.iter().map(Transaction::id).collect();
        loop {
            match self.attempt(&mut batch, heard) {
                Ok(synced_in) => {
                    self.on_success();
                    return self.report(Report::Stored { ids, synced_in });
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

    /// Tries once to have a batch in the file and on the disk; then takes it, and tells how long the writing took.
    fn attempt(&mut self, batch: &mut Vec<Transaction>, heard: Option<u64>) -> Result<Duration, PoolError> {
        for _ in 0..DISTURBANCES {
            let Some(ahead) = self.compare(batch)? else { continue };
            let begun = Instant::now();
            // Found rows have positions by now, and one that was lost has kept its own.
            let all_new = heard == Some(self.found) && ahead.is_empty() && !self.shared.state().index.any_lost();
            let mut rows = self.file.rows();
            let (mut placed, mut again) = (Vec::with_capacity(batch.len()), Vec::new());
            let mut seen = IdSet::default();
            for (number, transaction) in batch.iter().enumerate() {
                let id = transaction.id();
                if !all_new && (!seen.insert(id) || self.shared.state().index.is_live(&id)) {
                    continue;
                }
                let there = ahead.get(&id).copied();
                again.extend(there.map(Place::range));
                placed.push((number, there.unwrap_or_else(|| rows.push(transaction.body()))));
            }
            if placed.is_empty() {
                return Ok(begun.elapsed());
            }
            let disk = self.disk.as_ref();
            let mut rewritten = again.into_iter().map(|range| self.file.write_again(disk, range));
            if let Err(error) = rewritten.try_for_each(|row| row).and_then(|()| self.file.append(disk, rows)) {
                self.on_failed_append();
                return Err(PoolError::io("write", self.shared.path())(error));
            }
            if !self.leave()? {
                continue;
            }
            let mut state = self.shared.state();
            let mut placed = placed.into_iter().peekable();
            for (number, transaction) in batch.drain(..).enumerate() {
                let Some((_, place)) = placed.next_if(|(placed, _)| *placed == number) else { continue };
                let id = transaction.id();
                let position = if all_new { state.index.append(id, place) } else { state.index.place_at(id, place) };
                self.recent.keep(position, transaction);
            }
            return Ok(begun.elapsed());
        }
        Err(PoolError::Unsettled { path: self.shared.path().to_owned() })
    }

    /// Compares the file with what was left, and takes over what somebody else did to it. Tells which of `storing` are in it by now although their
    /// batch is not stored yet; `None` if the file changed again meanwhile.
    fn compare(&mut self, storing: &[Transaction]) -> Result<Option<reload::Ahead>, PoolError> {
        let path = self.shared.path().to_owned();
        if self.torn && self.file.is_as_left(&path).map_err(PoolError::io("read", &path))? {
            self.file.restore(self.disk.as_ref()).map_err(PoolError::io("repair", &path))?;
        }
        self.torn = false;
        if !self.stale && self.file.is_as_left(&path).map_err(PoolError::io("read", &path))? {
            return Ok(Some(reload::Ahead::default()));
        }
        self.stale = true;
        let storing = storing.iter().map(Transaction::id).collect();
        let reloaded = reload::reload(&self.shared, self.disk.as_ref(), &self.recent, &storing);
        self.doubtful |= reloaded.is_err();
        let Some(Reloaded { file, repairs, lost, found, ahead }) = reloaded? else {
            return Ok(None);
        };
        self.file = file;
        for repair in repairs {
            self.report(Report::Warning { text: repair.to_string() });
        }
        if !lost.is_empty() {
            self.report(Report::Lost { ids: lost });
        }
        if !self.vouch()? {
            return Ok(None);
        }
        let mut reports = 0;
        let all_found = reload::announce(&self.shared, found, |transactions| {
            reports += 1;
            self.report(Report::Found { transactions });
        });
        self.found += reports;
        let all_found = all_found?;
        self.stale = !all_found;
        Ok(all_found.then_some(ahead))
    }

    /// Waits for the disk after a reload: what is in the file counts as stored from here on, and who wrote it, or put another file in its place, need not have waited.
    /// `false` if the file changed meanwhile.
    fn vouch(&mut self) -> Result<bool, PoolError> {
        let (disk, path) = (self.disk.as_ref(), self.shared.path());
        let waited = match self.doubtful {
            true => self.file.write_all_again(disk, path),
            false => disk.sync(self.file.file()).map(|()| true),
        };
        self.doubtful = !matches!(waited, Ok(true));
        let undisturbed = waited.map_err(PoolError::io("write", path))?;
        let folder = repair::folder_of(path);
        disk.sync_folder(folder).map_err(PoolError::io("write", folder))?;
        Ok(undisturbed)
    }

    fn on_failed_append(&mut self) {
        self.stale = true;
        self.torn = self.file.restore(self.disk.as_ref()).is_err();
        self.doubtful |= self.torn;
        if self.torn {
            // If even this fails, the file will seem to be somebody else's work, and is read as such.
            self.file.note().ok();
        }
    }

    fn leave(&mut self) -> Result<bool, PoolError> {
        let undisturbed = self.file.leave(self.shared.path()).map_err(PoolError::io("read", self.shared.path()));
        self.stale = !matches!(undisturbed, Ok(true));
        undisturbed
    }

    fn on_success(&mut self) {
        if self.failing.take().is_some() {
            self.report(Report::Recovered);
        }
    }

    /// Tells a series of failures once; returns the pause before the next try.
    fn on_failure(&mut self, error: &PoolError) -> Duration {
        let pause = match self.failing {
            None => {
                self.report(Report::Failed { error: format!("{error}; the node keeps trying") });
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
        self.report(Report::Failed {
            error: format!(
                "{error}; not stored when the node ended: {}",
                plural(lost as u64, "transaction", "transactions")
            ),
        });
    }

    /// Waits, taking commands in; ends early when the pool is closed.
    fn pause(&mut self, pause: Duration) {
        let until = Instant::now() + pause;
        while !self.closing {
            match self.commands.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(command) => self.take(command),
                Err(RecvTimeoutError::Timeout) => return,
                Err(RecvTimeoutError::Disconnected) => self.closing = true,
            }
            if !self.looks.is_empty() {
                // Who asks for a comparison does not wait for the disk's recovery. If it fails too, that is of the series that was told.
                drop(self.settle());
                self.answer_looks();
            }
        }
    }

    fn report(&self, report: Report) {
        // Nobody listens any more: what is told is done all the same.
        self.reports.blocking_send(report).ok();
    }
}
