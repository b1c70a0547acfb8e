//! `denied.txt` and `known-peers.json` as a program changes them: one entry is added or removed,
//! and everything else stays as a person wrote it.

use std::io;
use std::path::Path;

use serde_json::Value;

use crate::folder::files::{FolderError, read_text, remedy, shown};
use crate::folder::known_peers::{self, KNOWN_PEERS, Named, known_peers};
use crate::folder::node_key::NodeKey;
use crate::folder::replace::replace;
use crate::protocol::access::{InvalidRule, Rules};
use crate::protocol::address::PeerAddress;

/// The list of denied nodes and addresses.
pub(crate) const DENIED: &str = "denied.txt";

/// Why an entry was not changed. The file is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// The file cannot be read, or is not what it should be.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The text is not one rule.
    #[error(
        "{0:?} is not one rule; write a node id or a certificate's SHA-256 (64 hexadecimal digits), an IP address, or a range such as 192.0.2.0/24"
    )]
    NotARule(String),
    /// The rule names the node itself.
    #[error("that is the id of this node itself, which it never links to; name another node")]
    Own,
    /// The file has an invalid line.
    #[error("{path}, {cause}")]
    Invalid {
        /// The file.
        path: String,
        /// The line, and what a line may be.
        cause: InvalidRule,
    },
    /// The file would exceed the size limit of files of a folder.
    #[error("{path} would be too long: remove entries first")]
    TooLong {
        /// The file.
        path: String,
    },
    /// The system does not write it.
    #[error("{path} cannot be written: {cause}; {}", remedy(.cause).unwrap_or("check who may write it"))]
    Unwritable {
        /// The file.
        path: String,
        /// The system's error.
        cause: io::Error,
    },
}

/// The largest file that is written; larger ones are not read.
const FILE_BYTES: usize = 1024 * 1024;

fn write(folder: &Path, name: &str, text: &str) -> Result<(), EditError> {
    let path = shown(folder, name);
    if text.len() > FILE_BYTES {
        return Err(EditError::TooLong { path });
    }
    replace(&folder.join(name), text).map_err(|cause| EditError::Unwritable { path, cause })
}

/// Adds an address to `known-peers.json`, or gives the one there its relays. Returns what that
/// changed.
///
/// # Errors
/// [`EditError`].
pub(crate) fn add_known_peer(folder: &Path, address: &PeerAddress) -> Result<Named, EditError> {
    let named = known_peers::name(&mut known_peers(folder)?.addresses, address.clone());
    let mut entries = entries(folder)?;
    let text = Value::from(address.to_string());
    match named {
        Named::Nothing => return Ok(named),
        Named::New => entries.push(text),
        Named::OtherRelays => {
            // Of several entries the last counts.
            if let Some(entry) = entries.iter_mut().rfind(|entry| parsed(entry).as_ref() == Some(address)) {
                *entry = text;
            }
        }
    }
    write_entries(folder, &entries)?;
    Ok(named)
}

/// Returns the address of an entry, however it is written.
fn parsed(entry: &Value) -> Option<PeerAddress> {
    entry.as_str().and_then(|text| text.parse().ok())
}

/// Removes an address from `known-peers.json`, however it is written there. Returns whether it was
/// there. `closed`: of a node in a closed network, which dials `ws://` addresses as `wss://`.
///
/// # Errors
/// [`EditError`].
pub(crate) fn remove_known_peer(folder: &Path, address: &PeerAddress, closed: bool) -> Result<bool, EditError> {
    // Judges the file as a whole, with its errors.
    known_peers(folder)?;
    let mut entries = entries(folder)?;
    let before = entries.len();
    let dialled = |address: PeerAddress| if closed { address.secured() } else { address };
    let removed = dialled(address.clone());
    entries.retain(|entry| parsed(entry).map(dialled).as_ref() != Some(&removed));
    if entries.len() == before {
        return Ok(false);
    }
    write_entries(folder, &entries)?;
    Ok(true)
}

/// The entries of a file that [`known_peers`] can read, invalid ones among them.
fn entries(folder: &Path) -> Result<Vec<Value>, EditError> {
    let text = read_text(&folder.join(KNOWN_PEERS), &shown(folder, KNOWN_PEERS))?;
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default())
}

