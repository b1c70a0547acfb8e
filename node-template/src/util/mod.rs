//! Types that every part of the node may use.

pub(crate) mod byte_stream;
pub(crate) mod panics;
pub(crate) mod rate_limit;
pub(crate) mod time_of_day;
