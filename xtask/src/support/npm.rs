//! The JavaScript packages of a folder.

use std::path::Path;

use anyhow::Result;
use meshpool::binary::system;

use crate::support::cargo::finish;
use crate::support::terminal::print;

/// Installs the packages of package-lock.json, unless they are installed.
pub(crate) fn install(interop: &Path) -> Result<()> {
    let wanted = interop.join("package-lock.json");
    if !wanted.is_file() {
        print(format!("there is no {}", wanted.display()))?;
        return Ok(());
    }
    if is_fresh(interop) {
        print("node_modules matches package-lock.json")?;
        return Ok(());
    }
    finish(system::script("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(interop), "npm ci")
}

/// Whether the packages of package-lock.json are installed.
pub(crate) fn is_fresh(interop: &Path) -> bool {
    // npm writes its file last. If it is missing or older than the lock file, the packages are
    // stale.
    let changed = |name| interop.join(name).metadata().and_then(|metadata| metadata.modified());
    changed("node_modules/.package-lock.json")
        .is_ok_and(|done| changed("package-lock.json").is_ok_and(|wanted| done >= wanted))
}
