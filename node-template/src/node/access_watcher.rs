//! The access watcher: reads the folder's access rules and puts them in force. They are
//! `denied.txt`, `allowed.txt` and, in a closed network, the certificates.
//!
//! It reads them at the start, on request (SIGHUP, or `Handle::reload`), and when a file has
//! changed. Files that cannot be used are reported, and the old rules stay in force: a typing error
//! must not end a ban. They are read again until they can be used, since the cause may be another
//! one than a file: the clock, or too many open files.
//!
//! It is a task of its own, so the driver never waits for a file.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use meshpool_proto::access::{Access, InvalidRule, Rules};
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;

use crate::config::Settings;
use crate::driver::commands::Command;
use crate::events::text::plural;
use crate::folder::edit::DENIED;
use crate::folder::files::{FolderError, read_text, shown};
use crate::folder::node_key::NodeKey;
use crate::system::rights_stamp;
use crate::transport::tls::Live;

/// The list of allowed nodes and addresses. If it exists, all others are denied.
pub(crate) const ALLOWED: &str = "allowed.txt";
/// How often the files' times and the certificate's end are checked.
const CHECK_EVERY: Duration = Duration::from_secs(30);

/// Why the access rules cannot be used: which file, what is wrong, what to do. The old rules stay
/// in force.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccessError {
    /// A list has an invalid line.
    #[error("{path}, {cause}")]
    List {
        /// The file.
        path: String,
        /// The line, and what a line may be.
        cause: InvalidRule,
    },
    /// A file cannot be read.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The certificates cannot be used.
    #[cfg(feature = "tls")]
    #[error(transparent)]
    Credentials(#[from] crate::tls::CredentialsError),
    /// The program was built without TLS.
    #[error("NETWORK_CA is set, but this program was built without TLS: build it with the feature \"tls\"")]
    NoTls,
    /// The node has ended.
    #[error("the node has ended; start it again")]
    Ended,
}

impl AccessError {
    /// Returns where the setting behind this error was set, if it is one of a closed network.
    pub(crate) fn origin<'a>(&self, closed: &'a str) -> &'a str {
        match self {
            #[cfg(feature = "tls")]
            Self::Credentials(_) => closed,
            Self::NoTls => closed,
            _ => "",
        }
    }
}

/// The time, the length and the access rights of each file; `None` of one that is not there. Two
/// changes may have the same time.
type Stamps = Vec<Option<(SystemTime, u64, (i64, i64, u32))>>;

/// The files of the access rules.
pub(crate) struct AccessFiles {
    /// As they were right before they were read last.
    read: Mutex<Stamps>,
    folder: PathBuf,
    exercise_peers: bool,
    /// As [`Settings::closed`].
    closed: Option<(PathBuf, PathBuf)>,
    #[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "it signs in a TLS handshake"))]
    key: Arc<NodeKey>,
}

/// A request to reload the access rules, with the channel for its result.
pub(crate) type Reload = oneshot::Sender<Result<(), AccessError>>;

impl AccessFiles {
    pub(crate) fn new(settings: &Settings, key: Arc<NodeKey>) -> Self {
        let (folder, closed) = (settings.folder.clone(), settings.closed.clone());
        let exercise_peers = settings.plain.unwrap_or(closed.is_none());
        Self { read: Mutex::default(), folder, exercise_peers, closed, key }
    }

    /// Reads the rules and, in a closed network, the credentials.
    pub(crate) fn read(&self) -> Result<(Access, Option<Live>), AccessError> {
        *self.read.lock().unwrap_or_else(PoisonError::into_inner) = self.stamps();
        let denied = rules(&self.folder, DENIED)?.unwrap_or_default();
        let allowed = rules(&self.folder, ALLOWED)?;
        Ok((Access { plain: self.exercise_peers, denied, allowed }, self.credentials()?))
    }

    #[cfg(feature = "tls")]
    fn credentials(&self) -> Result<Option<Live>, AccessError> {
        let Some((ca, certificate)) = self.closed.clone() else { return Ok(None) };
        let files = crate::tls::Files { ca, certificate };
        let credentials = crate::tls::Credentials::load(&self.folder, &files, Arc::clone(&self.key))?;
        Ok(Some(Live::new(credentials)))
    }

    #[cfg(not(feature = "tls"))]
    fn credentials(&self) -> Result<Option<Live>, AccessError> {
        if self.closed.is_some() { Err(AccessError::NoTls) } else { Ok(None) }
    }

