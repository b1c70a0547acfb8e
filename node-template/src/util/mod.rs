//! What every part may use.

pub(crate) mod panics;
