//! Says when something has ended, to all who wait for that.

use tokio::sync::watch;

/// Held by what is alive. Dropping it is the end.
#[derive(Debug, Default)]
pub(crate) struct Alive(watch::Sender<()>);

/// Tells of the end of an [`Alive`].
#[derive(Debug, Clone)]
pub(crate) struct Ended(watch::Receiver<()>);

impl Alive {
    pub(crate) fn ended(&self) -> Ended {
        Ended(self.0.subscribe())
    }
}

impl Ended {
    pub(crate) fn is_over(&self) -> bool {
        self.0.has_changed().is_err()
    }

    /// Waits for the end. Cancel-safe.
    pub(crate) async fn wait(&self) {
        let mut ended = self.0.clone();
        // Nothing is ever sent, so it returns once the sender is dropped.
        while ended.changed().await.is_ok() {}
    }
}
