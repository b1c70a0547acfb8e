//! Repairs a damaged `transactions.json`, and creates a missing one.
//!
//! No bytes are lost: damaged ones are on the disk, in `transactions.json.bad-<time>`, before the
//! file is changed. A torn tail, which a crash leaves, is truncated in the file: that needs no time
//! and no space. For other damage a new file replaces the old one by a rename. After a crash at any
//! moment the file can be repaired again.

use std::borrow::Borrow;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use time::UtcDateTime;

use crate::events::text::plural;
use crate::folder::replace::follow;
use crate::pool::disk::{self, Disk};
use crate::pool::error::PoolError;
use crate::pool::file::{PoolFile, write_row};
use crate::pool::scan::{Scan, scan};
use crate::protocol::transaction::Transaction;
use crate::system::{FileStamp, keep_access, rename};

/// The result of a repair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repair {
    /// The repaired file.
    pub path: PathBuf,
    /// The number of its rows.
    pub kept: u64,
    /// The bytes that were removed from it, separators included.
    pub cut_bytes: u64,
    /// The file with the removed bytes; `None` if they were only whitespace, commas and brackets.
    pub bad: Option<PathBuf>,
}

impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kept == 0 && self.bad.is_none() {
            return write!(
                f,
                "{} was empty, without the brackets of an array: it is an empty pool now; if it held transactions before, restore it from a copy, or get them from other nodes",
                self.path.display()
            );
        }
        let kept = plural(self.kept, "transaction", "transactions");
        write!(f, "{} was damaged and is repaired: {kept} kept", self.path.display())?;
        match &self.bad {
            Some(bad) => write!(
                f,
                ", {} moved to {}; look there for missing transactions",
                plural(self.cut_bytes, "byte", "bytes"),
                bad.display()
            ),
            None => write!(f, ", no other content was in it"),
        }
    }
}

impl Repair {
    /// Describes a repair while the node runs: another program wrote to the file, into which the
    /// node wrote this many rows again.
    pub(crate) fn of_running_node(&self, restored: u64) -> String {
        let again = format!("the node wrote {} into it again", plural(restored, "transaction", "transactions"));
        match self.kept == 0 && self.bad.is_none() {
            true => format!("another program emptied {}; {again}", self.path.display()),
            false => format!("{self}; another program had changed it, and {again}"),
        }
    }
}

/// Creates an empty pool.
pub(crate) fn make_empty(path: &Path, disk: &dyn Disk) -> Result<(), PoolError> {
    replace(path, disk, |out| out.write_all(b"[]").map_err(PoolError::io("write", path)))
}

/// Replaces a file by one with this content, and waits for the disk.
pub(crate) fn replace_with(path: &Path, disk: &dyn Disk, content: &[u8]) -> Result<(), PoolError> {
    replace(path, disk, |out| out.write_all(content).map_err(PoolError::io("write", path)))
}

/// Replaces the file by one with these rows, and waits for the disk.
pub(crate) fn replace_rows(
    path: &Path,
    disk: &dyn Disk,
    rows: impl Iterator<Item = Result<Transaction, PoolError>>,
) -> Result<(), PoolError> {
    replace(path, disk, |out| {
        let (mut text, mut before) = (Vec::new(), "[\n  ");
        for row in rows {
            text.clear();
            text.extend_from_slice(before.as_bytes());
            write_row(row?.body(), &mut text);
            before = ",\n  ";
            out.write_all(&text).map_err(PoolError::io("write", path))?;
        }
        let closing: &[u8] = if before.starts_with('[') { b"[]" } else { b"\n]" };
        out.write_all(closing).map_err(PoolError::io("write", path))
    })
}

/// Truncates a torn tail.
pub(crate) fn tail(path: &Path, file: &mut PoolFile, scan: &Scan, disk: &dyn Disk) -> Result<Repair, PoolError> {
    let held = Arc::clone(file.file());
    with_bad_kept(path, held, scan, disk, |_| file.restore(disk).map_err(PoolError::io("repair", path)))
}

/// Replaces the file by one with only its sound rows. It is closed first: some systems replace no
/// open file.
pub(crate) fn rewrite(
    path: &Path,
    file: File,
    scan: &Scan,
    levels: usize,
    disk: &dyn Disk,
) -> Result<Repair, PoolError> {
    with_bad_kept(path, file, scan, disk, |file| {
        replace(path, disk, move |out| write_sound_rows(path, &file, levels, out))
    })
}

fn write_sound_rows(path: &Path, file: &File, levels: usize, out: &mut impl Write) -> Result<(), PoolError> {
    let (mut text, mut failure, mut before) = (Vec::new(), None, "[\n  ");
    scan(file, path, levels, &mut |transaction, _| {
        text.clear();
        text.extend_from_slice(before.as_bytes());
        write_row(transaction.body(), &mut text);
        before = ",\n  ";
        if failure.is_none() {
            failure = out.write_all(&text).err();
        }
    })?;
    let closing: &[u8] = if before.starts_with('[') { b"[]" } else { b"\n]" };
    failure.map_or_else(|| out.write_all(closing), Err).map_err(PoolError::io("write", path))
}

/// Copies the bad bytes to another file, then changes the damaged one. If that fails without a
/// change, the copy is removed: repeated attempts must not fill the disk.
fn with_bad_kept<F: Borrow<File>>(
    path: &Path,
    file: F,
    scan: &Scan,
    disk: &dyn Disk,
    change: impl FnOnce(F) -> Result<(), PoolError>,
) -> Result<Repair, PoolError> {
    let before = FileStamp::of_file(file.borrow()).map_err(PoolError::io("read", path))?;
    let bad = keep_bad(path, file.borrow(), scan, disk)?;
    if let Err(error) = change(file) {
        if let (Some(bad), Ok(Some(now))) = (bad, FileStamp::of_path(path))
            && now == before
        {
            remove_partial(&bad);
        }
        return Err(error);
    }
    let cut_bytes = scan.bad.iter().map(|bad| bad.end - bad.start).sum();
    Ok(Repair { path: path.to_owned(), kept: scan.rows, cut_bytes, bad })
}

