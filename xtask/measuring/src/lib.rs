//! What the programs that measure nodes share: tables, charts, statistics, lines of output, and a
//! reader of `/proc`.

mod chart;
mod output;
pub mod proc;
mod stats;
// One table for the commands of the node, which is published, and for what measures it.
#[path = "../../../node-template/src/cli/table.rs"]
mod table;

pub use chart::{Axis, Chart, Line, Scale, Stroke};
pub use output::{note, print};
pub use stats::{mean, median, percentile};
pub use table::{Format, Table};
