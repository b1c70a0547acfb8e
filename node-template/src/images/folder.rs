//! A folder of images: opens them safely, lists them, and computes their digests.
//!
//! Only regular files directly in the folder are opened. Links are not followed, and opening a FIFO
//! or a device never blocks; such files count as missing. All of it is blocking work on the
//! runtime's threads for that, never on the driver's.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use icu_normalizer::ComposingNormalizerBorrowed;
use meshpool_proto::wire::ImageName;
use sha2::{Digest, Sha256};
use tokio::task::spawn_blocking;

use crate::system::{FileStamp, open_regular, read_at};

/// How many digests are cached. Beyond that the cache is emptied.
const DIGESTS: usize = 4_096;
/// How many entries of a folder are read for a list: half a second on a slow disk.
const ENTRIES: usize = 20_000;
/// How many bytes are read at once for a digest.
const BLOCK: usize = 256 * 1024;

/// A folder of images.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    digests: Mutex<BTreeMap<ImageName, (FileStamp, [u8; 32])>>,
    /// Held while a digest is computed: one file at a time, and each digest once.
    hashing: tokio::sync::Mutex<()>,
}

/// A regular file, open for reading.
#[derive(Debug, Clone)]
pub(crate) struct Opened {
    pub(crate) file: Arc<File>,
    pub(crate) stamp: FileStamp,
}

impl Folder {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, digests: Mutex::default(), hashing: tokio::sync::Mutex::default() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens an image; `None` if there is no regular file of that name.
    ///
    /// Names are compared as people read them: the letter é is one character or two, and programs
    /// and file systems differ in which they write (Unicode Standard Annex 15).
    ///
    /// # Errors
    /// The system's, for a file that is there and cannot be read.
    pub(crate) async fn open(&self, name: &ImageName) -> io::Result<Option<Opened>> {
        let (folder, name) = (self.path.clone(), name.clone());
        blocking(move || {
            let found = open_file(&folder.join(name.as_str()))?;
            // An ASCII name has one form only.
            if found.is_some() || name.as_str().is_ascii() {
                return Ok(found);
            }
            other_form(&folder, &name)?.map_or(Ok(None), |other| open_file(&folder.join(other.as_str())))
        })
        .await
    }

    /// Returns the names and sizes of at most so many images, by name, and whether there are more.
    pub(crate) async fn list(&self, most: usize) -> (Vec<(ImageName, u64)>, bool) {
        let path = self.path.clone();
        let listed = blocking(move || list_files(&path, most)).await;
        listed.unwrap_or_else(|error| {
            tracing::debug!("{} cannot be listed: {error}", self.path.display());
            (Vec::new(), false)
        })
    }

    /// The SHA-256 of an image, computed once for each content.
    ///
    /// # Errors
    /// The system's, or that the file changed meanwhile.
    pub(crate) async fn digest(&self, name: &ImageName, opened: &Opened) -> io::Result<[u8; 32]> {
        if let Some(digest) = self.known_digest(name, opened.stamp) {
            return Ok(digest);
        }
        let _hashing = self.hashing.lock().await;
        if let Some(digest) = self.known_digest(name, opened.stamp) {
            return Ok(digest);
        }
        let Opened { file, stamp } = opened.clone();
        let digest = blocking(move || {
            let digest = digest_of(&file)?;
            let unchanged = FileStamp::of_file(&file)? == stamp;
            unchanged.then_some(digest).ok_or_else(|| io::Error::other("it is being written just now"))
        })
        .await?;
        let mut digests = self.digests.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if digests.len() >= DIGESTS {
            digests.clear();
        }
        digests.insert(name.clone(), (opened.stamp, digest));
        Ok(digest)
    }

    fn known_digest(&self, name: &ImageName, stamp: FileStamp) -> Option<[u8; 32]> {
        let digests = self.digests.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        digests.get(name).filter(|(of, _)| *of == stamp).map(|(_, digest)| *digest)
    }
}

/// Runs work that may wait for the disk, on a thread for blocking work.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

fn open_file(path: &Path) -> io::Result<Option<Opened>> {
    let Some(file) = open_regular(path)? else { return Ok(None) };
    Ok(Some(Opened { stamp: FileStamp::of_file(&file)?, file: Arc::new(file) }))
}

/// Returns whether two names are the same in some Unicode form.
pub(crate) fn is_same_name(one: &ImageName, other: &ImageName) -> bool {
    let composing = ComposingNormalizerBorrowed::new_nfc();
    composing.normalize_iter(one.as_str().chars()).eq(composing.normalize_iter(other.as_str().chars()))
}

/// Returns the name of a file that is `name` in another Unicode form.
fn other_form(folder: &Path, name: &ImageName) -> io::Result<Option<ImageName>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    for entry in entries.take(ENTRIES) {
        let entry = entry?.file_name();
        let Some(other) = entry.to_str().and_then(|other| other.parse::<ImageName>().ok()) else { continue };
        if is_same_name(&other, name) {
            return Ok(Some(other));
        }
    }
    Ok(None)
}

