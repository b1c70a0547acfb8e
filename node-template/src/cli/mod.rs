//! The command line: flags, the terminal, the log.

pub mod console;
pub mod fd_limit;
pub mod file_size;
pub mod logs;
mod logs_json;
pub mod output;
