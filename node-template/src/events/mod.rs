//! Events: the stream that listeners read, their text, and the log.

mod demand;
pub mod describe;
pub(crate) mod first;
pub(crate) mod line_limit;
pub mod log;
pub(crate) mod sender;
pub mod stream;
pub mod text;
pub(crate) mod ways;

pub(crate) use demand::Sampling;
