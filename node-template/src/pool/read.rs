//! Reads rows back from the file, and verifies each against its identity.

use std::fs::File;
use std::io;
use std::sync::Arc;

use crate::pool::disk;
use crate::pool::index::Location;
use crate::protocol::json::Parser;
use crate::protocol::transaction::{Transaction, TransactionId};

/// Bytes read at once: rows that are read together are mostly adjacent.
const BLOCK: usize = 256 * 1024;

/// Rows to read from one version of the file.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) file: Arc<File>,
    pub(crate) rows: Vec<(TransactionId, Location)>,
}

/// The rows of a plan that could not be read.
#[derive(Debug, Default)]
pub(crate) struct Unreadable {
    pub(crate) ids: Vec<TransactionId>,
    /// The first error of the system; `None`: other rows are at their locations, or none.
    pub(crate) cause: Option<io::Error>,
}

impl Plan {
    /// Reads all rows.
    pub(crate) fn read(self) -> Result<Vec<Transaction>, Unreadable> {
        let mut reader = RowReader::new(self.file);
        let (mut rows, mut unreadable) = (Vec::with_capacity(self.rows.len()), Unreadable::default());
        for (id, location) in self.rows {
            match reader.read(&id, location) {
                Ok(Some(row)) => rows.push(row),
                Ok(None) => unreadable.ids.push(id),
                Err(error) => {
                    unreadable.ids.push(id);
                    unreadable.cause.get_or_insert(error);
                }
            }
        }
        if unreadable.ids.is_empty() { Ok(rows) } else { Err(unreadable) }
    }
}

/// Reads single rows, fastest in the order of the file.
#[derive(Debug)]
pub(crate) struct RowReader {
    file: Arc<File>,
    parser: Parser,
    block: Vec<u8>,
    /// The offset of `block` in the file.
    base: u64,
}

impl RowReader {
    pub(crate) fn new(file: Arc<File>) -> Self {
        Self { file, parser: Parser::new(), block: Vec::new(), base: 0 }
    }

    /// Returns the transaction at a location; `None` if it has another or none.
    pub(crate) fn read(&mut self, id: &TransactionId, location: Location) -> io::Result<Option<Transaction>> {
        let (offset, length) = (location.offset(), location.length());
        if offset < self.base || offset + length as u64 > self.base + self.block.len() as u64 {
            // A row is readable also if what is behind it is not.
            let read = self.fill(offset, length.max(BLOCK)).or_else(|_| self.fill(offset, length));
            if let Err(error) = read {
                self.block.clear();
                return Err(error);
            }
        }
        let start = (offset - self.base) as usize;
        let text = self.block.get(start..start + length).and_then(|bytes| str::from_utf8(bytes).ok());
        let transaction = text.and_then(|text| Transaction::parse(&mut self.parser, text).ok());
        Ok(transaction.filter(|transaction| transaction.id() == *id))
    }

    /// Reads a block from an offset.
    fn fill(&mut self, offset: u64, length: usize) -> io::Result<()> {
        self.block.resize(length, 0);
        let read = disk::read_up_to(&self.file, &mut self.block, offset)?;
        self.block.truncate(read);
        self.base = offset;
        Ok(())
    }
}
