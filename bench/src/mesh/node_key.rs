//! The key of a node, made before the node starts: its id is then known.
//!
//! Nothing is taken from the node's library. docs/operations.md says what `node.key` holds.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use rcgen::{KeyPair, PKCS_ED25519, PublicKeyData};

use crate::hex::hex;

/// The position of the secret key in the PKCS #8 document of an ed25519 key (RFC 8410, section 7;
/// the public key follows, RFC 5958).
const SECRET: std::ops::Range<usize> = 16..48;

/// Makes a key and writes it into the folder of a node. Returns the node's id.
pub(super) fn create(folder: &Path) -> Result<String> {
    let key = KeyPair::generate_for(&PKCS_ED25519)?;
    write(folder, &key)?;
    Ok(hex(key.der_bytes()))
}

/// Writes a key into the folder of a node.
pub(super) fn write(folder: &Path, key: &KeyPair) -> Result<()> {
    let secret = key.serialized_der().get(SECRET).context("a key is shorter than in RFC 8410")?;
    // A node rejects a key that others can read.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(folder.join("node.key"))?;
    Ok(file.write_all(format!("{}\n", hex(secret)).as_bytes())?)
}
