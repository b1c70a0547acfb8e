//! How far a node is with its start.

use std::fmt;
use std::sync::Arc;

use crate::pool::Progress;

/// The progress of a node's start: most of it is reading `transactions.json`. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct StartProgress(Arc<Progress>);

impl StartProgress {
    /// Returns how much of the file was read, from 0 to 100.
    pub fn percent(&self) -> u8 {
        self.0.percent()
    }

    pub(crate) fn pool(&self) -> &Progress {
        &self.0
    }
}

impl fmt::Display for StartProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "starting, {} %", self.percent())
    }
}
