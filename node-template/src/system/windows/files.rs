//! Files: positioned calls, stamps, and renames beside other programs that have a file open.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::windows::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::system::types::FileStamp;
use crate::system::windows::lock::is_sharing_violation;

/// Opens a link itself, and not its target (FILE_FLAG_OPEN_REPARSE_POINT of `CreateFileW`).
const OPEN_LINK: u32 = 0x0020_0000;
/// The pauses before a rename is tried again: 1.3 s together. Virus scanners and indexers open a
/// file for a moment when it was written.
const PAUSES: [u64; 8] = [5, 10, 20, 40, 80, 160, 320, 640];

/// Reads at an offset, at most as much as there is room. It moves the position of the file too, so
/// nobody reads the same handle in sequence meanwhile.
///
/// # Errors
/// The system's.
pub fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
    file.seek_read(bytes, offset)
}

/// Writes at an offset, perhaps a part only. It moves the position of the file too.
///
/// # Errors
/// The system's.
pub fn write_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
    file.seek_write(bytes, offset)
}

/// Renames a file, in place of another of that name. While another program has one of them open
/// without sharing it, this waits for a moment.
///
/// # Errors
/// The system's; a program still has the file open.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    for pause in PAUSES {
        match fs::rename(from, to) {
            Err(error) if is_sharing_violation(&error) || error.kind() == io::ErrorKind::PermissionDenied => {
                std::thread::sleep(Duration::from_millis(pause));
            }
            renamed => return renamed,
        }
    }
    fs::rename(from, to).map_err(|error| match is_sharing_violation(&error) {
        true => io::Error::new(error.kind(), format!("{error} (close the program that has {} open)", to.display())),
        false => error,
    })
}

/// Returns the path without links, in the form that people and other programs know.
///
/// # Errors
/// The system's.
pub fn canonical(path: &Path) -> io::Result<PathBuf> {
    dunce::canonicalize(path)
}

/// Creates a file, to be written. Who can read it is told by the access rights of its folder.
///
/// # Errors
/// The system's; it exists.
pub fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

/// Gives a file the attributes of another one that it will replace.
///
/// # Errors
/// None: a file system that refuses them has none.
pub fn keep_access(file: &File, old: &Metadata) -> io::Result<()> {
    file.set_permissions(old.permissions()).unwrap_or_default();
    Ok(())
}

/// Returns nothing: a change of a file's access rights does not show.
pub fn rights_stamp(_: &Metadata) -> (i64, i64, u32) {
    (0, 0, 0)
}

/// Creates a folder with those above it, unless it exists.
///
/// # Errors
/// The system's.
#[cfg(feature = "tls")]
pub fn create_private_folder(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

/// Opens a regular file for reading; `None` if there is something else at the path or nothing. It
/// follows no link.
///
/// # Errors
/// The system's.
pub fn open_regular(path: &Path) -> io::Result<Option<File>> {
    match OpenOptions::new().read(true).custom_flags(OPEN_LINK).open(path) {
        // Of a link that was opened itself this is not a file; nor are `NUL` and its like.
        Ok(file) => Ok((file.metadata()?.is_file() && is_disk_file(&file)).then_some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        // A folder cannot be opened as a file.
        Err(error) => match fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_file() => Err(error),
            _ => Ok(None),
        },
    }
}

fn is_disk_file(file: &File) -> bool {
    winapi_util::file::typ(file).is_ok_and(|kind| kind.is_disk())
}

/// Returns whether a call failed since this process has too many files open
/// (ERROR_TOO_MANY_OPEN_FILES).
pub fn is_out_of_files(error: &io::Error) -> bool {
    error.raw_os_error() == Some(4)
}

/// Returns why this process may not write to a file: it has the attribute that forbids it. Access
/// rights show when it is opened.
///
/// # Errors
/// The system's.
#[cfg(feature = "cli")]
pub fn check_writable(path: &Path) -> io::Result<()> {
    let metadata = fs::metadata(path)?;
    // Of a folder the attribute means something else.
    match metadata.is_file() && metadata.permissions().readonly() {
        true => Err(io::ErrorKind::PermissionDenied.into()),
        false => Ok(()),
    }
}

/// Does nothing: any number of files may be open.
///
/// # Errors
/// None.
#[cfg(feature = "cli")]
pub fn check_descriptors() -> io::Result<()> {
    Ok(())
}

impl FileStamp {
    /// Returns the stamp of the file at a path; `None` if there is no file.
    ///
    /// # Errors
    /// The system's.
    pub fn of_path(path: &Path) -> io::Result<Option<Self>> {
        match File::open(path) {
            Ok(file) => Self::of_file(&file).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns the stamp of an open file, even if its path now leads to another.
    ///
    /// # Errors
    /// The system's.
    pub fn of_file(file: &File) -> io::Result<Self> {
        let found = winapi_util::file::information(file)?;
        Ok(Self {
            device: found.volume_serial_number(),
            inode: found.file_index(),
            length: found.file_size(),
            modified: (found.last_write_time().unwrap_or(0).cast_signed(), 0),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Opens a file as programs do that do not share the right to delete it: editors, scanners.
    fn held(path: &Path) -> File {
        OpenOptions::new().read(true).share_mode(1 | 2).open(path).expect("a file")
    }

    #[test]
    fn a_file_that_another_program_has_open_is_replaced_once_it_is_closed() {
        let folder = tempfile::tempdir().expect("a folder");
        let (new, old) = (folder.path().join("new"), folder.path().join("old"));
        fs::write(&new, "new").expect("written");
        fs::write(&old, "old").expect("written");
        let open = held(&old);
        assert!(fs::rename(&new, &old).is_err(), "the system refuses it meanwhile");
        let (sender, receiver) = mpsc::channel();
        let closing = std::thread::spawn(move || {
            receiver.recv().expect("asked");
            drop(open);
        });
        sender.send(()).expect("sent");
        rename(&new, &old).expect("replaced");
        closing.join().expect("closed");
        assert_eq!(fs::read_to_string(&old).expect("read"), "new");
    }

    #[test]
    fn a_file_that_stays_open_is_named_and_both_files_stay() {
        let folder = tempfile::tempdir().expect("a folder");
        let (new, old) = (folder.path().join("new"), folder.path().join("old"));
        fs::write(&new, "new").expect("written");
        fs::write(&old, "old").expect("written");
        let _open = held(&old);
        rename(&new, &old).expect_err("it is open");
        assert_eq!(fs::read_to_string(&old).expect("read"), "old");
        assert_eq!(fs::read_to_string(&new).expect("read"), "new");
    }

    #[test]
    fn names_of_devices_are_no_files() {
        for name in ["NUL", "CON", "NUL.jpg"] {
            let opened = open_regular(Path::new(name));
            assert!(!matches!(opened, Ok(Some(_))), "{name}: {opened:?}");
        }
    }
}