fn write_entries(folder: &Path, entries: &[Value]) -> Result<(), EditError> {
    write(folder, KNOWN_PEERS, &format!("{:#}\n", Value::from(entries)))
}

/// Parses one rule of `denied.txt`.
///
/// # Errors
/// [`EditError::NotARule`].
pub(crate) fn rule(text: &str) -> Result<Rules, EditError> {
    let shown: String = text.chars().take(100).collect();
    let is_plain = !text.contains(['\n', '\r', '#']);
    match text.parse::<Rules>() {
        Ok(rules) if is_plain && rules.len() == 1 => Ok(rules),
        Err(error) if is_plain => {
            let path = "the rule".to_owned();
            Err(EditError::Invalid { path, cause: error })
        }
        _ => Err(EditError::NotARule(shown)),
    }
}

/// Returns the rules of `denied.txt` as they are written, without comments.
///
/// # Errors
/// [`EditError`].
pub(crate) fn denied(folder: &Path) -> Result<Vec<String>, EditError> {
    let text = denied_text(folder)?;
    let rules = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    Ok(rules.filter(|rule| !rule.is_empty()).map(str::to_owned).collect())
}

/// Adds a rule to `denied.txt`. Returns whether it is new there.
///
/// # Errors
/// [`EditError`].
pub(crate) fn deny(folder: &Path, text: &str) -> Result<bool, EditError> {
    let wanted = rule(text)?;
    // A key that cannot be read is reported by others.
    if NodeKey::load(folder).is_ok_and(|key| key.is_some_and(|key| wanted.names(key.node_id()))) {
        return Err(EditError::Own);
    }
    let mut whole = denied_text(folder)?;
    if whole.lines().any(|line| line.parse().as_ref() == Ok(&wanted)) {
        return Ok(false);
    }
    if !whole.is_empty() && !whole.ends_with('\n') {
        whole.push('\n');
    }
    whole.push_str(text.trim());
    whole.push('\n');
    write(folder, DENIED, &whole)?;
    Ok(true)
}

/// Removes a rule from `denied.txt`, however it is written there, with its line. Returns whether it
/// was there.
///
/// # Errors
/// [`EditError`].
pub(crate) fn allow_again(folder: &Path, text: &str) -> Result<bool, EditError> {
    let wanted = rule(text)?;
    let whole = denied_text(folder)?;
    let kept: String = whole.split_inclusive('\n').filter(|line| line.parse().as_ref() != Ok(&wanted)).collect();
    if kept == whole {
        return Ok(false);
    }
    write(folder, DENIED, &kept)?;
    Ok(true)
}

