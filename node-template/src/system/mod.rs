//! What differs between operating systems: files, locks, signals, processes, the terminal.
//!
//! Each half has the same functions, so nothing else in the program asks which system it is.
//!
//! | | Unix | Windows |
//! |---|---|---|
//! | lock of a folder | `flock` | the right to delete the file, which nobody else gets |
//! | end a process | SIGTERM | a named pipe, to which only its user may write |
//! | read a file again | SIGHUP | none |
//! | identity of a file | device and inode | volume and file index |
//! | a private file | mode 0600 | the access rights of its folder |
//! | wait for a folder | fsync | none: NTFS logs its entries |

mod types;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

pub(crate) use types::NO_LOCKS;
#[cfg(feature = "cli")]
pub use types::{EndReason, FileLimit};
pub use types::{FileStamp, LockError, Others};
#[cfg(unix)]
pub use unix::*;
#[cfg(windows)]
pub use windows::*;

#[cfg(test)]
mod tests;

/// Whether a file can be replaced and removed while it is open: on Unix, and on NTFS since Windows
/// 10. Wine and FAT refuse it, so tests that need it are left out there.
#[cfg(test)]
pub(crate) fn replaces_open_files() -> bool {
    let folder = tempfile::tempdir().expect("a folder");
    let (old, new) = (folder.path().join("old"), folder.path().join("new"));
    std::fs::write(&old, "old").and_then(|()| std::fs::write(&new, "new")).expect("written");
    let open = std::fs::File::open(&old).expect("opened");
    let replaces = std::fs::rename(&new, &old).is_ok();
    drop(open);
    assert!(replaces || cfg!(windows), "every file system of Unix replaces open files");
    if !replaces {
        eprintln!("skipped: this file system replaces no open file");
    }
    replaces
}
