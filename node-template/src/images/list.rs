//! The list of images: those of this node, and those that other nodes offer.
//!
//! Images are not announced. Nodes are asked when a list is asked for, and one answer is reused for
//! a few seconds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use meshpool_proto::wire::{ImageInfo, ImageName};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::core_queries::{Queries, SearchAnswer};
use crate::images::local::LocalImages;
use crate::images::search::Search;

/// How long answers are gathered: a few round trips through a large network.
const GATHER: Duration = Duration::from_secs(1);
/// How long a list is reused.
const FRESH: Duration = Duration::from_secs(5);
/// How many images a list has at most.
const LISTED: usize = 2_000;

/// The images known in the network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageList {
    /// In the order of their names.
    pub images: Vec<ListedImage>,
    /// Whether there are more than these.
    pub more: bool,
}

/// An image in the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedImage {
    /// Its name.
    pub name: String,
    /// Its length in bytes. If nodes have different ones: ours, otherwise that of the first answer.
    pub size: u64,
    /// Whether it is a file of this node.
    pub here: bool,
    /// Whether this node fetched it earlier and keeps it.
    pub kept: bool,
    /// How many other nodes have it, by their answers.
    pub nodes: usize,
}

/// Lists the images of the network.
#[derive(Debug)]
pub(crate) struct Lister {
    local: Arc<LocalImages>,
    queries: Queries,
    /// The last list and its time. Held while a list is made, so that concurrent calls share it.
    last: Mutex<Option<(Instant, Arc<ImageList>)>>,
}

impl Lister {
    pub(crate) fn new(local: Arc<LocalImages>, queries: Queries) -> Self {
        Self { local, queries, last: Mutex::default() }
    }

    /// The images known in the network.
    pub(crate) async fn list(&self) -> Arc<ImageList> {
        let mut last = self.last.lock().await;
        if let Some((_, list)) = last.as_ref().filter(|(made, _)| made.elapsed() < FRESH) {
            return Arc::clone(list);
        }
        let list = Arc::new(self.gather().await);
        *last = Some((Instant::now(), Arc::clone(&list)));
        list
    }

    async fn gather(&self) -> ImageList {
        let (here, mut more) = self.local.folder().list(LISTED).await;
        let mut images: BTreeMap<ImageName, ListedImage> = BTreeMap::new();
        let row =
            |name: &ImageName, size| ListedImage { name: name.to_string(), size, here: false, kept: false, nodes: 0 };
        for (name, size) in here {
            images.insert(name.clone(), ListedImage { here: true, ..row(&name, size) });
        }
        for (name, size) in self.local.cache().list() {
            images.entry(name.clone()).or_insert_with(|| row(&name, size)).kept = true;
        }
        // If no search can begin, the list has the images of this node.
        if let Ok(mut search) = Search::begin(&self.queries, None).await {
            let answers = async {
                while let SearchAnswer::Offer(found, _) = search.next().await {
                    // Each name counts once per node.
                    let offered: BTreeMap<ImageName, u64> =
                        found.images.into_iter().map(|ImageInfo { name, size, .. }| (name, size)).collect();
                    for (name, size) in offered {
                        if images.len() < LISTED || images.contains_key(&name) {
                            images.entry(name.clone()).or_insert_with(|| row(&name, size)).nodes += 1;
                        } else {
                            more = true;
                        }
                    }
                }
            };
            timeout(GATHER, answers).await.unwrap_or_default();
        }
        ImageList { images: images.into_values().collect(), more }
    }
}
