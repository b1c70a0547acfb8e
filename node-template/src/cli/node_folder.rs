//! The folder of a node, as a command beside the node sees it: whether a node runs in it, where
//! that listens, and with what credentials its owner may ask it.
//!
//! A lock on `node.lock` shows that a node runs; the system releases it whenever the process ends.
//! Nothing here writes, except for [`NodeFolder::hold`].

use std::fmt;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::cli::terminal::strip_control;
use crate::client::Client;
use crate::config;
use crate::folder::files::{folder_name, remedy};
use crate::folder::node_key::NodeKey;
use crate::pool::{LOCK_FILE, POOL_FILE, as_of_now};
use crate::protocol::address::PeerAddress;
use crate::system::{LockError, NO_LOCKS, is_locked, keep_access, runs_here, try_lock};

/// How often a command tries to lock a folder that another one changes, 200 ms each.
const TRIES: u32 = 25;

/// One node's folder.
#[derive(Debug, Clone)]
pub struct NodeFolder {
    /// Where it is.
    pub path: PathBuf,
    /// Its name for people.
    pub name: String,
    /// The command that starts its node.
    pub start: String,
    /// The port to name where its `.env` has none.
    pub usual_port: u64,
}

/// Whether a node runs in a folder.
#[derive(Debug)]
pub enum Lock {
    /// No node runs there.
    Free,
    /// A node runs there, and has written this, unless it just started.
    Held(Option<Holder>),
}

/// What a running node writes into its lock file: its process id, in a second line its address,
/// once it listens, and in a third the URL of its page, if it has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The process.
    pub pid: u32,
    /// Where it listens.
    pub address: Option<PeerAddress>,
    /// The URL of its page and its API.
    pub page: Option<String>,
}

