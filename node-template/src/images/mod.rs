//! Images: files that nodes show each other. An image in the folder `images` of one node can be
//! seen at every node.
//!
//! The core decides which nodes are asked and where answers go. This part reads the files,
//! transfers them, and keeps what was fetched. It needs the peer port alone; the HTTP side is one
//! of its users.
//!
//! A stranger can only make it open files of one folder by plain names. Everything else is bounded:
//! how many images are read, sent and fetched at once, and the memory of each, which is one chunk.
//!
//! | file | content |
//! |---|---|
//! | `serve` | the side of a transfer that has the image |
//! | `fetch` | the side that wants it: search, transfer, digest |
//! | `list` | which images there are in the network |
//! | `search` | a search in the network |
//! | `local`, `folder`, `cache` | images of this node: its files, and what it fetched and kept |
//! | `wire` | the frames of a transfer |

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use meshpool_proto::limits::Limits;
use meshpool_proto::wire::ImageName;
use tokio::sync::watch;

mod cache;
mod counts;
mod error;
mod fetch;
mod folder;
mod image;
mod list;
mod local;
mod search;
pub(crate) mod serve;
pub(crate) mod wire;

#[cfg(feature = "web")]
pub(crate) use counts::described;
pub use error::ImageError;
pub use image::{Image, ImageSource};
pub use list::{ImageList, ListedImage};

use crate::core_queries::Queries;
use crate::transport::websocket::dialer::Dialer;
use crate::util::counts::add;
use crate::util::panics::Panics;

use counts::Counts;
use fetch::Fetcher;
use list::Lister;
use local::LocalImages;

/// How many images are searched, waited for and fetched at once.
const FETCHES: usize = 128;

type Outcome = Option<Result<Image, ImageError>>;

/// The images of one node and, through it, of the network.
#[derive(Debug)]
pub(crate) struct Images {
    local: Arc<LocalImages>,
    fetcher: Fetcher,
    lister: Lister,
    queries: Queries,
    panics: Panics,
    counts: Arc<Counts>,
    /// The fetches under way: all who want the same image wait for the same fetch.
    fetches: Mutex<HashMap<ImageName, watch::Receiver<Outcome>>>,
}

impl Images {
    /// Opens the images in a node's folder. Reads which ones an earlier run kept.
    pub(crate) fn open(home: &Path, limits: &Limits, queries: Queries, dialer: Dialer, panics: Panics) -> Arc<Self> {
        let (local, counts) = (Arc::new(LocalImages::open(home, limits)), Arc::<Counts>::default());
        Arc::new(Self {
            fetcher: Fetcher::new(Arc::clone(&local), queries.clone(), dialer, limits, Arc::clone(&counts)),
            lister: Lister::new(Arc::clone(&local), queries.clone()),
            local,
            queries,
            panics,
            counts,
            fetches: Mutex::default(),
        })
    }

    /// The counters, by name.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.counts.entries()
    }

    /// The images of this node alone.
    pub(crate) fn local(&self) -> &LocalImages {
        &self.local
    }

    /// The images known in the network.
    pub(crate) async fn list(&self) -> Arc<ImageList> {
        self.lister.list().await
    }

    /// Returns an image: one of this node, or one from the network. Concurrent calls for one image
    /// share one search.
    pub(crate) async fn get(self: &Arc<Self>, name: &ImageName) -> Result<Image, ImageError> {
        if let Some(image) = self.local.find(name).await? {
            let local = image.source == ImageSource::Local;
            add(if local { &self.counts.hits } else { &self.counts.cache_hits }, 1);
            return Ok(image);
        }
        let mut outcome = self.join(name)?;
        let outcome = outcome.wait_for(Option::is_some).await.map_err(|_| ImageError::Ended)?.clone();
        outcome.unwrap_or(Err(ImageError::Ended))
    }

    /// Joins the fetch of an image that is under way, or begins one.
    fn join(self: &Arc<Self>, name: &ImageName) -> Result<watch::Receiver<Outcome>, ImageError> {
        let mut fetches = self.lock();
        if let Some(outcome) = fetches.get(name) {
            return Ok(outcome.clone());
        }
        if fetches.len() >= FETCHES {
            return Err(ImageError::Busy);
        }
        let (sender, outcome) = watch::channel(None);
        fetches.insert(name.clone(), outcome.clone());
        let under_way = UnderWay { images: Arc::clone(self), name: name.clone() };
        tokio::spawn(async move {
            let UnderWay { images, name } = &under_way;
            let fetching = async {
                tokio::select! {
                    done = images.fetcher.fetch(name) => done,
                    () = images.queries.ended() => Err(ImageError::Ended),
                }
            };
            let done = images.panics.catch("fetching an image", fetching).await.unwrap_or(Err(ImageError::Ended));
            // Removed from the table first: a later call finds the image kept, or fetches again.
            drop(under_way);
            sender.send_replace(Some(done));
        });
        Ok(outcome)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ImageName, watch::Receiver<Outcome>>> {
        self.fetches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The entry of a fetch; removed when it ends, also by a panic.
struct UnderWay {
    images: Arc<Images>,
    name: ImageName,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.images.lock().remove(&self.name);
    }
}
