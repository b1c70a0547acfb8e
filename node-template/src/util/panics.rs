//! Panic containment, for work whose task nobody awaits. A panic is logged and counted, and the
//! work counts as failed.
//!
//! The driver sees for itself how links and background tasks end. All other parts, the page above
//! all, count their panics here. The driver passes the number to the core before each status.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::FutureExt;
use meshpool_proto::transaction::TransactionId;
use tokio::task::JoinError;

/// The number of panics that the core does not know of yet. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Panics(Arc<AtomicU64>);

impl Panics {
    /// Runs `work` to its end; `None` if it panics. State that outlives `work` must be valid at
    /// every moment, because a panic may leave it there.
    pub(crate) async fn catch<T>(&self, what: &str, work: impl Future<Output = T>) -> Option<T> {
        match AssertUnwindSafe(work).catch_unwind().await {
            Ok(done) => Some(done),
            Err(panic) => {
                self.record(what, panic.as_ref());
                None
            }
        }
    }

    /// Notes how a task ended that gave no result: by a panic, or because it was cancelled.
    pub(crate) fn note(&self, what: &str, error: JoinError) {
        if let Ok(panic) = error.try_into_panic() {
            self.record(what, panic.as_ref());
        }
    }

    fn record(&self, what: &str, panic: &(dyn Any + Send)) {
        tracing::error!("{what} ended in a fault of this program: {}", reason(panic));
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that a function of the application panicked at a transaction, which is ignored.
    pub(crate) fn note_ignored(&self, function: &str, id: TransactionId, panic: &(dyn Any + Send)) {
        tracing::warn!("{function} panicked, so transaction {id} is ignored: {}", reason(panic));
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the number of panics since the last call.
    pub(crate) fn take(&self) -> u64 {
        self.0.swap(0, Ordering::Relaxed)
    }
}

fn reason(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("it gives no reason")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_counted_once_and_ends_only_its_own_work() {
        let panics = Panics::default();
        assert_eq!(panics.catch("adding", async { 1 + 1 }).await, Some(2));
        let others = panics.clone();
        assert_eq!(others.catch("a test", async { panic!("for the test") }).await, None::<()>);
        assert_eq!((panics.take(), panics.take()), (1, 0));
    }
}
