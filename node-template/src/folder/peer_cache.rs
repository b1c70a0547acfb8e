//! `peers.json`: the addresses that led to nodes when this node last ran.
//!
//! The core says which they are; this keeps them, and reads them at the next start. The file is a help and no truth: one that can not be read or written is
//! told once and does without. It is written whole, beside its place, and then moved there, by a thread of its own, so a reader never sees half of it.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::folder::known_peers;
use crate::protocol::address::PeerAddress;
use crate::protocol::limits::PEER_CACHE;

/// The name of the file: a JSON array of texts, as `known-peers.json`.
const PEERS: &str = "peers.json";
/// Where it is written before it is moved to its place.
const DRAFT: &str = ".peers.json.new";

/// The keeper of a folder's `peers.json`.
#[derive(Debug)]
pub(crate) struct Remembered {
    read: Vec<PeerAddress>,
    writer: Option<(watch::Sender<Vec<PeerAddress>>, JoinHandle<()>)>,
}

impl Remembered {
    /// Reads the file, if the node makes use of it. Must be called on a tokio runtime.
    pub(crate) fn read(folder: &Path, used: bool) -> Self {
        if !used {
            return Self { read: Vec::new(), writer: None };
        }
        let read = read(folder).unwrap_or_else(|why| {
            tracing::warn!("{why}; the peers of the last run are not remembered, the file is written anew");
            Vec::new()
        });
        let (sender, receiver) = watch::channel(read.clone());
        let writer = tokio::spawn(write_all(folder.to_owned(), receiver));
        Self { read, writer: Some((sender, writer)) }
    }

    /// What the file held at the start.
    pub(crate) fn addresses(&self) -> &[PeerAddress] {
        &self.read
    }

    /// Has these addresses written in place of all others. An empty list is none to remember: the old one stays.
    pub(crate) fn keep(&self, addresses: Vec<PeerAddress>) {
        if let Some((sender, _)) = self.writer.as_ref().filter(|_| !addresses.is_empty()) {
            sender.send_if_modified(|kept| {
                let new = *kept != addresses;
                *kept = addresses;
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
    let path = known_peers::shown(folder, PEERS);
    let text = known_peers::read_text(&folder.join(PEERS), &path).map_err(|error| error.to_string())?;
    let Some(text) = text else { return Ok(Vec::new()) };
    let entries: Vec<String> =
        serde_json::from_str(&text).map_err(|error| format!("{path} is no list of addresses: {error}"))?;
    Ok(entries.iter().filter_map(|entry| entry.parse().ok()).take(PEER_CACHE).collect())
}

async fn write_all(folder: PathBuf, mut kept: watch::Receiver<Vec<PeerAddress>>) {
    let mut told = false;
    // A value sent before the sender went away is still seen.
    while kept.changed().await.is_ok() {
        let addresses = kept.borrow_and_update().clone();
        let place = folder.clone();
        let written = tokio::task::spawn_blocking(move || write(&place, &addresses)).await;
        if let Ok(Err(error)) = written
            && !std::mem::replace(&mut told, true)
        {
            let path = known_peers::shown(&folder, PEERS);
            tracing::warn!("{path} can not be written: {error}; peers are not remembered for the next start");
        }
    }
}

fn write(folder: &Path, addresses: &[PeerAddress]) -> io::Result<()> {
    let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let text = serde_json::to_string_pretty(&texts)?;
    let draft = folder.join(DRAFT);
    let mut file = std::fs::File::create(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_data()?;
    std::fs::rename(&draft, folder.join(PEERS))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> PeerAddress {
        PeerAddress::new("localhost", port).expect("an address")
    }

    #[tokio::test]
    async fn what_is_kept_is_read_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = Remembered::read(folder.path(), true);
        assert!(first.addresses().is_empty());
        first.keep(vec![address(1)]);
        first.keep(vec![address(2), address(3)]);
        first.keep(Vec::new());
        first.close().await;
        let second = Remembered::read(folder.path(), true);
        assert_eq!(second.addresses(), [address(2), address(3)]);
        second.close().await;
        assert!(!folder.path().join(DRAFT).exists());
    }

    #[tokio::test]
    async fn a_damaged_file_is_no_reason_not_to_start_and_a_long_one_is_cut() {
        let folder = tempfile::tempdir().expect("a folder");
        for text in ["", "{}", "[1]", "[\"ws://localhost:1\"", "\u{0}"] {
            std::fs::write(folder.path().join(PEERS), text).expect("written");
            let remembered = Remembered::read(folder.path(), true);
            assert!(remembered.addresses().is_empty(), "{text}");
            remembered.close().await;
        }
        let many: Vec<String> = (1..1_000).map(|port| format!("ws://localhost:{port}")).chain(["no".into()]).collect();
        std::fs::write(folder.path().join(PEERS), serde_json::to_string(&many).expect("texts")).expect("written");
        let remembered = Remembered::read(folder.path(), true);
        assert_eq!(remembered.addresses().len(), PEER_CACHE);
        remembered.close().await;
    }

    #[tokio::test]
    async fn a_node_without_use_for_it_leaves_the_file_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let remembered = Remembered::read(folder.path(), false);
        remembered.keep(vec![address(1)]);
        remembered.close().await;
        assert!(!folder.path().join(PEERS).exists());
    }
}
