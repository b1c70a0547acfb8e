//! The JavaScript packages of a folder.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::support::cargo::finish;
use crate::support::terminal::tell;

/// Installs what the JavaScript nodes need, if it is not what the lock file says.
pub(crate) fn install(interop: &Path) -> Result<()> {
    let wanted = interop.join("package-lock.json");
    if !wanted.is_file() {
        tell(format!("there is no {}", wanted.display()))?;
        return Ok(());
    }
    if is_fresh(interop) {
        tell("node_modules is as package-lock.json says")?;
        return Ok(());
    }
    finish(Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(interop), "npm ci")
}

/// Whether the JavaScript nodes have what the lock file says.
pub(crate) fn is_fresh(interop: &Path) -> bool {
    // npm writes its file when it is done; older than the wishes, or not there, it is stale.
    let changed = |name| interop.join(name).metadata().and_then(|metadata| metadata.modified());
    changed("node_modules/.package-lock.json")
        .is_ok_and(|done| changed("package-lock.json").is_ok_and(|wanted| done >= wanted))
}
