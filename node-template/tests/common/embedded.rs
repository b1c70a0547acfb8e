//! Nodes inside the test's own process, for tests that need other limits than a `.env` can set, or
//! the library's own view of a node.

use std::ops::Deref;

use meshpool::protocol::event::Event;
use meshpool::protocol::limits::Limits;
use meshpool::{Events, Network, Node};
use serde_json::Value;
use tempfile::TempDir;

use super::{Keeper, eventually, within};

/// A running node and its folder.
pub struct Embedded {
    pub node: Node,
    pub folder: TempDir,
}

impl Embedded {
    /// Starts a node on any free port, in a new folder.
    pub async fn start(describe: impl FnOnce(Network) -> Network) -> Self {
        Self::start_in(TempDir::new().unwrap(), describe).await
    }

    /// Starts a node that knows nobody and keeps these bounds.
    pub async fn with(limits: Limits) -> Self {
        Self::start(|network| network.limits(limits)).await
    }

    /// Starts a node on any free port.
    pub async fn start_in(folder: TempDir, describe: impl FnOnce(Network) -> Network) -> Self {
        let node = describe(Network::new("localhost").folder(folder.path())).start().await.unwrap();
        Self { node, folder }
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.node.port()
    }

    /// Ends the node and gives its folder.
    pub async fn stop(self) -> TempDir {
        within("the node's end", self.node.shutdown()).await.unwrap();
        self.folder
    }

    /// Waits until the node has one link to each of these, and no other.
    pub async fn links_to(&self, others: &[&Self]) {
        let mut expected: Vec<_> = others.iter().map(|other| Some(other.id())).collect();
        expected.sort_unstable();
        eventually(format!("the links of {}", self.address()), async || {
            let mut links: Vec<_> = self.node.links().await.unwrap().into_iter().map(|link| link.peer.node).collect();
            links.sort_unstable();
            if links == expected { Ok(()) } else { Err(format!("{links:?} instead of {expected:?}")) }
        })
        .await;
    }

    /// A counter, as it stands now.
    pub async fn counted(&self, name: &str) -> u64 {
        self.node.status().await.unwrap().counters[name]
    }
}

impl Deref for Embedded {
    type Target = Node;

    fn deref(&self) -> &Node {
        &self.node
    }
}

impl Keeper for Embedded {
    fn name(&self) -> String {
        self.node.address().to_string()
    }

    fn transactions(&self) -> Result<Vec<Value>, String> {
        let text = std::fs::read_to_string(self.folder.path().join("transactions.json")).unwrap();
        serde_json::from_str(&text).map_err(|error| format!("unreadable: {error}"))
    }
}

/// Waits for an event that is wanted; tells what came of it. A test must not let the node run 4,096
/// events ahead of it.
pub async fn event<T>(events: &mut Events, what: &str, mut wanted: impl FnMut(Event) -> Option<T>) -> T {
    within(what, async {
        loop {
            if let Some(found) = wanted(events.recv().await.unwrap()) {
                return found;
            }
        }
    })
    .await
}
