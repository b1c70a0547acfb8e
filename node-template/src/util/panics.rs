//! Work that ends in a fault of this program where nobody waits for its task: it is told in the log, counted, and what it did is taken for failed.
//!
//! The driver sees what becomes of links and errands by itself. The rest of the node, the page above all, keeps its faults here, and the driver tells the core of them
//! before anybody is told a status.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::FutureExt;

/// How many faults there were of which the core was not told yet. A clone counts the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults(Arc<AtomicU64>);

impl Faults {
    /// Does some work to its end; `None` if that is a panic. What the work was done with must be whole at every moment, or go with it.
    pub(crate) async fn contain<T>(&self, what: &str, work: impl Future<Output = T>) -> Option<T> {
        match AssertUnwindSafe(work).catch_unwind().await {
            Ok(done) => Some(done),
            Err(panic) => {
                self.note(what, panic.as_ref());
                None
            }
        }
    }

    fn note(&self, what: &str, panic: &(dyn Any + Send)) {
        let said = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        tracing::error!("{what} ended in a fault of this program: {}", said.unwrap_or("it says no more"));
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// How many there were since it was last asked.
    pub(crate) fn take(&self) -> u64 {
        self.0.swap(0, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_fault_is_counted_once_and_costs_what_it_was_in_the_midst_of() {
        let faults = Faults::default();
        assert_eq!(faults.contain("adding", async { 1 + 1 }).await, Some(2));
        let others = faults.clone();
        assert_eq!(others.contain("a test", async { panic!("as a test wants it") }).await, None::<()>);
        assert_eq!((faults.take(), faults.take()), (1, 0));
    }
}
