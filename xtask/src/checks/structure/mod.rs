//! `structure`: the order of the layers, and no circle of files that import each other.
//!
//! An import is a `use` or any other path to a module of another file of the same package, in code
//! that is not only built for tests. The declaration of a child module is none. A path to an item
//! counts for the file of the deepest module that it names: who uses `crate::wire::Message` uses
//! `wire/mod.rs`, even if that re-exports it from a child.

mod circles;
mod imports;
mod layers;
mod modules;
// They compare paths as Unix writes them.
#[cfg(all(test, unix))]
mod tests;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::checks::structure::modules::{LIBRARY, Modules, Package};
use crate::support::cargo;
use crate::support::terminal::{plural, print};
use crate::support::workspace::Workspace;

/// The folders of the workspaces.
const WORKSPACES: [&str; 3] = ["", "bench", "fuzz"];

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Check these packages [default: all]
    #[arg(value_name = "PACKAGE")]
    packages: Vec<String>,
}

pub(crate) fn run(workspace: &Workspace, arguments: &Arguments) -> Result<ExitCode> {
    let wanted: Vec<_> = arguments.packages.iter().map(String::as_str).collect();
    check(workspace.root(), &wanted)?;
    Ok(ExitCode::SUCCESS)
}

/// Checks these packages; without any, those of all workspaces.
pub(crate) fn check(root: &Path, wanted: &[&str]) -> Result<()> {
    let mut packages = Vec::new();
    for workspace in WORKSPACES {
        packages.extend(read_packages(root, workspace)?);
    }
    if let Some(unknown) = wanted.iter().find(|name| packages.iter().all(|package| package.name != **name)) {
        let names: Vec<_> = packages.iter().map(|package| package.name.as_str()).collect();
        bail!("there is no package {unknown}; there is {}", names.join(", "));
    }
    let table = root.join(layers::TABLE);
    let table = std::fs::read_to_string(&table).with_context(|| format!("{} cannot be read", table.display()))?;
    let mut faults = 0;
    packages.retain(|package| wanted.is_empty() || wanted.contains(&package.name.as_str()));
    let names: Vec<_> = packages.iter().map(|package| package.name.as_str()).collect();
    for package in &packages {
        let found = faults_of(root, package, &table)?;
        faults += found.len();
        for fault in found {
            print(fault)?;
        }
    }
    ensure!(faults == 0, "{} in the structure of {}", plural(faults, "fault"), names.join(", "));
    print(format!("no circle, no upward import: {}", names.join(", ")))?;
    Ok(())
}

/// Returns what is wrong with a package, in the order of its files.
fn faults_of(root: &Path, package: &Package, table: &str) -> Result<Vec<String>> {
    let modules = Modules::read(root, package)?;
    let imports = imports::find(&modules, &package.name.replace('-', "_"));
    let mut faults = circles::find(&imports);
    for layers in layers::read(table)?.iter().filter(|layers| layers.folder.starts_with(&package.folder)) {
        let files = modules.files.iter().map(|file| file.path.as_path());
        faults.extend(layers.violations(root, files.filter(|file| file.starts_with(&layers.folder)), &imports));
    }
    // Stable: within a file they are in the order of their lines.
    faults.sort_by(|one, other| one.split(':').next().cmp(&other.split(':').next()));
    Ok(faults)
}

/// The parts of `cargo metadata` that are read.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<MetadataPackage>,
}

#[derive(Deserialize)]
struct MetadataPackage {
    name: String,
    manifest_path: PathBuf,
    targets: Vec<MetadataTarget>,
}

#[derive(Deserialize)]
struct MetadataTarget {
    name: String,
    kind: Vec<String>,
    src_path: PathBuf,
}

/// Asks cargo for the packages of a workspace.
fn read_packages(root: &Path, workspace: &str) -> Result<Vec<Package>> {
    let output = cargo::read(&root.join(workspace), &["metadata", "--no-deps", "--format-version", "1"])?;
    let metadata: Metadata = serde_json::from_str(&output).context("what cargo metadata prints cannot be read")?;
    let relative = |path: &Path| path.strip_prefix(root).unwrap_or(path).to_owned();
    let package = |package: MetadataPackage| {
        let is = |target: &MetadataTarget, kind: &str| target.kind.iter().any(|it| it == kind);
        let targets = package.targets.iter().filter(|target| is(target, "lib") || is(target, "bin"));
        let targets = targets.map(|target| {
            let name = if is(target, "lib") { LIBRARY.to_owned() } else { format!("bin {}", target.name) };
            (name, relative(&target.src_path))
        });
        Package {
            folder: package.manifest_path.parent().map(relative).unwrap_or_default(),
            targets: targets.collect(),
            name: package.name,
        }
    };
    Ok(metadata.packages.into_iter().map(package).collect())
}
