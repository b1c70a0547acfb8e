//! Faults on purpose, to see that the targets find such: `cargo xtask fuzz --planted` sets the variable, and wants every target to fail.
//!
//! Each target has one, most behind a condition that no seed fulfils. They falsify what the program under test did before the rules are asked, so that program needs no
//! fault of its own.

use std::sync::OnceLock;

/// Set: the faults are there.
const VARIABLE: &str = "FUZZ_PLANTED";

/// Whether something goes wrong here and now.
pub(crate) fn is_due(condition: impl FnOnce() -> bool) -> bool {
    static PLANTED: OnceLock<bool> = OnceLock::new();
    *PLANTED.get_or_init(|| std::env::var_os(VARIABLE).is_some()) && condition()
}
