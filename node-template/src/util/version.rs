//! Which build this is. `build.rs` finds the commit.

/// The version of the package.
#[cfg_attr(not(feature = "web"), allow(dead_code, reason = "the page shows it"))]
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit of the build; empty if it is not known.
#[cfg_attr(not(feature = "web"), allow(dead_code, reason = "the page shows it"))]
pub(crate) const COMMIT: &str = env!("MESHPOOL_COMMIT");

/// Returns the version, with the commit as build metadata if it is known: `0.1.0+0123456789`.
pub const fn version() -> &'static str {
    env!("MESHPOOL_VERSION")
}
