//! Counters of parts of the node that the core does not see. It shows them beside its own.

use std::sync::atomic::{AtomicU64, Ordering};

/// Declares each counter once: its field, its name for metrics, and its description.
macro_rules! counts {
    ($($(#[doc = $doc:literal])+ $field:ident $name:literal,)+) => {
        /// The counters of one node.
        #[derive(Debug, Default)]
        pub(crate) struct Counts {
            $($(#[doc = $doc])+ pub(crate) $field: std::sync::atomic::AtomicU64,)+
        }

        impl Counts {
            pub(crate) fn entries(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$(($name, self.$field.load(std::sync::atomic::Ordering::Relaxed)),)+].into_iter()
            }
        }

        /// Returns the name and the description of every counter.
        #[cfg(feature = "web")]
        pub(crate) fn described() -> impl Iterator<Item = (&'static str, &'static str)> {
            [$(($name, concat!($($doc),+)),)+].into_iter()
        }
    };
}

pub(crate) use counts;

pub(crate) fn add(count: &AtomicU64, number: u64) {
    count.fetch_add(number, Ordering::Relaxed);
}
