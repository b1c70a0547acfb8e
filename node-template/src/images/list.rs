//! Which images there are: those of this node, those that it keeps, and those that others say they have.
//!
//! Nothing of it is announced: nodes are asked when somebody wants to see a list, and one answer serves everybody for a few seconds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use crate::images::fetch::{Answer, Search};
use crate::images::{IMAGES, Images};
use crate::protocol::limits;
use crate::protocol::wire::{ImageInfo, ImageName};

/// How long answers are gathered: a few round trips through a large network.
const GATHERED: Duration = Duration::from_secs(1);
/// How long a list serves.
const FRESH: Duration = Duration::from_secs(5);
/// How long what this node tells others serves: so many questions read the folder once.
const TOLD_FRESH: Duration = Duration::from_secs(2);
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

/// An image that somebody has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedImage {
    /// Its name.
    pub name: String,
    /// Its length in bytes; where nodes have different ones, ours, else that of the first who answered.
    pub size: u64,
    /// Whether it is a file of this node.
    pub here: bool,
    /// Whether this node fetched it earlier and keeps it.
    pub kept: bool,
    /// How many other nodes have it, as far as they said.
    pub nodes: usize,
}

/// What was listed lately.
#[derive(Debug, Default)]
pub(crate) struct Lists {
    known: tokio::sync::Mutex<Option<(Instant, Arc<ImageList>)>>,
    told: tokio::sync::Mutex<Option<(Instant, Vec<ImageInfo>)>>,
}

impl Images {
    /// The images known in the network.
    pub(crate) async fn list(&self) -> Arc<ImageList> {
        let mut known = self.lists.known.lock().await;
        if let Some((_, list)) = known.as_ref().filter(|(made, _)| made.elapsed() < FRESH) {
            return Arc::clone(list);
        }
        let list = Arc::new(self.gather().await);
        *known = Some((Instant::now(), Arc::clone(&list)));
        list
    }

    async fn gather(&self) -> ImageList {
        let (here, mut more) = self.folder.list(LISTED).await;
        let mut images: BTreeMap<ImageName, ListedImage> = BTreeMap::new();
        let row =
            |name: &ImageName, size| ListedImage { name: name.to_string(), size, here: false, kept: false, nodes: 0 };
        for (name, size) in here {
            images.insert(name.clone(), ListedImage { here: true, ..row(&name, size) });
        }
        for (name, size) in self.cache.list() {
            images.entry(name.clone()).or_insert_with(|| row(&name, size)).kept = true;
        }
        // With nobody to ask, or with too much to do, there are still our own.
        if let Ok(mut search) = Search::begin(self, None).await {
            let answers = async {
                while let Answer::Offer(found, _) = search.next().await {
                    // Each name once, however often one node says it.
                    let told: BTreeMap<ImageName, u64> =
                        found.images.into_iter().map(|ImageInfo { name, size, .. }| (name, size)).collect();
                    for (name, size) in told {
                        if images.len() < LISTED || images.contains_key(&name) {
                            images.entry(name.clone()).or_insert_with(|| row(&name, size)).nodes += 1;
                        } else {
                            more = true;
                        }
                    }
                }
            };
            timeout(GATHERED, answers).await.unwrap_or_default();
        }
        ImageList { images: images.into_values().collect(), more }
    }

    /// What this node tells others that it has, within the bounds of one answer.
    pub(crate) async fn offered(&self) -> Vec<ImageInfo> {
        let mut told = self.lists.told.lock().await;
        if let Some((_, images)) = told.as_ref().filter(|(made, _)| made.elapsed() < TOLD_FRESH) {
            return images.clone();
        }
        let (mut files, _) = self.folder.list(limits::FOUND_IMAGES).await;
        let names: std::collections::BTreeSet<_> = files.iter().map(|(name, _)| name.clone()).collect();
        files.extend(self.cache.list().into_iter().filter(|(name, _)| !names.contains(name)));
        files.retain(|(_, size)| *size <= self.limits().image_max_bytes);
        let mut bytes = 0;
        let within = files.into_iter().take(limits::FOUND_IMAGES).take_while(|(name, _)| {
            bytes += name.as_str().len();
            bytes <= limits::FOUND_NAMES_BYTES
        });
        let images: Vec<_> = within.map(|(name, size)| ImageInfo { name, size, sha256: None }).collect();
        tracing::trace!("{IMAGES} has {} to tell of", images.len());
        *told = Some((Instant::now(), images.clone()));
        images
    }
}
