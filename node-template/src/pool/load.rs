//! Opens and reads `transactions.json`, and decides whether a damaged file is repaired or refused.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::folder::replace::follow;
use crate::pool::disk::{self, Disk};
use crate::pool::error::PoolError;
use crate::pool::file::PoolFile;
use crate::pool::index::Location;
use crate::pool::repair::{self, Repair};
use crate::pool::scan::{self, Damage, Scan, is_json, scan};
use crate::protocol::transaction::Transaction;
use crate::system::{FileStamp, canonical as canonical_path};

/// The pool's file, in the node's folder.
pub const POOL_FILE: &str = "transactions.json";

/// Receives the rows of a file, in order.
pub(crate) trait RowSink {
    /// Returns how many levels a frame has around a row: a deeper one could not be sent.
    fn levels(&self) -> usize;
    fn row(&mut self, transaction: Transaction, location: Location);
}

/// The file at the path.
#[derive(Debug)]
pub(crate) enum FileState<G> {
    Sound(PoolFile, G),
    /// Damaged, or being written by another program.
    Damaged(Damaged<G>),
    Missing,
}

/// A damaged file, and its whole rows.
#[derive(Debug)]
pub(crate) struct Damaged<G> {
    file: File,
    stamp: FileStamp,
    scan: Scan,
    sink: G,
}

impl<G> Damaged<G> {
    /// Returns the stamp of the file before it was read.
    pub(crate) fn stamp(&self) -> FileStamp {
        self.stamp
    }
}

/// Opens and reads the file. Changes nothing.
///
/// # Errors
/// [`PoolError::NotTransactions`] if the file is valid JSON, but not an array of transactions;
/// [`PoolError::Io`].
pub(crate) fn open<G: RowSink>(path: &Path, mut sink: G) -> Result<FileState<G>, PoolError> {
    check_kind(path)?;
    let file = match File::options().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(FileState::Missing),
        // Windows opens no folder as a file.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && path.is_dir() => {
            return Err(PoolError::io("open", path)(io::ErrorKind::IsADirectory.into()));
        }
        Err(error) => return Err(PoolError::io("open", path)(error)),
    };
    // It may have been replaced meanwhile.
    if !file.metadata().map_err(PoolError::io("read", path))?.is_file() {
        return Err(PoolError::NotAFile { path: path.to_owned() });
    }
    let stamp = FileStamp::of_file(&file).map_err(PoolError::io("read", path))?;
    let scan = scan(&file, path, sink.levels(), &mut |transaction, location| sink.row(transaction, location))?;
    if scan.damage != Damage::None {
        return Ok(FileState::Damaged(Damaged { file, stamp, scan, sink }));
    }
    if let Some(refused) = &scan.refused {
        return Err(refuse(&file, path, refused.offset, refused.what.clone()));
    }
    Ok(FileState::Sound(PoolFile::new(Arc::new(file), scan.rows_end, scan.rows == 0, stamp), sink))
}

/// Refuses what is neither a file nor a folder before it is opened: a device may have no end, and
/// opening a pipe blocks. A folder refuses by itself.
///
/// # Errors
/// [`PoolError::NotAFile`].
pub(crate) fn check_kind(path: &Path) -> Result<(), PoolError> {
    match path.metadata() {
        Ok(found) if !found.is_file() && !found.is_dir() => Err(PoolError::NotAFile { path: path.to_owned() }),
        // What else is wrong shows when it is opened.
        _ => Ok(()),
    }
}

/// Returns how many rows a damaged file has that the next start keeps. Changes nothing.
///
/// # Errors
/// The start refuses the file.
#[cfg(feature = "cli")]
pub(crate) fn repairable<G>(path: &Path, damaged: &Damaged<G>) -> Result<u64, PoolError> {
    if damaged.scan.damage != Damage::Tail || damaged.scan.refused.is_some() {
        refuse_foreign(&damaged.file, path, &damaged.scan)?;
    }
    Ok(damaged.scan.rows)
}

/// Repairs a damaged file. The bytes that it removes are on the disk first, in another file.
/// Returns the file and its rows if their locations are still valid; otherwise the file must be
/// opened again.
///
/// # Errors
/// As [`open`]. Then the file is unchanged, or all removed bytes are kept.
pub(crate) fn repair<G: RowSink>(
    path: &Path,
    damaged: Damaged<G>,
    disk: &dyn Disk,
) -> Result<(Repair, Option<(PoolFile, G)>), PoolError> {
    let Damaged { file, stamp, scan, sink } = damaged;
    if scan.damage == Damage::Tail && scan.refused.is_none() {
        let mut file = PoolFile::new(Arc::new(file), scan.rows_end, scan.rows == 0, stamp);
        let repair = repair::tail(path, &mut file, &scan, disk)?;
        return Ok((repair, Some((file, sink))));
    }
    refuse_foreign(&file, path, &scan)?;
    Ok((repair::rewrite(path, file, &scan, sink.levels(), disk)?, None))
}

