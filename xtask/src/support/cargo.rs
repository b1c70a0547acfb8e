//! Runs cargo, and other programs with their output passed through.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::support::terminal::print;
use crate::support::workspace::Workspace;

pub(crate) fn cargo(root: &Path, arguments: &[&str]) -> Result<()> {
    finish(&mut command(root, arguments), &format!("cargo {}", arguments.join(" ")))
}

/// Returns the cargo that runs this program.
pub(crate) fn cargo_program() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

pub(crate) fn command(root: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(cargo_program());
    command.args(arguments).current_dir(root);
    without_package(&mut command);
    command
}

/// Removes from a command's environment what cargo tells this program of its own package. The build
/// script of `ring` looks at it, so that it, and all that needs it, would be built again.
pub(crate) fn without_package(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let shown = name.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|start| shown.starts_with(start)) {
            command.env_remove(&name);
        }
    }
}

/// Runs cargo and returns what it prints.
pub(crate) fn read(root: &Path, arguments: &[&str]) -> Result<String> {
    let output = command(root, arguments).stderr(Stdio::inherit()).output().context("cargo cannot be started")?;
    ensure!(output.status.success(), "cargo {} ended with {}", arguments.join(" "), output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a command and passes its output through.
pub(crate) fn finish(command: &mut Command, shown: &str) -> Result<()> {
    print(format!("> {shown}"))?;
    match command.status().with_context(|| format!("{shown} cannot be started; is it installed?"))? {
        status if status.success() => Ok(()),
        status => bail!("`{shown}` ended with {status}"),
    }
}

/// The part of cargo's messages that names a program.
#[derive(Deserialize)]
struct Message {
    executable: Option<PathBuf>,
}

/// Builds the node's program and returns its path, which depends on cargo's settings.
pub(crate) fn build_node(workspace: &Workspace, release: bool) -> Result<PathBuf> {
    let mut command = command(workspace.root(), &["build", "--package", "meshpool", "--bin", "meshpool"]);
    command.args(["--message-format", "json-render-diagnostics"]);
    if release {
        command.arg("--release");
    }
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.context("cargo cannot be started; install Rust from https://rustup.rs")?;
    if !output.status.success() {
        bail!("the node does not build: see cargo's errors above");
    }
    let messages =
        output.stdout.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<Message>(line).ok());
    messages
        .filter_map(|message| message.executable)
        .next_back()
        .context("cargo built the node, but did not report where; try `cargo build` yourself")
}
