//! Events: the stream that listeners read, and their text.

pub mod stream;
pub mod text;
