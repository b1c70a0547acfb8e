//! Reads the pool beside the node, for people: newest first, or one by its identity. It waits for nobody and keeps no writer alive.

use std::sync::Arc;
use std::time::Duration;

use crate::pool::PoolError;
use crate::pool::read::Plan;
use crate::pool::shared::Shared;
use crate::protocol::transaction::{Transaction, TransactionId};

/// How often reading is tried while another program changes the file …
const TRIES: usize = 8;
/// … and after which pause: the writer looks at the file once a second, and then the places are right again.
const PAUSE: Duration = Duration::from_millis(200);

/// A handle for reading alone. A clone is another one to the same pool.
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

    /// How many positions there are: the next transaction gets this one.
    pub fn end(&self) -> u64 {
        self.shared.state().index.len() as u64
    }

    /// The transactions before position `before` (`None`: from the newest on), at most `most` of them and about `max_bytes` of rows, but at least one.
    ///
    /// # Errors
    /// [`PoolError::Io`]; [`PoolError::Unsettled`] if another program changes the file again and again meanwhile.
    pub async fn page(&self, before: Option<u64>, most: usize, max_bytes: usize) -> Result<Page, PoolError> {
        for _ in 0..TRIES {
            let (positions, plan, next) = self.shared.plan_before(before, most, max_bytes);
            if let Some(transactions) = self.carry_out(plan).await? {
                let rows = positions.into_iter().zip(transactions).rev().collect();
                return Ok(Page { rows, next });
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(PoolError::Unsettled { path: self.shared.path().to_owned() })
    }

    /// One transaction and its position, if it is on the disk.
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

    async fn carry_out(&self, plan: Plan) -> Result<Option<Vec<Transaction>>, PoolError> {
        let read = tokio::task::spawn_blocking(move || plan.read()).await;
        // The runtime drops blocking work only when it ends.
        read.map_err(|_| PoolError::Closed)?.map_err(PoolError::io("read", self.shared.path()))
    }
}
