//! Builds who takes part: our node in the repository's workspace, the rivals in the bench's, each with cargo and in release mode.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::contestant::Rival;

/// Builds our node; its program.
pub(crate) fn node(root: &Path) -> Result<PathBuf> {
    cargo(root, &["--package", "p2p-node", "--bin", "p2p-node"]).context("the node could not be built")?;
    Ok(target(root).join("release/p2p-node"))
}

/// Builds these rivals, and the program that embeds our node if that is wanted; the folder in which their programs are.
pub(crate) fn rivals(root: &Path, rivals: &[Rival], embedded: bool) -> Result<PathBuf> {
    let workspace = root.join("bench");
    let mut programs: Vec<_> = rivals.iter().map(|rival| (rival.program(), rival.feature())).collect();
    if embedded {
        programs.push(("embedded", Some("ours")));
    }
    let mut arguments = vec!["--package", "rivals"];
    for (program, feature) in &programs {
        arguments.extend(["--bin", program]);
        if let Some(feature) = feature {
            arguments.extend(["--features", feature]);
        }
    }
    if !programs.is_empty() {
        eprintln!("building the rivals; the first time that takes minutes");
        cargo(&workspace, &arguments).context("the rivals could not be built; --only ours,memory leaves them out")?;
    }
    Ok(target(&workspace).join("release"))
}

fn cargo(workspace: &Path, arguments: &[&str]) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.current_dir(workspace).args(["build", "--release", "--quiet"]).args(arguments);
    let status = build.status().context("cargo can not be started")?;
    ensure!(status.success(), "cargo ended with {status}");
    Ok(())
}

fn target(workspace: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), |target| workspace.join(target))
}
