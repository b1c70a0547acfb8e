//! Why a node cannot start with its settings.

use crate::folder::files::FolderError;
use crate::folder::node_key::KeyError;

/// Why a node cannot start with its settings. One line: what, from where, what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// A value is invalid.
    #[error("{name} is {value} ({origin}): {expected}; {remedy}")]
    Invalid {
        /// The setting.
        name: &'static str,
        /// Its value, shortened; "empty" if it is.
        value: String,
        /// The source of the value, as text.
        origin: String,
        /// The valid values.
        expected: String,
        /// What to do, which depends on the source.
        remedy: String,
        /// Whether the value came from the command line.
        from_flag: bool,
    },
    /// PORT is not set.
    #[error(
        "PORT is not set: {found}; write PORT=4001 into it, or make a folder with 'cargo xtask clone-node' or 'meshpool init' and start the node in it"
    )]
    NoPort {
        /// What the file has instead.
        found: String,
    },
    /// The page and the peers have the same port.
    #[error("PORT and HTTP_PORT are both {port} ({origin}): peers and the page need a port each; change one of them")]
    SamePort {
        /// The port.
        port: u16,
        /// The source of HTTP_PORT.
        origin: String,
    },
    /// A line of `.env` cannot be parsed.
    #[error(
        "{path}, line {line}: this is not NAME=value; correct it (put a value with spaces, quotes or backslashes in single quotes), \
         or put # before it"
    )]
    Syntax {
        /// The file.
        path: String,
        /// The line, from 1.
        line: usize,
    },
    /// The folder is missing.
    #[error(
        "{path} is not a folder: name one that holds a node's .env, or make one with 'cargo xtask clone-node' or 'meshpool init'"
    )]
    NoFolder {
        /// The path.
        path: String,
    },
    /// A file of the folder cannot be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The folder's key, with which MY_PUBLIC_KEY is compared, cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl SettingsError {
    /// Returns whether the command line is at fault: exit code 2 rather than 1.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Invalid { from_flag: true, .. })
    }
}
