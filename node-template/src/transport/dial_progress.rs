//! What is known of a dial that is under way: why it fails if its time is over.

use std::sync::{Mutex, MutexGuard, PoisonError};

use meshpool_proto::causes::DialError;

/// The progress of one dial.
#[derive(Debug, Default)]
pub(crate) struct DialProgress(Mutex<Option<DialError>>);

impl DialProgress {
    fn waits_for(&self) -> MutexGuard<'_, Option<DialError>> {
        // Each change leaves it in order.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes why the dial would fail if nothing more happened.
    #[cfg_attr(not(feature = "wan"), expect(dead_code, reason = "for relays"))]
    pub(crate) fn note(&self, error: DialError) {
        *self.waits_for() = Some(error);
    }

    /// Takes what was noted last.
    pub(crate) fn take(&self) -> Option<DialError> {
        self.waits_for().take()
    }
}
