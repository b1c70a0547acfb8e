//! The lock that keeps a second node out of a folder.
//!
//! It lies on a file of its own, `node.lock`: the pool's file may be replaced by a rename, and a lock on it would go with the old one. The system
//! releases it when the process ends, however it ends; the file itself stays, because removing it would let two nodes lock two files of one name.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use crate::pool::error::PoolError;
use crate::pool::load;
use crate::protocol::address::PeerAddress;

/// The lock's file, in the node's folder. While a node runs it holds that node's process id and, in a second line, its address.
pub const LOCK_FILE: &str = "node.lock";

/// A held lock; dropping it releases it.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the folder's lock.
    ///
    /// # Errors
    /// [`PoolError::InUse`] if another node has it.
    pub(crate) fn take(folder: &Path) -> Result<Self, PoolError> {
        let path = folder.join(LOCK_FILE);
        let mut file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(PoolError::io("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let pid = file.read_to_string(&mut text).ok().and_then(|_| text.lines().next()?.parse().ok());
                return Err(PoolError::InUse { folder: folder.to_owned(), pid });
            }
            Err(TryLockError::Error(error)) => return Err(PoolError::io("lock", &path)(error)),
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(PoolError::io("write", &path))?;
        Ok(Self { _file: file })
    }
}

/// Writes the address of the running node, which holds the folder's lock, beside its process id: so that tools find it whatever port the system gave.
///
/// # Errors
/// [`PoolError::Io`].
pub fn announce(folder: &Path, address: &PeerAddress) -> Result<(), PoolError> {
    let path = load::whole(folder)?.join(LOCK_FILE);
    std::fs::write(&path, format!("{}\n{address}\n", std::process::id())).map_err(PoolError::io("write", &path))
}
