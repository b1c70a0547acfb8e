//! `peers.json`, the peer cache: the addresses that led to nodes when this node last ran.
//!
//! The core chooses the addresses. The file is optional: if it cannot be read or written, the node
//! logs that once and runs without it.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::folder::files::{read_text, shown};
use crate::folder::replace::replace;
use crate::protocol::address::Scope;
use crate::protocol::limits::PEER_CACHE;
use crate::protocol::wire::{RememberedAddress, RememberedExercise};

/// The file's name. It holds a JSON array of addresses, as `known-peers.json` does, see
/// [`RememberedAddress`]. An exercise peer is an object, see [`Entry`].
pub(crate) const PEERS: &str = "peers.json";

/// What the file holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Remembered {
    /// Addresses that led to nodes.
    pub(crate) addresses: Vec<RememberedAddress>,
    /// The exercise peers.
    pub(crate) exercise: Vec<RememberedExercise>,
}

/// One element of the file.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Entry {
    Address(String),
    Exercise {
        exercise: String,
        #[serde(default)]
        drops: u32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        position: Option<u64>,
        /// Where it is not public: the nearest scope that its name may resolve to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reach: Option<String>,
    },
}

/// A folder's peer cache.
#[derive(Debug)]
pub(crate) struct PeerCache {
    loaded: Remembered,
    writer: (watch::Sender<Remembered>, JoinHandle<()>),
}

impl PeerCache {
    /// Reads the file. Must be called on a tokio runtime.
    pub(crate) fn load(folder: &Path) -> Self {
        let loaded = read(folder).unwrap_or_else(|why| {
            tracing::warn!("{why}; the node starts without the peers of its last run and replaces the file");
            Remembered::default()
        });
        let (sender, receiver) = watch::channel(loaded.clone());
        let writer = tokio::spawn(write_all(folder.to_owned(), receiver));
        Self { loaded, writer: (sender, writer) }
    }

    /// Returns what the file held at the start.
    pub(crate) fn loaded(&self) -> &Remembered {
        &self.loaded
    }

    /// Replaces the file's content in the background. An empty one leaves the old content.
    pub(crate) fn save(&self, remembered: Remembered) {
        if remembered == Remembered::default() {
            return;
        }
        self.writer.0.send_if_modified(|last| {
            let new = *last != remembered;
            *last = remembered;
            new
        });
    }

    /// Waits until everything is written.
    pub(crate) async fn close(self) {
        let (sender, writer) = self.writer;
        drop(sender);
        if writer.await.is_err() {
            tracing::error!("writing {PEERS} ended in a fault of this program");
        }
    }
}

fn read(folder: &Path) -> Result<Remembered, String> {
    let path = shown(folder, PEERS);
    let text = read_text(&folder.join(PEERS), &path).map_err(|error| error.to_string())?;
    let Some(text) = text else { return Ok(Remembered::default()) };
    let entries: Vec<Entry> =
        serde_json::from_str(&text).map_err(|error| format!("{path} is not a list of addresses: {error}"))?;
    let mut remembered = Remembered::default();
    for entry in entries {
        match entry {
            Entry::Address(text) => remembered.addresses.extend(text.parse::<RememberedAddress>()),
            Entry::Exercise { exercise, drops, position, reach } => {
                let reach = reach.and_then(|reach| reach.parse().ok()).unwrap_or(Scope::Public);
                let peer = exercise.parse().map(|address| RememberedExercise { address, reach, drops, position });
                remembered.exercise.extend(peer);
            }
        }
    }
    remembered.addresses.truncate(PEER_CACHE);
    remembered.exercise.truncate(PEER_CACHE);
    Ok(remembered)
}

async fn write_all(folder: PathBuf, mut latest: watch::Receiver<Remembered>) {
    let mut warned = false;
    // A value sent before the sender was dropped is still seen.
    while latest.changed().await.is_ok() {
        let remembered = latest.borrow_and_update().clone();
        let file = folder.join(PEERS);
        let written = tokio::task::spawn_blocking(move || write(&file, remembered)).await;
        if let Ok(Err(error)) = written
            && !std::mem::replace(&mut warned, true)
        {
            let path = shown(&folder, PEERS);
            tracing::warn!("cannot write {path}: {error}; the next start will not know these peers; check the folder");
        }
    }
}

