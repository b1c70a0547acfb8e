//! The workspace: its root and the node folders in it.
//!
//! A node folder is a real folder `node-<N>`, not a link, that holds a `.env`. This module only
//! reads. A lock on `node.lock` shows that a node runs in a folder; the system releases it whenever
//! the process ends.

use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use meshpool::folder::node_key::NodeKey;
use meshpool::pool::LOCK_FILE;
use meshpool::protocol::address::PeerAddress;
use meshpool::tls::{Credentials, Files, NODE_CERTIFICATE};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use crate::support::terminal;

/// The template of node folders, which marks the root.
const TEMPLATE: &str = "node-template";

/// The folder of the closed network's authority.
const AUTHORITY: &str = "network-ca";

/// The workspace that the tasks act on.
#[derive(Debug)]
pub(crate) struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// Finds the workspace: the one given, or the one around the current folder, or the one that
    /// this program was built from.
    pub(crate) fn find(given: Option<&Path>) -> Result<Self> {
        if let Some(root) = given {
            let root = root.canonicalize().with_context(|| format!("{} cannot be opened", root.display()))?;
            return Ok(Self { root });
        }
        let here = std::env::current_dir().context("the current folder cannot be determined; go to another one")?;
        let built = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
        match here.ancestors().chain(built).find(|folder| is_root(folder)) {
            Some(root) => Ok(Self { root: root.to_owned() }),
            None => bail!(
                "{} is not inside the workspace: go to the folder that holds {TEMPLATE}/ and Cargo.toml",
                here.display()
            ),
        }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the default folder of the authority.
    pub(crate) fn authority(&self) -> PathBuf {
        self.root.join(AUTHORITY)
    }

    /// Returns a file of the template.
    pub(crate) fn template(&self, name: &str) -> PathBuf {
        self.root.join(TEMPLATE).join(name)
    }

    /// Returns the folder of node `number`, which need not exist.
    pub(crate) fn folder(&self, number: u32) -> Folder {
        Folder { number, path: self.root.join(format!("node-{number}")) }
    }

    /// Returns all node folders in the order of their numbers.
    pub(crate) fn folders(&self) -> Result<Vec<Folder>> {
        let mut folders = Vec::new();
        for entry in fs::read_dir(&self.root).with_context(|| format!("{} cannot be read", self.root.display()))? {
            let name = entry?.file_name();
            if let Some(number) = name.to_str().and_then(number_of) {
                folders.push(self.folder(number));
            }
        }
        folders.retain(Folder::exists);
        folders.sort_by_key(|folder| folder.number);
        Ok(folders)
    }

    /// Returns the existing folder of node `number`.
    pub(crate) fn existing(&self, number: u32) -> Result<Folder> {
        let folder = self.folder(number);
        if folder.exists() {
            return Ok(folder);
        }
        let names: Vec<_> = self.folders()?.iter().map(Folder::name).collect();
        match names.as_slice() {
            [] => bail!("there is no {}: make it with `cargo xtask clone-node`", folder.name()),
            _ => bail!("there is no {}; there is {}", folder.name(), names.join(", ")),
        }
    }

    /// Returns the node folder that is, or contains, the current folder.
    pub(crate) fn current_folder(&self) -> Option<Folder> {
        let here = std::env::current_dir().ok()?;
        let inside = here.strip_prefix(&self.root).ok()?.components().next()?;
        let number = inside.as_os_str().to_str().and_then(number_of)?;
        Some(self.folder(number)).filter(Folder::exists)
    }
}

fn is_root(folder: &Path) -> bool {
    folder.join("Cargo.toml").is_file() && folder.join(TEMPLATE).is_dir() && folder.join("xtask").is_dir()
}

/// Parses `node-<number>`, but neither `node-01` nor `node-+1`.
fn number_of(name: &str) -> Option<u32> {
    let number = name.strip_prefix("node-")?.parse().ok()?;
    (name == format!("node-{number}")).then_some(number)
}

/// One node's folder.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    pub(crate) number: u32,
    pub(crate) path: PathBuf,
}

