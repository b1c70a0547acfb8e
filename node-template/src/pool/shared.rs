//! The state that the writer and the readers share: the index, and the file that its locations
//! refer to. Only the writer changes it.

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::pool::counts::Counts;
use crate::pool::error::PoolError;
use crate::pool::index::Index;
use crate::pool::numbering::Numbering;
use crate::pool::read::{Plan, Unreadable};
use crate::protocol::transaction::{IdSet, Transaction, TransactionId};

#[derive(Debug)]
pub(crate) struct Shared {
    path: PathBuf,
    /// How many levels a frame has around a row.
    levels: usize,
    state: Mutex<State>,
    /// Rows that could not be read since the writer last looked at these.
    suspects: Mutex<IdSet>,
    /// How positions of earlier runs go on.
    numbering: Numbering,
    /// The number of positions, after each batch.
    grown: watch::Sender<u64>,
    pub(crate) counts: Counts,
    /// Whether the writer has ended without a panic.
    closed: AtomicBool,
}

/// Invariant: each location that is not lost is that of its identity's row in `file`.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) index: Index,
    pub(crate) file: Arc<File>,
}

impl Shared {
    pub(crate) fn new(path: PathBuf, index: Index, file: Arc<File>, numbering: Numbering, levels: usize) -> Self {
        let grown = watch::Sender::new(index.len() as u64);
        let state = Mutex::new(State { index, file });
        let (suspects, counts, closed) = (Mutex::default(), Counts::default(), AtomicBool::new(false));
        Self { path, levels, state, suspects, numbering, grown, counts, closed }
    }

    pub(crate) fn levels(&self) -> usize {
        self.levels
    }

    pub(crate) fn numbering(&self) -> &Numbering {
        &self.numbering
    }

    /// Wakes those who wait for new rows.
    pub(crate) fn note_growth(&self) {
        let end = self.state().index.len() as u64;
        self.grown.send_if_modified(|grown| std::mem::replace(grown, end) != end);
    }

    /// Returns the number of positions, and every later one.
    pub(crate) fn growth(&self) -> watch::Receiver<u64> {
        self.grown.subscribe()
    }

    /// Returns the counters with their names.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let missing = self.state().index.missing() as u64;
        let lost = self.counts.lost.load(Ordering::Relaxed);
        // A row is missing a moment before it is counted as lost; no counter falls.
        self.counts.returned.fetch_max(lost.saturating_sub(missing), Ordering::Relaxed);
        self.counts.entries()
    }

    /// Notes that the writer ends as it was told to.
    pub(crate) fn note_closed(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// Returns whether the writer has ended as it was told to.
    pub(crate) fn has_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Locks the state. Async tasks wait for it, so the caller must not hold it long.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // Each change is one call of the index, so the state is whole after a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads rows on a blocking thread. If some cannot be read, the plan is outdated, or their
    /// place on the disk is bad: the writer finds out which, and corrects the locations.
    pub(crate) async fn read(&self, plan: Plan) -> Result<Vec<Transaction>, PoolError> {
        let read = tokio::task::spawn_blocking(move || plan.read()).await;
        // The runtime drops blocking work only when it shuts down.
        read.map_err(|_| PoolError::Closed)?.map_err(|Unreadable { ids, cause }| {
            self.suspect(ids);
            match cause {
                Some(cause) => PoolError::io("read", &self.path)(cause),
                None => PoolError::Overwritten { path: self.path.clone() },
            }
        })
    }

    /// Reads what `plan` plans. If that fails, plans and reads again after `pause`, at most so many
    /// times. Returns also what comes with the plan.
    pub(crate) async fn read_again<T, P: Future>(
        &self,
        mut tries: usize,
        plan: impl Fn() -> (Plan, T),
        pause: impl Fn() -> P,
    ) -> Result<(Vec<Transaction>, T), PoolError> {
        loop {
            let (plan, rest) = plan();
            match self.read(plan).await {
                Ok(transactions) => return Ok((transactions, rest)),
                Err(error) if tries == 0 => return Err(error),
                Err(_) => tries -= 1,
            }
            pause().await;
        }
    }

    /// Has the writer look at rows that could not be read.
    pub(crate) fn suspect(&self, ids: impl IntoIterator<Item = TransactionId>) {
        self.suspects().extend(ids);
    }

    pub(crate) fn suspects(&self) -> MutexGuard<'_, IdSet> {
        self.suspects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Plans to read single positions, up to about `max_bytes`. Also returns how many positions the
    /// plan covers.
    pub(crate) fn plan_these(&self, positions: &[u64], max_bytes: usize) -> (Plan, usize) {
        let (_, plan, covered) = self.state().plan(positions.iter().copied(), usize::MAX, max_bytes);
        (plan, covered as usize)
    }

    /// Plans to read the positions from `from` to `until`, up to about `max_bytes`. `from` may be
    /// forgotten: then the plan begins at the first that is not. Also returns the position after
    /// the plan, and whether that is the end.
    pub(crate) fn plan(&self, from: u64, until: Option<u64>, max_bytes: usize) -> (Plan, (u64, bool)) {
        let state = self.state();
        let kept = state.kept(from, until);
        let (_, plan, covered) = state.plan(kept.clone(), usize::MAX, max_bytes);
        let next = kept.start + covered;
        (plan, (next, next >= kept.end))
    }

    /// As [`Self::plan`], with the positions of the rows.
    pub(crate) fn plan_after(&self, from: u64, max_rows: usize, max_bytes: usize) -> (Plan, (Vec<u64>, u64)) {
        let state = self.state();
        let kept = state.kept(from, None);
        let (positions, plan, covered) = state.plan(kept.clone(), max_rows, max_bytes);
        (plan, (positions, kept.start + covered))
    }

    /// Plans to read backwards from a position, up to `max_rows` and about `max_bytes`. Returns the
    /// positions and the plan in ascending order, and the position before which the next page
    /// begins.
    pub(crate) fn plan_before(
        &self,
        before: Option<u64>,
        max_rows: usize,
        max_bytes: usize,
    ) -> (Plan, (Vec<u64>, Option<u64>)) {
        let state = self.state();
        let kept = state.kept(0, before);
        let (mut positions, mut plan, covered) = state.plan(kept.clone().rev(), max_rows, max_bytes);
        positions.reverse();
        plan.rows.reverse();
        let next = kept.end.saturating_sub(covered);
        (plan, (positions, (next > kept.start).then_some(next)))
    }
}

