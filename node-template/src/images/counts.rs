//! Counters of images.

use crate::util::counts::counts;

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