    /// Returns a warning of rules that admit nobody.
    pub(crate) fn warning(&self, access: &Access) -> Option<String> {
        let empty = access.allowed.as_ref().is_some_and(Rules::is_empty);
        empty.then(|| {
            let path = shown(&self.folder, ALLOWED);
            format!("{path} has no rule, so this node refuses all nodes, and all clients but its operator's; write rules into it, or remove it to admit all")
        })
    }

    /// Returns whether a file has changed since they were read.
    fn have_changed(&self) -> bool {
        *self.read.lock().unwrap_or_else(PoisonError::into_inner) != self.stamps()
    }

    fn stamps(&self) -> Stamps {
        let closed = self.closed.iter().flat_map(|(ca, certificate)| [ca.as_path(), certificate.as_path()]);
        let files = [Path::new(DENIED), Path::new(ALLOWED)].into_iter().chain(closed);
        let stamp = |file: &Path| {
            let metadata = self.folder.join(file).metadata().ok()?;
            Some((metadata.modified().ok()?, metadata.len(), rights_stamp(&metadata)))
        };
        files.map(stamp).collect()
    }
}

fn rules(folder: &Path, name: &str) -> Result<Option<Rules>, AccessError> {
    let path = shown(folder, name);
    let Some(text) = read_text(&folder.join(name), &path)? else { return Ok(None) };
    text.parse().map(Some).map_err(|cause| AccessError::List { path, cause })
}

/// Keeps the rules in force equal to the files, until the node ends.
pub(crate) struct AccessWatcher {
    pub(crate) files: AccessFiles,
    pub(crate) credentials: Option<Arc<Live>>,
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) reloads: mpsc::Receiver<Reload>,
}

