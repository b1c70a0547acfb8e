//! What tests of several cores share.

pub(crate) mod clocks;
pub(crate) mod net;
pub(crate) mod overlay;
pub(crate) mod parts;
pub(crate) mod signed_frames;
