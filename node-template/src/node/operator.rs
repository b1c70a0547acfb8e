//! The operator: what its owner changes in a running node, on SIGHUP and over the API.
//!
//! Known peers and bans are kept in the folder's files, `known-peers.json` and `denied.txt`, so a
//! restart changes nothing back. Changes are carried out one after another.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use serde::Serialize;
use tokio::sync::Mutex;
use tracing::Level;

use crate::config::{Flags, Settings, SettingsError, environment};
use crate::folder::edit::{self, EditError};
use crate::folder::known_peers::{self, Named};
use crate::node::access_watcher::AccessError;
use crate::node::handle::{Handle, NodeError};
use crate::protocol::access::Rules;
use crate::protocol::address::PeerAddress;

/// Sets the level of the process's log.
pub type SetLevel = Arc<dyn Fn(Level) -> Result<(), String> + Send + Sync>;

/// Changes a running node that was started from the settings of a folder.
pub struct Operator {
    node: Handle,
    flags: Flags,
    /// As they were read last. Held during a change, so that two never meet.
    settings: Mutex<Settings>,
    level: std::sync::Mutex<Level>,
    set_level: SetLevel,
}

impl fmt::Debug for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operator").field("node", &self.node.id()).finish_non_exhaustive()
    }
}

/// Why nothing was changed, or not all. One line: what, where, what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OperatorError {
    /// The settings cannot be used; the old ones stay in force.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The access rules cannot be used; the old ones stay in force.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// A file was not changed.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// The known peer is not one of the file.
    #[error(
        "{address} comes from PEERS or --peers, not from known-peers.json: remove it there and start the node again"
    )]
    FromElsewhere {
        /// The known peer.
        address: PeerAddress,
    },
    /// The log's level was not changed.
    #[error("the level of the log cannot be changed: {0}")]
    Log(String),
    /// The node has ended.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// A task of the program panicked.
    #[error("a fault of this program ended the change; see the log, and please report it")]
    Panicked,
}

/// What a reload did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reloaded {
    /// The number of known peers.
    pub known_peers: usize,
    /// How many of them are new.
    pub added: usize,
    /// How many are known no longer.
    pub removed: usize,
    /// How many stay, with other relays.
    pub other_relays: usize,
    /// The settings that have changed and need a start of the node.
    pub needs_start: Vec<&'static str>,
}

/// What adding a known peer changed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AddedPeer {
    /// What is new in `known-peers.json`.
    pub named: Named,
    /// Why it is not dialled all the same, and what to do.
    pub warning: Option<String>,
}

impl Operator {
    /// The operator of a node. `settings`: those that it was started with, from `flags` and the
    /// process's environment.
    pub fn new(node: Handle, flags: Flags, settings: Settings, set_level: SetLevel) -> Self {
        let level = std::sync::Mutex::new(settings.log);
        Self { node, flags, settings: Mutex::new(settings), level, set_level }
    }

    /// Reads again what a running node takes: known peers, access lists, certificates, and LOG if
    /// that has changed. Logs what was read, and what has changed and needs a start.
    ///
    /// # Errors
    /// [`OperatorError`]: everything stays as it was.
    pub async fn reload(&self) -> Result<Reloaded, OperatorError> {
        let mut settings = self.settings.lock().await;
        let new = self.read().await?;
        self.node.reload().await?;
        self.node.replace_known_peers(new.known_peers.clone()).await?;
        for warning in new.warnings.iter().filter(|warning| !settings.warnings.contains(warning)) {
            tracing::warn!("{warning}");
        }
        let count = |these: &Settings, others: &Settings| {
            these.known_peers.iter().filter(|address| !others.known_peers.contains(address)).count()
        };
        let (known_peers, added, removed) = (new.known_peers.len(), count(&new, &settings), count(&settings, &new));
        let mut before = settings.known_peers.clone();
        let named = new.known_peers.iter().map(|address| known_peers::name(&mut before, address.clone()));
        let other_relays = named.filter(|named| *named == Named::OtherRelays).count();
        let others = if other_relays > 0 { format!(", {other_relays} with other relays") } else { String::new() };
        tracing::info!("reloaded known-peers.json: {known_peers} known, {added} added, {removed} removed{others}");
        if new.log != settings.log {
            self.set_level(new.log)?;
        }
        let needs_start = settings.differences(&new);
        if !needs_start.is_empty() {
            tracing::warn!(
                "changed, but a running node does not take it: {}; start the node again",
                needs_start.join(", ")
            );
        }
        // The others are those that the node was started with.
        settings.known_peers = new.known_peers;
        settings.warnings = new.warnings;
        settings.log = new.log;
        Ok(Reloaded { known_peers, added, removed, other_relays, needs_start })
    }

