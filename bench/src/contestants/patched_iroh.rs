//! iroh-gossip with longer queues.
//!
//! Three of its queues are constants that no setting reaches. When the queue to the subscriber is
//! full, the oldest events are dropped. When the queue to a peer is full, the library's one task
//! waits and reads nothing; two such tasks can wait for each other for ever. A burst causes both. A
//! second contestant shows the speed of the library without losses: its source is copied into the
//! target folder and three lines are changed. The library as it is published takes part too.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::cargo::cargo;

/// The program that is built of the copy.
pub(super) const PROGRAM: &str = "iroh-patched";
const LIBRARY: &str = "iroh-gossip";
/// The file with the queues.
const FILE: &str = "src/net.rs";
/// The lines that are changed, and their new text. The first two queues take memory for what they
/// hold. The last allocates all of it, so it has room for half of the largest burst only, which is
/// enough.
const QUEUES: [[&str; 2]; 3] = [
    ["const SEND_QUEUE_CAP: usize = 64;", "const SEND_QUEUE_CAP: usize = 1 << 22;"],
    ["const IN_EVENT_CAP: usize = 1024;", "const IN_EVENT_CAP: usize = 1 << 22;"],
    ["const TOPIC_EVENT_CAP: usize = 256;", "const TOPIC_EVENT_CAP: usize = 1 << 18;"],
];
const MANIFEST: &str = include_str!("../../rivals/patched_iroh.toml");

/// Writes the package of the program. Returns its folder.
pub(super) fn write_package(workspace: &Path) -> Result<PathBuf> {
    let folder = workspace.join("target/patched-iroh");
    let library = source(workspace)?;
    copy(&library, &folder.join(LIBRARY)).with_context(|| format!("{} cannot be copied", library.display()))?;
    write(&folder.join("Cargo.toml"), MANIFEST)?;
    // The same versions of all crates; cargo drops what is not needed.
    let lock = fs::read_to_string(workspace.join("Cargo.lock")).context("Cargo.lock cannot be read")?;
    write(&folder.join("Cargo.lock"), &lock)?;
    Ok(folder)
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
}

/// The folder in which cargo keeps the source of the library.
fn source(workspace: &Path) -> Result<PathBuf> {
    let output_of = |command: &mut Command| {
        let output = command.current_dir(workspace).output().context("cargo cannot be started")?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).context("the output of cargo is no UTF-8")
    };
    let version = output_of(cargo().arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).context("cargo -vV names no host")?;
    let mut metadata = cargo();
    metadata.args(["metadata", "--format-version", "1", "--features", "rivals/iroh", "--filter-platform", host]);
    let metadata: Metadata = serde_json::from_str(&output_of(&mut metadata)?)?;
    let library = metadata.packages.iter().find(|package| package.name == LIBRARY);
    let manifest = &library.with_context(|| format!("{LIBRARY} is no package of the bench"))?.manifest_path;
    Ok(manifest.parent().context("a manifest is in no folder")?.to_owned())
}

/// Copies the files that a build needs, with longer queues.
fn copy(library: &Path, to: &Path) -> Result<()> {
    for name in ["Cargo.toml", "README.md"] {
        write(&to.join(name), &fs::read_to_string(library.join(name))?)?;
    }
    let mut folders = vec![PathBuf::from("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(library.join(&folder))? {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read_to_string(entry.path())?;
            let text = if path == Path::new(FILE) { patched(text)? } else { text };
            write(&to.join(path), &text)?;
        }
    }
    Ok(())
}

fn patched(mut text: String) -> Result<String> {
    for [old, new] in QUEUES {
        ensure!(
            text.matches(old).count() == 1,
            "{FILE} of {LIBRARY} has no line `{old}`: this version has other queues"
        );
        text = text.replace(old, new);
    }
    Ok(text)
}

/// Writes a file, unless it has this text: cargo rebuilds what is newer.
fn write(path: &Path, text: &str) -> Result<()> {
    let failed = || format!("{} cannot be written", path.display());
    match fs::read_to_string(path) {
        Ok(old) if old == text => return Ok(()),
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error).with_context(failed),
        _ => {}
    }
    fs::create_dir_all(path.parent().context("a file is in no folder")?).with_context(failed)?;
    fs::write(path, text).with_context(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_missing_is_reported() {
        let published: Vec<_> = QUEUES.iter().map(|[old, _]| *old).collect();
        let text = patched(published.join("\n")).unwrap();
        assert_eq!(text.lines().collect::<Vec<_>>(), QUEUES.map(|[_, new]| new));
        let error = patched(published[1..].join("\n")).unwrap_err().to_string();
        assert!(error.contains("SEND_QUEUE_CAP"), "{error}");
    }
}
