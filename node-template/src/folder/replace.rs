//! Atomic replacement of a small file.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use crate::system::{rename, sync_folder};

/// Writes a file and waits for the disk. Readers see the old content or the new, never a part.
///
/// # Errors
/// The system's error. The file is then as it was.
pub fn replace(path: &Path, text: &str) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
    let draft = path.with_file_name(format!(".{}.new", name.display()));
    let mut file = File::create(&draft)?;
    file.write_all(text.as_bytes())?;
    file.sync_data()?;
    // Closed first: some systems rename no open file.
    drop(file);
    rename(&draft, path)?;
    sync_folder(path.parent().unwrap_or(Path::new(".")))
}
