//! Files: positioned calls, stamps, and what is private to a user.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

#[cfg(feature = "cli")]
use rustix::fs::Access;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::system::types::FileStamp;

/// Reads at an offset, at most as much as there is room.
///
/// # Errors
/// The system's.
pub fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    file.read_at(bytes, offset)
}

/// Writes at an offset, perhaps a part only.
///
/// # Errors
/// The system's.
pub fn write_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
    file.write_at(bytes, offset)
}

/// Renames a file, in place of another of that name.
///
/// # Errors
/// The system's.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)
}

/// Returns the path without links.
///
/// # Errors
/// The system's.
pub fn canonical(path: &Path) -> io::Result<PathBuf> {
    fs::canonicalize(path)
}

/// Creates a file that only its owner can read, to be written.
///
/// # Errors
/// The system's; it exists.
pub fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Gives a file the mode of another one that it will replace, and its owner and group where this
/// process may.
///
/// # Errors
/// The system's, unless the file system has no modes.
pub fn keep_access(file: &File, old: &Metadata) -> io::Result<()> {
    // Only root gives files away, and others give them to groups of their own alone. Both come
    // before the mode, of which they clear bits (chown(2)).
    fchown(file, Some(old.uid()), None).unwrap_or_default();
    fchown(file, None, Some(old.gid())).unwrap_or_default();
    match file.set_permissions(old.permissions()) {
        // Such a file system may refuse even the mode that all its files have.
        Err(error) if is_mode_refused(&error) => Ok(()),
        set => set,
    }
}

/// Returns what shows a change of a file's access rights, which changes neither its length nor the
/// time of its content.
pub fn rights_stamp(metadata: &Metadata) -> (i64, i64, u32) {
    (metadata.ctime(), metadata.ctime_nsec(), metadata.mode())
}

fn is_mode_refused(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(error.kind(), Kind::PermissionDenied | Kind::Unsupported | Kind::InvalidInput)
}

/// Creates a folder that only its owner can enter, with those above it, unless it exists.
///
/// # Errors
/// The system's.
#[cfg(feature = "tls")]
pub fn create_private_folder(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    std::os::unix::fs::DirBuilderExt::mode(builder.recursive(true), 0o700).create(path)
}

/// Opens a regular file for reading; `None` if there is something else at the path or nothing. It
/// follows no link, and never blocks.
///
/// # Errors
/// The system's.
pub fn open_regular(path: &Path) -> io::Result<Option<File>> {
    // Checked before it is opened, because opening some devices has an effect.
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    }
    // And again after: the file may have been replaced. NOFOLLOW and NONBLOCK are for that moment.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(descriptor) => File::from(descriptor),
        Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    Ok(file.metadata()?.is_file().then_some(file))
}

/// Returns whether a call failed since this process, or the system, has too many files open.
pub fn is_out_of_files(error: &io::Error) -> bool {
    Errno::from_io_error(error).is_some_and(|errno| matches!(errno, Errno::MFILE | Errno::NFILE))
}

/// Returns why this process may not write to a file, or make files in a folder.
///
/// # Errors
/// The system's.
#[cfg(feature = "cli")]
pub fn check_writable(path: &Path) -> io::Result<()> {
    let access = if path.is_dir() { Access::WRITE_OK | Access::EXEC_OK } else { Access::WRITE_OK };
    Ok(rustix::fs::access(path, access)?)
}

/// Returns why this process cannot open some files more.
///
/// # Errors
/// The system's.
#[cfg(feature = "cli")]
pub fn check_descriptors() -> io::Result<()> {
    // The runtime opens six, and panics where it gets none for its signals.
    let pairs: io::Result<Vec<_>> = (0..4).map(|_| std::os::unix::net::UnixStream::pair()).collect();
    pairs.map(drop)
}

impl FileStamp {
    /// Returns the stamp of the file at a path; `None` if there is no file.
    ///
    /// # Errors
    /// The system's.
    pub fn of_path(path: &Path) -> io::Result<Option<Self>> {
        match fs::metadata(path) {
            Ok(metadata) => Ok(Some(Self::of(&metadata))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns the stamp of an open file, even if its path now leads to another.
    ///
    /// # Errors
    /// The system's.
    pub fn of_file(file: &File) -> io::Result<Self> {
        file.metadata().map(|metadata| Self::of(&metadata))
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

/// Makes a named pipe.
#[cfg(test)]
pub(crate) fn make_pipe(path: &Path) -> io::Result<()> {
    let made = std::process::Command::new("mkfifo").arg(path).status()?;
    if made.success() { Ok(()) } else { Err(io::Error::other("mkfifo failed")) }
}
