//! What the functions of both halves give and take.

#[cfg(feature = "cli")]
use std::fmt;
use std::time::Duration;

/// What identifies the content of a file at one time. If it is the same later, no other program
/// wrote to the file, except with equal length within a tick of the file system's clock (some
/// milliseconds).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileStamp {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    /// In bytes.
    pub(crate) length: u64,
    /// A time in a unit of the system.
    pub(crate) modified: (i64, i64),
}

impl FileStamp {
    /// Returns whether both are stamps of the same file.
    pub fn same_file(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }
}

/// Who besides its owner can read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Others {
    /// Nobody, or the system does not say.
    Closed,
    /// Others: this is its mode.
    Open(u32),
    /// Its file system keeps no modes: all files there have this one.
    NoModes(u32),
}

/// What to do where a file system has no locks.
pub(crate) const NO_LOCKS: &str = "its file system has no file locks, so nothing would keep a second node from the folder: move the folder to a local disk, or mount the share with locks (NFS: local_lock=flock)";

/// How often a lock is tried, and the pause, 200 ms together: a command that looks whether it is
/// held takes it for a moment, and one that changes the files of a folder for some milliseconds.
pub(crate) const LOCK_TRIES: u32 = 10;
pub(crate) const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Why a lock was not taken.
#[derive(Debug)]
pub enum LockError {
    /// Another process holds it.
    Held,
    /// The file system has no locks; the system's error.
    Unsupported(std::io::Error),
    /// The system's error.
    Io(std::io::Error),
}

/// Why a process is to end.
#[cfg(feature = "cli")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// The user typed Ctrl+C.
    Interrupt,
    /// Another process, or the system, asks for it.
    Request(&'static str),
}

#[cfg(feature = "cli")]
impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interrupt => f.write_str("Ctrl+C"),
            Self::Request(name) => f.write_str(name),
        }
    }
}

/// How many files a process may have open; `None`: any number.
#[cfg(feature = "cli")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileLimit {
    /// The limit that holds.
    pub current: Option<u64>,
    /// How far the process may raise it.
    pub maximum: Option<u64>,
}
