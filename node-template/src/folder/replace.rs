//! Atomic replacement of a file. A link is followed; what is no file is written into, or refused.

use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::system::{canonical, create_private, keep_access, rename, sync_folder};

/// How many links in a row are followed to a file that does not exist yet, as Linux does
/// (path_resolution(7)).
pub(crate) const LINKS: usize = 40;

/// Counts drafts, whose names must differ.
static DRAFTS: AtomicU64 = AtomicU64::new(0);

/// A file that has a temporary name until it is complete; dropped before that, it is removed. A
/// pipe or a device is written into instead.
#[derive(Debug)]
pub(crate) struct Draft {
    file: Option<File>,
    place: Place,
}

/// Where the bytes of a draft are.
#[derive(Debug)]
enum Place {
    /// In a file beside the one that it will replace, whose access rights it gets.
    Beside { draft: PathBuf, target: PathBuf, old: Option<Box<Metadata>> },
    /// At the path itself.
    There,
}

impl Draft {
    /// Opens a draft of the file at a path, or what is there if that is no file.
    ///
    /// # Errors
    /// The system's error.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let old = match fs::metadata(path) {
            Ok(old) => Some(Box::new(old)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        // A file without a path is one that is open, as /dev/stdout can be, and was removed.
        let has_path = old.as_ref().is_none_or(|old| old.is_file() && canonical(path).is_ok());
        if !has_path {
            let file = File::options().write(true).truncate(true).open(path)?;
            return Ok(Self { file: Some(file), place: Place::There });
        }
        let target = follow(path);
        let name = target.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
        loop {
            let number = DRAFTS.fetch_add(1, Ordering::Relaxed);
            let draft = target.with_file_name(format!(".{}.{}-{number}.part", name.display(), std::process::id()));
            // Not readable by more users than the old file, while it has no access rights yet.
            let made = if old.is_some() { create_private(&draft) } else { File::create_new(&draft) };
            match made {
                Ok(file) => return Ok(Self { file: Some(file), place: Place::Beside { draft, target, old } }),
                // Left by a process of the same number, as in a container.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Returns whether there will be a complete file, or the bytes go elsewhere as they come.
    #[cfg(feature = "cli")]
    pub(crate) fn is_file(&self) -> bool {
        matches!(self.place, Place::Beside { .. })
    }

    /// Waits for the disk and gives the file its name.
    ///
    /// # Errors
    /// The system's error. The file is then as it was.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        let Some(file) = self.file.take() else { return Ok(()) };
        let Place::Beside { draft, target, old } = &self.place else { return Ok(()) };
        let done = old.as_ref().map_or(Ok(()), |old| keep_access(&file, old)).and_then(|()| file.sync_all());
        // Closed first: some systems rename no open file.
        drop(file);
        if let Err(error) = done.and_then(|()| rename(draft, target)) {
            remove(draft);
            return Err(error);
        }
        sync_folder(target.parent().unwrap_or(Path::new(".")))
    }
}

impl Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.as_mut().map_or(Ok(0), |file| file.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if self.file.take().is_some()
            && let Place::Beside { draft, .. } = &self.place
        {
            remove(draft);
        }
    }
}

fn remove(draft: &Path) {
    // A hidden file is left at worst; the caller reports the first error.
    fs::remove_file(draft).unwrap_or_default();
}

/// Writes a file and waits for the disk. Readers see the old content or the new, never a part.
///
/// # Errors
/// The system's error, or the path leads to a folder, a pipe or a device. All is then as it was.
pub fn replace(path: &Path, text: &str) -> io::Result<()> {
    if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file: move it away"));
    }
    let mut draft = Draft::open(path)?;
    draft.write_all(text.as_bytes())?;
    draft.finish()
}

/// Returns the file that a path leads to. A link may lead to one that does not exist yet.
pub(crate) fn follow(path: &Path) -> PathBuf {
    if let Ok(path) = canonical(path) {
        return path;
    }
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        let Ok(target) = fs::read_link(&path) else { break };
        path = path.parent().unwrap_or(Path::new("")).join(target);
    }
    path
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_is_replaced_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("list");
        for text in ["one", "two"] {
            replace(&path, text).expect("written");
            assert_eq!(fs::read_to_string(&path).expect("read"), text);
        }
        assert_eq!(fs::read_dir(folder.path()).expect("listed").count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_followed_and_modes_stay() {
        use std::os::unix::fs::{PermissionsExt, symlink};

        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("elsewhere")).expect("made");
        fs::write(at("elsewhere/list"), "old").expect("written");
        fs::set_permissions(at("elsewhere/list"), fs::Permissions::from_mode(0o640)).expect("changed");
        symlink("elsewhere/list", at("list")).expect("linked");
        symlink("list", at("chain")).expect("linked");
        for name in ["list", "chain"] {
            replace(&at(name), name).expect("written");
            assert!(fs::symlink_metadata(at(name)).expect("there").is_symlink(), "{name}");
            assert_eq!(fs::read_to_string(at("elsewhere/list")).expect("read"), name);
        }
        assert_eq!(fs::metadata(at("list")).expect("there").permissions().mode() & 0o777, 0o640);

        symlink("elsewhere/new", at("dangling")).expect("linked");
        replace(&at("dangling"), "new").expect("written");
        assert_eq!(fs::read_to_string(at("elsewhere/new")).expect("the target is made"), "new");
        symlink("loop", at("loop")).expect("linked");
        replace(&at("loop"), "x").expect_err("it leads nowhere");
        assert!(fs::symlink_metadata(at("loop")).expect("there").is_symlink());
    }

    #[cfg(unix)]
    #[test]
    fn only_files_are_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let (pipe, link) = (folder.path().join("pipe"), folder.path().join("link"));
        crate::system::make_pipe(&pipe).expect("made");
        std::os::unix::fs::symlink("pipe", &link).expect("linked");
        for path in [&pipe, &link] {
            let error = replace(path, "x").expect_err("it is no file").to_string();
            assert!(error.contains("not a file"), "{error}");
        }
        assert!(!fs::metadata(&pipe).expect("there").is_file());
        assert!(fs::symlink_metadata(&link).expect("there").is_symlink());
    }
}
