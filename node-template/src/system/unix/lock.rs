//! The lock on a file, which the system releases when the process ends.

use std::fs::{File, TryLockError};
use std::path::Path;

use crate::system::types::LockError;

/// Locks a file while the returned one is held. A missing file is created.
///
/// # Errors
/// Another process holds it, or the system's error.
pub fn try_lock(path: &Path) -> Result<File, LockError> {
    let options = File::options().create(true).truncate(false).read(true).write(true).open(path);
    let file = options.map_err(LockError::Io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LockError::Held),
        Err(TryLockError::Error(error)) => Err(LockError::Io(error)),
    }
}

/// Returns whether a process holds the lock on a file.
///
/// # Errors
/// The file cannot be opened or locked.
#[cfg(feature = "cli")]
pub fn is_locked(path: &Path) -> std::io::Result<bool> {
    match File::open(path)?.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}
