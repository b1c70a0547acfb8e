//! Images: files that nodes show each other. Put one into the folder `images` of any node, and every node has it.
//!
//! The core decides who is asked and where answers go (`protocol/images.rs`); this reads the files, carries them, and keeps what was fetched. A stranger
//! can make it open files of one folder, by plain names, and nothing else; how many it reads, sends and fetches at once is bounded, and so is what each holds in memory: one
//! chunk. It needs the peers' port alone; the HTTP side is one of its users.
//!
//! ```text
//! folder  opens, lists, knows digests        serve  a transfer to whoever asks
//! cache   what was fetched and is kept       fetch  search, transfer, digest
//! wire    what is said on a transfer         list   which images there are in the network
//! ```

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc, watch};

mod cache;
mod error;
mod fetch;
mod folder;
mod list;
mod serve;
pub(crate) mod wire;

pub use error::ImageError;
pub use list::{ImageList, ListedImage};

use cache::Cache;
pub(crate) use fetch::Answer;
use folder::{Folder, Opened, blocking};

use crate::driver::Command;
use crate::protocol::limits::{self, Limits};
use crate::protocol::wire::{ImageInfo, ImageName};
use crate::transport::tls::Live;
use crate::util::panics::Faults;

/// The folder that people put images into.
const IMAGES: &str = "images";
/// How many images are searched, waited for and fetched at once.
const FETCHES: usize = 128;
/// Of the searches that the core lets us have, these are for lists.
const LISTINGS: usize = 4;

/// An image that can be read: a file of this node, or one that was fetched and found sound. While anybody holds it, it can be read, whatever becomes of the file.
#[derive(Debug, Clone)]
pub struct Image {
    /// Its name.
    pub name: ImageName,
    /// Its length in bytes.
    pub size: u64,
    /// Changes when the content does.
    pub tag: String,
    /// Where it comes from.
    pub kept: Kept,
    opened: Option<Opened>,
    file: Arc<File>,
}

/// Where an image comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// A file of this node.
    Here,
    /// Fetched earlier, and kept.
    Cached,
    /// Fetched just now.
    Fetched,
}

impl Image {
    /// Reads at most so many bytes from an offset on; at least one.
    ///
    /// # Errors
    /// The system's; and [`io::ErrorKind::UnexpectedEof`] if the file has become shorter meanwhile.
    pub async fn read(&self, offset: u64, most: usize) -> io::Result<Bytes> {
        let file = Arc::clone(&self.file);
        blocking(move || {
            let mut bytes = vec![0; most];
            let read = file.read_at(&mut bytes, offset)?;
            bytes.truncate(read);
            if read == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(Bytes::from(bytes)) }
        })
        .await
    }
}

