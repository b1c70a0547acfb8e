//! Counters of images. The core shows them beside its own.

use std::sync::atomic::{AtomicU64, Ordering};

/// Declares each counter once: its field, its name for metrics, and its description.
macro_rules! counts {
    ($($(#[doc = $doc:literal])+ $field:ident $name:literal,)+) => {
        /// The counters of one node.
        #[derive(Debug, Default)]
        pub(crate) struct Counts {
            $($(#[doc = $doc])+ pub(crate) $field: AtomicU64,)+
        }

        impl Counts {
            pub(crate) fn entries(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$(($name, self.$field.load(Ordering::Relaxed)),)+].into_iter()
            }
        }

        /// Returns the name and the description of every counter.
        #[cfg(feature = "web")]
        pub(crate) fn described() -> impl Iterator<Item = (&'static str, &'static str)> {
            [$(($name, concat!($($doc),+)),)+].into_iter()
        }
    };
}

counts! {
    /// Images asked for that were in the folder of this node.
    hits "image_hits",
    /// Images asked for that had been fetched earlier and were kept.
    cache_hits "image_cache_hits",
    /// Images fetched from other nodes and verified.
    fetched "images_fetched",
    /// Images asked for that no node had or sent.
    missed "image_misses",
    /// Finders that did not send what they offered; the next was asked.
    finders_failed "image_finders_failed",
    /// Images that came whole and were not what was offered: dropped.
    wrong "images_wrong",
    /// Bytes of images fetched from other nodes.
    fetched_bytes "image_fetched_bytes",
    /// Bytes of images sent to other nodes and to clients.
    sent_bytes "image_sent_bytes",
    /// Transfers refused: the image is not here, or too many at once.
    refused "image_transfers_refused",
}

pub(crate) fn add(count: &AtomicU64, number: u64) {
    count.fetch_add(number, Ordering::Relaxed);
}
