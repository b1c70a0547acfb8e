//! The command line: what the binary's commands do, and what `xtask` shares with them.

pub mod add;
pub mod api;
pub mod check;
pub mod console;
pub mod export;
pub mod fd_limit;
pub mod images;
pub mod init;
pub mod logs;
mod logs_json;
pub mod network;
pub mod node_folder;
pub mod output;
pub mod peers;
pub mod place;
pub mod program;
pub mod run;
pub mod send;
pub mod status;
pub mod table;
pub mod target;
pub mod terminal;
pub mod transactions;

/// What differs between operating systems.
pub mod system {
    pub use crate::system::*;
}
