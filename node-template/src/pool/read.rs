//! Reads rows back from the file, and believes none that is not the one it should be.

use std::fs::File;
use std::io;
use std::sync::Arc;

use crate::pool::disk;
use crate::pool::index::Place;
use crate::protocol::json::Parser;
use crate::protocol::transaction::{Transaction, TransactionId};

/// How much is read at once, in bytes: rows that are read together mostly stand together.
const BLOCK: usize = 256 * 1024;

/// Rows that are to be read from one state of the file.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) file: Arc<File>,
    pub(crate) rows: Vec<(TransactionId, Place)>,
}

impl Plan {
    /// Reads them all; `None` if one is not there any more, which means that somebody else wrote to the file.
    pub(crate) fn read(self) -> io::Result<Option<Vec<Transaction>>> {
        let mut reader = RowReader::new(self.file);
        self.rows.iter().map(|(id, place)| reader.read(id, *place)).collect()
    }
}

/// Reads rows one by one, best in the order of the file.
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

    /// The transaction at a place; `None` if another or none stands there.
    pub(crate) fn read(&mut self, id: &TransactionId, place: Place) -> io::Result<Option<Transaction>> {
        let (offset, length) = (place.offset(), place.length());
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
