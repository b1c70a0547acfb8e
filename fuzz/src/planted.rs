//! Planted faults: `cargo xtask fuzz --planted` sets the variable, and expects every target to
//! fail.
//!
//! Each target has one, most under a condition that no seed fulfils. They change the result of the
//! program under test before it is checked, so the program itself needs no fault.

use std::sync::OnceLock;

/// If it is set, the faults are active.
const VARIABLE: &str = "FUZZ_PLANTED";

/// Whether the fault happens here.
pub(crate) fn is_due(condition: impl FnOnce() -> bool) -> bool {
    static PLANTED: OnceLock<bool> = OnceLock::new();
    *PLANTED.get_or_init(|| std::env::var_os(VARIABLE).is_some()) && condition()
}
