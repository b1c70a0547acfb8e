//! An open `transactions.json`, and appending rows to it.
//!
//! Invariant: between two calls the file is a JSON array, unless both [`PoolFile::append`] and
//! [`PoolFile::restore`] failed. Rows are only added, by one write that overwrites the closing
//! bracket.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::pool::disk::{self, Disk};
use crate::pool::index::Location;
use crate::protocol::json;
use crate::system::FileStamp;

/// The most bytes of compact JSON in one write: enough to hide the wait for the disk, few enough to
/// keep the buffer.
pub(crate) const BATCH_BYTES: usize = 2 * 1024 * 1024;

/// Bytes read and written at once when a file is rewritten.
const REWRITE_BYTES: usize = 256 * 1024;

/// The layout of `JSON.stringify(array, null, 2)`.
const BEFORE_ROW: &[u8] = b"\n  ";
const INDENT: usize = 2;
/// A row that is longer than this in that layout …
const LONG: usize = 2 * 1024;
/// … and than this many times its compact form is written on one line. Deep arrays of short values
/// would take 65 times their size.
const TIMES: usize = 4;
/// The largest buffer that is kept for the next write: allocating it costs more than filling it.
const BUFFER_BYTES: usize = 2 * BATCH_BYTES;

/// How many bytes from its end on the closing bracket of a file is looked for. More white space
/// than that is behind it only if another program wrote it.
const TAIL: u64 = 64;
/// How often it is looked for: the node may append in between.
const LOOKS: usize = 16;

/// Returns a reader of the array that a file holds now, whatever its node appends meanwhile: that
/// overwrites the closing bracket, so the reader ends before it and adds one of its own. A file
/// without a closing bracket is read as it is.
///
/// # Errors
/// The file cannot be read.
pub(crate) fn as_of_now(mut file: File) -> io::Result<impl Read + Send + 'static> {
    let mut rows = (u64::MAX, &b""[..]);
    for _ in 0..LOOKS {
        let length = file.metadata()?.len();
        let mut tail = Vec::new();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
        file.by_ref().take(length.min(TAIL)).read_to_end(&mut tail)?;
        let before = tail.trim_ascii_end().strip_suffix(b"]").map(<[u8]>::trim_ascii_end);
        if let Some(before) = before.filter(|before| !before.is_empty()) {
            rows = (length.saturating_sub(TAIL) + before.len() as u64, &b"]"[..]);
            break;
        }
    }
    file.rewind()?;
    Ok(file.take(rows.0).chain(rows.1))
}

/// The pool's file, open for reading and writing.
#[derive(Debug)]
pub(crate) struct PoolFile {
    file: Arc<File>,
    /// The offset after the last row, or after the opening bracket.
    rows_end: u64,
    empty: bool,
    /// The file after this program last read or wrote it.
    last: FileStamp,
    /// The buffer of the last write.
    buffer: Vec<u8>,
}

/// Rows to append to one version of a file.
#[derive(Debug)]
pub(crate) struct Rows {
    text: Vec<u8>,
    base: u64,
    first: bool,
}

impl Rows {
    /// Adds a row. Returns its location in the file.
    pub(crate) fn push(&mut self, body: &str) -> Location {
        if !self.first {
            self.text.push(b',');
        }
        self.first = false;
        self.text.extend_from_slice(BEFORE_ROW);
        let start = self.text.len();
        write_row(body, &mut self.text);
        Location::new(self.base + start as u64, self.text.len() - start)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.text.len()
    }
}

/// Appends a row's text.
pub(crate) fn write_row(body: &str, out: &mut Vec<u8>) {
    if !json::write_pretty_within(body, INDENT, LONG.max(TIMES * body.len()), out) {
        out.extend_from_slice(body.as_bytes());
    }
}

impl PoolFile {
    /// Wraps a file whose rows end at an offset. `last`: the file before it was read.
    pub(crate) fn new(file: Arc<File>, rows_end: u64, empty: bool, last: FileStamp) -> Self {
        Self { file, rows_end, empty, last, buffer: Vec::new() }
    }

    /// Returns the length of the file as this program knows it.
    pub(crate) fn length(&self) -> u64 {
        self.last.length
    }

    pub(crate) fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Returns whether the path leads to this file, without changes by other programs.
    pub(crate) fn is_unchanged(&self, path: &Path) -> io::Result<bool> {
        Ok(FileStamp::of_path(path)? == Some(self.last))
    }

    /// Returns an empty batch for the current end of the file.
    pub(crate) fn rows(&mut self) -> Rows {
        let mut text = std::mem::take(&mut self.buffer);
        text.clear();
        Rows { text, base: self.rows_end, first: self.empty }
    }

    /// Frees the buffer that is kept for the next write.
    pub(crate) fn free_buffer(&mut self) {
        self.buffer = Vec::new();
    }

