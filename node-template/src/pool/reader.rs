//! Reads a pool for people and rules: newest first, or one by its identity. It never waits for the
//! writer, and does not keep it alive.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use crate::pool::error::PoolError;
use crate::pool::memory::Memory;
use crate::pool::shared::Shared;
use crate::protocol::transaction::{Transaction, TransactionId};

/// How often what could not be read is tried again …
const TRIES: usize = 7;
/// … and the pause before each. The writer checks the file once a second, and corrects the
/// locations. Single rows that cannot be read are lost then.
const PAUSE: Duration = Duration::from_millis(200);
/// The most rows that a follower reads at once.
const AFTER_ROWS: usize = 1_024;

/// A read-only handle to `transactions.json`, or to the items of a topic. Clones share them.
#[derive(Debug, Clone)]
pub struct Reader(Source, Option<Misses>);

/// The transactions that were not found; the first of them, if there are many.
#[derive(Debug, Clone, Default)]
pub(crate) struct Misses(Arc<Mutex<Vec<TransactionId>>>);

/// How many of these are noted.
const MISSES: usize = 64;

impl Misses {
    fn lock(&self) -> MutexGuard<'_, Vec<TransactionId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, id: &TransactionId) {
        let mut misses = self.lock();
        if misses.len() < MISSES && !misses.contains(id) {
            misses.push(*id);
        }
    }

    pub(crate) fn take(&self) -> Vec<TransactionId> {
        std::mem::take(&mut self.lock())
    }
}

/// What is read.
#[derive(Debug, Clone)]
enum Source {
    File(Arc<Shared>),
    Memory(Memory),
}

/// A page of the pool, newest first.
#[derive(Debug, Clone)]
pub struct Page {
    /// Positions and transactions, in descending order.
    pub rows: Vec<(u64, Transaction)>,
    /// The position before which the next page begins; `None` after the oldest.
    pub next: Option<u64>,
}

impl Reader {
    pub(crate) fn of_file(shared: Arc<Shared>) -> Self {
        Self(Source::File(shared), None)
    }

    pub(crate) fn of_memory(memory: Memory) -> Self {
        Self(Source::Memory(memory), None)
    }

    /// Returns the position of the next transaction.
    pub fn end(&self) -> u64 {
        self.kept().end
    }

    /// Returns the transactions before position `before` (`None`: the newest), at most `max_rows`
    /// and about `max_bytes`, but at least one.
    ///
    /// # Errors
    /// [`PoolError::Io`]; [`PoolError::Overwritten`] if another program wrote over the file.
    pub async fn page(&self, before: Option<u64>, max_rows: usize, max_bytes: usize) -> Result<Page, PoolError> {
        let shared = match &self.0 {
            Source::File(shared) => shared,
            Source::Memory(memory) => {
                let (rows, next) = memory.before(before, max_rows, max_bytes);
                return Ok(Page { rows, next });
            }
        };
        let numbering = shared.numbering();
        let before = before.map(|position| numbering.index(position));
        let plan = || shared.plan_before(before, max_rows, max_bytes);
        let (transactions, (indices, next)) = shared.read_again(TRIES, plan, || sleep(PAUSE)).await?;
        let positions = indices.into_iter().map(|index| numbering.position(index));
        let rows = positions.zip(transactions).rev().collect();
        Ok(Page { rows, next: next.map(|index| numbering.position(index)) })
    }

    /// Returns the position of the first transaction that is kept, and of the next that comes, as
    /// they stay over restarts.
    pub(crate) fn kept(&self) -> Range<u64> {
        let shared = match &self.0 {
            Source::File(shared) => shared,
            Source::Memory(memory) => return memory.kept(),
        };
        let (first, end) = {
            let state = shared.state();
            (state.index.first() as u64, state.index.len() as u64)
        };
        let numbering = shared.numbering();
        numbering.position(first)..numbering.position(end)
    }

    /// Returns some transactions from a position on, with their positions as they stay over
    /// restarts, and the position after them.
    pub(crate) async fn after(&self, from: u64, max_bytes: usize) -> Result<(Vec<(u64, Transaction)>, u64), PoolError> {
        let shared = match &self.0 {
            Source::File(shared) => shared,
            Source::Memory(memory) => return Ok(memory.after(from, max_bytes)),
        };
        let numbering = shared.numbering();
        let plan = || shared.plan_after(numbering.index(from), AFTER_ROWS, max_bytes);
        let (transactions, (indices, next)) = shared.read_again(TRIES, plan, || sleep(PAUSE)).await?;
        let positions = indices.into_iter().map(|index| numbering.position(index));
        Ok((positions.zip(transactions).collect(), numbering.position(next)))
    }

    /// Returns a receiver that is told whenever there are more transactions.
    pub(crate) fn growth(&self) -> watch::Receiver<u64> {
        match &self.0 {
            Source::File(shared) => shared.growth(),
            Source::Memory(memory) => memory.growth(),
        }
    }

    /// Returns a transaction and its position, if it is stored: on the disk, or in the memory of a
    /// topic without a file.
    ///
    /// # Errors
    /// As [`Self::page`].
    pub async fn find(&self, id: &TransactionId) -> Result<Option<(u64, Transaction)>, PoolError> {
        let found = self.find_stored(id).await?;
        if let (None, Some(misses)) = (&found, &self.1) {
            misses.note(id);
        }
        Ok(found)
    }

    /// Returns a reader of the same that notes what is not found.
    pub(crate) fn noting_misses(&self) -> (Self, Misses) {
        let misses = Misses::default();
        (Self(self.0.clone(), Some(misses.clone())), misses)
    }

    /// Returns the identities of what is stored from a position of [`Self::growth`] on.
    pub(crate) fn ids_from(&self, from: u64) -> Vec<TransactionId> {
        match &self.0 {
            Source::File(shared) => {
                let index = &shared.state().index;
                let from = usize::try_from(from).unwrap_or(usize::MAX).max(index.first());
                (from..index.len()).map(|position| index.id(position)).collect()
            }
            Source::Memory(memory) => memory.ids_from(from),
        }
    }

    async fn find_stored(&self, id: &TransactionId) -> Result<Option<(u64, Transaction)>, PoolError> {
        let shared = match &self.0 {
            Source::File(shared) => shared,
            Source::Memory(memory) => return Ok(memory.find(id)),
        };
        let Some(index) = shared.state().index.position(id).map(|index| index as u64) else { return Ok(None) };
        let page = self.page(Some(shared.numbering().position(index) + 1), 1, 0).await?;
        Ok(page.rows.into_iter().find(|(_, transaction)| transaction.id() == *id))
    }
}
