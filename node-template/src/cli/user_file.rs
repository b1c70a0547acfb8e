//! The file that a user names for the output of a command: never one that a node keeps, except for
//! a certificate in the place of another one.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::cli::terminal::strip_control;
use crate::config::last_value;
use crate::folder::edit::DENIED;
use crate::folder::files::{CA_CERTIFICATE, CA_KEY, FolderError, NODE_CERTIFICATE, folder_name, read_text};
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
/// The setting that names the file of a node's certificate.
const CERTIFICATE: &str = "CERTIFICATE";
/// The settings that name a file.
const NAMING: [&str; 2] = ["NETWORK_CA", CERTIFICATE];

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    /// What no node keeps.
    Output,
    /// A node's certificate, for which a node has a file.
    Certificate,
}

/// Checks a file that a user names for an output. `folder`: that of the node which is asked.
/// `hint`: how to name another file.
///
/// # Errors
/// It is no name of a file, or the file is one that a node keeps.
pub(crate) fn check(path: &Path, folder: Option<&Path>, hint: &str) -> Result<()> {
    check_for(Written::Output, path, folder.as_slice(), hint)
}

/// Checks a file for a node's certificate, which replaces the one there. `folders`: those of the
/// node and of the authority. `hint`: how to name another file.
///
/// # Errors
/// As `check`, except for the file of a node's certificate. The file has the name of one of an
/// authority, or holds anything but certificates.
pub fn check_certificate(path: &Path, folders: &[&Path], hint: &str) -> Result<()> {
    check_for(Written::Certificate, path, folders, hint)?;
    let shown = strip_control(&path.display().to_string());
    match read_text(path, &shown) {
        Ok(None) | Err(FolderError::LeadsNowhere { .. }) => {}
        Ok(Some(text)) if is_certificates(&text) => {}
        Err(error @ FolderError::Unreadable { .. }) => return Err(error.into()),
        _ => bail!("{shown} holds something else than a certificate, which would be lost: name another file{hint}"),
    }
    Ok(())
}

fn check_for(written: Written, path: &Path, folders: &[&Path], hint: &str) -> Result<()> {
    let shown = strip_control(&path.display().to_string());
    if path.file_name().is_none() {
        bail!("{shown} is no file to write: name one{hint}");
    }
    if let Some(home) = home_of(written, path, folders) {
        let is_authoritys = home.join(CA_KEY).exists() || written == Written::Certificate && !has_node(&home);
        let whose = if is_authoritys { "authority" } else { "node" };
        bail!("{shown} is a file of the {whose} in {}, which needs it: name another file{hint}", folder_name(&home));
    }
    Ok(())
}

/// Returns whether a text has certificates and no other PEM, such as a key.
fn is_certificates(text: &str) -> bool {
    let mut begins = text.lines().map(str::trim).filter(|line| line.starts_with("-----BEGIN ")).peekable();
    begins.peek().is_some() && begins.all(|line| line == "-----BEGIN CERTIFICATE-----")
}