    /// Appends rows and waits for the disk. Then [`Self::record`] tells whether another program
    /// interfered.
    ///
    /// # Errors
    /// The disk's error. The file's end is then unknown until [`Self::restore`] succeeds.
    pub(crate) fn append(&mut self, disk: &dyn Disk, rows: Rows) -> io::Result<()> {
        debug_assert_eq!(rows.base, self.rows_end, "rows are made for the current end of the file");
        if !rows.text.is_empty() {
            let mut text = rows.text;
            let rows_end = self.rows_end + text.len() as u64;
            text.extend_from_slice(b"\n]");
            let length = self.rows_end + text.len() as u64;
            if length < self.last.length {
                // Another program left whitespace beyond the new end: cover it with spaces, then
                // truncate.
                text.resize((self.last.length - self.rows_end) as usize, b' ');
            }
            disk::write_all_at(disk, &self.file, &text, self.rows_end)?;
            if length < self.last.length {
                disk.set_len(&self.file, length)?;
            }
            disk.sync(&self.file)?;
            (self.rows_end, self.empty, self.last.length) = (rows_end, false, length);
            if text.capacity() <= BUFFER_BYTES {
                self.buffer = text;
            }
        } else {
            disk.sync(&self.file)?;
        }
        Ok(())
    }

    /// Writes the content of a range once more, so that the next wait for the disk covers it. After
    /// a failed wait, even of another program, the system may consider data clean that never
    /// reached the disk (fsync(2)).
    ///
    /// # Errors
    /// The disk's error.
    pub(crate) fn rewrite_range(&self, disk: &dyn Disk, range: Range<u64>) -> io::Result<()> {
        let mut block = vec![0; REWRITE_BYTES.min((range.end - range.start) as usize)];
        let mut offset = range.start;
        while offset < range.end {
            let wanted = block.len().min((range.end - offset) as usize);
            let read = disk::read_up_to(&self.file, &mut block[..wanted], offset)?;
            if read == 0 {
                return Ok(());
            }
            disk::write_all_at(disk, &self.file, &block[..read], offset)?;
            offset += read as u64;
        }
        Ok(())
    }

    /// Rewrites the whole file and waits for the disk. Returns `false` if another program
    /// interfered.
    ///
    /// # Errors
    /// The disk's error.
    pub(crate) fn rewrite_all(&mut self, disk: &dyn Disk, path: &Path) -> io::Result<bool> {
        let length = self.last.length;
        for start in (0..length).step_by(REWRITE_BYTES) {
            // Another program changed the length: its version counts.
            if FileStamp::of_file(&self.file)?.length != length {
                return Ok(false);
            }
            self.rewrite_range(disk, start..length.min(start + REWRITE_BYTES as u64))?;
        }
        disk.sync(&self.file)?;
        self.record(path)
    }

    /// Records the file as this program's version. Returns `false` if another program interfered:
    /// the length differs, or the path leads to another file.
    pub(crate) fn record(&mut self, path: &Path) -> io::Result<bool> {
        let expected = self.last.length;
        let own = FileStamp::of_file(&self.file)?;
        self.last = own;
        Ok(own.length == expected && FileStamp::of_path(path)?.is_some_and(|now| now.same_file(&own)))
    }

    /// Truncates the file after its rows and closes the array: after a failed append, and for a
    /// torn tail.
    ///
    /// # Errors
    /// The disk's error. The array may then be unclosed.
    pub(crate) fn restore(&mut self, disk: &dyn Disk) -> io::Result<()> {
        let closing: &[u8] = if self.empty { b"]" } else { b"\n]" };
        disk::write_all_at(disk, &self.file, closing, self.rows_end)?;
        disk.set_len(&self.file, self.rows_end + closing.len() as u64)?;
        disk.sync(&self.file)?;
        self.last = FileStamp::of_file(&self.file)?;
        Ok(())
    }

    /// Records the file after a failure, to detect later changes by other programs.
    pub(crate) fn note(&mut self) -> io::Result<()> {
        self.last = FileStamp::of_file(&self.file)?;
        Ok(())
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn an_array_is_read_as_it_was_although_rows_are_appended_meanwhile() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("transactions.json");
        let spaces = " ".repeat(100);
        for before in
            ["[\n  {\n    \"a\": [1]\n  }\n]", "[\n  {\n    \"a\": [1]\n  }\n]\n", "[{\"a\":1}]", "[]\n", "[]"]
        {
            let rows_end = before.trim_end().trim_end_matches(']').trim_end().len();
            std::fs::write(&path, before).expect("written");
            let mut reader = as_of_now(File::open(&path).expect("opened")).expect("read");
            let more = if rows_end == 1 { "\n  {}\n]" } else { ",\n  {\n    \"b\": 2\n  }\n]" };
            File::options()
                .write(true)
                .open(&path)
                .and_then(|file| file.write_all_at(more.as_bytes(), rows_end as u64))
                .expect("appended");
            let mut read = String::new();
            reader.read_to_string(&mut read).expect("read");
            let rows = |text: &str| serde_json::from_str::<Vec<serde_json::Value>>(text).expect(text);
            assert_eq!(rows(&read), rows(before));
            assert_eq!(rows(&std::fs::read_to_string(&path).expect("read")).len(), rows(before).len() + 1);
        }
        for damaged in ["", "{}", "[{\"a\":1},{\"b\"", &format!("[{{}}{spaces}]{spaces}")] {
            std::fs::write(&path, damaged).expect("written");
            let read = as_of_now(File::open(&path).expect("opened")).and_then(io::read_to_string).expect("read");
            assert_eq!(read, damaged, "as it is");
        }
    }
}