/// Declares the counters once: the field, the name under which it is shown, and what it counts.
macro_rules! counts {
    ($($(#[doc = $doc:literal])+ $field:ident $name:literal,)+) => {
        /// What is counted here, beside what the core counts.
        #[derive(Debug, Default)]
        struct Counts {
            $($(#[doc = $doc])+ $field: AtomicU64,)+
        }

        impl Counts {
            fn entries(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$(($name, self.$field.load(Ordering::Relaxed)),)+].into_iter()
            }
        }

        /// The name of every counter with what it counts, in words.
        pub fn described() -> impl Iterator<Item = (&'static str, &'static str)> {
            [$(($name, concat!($($doc),+)),)+].into_iter()
        }
    };
}

counts! {
    /// Images asked for that were in the folder of this node.
    hits "image_hits",
    /// Images asked for that had been fetched earlier and were kept.
    cache_hits "image_cache_hits",
    /// Images fetched from other nodes and found sound.
    fetched "images_fetched",
    /// Images asked for that nobody had, or gave.
    missed "image_misses",
    /// Finders that did not give what they offered; the next was asked.
    finders_failed "image_finders_failed",
    /// Images that came whole and were not what was offered: dropped.
    wrong "images_wrong",
    /// Bytes of images fetched from other nodes.
    fetched_bytes "image_fetched_bytes",
    /// Bytes of images sent to other nodes and to clients.
    sent_bytes "image_sent_bytes",
    /// Transfers refused: the image is not here, or too many at once.
    refused "image_transfers_refused",
}

fn add(count: &AtomicU64, number: u64) {
    count.fetch_add(number, Ordering::Relaxed);
}

type Outcome = Option<Result<Image, ImageError>>;

/// The images of one node.
#[derive(Debug)]
pub(crate) struct Images {
    folder: Folder,
    cache: Arc<Cache>,
    limits: Limits,
    commands: mpsc::Sender<Command>,
    /// In a closed network finders show a certificate, and so do we.
    secure: Option<Arc<Live>>,
    faults: Faults,
    /// What is being fetched: whoever wants the same waits for the same.
    fetches: Mutex<HashMap<ImageName, watch::Receiver<Outcome>>>,
    searching: Semaphore,
    /// When the next search may begin, were all places for bursts used.
    next_search: Mutex<tokio::time::Instant>,
    fetching: Semaphore,
    serving: Semaphore,
    waiting: Semaphore,
    lists: list::Lists,
    counts: Counts,
}

impl Images {
    /// The images in a node's folder. Reads the folder of those that an earlier run kept.
    pub(crate) fn open(
        home: &Path,
        limits: Limits,
        commands: mpsc::Sender<Command>,
        secure: Option<Arc<Live>>,
        faults: Faults,
    ) -> Arc<Self> {
        Arc::new(Self {
            folder: Folder::new(home.join(IMAGES)),
            cache: Arc::new(Cache::open(home, limits.image_cache_bytes)),
            limits,
            commands,
            secure,
            faults,
            fetches: Mutex::default(),
            searching: Semaphore::new(limits::SEARCHES - LISTINGS),
            next_search: Mutex::new(tokio::time::Instant::now()),
            fetching: Semaphore::new(wire::TRANSFERS),
            serving: Semaphore::new(wire::TRANSFERS),
            waiting: Semaphore::new(wire::WAITING),
            lists: list::Lists::default(),
            counts: Counts::default(),
        })
    }

    fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What was counted since the start.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.counts.entries()
    }

    /// An image: this node's own, one that it kept, or one from the network. Ten that ask for the same cause one search.
    pub(crate) async fn get(self: &Arc<Self>, name: &ImageName) -> Result<Image, ImageError> {
        if let Some(image) = self.here(name).await? {
            add(if image.kept == Kept::Here { &self.counts.hits } else { &self.counts.cache_hits }, 1);
            return Ok(image);
        }
        let mut outcome = self.join(name)?;
        let outcome = outcome.wait_for(Option::is_some).await.map_err(|_| ImageError::Ended)?.clone();
        outcome.unwrap_or(Err(ImageError::Ended))
    }

    /// An image without asking anybody.
    async fn here(&self, name: &ImageName) -> Result<Option<Image>, ImageError> {
        let disk = |folder: &str, error: io::Error| ImageError::Disk {
            file: format!("{folder}/{name}"),
            why: error.to_string(),
        };
        let (opened, kept) = match self.folder.open(name).await.map_err(|error| disk(IMAGES, error))? {
            Some(opened) => (Some(opened), Kept::Here),
            None => (self.cache.open_kept(name).await.map_err(|error| disk(cache::CACHE, error))?, Kept::Cached),
        };
        Ok(opened.map(|opened| {
            let (seconds, nanoseconds) = opened.stamp.modified;
            Image {
                name: name.clone(),
                size: opened.stamp.size,
                tag: format!("{:x}-{seconds:x}-{nanoseconds:x}", opened.stamp.size),
                kept,
                file: Arc::clone(&opened.file),
                opened: Some(opened),
            }
        }))
    }

    /// The SHA-256 of an image that is here.
    async fn digest(&self, image: &Image) -> io::Result<[u8; 32]> {
        let folder = if image.kept == Kept::Here { &self.folder } else { &self.cache.folder };
        match &image.opened {
            Some(opened) => folder.digest(&image.name, opened).await,
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// What this node answers a search of another. What it would not fetch itself it does not offer either: that would have to be read for its digest.
    pub(crate) async fn look_up(&self, name: Option<&ImageName>) -> Vec<ImageInfo> {
        let Some(name) = name else { return self.offered().await };
        match self.here(name).await {
            Ok(Some(image)) if image.size <= self.limits.image_max_bytes => match self.digest(&image).await {
                Ok(digest) => vec![ImageInfo { name: image.name, size: image.size, sha256: Some(digest) }],
                Err(error) => {
                    tracing::debug!("{IMAGES}/{name} can not be offered: {error}");
                    Vec::new()
                }
            },
            Ok(_) => Vec::new(),
            Err(error) => {
                tracing::debug!("{error}");
                Vec::new()
            }
        }
    }

    /// Waits for what others fetch already, or begins.
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
                    done = images.fetch(name) => done,
                    () = images.commands.closed() => Err(ImageError::Ended),
                }
            };
            let done = images.faults.contain("fetching an image", fetching).await.unwrap_or(Err(ImageError::Ended));
            // Gone from the table first: who comes from now on finds it kept, or begins anew.
            drop(under_way);
            sender.send_replace(Some(done));
        });
        Ok(outcome)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ImageName, watch::Receiver<Outcome>>> {
        self.fetches.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The entry of a fetch, gone when it ends, however it does.
struct UnderWay {
    images: Arc<Images>,
    name: ImageName,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.images.lock().remove(&self.name);
    }
}
