//! What lies in a node's folder besides its settings: today the addresses that it knows from the start, `known-peers.json`.
//!
//! It reads and never writes: the file belongs to the person who runs the node. Every file is read whole and has a cap, so a mistaken path (a log,
//! a disk image) costs no memory. Bad entries are skipped and told, a bad file is an error: starting with fewer peers than were meant is useful,
//! starting with none by mistake is not. [`crate::config`] drives it.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde_json::Value;

use crate::events::text::{strip_control, strip_control_max};
use crate::protocol::address::PeerAddress;

#[cfg(test)]
mod tests;

/// The name of the file that holds the addresses a node knows from the start: a JSON array of texts.
pub const KNOWN_PEERS: &str = "known-peers.json";
/// The longest file that is read, in bytes: room for some twenty thousand addresses.
const FILE_BYTES: u64 = 1024 * 1024;
/// The longest path that is shown, in characters: cut, it would name another file.
const PATH_CHARACTERS: usize = 4_096;
/// How many bad entries of one file are told one by one; the rest is counted.
const TOLD_ENTRIES: usize = 5;

/// The addresses that a folder's `known-peers.json` names.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct KnownPeers {
    /// In the order of the file, each once. The node's own may be among them.
    pub addresses: Vec<PeerAddress>,
    /// What was skipped, one line each.
    pub warnings: Vec<String>,
}

/// Why a file of a node's folder can not be used. One line: which file, what is wrong, what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FolderError {
    /// There is no `known-peers.json`.
    #[error(
        "{path} is missing: it lists the peers that a node starts from; write [\"ws://localhost:4001\"] into it, \
         or [] if you want none, or let 'cargo xtask clone-node' make a folder"
    )]
    NoKnownPeers {
        /// The file.
        path: String,
    },
    /// The system does not let us read it.
    #[error("{path} can not be read: {cause}; check who may read it")]
    Unreadable {
        /// The file.
        path: String,
        /// What the system said.
        cause: io::Error,
    },
    /// A folder, a pipe, a device.
    #[error("{path} is no file: move it away and write a file of that name")]
    NotAFile {
        /// The path.
        path: String,
    },
    /// Longer than any sensible one.
    #[error("{path} has more than {FILE_BYTES} bytes: is it the right file? Shorten it")]
    TooLong {
        /// The file.
        path: String,
    },
    /// Not UTF-8.
    #[error("{path} is no UTF-8 text: save it as UTF-8")]
    NotText {
        /// The file.
        path: String,
    },
    /// Not JSON, or no array.
    #[error("{path}, line {line}, column {column}: {reason}; write an array such as [\"ws://localhost:4001\"]")]
    NotAnArray {
        /// The file.
        path: String,
        /// Where it goes wrong, from 1.
        line: usize,
        /// See `line`.
        column: usize,
        /// What is there instead.
        reason: String,
    },
}

/// Reads the addresses that a node knows from the start, from `known-peers.json` in its folder.
///
/// # Errors
/// [`FolderError`] if the file is missing, can not be read or is no JSON array. Entries that are no addresses are skipped with a warning.
pub fn known_peers(folder: &Path) -> Result<KnownPeers, FolderError> {
    let path = shown(folder, KNOWN_PEERS);
    let text = match read_text(&folder.join(KNOWN_PEERS), &path)? {
        Some(text) => text,
        None => return Err(FolderError::NoKnownPeers { path }),
    };
    let entries = match serde_json::from_str(&text) {
        Ok(Value::Array(entries)) => entries,
        Ok(other) => {
            let (line, column) = start(&text);
            return Err(FolderError::NotAnArray { path, line, column, reason: format!("this is {}", kind(&other)) });
        }
        Err(error) => {
            let (line, column) = (error.line().max(1), error.column().max(1));
            let place = format!(" at line {} column {}", error.line(), error.column());
            let reason = error.to_string().replace(&place, "");
            let reason =
                if text.trim().is_empty() { "the file is empty".to_owned() } else { format!("no JSON: {reason}") };
            return Err(FolderError::NotAnArray { path, line, column, reason });
        }
    };
    Ok(addresses(&path, &entries))
}

fn addresses(path: &str, entries: &[Value]) -> KnownPeers {
    let mut found = KnownPeers::default();
    let mut seen = std::collections::HashSet::new();
    let mut bad = 0;
    for (index, entry) in entries.iter().enumerate() {
        let reason = match entry.as_str().map(str::parse::<PeerAddress>) {
            Some(Ok(address)) => {
                if seen.insert(address.clone()) {
                    found.addresses.push(address);
                }
                continue;
            }
            Some(Err(error)) => error.to_string(),
            None => format!("{} is no peer address; write it as \"ws://host:port\"", kind(entry)),
        };
        bad += 1;
        if bad <= TOLD_ENTRIES {
            found.warnings.push(format!("{path}, entry {}, is skipped: {}", index + 1, strip_control(&reason)));
        }
    }
    if bad > TOLD_ENTRIES {
        found
            .warnings
            .push(format!("{path}: {} more entries are skipped that are no peer addresses", bad - TOLD_ENTRIES));
    }
    found
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// Line and column, from 1, of the first character that is no white space.
fn start(text: &str) -> (usize, usize) {
    let white = &text[..text.len() - text.trim_start().len()];
    let line = white.matches('\n').count() + 1;
    (line, white.rsplit('\n').next().unwrap_or_default().chars().count() + 1)
}

/// Reads a text file of the folder, without its byte order mark if it has one; `None` if there is no such file. `path` is how people know it.
pub(crate) fn read_text(file: &Path, path: &str) -> Result<Option<String>, FolderError> {
    let unreadable = |cause| FolderError::Unreadable { path: path.to_owned(), cause };
    // Asked before opening: to open a pipe that nobody writes to would wait for ever.
    match file.metadata() {
        Ok(metadata) if !metadata.is_file() => return Err(FolderError::NotAFile { path: path.to_owned() }),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
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

/// How people know a folder: as they named it; the current one by its own name, because `.` tells nothing in the log of one of many nodes.
pub(crate) fn folder_name(folder: &Path) -> String {
    let current = folder.as_os_str().is_empty() || folder == Path::new(".");
    let own = if current { std::path::absolute(".").ok() } else { None };
    let own = own.as_deref().and_then(Path::file_name).map(Path::new);
    strip_control_max(&own.unwrap_or(folder).display().to_string(), PATH_CHARACTERS)
}

/// How people know a file of a folder.
pub(crate) fn shown(folder: &Path, file: &str) -> String {
    Path::new(&folder_name(folder)).join(file).display().to_string()
}