fn list_files(path: &Path, most: usize) -> io::Result<(Vec<(ImageName, u64)>, bool)> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), false)),
        Err(error) => return Err(error),
    };
    let mut names: BTreeMap<ImageName, u64> = BTreeMap::new();
    let mut more = false;
    for (number, entry) in entries.enumerate() {
        if number >= ENTRIES {
            more = true;
            break;
        }
        let entry = entry?;
        let Some(name) = entry.file_name().to_str().and_then(|name| name.parse::<ImageName>().ok()) else { continue };
        // This is the kind of a link itself, not of its target; and the file may be gone by now.
        if let Some(metadata) = entry.metadata().ok().filter(fs::Metadata::is_file) {
            names.insert(name, metadata.len());
        }
        if names.len() > most {
            names.pop_last();
            more = true;
        }
    }
    Ok((names.into_iter().collect(), more))
}

fn digest_of(file: &File) -> io::Result<[u8; 32]> {
    let (mut hash, mut block, mut offset) = (Sha256::new(), vec![0; BLOCK], 0);
    loop {
        match read_at(file, &mut block, offset)? {
            0 => return Ok(hash.finalize().into()),
            read => {
                hash.update(&block[..read]);
                offset += read as u64;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_os = "linux")]
    use std::os::unix::fs::symlink;

    use super::*;

    fn name(text: &str) -> ImageName {
        text.parse().unwrap()
    }

    fn folder() -> (tempfile::TempDir, Folder) {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("images");
        fs::create_dir(&path).unwrap();
        (home, Folder::new(path))
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn only_regular_files_of_the_folder_are_opened() {
        let (home, folder) = folder();
        fs::write(home.path().join("secret"), "secret").unwrap();
        fs::write(folder.path().join("cat.jpg"), "cat").unwrap();
        fs::create_dir(folder.path().join("folder.jpg")).unwrap();
        symlink(home.path().join("secret"), folder.path().join("out.jpg")).unwrap();
        symlink("cat.jpg", folder.path().join("in.jpg")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            folder.path().join("fifo.jpg"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        fs::write(folder.path().join(".hidden"), "").unwrap();
        assert_eq!(folder.open(&name("cat.jpg")).await.unwrap().unwrap().stamp.length, 3);
        for refused in ["out.jpg", "in.jpg", "folder.jpg", "fifo.jpg", "dog.jpg"] {
            assert!(folder.open(&name(refused)).await.unwrap().is_none(), "{refused}");
        }
        assert_eq!(folder.list(10).await, (vec![(name("cat.jpg"), 3)], false));
    }

    #[tokio::test]
    async fn a_name_is_found_in_each_unicode_form() {
        let (_home, folder) = folder();
        let (composed, decomposed) = ("caf\u{e9} \u{ac00}.jpg", "cafe\u{301} \u{1100}\u{1161}.jpg");
        for (written, asked) in [(composed, decomposed), (decomposed, composed)] {
            fs::write(folder.path().join(written), written).unwrap();
            for name in [name(written), name(asked)] {
                let opened = folder.open(&name).await.unwrap().expect(written);
                assert_eq!(opened.stamp.length, written.len() as u64, "{name:?}");
            }
            fs::remove_file(folder.path().join(written)).unwrap();
        }
        fs::write(folder.path().join(composed), "composed").unwrap();
        fs::write(folder.path().join(decomposed), "both").unwrap();
        assert_eq!(folder.open(&name(composed)).await.unwrap().unwrap().stamp.length, 8, "the same form goes first");
        // A file system may take upper case for lower case.
        let in_upper_case = (!cfg!(windows)).then_some("CAF\u{c9} \u{ac00}.jpg");
        for other in ["cafe \u{ac00}.jpg", "caf\u{e8} \u{ac00}.jpg"].into_iter().chain(in_upper_case) {
            assert!(folder.open(&name(other)).await.unwrap().is_none(), "{other}");
        }
    }

    #[tokio::test]
    async fn a_list_has_the_first_names_and_says_that_there_are_more() {
        let (_home, folder) = folder();
        assert_eq!(Folder::new(folder.path().join("nowhere")).list(3).await, (Vec::new(), false));
        for number in 0..5 {
            fs::write(folder.path().join(format!("{number}.png")), "").unwrap();
        }
        let (listed, more) = folder.list(3).await;
        let names: Vec<_> = listed.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!((names, more), (vec!["0.png", "1.png", "2.png"], true));
        assert!(!folder.list(5).await.1);
    }

    #[tokio::test]
    async fn a_digest_is_computed_once_for_each_content() {
        let (_home, folder) = folder();
        let path = folder.path().join("cat.jpg");
        fs::write(&path, "cat").unwrap();
        let opened = folder.open(&name("cat.jpg")).await.unwrap().unwrap();
        let digest = folder.digest(&name("cat.jpg"), &opened).await.unwrap();
        assert_eq!(digest, <[u8; 32]>::from(Sha256::digest("cat")));
        // Not read again: the stamp is known.
        assert_eq!(folder.known_digest(&name("cat.jpg"), opened.stamp), Some(digest));
        fs::write(&path, "another cat").unwrap();
        let opened = folder.open(&name("cat.jpg")).await.unwrap().unwrap();
        assert_eq!(folder.known_digest(&name("cat.jpg"), opened.stamp), None);
        let digest = folder.digest(&name("cat.jpg"), &opened).await.unwrap();
        assert_eq!(digest, <[u8; 32]>::from(Sha256::digest("another cat")));
    }
}
