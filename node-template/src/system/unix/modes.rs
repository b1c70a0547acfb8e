//! Whether a folder's file system keeps file modes. Drives of Windows in WSL, FAT, and shares of
//! virtual machines do not: every file has one mode there, and chmod fails or changes nothing.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;

use crate::system::types::Others;

/// Returns who besides its owner can read a file.
pub fn others(metadata: &fs::Metadata, file: &Path) -> Others {
    let mode = of(metadata);
    if !is_open(mode) {
        return Others::Closed;
    }
    // A secret that is mounted is often a link to another file system.
    let file = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    match are_kept(file.parent().unwrap_or(Path::new(".")), &System) {
        Some(false) => Others::NoModes(mode),
        _ => Others::Open(mode),
    }
}

/// Returns the permission bits of a file.
fn of(metadata: &fs::Metadata) -> u32 {
    metadata.mode() & 0o777
}

/// Returns whether a file with this mode can be read or changed by others.
fn is_open(mode: u32) -> bool {
    mode & 0o077 != 0
}

/// The calls that show whether modes are kept. Tests replace them.
trait Calls {
    /// Creates an empty file for its owner only, and returns it with its mode.
    fn create(&self, path: &Path) -> io::Result<(File, u32)>;
    /// Sets the mode of a file, and returns the one that it has then.
    fn change(&self, file: &File, mode: u32) -> io::Result<u32>;
    /// Removes the file.
    fn remove(&self, path: &Path);
}

/// The system's calls.
struct System;

impl Calls for System {
    fn create(&self, path: &Path) -> io::Result<(File, u32)> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        let mode = of(&file.metadata()?);
        Ok((file, mode))
    }

    fn change(&self, file: &File, mode: u32) -> io::Result<u32> {
        file.set_permissions(Permissions::from_mode(mode))?;
        file.metadata().map(|metadata| of(&metadata))
    }

    fn remove(&self, path: &Path) {
        // An empty file is left at worst.
        fs::remove_file(path).ok();
    }
}

/// Returns whether a folder's file system keeps modes, by a file that is made and removed. `None`
/// if no file can be made there.
fn are_kept(folder: &Path, calls: &impl Calls) -> Option<bool> {
    let path = probe_path(folder)?;
    let (file, created) = calls.create(&path).ok()?;
    // Some keep the mode of the mount for new files, and change it on request: then modes work.
    let kept = !is_open(created) || calls.change(&file, 0o600).is_ok_and(|mode| !is_open(mode));
    drop(file);
    calls.remove(&path);
    Some(kept)
}

/// Returns a name that no other file has.
fn probe_path(folder: &Path) -> Option<PathBuf> {
    let mut nonce = [0; 8];
    getrandom::fill(&mut nonce).ok()?;
    Some(folder.join(format!(".mode-{}", HEXLOWER.encode(&nonce))))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// A file system that gives files one mode.
    struct Fixed {
        mode: u32,
        /// What chmod does: fails, changes nothing, or works.
        change: Option<bool>,
        removed: Cell<bool>,
    }

    impl Calls for Fixed {
        fn create(&self, path: &Path) -> io::Result<(File, u32)> {
            Ok((File::create_new(path)?, self.mode))
        }

        fn change(&self, _: &File, mode: u32) -> io::Result<u32> {
            match self.change {
                None => Err(io::ErrorKind::PermissionDenied.into()),
                Some(works) => Ok(if works { mode } else { self.mode }),
            }
        }

        fn remove(&self, path: &Path) {
            self.removed.set(true);
            fs::remove_file(path).expect("removed");
        }
    }

    #[test]
    fn modes_are_kept_where_a_file_can_be_closed() {
        let folder = tempfile::tempdir().expect("a folder");
        for (mode, change, kept) in [
            (0o777, None, false),
            (0o777, Some(false), false),
            (0o755, Some(false), false),
            (0o644, None, false),
            (0o777, Some(true), true),
            (0o600, None, true),
            (0o700, Some(false), true),
        ] {
            let calls = Fixed { mode, change, removed: Cell::new(false) };
            assert_eq!(are_kept(folder.path(), &calls), Some(kept), "{mode:o} {change:?}");
            assert!(calls.removed.get());
        }
        assert_eq!(are_kept(folder.path(), &System), Some(true));
        assert_eq!(are_kept(&folder.path().join("none"), &System), None, "nothing can be made there");
        assert_eq!(fs::read_dir(folder.path()).expect("listed").count(), 0, "nothing is left");
    }
}
