//! The state that the writer and the readers share: the index, and the file that its locations
//! refer to. Only the writer changes it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::pool::error::PoolError;
use crate::pool::index::Index;
use crate::pool::read::Plan;
use crate::protocol::transaction::Transaction;

#[derive(Debug)]
pub(crate) struct Shared {
    path: PathBuf,
    state: Mutex<State>,
}

/// Invariant: each location that is not lost is that of its identity's row in `file`.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) index: Index,
    pub(crate) file: Arc<File>,
}

impl Shared {
    pub(crate) fn new(path: PathBuf, index: Index, file: Arc<File>) -> Self {
        Self { path, state: Mutex::new(State { index, file }) }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Locks the state. Async tasks wait for it, so the caller must not hold it long.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // Each change is one call of the index, so the state is whole after a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads rows on a blocking thread. `None` if the plan is outdated.
    pub(crate) async fn read(&self, plan: Plan) -> Result<Option<Vec<Transaction>>, PoolError> {
        let read = tokio::task::spawn_blocking(move || plan.read()).await;
        // The runtime drops blocking work only when it shuts down.
        read.map_err(|_| PoolError::Closed)?.map_err(PoolError::io("read", &self.path))
    }

    /// Plans to read single positions, up to about `max_bytes`. Also returns how many positions the
    /// plan covers.
    pub(crate) fn plan_these(&self, positions: &[u64], max_bytes: usize) -> (Plan, usize) {
        let state = self.state();
        let (mut rows, mut bytes, mut done) = (Vec::new(), 0, 0);
        for position in positions.iter().map(|position| *position as usize) {
            if position < state.index.len() && !state.index.location(position).is_lost() {
                let location = state.index.location(position);
                bytes += location.length();
                if bytes > max_bytes && !rows.is_empty() {
                    break;
                }
                rows.push((state.index.id(position), location));
            }
            done += 1;
        }
        (Plan { file: Arc::clone(&state.file), rows }, done)
    }

    /// Plans to read the positions from `from` to `until`, up to about `max_bytes`. Also returns
    /// the position after the plan, and whether that is the end.
    pub(crate) fn plan(&self, from: u64, until: Option<u64>, max_bytes: usize) -> (Plan, u64, bool) {
        let state = self.state();
        let end = until.unwrap_or(u64::MAX).min(state.index.len() as u64);
        let (mut rows, mut bytes, mut next) = (Vec::new(), 0, from);
        while next < end {
            let position = next as usize;
            let location = state.index.location(position);
            if !location.is_lost() {
                bytes += location.length();
                if bytes > max_bytes && !rows.is_empty() {
                    break;
                }
                rows.push((state.index.id(position), location));
            }
            next += 1;
        }
        (Plan { file: Arc::clone(&state.file), rows }, next, next >= end)
    }

    /// Plans to read backwards from a position, up to `max_rows` and about `max_bytes`. Returns the
    /// positions and the plan in ascending order, and the position before which the next page
    /// begins.
    pub(crate) fn plan_before(
        &self,
        before: Option<u64>,
        max_rows: usize,
        max_bytes: usize,
    ) -> (Vec<u64>, Plan, Option<u64>) {
        let state = self.state();
        let end = state.index.len() as u64;
        let (mut positions, mut rows, mut bytes) = (Vec::new(), Vec::new(), 0);
        let mut next = before.map_or(end, |before| before.min(end));
        while next > 0 && rows.len() < max_rows {
            let position = next as usize - 1;
            let location = state.index.location(position);
            if !location.is_lost() {
                bytes += location.length();
                if bytes > max_bytes && !rows.is_empty() {
                    break;
                }
                positions.push(position as u64);
                rows.push((state.index.id(position), location));
            }
            next -= 1;
        }
        positions.reverse();
        rows.reverse();
        (positions, Plan { file: Arc::clone(&state.file), rows }, (next > 0).then_some(next))
    }
}
