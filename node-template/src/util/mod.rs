//! Types that every part of the node may use.

pub(crate) mod byte_stream;
pub(crate) mod counts;
pub(crate) mod forwarded;
pub(crate) mod group_counts;
pub(crate) mod ip_range;
pub(crate) mod lifetime;
pub(crate) mod network_name;
pub(crate) mod panics;
#[cfg(any(feature = "cli", feature = "web"))]
pub(crate) mod qr;
pub(crate) mod time_of_day;
pub(crate) mod version;
pub(crate) mod web_host;
