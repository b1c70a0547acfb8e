//! The cache of fetched images: files being fetched, and those that are kept; the least recently
//! used is removed first.
//!
//! All are in the folder `image-cache`, which is the program's own and may be deleted at any time.
//! A file being fetched has no name that could be asked for, and is removed with its writer. A kept
//! file has its image's name. With `IMAGE_CACHE_BYTES=0` nothing is kept, and what an earlier run
//! kept is removed.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::SystemTime;

use meshpool_proto::wire::ImageName;

use crate::images::folder::{Folder, Opened, blocking, is_same_name};
use crate::system::rename;

/// The folder's name.
pub(crate) const CACHE: &str = "image-cache";
/// The prefix of files being fetched. No image can have such a name.
const DRAFT: &str = ".fetch-";

/// The images that were fetched and kept.
#[derive(Debug)]
pub(crate) struct Cache {
    pub(crate) folder: Folder,
    most: u64,
    kept: Mutex<Kept>,
    drafts: AtomicU64,
}

#[derive(Debug, Default)]
struct Kept {
    entries: BTreeMap<ImageName, Entry>,
    bytes: u64,
    /// Counts uses: the clock of the eviction order.
    uses: u64,
}

#[derive(Debug)]
struct Entry {
    size: u64,
    used: u64,
}

/// A file being fetched. Dropping it removes it from the folder; open files can still be read.
#[derive(Debug)]
pub(crate) struct Draft {
    path: PathBuf,
    pub(crate) file: File,
}

impl Drop for Draft {
    fn drop(&mut self) {
        // It may have been kept or deleted; a leftover is removed at the next start.
        fs::remove_file(&self.path).ok();
    }
}

impl Kept {
    fn insert(&mut self, name: ImageName, size: u64) {
        self.remove(&name);
        self.uses += 1;
        self.bytes += size;
        self.entries.insert(name, Entry { size, used: self.uses });
    }

    fn remove(&mut self, name: &ImageName) {
        if let Some(entry) = self.entries.remove(name) {
            self.bytes -= entry.size;
        }
    }

    /// Returns the kept name that is `name` in any Unicode form.
    fn find(&self, name: &ImageName) -> Option<ImageName> {
        if self.entries.contains_key(name) {
            return Some(name.clone());
        }
        if name.as_str().is_ascii() {
            return None;
        }
        let mut others = self.entries.keys().filter(|other| !other.as_str().is_ascii());
        others.find(|other| is_same_name(other, name)).cloned()
    }

    /// Returns another kept name that is the same file where case does not count, as on Windows and
    /// macOS: the content of one would be given out for the other.
    fn same_on_some_systems(&self, name: &ImageName) -> Option<ImageName> {
        let lower = name.as_str().to_lowercase();
        let mut others = self.entries.keys().filter(|other| *other != name);
        others.find(|other| other.as_str().to_lowercase() == lower).cloned()
    }

    fn oldest(&self) -> Option<ImageName> {
        self.entries.iter().min_by_key(|(_, entry)| entry.used).map(|(name, _)| name.clone())
    }
}

