//! The lock on a file, which the system releases when the process ends.
//!
//! A lock of `LockFileEx` keeps others from reading, and the file tells tools who runs. So the lock
//! is the right to delete the file: its holder has it, and shares all rights but that one. A second
//! one gets error 32, and those that read or write the file notice nothing.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::windows::fs::OpenOptionsExt;
use std::path::Path;

use crate::system::types::{LOCK_PAUSE, LOCK_TRIES, LockError};

/// ERROR_SHARING_VIOLATION.
const SHARING_VIOLATION: i32 = 32;
/// The access right DELETE, with SYNCHRONIZE.
const DELETE: u32 = 0x0001_0000 | 0x0010_0000;
/// FILE_SHARE_READ | FILE_SHARE_WRITE.
const SHARE_CONTENT: u32 = 1 | 2;
/// FILE_SHARE_DELETE.
#[cfg(feature = "cli")]
const SHARE_DELETE: u32 = 4;

/// Whether another process has the file open, and does not share it.
pub(crate) fn is_sharing_violation(error: &io::Error) -> bool {
    error.raw_os_error() == Some(SHARING_VIOLATION)
}

/// Locks a file while the returned one is held. A missing file is created.
///
/// # Errors
/// Another process holds it, or the system's error.
pub fn try_lock(path: &Path) -> Result<File, LockError> {
    // Made with ordinary rights, since one that may only delete makes no file.
    OpenOptions::new().append(true).create(true).open(path).map_err(LockError::Io)?;
    for tried in 1.. {
        match OpenOptions::new().access_mode(DELETE).share_mode(SHARE_CONTENT).open(path) {
            // Virus scanners open the file for a moment too.
            Err(error) if is_sharing_violation(&error) && tried < LOCK_TRIES => std::thread::sleep(LOCK_PAUSE),
            Err(error) if is_sharing_violation(&error) => return Err(LockError::Held),
            opened => return opened.map_err(LockError::Io),
        }
    }
    Err(LockError::Held)
}

/// Returns whether a process holds the lock on a file.
///
/// # Errors
/// The file cannot be opened.
#[cfg(feature = "cli")]
pub fn is_locked(path: &Path) -> io::Result<bool> {
    match OpenOptions::new().access_mode(DELETE).share_mode(SHARE_CONTENT | SHARE_DELETE).open(path) {
        Ok(_) => Ok(false),
        Err(error) if is_sharing_violation(&error) => Ok(true),
        Err(error) => Err(error),
    }
}
