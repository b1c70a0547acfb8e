//! The lock on a file, which the system releases when the process ends.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;

use rustix::io::Errno;

use crate::system::types::LockError;
#[cfg(feature = "cli")]
use crate::system::types::NO_LOCKS;

/// Locks a file while the returned one is held. A missing file is created.
///
/// # Errors
/// Another process holds it, or the system's error.
pub fn try_lock(path: &Path) -> Result<File, LockError> {
    let options = File::options().create(true).truncate(false).read(true).write(true).open(path);
    let file = options.map_err(LockError::Io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(error) => Err(explain(error)),
    }
}

fn explain(error: TryLockError) -> LockError {
    match error {
        TryLockError::WouldBlock => LockError::Held,
        TryLockError::Error(error) if is_unsupported(&error) => LockError::Unsupported(error),
        TryLockError::Error(error) => LockError::Io(error),
    }
}

/// Returns whether the file system of a file has no locks, as some network shares. The file is open
/// and the call is right, so EINVAL says the same as the others.
fn is_unsupported(error: &io::Error) -> bool {
    let these = [Errno::NOLCK, Errno::NOTSUP, Errno::OPNOTSUPP, Errno::NOSYS, Errno::INVAL];
    Errno::from_io_error(error).is_some_and(|errno| these.contains(&errno))
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
        Err(TryLockError::Error(error)) => Err(with_remedy(error)),
    }
}

#[cfg(feature = "cli")]
fn with_remedy(error: io::Error) -> io::Error {
    if is_unsupported(&error) { io::Error::new(error.kind(), format!("{error}; {NO_LOCKS}")) } else { error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_without_locks_is_told_from_a_lock_that_is_held_and_a_disk_that_fails() {
        for errno in [Errno::NOLCK, Errno::NOTSUP, Errno::OPNOTSUPP, Errno::NOSYS, Errno::INVAL] {
            let explained = explain(TryLockError::Error(errno.into()));
            assert!(matches!(explained, LockError::Unsupported(_)), "{errno}: {explained:?}");
            #[cfg(feature = "cli")]
            assert!(with_remedy(errno.into()).to_string().ends_with(NO_LOCKS));
        }
        assert!(matches!(explain(TryLockError::WouldBlock), LockError::Held));
        for errno in [Errno::IO, Errno::BADF, Errno::STALE] {
            assert!(matches!(explain(TryLockError::Error(errno.into())), LockError::Io(_)), "{errno}");
            #[cfg(feature = "cli")]
            assert_eq!(with_remedy(errno.into()).raw_os_error(), Some(errno.raw_os_error()));
        }
    }
}
