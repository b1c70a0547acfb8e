//! A view of a file that moves forward in large blocks. It holds the current element and a little
//! before it, never the whole file.

use std::fs::File;
use std::io;

use crate::pool::disk;

/// Bytes read at once.
const BLOCK: usize = 1024 * 1024;
/// Bytes that stay available before the current one: enough for a line break and an indentation.
pub(crate) const MARGIN: usize = 64;

#[derive(Debug)]
pub(crate) struct Window<'a> {
    file: &'a File,
    bytes: Vec<u8>,
    /// The offset in the file of `bytes[0]`.
    base: u64,
    /// The index of the current byte in `bytes`.
    at: usize,
    ended: bool,
}

impl<'a> Window<'a> {
    pub(crate) fn new(file: &'a File) -> Self {
        Self { file, bytes: Vec::new(), base: 0, at: 0, ended: false }
    }

    /// Returns the offset of the current byte in the file.
    pub(crate) fn offset(&self) -> u64 {
        self.base + self.at as u64
    }

    /// Returns the bytes that were read, from the current one on.
    pub(crate) fn ahead(&self) -> &[u8] {
        &self.bytes[self.at..]
    }

    /// Returns the bytes before the current one: at least [`MARGIN`], unless the file begins there.
    pub(crate) fn behind(&self) -> &[u8] {
        &self.bytes[..self.at]
    }

    /// Moves forward over `count` bytes that were read.
    pub(crate) fn advance(&mut self, count: usize) {
        debug_assert!(count <= self.ahead().len());
        self.at += count;
    }

    /// Reads one more block. Returns `false` at the end of the file. Bytes ahead keep their
    /// distance from the current one.
    pub(crate) fn more(&mut self) -> io::Result<bool> {
        if self.ended {
            return Ok(false);
        }
        let spent = self.at.saturating_sub(MARGIN);
        self.bytes.drain(..spent);
        self.at -= spent;
        self.base += spent as u64;
        let held = self.bytes.len();
        self.bytes.resize(held + BLOCK, 0);
        let read = disk::read_up_to(self.file, &mut self.bytes[held..], self.base + held as u64)?;
        self.bytes.truncate(held + read);
        self.ended = read < BLOCK;
        Ok(read > 0)
    }

    /// Returns the current byte; `None` at the end of the file.
    pub(crate) fn peek(&mut self) -> io::Result<Option<u8>> {
        if self.ahead().is_empty() && !self.more()? {
            return Ok(None);
        }
        Ok(Some(self.bytes[self.at]))
    }

    /// Reads until `count` bytes are ahead or the file ends. Returns the bytes ahead.
    pub(crate) fn at_least(&mut self, count: usize) -> io::Result<&[u8]> {
        while self.ahead().len() < count && self.more()? {}
        Ok(self.ahead())
    }

    /// Skips JSON whitespace. Returns the byte after it.
    pub(crate) fn skip_blank(&mut self) -> io::Result<Option<u8>> {
        loop {
            match self.bytes[self.at..].iter().position(|byte| !is_blank(*byte)) {
                Some(count) => {
                    self.at += count;
                    return Ok(Some(self.bytes[self.at]));
                }
                None => self.at = self.bytes.len(),
            }
            if !self.more()? {
                return Ok(None);
            }
        }
    }

    /// Moves to the next `wanted` byte, the current one included. Returns `false` if the file has
    /// none.
    pub(crate) fn find(&mut self, wanted: u8) -> io::Result<bool> {
        loop {
            match self.bytes[self.at..].iter().position(|byte| *byte == wanted) {
                Some(count) => {
                    self.at += count;
                    return Ok(true);
                }
                None => self.at = self.bytes.len(),
            }
            if !self.more()? {
                return Ok(false);
            }
        }
    }
}

/// Returns whether a byte is JSON whitespace (RFC 8259, section 2).
pub(crate) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
}
