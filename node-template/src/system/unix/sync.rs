//! Waits until what happened in a folder, a rename or a new file, survives a power loss.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::io::Errno;

/// Why a folder cannot be opened for that: no read permission, or a system that opens no folders.
const UNOPENED: [Errno; 3] = [Errno::ACCESS, Errno::PERM, Errno::ISDIR];
/// The answers of file systems that cannot sync a folder: SMB, shares of virtual machines, FUSE.
const UNSUPPORTED: [Errno; 5] = [Errno::INVAL, Errno::NOTSUP, Errno::OPNOTSUPP, Errno::NOSYS, Errno::BADF];

/// Waits for the disk to have a folder's entries, where the file system can do that. It is no
/// failure where it cannot: such systems keep entries in a way of their own.
///
/// # Errors
/// The system's error: the entries may be lost.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let Some(opened) = unless(File::open(folder), &UNOPENED)? else { return Ok(()) };
    unless(opened.sync_all(), &UNSUPPORTED).map(|_| ())
}

/// Turns these errors into `None`.
fn unless<T>(result: io::Result<T>, impossible: &[Errno]) -> io::Result<Option<T>> {
    match result {
        Err(error) if Errno::from_io_error(&error).is_some_and(|errno| impossible.contains(&errno)) => Ok(None),
        result => result.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_that_cannot_sync_a_folder_is_no_failure_and_a_bad_disk_is() {
        for errno in [Errno::INVAL, Errno::NOTSUP, Errno::OPNOTSUPP, Errno::NOSYS, Errno::BADF] {
            assert!(matches!(unless::<()>(Err(errno.into()), &UNSUPPORTED), Ok(None)), "{errno}");
        }
        for errno in [Errno::IO, Errno::NOSPC, Errno::DQUOT, Errno::ROFS] {
            assert!(unless::<()>(Err(errno.into()), &UNSUPPORTED).is_err(), "{errno}");
            assert!(unless::<()>(Err(errno.into()), &UNOPENED).is_err(), "{errno}");
        }
    }

    #[test]
    fn a_folder_is_synced_by_any_name_and_a_missing_one_is_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        sync_folder(folder.path()).expect("synced");
        sync_folder(Path::new("")).expect("the current folder");
        assert!(sync_folder(&folder.path().join("none")).is_err());
    }
}
