//! What the writer and the readers both see: the index, and the file that its places belong to. Only the writer changes it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::index::Index;
use super::read::Plan;

/// See the module.
#[derive(Debug)]
pub(super) struct Shared {
    path: PathBuf,
    state: Mutex<State>,
}

/// Invariant: each place that is not lost is that of its identity's row in `file`.
#[derive(Debug)]
pub(super) struct State {
    pub(super) index: Index,
    pub(super) file: Arc<File>,
}

impl Shared {
    pub(super) fn new(path: PathBuf, index: Index, file: Arc<File>) -> Self {
        Self { path, state: Mutex::new(State { index, file }) }
    }

    /// The path of the pool's file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The state, for a moment: whoever holds it does nothing slow, since async tasks wait for it.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // A panic under the lock can only come between two whole changes: each is one call of the index.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What to read for single positions.
    pub(super) fn plan_these(&self, positions: &[u64]) -> Plan {
        let state = self.state();
        let known =
            positions.iter().map(|position| *position as usize).filter(|position| *position < state.index.len());
        let live = known.filter(|position| !state.index.place(*position).is_lost());
        let rows = live.map(|position| (state.index.id(position), state.index.place(position))).collect();
        Plan { file: Arc::clone(&state.file), rows }
    }

    /// What to read for the positions from `from` on, up to `until` and about `max_bytes`; the position after it; whether that is the end.
    pub(super) fn plan(&self, from: u64, until: Option<u64>, max_bytes: usize) -> (Plan, u64, bool) {
        let state = self.state();
        let end = until.unwrap_or(u64::MAX).min(state.index.len() as u64);
        let (mut rows, mut bytes, mut next) = (Vec::new(), 0, from);
        while next < end {
            let position = next as usize;
            let place = state.index.place(position);
            if !place.is_lost() {
                bytes += place.length();
                if bytes > max_bytes && !rows.is_empty() {
                    break;
                }
                rows.push((state.index.id(position), place));
            }
            next += 1;
        }
        (Plan { file: Arc::clone(&state.file), rows }, next, next >= end)
    }
}
