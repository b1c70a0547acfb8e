//! The lock on a file, which the system releases when the process ends.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;

use rustix::io::Errno;

#[cfg(feature = "cli")]
use crate::system::types::NO_LOCKS;
use crate::system::types::{LOCK_PAUSE, LOCK_TRIES, LockError};

/// Locks a file while the returned one is held. A missing file is created.
///
/// # Errors
/// Another process holds it, or the system's error.
pub fn try_lock(path: &Path) -> Result<File, LockError> {
    try_lock_pausing(path, || std::thread::sleep(LOCK_PAUSE))
}

fn try_lock_pausing(path: &Path, mut pause: impl FnMut()) -> Result<File, LockError> {
    let options = File::options().create(true).truncate(false).read(true).write(true).open(path);
    let file = options.map_err(LockError::Io)?;
    for _ in 1..LOCK_TRIES {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => pause(),
            tried => return tried.map(|()| file).map_err(explain),
        }
    }
    file.try_lock().map(|()| file).map_err(explain)
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
    fn a_look_at_a_lock_keeps_nobody_from_taking_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("node.lock");
        let look = File::create(&path).expect("made");
        look.try_lock_shared().expect("free");
        let mut look = Some(look);
        let mut pauses = 0;
        let taken = try_lock_pausing(&path, || {
            pauses += 1;
            look = None;
        });
        let _held = taken.expect("taken once nobody looks");
        assert_eq!(pauses, 1);
        let refused = try_lock_pausing(&path, || pauses += 1);
        assert!(matches!(refused, Err(LockError::Held)), "{refused:?}");
        assert_eq!(pauses, LOCK_TRIES, "it gives up");
    }

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
