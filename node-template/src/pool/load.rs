//! From a path to an open, sound file whose rows are known: opens or makes `transactions.json`, reads it, has it repaired or refuses it.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::pool::disk::{self, Disk, Stamp};
use crate::pool::error::PoolError;
use crate::pool::file::PoolFile;
use crate::pool::index::Place;
use crate::pool::repair::{self, Repair};
use crate::pool::scan::{self, Damage, Scan, Verdict};
use crate::protocol::json::Parser;
use crate::protocol::transaction::Transaction;

/// The pool's file, in the node's folder.
pub const POOL_FILE: &str = "transactions.json";

/// Takes the rows of a file, in order.
pub(crate) trait Gather {
    /// One row and where it stands.
    fn row(&mut self, transaction: Transaction, place: Place);
}

/// What a look at the path found.
#[derive(Debug)]
pub(crate) enum Look<G> {
    /// A sound file.
    Sound(PoolFile, G),
    /// A file that is damaged, or half written by somebody else.
    Damaged(Damaged<G>),
    /// Nothing.
    Missing,
}

/// A damaged file, open, and the rows that are whole.
#[derive(Debug)]
pub(crate) struct Damaged<G> {
    file: File,
    left: Stamp,
    scan: Scan,
    gather: G,
}

impl<G> Damaged<G> {
    /// What the file looked like before it was read.
    pub(crate) fn stamp(&self) -> Stamp {
        self.left
    }
}

/// Opens the file and reads it. Changes nothing.
///
/// # Errors
/// [`PoolError::NotTransactions`] if the file is sound JSON, but no array of transactions; [`PoolError::Io`].
pub(crate) fn look<G: Gather>(path: &Path, mut gather: G) -> Result<Look<G>, PoolError> {
    let file = match File::options().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Look::Missing),
        Err(error) => return Err(PoolError::io("open", path)(error)),
    };
    let left = Stamp::of_file(&file).map_err(PoolError::io("read", path))?;
    let scan = scan(&file, path, &mut |transaction, place| gather.row(transaction, place))?;
    if scan.damage != Damage::None {
        return Ok(Look::Damaged(Damaged { file, left, scan, gather }));
    }
    if let Some(refused) = &scan.refused {
        return Err(refuse(&file, path, refused.offset, refused.what.clone()));
    }
    Ok(Look::Sound(PoolFile::new(Arc::new(file), scan.rows_end, scan.rows == 0, left), gather))
}

/// Repairs a damaged file. What is cut out of it is on the disk first, in a file beside it. Tells the file and its rows if they are still where
/// they were; else it must be looked at anew.
///
/// # Errors
/// As [`look`]. Nothing is changed then, or all that was cut is kept.
pub(crate) fn mend<G>(
    path: &Path,
    damaged: Damaged<G>,
    disk: &dyn Disk,
) -> Result<(Repair, Option<(PoolFile, G)>), PoolError> {
    let Damaged { file, left, scan, gather } = damaged;
    if scan.damage == Damage::Tail && scan.refused.is_none() {
        let mut file = PoolFile::new(Arc::new(file), scan.rows_end, scan.rows == 0, left);
        let repair = repair::tail(path, &mut file, &scan, disk)?;
        return Ok((repair, Some((file, gather))));
    }
    refuse_foreign(&file, path, &scan)?;
    Ok((repair::rewrite(path, &file, &scan, disk)?, None))
}

/// Scans a file and hands on each transaction in it.
pub(crate) fn scan(file: &File, path: &Path, row: &mut dyn FnMut(Transaction, Place)) -> Result<Scan, PoolError> {
    let mut parser = Parser::new();
    scan::scan(file, &mut |offset, text| match Transaction::parse(&mut parser, text) {
        Ok(transaction) => {
            row(transaction, Place::new(offset, text.len()));
            Verdict::Kept
        }
        Err(error) if is_json(text.as_bytes()) => Verdict::Refused(error.to_string()),
        Err(_) => Verdict::Broken,
    })
    .map_err(PoolError::io("read", path))
}

/// Damage is only what is no JSON: a sound file of something else is refused, and so is one in which nothing is left to recognise.
fn refuse_foreign(file: &File, path: &Path, scan: &Scan) -> Result<(), PoolError> {
    if is_utf8(rewound(file, path)?).map_err(PoolError::io("read", path))? && is_json(after_mark(file, path)?) {
        let (offset, what) = match (&scan.refused, scan.bad.first()) {
            (Some(refused), _) => (refused.offset, refused.what.clone()),
            (None, Some(bad)) if scan.opened => {
                let offset = after_separators(file, bad.start).map_err(PoolError::io("read", path))?;
                (offset, "here begins what is no transaction: no JSON object, or too long a one".to_owned())
            }
            (None, _) => (0, "the file is no JSON array of transactions".to_owned()),
        };
        return Err(refuse(file, path, offset, what));
    }
    if !scan.opened && scan.rows == 0 && !is_void(rewound(file, path)?, path)? {
        return Err(refuse(file, path, 0, "the file is no JSON array of transactions".to_owned()));
    }
    Ok(())
}

