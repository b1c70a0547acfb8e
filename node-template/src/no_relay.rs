//! Stands in for the relay in a program built without the feature `wan`.

#![allow(clippy::unused_async, reason = "with the feature they wait")]

use std::convert::Infallible;

#[derive(Debug, Clone)]
pub(crate) struct RelayService(Infallible);

impl RelayService {
    pub(crate) async fn close(&self) {
        match self.0 {}
    }

    pub(crate) fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        match self.0 {}
        #[expect(unreachable_code, reason = "it gives the type")]
        std::iter::empty()
    }
}

/// The counters that do not exist.
#[cfg(feature = "web")]
pub(crate) fn described() -> impl Iterator<Item = (&'static str, &'static str)> {
    std::iter::empty()
}
