//! The calls by which the pool's file is changed, and how a change by somebody else is noticed.
//!
//! A full or failing disk says so in a call of [`Disk`]. It is a trait so that a test can let each call fail at a chosen moment; nothing else in the pool knows that there is more than one disk. All of this is Unix: positioned reads and writes, inodes.

use std::fmt::Debug;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::Duration;

use rustix::io::Errno;

/// What changes the pool's file, and what it is waited with.
pub(crate) trait Disk: Debug + Send {
    /// One positioned write; like the system's it may take fewer bytes than it is given.
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<usize>;
    /// Cuts or extends the file.
    fn set_len(&self, file: &File, length: u64) -> io::Result<()>;
    /// Returns when what was written can survive a power loss.
    fn sync(&self, file: &File) -> io::Result<()>;
    /// Returns when renames and new files in a folder can survive a power loss.
    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let Some(folder) = can_not(File::open(folder), Errno::ACCESS)? else { return Ok(()) };
        can_not(folder.sync_all(), Errno::INVAL).map(|_| ())
    }
    /// Lets time pass, in which another program may finish its writing.
    fn wait(&self, time: Duration);
}

/// The operating system's disk.
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

/// Writes all of `bytes` at `offset`: one call, unless the disk takes only a part.
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

/// Reads into all of `bytes` from `offset`, up to the end of the file; tells how many there were.
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

/// Takes one error for the answer that this can not be done here: a folder that may not be read, or a file system that waits for no folder (SMB).
fn can_not<T>(result: io::Result<T>, here: Errno) -> io::Result<Option<T>> {
    match result {
        Err(error) if Errno::from_io_error(&error) == Some(here) => Ok(None),
        result => result.map(Some),
    }
}

/// What a file looked like. If it looks the same later, nobody wrote to it: short of a write of equal length within the same tick of the
/// filesystem's clock (some milliseconds), which reading a row finds out, because each is checked against its identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    /// In bytes.
    pub(crate) length: u64,
    modified: (i64, i64),
}

impl Stamp {
    /// The look of what stands at a path now; `None` if nothing does.
    pub(crate) fn of_path(path: &Path) -> io::Result<Option<Self>> {
        match fs::metadata(path) {
            Ok(metadata) => Ok(Some(Self::of(&metadata))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The look of an open file, whatever its path leads to by now.
    pub(crate) fn of_file(file: &File) -> io::Result<Self> {
        file.metadata().map(|metadata| Self::of(&metadata))
    }

    /// Whether both are looks of one file.
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
