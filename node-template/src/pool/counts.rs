//! Counters of the pool's files.

use crate::util::counts::counts;

counts! {
    /// Rows of files of this node that were on disk and that another program removed or damaged, so
    /// that they could not be restored.
    lost "pool_rows_lost",
    /// Of the lost rows those that are on disk again, as peers sent them or a person added them,
    /// and those that are not kept any longer.
    returned "pool_rows_returned",
    /// Damaged files that were repaired, at the start or later. What was damaged is in a file
    /// beside each.
    repairs "pool_repairs",
}
