//! What the writer and the readers both see: the index, and the file that its places belong to. Only the writer changes it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::pool::index::Index;
use crate::pool::read::Plan;

/// See the module.
#[derive(Debug)]
pub(crate) struct Shared {
    path: PathBuf,
    state: Mutex<State>,
}

/// Invariant: each place that is not lost is that of its identity's row in `file`.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) index: Index,
    pub(crate) file: Arc<File>,
}

impl Shared {
    pub(crate) fn new(path: PathBuf, index: Index, file: Arc<File>) -> Self {
        Self { path, state: Mutex::new(State { index, file }) }
    }

    /// The path of the pool's file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The state, for a moment: whoever holds it does nothing slow, since async tasks wait for it.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // A panic under the lock can only come between two whole changes: each is one call of the index.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What to read for single positions, up to about `max_bytes`, and with how many of them that is done.
    pub(crate) fn plan_these(&self, positions: &[u64], max_bytes: usize) -> (Plan, usize) {
        let state = self.state();
        let (mut rows, mut bytes, mut done) = (Vec::new(), 0, 0);
        for position in positions.iter().map(|position| *position as usize) {
            if position < state.index.len() && !state.index.place(position).is_lost() {
                let place = state.index.place(position);
                bytes += place.length();
                if bytes > max_bytes && !rows.is_empty() {
                    break;
                }
                rows.push((state.index.id(position), place));
            }
            done += 1;
        }
        (Plan { file: Arc::clone(&state.file), rows }, done)
    }

    /// What to read for the positions from `from` on, up to `until` and about `max_bytes`; the position after it; whether that is the end.
    pub(crate) fn plan(&self, from: u64, until: Option<u64>, max_bytes: usize) -> (Plan, u64, bool) {
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

    /// What to read before a position, going backwards, up to `most` and about `max_bytes`: the positions and their rows in ascending order, and the position
    /// before which it goes on.
    pub(crate) fn plan_before(
        &self,
        before: Option<u64>,
        most: usize,
        max_bytes: usize,
    ) -> (Vec<u64>, Plan, Option<u64>) {
        let state = self.state();
        let end = state.index.len() as u64;
        let (mut positions, mut rows, mut bytes) = (Vec::new(), Vec::new(), 0);
        let mut next = before.map_or(end, |before| before.min(end));
        while next > 0 && rows.len() < most {
            let position = next as usize - 1;
            let place = state.index.place(position);
            if !place.is_lost() {
                bytes += place.length();
                if bytes > max_bytes && !rows.is_empty() {
                    break;
                }
                positions.push(position as u64);
                rows.push((state.index.id(position), place));
            }
            next -= 1;
        }
        positions.reverse();
        rows.reverse();
        (positions, Plan { file: Arc::clone(&state.file), rows }, (next > 0).then_some(next))
    }
}
