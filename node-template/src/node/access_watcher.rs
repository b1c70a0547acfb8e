//! Who a node lets in, as its folder says it: `denied.txt`, `allowed.txt`, and in a closed network the certificates. Read at the start, again when asked (SIGHUP, or
//! [`Handle::reload`](crate::Handle::reload)), and when a file has changed.
//!
//! What can not be used is told and the old stays: a node must not forget whom it denies because of a typing error. A task of its own does this, so that
//! the driver never waits for a file.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;

use crate::driver::Command;
use crate::events::text::plural;
use crate::folder::files::{FolderError, read_text, shown};
use crate::folder::node_key::NodeKey;
use crate::protocol::access::{Access, InvalidRule, Rules};
use crate::transport::tls::Live;

/// The file that lists who is not let in.
pub const DENIED: &str = "denied.txt";
/// The file that lists who alone is let in, if it exists.
pub const ALLOWED: &str = "allowed.txt";
/// How often the files' times are looked at, and the certificate's end.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Why the files of who is let in can not be used. One line: which file, what is wrong, what to do. What was in force stays so.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdmissionError {
    /// A list has a line that is no rule.
    #[error("{path}, {cause}")]
    List {
        /// The file.
        path: String,
        /// Which line, and what is wanted.
        cause: InvalidRule,
    },
    /// A file can not be read.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The certificates can not be used.
    #[cfg(feature = "tls")]
    #[error(transparent)]
    Credentials(#[from] crate::tls::CredentialsError),
    /// The program can not do what is asked.
    #[error("NETWORK_CA is set, but this program was built without TLS: build it with the feature \"tls\"")]
    NoTls,
    /// The node has ended.
    #[error("the node has ended")]
    Ended,
}

/// Which files make a node a member of a closed network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Closed {
    pub(crate) ca: PathBuf,
    pub(crate) certificate: PathBuf,
}

/// Reads the folder's files of who is let in.
pub(crate) struct Admission {
    folder: PathBuf,
    plain: bool,
    closed: Option<Closed>,
    #[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "what signs in a TLS handshake"))]
    key: Arc<NodeKey>,
}

/// Somebody who wants the files read again, and is told how that went.
pub(crate) type Reload = oneshot::Sender<Result<(), AdmissionError>>;

impl Admission {
    pub(crate) fn new(folder: PathBuf, plain: Option<bool>, closed: Option<Closed>, key: Arc<NodeKey>) -> Self {
        Self { folder, plain: plain.unwrap_or(closed.is_none()), closed, key }
    }

    /// The rules, and what is shown in a closed network.
    pub(crate) fn read(&self) -> Result<(Access, Option<Live>), AdmissionError> {
        let denied = rules(&self.folder, DENIED)?.unwrap_or_default();
        let allowed = rules(&self.folder, ALLOWED)?;
        Ok((Access { plain: self.plain, denied, allowed }, self.credentials()?))
    }

    #[cfg(feature = "tls")]
    fn credentials(&self) -> Result<Option<Live>, AdmissionError> {
        let Some(Closed { ca, certificate }) = self.closed.clone() else { return Ok(None) };
        let files = crate::tls::Files { ca, certificate };
        let credentials = crate::tls::Credentials::load(&self.folder, &files, Arc::clone(&self.key))?;
        Ok(Some(Live::new(credentials)))
    }

    #[cfg(not(feature = "tls"))]
    fn credentials(&self) -> Result<Option<Live>, AdmissionError> {
        if self.closed.is_some() { Err(AdmissionError::NoTls) } else { Ok(None) }
    }

    /// When each file was changed last, and how long it is: two changes may have one time.
    fn marks(&self) -> Vec<Option<(SystemTime, u64)>> {
        let closed = self.closed.iter().flat_map(|closed| [closed.ca.as_path(), closed.certificate.as_path()]);
        let files = [Path::new(DENIED), Path::new(ALLOWED)].into_iter().chain(closed);
        let mark = |file: &Path| {
            let metadata = self.folder.join(file).metadata().ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        };
        files.map(mark).collect()
    }
}

fn rules(folder: &Path, name: &str) -> Result<Option<Rules>, AdmissionError> {
    let path = shown(folder, name);
    let Some(text) = read_text(&folder.join(name), &path)? else { return Ok(None) };
    text.parse().map(Some).map_err(|cause| AdmissionError::List { path, cause })
}

