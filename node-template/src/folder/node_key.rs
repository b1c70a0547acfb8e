//! A folder's ed25519 key pair: the node's identity, kept in `node.key`.
//!
//! The file holds the secret key as one line of 64 hexadecimal digits, readable by its owner only.
//! It is created once, atomically, and never written again. A broken file, or one that others can
//! read, is an error: a new key would make the node unknown to its peers. Only [`NodeKey::node_id`]
//! and signatures leave this module, never the secret.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use data_encoding::HEXLOWER;
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};

use crate::folder::files::{is_link, remedy, shown};
use crate::protocol::id::{NodeId, parse_hex32};
use crate::protocol::signature::{Purpose, Signature};
use crate::system::{Others, create_private, others, rename, sync_folder};

#[cfg(test)]
mod tests;

/// The file's name.
pub const NODE_KEY: &str = "node.key";
/// The most bytes that are read: more than 64 digits and a line break.
const FILE_BYTES: u64 = 256;

/// A folder's key pair.
pub struct NodeKey {
    key: SigningKey,
    warning: Option<String>,
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeKey({}, secret)", self.node_id().short())
    }
}

/// Why a folder has no usable key. One line: which file, what is wrong, what to do. The file stays
/// as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The file does not hold 64 hexadecimal digits.
    #[error(
        "{path} is broken: a key is one line of 64 hexadecimal digits; restore the original, or delete it (and MY_PUBLIC_KEY in .env) \
         and the node starts with a new one"
    )]
    Broken {
        /// The file.
        path: String,
    },
    /// It is a folder, a pipe or a device.
    #[error("{path} is not a file: move it away and put the key there, or the node starts with a new one")]
    NotAFile {
        /// The path.
        path: String,
    },
    /// It is a link, and there is no file where that leads.
    #[error(
        "{path} is a link to a file that is missing: restore that file, or remove the link and the node starts with a new key"
    )]
    LeadsNowhere {
        /// The link.
        path: String,
    },
    /// Other users can read the file.
    #[error("{path} can be read by others (mode {mode:03o}): a node's key is a secret; {remedy}")]
    Open {
        /// The file.
        path: String,
        /// Its permission bits.
        mode: u32,
        /// What to do.
        remedy: String,
    },
    /// The system refuses to read it.
    #[error("{path} cannot be read: {cause}; {}", remedy(.cause).unwrap_or("check who may read it"))]
    Unreadable {
        /// The file.
        path: String,
        /// The system's error.
        cause: io::Error,
    },
    /// The system refuses to create it.
    #[error("{path} cannot be created: {cause}; {}", remedy(.cause).unwrap_or("check that the folder is writable"))]
    Unwritable {
        /// The file.
        path: String,
        /// The system's error.
        cause: io::Error,
    },
}

/// Returns whether a node id is an ed25519 public key. Half of all 32-byte values are not (RFC
/// 8032, section 5.1.3).
pub(crate) fn is_public_key(node: NodeId) -> bool {
    VerifyingKey::from_bytes(&node.0).is_ok()
}

impl NodeKey {
    /// Makes a key from its secret: 32 bytes of a cryptographic random generator.
    pub fn from_bytes(secret: &[u8; 32]) -> Self {
        Self { key: SigningKey::from_bytes(secret), warning: None }
    }

    /// Returns the seed (RFC 8032, section 5.1.5), for an engine that makes the same key of it.
    #[cfg(feature = "wan")]
    pub(crate) fn seed(&self) -> [u8; 32] {
        self.key.to_bytes()
    }

