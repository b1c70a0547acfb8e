//! The tests of the page in Chromium, driven by playwright-core.
//!
//! Few machines have Chromium, so it is installed where that is allowed, and otherwise reported as
//! missing.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};

use crate::support::cargo::{cargo, finish};
use crate::support::npm;
use crate::support::terminal::print;

const NAMES: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];
const REMEDY: &str = "install Chromium (Debian: apt-get install chromium), or name the program in CHROMIUM";

/// Runs the tests. Without Chromium they are skipped with a message; in CI, where nobody reads
/// that, this fails.
pub(crate) fn test(root: &Path) -> Result<()> {
    let folder = root.join("browser");
    let Some(chromium) = find().or_else(install) else {
        ensure!(std::env::var_os("CI").is_none(), "Chromium is missing: {REMEDY}");
        print(format!("skipped, since Chromium is missing: {REMEDY}"))?;
        return Ok(());
    };
    npm::install(&folder)?;
    cargo(root, &["build", "--package", "meshpool"])?;
    let mut command = Command::new("npm");
    command.args(["test", "--silent"]).current_dir(&folder).env("CHROMIUM", chromium);
    finish(&mut command, "npm test --silent")
}

fn find() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("CHROMIUM").filter(|named| !named.is_empty()) {
        return Some(named.into());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .flat_map(|folder| NAMES.map(|name| folder.join(name)))
        .find(|program| program.is_file())
}

/// Installs the package of Debian, where apt-get is allowed to.
fn install() -> Option<PathBuf> {
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    };
    let package = ["install", "--yes", "--no-install-recommends", "chromium"];
    // The package lists may be outdated or missing.
    (apt(&package) || apt(&["update"]) && apt(&package)).then(find).flatten()
}
