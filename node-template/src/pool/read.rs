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

impl Plan {
    /// Reads all rows. `None` if one is missing: another program has changed the file.
    pub(crate) fn read(self) -> io::Result<Option<Vec<Transaction>>> {
        let mut reader = RowReader::new(self.file);
        self.rows.iter().map(|(id, location)| reader.read(id, *location)).collect()
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
            self.block.resize(length.max(BLOCK), 0);
            let read = disk::read_up_to(&self.file, &mut self.block, offset)?;
            self.block.truncate(read);
            self.base = offset;
        }
        let start = (offset - self.base) as usize;
        let text = self.block.get(start..start + length).and_then(|bytes| str::from_utf8(bytes).ok());
        let transaction = text.and_then(|text| Transaction::parse(&mut self.parser, text).ok());
        Ok(transaction.filter(|transaction| transaction.id() == *id))
    }
}