impl Holder {
    fn read(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let pid = lines.next()?.parse().ok()?;
        let address = lines.next().and_then(|line| line.parse().ok());
        Some(Self { pid, address, page: lines.next().map(str::to_owned) })
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

impl NodeFolder {
    /// The folder at a path, which the binary runs.
    pub fn at(path: &Path) -> Self {
        let here = path == Path::new(".");
        let start = if here { "meshpool run".to_owned() } else { format!("meshpool run --folder {}", path.display()) };
        Self { path: path.to_owned(), name: folder_name(path), start, usual_port: 4_001 }
    }

    /// Returns its name.
    pub fn name(&self) -> String {
        self.name.clone()
    }

    /// Whether it is a real folder with a `.env`.
    pub fn exists(&self) -> bool {
        fs::symlink_metadata(&self.path).is_ok_and(|metadata| metadata.is_dir()) && self.path.join(".env").is_file()
    }

    /// Returns whether a node runs in it. This takes a shared lock for a moment, so it is called
    /// only where needed.
    ///
    /// # Errors
    /// The lock's file cannot be read.
    pub fn lock(&self) -> Result<Lock> {
        let path = self.path.join(LOCK_FILE);
        self.check_kind(LOCK_FILE)?;
        match is_locked(&path) {
            Ok(false) => Ok(Lock::Free),
            Ok(true) => {
                let text = fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
                Ok(Lock::Held(Holder::read(&text)))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Lock::Free),
            Err(error) => {
                let remedy = match error.kind() {
                    ErrorKind::PermissionDenied => "; ask as the user that runs its node",
                    _ => "",
                };
                Err(error).with_context(|| format!("{} cannot be opened and locked{remedy}", path.display()))
            }
        }
    }

    /// Opens its file of transactions, to be read as it is now.
    ///
    /// # Errors
    /// It is missing, or no file, or may not be read.
    pub(crate) fn open_pool(&self) -> Result<impl Read + Send + 'static> {
        self.check_kind(POOL_FILE)?;
        File::open(self.path.join(POOL_FILE)).and_then(as_of_now).with_context(|| {
            format!("{}/{POOL_FILE} cannot be read; it exists once the node has been started", self.name)
        })
    }

    /// Refuses a pipe and a device: opening it may block, and it may have no end.
    fn check_kind(&self, file: &str) -> Result<()> {
        let found = self.path.join(file).metadata();
        ensure!(
            !found.is_ok_and(|found| !found.is_file() && !found.is_dir()),
            "{}/{file} is not a file: move it away",
            self.name
        );
        Ok(())
    }

    /// Returns the process that holds the lock, if it is one that may be signalled.
    ///
    /// The process id in the file is checked: for a node in a container it is a number of that
    /// container, and another process may have it here.
    pub fn process(&self, holder: &Holder) -> Option<u32> {
        runs_here(holder.pid, &self.path.join(LOCK_FILE)).then_some(holder.pid)
    }

    /// Returns what a running node wrote. Only the lock shows that it runs: after a crash, and for
    /// a container, another process may have the number in the file.
    pub fn holder(&self) -> Option<Holder> {
        match self.lock() {
            Ok(Lock::Held(holder)) => holder,
            _ => None,
        }
    }

    /// Takes the folder's lock while the returned file is held, to change files that a node reads
    /// at its start; `None` if a node runs. Another command waits meanwhile, and so does a node
    /// that starts.
    ///
    /// # Errors
    /// The lock's file cannot be opened or locked.
    pub(crate) fn hold(&self) -> Result<Option<File>> {
        let path = self.path.join(LOCK_FILE);
        self.check_kind(LOCK_FILE)?;
        let is_new = fs::symlink_metadata(&path).is_err();
        let shown = || format!("{} cannot be opened and locked", path.display());
        for _ in 0..TRIES {
            // A node writes at once, and a command nothing.
            if matches!(self.lock()?, Lock::Held(Some(_))) {
                return Ok(None);
            }
            match try_lock(&path) {
                Ok(file) => {
                    // What the last node wrote would be taken for this process's.
                    fs::write(&path, "").with_context(|| format!("{} cannot be written", path.display()))?;
                    // Root may change the folder of another user, whose node has to open the file.
                    if let Some(like) = fs::metadata(self.path.join(".env")).ok().filter(|_| is_new) {
                        keep_access(&file, &like).with_context(shown)?;
                    }
                    return Ok(Some(file));
                }
                Err(LockError::Held) => {}
                Err(LockError::Unsupported(error)) => bail!("{}: {error}; {NO_LOCKS}", shown()),
                Err(LockError::Io(error)) => {
                    bail!("{}: {error}; {}", shown(), remedy(&error).unwrap_or("check who may write there"))
                }
            }
        }
        Ok(None)
    }

    /// Returns where the folder's node listens: what a running one wrote, or what its `.env` says.
    ///
    /// # Errors
    /// There is neither.
    pub fn address(&self) -> Result<PeerAddress> {
        if let Some(address) = self.holder().and_then(|holder| holder.address) {
            return Ok(address);
        }
        let (name, usual) = (&self.name, self.usual_port);
        let port = self.setting("PORT");
        let port = port.with_context(|| format!("{name}/.env has no PORT: write PORT={usual} into it"))?;
        match port.parse() {
            Ok(0) => bail!(
                "{name} is not running, and with PORT=0 it has no address before it does: start it with `{}`",
                self.start
            ),
            Ok(port) => {
                let address = PeerAddress::new("localhost", port)?;
                Ok(if self.setting("NETWORK_CA").is_some() { address.secured() } else { address })
            }
            Err(_) => bail!(
                "{name}/.env: PORT is {:?}, which is not a number from 0 to 65535: write PORT={usual} there",
                strip_control(&port)
            ),
        }
    }

    /// Connects to its node, in a closed network as its operator.
    ///
    /// # Errors
    /// It does not run, or does not admit this client.
    pub async fn connect(&self) -> Result<Client> {
        let address = self.address()?;
        let connected = match address.is_secure() {
            false => Client::connect(&address).await,
            #[cfg(feature = "tls")]
            // A node accepts a client with the certificate of its own folder as its operator.
            true => Client::connect_as(&address, &self.credentials().with_context(|| self.name())?).await,
            #[cfg(not(feature = "tls"))]
            true => Client::connect(&address).await,
        };
        let client = connected.with_context(|| self.name())?;
        if self.is_of_another_folder(&client) {
            client.close().await;
            bail!(
                "{} is not running: {address} is the address of a node of another folder; stop that one, or set another PORT in {0}/.env",
                self.name
            );
        }
        Ok(client)
    }

    /// Returns whether a node that was found at the port of `.env` has another key than the folder.
    ///
    /// A running node writes its address into its folder, so this address is its own.
    fn is_of_another_folder(&self, client: &Client) -> bool {
        let Some(identity) = client.identity() else { return false };
        if self.holder().is_some_and(|holder| holder.address.is_some()) {
            return false;
        }
        match NodeKey::load(&self.path) {
            Ok(Some(key)) => key.node_id() != identity.node,
            // A node makes its key when it starts.
            Ok(None) => true,
            // Another user's folder, maybe.
            Err(_) => false,
        }
    }

    /// Returns the credentials of the folder's node in its closed network.
    ///
    /// # Errors
    /// Its files cannot be used.
    #[cfg(feature = "tls")]
    pub fn credentials(&self) -> Result<crate::tls::Credentials> {
        use crate::tls::{Credentials, Files, NODE_CERTIFICATE};

        let ca = self.setting("NETWORK_CA").with_context(|| {
            format!("{0}/.env has no NETWORK_CA, but its node uses TLS: write NETWORK_CA=ca.pem there", self.name)
        })?;
        let certificate = self.setting("CERTIFICATE").unwrap_or_else(|| NODE_CERTIFICATE.to_owned());
        let key = NodeKey::load(&self.path)?.with_context(|| format!("{} has no node.key", self.name))?;
        let files = Files { ca: ca.into(), certificate: certificate.into() };
        Ok(Credentials::load(&self.path, &files, std::sync::Arc::new(key))?)
    }

    /// Returns a setting of the folder's `.env`, the last one of several. The node reports invalid
    /// lines.
    pub fn setting(&self, name: &str) -> Option<String> {
        let value = config::last_value(&self.path, name)?.trim().to_owned();
        (!value.is_empty()).then_some(value)
    }

    /// Returns the error of a command that needs the running node.
    pub fn not_running(&self) -> anyhow::Error {
        match self.path.is_dir() {
            true => anyhow!("no node runs in {}: start it with `{}`", self.name, self.start),
            false => anyhow!("{} is not a folder: name a node's with --folder", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_tells_who_holds_it() {
        let root = tempfile::tempdir().expect("a folder");
        let folder = NodeFolder::at(root.path());
        assert!(!folder.exists(), "without .env it is none");
        fs::write(folder.path.join(".env"), "\u{feff}PORT=1\r\nexport PORT = \"4001\"\r\nwhat is this\r\n")
            .expect("written");
        assert!(matches!(folder.lock(), Ok(Lock::Free)) && folder.exists());
        assert_eq!(folder.address().expect("an address").to_string(), "ws://localhost:4001");

        fs::write(folder.path.join(LOCK_FILE), "").expect("made");
        assert!(matches!(folder.lock(), Ok(Lock::Free)), "a file left over is not held");
        let _held = crate::system::try_lock(&folder.path.join(LOCK_FILE)).expect("free");
        assert!(matches!(folder.lock(), Ok(Lock::Held(None))), "held, but nothing written yet");
        let pid = std::process::id();
        let text = format!("{pid}\nws://localhost:5\nhttp://localhost:6\n");
        fs::write(folder.path.join(LOCK_FILE), text).expect("written");
        let Ok(Lock::Held(Some(holder))) = folder.lock() else { panic!("it is held, and says by whom") };
        assert_eq!(holder.to_string(), format!("process {pid}, ws://localhost:5"));
        assert_eq!(holder.page.as_deref(), Some("http://localhost:6"));
        assert!(folder.process(&holder).is_some(), "this process holds it");
        #[cfg(unix)]
        {
            let other = Holder { pid: std::os::unix::process::parent_id(), ..holder };
            assert_eq!(folder.process(&other), None, "a process that does not hold it is never signalled");
        }
        assert_eq!(folder.address().expect("an address").to_string(), "ws://localhost:5");
    }

    #[test]
    fn what_a_lock_says_counts_while_it_is_held() {
        let root = tempfile::tempdir().expect("a folder");
        let folder = NodeFolder::at(root.path());
        fs::write(folder.path.join(".env"), "PORT=4001\n").expect("written");
        // This process lives, as process 1 does for a node that ran in a container.
        let text = format!("{}\nws://localhost:5\nhttp://localhost:6\n", std::process::id());
        fs::write(folder.path.join(LOCK_FILE), text).expect("written");
        assert_eq!(folder.holder(), None);
        assert_eq!(folder.address().expect("an address").to_string(), "ws://localhost:4001");
        let held = try_lock(&folder.path.join(LOCK_FILE)).expect("free");
        assert_eq!(folder.address().expect("an address").to_string(), "ws://localhost:5");
        assert!(folder.hold().expect("looked at").is_none(), "a node runs");
        drop(held);

        let held = folder.hold().expect("free").expect("no node runs");
        assert!(matches!(folder.lock(), Ok(Lock::Held(None))), "nobody can be asked");
        drop(held);
        assert!(matches!(folder.lock(), Ok(Lock::Free)));
    }

    #[cfg(unix)]
    #[test]
    fn a_new_lock_has_the_access_rights_of_the_settings() {
        use std::os::unix::fs::PermissionsExt;

        let root = tempfile::tempdir().expect("a folder");
        let folder = NodeFolder::at(root.path());
        fs::write(folder.path.join(".env"), "PORT=4001\n").expect("written");
        fs::set_permissions(folder.path.join(".env"), fs::Permissions::from_mode(0o640)).expect("set");
        drop(folder.hold().expect("free"));
        let mode = |name: &str| fs::metadata(folder.path.join(name)).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode(LOCK_FILE), 0o640);
    }
}