fn write(file: &Path, remembered: Remembered) -> io::Result<()> {
    let Remembered { addresses, exercise } = remembered;
    let addresses = addresses.into_iter().map(|address| Entry::Address(address.to_string()));
    let exercise = exercise.into_iter().map(|RememberedExercise { address, reach, drops, position }| {
        let (exercise, reach) = (address.to_string(), Some(reach).filter(|reach| *reach != Scope::Public));
        Entry::Exercise { exercise, drops, position, reach: reach.map(|reach| reach.to_string()) }
    });
    let entries: Vec<Entry> = addresses.chain(exercise).collect();
    replace(file, &serde_json::to_string_pretty(&entries)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::address::PeerAddress;

    fn address(port: u16) -> PeerAddress {
        PeerAddress::new("localhost", port).expect("an address")
    }

    fn addresses(ports: &[u16]) -> Remembered {
        Remembered { addresses: ports.iter().map(|port| address(*port).into()).collect(), exercise: Vec::new() }
    }

    #[tokio::test]
    async fn what_is_saved_is_loaded_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = PeerCache::load(folder.path());
        assert_eq!(*first.loaded(), Remembered::default());
        first.save(addresses(&[1]));
        let peer = |port, reach, drops, position| RememberedExercise { address: address(port), reach, drops, position };
        let exercise = vec![peer(4, Scope::Public, 2, Some(7)), peer(5, Scope::Private, 0, None)];
        let mut saved = Remembered { exercise, ..addresses(&[2, 3]) };
        saved.addresses[1].reach = Scope::Private;
        first.save(saved.clone());
        first.save(Remembered::default());
        first.close().await;
        let second = PeerCache::load(folder.path());
        assert_eq!(*second.loaded(), saved);
        second.close().await;
        let files = std::fs::read_dir(folder.path()).expect("listed");
        let files: Vec<_> = files.map(|file| file.expect("an entry").file_name()).collect();
        assert_eq!(files, [PEERS], "no draft is left");
    }

    #[tokio::test]
    async fn the_file_of_an_earlier_release_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let text = r#"["ws://localhost:1", "no", "ws://localhost:2"]"#;
        std::fs::write(folder.path().join(PEERS), text).expect("written");
        let cache = PeerCache::load(folder.path());
        assert_eq!(*cache.loaded(), addresses(&[1, 2]));
        cache.close().await;
    }

    /// The file of the release before this one: exercise peers have no scope.
    #[tokio::test]
    async fn entries_without_a_scope_are_read_and_a_scope_that_is_none_is_public() {
        let folder = tempfile::tempdir().expect("a folder");
        let text = r#"["ws://pc7.lan:1", "ws://pc8.lan:1 private", "ws://pc9.lan:1 nearby",
            {"exercise":"ws://pc7.lan:2","drops":1,"position":7}, {"exercise":"ws://pc7.lan:3","reach":"private"},
            {"exercise":"ws://pc7.lan:4","reach":"nearby","later":[]}]"#;
        std::fs::write(folder.path().join(PEERS), text).expect("written");
        let cache = PeerCache::load(folder.path());
        let Remembered { addresses, exercise } = cache.loaded();
        let texts: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["ws://pc7.lan:1", "ws://pc8.lan:1 private"]);
        let peers: Vec<_> = exercise.iter().map(|peer| (peer.address.port(), peer.reach, peer.position)).collect();
        assert_eq!(peers, [(2, Scope::Public, Some(7)), (3, Scope::Private, None), (4, Scope::Public, None)]);
        cache.close().await;
    }

    /// An earlier release reads texts that are addresses, and objects with these members.
    #[tokio::test]
    async fn an_earlier_release_reads_the_file() {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Earlier {
            Address(String),
            Exercise { exercise: String, drops: u32, position: Option<u64> },
        }
        let folder = tempfile::tempdir().expect("a folder");
        let cache = PeerCache::load(folder.path());
        let near = |port| RememberedAddress { address: address(port), reach: Scope::Private };
        let peer = RememberedExercise { address: address(4), reach: Scope::Private, drops: 2, position: Some(7) };
        cache.save(Remembered { addresses: vec![address(1).into(), near(2)], exercise: vec![peer] });
        cache.close().await;
        let text = std::fs::read_to_string(folder.path().join(PEERS)).expect("written");
        let (mut addresses, mut exercise) = (Vec::new(), Vec::new());
        for entry in serde_json::from_str::<Vec<Earlier>>(&text).expect("readable") {
            match entry {
                Earlier::Address(text) => addresses.extend(text.parse::<PeerAddress>()),
                Earlier::Exercise { exercise: text, drops, position } => exercise.push((text, drops, position)),
            }
        }
        assert_eq!(addresses, [address(1)], "it could not dial the other one");
        assert_eq!(exercise, [(address(4).to_string(), 2, Some(7))]);
    }

    #[tokio::test]
    async fn a_damaged_file_does_not_prevent_a_start_and_a_long_one_is_cut() {
        let folder = tempfile::tempdir().expect("a folder");
        for text in ["", "{}", "[1]", "[\"ws://localhost:1\"", "\u{0}", "[{\"drops\":1}]", "[{\"exercise\":1}]"] {
            std::fs::write(folder.path().join(PEERS), text).expect("written");
            let cache = PeerCache::load(folder.path());
            assert_eq!(*cache.loaded(), Remembered::default(), "{text}");
            cache.close().await;
        }
        let many: Vec<String> = (1..1_000).map(|port| format!("ws://localhost:{port}")).chain(["no".into()]).collect();
        let peers: Vec<_> = many.iter().map(|address| serde_json::json!({ "exercise": address })).collect();
        let all = [serde_json::to_value(many).expect("texts"), serde_json::to_value(peers).expect("objects")];
        let all: Vec<_> = all.iter().flat_map(|list| list.as_array().expect("a list").clone()).collect();
        std::fs::write(folder.path().join(PEERS), serde_json::to_string(&all).expect("JSON")).expect("written");
        let cache = PeerCache::load(folder.path());
        assert_eq!((cache.loaded().addresses.len(), cache.loaded().exercise.len()), (PEER_CACHE, PEER_CACHE));
        cache.close().await;
    }

    #[tokio::test]
    async fn a_node_that_remembers_nobody_writes_no_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = PeerCache::load(folder.path());
        cache.save(Remembered::default());
        cache.close().await;
        assert!(!folder.path().join(PEERS).exists());
    }
}
