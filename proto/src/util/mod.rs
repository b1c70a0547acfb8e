//! Data structures that know nothing of the protocol.

pub mod chunked_vec;
pub(crate) mod file_name;
pub mod generations;
pub mod log_throttle;
pub mod rate_limit;
pub mod shares;
