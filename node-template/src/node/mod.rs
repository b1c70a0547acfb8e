//! A running node: described by [`network::Network`], used through [`handle::Handle`].

pub(crate) mod access_watcher;
mod assembly;
pub(crate) mod declared;
pub(crate) mod handle;
pub(crate) mod invite;
pub(crate) mod network;
pub(crate) mod not_dialable;
pub(crate) mod operator;
pub(crate) mod start_error;
pub(crate) mod start_progress;
pub(crate) mod topic;
pub(crate) mod topic_config;
mod topic_start;
pub(crate) mod typed_topic;
#[cfg_attr(not(feature = "wan"), path = "no_wan.rs")]
mod wan;
