//! Builds the contestants: our node in the repository's workspace, the rivals in the bench's.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::cargo::{build, target};
use super::patched_iroh;

/// The name of our node in the tables, unless a build has a label.
pub(crate) const LABEL: &str = "meshpool";

/// Builds our node. Returns its program.
pub(crate) fn node(root: &Path) -> Result<PathBuf> {
    build(root, &["--package", "meshpool", "--bin", "meshpool"]).context("cannot build the node")?;
    Ok(target(root).join("release/meshpool"))
}

/// Builds programs of `rivals/`. Returns the folder with the programs.
pub(crate) fn rivals(root: &Path, programs: &[&str]) -> Result<PathBuf> {
    const FAILED: &str = "cannot build the rivals; --only ours,memory excludes them";
    let workspace = root.join("bench");
    let mut arguments = vec!["--package", "rivals"];
    for program in programs.iter().filter(|program| **program != patched_iroh::PROGRAM) {
        arguments.extend(["--bin", program]);
        // The floor needs no library; the embedded node is ours.
        match *program {
            "floor" => {}
            "embedded" => arguments.extend(["--features", "ours"]),
            library => arguments.extend(["--features", library]),
        }
    }
    if arguments.len() > 2 {
        measuring::note("building the rivals; the first time it takes minutes");
        build(&workspace, &arguments).context(FAILED)?;
    }
    if programs.contains(&patched_iroh::PROGRAM) {
        let folder = patched_iroh::write_package(&workspace).context("cannot give iroh-gossip longer queues")?;
        let target = target(&workspace);
        let target = target.to_str().context("the name of the target folder is no UTF-8")?;
        build(&folder, &["--target-dir", target]).context(FAILED)?;
    }
    Ok(target(&workspace).join("release"))
}
