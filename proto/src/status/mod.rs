//! Read-only views of the state.

pub(crate) mod links;
pub(crate) mod network;
pub(crate) mod peers;
