//! An open `transactions.json` whose end is known, and the one way in which it grows.
//!
//! Invariant: between two calls the file is a JSON array, unless [`PoolFile::append`] failed and [`PoolFile::restore`] failed as well. Rows are
//! only ever added, by one write that overwrites the closing bracket; what stands before the rows' end is never touched.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::pool::disk::{self, Disk, Stamp};
use crate::pool::index::Place;
use crate::protocol::json;

/// How much one write takes at most, in bytes of compact JSON: enough that the wait for the disk does not matter, little enough that the memory for it can be kept.
pub(crate) const BATCH_BYTES: usize = 2 * 1024 * 1024;

/// How much is read and written at once when a file is written again.
const AGAIN_BYTES: usize = 256 * 1024;

/// How rows are laid out: those of `JSON.stringify(array, null, 2)`.
const BEFORE_ROW: &[u8] = b"\n  ";
const INDENT: usize = 2;
/// How much memory is kept from one write to the next, until there is nothing to write: to get it anew costs more than to fill it.
const KEPT_BYTES: usize = 2 * BATCH_BYTES;

/// The pool's file, open for reading and writing.
#[derive(Debug)]
pub(crate) struct PoolFile {
    file: Arc<File>,
    /// The offset after the last row, or after the opening bracket.
    rows_end: u64,
    /// Whether the array has no row.
    empty: bool,
    /// What the file looked like when we left it.
    left: Stamp,
    /// What the rows of the last write lay in.
    kept: Vec<u8>,
}

/// Rows that are to be appended to one state of a file.
#[derive(Debug)]
pub(crate) struct Rows {
    text: Vec<u8>,
    base: u64,
    first: bool,
}

impl Rows {
    /// Adds a row; tells where it will stand.
    pub(crate) fn push(&mut self, body: &str) -> Place {
        if !self.first {
            self.text.push(b',');
        }
        self.first = false;
        self.text.extend_from_slice(BEFORE_ROW);
        let start = self.text.len();
        json::write_pretty(body, INDENT, &mut self.text);
        Place::new(self.base + start as u64, self.text.len() - start)
    }

    /// How many bytes there are.
    pub(crate) fn bytes(&self) -> usize {
        self.text.len()
    }
}

impl PoolFile {
    /// A file whose rows end at an offset. `left`: what it looked like before it was read.
    pub(crate) fn new(file: Arc<File>, rows_end: u64, empty: bool, left: Stamp) -> Self {
        Self { file, rows_end, empty, left, kept: Vec::new() }
    }

    pub(crate) fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Whether the path still leads to this file, as we left it.
    pub(crate) fn is_as_left(&self, path: &Path) -> io::Result<bool> {
        Ok(Stamp::of_path(path)? == Some(self.left))
    }

    /// Rows to append to the file as it is now.
    pub(crate) fn rows(&mut self) -> Rows {
        let mut text = std::mem::take(&mut self.kept);
        text.clear();
        Rows { text, base: self.rows_end, first: self.empty }
    }

    /// Gives back what was kept for the next write.
    pub(crate) fn rest(&mut self) {
        self.kept = Vec::new();
    }

    /// Appends rows and waits for the disk. Afterwards [`Self::leave`] must be asked whether somebody interfered.
    ///
    /// # Errors
    /// What the disk said. The file's end is then unknown until [`Self::restore`] succeeds.
    pub(crate) fn append(&mut self, disk: &dyn Disk, rows: Rows) -> io::Result<()> {
        debug_assert_eq!(rows.base, self.rows_end, "rows are made for the file's present end");
        if !rows.text.is_empty() {
            let mut text = rows.text;
            let rows_end = self.rows_end + text.len() as u64;
            text.extend_from_slice(b"\n]");
            let length = self.rows_end + text.len() as u64;
            if length < self.left.length {
                // Another program left so much space around its closing bracket that ours would not cover it: cover it with spaces, then cut.
                text.resize((self.left.length - self.rows_end) as usize, b' ');
            }
            disk::write_all_at(disk, &self.file, &text, self.rows_end)?;
            if length < self.left.length {
                disk.set_len(&self.file, length)?;
            }
            disk.sync(&self.file)?;
            (self.rows_end, self.empty, self.left.length) = (rows_end, false, length);
            if text.capacity() <= KEPT_BYTES {
                self.kept = text;
            }
        } else {
            disk.sync(&self.file)?;
        }
        Ok(())
    }

    /// Writes what stands in the file once more, byte for byte, so that the next wait for the disk vouches for it. After a wait that failed, be it another program's, the
    /// system may take for clean what never reached the disk (fsync(2)).
    ///
    /// # Errors
    /// What the disk said.
    pub(crate) fn write_again(&self, disk: &dyn Disk, range: Range<u64>) -> io::Result<()> {
        let mut block = vec![0; AGAIN_BYTES.min((range.end - range.start) as usize)];
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

    /// [`Self::write_again`] for the whole file, with the wait for the disk; `false` if somebody interfered, as [`Self::leave`] tells.
    ///
    /// # Errors
    /// What the disk said.
    pub(crate) fn write_all_again(&mut self, disk: &dyn Disk, path: &Path) -> io::Result<bool> {
        let length = self.left.length;
        for start in (0..length).step_by(AGAIN_BYTES) {
            // Who makes it shorter or longer meanwhile has it as he wants it.
            if Stamp::of_file(&self.file)?.length != length {
                return Ok(false);
            }
            self.write_again(disk, start..length.min(start + AGAIN_BYTES as u64))?;
        }
        disk.sync(&self.file)?;
        self.leave(path)
    }

    /// Notes what the file looks like now; `false` if that can not be our work: it has another length, or the path leads elsewhere.
    pub(crate) fn leave(&mut self, path: &Path) -> io::Result<bool> {
        let expected = self.left.length;
        let own = Stamp::of_file(&self.file)?;
        self.left = own;
        Ok(own.length == expected && Stamp::of_path(path)?.is_some_and(|now| now.same_file(&own)))
    }

    /// Cuts off what follows the rows and closes the array: after an append that failed, and for a torn tail.
    ///
    /// # Errors
    /// What the disk said; the array may then be open.
    pub(crate) fn restore(&mut self, disk: &dyn Disk) -> io::Result<()> {
        let closing: &[u8] = if self.empty { b"]" } else { b"\n]" };
        disk::write_all_at(disk, &self.file, closing, self.rows_end)?;
        disk.set_len(&self.file, self.rows_end + closing.len() as u64)?;
        disk.sync(&self.file)?;
        self.left = Stamp::of_file(&self.file)?;
        Ok(())
    }

    /// Notes what the file looks like after a failure, so that a change by somebody else can be told from our own.
    pub(crate) fn note(&mut self) -> io::Result<()> {
        self.left = Stamp::of_file(&self.file)?;
        Ok(())
    }
}
