//! Events: the stream that listeners read, their text, and the log.

mod demand;
pub(crate) mod describe;
pub(crate) mod first;
pub(crate) mod line_limit;
pub(crate) mod log;
pub(crate) mod sender;
pub(crate) mod stream;
pub(crate) mod text;
pub(crate) mod ways;

pub(crate) use demand::Sampling;
