//! The calls that change the pool's file, and the detection of changes by other programs.
//!
//! [`Disk`] is a trait so that tests can make each call fail. The module requires Unix: positioned
//! reads and writes, inodes.

use std::fmt::Debug;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::Duration;

use crate::folder::sync::sync_folder;

/// The calls that change the pool's file, and those that wait.
pub(crate) trait Disk: Debug + Send {
    /// Writes at an offset. Like the system's call, it may write fewer bytes.
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<usize>;
    /// Truncates or extends the file.
    fn set_len(&self, file: &File, length: u64) -> io::Result<()>;
    /// Returns when written data survives a power loss.
    fn sync(&self, file: &File) -> io::Result<()>;
    /// Returns when renames and new files in a folder survive a power loss.
    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        sync_folder(folder)
    }
    /// Waits, for another program to finish writing.
    fn wait(&self, time: Duration);
}

/// The system's disk.
#[derive(Debug)]
pub(crate) struct System;

impl Disk for System {
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
        file.write_at(bytes, offset)
    }

    fn set_len(&self, file: &File, length: u64) -> io::Result<()> {
        file.set_len(length)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn wait(&self, time: Duration) {
        std::thread::sleep(time);
    }
}

/// Writes all of `bytes` at `offset`, in one call unless the disk writes only a part.
pub(crate) fn write_all_at(disk: &dyn Disk, file: &File, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match disk.write_at(file, bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                bytes = &bytes[written..];
                offset += written as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Fills `bytes` from `offset`, up to the end of the file. Returns how many bytes were read.
pub(crate) fn read_up_to(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// The metadata of a file at one time. If it is the same later, no other program wrote to the file,
/// except with equal length within a tick of the file system's clock (some milliseconds). Reading a
/// row finds that too, since each row is checked against its identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileStamp {
    device: u64,
    inode: u64,
    /// In bytes.
    pub(crate) length: u64,
    modified: (i64, i64),
}

impl FileStamp {
    /// Returns the stamp of the file at a path; `None` if there is no file.
    pub(crate) fn of_path(path: &Path) -> io::Result<Option<Self>> {
        match fs::metadata(path) {
            Ok(metadata) => Ok(Some(Self::of(&metadata))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns the stamp of an open file, even if its path now leads to another.
    pub(crate) fn of_file(file: &File) -> io::Result<Self> {
        file.metadata().map(|metadata| Self::of(&metadata))
    }

    /// Returns whether both are stamps of the same file.
    pub(crate) fn same_file(&self, other: &Self) -> bool {
        (self.device, self.inode) == (other.device, other.inode)
    }

    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}
