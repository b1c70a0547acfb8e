//! The calls that change the pool's file. [`Disk`] is a trait so that tests can make each call
//! fail.

use std::fmt::Debug;
use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use crate::system::{read_at, sync_folder, write_at};

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
        write_at(file, bytes, offset)
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
    #[cfg(test)]
    bad_blocks::check(file, offset..offset + bytes.len() as u64)?;
    let mut filled = 0;
    while filled < bytes.len() {
        match read_at(file, &mut bytes[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Offsets in files that cannot be read, as blocks of a disk that is worn.
#[cfg(test)]
pub(crate) mod bad_blocks {
    use std::fs::File;
    use std::io;
    use std::ops::Range;
    use std::sync::{Mutex, MutexGuard, PoisonError};

    use crate::system::FileStamp;

    static ALL: Mutex<Vec<(FileStamp, u64)>> = Mutex::new(Vec::new());

    /// A byte of a file that cannot be read, until this is dropped.
    #[derive(Debug)]
    pub(crate) struct BadBlock {
        stamp: FileStamp,
        /// Open, so that no other file gets its number.
        _file: File,
    }

    impl BadBlock {
        pub(crate) fn at(file: File, offset: u64) -> Self {
            let stamp = FileStamp::of_file(&file).expect("an open file");
            all().push((stamp, offset));
            Self { stamp, _file: file }
        }
    }

    impl Drop for BadBlock {
        fn drop(&mut self) {
            all().retain(|(stamp, _)| !stamp.same_file(&self.stamp));
        }
    }

    fn all() -> MutexGuard<'static, Vec<(FileStamp, u64)>> {
        ALL.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn check(file: &File, range: Range<u64>) -> io::Result<()> {
        let all = all();
        let stamp = if all.is_empty() { return Ok(()) } else { FileStamp::of_file(file)? };
        match all.iter().any(|(bad, offset)| bad.same_file(&stamp) && range.contains(offset)) {
            true => Err(io::Error::other("a bad block")),
            false => Ok(()),
        }
    }
}
