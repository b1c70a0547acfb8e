//! A node in your program: the builder, the running node, and the files that say who is let in.

pub mod access_watcher;
pub(crate) mod handle;
pub mod network;
