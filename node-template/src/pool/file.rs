//! An open `transactions.json`, and appending rows to it.
//!
//! Invariant: between two calls the file is a JSON array, unless both [`PoolFile::append`] and
//! [`PoolFile::restore`] failed. Rows are only added, by one write that overwrites the closing
//! bracket.

use std::fs::File;
use std::io;
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