/// Keeps what is in force in step with the files, until the node ends.
pub(crate) struct Warden {
    pub(crate) admission: Admission,
    pub(crate) live: Option<Arc<Live>>,
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) reloads: mpsc::Receiver<Reload>,
}

impl Warden {
    /// Runs until nobody can ask any more. Everything that is awaited in the `select!` is cancel-safe.
    pub(crate) async fn run(mut self) {
        let mut marks = self.admission.marks();
        let mut warned = 0;
        let mut turn = tokio::time::interval(LOOK_EVERY);
        turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                reload = self.reloads.recv() => {
                    let Some(answer) = reload else { return };
                    marks = self.admission.marks();
                    let done = self.reload().await;
                    warned = 0;
                    // Whoever asked may have gone.
                    answer.send(done).unwrap_or_default();
                }
                _ = turn.tick() => {
                    let now = self.admission.marks();
                    if now != marks {
                        marks = now;
                        warned = 0;
                        if let Err(error) = self.reload().await {
                            tracing::error!("a file of who is let in has changed and can not be used, the old one stays in force: {error}");
                        }
                    }
                }
            }
            self.warn_of_expiry(&mut warned).await;
        }
    }

    /// Reads the files, and only if all can be used puts them in force.
    async fn reload(&self) -> Result<(), AdmissionError> {
        let (access, live) = self.admission.read()?;
        self.replace(live);
        let (denied, allowed) = (access.denied.len() as u64, access.allowed.as_ref().map(Rules::len));
        let (done, closed) = oneshot::channel();
        let sent = self.commands.send(Command::Access { access, done }).await;
        sent.map_err(|_| AdmissionError::Ended)?;
        closed.await.map_err(|_| AdmissionError::Ended)?;
        let allowed = allowed.map_or_else(
            || format!("no {ALLOWED}"),
            |allowed| format!("{} in {ALLOWED}", plural(allowed as u64, "rule", "rules")),
        );
        let certificates = if self.live.is_some() { ", and the certificates" } else { "" };
        tracing::info!(
            "read again who is let in: {} in {DENIED}, {allowed}{certificates}",
            plural(denied, "rule", "rules")
        );
        Ok(())
    }

    #[cfg(feature = "tls")]
    fn replace(&self, new: Option<Live>) {
        if let (Some(live), Some(new)) = (&self.live, new) {
            live.replace(&new);
        }
    }

    #[cfg(not(feature = "tls"))]
    fn replace(&self, _new: Option<Live>) {}

    /// Warns once 30 days before the certificate ends, once 7 days before, and once it has.
    #[cfg(feature = "tls")]
    async fn warn_of_expiry(&self, warned: &mut u8) {
        let Some(live) = &self.live else { return };
        if let Some((stage, text)) = live.now().expiry(SystemTime::now())
            && stage > *warned
        {
            *warned = stage;
            if self.commands.send(Command::Warn { text }).await.is_err() {
                tracing::debug!("the node ended before a warning was told");
            }
        }
    }

    #[cfg(not(feature = "tls"))]
    #[expect(clippy::unused_async, reason = "it has nothing to wait for without TLS")]
    async fn warn_of_expiry(&self, _warned: &mut u8) {}
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_list_that_changes_is_taken_by_itself_and_a_bad_one_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let key = Arc::new(NodeKey::load_or_create(folder.path()).expect("a key"));
        let admission = Admission::new(folder.path().to_owned(), None, None, key);
        let (commands, mut received) = mpsc::channel(1);
        let (reloads, reload_receiver) = mpsc::channel(1);
        let warden = tokio::spawn(Warden { admission, live: None, commands, reloads: reload_receiver }.run());
        // Time passes only while nobody has anything to do.
        tokio::time::sleep(LOOK_EVERY / 2).await;
        fs::write(folder.path().join(DENIED), "nobody").expect("written");
        tokio::time::sleep(2 * LOOK_EVERY).await;
        assert!(received.try_recv().is_err(), "a line that is no rule changes nothing");
        fs::write(folder.path().join(DENIED), "192.0.2.0/24").expect("written");
        match received.recv().await {
            Some(Command::Access { access, done }) => {
                assert_eq!((access.denied.len(), access.allowed, access.plain), (1, None, true));
                done.send(()).expect("the warden waits");
            }
            _ => panic!("the list is taken"),
        }
        drop(reloads);
        warden.await.expect("it ends when nobody can ask any more");
    }
}