/// Whether a node runs in a folder.
#[derive(Debug)]
pub(crate) enum Lock {
    /// No node runs there.
    Free,
    /// A node runs there, and has written this, unless it just started.
    Held(Option<Holder>),
}

/// What a running node writes into its lock file: its process id, and in a second line its address,
/// once it listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) pid: u32,
    pub(crate) address: Option<PeerAddress>,
}

impl Holder {
    fn read(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let pid = lines.next()?.parse().ok()?;
        Some(Self { pid, address: lines.next().and_then(|line| line.parse().ok()) })
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Some(address) => write!(f, "process {}, {address}", self.pid),
            None => write!(f, "process {}", self.pid),
        }
    }
}

impl Folder {
    /// Returns the name: `node-3`.
    pub(crate) fn name(&self) -> String {
        format!("node-{}", self.number)
    }

    /// Whether it is a real folder with a `.env`.
    pub(crate) fn exists(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|metadata| metadata.is_dir()) && self.path.join(".env").is_file()
    }

    /// Returns whether a node runs in it. This takes a shared lock for a moment, so it is called
    /// only where needed.
    pub(crate) fn lock(&self) -> Result<Lock> {
        let path = self.path.join(LOCK_FILE);
        let mut file = match File::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Lock::Free),
            opened => opened.with_context(|| format!("{} cannot be opened", path.display()))?,
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(Lock::Free),
            Err(TryLockError::WouldBlock) => {
                let text =
                    io::read_to_string(&mut file).with_context(|| format!("{} cannot be read", path.display()))?;
                Ok(Lock::Held(Holder::read(&text)))
            }
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("{} cannot be locked", path.display()))
            }
        }
    }

    /// Returns the process that holds the lock, if it is one that may be signalled.
    ///
    /// The process id in the file is checked: for a node in a container it is a number of that
    /// container, and another process may have it here.
    pub(crate) fn process(&self, holder: &Holder) -> Option<Pid> {
        let pid = i32::try_from(holder.pid).ok().and_then(Pid::from_raw)?;
        let proc = Path::new("/proc").join(holder.pid.to_string()).join("fd");
        if !Path::new("/proc/self/fd").exists() {
            // Without /proc the file has to be believed.
            return Some(pid);
        }
        let lock = fs::metadata(self.path.join(LOCK_FILE)).ok()?;
        let mut open = fs::read_dir(proc).ok()?.filter_map(|entry| fs::metadata(entry.ok()?.path()).ok());
        open.any(|file| (file.dev(), file.ino()) == (lock.dev(), lock.ino())).then_some(pid)
    }

    /// Returns where the folder's node listens: what a running one wrote, or what its `.env` says.
    ///
    /// It does not try the lock, since a node that starts at this moment would find it taken. A
    /// living writer is proof enough for an address to try.
    pub(crate) fn address(&self) -> Result<PeerAddress> {
        let name = self.name();
        let written = fs::read_to_string(self.path.join(LOCK_FILE)).ok();
        let holder = written.and_then(|text| Holder::read(&text)).filter(|holder| is_alive(holder.pid));
        if let Some(address) = holder.and_then(|holder| holder.address) {
            return Ok(address);
        }
        let port = self.setting("PORT");
        let port =
            port.with_context(|| format!("{name}/.env has no PORT: write PORT={} into it", port_of(self.number)))?;
        match port.parse() {
            Ok(0) => bail!(
                "{name} is not running, and with PORT=0 it has no address before it does: start it with `cd {name} && cargo run`"
            ),
            Ok(port) => {
                let address = PeerAddress::new("localhost", port)?;
                Ok(if self.setting("NETWORK_CA").is_some() { address.secured() } else { address })
            }
            Err(_) => bail!(
                "{name}/.env: PORT is {:?}, which is not a number from 0 to 65535: write PORT={} there",
                terminal::strip_control(&port),
                port_of(self.number)
            ),
        }
    }

    /// Returns the credentials of the folder's node in its closed network.
    pub(crate) fn credentials(&self) -> Result<Credentials> {
        let ca = self.setting("NETWORK_CA").with_context(|| {
            format!("{0}/.env has no NETWORK_CA, but its node uses TLS: write NETWORK_CA=ca.pem there", self.name())
        })?;
        let certificate = self.setting("CERTIFICATE").unwrap_or_else(|| NODE_CERTIFICATE.to_owned());
        let key = NodeKey::load(&self.path)?.with_context(|| format!("{} has no node.key", self.name()))?;
        let files = Files { ca: ca.into(), certificate: certificate.into() };
        Ok(Credentials::load(&self.path, &files, Arc::new(key))?)
    }

    /// Returns a setting of the folder's `.env`, the last one of several. The node reports invalid
    /// lines.
    pub(crate) fn setting(&self, name: &str) -> Option<String> {
        let text = fs::read_to_string(self.path.join(".env")).ok()?;
        let text = text.trim_start_matches('\u{feff}').replace("\r\n", "\n") + "\n";
        let assignments = dotenvy::from_read_iter(text.as_bytes()).filter_map(Result::ok);
        assignments
            .filter(|(key, _)| key == name)
            .last()
            .map(|(_, value)| value.trim().to_owned())
            .filter(|value| !value.is_empty())
    }
}

