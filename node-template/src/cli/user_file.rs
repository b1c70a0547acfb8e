//! The file that a user names for the output of a command: never one that a node keeps.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::cli::terminal::strip_control;
use crate::config::last_value;
use crate::folder::edit::DENIED;
use crate::folder::files::{CA_CERTIFICATE, CA_KEY, NODE_CERTIFICATE, folder_name};
use crate::folder::known_peers::KNOWN_PEERS;
use crate::folder::node_key::NODE_KEY;
use crate::folder::peer_cache::PEERS;
use crate::folder::replace::LINKS;
use crate::node::access_watcher::ALLOWED;
use crate::pool::{LOCK_FILE, POOL_FILE, TOPICS_FOLDER};
use crate::system::{FileStamp, canonical};

/// The files that a node keeps under a name of its own.
const NAMES: [&str; 11] = [
    ".env",
    KNOWN_PEERS,
    POOL_FILE,
    NODE_KEY,
    LOCK_FILE,
    PEERS,
    DENIED,
    ALLOWED,
    NODE_CERTIFICATE,
    CA_CERTIFICATE,
    CA_KEY,
];
/// The settings that name a file.
const NAMING: [&str; 2] = ["NETWORK_CA", "CERTIFICATE"];

/// Checks a file that a user names for an output. `folder`: that of the node which is asked.
/// `hint`: how to name another file.
///
/// # Errors
/// It is no name of a file, or the file is one that a node keeps.
pub(crate) fn check(path: &Path, folder: Option<&Path>, hint: &str) -> Result<()> {
    let shown = strip_control(&path.display().to_string());
    if path.file_name().is_none() {
        bail!("{shown} is no file to write: name one{hint}");
    }
    if let Some(home) = home_of(path, folder) {
        bail!("{shown} is a file of the node in {}, which needs it: name another file{hint}", folder_name(&home));
    }
    Ok(())
}

/// Returns the folder of the node that keeps a file; `None` if none does.
fn home_of(path: &Path, folder: Option<&Path>) -> Option<PathBuf> {
    let asked = folder.and_then(|folder| canonical(folder).ok());
    let is_home = |folder: &PathBuf| Some(folder) == asked.as_ref() || has_node(folder);
    let mut homes: Vec<PathBuf> = asked.iter().cloned().chain(canonical(Path::new(".")).ok()).collect();
    let mut step = path.to_owned();
    for _ in 0..LINKS {
        let Some(parent) = canonical(parent_of(&step)).ok() else { break };
        if let Some(topics) = parent.parent().filter(|_| parent.ends_with(TOPICS_FOLDER)).map(Path::to_owned)
            && is_home(&topics)
        {
            return Some(topics);
        }
        if step.file_name().is_some_and(|name| is_kept(Path::new(name))) && is_home(&parent) {
            return Some(parent);
        }
        homes.push(parent);
        let Ok(target) = fs::read_link(&step) else { break };
        step = parent_of(&step).join(target);
    }
    // The node's file may be a link itself, and a file system may know a file by many names.
    let stamp = FileStamp::of_path(path).ok()??;
    let is_file =
        |kept: &PathBuf| FileStamp::of_path(kept).is_ok_and(|kept| kept.is_some_and(|kept| kept.same_file(&stamp)));
    homes.into_iter().filter(is_home).find(|home| kept_in(home).iter().any(is_file))
}

fn parent_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Returns whether a folder is that of a node, or of the authority of a closed network.
fn has_node(folder: &Path) -> bool {
    let has = |name: &str| fs::symlink_metadata(folder.join(name)).is_ok();
    has(NODE_KEY) || has(LOCK_FILE) || has(CA_KEY) || has(".env") && has(KNOWN_PEERS)
}

/// Returns whether a node keeps a file of this name in its folder, or a wallet its key.
fn is_kept(name: &Path) -> bool {
    name.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("key"))
        || NAMES.iter().any(|kept| name.as_os_str().eq_ignore_ascii_case(kept))
}

