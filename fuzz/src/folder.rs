//! Temporary folders, in memory if the system supports it.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

pub(crate) fn new() -> TempDir {
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    TempDir::with_prefix_in("p2p-node-fuzz-", parent).expect("a temporary folder can be made")
}

/// The names in a folder, sorted.
pub(crate) fn names(folder: &Path) -> Vec<PathBuf> {
    let entries = folder.read_dir().expect("the folder exists");
    let mut names: Vec<_> = entries.map(|entry| PathBuf::from(entry.expect("an entry").file_name())).collect();
    names.sort();
    names
}
