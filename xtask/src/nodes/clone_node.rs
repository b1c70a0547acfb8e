//! `clone-node`: makes the next node folder, or several.
//!
//! A folder is completed under another name and written to the disk, then renamed: no half-made one
//! is ever found. Nothing is overwritten: a number whose name is taken is skipped.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use meshpool::NodeKey;
use meshpool::binary::KNOWN_PEERS;
use meshpool::binary::pool::LOCK_FILE;
use meshpool::binary::system::{self, THEN};
use meshpool::binary::{is_taken, with_setting};
use meshpool::tls::{Authority, CA_CERTIFICATE, CA_KEY, NODE_CERTIFICATE, NODE_VALIDITY};

use crate::support::terminal::note;
use crate::support::terminal::{node_count, print};
use crate::support::workspace::{Folder, Workspace, port_of};

/// The files that every folder starts with, besides its `.env`.
const COPIED: [&str; 2] = ["known-peers.json", "transactions.json"];

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Make N folders
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = node_count)]
    count: u32,
    /// Put them into the closed network of the authority in this folder [default: network-ca in the
    /// workspace, if it exists]
    #[arg(long, value_name = "FOLDER", conflicts_with = "open")]
    ca: Option<PathBuf>,
    /// Leave them open even if there is an authority
    #[arg(long)]
    open: bool,
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let mut made = Vec::new();
    let authority = match &arguments.ca {
        Some(folder) => Some(Authority::open(folder)?),
        None if arguments.open => None,
        None => authority(workspace)?,
    };
    let closed = if authority.is_some() { ", in the closed network" } else { "" };
    for _ in 0..arguments.count {
        let folder = make_next(workspace, authority.as_ref(), |_| Ok(()))?;
        print(format!("made {}: it listens on port {}{closed}", folder.name(), port_of(folder.number)))?;
        warn_of_taken_port(&folder);
        made.push(folder);
    }
    match made.as_slice() {
        [folder] => print(format!("next: cd {}{THEN}cargo run", folder.name()))?,
        // `up N` starts the folders from node-1 to node-N.
        folders => {
            let last = folders.iter().map(|folder| folder.number).max().unwrap_or(arguments.count);
            print(format!("next: `cargo run` inside each folder, or `cargo xtask up {last}` for all at once"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Opens the workspace's authority if it has one; folders are then made for its closed network.
pub(crate) fn authority(workspace: &Workspace) -> Result<Option<Authority>> {
    let folder = workspace.authority();
    let there = folder.join(CA_KEY).exists() || folder.join(CA_CERTIFICATE).exists();
    Ok(if there { Some(Authority::open(&folder)?) } else { None })
}

/// Makes the folder with the lowest free number. `complete` writes what else belongs into it.
pub(crate) fn make_next(
    workspace: &Workspace,
    authority: Option<&Authority>,
    complete: impl Fn(&Path) -> Result<()>,
) -> Result<Folder> {
    loop {
        let number = (1..).find(|number| fs::symlink_metadata(&workspace.folder(*number).path).is_err());
        let number = number.context("every number has a folder")?;
        if let Some(folder) = make(workspace, number, authority, &complete)? {
            return Ok(folder);
        }
    }
}

/// Makes the folder of node `number`; returns `None` if another process made it meanwhile.
/// `complete`: as for [`make_next`].
pub(crate) fn make(
    workspace: &Workspace,
    number: u32,
    authority: Option<&Authority>,
    complete: impl Fn(&Path) -> Result<()>,
) -> Result<Option<Folder>> {
    let folder = workspace.folder(number);
    let Ok(port) = u16::try_from(port_of(number)) else {
        bail!(
            "{} would have port {}, and ports end at 65535; remove folders with `cargo xtask delete-nodes`",
            folder.name(),
            port_of(number)
        );
    };
    // `.gitignore` covers the draft's name, as it does the folder's.
    let mut draft = Draft::make(workspace.root().join(format!("{}.new-{}", folder.name(), std::process::id())))?;
    let not_made = || format!("{} was not made", folder.name());
    fill(workspace, &draft.path, port, authority).with_context(not_made)?;
    complete(&draft.path).with_context(not_made)?;
    draft.unlock().and_then(|()| system::sync_folder(&draft.path)).with_context(not_made)?;
    match fs::rename(&draft.path, &folder.path) {
        Ok(()) => {
            system::sync_folder(workspace.root()).with_context(not_made)?;
            Ok(Some(folder))
        }
        // Another one was made meanwhile.
        Err(_) if fs::symlink_metadata(&folder.path).is_ok() => Ok(None),
        Err(error) => Err(error).with_context(|| format!("{} cannot be made", folder.path.display())),
    }
}

/// An unfinished folder; dropping it removes it unless it was renamed.
struct Draft {
    path: PathBuf,
    /// Shows others that this process is alive, as a node's does.
    lock: Option<File>,
}

impl Draft {
    fn make(path: PathBuf) -> Result<Self> {
        fs::create_dir(&path).with_context(|| format!("{} cannot be made", path.display()))?;
        // Where no file can be locked, the folder is made all the same.
        let lock = system::try_lock(&path.join(LOCK_FILE)).ok();
        Ok(Self { path, lock })
    }

    /// Removes the lock: a folder in which a file is open cannot be renamed on Windows.
    fn unlock(&mut self) -> io::Result<()> {
        match self.lock.take() {
            Some(lock) => {
                drop(lock);
                fs::remove_file(self.path.join(LOCK_FILE))
            }
            None => Ok(()),
        }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        self.lock = None;
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                note!("warning: {} was left behind: {error}", self.path.display())
            }
            _ => {}
        }
    }
}

fn fill(workspace: &Workspace, folder: &Path, port: u16, authority: Option<&Authority>) -> Result<()> {
    let template = workspace.template(".env");
    let restore = |path: &Path| format!("{} cannot be read; `git checkout` brings it back", path.display());
    let template_text = fs::read_to_string(&template).with_context(|| restore(&template))?;
    for name in COPIED {
        let original = workspace.root().join(name);
        let content = fs::read(&original).with_context(|| restore(&original))?;
        write(&folder.join(name), &content)?;
    }
    let key = NodeKey::load_or_create(folder)?;
    let text = with_setting(&template_text, "PORT", &port.to_string());
    let mut text = with_setting(&text, "MY_PUBLIC_KEY", &key.node_id().to_string());
    if let Some(authority) = authority {
        write(&folder.join(CA_CERTIFICATE), authority.certificate())?;
        write(&folder.join(NODE_CERTIFICATE), authority.issue(key.node_id(), NODE_VALIDITY)?)?;
        text = with_setting(&text, "NETWORK_CA", CA_CERTIFICATE);
        text = with_setting(&text, "CERTIFICATE", NODE_CERTIFICATE);
        secure_known_peers(&folder.join(KNOWN_PEERS))?;
    }
    write(&folder.join(".env"), text)?;
    Ok(())
}

/// Writes a file and waits for the disk: the folder's name must not be there before its content.
fn write(path: &Path, content: impl AsRef<[u8]>) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(content.as_ref())?;
    file.sync_all()
}

/// Turns the addresses of an open network into those of a closed one.
fn secure_known_peers(path: &Path) -> Result<()> {
    let text = fs::read_to_string(path)?;
    write(path, text.replace("\"ws://", "\"wss://"))?;
    Ok(())
}

/// Warns if the new folder's port is in use. The other program may end before the node starts, so
/// the folder is made anyway.
pub(crate) fn warn_of_taken_port(folder: &Folder) {
    let port = port_of(folder.number);
    if u16::try_from(port).is_ok_and(is_taken) {
        let name = folder.name();
        note!(
            "warning: port {port} is in use by another program right now: stop that one, or set another PORT in {name}/.env, before you start {name}"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_end() {
        let root = tempfile::tempdir().expect("a folder");
        let workspace = Workspace::find(Some(root.path())).expect("found");
        let error = make(&workspace, 61_536, None, |_| Ok(())).expect_err("no port").to_string();
        assert!(error.contains("65536") && error.contains("delete-nodes"), "{error}");
        assert_eq!(fs::read_dir(root.path()).expect("read").count(), 0, "nothing is left");
    }

    /// As when `join` cannot write an invite, or is killed before it has.
    #[test]
    fn a_folder_has_its_name_only_once_all_is_written() {
        let root = tempfile::tempdir().expect("a folder");
        let workspace = Workspace::find(Some(root.path())).expect("found");
        let template = workspace.template(".env");
        fs::create_dir_all(template.parent().expect("a folder")).expect("made");
        fs::write(&template, "PORT=\n").expect("written");
        COPIED.iter().for_each(|name| fs::write(root.path().join(name), "[]").expect("written"));
        let names = || {
            let found = fs::read_dir(root.path()).expect("read").map(|entry| entry.expect("one").file_name());
            let mut names: Vec<_> = found.filter_map(|name| name.into_string().ok()).collect();
            names.retain(|name| name.starts_with("node-") && name != "node-template");
            names
        };
        let error = make_next(&workspace, None, |draft| {
            assert!(draft.join(".env").is_file(), "the rest is written");
            assert_eq!(names().len(), 1);
            assert!(names()[0].starts_with("node-1.new-"), "{:?}", names());
            bail!("no room")
        });
        assert_eq!(error.expect_err("it failed").root_cause().to_string(), "no room");
        assert_eq!(names(), Vec::<String>::new(), "nothing is left");
        let folder = make_next(&workspace, None, |draft| Ok(fs::write(draft.join("more"), "")?)).expect("made");
        assert!(folder.path.join("more").is_file());
        assert_eq!(names(), ["node-1"]);
    }
}
