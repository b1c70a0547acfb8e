//! The errors of the pool, each one line: what happened, where, what to do next.

use std::io;
use std::path::{Path, PathBuf};

use crate::events::text::strip_control_max;
use crate::folder::files::{self, folder_name};
use crate::protocol::causes::StoreErrorKind;
use crate::system::NO_LOCKS;

/// The longest file name in an error, in characters.
const FILE_CHARACTERS: usize = 200;

/// Why the pool cannot be opened, read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// Another node holds the folder's lock.
    #[error("{} is in use by another node{}: stop it or use another folder", folder_name(.folder), pid.map_or(String::new(), |pid| format!(" (pid {pid})")))]
    InUse {
        /// The node's folder.
        folder: PathBuf,
        /// The process id of the other node, if the lock file has it.
        pid: Option<u32>,
    },
    /// The file system of the folder has no locks.
    #[error("cannot lock {}: {cause}; {NO_LOCKS}", named(.path))]
    NoLocks {
        /// The lock's file.
        path: PathBuf,
        /// The system's error. Not named `source`, since the text includes it already.
        cause: io::Error,
    },
    /// The file is valid JSON, but not an array of transactions. It is never overwritten.
    #[error(
        "{}:{line}:{column}: {what}; the file is left as it is: correct it, or move it away to start with an empty pool",
        named(.path)
    )]
    NotTransactions {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// The column in characters, from 1.
        column: u64,
        /// What is wrong.
        what: String,
    },
    /// It leads to a pipe or a device.
    #[error("{} is not a file: move it away", named(.path))]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// An operation of the system failed.
    #[error("cannot {doing} {}: {cause}; {}", named(.path), remedy(cause, .path))]
    Io {
        /// The operation, as a verb: "open", "write".
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's error. Not named `source`, since the text includes it already.
        cause: io::Error,
    },
    /// Another program keeps changing the file.
    #[error("another program keeps rewriting {}: stop it, or let it send its transactions to the node instead", named(.path))]
    Unsettled {
        /// The file.
        path: PathBuf,
    },
    /// Another program wrote over the file, and its rows are not where they were.
    #[error(
        "another program wrote over {}, and rows of it cannot be read now; ask again, and if that fails too, the node's log says what is wrong with the file",
        named(.path)
    )]
    Overwritten {
        /// The file.
        path: PathBuf,
    },
    /// The pool was closed.
    #[error("the pool is closed: the node is ending")]
    Closed,
}

impl PoolError {
    /// Returns the kind of problem, for those who store.
    pub(crate) fn kind(&self) -> StoreErrorKind {
        use io::ErrorKind as Kind;
        match self {
            Self::InUse { .. } | Self::Unsettled { .. } | Self::Overwritten { .. } => StoreErrorKind::OtherProgram,
            Self::NotTransactions { .. } | Self::NotAFile { .. } => StoreErrorKind::Content,
            Self::Io { cause, .. } => match cause.kind() {
                Kind::StorageFull | Kind::QuotaExceeded => StoreErrorKind::NoSpace,
                Kind::FileTooLarge => StoreErrorKind::FileTooLarge,
                Kind::PermissionDenied | Kind::ReadOnlyFilesystem => StoreErrorKind::NotPermitted,
                _ => StoreErrorKind::System,
            },
            Self::NoLocks { .. } | Self::Closed => StoreErrorKind::System,
        }
    }

    /// Returns a function for `map_err`.
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |cause| Self::Io { doing, path, cause }
    }
}

/// Returns the name of a file for messages: the node's folder and the file's name.
pub(crate) fn named(path: &Path) -> String {
    match (path.parent(), path.file_name()) {
        (Some(folder), Some(file)) => {
            format!("{}/{}", folder_name(folder), strip_control_max(&file.display().to_string(), FILE_CHARACTERS))
        }
        _ => folder_name(path),
    }
}

fn remedy(error: &io::Error, path: &Path) -> String {
    use io::ErrorKind as Kind;
    if let Some(remedy) = files::remedy(error) {
        return remedy.to_owned();
    }
    match error.kind() {
        Kind::PermissionDenied => "give the node's user read and write permission there".to_owned(),
        Kind::AlreadyExists => format!("move the file {} away", named(path)),
        Kind::IsADirectory => format!("move the folder {} away", named(path)),
        _ => "check the disk, then start the node again".to_owned(),
    }
}
