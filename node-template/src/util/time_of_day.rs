//! The time of day.

use std::time::SystemTime;

/// Seconds since 1970, by this machine's clock. A clock before 1970 counts as 1970.
pub(crate) fn time_of_day() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
