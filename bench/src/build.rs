//! Builds who takes part: our node in the repository's workspace, the rivals in the bench's, each
//! with cargo and in release mode.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::contestant::Rival;
use crate::enlarged;

/// Builds our node; its program.
pub(crate) fn node(root: &Path) -> Result<PathBuf> {
    build(root, &["--package", "meshpool", "--bin", "meshpool"]).context("the node could not be built")?;
    Ok(target(root).join("release/meshpool"))
}

/// Builds these rivals, and the program that embeds our node if that is wanted; the folder in which
/// their programs are.
pub(crate) fn rivals(root: &Path, rivals: &[Rival], embedded: bool) -> Result<PathBuf> {
    const FAILED: &str = "the rivals could not be built; --only ours,memory leaves them out";
    let workspace = root.join("bench");
    let (enlarged, rivals): (Vec<Rival>, Vec<Rival>) = rivals.iter().partition(|rival| rival.is_enlarged());
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
        build(&workspace, &arguments).context(FAILED)?;
    }
    if !enlarged.is_empty() {
        let folder = enlarged::lay_out(&workspace).context("iroh-gossip could not be given longer queues")?;
        let target = target(&workspace);
        let target = target.to_str().context("the target folder's name is no UTF-8")?;
        build(&folder, &["--target-dir", target]).context(FAILED)?;
    }
    Ok(target(&workspace).join("release"))
}

/// The cargo that runs us.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

fn build(folder: &Path, arguments: &[&str]) -> Result<()> {
    let mut build = cargo();
    build.current_dir(folder).args(["build", "--release", "--quiet"]).args(arguments);
    let status = build.status().context("cargo can not be started")?;
    ensure!(status.success(), "cargo ended with {status}");
    Ok(())
}

fn target(workspace: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), |target| workspace.join(target))
}