fn refuse(file: &File, path: &Path, offset: u64, what: String) -> PoolError {
    match locate(file, offset) {
        Ok((line, column)) => PoolError::NotTransactions { path: path.to_owned(), line, column, what },
        Err(error) => PoolError::io("read", path)(error),
    }
}

/// The offset, from `offset` on, of what is neither whitespace nor a comma.
fn after_separators(file: &File, offset: u64) -> io::Result<u64> {
    let mut near = [0; 4_096];
    let read = disk::read_up_to(file, &mut near, offset)?;
    let separators = near[..read].iter().take_while(|byte| matches!(byte, b' ' | b'\n' | b'\r' | b'\t' | b','));
    Ok(offset + separators.count() as u64)
}

/// Line and column, counted from 1, of an offset.
fn locate(mut file: &File, offset: u64) -> io::Result<(u64, u64)> {
    file.seek(SeekFrom::Start(0))?;
    let (mut line, mut column) = (1, 1);
    let mut text = BufReader::new(file.take(offset));
    loop {
        let part = text.fill_buf()?;
        if part.is_empty() {
            return Ok((line, column));
        }
        for byte in part {
            match byte {
                b'\n' => (line, column) = (line + 1, 1),
                // The later bytes of a character in UTF-8.
                0x80..0xC0 => {}
                _ => column += 1,
            }
        }
        let read = part.len();
        text.consume(read);
    }
}

/// Whether a text is JSON, be it of what we can not hold.
pub(crate) fn is_json(text: impl Read) -> bool {
    serde_json::from_reader::<_, serde::de::IgnoredAny>(text).is_ok()
}

/// Whether a text is UTF-8, as JSON must be; the check for JSON passes over what strings hold.
fn is_utf8(mut text: impl BufRead) -> io::Result<bool> {
    // The beginning of a character whose end is in the next block.
    let mut begun: Vec<u8> = Vec::new();
    loop {
        let block = text.fill_buf()?;
        if block.is_empty() {
            return Ok(begun.is_empty());
        }
        let length = block.len();
        begun.extend_from_slice(block);
        text.consume(length);
        let sound = match str::from_utf8(&begun) {
            Ok(_) => begun.len(),
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Err(_) => return Ok(false),
        };
        begun.drain(..sound);
    }
}

/// Whether there is nothing but what a power loss leaves in the place of data: zeros; or whitespace.
fn is_void(text: impl BufRead, path: &Path) -> Result<bool, PoolError> {
    for byte in text.bytes() {
        if !matches!(byte.map_err(PoolError::io("read", path))?, 0 | b' ' | b'\n' | b'\r' | b'\t') {
            return Ok(false);
        }
    }
    Ok(true)
}

fn rewound<'a>(mut file: &'a File, path: &Path) -> Result<BufReader<&'a File>, PoolError> {
    file.seek(SeekFrom::Start(0)).map_err(PoolError::io("read", path))?;
    Ok(BufReader::with_capacity(1024 * 1024, file))
}

/// The text after the byte order mark, if there is one: what follows it is JSON as without it.
fn after_mark<'a>(file: &'a File, path: &Path) -> Result<BufReader<&'a File>, PoolError> {
    let mut text = rewound(file, path)?;
    if text.fill_buf().map_err(PoolError::io("read", path))?.starts_with(scan::BYTE_ORDER_MARK) {
        text.consume(scan::BYTE_ORDER_MARK.len());
    }
    Ok(text)
}

/// The whole path of a node's folder, which must exist: `.` would tell nothing in an error.
pub(crate) fn whole(folder: &Path) -> Result<PathBuf, PoolError> {
    let whole = fs::canonicalize(folder).map_err(PoolError::io("open", folder))?;
    if !whole.is_dir() {
        return Err(PoolError::io("open", folder)(io::ErrorKind::NotADirectory.into()));
    }
    Ok(whole)
}

/// The pool's file in a folder. A symbolic link is followed, so that a repair replaces what it leads to, not the link.
pub(crate) fn path_in(folder: &Path) -> PathBuf {
    let path = folder.join(POOL_FILE);
    fs::canonicalize(&path).unwrap_or(path)
}
