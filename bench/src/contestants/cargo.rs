//! Runs cargo.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The cargo that runs the bench.
pub(super) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Builds in release mode, in a folder.
pub(super) fn build(folder: &Path, arguments: &[&str]) -> Result<()> {
    let mut build = cargo();
    build.current_dir(folder).args(["build", "--release", "--quiet"]).args(arguments);
    let status = build.status().context("cargo cannot be started")?;
    ensure!(status.success(), "cargo ended with {status}");
    Ok(())
}

/// The target folder of a workspace.
pub(super) fn target(workspace: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), |target| workspace.join(target))
}
