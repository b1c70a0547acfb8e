//! The command line: what the binary's commands do, and what `xtask` shares with them.

pub(crate) mod add;
pub(crate) mod api;
mod broadcast_lines;
pub(crate) mod check;
pub(crate) mod console;
pub(crate) mod entry;
pub(crate) mod export;
pub(crate) mod fd_limit;
pub(crate) mod images;
pub(crate) mod init;
pub(crate) mod invite;
pub(crate) mod logs;
mod logs_json;
pub(crate) mod network;
pub(crate) mod node_folder;
pub(crate) mod output;
pub(crate) mod peers;
pub(crate) mod place;
pub(crate) mod program;
pub(crate) mod run;
pub(crate) mod send;
pub(crate) mod status;
// The tasks' crate `measuring` includes the file too, and uses the rest of it.
#[expect(unreachable_pub, reason = "the file is shared")]
#[cfg_attr(not(test), expect(dead_code, reason = "the file is shared"))]
pub(crate) mod table;
pub(crate) mod target;
pub(crate) mod terminal;
pub(crate) mod transactions;
pub(crate) mod user_file;