impl AccessWatcher {
    /// Runs until every sender of reloads is gone. All that the `select!` awaits is cancel-safe.
    pub(crate) async fn run(mut self) {
        // The error of the last reload, until one succeeds.
        let mut failed: Option<String> = None;
        let mut warned = 0;
        let mut check = tokio::time::interval(CHECK_EVERY);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                reload = self.reloads.recv() => {
                    let Some(reply) = reload else { return };
                    let result = self.reload().await;
                    failed = result.as_ref().err().map(ToString::to_string);
                    warned = 0;
                    // The requester may be gone.
                    reply.send(result).unwrap_or_default();
                }
                _ = check.tick() => {
                    let changed = self.files.have_changed();
                    if changed || failed.is_some() {
                        let error = self.reload().await.err().map(|error| error.to_string());
                        if changed || error.is_none() {
                            warned = 0;
                        }
                        if let Some(error) = error.as_ref().filter(|_| changed || error != failed) {
                            tracing::error!(
                                "the files of the access rules cannot be used, so the old rules stay in force; they are read again every {} s until they can: {error}",
                                CHECK_EVERY.as_secs()
                            );
                        }
                        failed = error;
                    }
                }
            }
            self.warn_of_validity(&mut warned).await;
        }
    }

    /// Reads the files, and puts them in force only if all can be used.
    async fn reload(&self) -> Result<(), AccessError> {
        let (access, credentials) = self.files.read()?;
        self.replace_credentials(credentials);
        let warning = self.files.warning(&access);
        let (denied, allowed) = (access.denied.len() as u64, access.allowed.as_ref().map(Rules::len));
        let (reply, applied) = oneshot::channel();
        let sent = self.commands.send(Command::SetAccess { access, reply }).await;
        sent.map_err(|_| AccessError::Ended)?;
        applied.await.map_err(|_| AccessError::Ended)?;
        let allowed = allowed.map_or_else(
            || format!("no {ALLOWED}"),
            |allowed| format!("{} in {ALLOWED}", plural(allowed as u64, "rule", "rules")),
        );
        let certificates = if self.credentials.is_some() { ", and the certificates" } else { "" };
        tracing::info!(
            "reloaded the access rules: {} in {DENIED}, {allowed}{certificates}",
            plural(denied, "rule", "rules")
        );
        if let Some(warning) = warning {
            tracing::warn!("{warning}");
        }
        Ok(())
    }

    #[cfg(feature = "tls")]
    fn replace_credentials(&self, new: Option<Live>) {
        if let (Some(credentials), Some(new)) = (&self.credentials, new) {
            credentials.replace(&new);
        }
    }

    #[cfg(not(feature = "tls"))]
    fn replace_credentials(&self, _new: Option<Live>) {}

    /// Warns once 30 days before the certificate expires, once 7 days before, once it has, and once
    /// if it is not valid yet.
    #[cfg(feature = "tls")]
    async fn warn_of_validity(&self, warned: &mut u8) {
        let Some(credentials) = &self.credentials else { return };
        let found = credentials.now().validity(SystemTime::now());
        // The clock may be set back.
        let before = std::mem::replace(warned, found.as_ref().map_or(0, |(stage, _)| *stage));
        if let Some((_, text)) = found.filter(|(stage, _)| *stage > before)
            && self.commands.send(Command::Warn { text }).await.is_err()
        {
            tracing::debug!("the node ended before a warning was reported");
        }
    }

    #[cfg(not(feature = "tls"))]
    #[expect(clippy::unused_async, reason = "it awaits nothing without TLS")]
    async fn warn_of_validity(&self, _warned: &mut u8) {}
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    struct Watched {
        folder: tempfile::TempDir,
        received: mpsc::Receiver<Command>,
        reloads: mpsc::Sender<Reload>,
        watcher: tokio::task::JoinHandle<()>,
    }

    /// Reads the files of an empty folder as a start does, changes them, and starts a watcher.
    fn watch(change: impl FnOnce(&Path)) -> Watched {
        let folder = tempfile::tempdir().expect("a folder");
        let key = Arc::new(NodeKey::load_or_create(folder.path()).expect("a key"));
        let settings = Settings { folder: folder.path().to_owned(), ..Settings::for_host("localhost".to_owned()) };
        let files = AccessFiles::new(&settings, key);
        files.read().expect("no rules");
        change(folder.path());
        let (commands, received) = mpsc::channel(1);
        let (reloads, reload_receiver) = mpsc::channel(1);
        let watcher = AccessWatcher { files, credentials: None, commands, reloads: reload_receiver };
        Watched { folder, received, reloads, watcher: tokio::spawn(watcher.run()) }
    }

    impl Watched {
        /// Returns the next reload, and what it puts in force. Dropped, the reload fails.
        async fn next(&mut self) -> (oneshot::Sender<()>, Access) {
            match tokio::time::timeout(3 * CHECK_EVERY, self.received.recv()).await {
                Ok(Some(Command::SetAccess { access, reply })) => (reply, access),
                _ => panic!("the lists are reloaded"),
            }
        }

        async fn succeeds(&mut self) -> Access {
            let (reply, access) = self.next().await;
            reply.send(()).expect("the watcher waits");
            access
        }

        /// Checks that nothing is reloaded while nothing changes. The clock is paused: it moves on
        /// only while all tasks wait.
        async fn rests(&mut self, why: &str) {
            tokio::time::sleep(2 * CHECK_EVERY).await;
            assert!(self.received.try_recv().is_err(), "{why}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_that_changes_is_reloaded_and_a_bad_one_is_not() {
        let mut watched = watch(|_| {});
        tokio::time::sleep(CHECK_EVERY / 2).await;
        fs::write(watched.folder.path().join(DENIED), "nobody").expect("written");
        watched.rests("a line that is no rule changes nothing").await;
        fs::write(watched.folder.path().join(DENIED), "192.0.2.0/24").expect("written");
        let access = watched.succeeds().await;
        assert_eq!((access.denied.len(), access.allowed, access.plain), (1, None, true));
        drop(watched.reloads);
        watched.watcher.await.expect("it ends when nothing can be requested any more");
    }

    #[tokio::test(start_paused = true)]
    async fn a_reload_that_failed_is_tried_again_though_no_file_changes() {
        let mut watched = watch(|_| {});
        let (reply, result) = oneshot::channel();
        watched.reloads.send(reply).await.expect("it runs");
        // It fails of what is not in the files.
        drop(watched.next().await);
        result.await.expect("answered").expect_err("it failed");
        drop(watched.next().await);
        watched.succeeds().await;
        watched.rests("it succeeded").await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_between_the_start_and_the_first_look_is_not_lost() {
        let mut watched = watch(|folder| fs::write(folder.join(DENIED), "192.0.2.7").expect("written"));
        assert_eq!(watched.succeeds().await.denied.len(), 1);
    }

    #[cfg(unix)]
    #[tokio::test(start_paused = true)]
    async fn a_change_of_the_access_rights_alone_is_seen() {
        use std::os::unix::fs::PermissionsExt;

        let mode = |folder: &Path, mode| {
            fs::set_permissions(folder.join(DENIED), fs::Permissions::from_mode(mode)).expect("set");
        };
        let mut watched = watch(|folder| {
            fs::write(folder.join(DENIED), "192.0.2.7").expect("written");
            mode(folder, 0o644);
        });
        watched.succeeds().await;
        watched.rests("nothing has changed").await;
        mode(watched.folder.path(), 0o600);
        assert_eq!(watched.succeeds().await.denied.len(), 1);
    }
}