/// Returns the port of a clone: 4000 plus its number, which may exceed 65535.
pub(crate) fn port_of(number: u32) -> u64 {
    4_000 + u64::from(number)
}

/// Whether a process with this id exists.
pub(crate) fn is_alive(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    // Another user's process exists too, though we may not signal it.
    pid.is_some_and(|pid| !matches!(test_kill_process(pid), Err(Errno::SRCH)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_node_folders() {
        let names = [
            ("node-1", Some(1)),
            ("node-10", Some(10)),
            ("node-01", None),
            ("node-", None),
            ("node-+1", None),
            ("node-1.new-7", None),
        ];
        for (name, number) in names {
            assert_eq!(number_of(name), number, "{name}");
        }
        assert_eq!(number_of("node-template"), None);
        assert_eq!(number_of("node--1"), None);
    }

    #[test]
    fn the_lock_tells_who_holds_it() {
        let root = tempfile::tempdir().expect("a folder");
        let workspace = Workspace { root: root.path().to_owned() };
        let folder = workspace.folder(1);
        fs::create_dir(&folder.path).expect("made");
        assert!(!folder.exists(), "without .env it is none");
        fs::write(folder.path.join(".env"), "\u{feff}PORT=1\r\nexport PORT = \"4001\"\r\nwhat is this\r\n")
            .expect("written");
        assert!(matches!(folder.lock(), Ok(Lock::Free)));
        assert_eq!(folder.address().expect("an address").to_string(), "ws://localhost:4001");

        let held = File::create(folder.path.join(LOCK_FILE)).expect("made");
        assert!(matches!(folder.lock(), Ok(Lock::Free)), "a file left over is not held");
        held.try_lock().expect("free");
        assert!(matches!(folder.lock(), Ok(Lock::Held(None))), "held, but nothing written yet");
        let pid = std::process::id();
        let text = format!("{pid}\nws://localhost:5\n");
        fs::write(folder.path.join(LOCK_FILE), text).expect("written");
        let Ok(Lock::Held(Some(holder))) = folder.lock() else { panic!("it is held, and says by whom") };
        assert_eq!(holder.to_string(), format!("process {pid}, ws://localhost:5"));
        assert!(folder.process(&holder).is_some(), "this process holds it");
        let other =
            Holder { pid: rustix::process::getppid().expect("a parent").as_raw_pid().cast_unsigned(), ..holder };
        assert_eq!(folder.process(&other), None, "a process that does not hold it is never signalled");
        assert_eq!(folder.address().expect("an address").to_string(), "ws://localhost:5");
    }

    #[test]
    fn links_are_no_node_folders() {
        let root = tempfile::tempdir().expect("a folder");
        let workspace = Workspace { root: root.path().to_owned() };
        fs::create_dir(root.path().join("elsewhere")).expect("made");
        fs::write(root.path().join("elsewhere/.env"), "PORT=1").expect("written");
        #[cfg(unix)]
        std::os::unix::fs::symlink(root.path().join("elsewhere"), root.path().join("node-2")).expect("linked");
        assert!(workspace.folders().expect("read").is_empty());
    }
}