/// Copies the bad bytes to a new file, with a line break between pieces. Returns its path, if one
/// was needed.
fn keep_bad(path: &Path, file: &File, scan: &Scan, disk: &dyn Disk) -> Result<Option<PathBuf>, PoolError> {
    let mut has_content = false;
    for bad in &scan.bad {
        has_content |= !is_separators(file, bad).map_err(PoolError::io("read", path))?;
    }
    if !has_content {
        return Ok(None);
    }
    let (bad_path, bad_file) = new_bad_file(path)?;
    if let Err(error) = copy_pieces(file, &scan.bad, &bad_file, disk) {
        remove_partial(&bad_path);
        return Err(PoolError::io("write", &bad_path)(error));
    }
    disk.sync_folder(folder_of(path)).map_err(PoolError::io("write", folder_of(path)))?;
    Ok(Some(bad_path))
}

fn copy_pieces(file: &File, pieces: &[Range<u64>], to: &File, disk: &dyn Disk) -> io::Result<()> {
    let mut out = DiskWriter { disk, file: to, offset: 0 };
    for (number, piece) in pieces.iter().enumerate() {
        if number > 0 {
            out.write_all(b"\n")?;
        }
        each_block(file, piece, |block| out.write_all(block))?;
    }
    disk.sync(to)
}

/// Removes a partial copy, which would only take space.
fn remove_partial(path: &Path) {
    // The caller reports the first error.
    fs::remove_file(path).ok();
}

fn is_separators(file: &File, range: &Range<u64>) -> io::Result<bool> {
    let mut only = true;
    each_block(file, range, |block| {
        only &= block.iter().all(|byte| matches!(byte, b' ' | b'\n' | b'\r' | b'\t' | b',' | b'[' | b']'));
        Ok(())
    })?;
    Ok(only)
}

fn each_block(file: &File, range: &Range<u64>, mut take: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut block = vec![0; 64 * 1024];
    let mut offset = range.start;
    while offset < range.end {
        let wanted = block.len().min((range.end - offset) as usize);
        let read = disk::read_up_to(file, &mut block[..wanted], offset)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        take(&block[..read])?;
        offset += read as u64;
    }
    Ok(())
}

fn new_bad_file(path: &Path) -> Result<(PathBuf, File), PoolError> {
    let first = sibling(path, &format!(".bad-{}", utc(SystemTime::now())));
    let mut candidate = first.clone();
    for counter in 2_u64.. {
        match File::create_new(&candidate) {
            Ok(file) => return Ok((candidate, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                candidate = sibling(&first, &format!("-{counter}"))
            }
            Err(error) => return Err(PoolError::io("create", &candidate)(error)),
        }
    }
    unreachable!("a folder has fewer files than there are numbers")
}

/// Replaces a file atomically and durably.
fn replace(
    path: &Path,
    disk: &dyn Disk,
    write: impl FnOnce(&mut BufWriter<DiskWriter<'_>>) -> Result<(), PoolError>,
) -> Result<(), PoolError> {
    // The path may have become a link since the pool was opened.
    let path = &follow(path);
    let new = sibling(path, ".new");
    let file = File::create(&new).map_err(PoolError::io("create", &new))?;
    let mut out = BufWriter::with_capacity(1024 * 1024, DiskWriter { disk, file: &file, offset: 0 });
    let written = write(&mut out)
        .and_then(|()| out.flush().map_err(PoolError::io("write", &new)))
        .and_then(|()| disk.sync(&file).map_err(PoolError::io("write", &new)))
        .and_then(|()| match fs::metadata(path) {
            Ok(old) => keep_access(&file, &old).map_err(PoolError::io("write", &new)),
            Err(_) => Ok(()),
        });
    // Dropping the writer would flush it again, and some systems rename no open file.
    drop(out.into_parts());
    drop(file);
    if let Err(error) = written.and_then(|()| rename(&new, path).map_err(PoolError::io("replace", path))) {
        remove_partial(&new);
        return Err(error);
    }
    disk.sync_folder(folder_of(path)).map_err(PoolError::io("write", folder_of(path)))
}

struct DiskWriter<'a> {
    disk: &'a dyn Disk,
    file: &'a File,
    offset: u64,
}

impl Write for DiskWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.disk.write_at(self.file, bytes, self.offset)?;
        self.offset += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn sibling(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    PathBuf::from(name)
}

/// Returns the folder of a file.
pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

/// Formats a time as `YYYYMMDDTHHMMSSZ`.
fn utc(time: SystemTime) -> String {
    let time = UtcDateTime::from(time);
    let (year, month, day) = time.to_calendar_date();
    let (hour, minute, second) = time.as_hms();
    format!("{year:04}{:02}{day:02}T{hour:02}{minute:02}{second:02}Z", u8::from(month))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn times_are_formatted_as_utc() {
        assert_eq!(utc(UNIX_EPOCH + Duration::from_secs(0)), "19700101T000000Z");
        assert_eq!(utc(UNIX_EPOCH + Duration::from_secs(951_827_696)), "20000229T123456Z");
        assert_eq!(utc(UNIX_EPOCH + Duration::from_secs(1_767_225_599)), "20251231T235959Z");
        assert_eq!(utc(UNIX_EPOCH + Duration::from_secs(1_798_761_600)), "20270101T000000Z");
    }
}
