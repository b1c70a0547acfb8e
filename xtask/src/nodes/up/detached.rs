//! Nodes that run on after `up` has ended. Each writes its log into a file of its folder.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use anyhow::{Context, Result};
use meshpool::binary::system;

use crate::nodes::up::child;
use crate::support::workspace::Folder;

/// The log of the present or the last run.
pub(crate) const LOG_FILE: &str = "node.log";
/// The log of the run before that.
const LOG_BEFORE: &str = "node.log.1";

/// Returns the path of a folder's log.
pub(crate) fn log_file(folder: &Folder) -> PathBuf {
    folder.path.join(LOG_FILE)
}

/// Starts the node of a folder, which outlives this process, and returns its end.
pub(crate) fn start(
    binary: &Path,
    folder: &Folder,
    http_port: Option<&str>,
) -> Result<impl Future<Output = io::Result<ExitStatus>> + use<>> {
    let path = log_file(folder);
    if path.exists() {
        let before = folder.path.join(LOG_BEFORE);
        fs::rename(&path, &before).with_context(|| format!("{} cannot be renamed", path.display()))?;
    }
    let log = File::create(&path).with_context(|| format!("{} cannot be written", path.display()))?;
    let mut command = child::command(binary, folder, http_port);
    system::spawn_detached(&mut command, log)
        .with_context(|| format!("{} cannot be started with {}", folder.name(), binary.display()))
}

/// Returns the last line of a folder's log.
pub(crate) fn last_line(folder: &Folder) -> String {
    let text = fs::read(log_file(folder)).unwrap_or_default();
    String::from_utf8_lossy(&text).lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default().to_owned()
}
