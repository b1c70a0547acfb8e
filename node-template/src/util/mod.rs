//! What every part may use.

pub(crate) mod histogram;
pub(crate) mod panics;
