//! Who is in the network.

pub(crate) mod announcer;
pub(crate) mod table;
