//! A folder's ed25519 key pair: the node's identity, kept in `node.key`.
//!
//! The file holds the secret half as one line of 64 hexadecimal digits and is readable by its owner alone. It is made once, whole or not at all,
//! and never written again: a file that is broken or open to others is an error, because a node that silently took a new identity would look like a
//! stranger to everyone who knew it. The secret leaves this module in no form;
//! only [`NodeKey::node_id`] and signatures do.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

use data_encoding::HEXLOWER;
use ed25519_dalek::{Signer as _, SigningKey};

use crate::folder::known_peers::shown;
use crate::protocol::id::{NodeId, parse_hex32};
use crate::protocol::signature::{Purpose, Signature};

#[cfg(test)]
mod tests;

/// The name of the file that holds a folder's key.
pub const NODE_KEY: &str = "node.key";
/// More than any key file has, in bytes: 64 digits and an end of line.
const FILE_BYTES: u64 = 256;

/// A folder's key pair.
pub struct NodeKey(SigningKey);

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeKey({}, secret)", self.node_id().short())
    }
}

/// Why a folder has no usable key. One line: which file, what is wrong, what to do. The file is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The file does not hold 64 hexadecimal digits.
    #[error(
        "{path} is broken: a key is one line of 64 hexadecimal digits; put the original back, or delete it (and MY_PUBLIC_KEY in .env) \
         and the node starts as a new one"
    )]
    Broken {
        /// The file.
        path: String,
    },
    /// Others may read the secret.
    #[error("{path} can be read by others (mode {mode:03o}): a node's key is a secret; run 'chmod 600 {file}'")]
    Open {
        /// The file.
        path: String,
        /// The same as the command of the remedy needs it, from the current folder.
        file: String,
        /// Its permission bits.
        mode: u32,
    },
    /// The system does not let us read it.
    #[error("{path} can not be read: {cause}; check who may read it")]
    Unreadable {
        /// The file.
        path: String,
        /// What the system said.
        cause: io::Error,
    },
    /// The system does not let us make it.
    #[error("{path} can not be made: {cause}; check that the folder may be written to and has room")]
    Unwritable {
        /// The file.
        path: String,
        /// What the system said.
        cause: io::Error,
    },
}

impl NodeKey {
    /// The folder's key; at the first start it is made, from the system's randomness.
    ///
    /// # Errors
    /// [`KeyError`]; an existing file is never overwritten.
    pub fn load_or_create(folder: &Path) -> Result<Self, KeyError> {
        match Self::load(folder)? {
            Some(key) => Ok(key),
            None => Self::create_named(folder, NODE_KEY),
        }
    }

    /// The folder's key; `None` if it has none yet.
    ///
    /// # Errors
    /// [`KeyError`] if there is a file, but no usable key.
    pub fn load(folder: &Path) -> Result<Option<Self>, KeyError> {
        Self::load_named(folder, NODE_KEY)
    }

    /// The key that a file of the folder holds; `None` if there is no such file. A network's authority has one too.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub(crate) fn load_named(folder: &Path, name: &str) -> Result<Option<Self>, KeyError> {
        let path = || shown(folder, name);
        let file = folder.join(name);
        let metadata = match file.metadata() {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(KeyError::Unreadable { path: path(), cause }),
        };
        // Asked before opening: to open a pipe that nobody writes to would wait for ever.
        if !metadata.is_file() {
            return Err(KeyError::Broken { path: path() });
        }
        refuse_open(&metadata, folder, name)?;
        let mut bytes = Vec::new();
        File::open(&file)
            .and_then(|file| file.take(FILE_BYTES).read_to_end(&mut bytes))
            .map_err(|cause| KeyError::Unreadable { path: path(), cause })?;
        let secret = std::str::from_utf8(&bytes).ok().and_then(|text| parse_hex32(text.trim()));
        let secret = secret.ok_or_else(|| KeyError::Broken { path: path() })?;
        Ok(Some(Self(SigningKey::from_bytes(&secret))))
    }

    /// The public half, by which other nodes know this one.
    pub fn node_id(&self) -> NodeId {
        NodeId(self.0.verifying_key().to_bytes())
    }

    /// Signs canonical JSON for a purpose. The same text has always the same signature (RFC 8032).
    pub fn signature(&self, purpose: Purpose, canonical: &str) -> Signature {
        Signature(self.sign(&purpose.message(canonical)))
    }

    /// Signs a message (RFC 8032, section 5.1).
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }

    /// Makes a key in a file of the folder; if there is one meanwhile, that is it.
    ///
    /// # Errors
    /// [`KeyError`].
    pub(crate) fn create_named(folder: &Path, name: &str) -> Result<Self, KeyError> {
        let unwritable = |cause| KeyError::Unwritable { path: shown(folder, name), cause };
        let mut random = [0; 40];
        getrandom::fill(&mut random).map_err(|error| unwritable(error.into()))?;
        let (secret, nonce) = random.split_first_chunk::<32>().expect("40 bytes are more than 32");
        // A name of its own: a half-written leftover of a crash must not stand in the way of the next start.
        let draft = folder.join(format!("{name}.{}", HEXLOWER.encode(nonce)));
        let placed = write(&draft, secret).and_then(|()| place(&draft, &folder.join(name)));
        let removed = match fs::remove_file(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        match placed {
            Ok(()) => removed.map(|()| Self(SigningKey::from_bytes(secret))).map_err(unwritable),
            // Another process made it since we looked; its key is the folder's, ours was never used.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Self::load_named(folder, name)?.ok_or_else(|| unwritable(error))
            }
            Err(error) => Err(unwritable(error)),
        }
    }
}

fn write(draft: &Path, secret: &[u8; 32]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(draft)?;
    file.write_all(format!("{}\n", HEXLOWER.encode(secret)).as_bytes())?;
    file.sync_all()
}

/// Gives the draft its name, and makes the name last. Two names for one file rather than a rename: a rename replaces what is there.
fn place(draft: &Path, path: &Path) -> io::Result<()> {
    match fs::hard_link(draft, path) {
        // Shared folders of virtual machines, memory cards and Android have no second names. What the rename could replace there is a key made
        // within the last microseconds.
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists && !path.try_exists()? => fs::rename(draft, path)?,
        linked => linked?,
    }
    // Elsewhere a folder can not be opened as a file, and its entries are kept by the system's own journal.
    #[cfg(unix)]
    File::open(path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")))?.sync_all()?;
    Ok(())
}

#[cfg(unix)]
fn refuse_open(metadata: &fs::Metadata, folder: &Path, name: &str) -> Result<(), KeyError> {
    let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(KeyError::Open { path: shown(folder, name), file: folder.join(name).display().to_string(), mode })
}

#[cfg(not(unix))]
fn refuse_open(_metadata: &fs::Metadata, _folder: &Path, _name: &str) -> Result<(), KeyError> {
    Ok(())
}
