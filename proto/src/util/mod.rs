//! Data structures that know nothing of the protocol.

pub mod chunked_vec;
pub(crate) mod log_throttle;
