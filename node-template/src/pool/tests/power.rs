//! The pool on a disk that loses power after failed waits.
//!
//! After a failed wait the system may consider unwritten data clean: the next wait succeeds, but
//! the data is only in memory (fsync(2); "fsyncgate", 2018). These tests compare what was reported
//! as stored with what would survive a power loss, page by page, in the worst known case.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::pool::tests::*;

const PAGE: u64 = 4_096;

/// The durable state of a disk, which the system does not show.
#[derive(Default)]
struct Medium {
    /// The content that survives a power loss, by inode.
    durable: BTreeMap<u64, Vec<u8>>,
    /// The pages that the system considers dirty, by inode.
    dirty: BTreeMap<u64, BTreeSet<u64>>,
    /// The inode that the folder leads to after a power loss.
    entry: Option<u64>,
    /// How many further calls may fail.
    trouble: u32,
}

impl Medium {
    fn touch(&mut self, inode: u64, offset: u64, bytes: usize) {
        let pages = offset / PAGE..=(offset + bytes.max(1) as u64 - 1) / PAGE;
        self.dirty.entry(inode).or_default().extend(pages);
    }

    fn write_back(&mut self, file: &File) {
        let metadata = file.metadata().expect("open");
        // Some files are open for writing only.
        let shown = fs::read(format!("/proc/self/fd/{}", file.as_raw_fd())).expect("read");
        let durable = self.durable.entry(metadata.ino()).or_default();
        durable.resize(metadata.len() as usize, 0);
        for page in self.dirty.remove(&metadata.ino()).unwrap_or_default() {
            let range = (page * PAGE).min(metadata.len()) as usize..((page + 1) * PAGE).min(metadata.len()) as usize;
            durable[range.clone()].copy_from_slice(&shown[range]);
        }
    }
}

/// A disk whose calls fail at random.
#[derive(Clone)]
struct Forgetful(Arc<Mutex<(Medium, SmallRng)>>);

impl fmt::Debug for Forgetful {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Forgetful")
    }
}

impl Forgetful {
    fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new((Medium::default(), SmallRng::seed_from_u64(seed)))))
    }

    /// Chooses whether a call fails.
    fn fails(&self) -> bool {
        let (medium, rng) = &mut *self.0.lock().expect("unpoisoned");
        let fails = medium.trouble > 0 && rng.random_bool(0.6);
        medium.trouble -= u32::from(fails);
        fails
    }

    fn with<T>(&self, act: impl FnOnce(&mut Medium) -> T) -> T {
        act(&mut self.0.lock().expect("unpoisoned").0)
    }

    /// Opens the file as a power loss leaves it, and returns its identities.
    fn after_power_loss(&self) -> Vec<TransactionId> {
        let left = self.with(|medium| medium.durable.get(&medium.entry?).cloned()).unwrap_or_default();
        let found = Folder::with("");
        fs::write(found.file(), left).expect("written");
        found.open(SOON, |_| Answer::Obey).expect("it can be repaired").ids
    }
}

impl Disk for Forgetful {
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
        if self.fails() {
            return Err(io::ErrorKind::Other.into());
        }
        let written = System.write_at(file, bytes, offset)?;
        let inode = file.metadata()?.ino();
        self.with(|medium| medium.touch(inode, offset, written));
        Ok(written)
    }

    fn set_len(&self, file: &File, length: u64) -> io::Result<()> {
        if self.fails() {
            return Err(io::ErrorKind::Other.into());
        }
        System.set_len(file, length)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        if self.fails() {
            // The worst case: nothing was written, and all of it counts as clean.
            let inode = file.metadata()?.ino();
            self.with(|medium| medium.dirty.remove(&inode));
            return Err(io::ErrorKind::Other.into());
        }
        self.with(|medium| medium.write_back(file));
        Ok(())
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        if self.fails() {
            return Err(io::ErrorKind::Other.into());
        }
        let inode = fs::metadata(folder.join(POOL_FILE))?.ino();
        self.with(|medium| medium.entry = Some(inode));
        Ok(())
    }

    fn wait(&self, _: Duration) {}
}

