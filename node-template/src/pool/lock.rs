//! The lock that prevents a second node in a folder.
//!
//! It is on a file of its own, `node.lock`: the pool's file may be replaced, and a lock would stay
//! with the old one. The system releases the lock when the process ends. The file stays: if it were
//! removed, two nodes could lock two files of the same name.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use crate::pool::error::PoolError;
use crate::pool::load;
use crate::protocol::address::PeerAddress;
use crate::system::{LockError, try_lock};
use crate::util::lifetime::{Alive, Ended};

/// The lock's file. While a node runs, it holds its process id, in a second line its address, and
/// in a third the URL of its page, if it has one.
pub const LOCK_FILE: &str = "node.lock";

/// A held lock. Clones share it: dropping the last one releases it. The node's task has one, and so
/// has each thread that writes in the folder.
#[derive(Debug, Clone)]
pub(crate) struct Lock(Arc<Held>);

#[derive(Debug)]
struct Held {
    // Released first, so that the folder can be opened again at the end.
    _file: File,
    alive: Alive,
}

impl Lock {
    /// Takes the folder's lock.
    ///
    /// # Errors
    /// [`PoolError::InUse`] if another node holds it, [`PoolError::NoLocks`] if the file system has
    /// no locks: two nodes would write to one file and sign with one key, and tools would not find
    /// the node that runs.
    pub(crate) fn take(folder: &Path) -> Result<Self, PoolError> {
        Self::take_by(&load::canonical(folder)?, try_lock)
    }

    /// Returns what tells of the release.
    pub(crate) fn released(&self) -> Ended {
        self.0.alive.ended()
    }

    fn take_by(folder: &Path, try_lock: impl Fn(&Path) -> Result<File, LockError>) -> Result<Self, PoolError> {
        let path = folder.join(LOCK_FILE);
        load::check_kind(&path)?;
        let file = match try_lock(&path) {
            Ok(file) => file,
            Err(LockError::Held) => {
                let text = fs::read_to_string(&path).unwrap_or_default();
                let pid = text.lines().next().and_then(|line| line.parse().ok());
                return Err(PoolError::InUse { folder: folder.to_owned(), pid });
            }
            Err(LockError::Unsupported(cause)) => return Err(PoolError::NoLocks { path, cause }),
            Err(LockError::Io(error)) => return Err(PoolError::io("open", &path)(error)),
        };
        fs::write(&path, format!("{}\n", std::process::id())).map_err(PoolError::io("write", &path))?;
        Ok(Self(Arc::new(Held { _file: file, alive: Alive::default() })))
    }
}

/// Writes the process id and the address of the running node, which holds the lock, for tools.
///
/// # Errors
/// [`PoolError::Io`].
pub(crate) fn announce(folder: &Path, address: &PeerAddress) -> Result<(), PoolError> {
    let path = load::canonical(folder)?.join(LOCK_FILE);
    fs::write(&path, format!("{}\n{address}\n", std::process::id())).map_err(PoolError::io("write", &path))
}

/// Adds the URL of the page of the running node, after [`announce`].
///
/// # Errors
/// [`PoolError::Io`].
#[cfg(all(feature = "cli", feature = "web"))]
pub(crate) fn announce_page(folder: &Path, url: &str) -> Result<(), PoolError> {
    let path = load::canonical(folder)?.join(LOCK_FILE);
    let added = File::options()
        .append(true)
        .open(&path)
        .and_then(|mut file| std::io::Write::write_all(&mut file, format!("{url}\n").as_bytes()));
    added.map_err(PoolError::io("write", &path))
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_folder_whose_file_system_has_no_locks_is_refused_in_one_line_with_the_remedy() {
        let folder = tempfile::tempdir().expect("a folder");
        let without = |_: &Path| Err(LockError::Unsupported(io::Error::other("No locks available (os error 37)")));
        let error = Lock::take_by(folder.path(), without).expect_err("refused");
        let text = error.to_string();
        let parts = ["cannot lock ", "node.lock: No locks available (os error 37)", "no file locks", "local disk"];
        assert!(parts.iter().all(|part| text.contains(part)) && !text.contains('\n'), "{text}");
        assert!(!folder.path().join(LOCK_FILE).exists(), "nothing says that a node runs");
        drop(Lock::take(folder.path()).expect("this one has locks"));
    }
}
