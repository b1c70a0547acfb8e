//! What can go wrong with the pool's file, in one line each: what happened, where, what to do next.

use std::io;
use std::path::{Path, PathBuf};

use crate::events::text::strip_control_max;
use crate::folder::files::folder_name;

/// The most characters of a file's name in an error.
const FILE_CHARACTERS: usize = 200;

/// Why the pool can not be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// Another node holds the folder's lock.
    #[error("{} is in use by another node{}: stop it or use another folder", folder_name(.folder), pid.map_or(String::new(), |pid| format!(" (pid {pid})")))]
    InUse {
        /// The node's folder.
        folder: PathBuf,
        /// The other node, if it said who it is.
        pid: Option<u32>,
    },
    /// The file is sound, but no array of transactions. It is never overwritten.
    #[error(
        "{}:{line}:{column}: {what}; the file is left as it is: correct it, or move it away to start with an empty pool",
        named(.path)
    )]
    NotTransactions {
        /// The file.
        path: PathBuf,
        /// Where, counted from 1.
        line: u64,
        /// Where in the line, in characters, counted from 1.
        column: u64,
        /// What is there instead.
        what: String,
    },
    /// The system refused something.
    #[error("can not {doing} {}: {cause}; {}", named(.path), remedy(cause, .path))]
    Io {
        /// What was tried, as a verb: "open", "write".
        doing: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// What the system said. Not called `source`: the line tells it already, and who prints a chain of causes would tell it twice.
        cause: io::Error,
    },
    /// The file does not hold still.
    #[error("another program keeps rewriting {}: stop it, or let it send its transactions to the node instead", named(.path))]
    Unsettled {
        /// The file.
        path: PathBuf,
    },
    /// The pool was closed.
    #[error("the pool is closed: the node is ending")]
    Closed,
}

impl PoolError {
    /// For `map_err`: the system refused to do something with a path.
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |cause| Self::Io { doing, path, cause }
    }
}

/// A file as a person in any folder knows it: the node's folder and the file's name.
fn named(path: &Path) -> String {
    match (path.parent(), path.file_name()) {
        (Some(folder), Some(file)) => {
            format!("{}/{}", folder_name(folder), strip_control_max(&file.display().to_string(), FILE_CHARACTERS))
        }
        _ => folder_name(path),
    }
}

fn remedy(error: &io::Error, path: &Path) -> String {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::NotFound => "make the folder, or start the node in another one".to_owned(),
        Kind::NotADirectory => "start the node in a folder".to_owned(),
        Kind::PermissionDenied => "give the node's user the right to read and write there".to_owned(),
        Kind::ReadOnlyFilesystem => "mount it writable, or use a folder on another disk".to_owned(),
        Kind::StorageFull | Kind::QuotaExceeded => "make room on the disk".to_owned(),
        Kind::FileTooLarge => {
            "the disk or a limit of the system allows no longer file; raise it, or move the file away".to_owned()
        }
        Kind::IsADirectory => format!("move the folder {} away", named(path)),
        _ => "check the disk, then start the node again".to_owned(),
    }
}