/// Rows longer than a page.
fn long_rows(numbers: std::ops::Range<usize>) -> Vec<Transaction> {
    numbers.map(|number| transaction(&format!(r#"{{"row":{number},"text":"{}"}}"#, "x".repeat(5_000)))).collect()
}

fn open(folder: &Folder, disk: &Forgetful) -> Opened {
    others_write(folder, disk, &folder.text());
    open_on(folder.0.path(), Box::new(disk.clone()), SOON).expect("opened")
}

/// Another program writes the file without a sync.
fn others_write(folder: &Folder, disk: &Forgetful, text: &str) {
    fs::write(folder.file(), text).expect("written");
    let inode = fs::metadata(folder.file()).expect("there").ino();
    disk.with(|medium| medium.touch(inode, 0, text.len()));
}

/// Fails unless all of these survive a power loss.
fn assert_left(disk: &Forgetful, wanted: &[Transaction]) {
    let left: BTreeSet<_> = disk.after_power_loss().into_iter().collect();
    let missing = wanted.iter().filter(|row| !left.contains(&row.id())).count();
    assert_eq!(missing, 0, "of {} that count as stored", wanted.len());
}

/// Waits until this many are reported as stored, and checks each time what a power loss would
/// leave.
async fn stored(opened: &mut Opened, disk: &Forgetful, reported: &mut BTreeSet<TransactionId>, count: usize) {
    while reported.len() < count {
        if let Report::Stored { ids, .. } = next(opened).await {
            reported.extend(ids);
            let left: BTreeSet<_> = disk.after_power_loss().into_iter().collect();
            assert!(
                reported.is_subset(&left),
                "{} were reported as stored, and {} are left",
                reported.len(),
                left.len()
            );
        }
    }
}

#[tokio::test]
async fn stored_rows_survive_a_power_loss_however_often_the_disk_failed_before() {
    for seed in 0..60 {
        let (folder, disk) = (Folder::with("[]"), Forgetful::new(seed));
        let (mut opened, mut reported) = (open(&folder, &disk), BTreeSet::new());
        let all = long_rows(0..12);
        for (number, batch) in all.chunks(3).enumerate() {
            disk.with(|medium| medium.trouble = (seed % 12) as u32 + 1);
            opened.pool.store(batch.to_vec());
            stored(&mut opened, &disk, &mut reported, (number + 1) * 3).await;
        }
        assert_eq!(folder.text(), laid_out(&all), "seed {seed}");
    }
}

#[tokio::test]
async fn rows_of_a_failed_wait_are_rewritten_before_they_are_reported() {
    let (folder, disk) = (Folder::with("[]"), Forgetful::new(0));
    let mut opened = open(&folder, &disk);
    // The rows are in the file and count as clean: another program wrote them, and its own wait for
    // the disk failed.
    let rows = long_rows(0..3);
    fs::write(folder.file(), laid_out(&rows)).expect("written");
    opened.pool.store(rows);
    stored(&mut opened, &disk, &mut BTreeSet::new(), 3).await;
}

#[tokio::test]
async fn the_content_at_the_start_survives_a_power_loss() {
    let (folder, disk) = (Folder::with(&laid_out(&long_rows(0..3))), Forgetful::new(0));
    let opened = open(&folder, &disk);
    assert_eq!(opened.ids.len(), 3);
    assert_left(&disk, &long_rows(0..3));
}

#[tokio::test]
async fn rows_of_another_program_survive_a_power_loss_once_they_are_reported() {
    for trouble in 0..3 {
        let (folder, disk) = (Folder::with("[]"), Forgetful::new(7));
        let mut opened = open(&folder, &disk);
        disk.with(|medium| medium.trouble = trouble);
        others_write(&folder, &disk, &laid_out(&long_rows(0..3)));
        loop {
            opened.pool.look().await;
            if let Ok(Report::Found { transactions }) = opened.reports.try_recv() {
                assert_left(&disk, &transactions);
                break;
            }
        }
    }
}

#[tokio::test]
async fn stored_rows_survive_a_power_loss_after_an_editor_replaced_the_file() {
    let (folder, disk) = (Folder::with("[]"), Forgetful::new(0));
    let mut opened = open(&folder, &disk);
    opened.pool.store(long_rows(0..3));
    stored(&mut opened, &disk, &mut BTreeSet::new(), 3).await;
    let old = folder.0.path().join("old");
    fs::rename(folder.file(), &old).expect("moved away");
    others_write(&folder, &disk, &laid_out(&long_rows(0..3)));
    fs::remove_file(old).expect("removed");
    opened.pool.look().await;
    assert_left(&disk, &long_rows(0..3));
    // Later rows are in the file that the folder leads to.
    opened.pool.store(long_rows(3..4));
    stored(&mut opened, &disk, &mut BTreeSet::new(), 1).await;
    assert_left(&disk, &long_rows(0..4));
}
