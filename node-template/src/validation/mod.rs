//! Validation with state: the application judges each new transaction, may look into the pool, and
//! may ask for time.
//!
//! Judging may wait, so it has a place of its own between the links and the driver, the [`Stage`].
//! Nothing else waits for it: not the other messages of a link, and no other link. Without such
//! rules there is no stage.
//!
//! | verdict | what happens |
//! |---|---|
//! | accept | the driver gets the transaction, as if it came now; copies that came meanwhile follow |
//! | reject | its senders are told why |
//! | ignore | it is dropped; a client is told that it is not stored |
//! | defer | it is kept here, and judged again |

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use meshpool_proto::transaction::Transaction;
use tokio::time::timeout;

use crate::pool::Reader;
use crate::util::panics::Panics;

mod deferred;
pub(crate) mod stage;

/// How long a judgement may take.
const JUDGED_WITHIN: Duration = Duration::from_secs(30);
/// The longest time for which a transaction is deferred in all.
pub(crate) const LONGEST: Duration = Duration::from_secs(600);

/// What the application says of a transaction; see
/// [`Network::validate_with`](crate::Network::validate_with).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Validation {
    /// It is stored and forwarded.
    Accept,
    /// It is not, and its sender is told this reason.
    Reject(String),
    /// It is not, and nobody is to blame. A client is told only that it is not stored.
    Ignore,
    /// It cannot be judged yet.
    Defer(Until),
}

/// Until when a judgement is deferred: for ten minutes in all at most. Then it is ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Until {
    pub(crate) after: Duration,
    pub(crate) changed: bool,
}

impl Until {
    /// Until some time has passed.
    pub fn after(time: Duration) -> Self {
        Self { after: time.min(LONGEST), changed: false }
    }

    /// Until something new is in the pool of this topic, on disk: an orphan waits for its parent.
    /// What other topics get is no change: use [`Self::changed_or_after`] for rules that read them.
    pub fn changed() -> Self {
        Self { after: LONGEST, changed: true }
    }

    /// Until something new is in the pool, or some time has passed.
    pub fn changed_or_after(time: Duration) -> Self {
        Self { changed: true, ..Self::after(time) }
    }
}

type Judgement = Pin<Box<dyn Future<Output = Validation> + Send>>;

/// The application's rules.
#[derive(Clone)]
pub(crate) struct Rules(Arc<dyn Fn(Transaction, Reader) -> Judgement + Send + Sync>);

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rules")
    }
}

impl Rules {
    pub(crate) fn new<F>(function: impl Fn(Transaction, Reader) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Validation> + Send + 'static,
    {
        Self(Arc::new(move |transaction, pool| Box::pin(function(transaction, pool))))
    }

    /// Judges one transaction. Rules that panic, or take too long, have no opinion.
    pub(crate) async fn judge(self, transaction: Transaction, pool: Reader, panics: Panics) -> Validation {
        let id = transaction.id();
        let judging = AssertUnwindSafe(async { (self.0)(transaction, pool).await });
        match timeout(JUDGED_WITHIN, judging.catch_unwind()).await {
            Ok(Ok(verdict)) => verdict,
            Ok(Err(panic)) => {
                panics.note_ignored("the function of validate_with", id, panic.as_ref());
                Validation::Ignore
            }
            Err(_) => Validation::Ignore,
        }
    }
}