    /// Makes a new key, and stores it nowhere.
    ///
    /// # Errors
    /// The system gave no random numbers.
    pub fn generate() -> io::Result<Self> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret)?;
        Ok(Self::from_bytes(&secret))
    }

    /// Loads the folder's key. Creates it from the system's randomness if it is missing.
    ///
    /// # Errors
    /// [`KeyError`]; an existing file is never overwritten.
    pub fn load_or_create(folder: &Path) -> Result<Self, KeyError> {
        match Self::load(folder)? {
            Some(key) => Ok(key),
            None => Self::create_named(folder, NODE_KEY),
        }
    }

    /// Loads the folder's key; `None` if it is missing.
    ///
    /// # Errors
    /// [`KeyError`] if the file has no usable key.
    pub fn load(folder: &Path) -> Result<Option<Self>, KeyError> {
        Self::load_named(folder, NODE_KEY)
    }

    /// Loads the key of a file of the folder; `None` if there is no such file. A network's
    /// authority has a key too.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub(crate) fn load_named(folder: &Path, name: &str) -> Result<Option<Self>, KeyError> {
        let path = || shown(folder, name);
        let file = folder.join(name);
        let metadata = match file.metadata() {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return if is_link(&file) { Err(KeyError::LeadsNowhere { path: path() }) } else { Ok(None) };
            }
            Err(cause) => return Err(KeyError::Unreadable { path: path(), cause }),
        };
        // Checked before opening: opening a pipe without a writer blocks.
        if !metadata.is_file() {
            return Err(KeyError::NotAFile { path: path() });
        }
        let warning = check_mode(&metadata, folder, name)?;
        let mut bytes = Vec::new();
        File::open(&file)
            .and_then(|file| file.take(FILE_BYTES).read_to_end(&mut bytes))
            .map_err(|cause| KeyError::Unreadable { path: path(), cause })?;
        let secret = std::str::from_utf8(&bytes).ok().and_then(|text| parse_hex32(text.trim()));
        let secret = secret.ok_or_else(|| KeyError::Broken { path: path() })?;
        Ok(Some(Self { key: SigningKey::from_bytes(&secret), warning }))
    }

    /// Returns what a person should know of the file, one line.
    pub fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }

    /// Returns the public key, which is the node's id.
    pub fn node_id(&self) -> NodeId {
        NodeId(self.key.verifying_key().to_bytes())
    }

    /// Signs canonical JSON for a purpose. The signature is deterministic (RFC 8032).
    pub fn signature(&self, purpose: Purpose, canonical: &str) -> Signature {
        Signature(self.sign(&purpose.message(canonical)))
    }

    /// Signs a message (RFC 8032, section 5.1).
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message).to_bytes()
    }

    /// Creates a key in a file of the folder. Returns the file's key if another process created it
    /// first.
    ///
    /// # Errors
    /// [`KeyError`].
    pub(crate) fn create_named(folder: &Path, name: &str) -> Result<Self, KeyError> {
        let unwritable = |cause| KeyError::Unwritable { path: shown(folder, name), cause };
        let mut random = [0; 40];
        getrandom::fill(&mut random).map_err(|error| unwritable(error.into()))?;
        let (secret, nonce) = random.split_first_chunk::<32>().expect("40 bytes are more than 32");
        // A random name: a draft that a crash left behind must not block the next start.
        let draft = folder.join(format!("{name}.{}", HEXLOWER.encode(nonce)));
        let published = write(&draft, secret).and_then(|()| publish(&draft, &folder.join(name)));
        let removed = match fs::remove_file(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        match published {
            // Loaded again, which checks what the file system made of the mode.
            Ok(()) => {
                removed.map_err(unwritable)?;
                let key = Self::load_named(folder, name)?;
                Ok(key.unwrap_or_else(|| Self { key: SigningKey::from_bytes(secret), warning: None }))
            }
            // Another process created it since the check. Its key counts; this one was never used.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Self::load_named(folder, name)?.ok_or_else(|| unwritable(error))
            }
            Err(error) => Err(unwritable(error)),
        }
    }
}

fn write(draft: &Path, secret: &[u8; 32]) -> io::Result<()> {
    let mut file = create_private(draft)?;
    file.write_all(format!("{}\n", HEXLOWER.encode(secret)).as_bytes())?;
    file.sync_all()
}

/// Gives the draft its final name, durably. Uses a hard link, since a rename would replace an
/// existing file.
fn publish(draft: &Path, path: &Path) -> io::Result<()> {
    match fs::hard_link(draft, path) {
        // Shared folders of virtual machines, memory cards and Android have no hard links. The
        // rename could replace a key that was created microseconds ago.
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists && !path.try_exists()? => rename(draft, path)?,
        linked => linked?,
    }
    sync_folder(path.parent().unwrap_or(Path::new(".")))
}

/// Refuses a file that others can read, where files have modes; otherwise returns a warning.
fn check_mode(metadata: &fs::Metadata, folder: &Path, name: &str) -> Result<Option<String>, KeyError> {
    let path = shown(folder, name);
    let file = folder.join(name);
    match others(metadata, &file) {
        Others::Closed => Ok(None),
        Others::NoModes(mode) => Ok(Some(format!(
            "the file system of {path} keeps no file modes (all files there are {mode:03o}), so the system does not hide this secret from other users; \
             keep the folder on another disk if others use this machine"
        ))),
        Others::Open(mode) => {
            let file = file.display();
            let remedy = match mode & 0o200 {
                0 => format!(
                    "run 'chmod 400 {file}'; if it is mounted as a secret, mount it for the node's user alone, with mode 0400 (Kubernetes: defaultMode: 0400)"
                ),
                _ => format!("run 'chmod 600 {file}'"),
            };
            Err(KeyError::Open { path, mode, remedy })
        }
    }
}
