//! Data structures that know nothing of the protocol.

pub mod chunked_vec;
pub mod generations;
pub(crate) mod log_throttle;
pub mod rate_limit;
pub mod shares;