/// Returns the folder of the node, or of the authority, that keeps a file; `None` if none does.
fn home_of(written: Written, path: &Path, folders: &[&Path]) -> Option<PathBuf> {
    let asked: Vec<PathBuf> = folders.iter().filter_map(|folder| canonical(folder).ok()).collect();
    let is_home = |folder: &PathBuf| asked.contains(folder) || has_node(folder);
    let mut homes: Vec<PathBuf> = asked.iter().cloned().chain(canonical(Path::new(".")).ok()).collect();
    let mut step = path.to_owned();
    for _ in 0..LINKS {
        let Some(parent) = canonical(parent_of(&step)).ok() else { break };
        if let Some(topics) = parent.parent().filter(|_| parent.ends_with(TOPICS_FOLDER)).map(Path::to_owned)
            && is_home(&topics)
        {
            return Some(topics);
        }
        if let Some(name) = step.file_name().map(Path::new)
            && (is_kept(written, name) && is_home(&parent) || written == Written::Certificate && is_authoritys(name))
        {
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
    homes.into_iter().filter(is_home).find(|home| kept_in(written, home).iter().any(is_file))
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
fn is_kept(written: Written, name: &Path) -> bool {
    name.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("key"))
        || names(written).any(|kept| name.as_os_str().eq_ignore_ascii_case(kept))
}

/// Returns whether a file has the name of one that an authority keeps, and its nodes have.
fn is_authoritys(name: &Path) -> bool {
    [CA_CERTIFICATE, CA_KEY].iter().any(|kept| name.as_os_str().eq_ignore_ascii_case(kept))
}

/// Returns the names of files that a node keeps, and that are not what is written.
fn names(written: Written) -> impl Iterator<Item = &'static str> {
    NAMES.into_iter().filter(move |name| written != Written::Certificate || *name != NODE_CERTIFICATE)
}

/// Returns the files that the node of a folder keeps, and that are not what is written.
fn kept_in(written: Written, folder: &Path) -> Vec<PathBuf> {
    let naming = NAMING.iter().filter(|name| written != Written::Certificate || **name != CERTIFICATE);
    let named = naming.filter_map(|name| last_value(folder, name)).filter(|path| !path.trim().is_empty());
    let named = named.map(|path| folder.join(path.trim()));
    let entries = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let topics = entries(&folder.join(TOPICS_FOLDER));
    let is_kept = |path: &PathBuf| path.file_name().is_some_and(|name| is_kept(written, Path::new(name)));
    let keys = entries(folder).filter(is_kept);
    names(written).map(|name| folder.join(name)).chain(named).chain(keys).chain(topics).collect()
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

    #[test]
    fn a_certificate_replaces_one_and_nothing_else() {
        let root = tempfile::tempdir().expect("a folder");
        let at = |name: &str| root.path().join(name);
        for folder in ["node", "ca", "plain"] {
            fs::create_dir(at(folder)).expect("made");
        }
        let pem = "text before\n-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n";
        let key = "-----BEGIN PRIVATE KEY-----\nMA==\n-----END PRIVATE KEY-----\n";
        fs::write(at("node/.env"), "NETWORK_CA=trusted.pem\nCERTIFICATE=mine.pem\n").expect("written");
        for (name, text) in [
            ("node/node.key", "secret"),
            ("node/trusted.pem", pem),
            ("node/mine.pem", pem),
            ("node/node.pem", pem),
            ("node/transactions.json", "[]"),
            ("ca/ca.key", "secret"),
            ("ca/ca.pem", pem),
            ("plain/certificate", pem),
            ("plain/both", &format!("{pem}{key}")),
            ("plain/node.csr", "-----BEGIN CERTIFICATE REQUEST-----\nMA==\n-----END CERTIFICATE REQUEST-----\n"),
            ("plain/letter", "dear"),
            ("plain/empty", ""),
        ] {
            fs::write(at(name), text).expect("written");
        }
        let refused = |name: &str| {
            let done = check_certificate(&at(name), &[&at("ca")], " with -o");
            done.err().map(|error| error.to_string())
        };
        for name in ["node/mine.pem", "node/node.pem", "plain/certificate", "plain/new.pem", "node/new.pem"] {
            assert_eq!(refused(name), None, "{name}");
        }
        for (name, part) in [
            ("node/node.key", "a file of the node in"),
            ("node/new.key", "a file of the node in"),
            ("node/transactions.json", "a file of the node in"),
            ("node/trusted.pem", "a file of the node in"),
            ("ca/ca.key", "a file of the authority in"),
            ("ca/ca.pem", "a file of the authority in"),
            ("plain/ca.pem", "a file of the authority in"),
            ("plain/CA.KEY", "a file of the authority in"),
            ("plain/both", "something else than a certificate"),
            ("plain/node.csr", "something else than a certificate"),
            ("plain/letter", "something else than a certificate"),
            ("plain/empty", "something else than a certificate"),
            ("plain", "something else than a certificate"),
        ] {
            let error = refused(name).unwrap_or_else(|| panic!("{name} is refused"));
            assert!(error.contains(part) && error.ends_with("name another file with -o"), "{error}");
        }
        for (name, kept) in [("plain/key", "ca/ca.key"), ("plain/authority", "ca/ca.pem")] {
            fs::hard_link(at(kept), at(name)).expect("linked");
            assert!(refused(name).is_some(), "{name} is {kept}");
        }
        #[cfg(unix)]
        for (name, kept) in [("l1", "node/node.key"), ("l2", "ca/ca.pem"), ("l3", "plain/ca.key"), ("l4", "l2")] {
            std::os::unix::fs::symlink(kept, at(name)).expect("linked");
            assert!(refused(name).is_some(), "{name} leads to {kept}");
        }
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink("plain/later.pem", at("l5")).expect("linked");
            assert_eq!(refused("l5"), None, "it loses nothing");
        }
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