/// Returns the text of `denied.txt`, all of whose lines are rules; empty if there is none.
fn denied_text(folder: &Path) -> Result<String, EditError> {
    let path = shown(folder, DENIED);
    let text = read_text(&folder.join(DENIED), &path)?.unwrap_or_default();
    text.parse::<Rules>().map_err(|cause| EditError::Invalid { path, cause })?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_known_peer_is_added_and_removed_and_the_rest_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(KNOWN_PEERS);
        let address = |text: &str| text.parse::<PeerAddress>().expect(text);
        assert!(matches!(add_known_peer(folder.path(), &address("ws://localhost:1")), Err(EditError::Folder(_))));
        fs::write(&path, r#"["ws://localhost:4001/", 7]"#).expect("written");
        let written = || serde_json::from_str::<Value>(&fs::read_to_string(&path).expect("read")).expect("JSON");
        let add = |text: &str| add_known_peer(folder.path(), &address(text)).expect(text);
        assert_eq!(add("ws://LOCALHOST:4001"), Named::Nothing);
        assert_eq!(add("ws://example.org:4002"), Named::New);
        assert_eq!(written(), serde_json::json!(["ws://localhost:4001/", 7, "ws://example.org:4002"]));
        let remove = |text: &str, closed: bool| remove_known_peer(folder.path(), &address(text), closed).expect("read");
        assert!(remove("ws://localhost:4001", false) && !remove("ws://localhost:4001", false));
        assert_eq!(written(), serde_json::json!([7, "ws://example.org:4002"]), "an odd entry is a person's to mend");
        for written in ["ws://a.example:1", "wss://a.example:1"] {
            for given in ["ws://a.example:1", "wss://a.example:1"] {
                assert_eq!(add(written), Named::New);
                assert_eq!(remove(given, false), written == given, "in an open network it is another address");
                assert_eq!(remove(given, true), written != given, "{written}, {given}");
            }
        }
        fs::write(&path, "{}").expect("written");
        assert!(add_known_peer(folder.path(), &address("ws://localhost:1")).is_err());
        assert_eq!(fs::read_to_string(&path).expect("read"), "{}", "what cannot be read is left alone");
    }

    #[test]
    fn other_relays_of_a_known_node_replace_those_that_are_written_down() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(KNOWN_PEERS);
        let id = format!("iroh:{}", crate::NodeKey::from_bytes(&[7; 32]).node_id());
        let add = |text: &str| add_known_peer(folder.path(), &text.parse().expect(text)).expect(text);
        let written = || serde_json::from_str::<Value>(&fs::read_to_string(&path).expect("read")).expect("JSON");
        for (before, after) in [
            (vec![&*id], 0),
            (vec![&*format!("{id}@old.relay:1"), "ws://localhost:1"], 0),
            (vec![&*format!("{id}@old.relay:1"), "ws://localhost:1", &*format!("{id}@older.relay:1")], 2),
            (
                vec![&*format!("{id}@new.relay:1"), &*id.to_uppercase().replace("IROH", "iroh"), &*format!("{id}@b:1")],
                2,
            ),
        ] {
            fs::write(&path, serde_json::json!(before).to_string()).expect("written");
            assert_eq!(add(&id), Named::Nothing, "it says nothing of relays");
            assert_eq!(written(), serde_json::json!(before));
            let new = format!("{id}@new.relay:1,b.relay:2");
            assert_eq!(add(&new), Named::OtherRelays, "{before:?}");
            assert_eq!(written()[after], new);
            assert_eq!(written().as_array().map(Vec::len), Some(before.len()), "the rest stays");
            let read = known_peers(folder.path()).expect("read").addresses;
            assert_eq!(read.iter().map(ToString::to_string).filter(|text| *text == new).count(), 1, "{read:?}");
            assert_eq!(add(&new), Named::Nothing);
        }
    }

    #[test]
    fn a_rule_is_added_and_removed_and_comments_stay() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(DENIED);
        assert_eq!(denied(folder.path()).expect("none"), Vec::<String>::new());
        assert!(deny(folder.path(), " 198.51.100.7 ").expect("added"));
        assert!(!deny(folder.path(), "::ffff:198.51.100.7").expect("read"), "the same in another form");
        fs::write(&path, "# mine\n198.51.100.7 # loud\n192.0.2.0/24").expect("written");
        assert!(deny(folder.path(), "2001:db8::/32").expect("added"));
        let text = fs::read_to_string(&path).expect("read");
        assert_eq!(text, "# mine\n198.51.100.7 # loud\n192.0.2.0/24\n2001:db8::/32\n");
        assert_eq!(denied(folder.path()).expect("read"), ["198.51.100.7", "192.0.2.0/24", "2001:db8::/32"]);
        assert!(allow_again(folder.path(), "198.51.100.7").expect("removed"));
        assert!(!allow_again(folder.path(), "198.51.100.7").expect("read"));
        assert_eq!(fs::read_to_string(&path).expect("read"), "# mine\n192.0.2.0/24\n2001:db8::/32\n");
        for bad in ["", "# only this", "192.0.2.1\n192.0.2.2", "example.org", "0.0.0.0"] {
            assert!(deny(folder.path(), bad).is_err() && allow_again(folder.path(), bad).is_err(), "{bad:?}");
        }
        fs::write(&path, "nobody\n").expect("written");
        assert!(matches!(deny(folder.path(), "192.0.2.1"), Err(EditError::Invalid { .. })));
        assert_eq!(fs::read_to_string(&path).expect("read"), "nobody\n");
    }

    #[test]
    fn a_node_is_not_told_to_deny_itself() {
        let folder = tempfile::tempdir().expect("a folder");
        let own = NodeKey::load_or_create(folder.path()).expect("a key").node_id().to_string();
        assert!(matches!(deny(folder.path(), &own.to_uppercase()), Err(EditError::Own)));
        assert!(!folder.path().join(DENIED).exists());
        assert!(deny(folder.path(), &"a".repeat(64)).expect("another"));
    }
}
