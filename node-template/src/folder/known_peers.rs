//! `known-peers.json`: the addresses that a node knows from the start.
//!
//! The node never writes the file. Invalid entries are skipped with a warning, but an invalid file
//! is an error: a start with fewer peers than intended is useful, a start with none by mistake is
//! not.

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value;

use crate::events::text::strip_control_max;
use crate::folder::files::{FolderError, read_text, shown};
use crate::folder::node_key::is_public_key;
use crate::protocol::address::{InvalidAddress, PeerAddress};

#[cfg(test)]
mod tests;

/// The file's name. It holds a JSON array of addresses.
pub const KNOWN_PEERS: &str = "known-peers.json";
/// How many invalid entries get a warning of their own; the rest is counted.
const WARNED_ENTRIES: usize = 5;
/// The most characters of one: a wrong address, what is wrong with it, and what to do.
const WARNING: usize = 500;

/// The content of a folder's `known-peers.json`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct KnownPeers {
    /// In the order of the file, each once, with the relays of its last entry that has some. The
    /// node's own address may be among them.
    pub addresses: Vec<PeerAddress>,
    /// Skipped entries, one line each.
    pub warnings: Vec<String>,
}

/// What naming a peer changed among the known ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    /// It was not known.
    New,
    /// It was known with other relays.
    OtherRelays,
    /// Nothing.
    Nothing,
}

/// Adds an address that the user named last. Its relays take the place of those that were named
/// before; an address without relays says nothing of them.
pub(crate) fn name(known: &mut Vec<PeerAddress>, address: PeerAddress) -> Named {
    match known.iter_mut().find(|known| **known == address) {
        Some(known) => rename(known, address),
        None => {
            known.push(address);
            Named::New
        }
    }
}

fn rename(known: &mut PeerAddress, address: PeerAddress) -> Named {
    if address.relays().is_empty() || address.relays() == known.relays() {
        return Named::Nothing;
    }
    *known = address;
    Named::OtherRelays
}

/// Parses an address that a person wrote.
///
/// # Errors
/// [`InvalidAddress`], also if its node id is no public key: nobody could answer there.
pub(crate) fn parse(text: &str) -> Result<PeerAddress, InvalidAddress> {
    text.parse().and_then(check_key)
}

/// Returns an address, unless its node id is no public key.
///
/// # Errors
/// [`InvalidAddress`].
pub(crate) fn check_key(address: PeerAddress) -> Result<PeerAddress, InvalidAddress> {
    match address.node() {
        Some(node) if !is_public_key(node) => Err(InvalidAddress::new(
            &address.to_string(),
            "its node id is no public key, so some of its digits are wrong",
        )),
        _ => Ok(address),
    }
}

/// Reads a folder's `known-peers.json`.
///
/// # Errors
/// [`FolderError`] if the file is missing, cannot be read, or is not a JSON array.
pub(crate) fn known_peers(folder: &Path) -> Result<KnownPeers, FolderError> {
    let path = shown(folder, KNOWN_PEERS);
    let text = match read_text(&folder.join(KNOWN_PEERS), &path)? {
        Some(text) => text,
        None => return Err(FolderError::NoKnownPeers { path }),
    };
    let entries = match serde_json::from_str(&text) {
        Ok(Value::Array(entries)) => entries,
        Ok(other) => {
            let (line, column) = start(&text);
            return Err(FolderError::NotAnArray { path, line, column, reason: format!("this is {}", kind(&other)) });
        }
        Err(error) => {
            let (line, column) = (error.line().max(1), error.column().max(1));
            let position = format!(" at line {} column {}", error.line(), error.column());
            let reason = error.to_string().replace(&position, "");
            let reason =
                if text.trim().is_empty() { "the file is empty".to_owned() } else { format!("not JSON: {reason}") };
            return Err(FolderError::NotAnArray { path, line, column, reason });
        }
    };
    Ok(addresses(&path, &entries))
}

fn addresses(path: &str, entries: &[Value]) -> KnownPeers {
    let mut found = KnownPeers::default();
    let mut seen: HashMap<PeerAddress, usize> = HashMap::new();
    let mut bad = 0;
    for (index, entry) in entries.iter().enumerate() {
        let reason = match entry.as_str().map(parse) {
            Some(Ok(address)) => {
                match seen.get(&address) {
                    Some(at) => {
                        rename(&mut found.addresses[*at], address);
                    }
                    None => {
                        seen.insert(address.clone(), found.addresses.len());
                        found.addresses.push(address);
                    }
                }
                continue;
            }
            Some(Err(error)) => error.to_string(),
            None => format!("{} is not a peer address; write it as \"ws://host:port\"", kind(entry)),
        };
        bad += 1;
        if bad <= WARNED_ENTRIES {
            found.warnings.push(format!(
                "{path}, entry {} is skipped: {}",
                index + 1,
                strip_control_max(&reason, WARNING)
            ));
        }
    }
    if bad > WARNED_ENTRIES {
        found
            .warnings
            .push(format!("{path}: {} more entries are skipped, which are not peer addresses", bad - WARNED_ENTRIES));
    }
    found
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// Returns line and column, from 1, of the first character that is not white space.
fn start(text: &str) -> (usize, usize) {
    let white = &text[..text.len() - text.trim_start().len()];
    let line = white.matches('\n').count() + 1;
    (line, white.rsplit('\n').next().unwrap_or_default().chars().count() + 1)
}
