//! The images that this node has: the files of its folder, and those that it fetched and kept.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use meshpool_proto::limits::{self, Limits};
use meshpool_proto::wire::{ImageInfo, ImageName};
use tokio::sync::Mutex;

use crate::images::cache::{CACHE, Cache};
use crate::images::error::ImageError;
use crate::images::folder::Folder;
use crate::images::image::{Image, ImageSource};

/// The folder that people put images into.
const IMAGES: &str = "images";
/// How long an offer of all images is reused, so that many searches read the folder once.
const OFFER_FRESH: Duration = Duration::from_secs(2);

/// The images of one node.
#[derive(Debug)]
pub(crate) struct LocalImages {
    folder: Folder,
    cache: Arc<Cache>,
    /// The largest image that is offered, as it is the largest that is fetched.
    max_bytes: u64,
    offered: Mutex<Option<(Instant, Vec<ImageInfo>)>>,
}

impl LocalImages {
    /// Opens the images in a node's folder, and reads which ones an earlier run kept.
    pub(crate) fn open(home: &Path, limits: &Limits) -> Self {
        Self {
            folder: Folder::new(home.join(IMAGES)),
            cache: Arc::new(Cache::open(home, limits.image_cache_bytes)),
            max_bytes: limits.image_max_bytes,
            offered: Mutex::default(),
        }
    }

    pub(crate) fn folder(&self) -> &Folder {
        &self.folder
    }

    pub(crate) fn cache(&self) -> &Arc<Cache> {
        &self.cache
    }

    /// Opens an image of this node; `None` if it has none of this name.
    pub(crate) async fn find(&self, name: &ImageName) -> Result<Option<Image>, ImageError> {
        let disk = |folder: &str, error: io::Error| ImageError::Disk {
            file: format!("{folder}/{name}"),
            why: error.to_string(),
        };
        let (opened, source) = match self.folder.open(name).await.map_err(|error| disk(IMAGES, error))? {
            Some(opened) => (Some(opened), ImageSource::Local),
            None => (self.cache.open_kept(name).await.map_err(|error| disk(CACHE, error))?, ImageSource::Cached),
        };
        Ok(opened.map(|opened| {
            let (seconds, nanoseconds) = opened.stamp.modified;
            Image {
                name: name.clone(),
                size: opened.stamp.length,
                tag: format!("{:x}-{seconds:x}-{nanoseconds:x}", opened.stamp.length),
                source,
                file: Arc::clone(&opened.file),
                opened: Some(opened),
            }
        }))
    }

    /// As [`Self::find`], for other nodes: images that this node would not fetch are not offered,
    /// because each would have to be read for its digest.
    pub(crate) async fn find_offered(&self, name: &ImageName) -> Result<Option<Image>, ImageError> {
        Ok(self.find(name).await?.filter(|image| image.size <= self.max_bytes))
    }

    /// The SHA-256 of an image of this node.
    pub(crate) async fn digest(&self, image: &Image) -> io::Result<[u8; 32]> {
        let folder = if image.source == ImageSource::Local { &self.folder } else { &self.cache.folder };
        match &image.opened {
            Some(opened) => folder.digest(&image.name, opened).await,
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Answers a search of another node; without a name, for all images.
    pub(crate) async fn look_up(&self, name: Option<&ImageName>) -> Vec<ImageInfo> {
        let Some(name) = name else { return self.offers().await };
        match self.find_offered(name).await {
            Ok(Some(image)) => match self.digest(&image).await {
                Ok(digest) => vec![ImageInfo { name: image.name, size: image.size, sha256: Some(digest) }],
                Err(error) => {
                    tracing::debug!("{IMAGES}/{name} cannot be offered: {error}");
                    Vec::new()
                }
            },
            Ok(None) => Vec::new(),
            Err(error) => {
                tracing::debug!("{error}");
                Vec::new()
            }
        }
    }

    /// All images that are offered to other nodes, within the bounds of one answer.
    async fn offers(&self) -> Vec<ImageInfo> {
        let mut offered = self.offered.lock().await;
        if let Some((_, images)) = offered.as_ref().filter(|(made, _)| made.elapsed() < OFFER_FRESH) {
            return images.clone();
        }
        let (mut files, _) = self.folder.list(limits::FOUND_IMAGES).await;
        let names: BTreeSet<_> = files.iter().map(|(name, _)| name.clone()).collect();
        files.extend(self.cache.list().into_iter().filter(|(name, _)| !names.contains(name)));
        files.retain(|(_, size)| *size <= self.max_bytes);
        let mut bytes = 0;
        let within = files.into_iter().take(limits::FOUND_IMAGES).take_while(|(name, _)| {
            bytes += name.as_str().len();
            bytes <= limits::FOUND_NAMES_BYTES
        });
        let images: Vec<_> = within.map(|(name, size)| ImageInfo { name, size, sha256: None }).collect();
        tracing::trace!("{} images of {IMAGES} are offered", images.len());
        *offered = Some((Instant::now(), images.clone()));
        images
    }
}
