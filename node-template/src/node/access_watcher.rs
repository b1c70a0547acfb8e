//! The access watcher: reads the folder's access rules and puts them in force. They are
//! `denied.txt`, `allowed.txt` and, in a closed network, the certificates.
//!
//! It reads them at the start, on request (SIGHUP, or `Handle::reload`), and when a file has
//! changed. Files that cannot be used are reported, and the old rules stay in force: a typing error
//! must not end a ban.
//!
//! It is a task of its own, so the driver never waits for a file.

use std::path::{Path, PathBuf};
use std::sync::Arc;
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
    #[error("the node has ended")]
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

/// The files of the access rules.
pub(crate) struct AccessFiles {
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
        Self { folder, exercise_peers: settings.plain.unwrap_or(closed.is_none()), closed, key }
    }

    /// Reads the rules and, in a closed network, the credentials.
    pub(crate) fn read(&self) -> Result<(Access, Option<Live>), AccessError> {
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

    /// The time and length of each file. Two changes may have the same time.
    fn stamps(&self) -> Vec<Option<(SystemTime, u64)>> {
        let closed = self.closed.iter().flat_map(|(ca, certificate)| [ca.as_path(), certificate.as_path()]);
        let files = [Path::new(DENIED), Path::new(ALLOWED)].into_iter().chain(closed);
        let stamp = |file: &Path| {
            let metadata = self.folder.join(file).metadata().ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
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
        let mut stamps = self.files.stamps();
        let mut warned = 0;
        let mut check = tokio::time::interval(CHECK_EVERY);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                reload = self.reloads.recv() => {
                    let Some(reply) = reload else { return };
                    stamps = self.files.stamps();
                    let result = self.reload().await;
                    warned = 0;
                    // The requester may be gone.
                    reply.send(result).unwrap_or_default();
                }
                _ = check.tick() => {
                    let new = self.files.stamps();
                    if new != stamps {
                        stamps = new;
                        warned = 0;
                        if let Err(error) = self.reload().await {
                            tracing::error!("a file of the access rules has changed and cannot be used, the old rules stay in force: {error}");
                        }
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

    #[tokio::test(start_paused = true)]
    async fn a_list_that_changes_is_reloaded_and_a_bad_one_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let key = Arc::new(NodeKey::load_or_create(folder.path()).expect("a key"));
        let settings = Settings { folder: folder.path().to_owned(), ..Settings::for_host("localhost".to_owned()) };
        let files = AccessFiles::new(&settings, key);
        let (commands, mut received) = mpsc::channel(1);
        let (reloads, reload_receiver) = mpsc::channel(1);
        let watcher = AccessWatcher { files, credentials: None, commands, reloads: reload_receiver };
        let watcher = tokio::spawn(watcher.run());
        // The clock is paused: it moves on only while all tasks wait.
        tokio::time::sleep(CHECK_EVERY / 2).await;
        fs::write(folder.path().join(DENIED), "nobody").expect("written");
        tokio::time::sleep(2 * CHECK_EVERY).await;
        assert!(received.try_recv().is_err(), "a line that is no rule changes nothing");
        fs::write(folder.path().join(DENIED), "192.0.2.0/24").expect("written");
        match received.recv().await {
            Some(Command::SetAccess { access, reply }) => {
                assert_eq!((access.denied.len(), access.allowed, access.plain), (1, None, true));
                reply.send(()).expect("the watcher waits");
            }
            _ => panic!("the list is reloaded"),
        }
        drop(reloads);
        watcher.await.expect("it ends when nothing can be requested any more");
    }
}
