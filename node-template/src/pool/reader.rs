//! Reads the pool for people: newest first, or one by its identity. It never waits for the writer,
//! and does not keep it alive.

use std::sync::Arc;
use std::time::Duration;

use crate::pool::error::PoolError;
use crate::pool::shared::Shared;
use crate::protocol::transaction::{Transaction, TransactionId};

/// Attempts to read while another program changes the file …
const TRIES: usize = 8;
/// The most rows that a follower reads at once.
const AFTER_ROWS: usize = 1_024;
/// … and the pause between them. The writer checks the file once a second, and corrects the
/// locations.
const PAUSE: Duration = Duration::from_millis(200);

/// A read-only handle. Clones share the pool.
#[derive(Debug, Clone)]
pub struct Reader {
    shared: Arc<Shared>,
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
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Returns the number of positions, which is the position of the next transaction.
    pub fn end(&self) -> u64 {
        self.shared.state().index.len() as u64
    }

    /// Returns the transactions before position `before` (`None`: the newest), at most `max_rows`
    /// and about `max_bytes`, but at least one.
    ///
    /// # Errors
    /// [`PoolError::Io`]; [`PoolError::Unsettled`] if another program keeps changing the file.
    pub async fn page(&self, before: Option<u64>, max_rows: usize, max_bytes: usize) -> Result<Page, PoolError> {
        for _ in 0..TRIES {
            let (positions, plan, next) = self.shared.plan_before(before, max_rows, max_bytes);
            if let Some(transactions) = self.shared.read(plan).await? {
                let rows = positions.into_iter().zip(transactions).rev().collect();
                return Ok(Page { rows, next });
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(PoolError::Unsettled { path: self.shared.path().to_owned() })
    }

    /// Returns the position of the first transaction that is kept, and of the next that comes, as
    /// they stay over restarts.
    pub(crate) fn kept(&self) -> std::ops::Range<u64> {
        let (first, end) = {
            let state = self.shared.state();
            (state.index.first() as u64, state.index.len() as u64)
        };
        let numbering = self.shared.numbering();
        numbering.position(first)..numbering.position(end)
    }

    /// Returns some transactions from a position on, with their positions as they stay over
    /// restarts, and the position after them.
    pub(crate) async fn after(&self, from: u64, max_bytes: usize) -> Result<(Vec<(u64, Transaction)>, u64), PoolError> {
        let numbering = self.shared.numbering();
        for _ in 0..TRIES {
            let (positions, plan, next) = self.shared.plan_after(numbering.index(from), AFTER_ROWS, max_bytes);
            if let Some(transactions) = self.shared.read(plan).await? {
                let positions = positions.into_iter().map(|index| numbering.position(index));
                return Ok((positions.zip(transactions).collect(), numbering.position(next)));
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(PoolError::Unsettled { path: self.shared.path().to_owned() })
    }

    /// Returns a receiver that is told whenever there are more transactions.
    pub(crate) fn growth(&self) -> tokio::sync::watch::Receiver<u64> {
        self.shared.growth()
    }

    /// Returns a transaction and its position, if it is on the disk.
    ///
    /// # Errors
    /// As [`Self::page`].
    pub async fn find(&self, id: &TransactionId) -> Result<Option<(u64, Transaction)>, PoolError> {
        let Some(position) = self.shared.state().index.position(id).map(|position| position as u64) else {
            return Ok(None);
        };
        let page = self.page(Some(position + 1), 1, 0).await?;
        Ok(page.rows.into_iter().find(|(_, transaction)| transaction.id() == *id))
    }
}