/// Returns the files that the node of a folder keeps.
fn kept_in(folder: &Path) -> Vec<PathBuf> {
    let named = NAMING.iter().filter_map(|name| last_value(folder, name)).filter(|path| !path.trim().is_empty());
    let named = named.map(|path| folder.join(path.trim()));
    let entries = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let topics = entries(&folder.join(TOPICS_FOLDER));
    let keys = entries(folder).filter(|path| path.file_name().is_some_and(|name| is_kept(Path::new(name))));
    NAMES.iter().map(|name| folder.join(name)).chain(named).chain(keys).chain(topics).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(path: &Path, folder: Option<&Path>) -> Option<String> {
        check(path, folder, " with -o").err().map(|error| error.to_string())
    }

    #[test]
    fn a_file_of_a_node_is_refused_by_name_and_others_are_not() {
        let root = tempfile::tempdir().expect("a folder");
        let (node, plain) = (root.path().join("node"), root.path().join("plain"));
        for folder in [&node, &plain] {
            fs::create_dir_all(folder.join("topics")).expect("made");
        }
        fs::write(node.join(NODE_KEY), "secret").expect("written");
        for name in
            NAMES.into_iter().chain(["ann.key", "topics/a.json", "topics/../node.key", "./peers.json", "NODE.KEY"])
        {
            let error = refused(&node.join(name), None).unwrap_or_else(|| panic!("{name} is taken"));
            assert!(error.contains("a file of the node in") && error.ends_with("another file with -o"), "{error}");
            assert_eq!(refused(&plain.join(name), None), None, "{name}: no node's folder");
            assert!(refused(&plain.join(name), Some(&plain)).is_some(), "{name}: the folder that is asked");
        }
        for name in ["out.jsonl", "backup.json", "images/cat.jpg", "known-peers.json.old", "none/node.key"] {
            assert_eq!(refused(&node.join(name), Some(&node)), None, "{name}");
        }
        for name in ["..", "/"] {
            assert!(refused(Path::new(name), None).is_some_and(|error| error.contains("no file to write")), "{name}");
        }
    }

    #[test]
    fn a_file_of_a_node_is_refused_under_any_name() {
        let root = tempfile::tempdir().expect("a folder");
        let (node, other) = (root.path().join("node"), root.path().join("other"));
        fs::create_dir_all(node.join("topics")).expect("made");
        fs::create_dir(&other).expect("made");
        fs::write(node.join(".env"), "NETWORK_CA=../other/authority.pem\nCERTIFICATE='mine.pem'\n").expect("written");
        for name in ["node.key", "transactions.json", "mine.pem", "topics/a.json", "../other/authority.pem"] {
            fs::write(node.join(name), name).expect("written");
            let hard = other.join("hard");
            fs::hard_link(node.join(name), &hard).expect("linked");
            assert!(refused(&hard, Some(&node)).is_some(), "{name} by a hard link");
            fs::remove_file(hard).expect("removed");
            assert!(refused(&node.join(name), Some(&node)).is_some(), "{name}");
        }
        fs::write(other.join("free"), "").expect("written");
        assert_eq!(refused(&other.join("free"), Some(&node)), None);
    }

    #[cfg(unix)]
    #[test]
    fn links_lead_to_the_file_of_a_node_and_from_it() {
        use std::os::unix::fs::symlink;

        let root = tempfile::tempdir().expect("a folder");
        let at = |name: &str| root.path().join(name);
        fs::create_dir(at("node")).expect("made");
        fs::write(at("node/node.key"), "secret").expect("written");
        fs::write(at("pool"), "[]").expect("written");
        symlink("../pool", at("node/transactions.json")).expect("linked");
        symlink("node/node.key", at("a")).expect("linked");
        symlink("a", at("b")).expect("linked");
        symlink("node/peers.json", at("dangling")).expect("linked");
        symlink("node", at("same")).expect("linked");
        symlink("loop", at("loop")).expect("linked");
        for name in ["a", "b", "dangling", "same/node.key", "same/new.key", "node/transactions.json"] {
            assert!(refused(&at(name), None).is_some(), "{name}");
        }
        assert!(refused(&at("pool"), Some(&at("same"))).is_some(), "to where the node's file leads");
        assert_eq!(refused(&at("loop"), None), None, "it cannot be written anyway");
    }
}