/// Refuses a file that is valid JSON of another kind, or that has nothing recognisable.
fn refuse_foreign(file: &File, path: &Path, scan: &Scan) -> Result<(), PoolError> {
    if is_utf8(rewound(file, path)?).map_err(PoolError::io("read", path))? && is_json(after_mark(file, path)?) {
        let (offset, what) = match (&scan.refused, scan.bad.first()) {
            (Some(refused), _) => (refused.offset, refused.what.clone()),
            (None, Some(bad)) if scan.opened => {
                let offset = after_separators(file, bad.start).map_err(PoolError::io("read", path))?;
                (offset, "this element is not a transaction: it is not a JSON object, or it is too long".to_owned())
            }
            (None, _) => (0, foreign(file, path)?),
        };
        return Err(refuse(file, path, offset, what));
    }
    if !scan.opened && scan.rows == 0 && !is_blank_or_zero(rewound(file, path)?, path)? {
        return Err(refuse(file, path, 0, foreign(file, path)?));
    }
    Ok(())
}

/// Describes a file that is no JSON array.
fn foreign(file: &File, path: &Path) -> Result<String, PoolError> {
    let mut text = after_mark(file, path)?;
    let start = text.fill_buf().map_err(PoolError::io("read", path))?.trim_ascii_start().strip_prefix(b"{");
    let begins = start.is_some_and(|rest| !rest.trim_ascii_start().starts_with(b"}"));
    let mut values = serde_json::Deserializer::from_reader(text).into_iter::<serde::de::IgnoredAny>();
    let is_lines = begins && matches!(values.next(), Some(Ok(_)));
    Ok(match is_lines {
        true => {
            "the file is not a JSON array of transactions, but has one a line, which 'meshpool import' reads".to_owned()
        }
        false => "the file is not a JSON array of transactions".to_owned(),
    })
}

fn refuse(file: &File, path: &Path, offset: u64, what: String) -> PoolError {
    match locate(file, offset) {
        Ok((line, column)) => PoolError::NotTransactions { path: path.to_owned(), line, column, what },
        Err(error) => PoolError::io("read", path)(error),
    }
}

/// Returns the offset of the next byte that is neither whitespace nor a comma.
fn after_separators(file: &File, offset: u64) -> io::Result<u64> {
    let mut near = [0; 4_096];
    let read = disk::read_up_to(file, &mut near, offset)?;
    let separators = near[..read].iter().take_while(|byte| matches!(byte, b' ' | b'\n' | b'\r' | b'\t' | b','));
    Ok(offset + separators.count() as u64)
}

/// Returns line and column of an offset, from 1.
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
                // Continuation bytes of a UTF-8 character.
                0x80..0xC0 => {}
                _ => column += 1,
            }
        }
        let read = part.len();
        text.consume(read);
    }
}

/// Returns whether a text is UTF-8. The check for JSON ignores the content of strings.
fn is_utf8(mut text: impl BufRead) -> io::Result<bool> {
    // The first bytes of a character that continues in the next block.
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

/// Returns whether the text is only zeros, which a power loss leaves instead of data, or
/// whitespace.
fn is_blank_or_zero(text: impl BufRead, path: &Path) -> Result<bool, PoolError> {
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

/// Returns the text after a byte order mark.
fn after_mark<'a>(file: &'a File, path: &Path) -> Result<BufReader<&'a File>, PoolError> {
    let mut text = rewound(file, path)?;
    if text.fill_buf().map_err(PoolError::io("read", path))?.starts_with(scan::BYTE_ORDER_MARK) {
        text.consume(scan::BYTE_ORDER_MARK.len());
    }
    Ok(text)
}

/// Returns the absolute path of a node's folder, which must exist.
pub(crate) fn canonical(folder: &Path) -> Result<PathBuf, PoolError> {
    let path = canonical_path(folder).map_err(PoolError::io("open", folder))?;
    if !path.is_dir() {
        return Err(PoolError::io("open", folder)(io::ErrorKind::NotADirectory.into()));
    }
    Ok(path)
}

/// Returns the path of the pool's file. Follows a symbolic link: a repair must not replace the
/// link.
pub(crate) fn path_in(folder: &Path) -> PathBuf {
    follow(&folder.join(POOL_FILE))
}
