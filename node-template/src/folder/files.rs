//! Text files of a node's folder, and how messages name them.
//!
//! Every file is read whole and has a size limit, so a wrong path (a log, a disk image) costs no
//! memory.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::events::text::strip_control_max;
use crate::system::is_out_of_files;

/// The largest file that is read, in bytes: room for some twenty thousand addresses.
const FILE_BYTES: u64 = 1024 * 1024;
/// The longest path in a message, in characters: shortened, it would name another file.
const PATH_CHARACTERS: usize = 4_096;

/// Returns what to do about an error of the system; `None` if that depends on the file.
pub(crate) fn remedy(error: &io::Error) -> Option<&'static str> {
    use io::ErrorKind as Kind;
    if is_out_of_files(error) {
        return Some(MORE_FILES);
    }
    Some(match error.kind() {
        Kind::NotFound => "make the folder, or start the node in another one",
        Kind::NotADirectory => "start the node in a folder",
        Kind::ReadOnlyFilesystem => "mount it writable, or use a folder on another disk",
        Kind::StorageFull | Kind::QuotaExceeded => "free space on the disk",
        Kind::FileTooLarge => "raise the limit of file sizes (ulimit -f, LimitFSIZE)",
        _ => return None,
    })
}

/// What to do where no more files can be opened.
const MORE_FILES: &str = "raise the limit of open files (ulimit -n, LimitNOFILE in a unit), or end other programs";

/// Why a file of a node's folder cannot be used. One line: which file, what is wrong, what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FolderError {
    /// There is no `known-peers.json`.
    #[error(
        "{path} is missing: it lists the peers that a node starts from; write [\"ws://localhost:4001\"] into it, \
         or [] if you want none, or let 'cargo xtask clone-node' or 'meshpool init' make a folder"
    )]
    NoKnownPeers {
        /// The file.
        path: String,
    },
    /// The system refuses to read it.
    #[error("{path} cannot be read: {cause}; {}", remedy(.cause).unwrap_or("check who may read it"))]
    Unreadable {
        /// The file.
        path: String,
        /// The system's error.
        cause: io::Error,
    },
    /// It is a folder, a pipe or a device.
    #[error("{path} is not a file: move it away and write a file of that name")]
    NotAFile {
        /// The path.
        path: String,
    },
    /// It is a link, and there is no file where that leads.
    #[error("{path} is a link to a file that is missing: restore that file, or remove the link")]
    LeadsNowhere {
        /// The link.
        path: String,
    },
    /// It exceeds the size limit.
    #[error("{path} has more than {FILE_BYTES} bytes: is it the right file? Shorten it")]
    TooLong {
        /// The file.
        path: String,
    },
    /// It is not UTF-8.
    #[error("{path} is not UTF-8 text: save it as UTF-8")]
    NotText {
        /// The file.
        path: String,
    },
    /// It is not JSON, or not an array.
    #[error("{path}, line {line}, column {column}: {reason}; write an array such as [\"ws://localhost:4001\"]")]
    NotAnArray {
        /// The file.
        path: String,
        /// Where the error is, from 1.
        line: usize,
        /// Where in the line, from 1.
        column: usize,
        /// What is wrong.
        reason: String,
    },
}

/// The file of an authority's certificate.
#[cfg(any(feature = "cli", feature = "tls"))]
#[cfg_attr(not(feature = "tls"), expect(unreachable_pub, reason = "the module tls shows it"))]
pub const CA_CERTIFICATE: &str = "ca.pem";
/// The file of an authority's key, which can admit nodes.
#[cfg(any(feature = "cli", feature = "tls"))]
#[cfg_attr(not(feature = "tls"), expect(unreachable_pub, reason = "the module tls shows it"))]
pub const CA_KEY: &str = "ca.key";
/// The default of CERTIFICATE.
#[cfg_attr(not(feature = "tls"), expect(unreachable_pub, reason = "the module tls shows it"))]
pub const NODE_CERTIFICATE: &str = "node.pem";

/// Returns whether a path is that of a link. Where no file is found, the link leads nowhere: rules
/// and settings that somebody keeps elsewhere must not count as none.
pub(crate) fn is_link(file: &Path) -> bool {
    file.symlink_metadata().is_ok_and(|found| found.is_symlink())
}

/// Reads a text file, without its byte order mark; `None` if there is no file, nor a link to one.
/// `path` is for messages.
pub(crate) fn read_text(file: &Path, path: &str) -> Result<Option<String>, FolderError> {
    let unreadable = |cause| FolderError::Unreadable { path: path.to_owned(), cause };
    // Checked before opening: opening a pipe without a writer blocks.
    match file.metadata() {
        Ok(metadata) if !metadata.is_file() => return Err(FolderError::NotAFile { path: path.to_owned() }),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return if is_link(file) { Err(FolderError::LeadsNowhere { path: path.to_owned() }) } else { Ok(None) };
        }
        Err(cause) => return Err(unreadable(cause)),
    }
    let mut bytes = Vec::new();
    File::open(file).and_then(|file| file.take(FILE_BYTES + 1).read_to_end(&mut bytes)).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES {
        return Err(FolderError::TooLong { path: path.to_owned() });
    }
    let text = String::from_utf8(bytes).map_err(|_| FolderError::NotText { path: path.to_owned() })?;
    Ok(Some(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text)))
}

/// Returns the name of a folder for messages: as it was given, but the current folder's own name
/// instead of `.`, which is the same in the logs of several nodes.
pub(crate) fn folder_name(folder: &Path) -> String {
    let current = folder.as_os_str().is_empty() || folder == Path::new(".");
    let own = if current { std::path::absolute(".").ok() } else { None };
    let own = own.as_deref().and_then(Path::file_name).map(Path::new);
    strip_control_max(&own.unwrap_or(folder).display().to_string(), PATH_CHARACTERS)
}

/// Returns the path of a folder's file for messages.
pub(crate) fn shown(folder: &Path, file: &str) -> String {
    Path::new(&folder_name(folder)).join(file).display().to_string()
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_link_that_leads_nowhere_is_an_error_and_no_file_is_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        assert!(matches!(read_text(&at("none"), "none"), Ok(None)));
        symlink("nowhere", at("link")).expect("linked");
        symlink("link", at("chain")).expect("linked");
        symlink("gone/list", at("unmounted")).expect("linked");
        for name in ["link", "chain", "unmounted"] {
            let error = read_text(&at(name), name).expect_err(name).to_string();
            assert!(error.starts_with(name) && error.contains("a link to a file that is missing"), "{error}");
        }
        std::fs::write(at("nowhere"), "text").expect("written");
        assert_eq!(read_text(&at("chain"), "chain").expect("read").as_deref(), Some("text"));
    }
}