impl Cache {
    /// Opens the cache of a node's folder, with what an earlier run kept, as far as there is room.
    pub(crate) fn open(home: &Path, most: u64) -> Self {
        let folder = Folder::new(home.join(CACHE));
        let cache = Self { folder, most, kept: Mutex::default(), drafts: AtomicU64::new(0) };
        if let Err(error) = cache.load()
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!("{CACHE} cannot be read: {error}; images that were kept are fetched again");
        }
        cache
    }

    fn load(&self) -> io::Result<()> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.folder.path())? {
            let entry = entry?;
            let (name, metadata) = (entry.file_name(), entry.metadata()?);
            if !metadata.is_file() {
                continue;
            }
            match name.to_str().map(|name| (name.parse(), name.starts_with(DRAFT))) {
                Some((Ok(name), _)) => {
                    found.push((metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH), name, metadata.len()));
                }
                // A leftover of a run that was killed.
                Some((Err(_), true)) => fs::remove_file(entry.path())?,
                _ => {}
            }
        }
        found.sort();
        let mut kept = self.lock();
        found.into_iter().for_each(|(_, name, size)| kept.insert(name, size));
        self.make_room(&mut kept, 0)
    }

    /// Opens a kept image, which counts as a use.
    pub(crate) async fn open_kept(&self, name: &ImageName) -> io::Result<Option<Opened>> {
        let name = {
            let mut kept = self.lock();
            kept.uses += 1;
            let uses = kept.uses;
            let Some(name) = kept.find(name) else { return Ok(None) };
            kept.entries.get_mut(&name).into_iter().for_each(|entry| entry.used = uses);
            name
        };
        let opened = self.folder.open(&name).await?;
        if opened.is_none() {
            self.lock().remove(&name);
        }
        Ok(opened)
    }

    /// The names and sizes of the kept images, by name.
    pub(crate) fn list(&self) -> Vec<(ImageName, u64)> {
        self.lock().entries.iter().map(|(name, entry)| (name.clone(), entry.size)).collect()
    }

    /// Creates a file for an image to be fetched.
    ///
    /// # Errors
    /// The system's.
    pub(crate) async fn draft(&self) -> io::Result<Draft> {
        let number = self.drafts.fetch_add(1, Ordering::Relaxed);
        let folder = self.folder.path().to_owned();
        blocking(move || {
            fs::create_dir_all(&folder)?;
            let path = folder.join(format!("{DRAFT}{number}"));
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
            Ok(Draft { path, file })
        })
        .await
    }

    /// Keeps a verified image if the cache is large enough; removes the least recently used first.
    ///
    /// # Errors
    /// The system's. The image can be read all the same.
    pub(crate) fn keep(&self, draft: &Draft, name: &ImageName, size: u64) -> io::Result<()> {
        if size > self.most {
            return Ok(());
        }
        let mut kept = self.lock();
        kept.remove(name);
        if let Some(other) = kept.same_on_some_systems(name) {
            self.remove(&mut kept, &other)?;
        }
        self.make_room(&mut kept, size)?;
        rename(&draft.path, &self.folder.path().join(name.as_str()))?;
        kept.insert(name.clone(), size);
        Ok(())
    }

    fn make_room(&self, kept: &mut Kept, size: u64) -> io::Result<()> {
        while kept.bytes.saturating_add(size) > self.most {
            let Some(oldest) = kept.oldest() else { break };
            self.remove(kept, &oldest)?;
        }
        Ok(())
    }

    fn remove(&self, kept: &mut Kept, name: &ImageName) -> io::Result<()> {
        kept.remove(name);
        match fs::remove_file(self.folder.path().join(name.as_str())) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn name(text: &str) -> ImageName {
        text.parse().unwrap()
    }

    async fn keep(cache: &Cache, image: &str, content: &str) {
        let mut draft = cache.draft().await.unwrap();
        draft.file.write_all(content.as_bytes()).unwrap();
        cache.keep(&draft, &name(image), content.len() as u64).unwrap();
    }

    fn files(home: &Path) -> Vec<String> {
        let entries = fs::read_dir(home.join(CACHE)).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn the_least_recently_used_is_removed_first() {
        let home = tempfile::tempdir().unwrap();
        let cache = Cache::open(home.path(), 10);
        keep(&cache, "a", "aaaa").await;
        keep(&cache, "b", "bbbb").await;
        assert!(cache.open_kept(&name("a")).await.unwrap().is_some());
        keep(&cache, "c", "cccc").await;
        assert_eq!(files(home.path()), ["a", "c"]);
        assert!(cache.open_kept(&name("b")).await.unwrap().is_none());
        keep(&cache, "large", "more than there is room for").await;
        assert_eq!(files(home.path()), ["a", "c"]);
        // A person may delete what is kept.
        fs::remove_file(home.path().join(CACHE).join("a")).unwrap();
        assert!(cache.open_kept(&name("a")).await.unwrap().is_none());
        assert_eq!(cache.list(), [(name("c"), 4)]);
        keep(&cache, "c", "CC").await;
        assert_eq!(cache.list(), [(name("c"), 2)]);
    }

    #[tokio::test]
    async fn of_names_that_differ_in_case_alone_one_is_kept() {
        let home = tempfile::tempdir().unwrap();
        let cache = Cache::open(home.path(), 100);
        keep(&cache, "Cat.jpg", "one").await;
        keep(&cache, "cat.jpg", "other").await;
        assert_eq!(files(home.path()), ["cat.jpg"]);
        assert_eq!(cache.list(), [(name("cat.jpg"), 5)]);
        assert!(cache.open_kept(&name("Cat.jpg")).await.unwrap().is_none(), "it is fetched again");
    }

    #[tokio::test]
    async fn what_is_kept_is_found_by_its_name_in_each_unicode_form() {
        let home = tempfile::tempdir().unwrap();
        let cache = Cache::open(home.path(), 100);
        let (composed, decomposed) = ("\u{e9}te\u{301}.jpg", "e\u{301}te\u{301}.jpg");
        keep(&cache, decomposed, "summer").await;
        for form in [composed, decomposed, "\u{e9}t\u{e9}.jpg"] {
            assert!(cache.open_kept(&name(form)).await.unwrap().is_some(), "{form:?}");
        }
        for other in ["ete.jpg", "\u{e8}t\u{e9}.jpg"] {
            assert!(cache.open_kept(&name(other)).await.unwrap().is_none(), "{other}");
        }
        fs::remove_file(home.path().join(CACHE).join(decomposed)).unwrap();
        assert!(cache.open_kept(&name(composed)).await.unwrap().is_none());
        assert!(cache.list().is_empty());
    }

    #[tokio::test]
    async fn a_new_run_takes_over_what_fits_and_removes_unfinished_files() {
        if !crate::system::replaces_open_files() {
            return;
        }
        let home = tempfile::tempdir().unwrap();
        let cache = Cache::open(home.path(), 10);
        keep(&cache, "a", "aaaa").await;
        std::mem::forget(cache.draft().await.unwrap());
        assert_eq!(files(home.path()).len(), 2);
        assert_eq!(Cache::open(home.path(), 10).list(), [(name("a"), 4)]);
        assert_eq!(files(home.path()), ["a"]);
        assert!(Cache::open(home.path(), 0).list().is_empty());
        assert!(files(home.path()).is_empty());
    }

    #[tokio::test]
    async fn with_no_room_nothing_is_kept_and_what_is_dropped_can_still_be_read() {
        if !crate::system::replaces_open_files() {
            return;
        }
        let home = tempfile::tempdir().unwrap();
        let cache = Cache::open(home.path(), 0);
        let mut draft = cache.draft().await.unwrap();
        draft.file.write_all(b"cat").unwrap();
        cache.keep(&draft, &name("cat.jpg"), 3).unwrap();
        let file = draft.file.try_clone().unwrap();
        drop(draft);
        assert!(files(home.path()).is_empty());
        let mut read = [0; 3];
        assert_eq!(crate::system::read_at(&file, &mut read, 0).unwrap(), read.len());
        assert_eq!(&read, b"cat");
    }
}
