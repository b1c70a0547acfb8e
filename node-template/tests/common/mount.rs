//! A disk of a test's own: small, so that it can be full, or read-only, which root's rights do not
//! pass over.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A filesystem in memory, of a fixed size. It goes with this value.
pub struct Mount(TempDir);

impl Mount {
    /// Mounts one. `None` where that is not allowed, which is a failure in CI on Linux.
    pub fn memory(kibibytes: usize) -> Option<Self> {
        let folder = TempDir::new().unwrap();
        let size = format!("size={kibibytes}k");
        if let Err(error) = run(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path())) {
            assert!(!must_be(), "no disk to fill, run the tests as root: {error}");
            eprintln!("skipped, because only root may mount a disk: {error}");
            return None;
        }
        Some(Self(folder))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// A new folder on it. It need not be removed: the disk goes as a whole.
    pub fn folder(&self) -> TempDir {
        tempfile::tempdir_in(self.path()).unwrap()
    }

    /// Makes it read-only.
    pub fn protect(&self) {
        run(Command::new("mount").args(["-o", "remount,ro"]).arg(self.path())).unwrap();
    }

    /// Fills what is left of it, to the last byte, with a file that is returned.
    pub fn fill(&self) -> PathBuf {
        let path = self.path().join("ballast");
        let mut ballast = std::fs::File::create(&path).unwrap();
        // A shorter piece fits where a longer one does not.
        for size in [4_096, 1] {
            while std::io::Write::write_all(&mut ballast, &vec![b'x'; size]).is_ok() {}
        }
        path
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: a process that was killed a moment ago may still stand in it.
        if let Err(error) = run(Command::new("umount").arg("-l").arg(self.path())) {
            eprintln!("{} is still mounted: {error}", self.path().display());
        }
    }
}

/// Lets a file be read and not written, also by root, until the guard is dropped.
pub struct Protected(PathBuf);

impl Protected {
    /// `None` where that is not allowed, which is a failure in CI on Linux.
    pub fn file(path: &Path) -> Option<Self> {
        let protected = run(Command::new("mount").arg("--bind").args([path, path]))
            .and_then(|()| run(Command::new("mount").args(["-o", "remount,bind,ro"]).arg(path)));
        if let Err(error) = protected {
            assert!(!must_be(), "a file cannot be protected, run the tests as root: {error}");
            eprintln!("skipped, because only root may protect a file from root: {error}");
            return None;
        }
        Some(Self(path.to_owned()))
    }
}

impl Drop for Protected {
    fn drop(&mut self) {
        if let Err(error) = run(Command::new("umount").arg("-l").arg(&self.0)) {
            eprintln!("{} is still protected: {error}", self.0.display());
        }
    }
}

/// Whether disks must be there: other systems have no file system in memory and no binds.
fn must_be() -> bool {
    cfg!(target_os = "linux") && std::env::var_os("CI").is_some()
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| error.to_string())?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()) }
}
