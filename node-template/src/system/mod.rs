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

#[cfg(feature = "cli")]
pub use types::{EndReason, FileLimit};
pub use types::{FileStamp, LockError, Others};
#[cfg(unix)]
pub use unix::*;
#[cfg(windows)]
pub use windows::*;

#[cfg(test)]
mod tests;
