//! What the programs that measure nodes share: tables, charts, statistics, and a reader of `/proc`.

mod chart;
pub mod proc;
mod stats;
mod table;

pub use chart::{Axis, Chart, Line, Scale, Stroke};
pub use stats::{mean, median, percentile};
pub use table::{Format, Table};
