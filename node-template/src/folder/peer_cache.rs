//! `peers.json`, the peer cache: the addresses that led to nodes when this node last ran.
//!
//! The core chooses the addresses. The file is optional: if it cannot be read or written, the node
//! logs that once and runs without it.

use std::io;
use std::path::{Path, PathBuf};

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::folder::files::{read_text, shown};
use crate::folder::replace::replace;
use crate::protocol::address::PeerAddress;
use crate::protocol::limits::PEER_CACHE;

/// The file's name. It holds a JSON array of addresses, as `known-peers.json` does.
const PEERS: &str = "peers.json";

/// A folder's peer cache.
#[derive(Debug)]
pub(crate) struct PeerCache {
    loaded: Vec<PeerAddress>,
    writer: Option<(watch::Sender<Vec<PeerAddress>>, JoinHandle<()>)>,
}

impl PeerCache {
    /// Reads the file, if the node uses it. Must be called on a tokio runtime.
    pub(crate) fn load(folder: &Path, used: bool) -> Self {
        if !used {
            return Self { loaded: Vec::new(), writer: None };
        }
        let loaded = read(folder).unwrap_or_else(|why| {
            tracing::warn!("{why}; the node starts without the peers of its last run and replaces the file");
            Vec::new()
        });
        let (sender, receiver) = watch::channel(loaded.clone());
        let writer = tokio::spawn(write_all(folder.to_owned(), receiver));
        Self { loaded, writer: Some((sender, writer)) }
    }

    /// Returns what the file held at the start.
    pub(crate) fn addresses(&self) -> &[PeerAddress] {
        &self.loaded
    }

    /// Replaces the file's content in the background. An empty list leaves the old content.
    pub(crate) fn save(&self, addresses: Vec<PeerAddress>) {
        if let Some((sender, _)) = self.writer.as_ref().filter(|_| !addresses.is_empty()) {
            sender.send_if_modified(|last| {
                let new = *last != addresses;
                *last = addresses;
                new
            });
        }
    }

    /// Waits until everything is written.
    pub(crate) async fn close(self) {
        if let Some((sender, writer)) = self.writer {
            drop(sender);
            if writer.await.is_err() {
                tracing::error!("writing {PEERS} ended in a fault of this program");
            }
        }
    }
}

fn read(folder: &Path) -> Result<Vec<PeerAddress>, String> {
    let path = shown(folder, PEERS);
    let text = read_text(&folder.join(PEERS), &path).map_err(|error| error.to_string())?;
    let Some(text) = text else { return Ok(Vec::new()) };
    let entries: Vec<String> =
        serde_json::from_str(&text).map_err(|error| format!("{path} is not a list of addresses: {error}"))?;
    Ok(entries.iter().filter_map(|entry| entry.parse().ok()).take(PEER_CACHE).collect())
}

async fn write_all(folder: PathBuf, mut latest: watch::Receiver<Vec<PeerAddress>>) {
    let mut warned = false;
    // A value sent before the sender was dropped is still seen.
    while latest.changed().await.is_ok() {
        let addresses = latest.borrow_and_update().clone();
        let file = folder.join(PEERS);
        let written = tokio::task::spawn_blocking(move || write(&file, &addresses)).await;
        if let Ok(Err(error)) = written
            && !std::mem::replace(&mut warned, true)
        {
            let path = shown(&folder, PEERS);
            tracing::warn!("cannot write {path}: {error}; the next start will not know these peers; check the folder");
        }
    }
}

fn write(file: &Path, addresses: &[PeerAddress]) -> io::Result<()> {
    let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    replace(file, &serde_json::to_string_pretty(&texts)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> PeerAddress {
        PeerAddress::new("localhost", port).expect("an address")
    }

    #[tokio::test]
    async fn what_is_saved_is_loaded_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = PeerCache::load(folder.path(), true);
        assert!(first.addresses().is_empty());
        first.save(vec![address(1)]);
        first.save(vec![address(2), address(3)]);
        first.save(Vec::new());
        first.close().await;
        let second = PeerCache::load(folder.path(), true);
        assert_eq!(second.addresses(), [address(2), address(3)]);
        second.close().await;
        let files = std::fs::read_dir(folder.path()).expect("listed");
        let files: Vec<_> = files.map(|file| file.expect("an entry").file_name()).collect();
        assert_eq!(files, [PEERS], "no draft is left");
    }

    #[tokio::test]
    async fn a_damaged_file_does_not_prevent_a_start_and_a_long_one_is_cut() {
        let folder = tempfile::tempdir().expect("a folder");
        for text in ["", "{}", "[1]", "[\"ws://localhost:1\"", "\u{0}"] {
            std::fs::write(folder.path().join(PEERS), text).expect("written");
            let cache = PeerCache::load(folder.path(), true);
            assert!(cache.addresses().is_empty(), "{text}");
            cache.close().await;
        }
        let many: Vec<String> = (1..1_000).map(|port| format!("ws://localhost:{port}")).chain(["no".into()]).collect();
        std::fs::write(folder.path().join(PEERS), serde_json::to_string(&many).expect("texts")).expect("written");
        let cache = PeerCache::load(folder.path(), true);
        assert_eq!(cache.addresses().len(), PEER_CACHE);
        cache.close().await;
    }

    #[tokio::test]
    async fn a_node_that_does_not_use_the_cache_leaves_the_file_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = PeerCache::load(folder.path(), false);
        cache.save(vec![address(1)]);
        cache.close().await;
        assert!(!folder.path().join(PEERS).exists());
    }
}
