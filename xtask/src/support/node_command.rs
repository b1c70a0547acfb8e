//! The command that runs a node as a child, with its output in a file of its folder.

use std::fs::{self, OpenOptions};
use std::path::Path;
use std::process::Stdio;

use anyhow::Result;
use tokio::process::Command;

/// The file for the node's output, in its folder.
pub(crate) const LOG: &str = "log";

/// Returns a command that runs a node in its folder and appends its output to a file there.
/// Dropping the process kills it.
pub(crate) fn command(binary: &Path, folder: &Path) -> Result<Command> {
    let log = OpenOptions::new().create(true).append(true).open(folder.join(LOG))?;
    let mut command = Command::new(binary);
    command.env_clear().current_dir(folder).kill_on_drop(true).stdin(Stdio::null());
    // Without it no socket can be opened on Windows.
    if let Some(root) = std::env::var_os("SystemRoot") {
        command.env("SystemRoot", root);
    }
    command.stdout(log.try_clone()?).stderr(log);
    Ok(command)
}

/// Returns the output of the node of a folder.
pub(crate) fn log(folder: &Path) -> String {
    fs::read_to_string(folder.join(LOG)).unwrap_or_default()
}