    /// Adds a known peer, which is dialled at once. The relays of one that is known are replaced.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn add_peer(&self, address: &PeerAddress) -> Result<AddedPeer, OperatorError> {
        let mut settings = self.settings.lock().await;
        // A known peer of a closed network is dialled with TLS, whatever the file says.
        let address = if settings.closed.is_some() { address.clone().secured() } else { address.clone() };
        let folder = settings.folder.clone();
        let edited = address.clone();
        let named = blocking(move || edit::add_known_peer(&folder, &edited)).await?;
        if known_peers::name(&mut settings.known_peers, address.clone()) != Named::Nothing {
            self.node.replace_known_peers(settings.known_peers.clone()).await?;
        }
        match named {
            Named::New => tracing::info!("added {address} to known-peers.json"),
            Named::OtherRelays => tracing::info!("{address} is a known peer with other relays now"),
            Named::Nothing => {}
        }
        let warning = settings.wan.ignored(std::iter::once(&address));
        if let Some(warning) = &warning {
            tracing::warn!("{warning}");
        }
        Ok(AddedPeer { named, warning })
    }

    /// Removes a known peer. A link to it stays open, and the address stays as a learned one.
    /// Returns whether it was known.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn remove_peer(&self, address: &PeerAddress) -> Result<bool, OperatorError> {
        let mut settings = self.settings.lock().await;
        let closed = settings.closed.is_some();
        let address = if closed { address.clone().secured() } else { address.clone() };
        let (folder, edited) = (settings.folder.clone(), address.clone());
        if !blocking(move || edit::remove_known_peer(&folder, &edited, closed)).await? {
            return match settings.known_peers.contains(&address) {
                true => Err(OperatorError::FromElsewhere { address }),
                false => Ok(false),
            };
        }
        // PEERS may name it too.
        let read = self.read().await.map(|read| read.known_peers).unwrap_or_default();
        settings.known_peers.retain(|known| *known != address || read.contains(known));
        self.node.replace_known_peers(settings.known_peers.clone()).await?;
        tracing::info!("removed {address} from known-peers.json");
        Ok(true)
    }

    /// Returns the rules of `denied.txt`.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn denied(&self) -> Result<Vec<String>, OperatorError> {
        let folder = self.folder().await;
        blocking(move || edit::denied(&folder)).await
    }

    /// Adds a rule to `denied.txt` and closes the links that it denies. Returns whether it is new.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn ban(&self, rule: &str) -> Result<bool, OperatorError> {
        let settings = self.settings.lock().await;
        let (folder, text) = (settings.folder.clone(), rule.to_owned());
        let is_new = blocking(move || edit::deny(&folder, &text)).await?;
        self.node.reload().await?;
        Ok(is_new)
    }

    /// Removes a rule from `denied.txt`, and lifts the bans of this run that it covers. Returns
    /// whether there was either.
    ///
    /// # Errors
    /// [`OperatorError`].
    pub async fn unban(&self, rule: &str) -> Result<bool, OperatorError> {
        let settings = self.settings.lock().await;
        let (folder, text) = (settings.folder.clone(), rule.to_owned());
        let who: Rules = edit::rule(rule)?;
        let was_there = blocking(move || edit::allow_again(&folder, &text)).await?;
        if was_there {
            self.node.reload().await?;
        }
        let lifted = self.node.lift_bans(who).await?;
        Ok(was_there || lifted > 0)
    }

    /// Returns the level of the log.
    pub fn level(&self) -> Level {
        *self.level.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the level of the log, until the node ends or LOG changes.
    ///
    /// # Errors
    /// [`OperatorError::Log`].
    pub fn set_level(&self, level: Level) -> Result<(), OperatorError> {
        let mut current = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        (self.set_level)(level).map_err(OperatorError::Log)?;
        let before = std::mem::replace(&mut *current, level);
        if before != level {
            tracing::info!("the log now has all down to {}", level.as_str().to_ascii_lowercase());
        }
        Ok(())
    }

    async fn folder(&self) -> PathBuf {
        self.settings.lock().await.folder.clone()
    }

    async fn read(&self) -> Result<Settings, OperatorError> {
        let flags = self.flags.clone();
        blocking(move || Settings::read(flags.folder(), &flags, environment)).await
    }
}

/// Reads or writes files without keeping other tasks waiting.
async fn blocking<T: Send + 'static, E: Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, OperatorError>
where
    OperatorError: From<E>,
{
    let done = tokio::task::spawn_blocking(work).await.map_err(|_| OperatorError::Panicked)?;
    Ok(done?)
}
