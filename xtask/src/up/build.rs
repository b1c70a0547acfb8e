//! Builds the node once, for all folders.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::workspace::Workspace;

/// The part of cargo's messages that names a program.
#[derive(Deserialize)]
struct Message {
    executable: Option<PathBuf>,
}

/// Builds the node's binary and tells where it is, which depends on settings of the person's cargo.
pub(crate) fn node(workspace: &Workspace, release: bool) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--package", "meshpool", "--bin", "meshpool"]);
    command.args(["--message-format", "json-render-diagnostics"]);
    if release {
        command.arg("--release");
    }
    let output = command.current_dir(workspace.root()).stderr(Stdio::inherit()).output();
    let output = output.context("cargo can not be started; install Rust from https://rustup.rs")?;
    if !output.status.success() {
        bail!("the node does not build; cargo says why above");
    }
    let messages =
        output.stdout.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<Message>(line).ok());
    messages
        .filter_map(|message| message.executable)
        .next_back()
        .context("cargo built the node, but did not say where; try `cargo build` yourself")
}