impl State {
    /// Returns those of the positions from `from` to `until` that are not forgotten. Readers lock
    /// the state, so they must not walk over forgotten ones: in a topic with retention these only
    /// grow.
    fn kept(&self, from: u64, until: Option<u64>) -> Range<u64> {
        let (first, end) = (self.index.first() as u64, self.index.len() as u64);
        from.max(first)..until.unwrap_or(u64::MAX).min(end)
    }

    /// Plans to read these positions, up to `max_rows` and about `max_bytes`, but at least one row.
    /// Skips lost rows. Returns the positions of the rows, the plan, and how many of the given
    /// positions it covers.
    fn plan(&self, positions: impl Iterator<Item = u64>, max_rows: usize, max_bytes: usize) -> (Vec<u64>, Plan, u64) {
        let (mut planned, mut rows, mut bytes, mut covered) = (Vec::new(), Vec::new(), 0, 0);
        for position in positions {
            let index = position as usize;
            if rows.len() == max_rows {
                break;
            }
            if index < self.index.len() && !self.index.location(index).is_lost() {
                let location = self.index.location(index);
                bytes += location.length();
                if bytes > max_bytes && !rows.is_empty() {
                    break;
                }
                planned.push(position);
                rows.push((self.index.id(index), location));
            }
            covered += 1;
        }
        (planned, Plan { file: Arc::clone(&self.file), rows }, covered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::index::Location;

    fn id(n: u64) -> TransactionId {
        let mut id = [7; 32];
        id[..8].copy_from_slice(&n.to_be_bytes());
        TransactionId(id)
    }

    #[test]
    fn a_plan_walks_over_no_forgotten_positions() {
        let mut index = Index::new();
        for n in 0..30_000 {
            index.append(id(n), Location::new(n * 10, 5));
        }
        (0..29_000).for_each(|n| _ = index.forget(&id(n)));
        index.forget(&id(29_500));
        let file = Arc::new(tempfile::tempfile().expect("a file"));
        let shared = Shared::new(PathBuf::new(), index, file, Numbering::default(), 1);
        for (from, until, walked) in [
            (0, None, (29_000, 30_000)),
            (29_400, Some(29_600), (29_400, 29_600)),
            (0, Some(10), (29_000, 10)),
            (40_000, None, (40_000, 30_000)),
        ] {
            let kept = shared.state().kept(from, until);
            assert_eq!((kept.start, kept.end), walked);
        }
        let (plan, (next, is_end)) = shared.plan(0, None, 50);
        assert_eq!((plan.rows.len(), next, is_end), (10, 29_010, false));
        let (plan, (next, is_end)) = shared.plan(3, Some(29_700), usize::MAX);
        assert_eq!((plan.rows.len(), next, is_end), (699, 29_700, true));
        let (plan, (next, is_end)) = shared.plan(0, Some(10), usize::MAX);
        assert_eq!((plan.rows.len(), next, is_end), (0, 29_000, true), "what is forgotten counts as passed");
        let (_, (positions, next)) = shared.plan_after(7, 2, usize::MAX);
        assert_eq!((positions, next), (vec![29_000, 29_001], 29_002));
        let (_, (positions, next)) = shared.plan_before(None, 400, usize::MAX);
        assert_eq!((positions[0], positions.len(), next), (29_600, 400, Some(29_600)));
        let (_, (positions, next)) = shared.plan_before(next, 1_000, usize::MAX);
        assert_eq!((positions[0], positions.len(), next), (29_000, 599, None), "the oldest that is kept");
        assert_eq!(shared.plan_before(Some(7), 1_000, usize::MAX).1.1, None);
    }
}
