//! iroh-gossip with longer queues.
//!
//! Three of its queues are constants that no setting reaches. Between the protocol and its
//! subscribers the oldest events are dropped where they are full. And its one task waits where the
//! queue to a peer is full, and reads nothing meanwhile: two such tasks that wait for each other
//! wait for ever. A burst does both. So that it has rows of its own speed, in which nothing is lost
//! and nothing stands still, it takes part with these constants raised: the source that cargo has
//! fetched is copied into the target folder, three lines are changed, and the rival is built of the
//! copy. The library as it is published takes part beside it.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::build;

/// The package.
const LIBRARY: &str = "iroh-gossip";
/// Where its queues are.
const FILE: &str = "src/net.rs";
/// Which lines are changed, and what they are then. The first two take memory only for what waits
/// in them; the last takes it all at once, and so has room for half of the largest burst, which is
/// what comes to wait there.
const QUEUES: [[&str; 2]; 3] = [
    ["const SEND_QUEUE_CAP: usize = 64;", "const SEND_QUEUE_CAP: usize = 1 << 22;"],
    ["const IN_EVENT_CAP: usize = 1024;", "const IN_EVENT_CAP: usize = 1 << 22;"],
    ["const TOPIC_EVENT_CAP: usize = 256;", "const TOPIC_EVENT_CAP: usize = 1 << 18;"],
];
/// The manifest of the program that is built of it.
const MANIFEST: &str = include_str!("../rivals/enlarged.toml");

/// Lays out the package of the program; its folder.
pub(crate) fn lay_out(workspace: &Path) -> Result<PathBuf> {
    let folder = workspace.join("target/enlarged");
    let library = source(workspace)?;
    copy(&library, &folder.join(LIBRARY)).with_context(|| format!("{} can not be copied", library.display()))?;
    write(&folder.join("Cargo.toml"), MANIFEST)?;
    // The same versions of everything; cargo leaves out what is not needed here.
    let lock = fs::read_to_string(workspace.join("Cargo.lock")).context("Cargo.lock can not be read")?;
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

/// Where cargo keeps the library's source.
fn source(workspace: &Path) -> Result<PathBuf> {
    let said = |command: &mut Command| {
        let output = command.current_dir(workspace).output().context("cargo can not be started")?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).context("cargo does not speak UTF-8")
    };
    let version = said(build::cargo().arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).context("cargo -vV names no host")?;
    let mut metadata = build::cargo();
    metadata.args(["metadata", "--format-version", "1", "--features", "rivals/iroh", "--filter-platform", host]);
    let metadata: Metadata = serde_json::from_str(&said(&mut metadata)?)?;
    let library = metadata.packages.iter().find(|package| package.name == LIBRARY);
    let manifest = &library.with_context(|| format!("{LIBRARY} is not among the bench's packages"))?.manifest_path;
    Ok(manifest.parent().context("a manifest is in no folder")?.to_owned())
}

/// Copies what a build needs, with longer queues.
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
            let text = if path == Path::new(FILE) { enlarged(text)? } else { text };
            write(&to.join(path), &text)?;
        }
    }
    Ok(())
}

fn enlarged(mut text: String) -> Result<String> {
    for [is, becomes] in QUEUES {
        ensure!(text.matches(is).count() == 1, "{FILE} of {LIBRARY} has no line `{is}`: its queues are elsewhere now");
        text = text.replace(is, becomes);
    }
    Ok(text)
}

/// Writes a file, unless it is so already: what is not touched is not built again.
fn write(path: &Path, text: &str) -> Result<()> {
    let failed = || format!("{} can not be written", path.display());
    match fs::read_to_string(path) {
        Ok(there) if there == text => return Ok(()),
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
    fn each_queue_is_found_or_missed() {
        let published: Vec<_> = QUEUES.iter().map(|[is, _]| *is).collect();
        let text = enlarged(published.join("\n")).unwrap();
        assert_eq!(text.lines().collect::<Vec<_>>(), QUEUES.map(|[_, becomes]| becomes));
        let error = enlarged(published[1..].join("\n")).unwrap_err().to_string();
        assert!(error.contains("SEND_QUEUE_CAP"), "{error}");
    }
}
