//! Nodes that run on after `up` has ended. Each writes its log into a file of its folder.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use anyhow::{Context, Result};
use meshpool::binary::system;

use crate::nodes::up::child;
use crate::support::workspace::{Folder, Lock};

/// The log of the present or the last run.
pub(crate) const LOG_FILE: &str = "node.log";
/// The log of the run before that.
const LOG_BEFORE: &str = "node.log.1";

/// Returns the path of a folder's log.
pub(crate) fn log_file(folder: &Folder) -> PathBuf {
    folder.path.join(LOG_FILE)
}

/// Starts the node of a folder, which outlives this process, and returns its end; `None` if a node
/// runs there by now, whose log stays.
pub(crate) fn start(
    binary: &Path,
    folder: &Folder,
    http_port: Option<&str>,
) -> Result<Option<impl Future<Output = io::Result<ExitStatus>> + use<>>> {
    if matches!(folder.lock()?, Lock::Held(_)) {
        return Ok(None);
    }
    let path = log_file(folder);
    if path.exists() {
        let before = folder.path.join(LOG_BEFORE);
        fs::rename(&path, &before).with_context(|| format!("{} cannot be renamed", path.display()))?;
    }
    let log = File::create(&path).with_context(|| format!("{} cannot be written", path.display()))?;
    let mut command = child::command(binary, folder, http_port);
    let end = system::spawn_detached(&mut command, log)
        .with_context(|| format!("{} cannot be started with {}", folder.name(), binary.display()))?;
    Ok(Some(end))
}

/// Returns the last line of a folder's log.
pub(crate) fn last_line(folder: &Folder) -> String {
    let text = fs::read(log_file(folder)).unwrap_or_default();
    String::from_utf8_lossy(&text).lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::workspace::Workspace;

    #[test]
    fn the_log_of_a_node_that_runs_is_not_renamed() {
        let root = tempfile::tempdir().expect("a folder");
        let folder = Workspace::find(Some(root.path())).expect("found").folder(1);
        fs::create_dir(&folder.path).expect("made");
        fs::write(log_file(&folder), "of the node that runs").expect("written");
        // Another `up` has started it since this one looked.
        let _held = system::try_lock(&folder.path.join("node.lock")).expect("free");
        assert!(start(Path::new("no such program"), &folder, None).expect("looked at").is_none());
        assert_eq!(fs::read_to_string(log_file(&folder)).expect("there"), "of the node that runs");
        assert!(!folder.path.join(LOG_BEFORE).exists());
    }
}
