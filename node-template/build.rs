//! Puts version and commit into the program. `MESHPOOL_COMMIT` is empty in a build without git or
//! without the repository, unless the environment names it, as in a container.

use std::env;
use std::path::Path;
use std::process::Command;

/// What the program is built of, seen from this folder.
const SOURCES: [&str; 5] = ["src", "Cargo.toml", "../proto/src", "../Cargo.toml", "../Cargo.lock"];

fn main() {
    println!("cargo::rerun-if-env-changed=MESHPOOL_COMMIT");
    // A file that is missing would run this script in every build.
    let paths = SOURCES.iter().map(|path| (*path).to_owned()).chain(head());
    for path in paths.filter(|path| Path::new(path).exists()) {
        println!("cargo::rerun-if-changed={path}");
    }
    let named = env::var("MESHPOOL_COMMIT").ok().filter(|named| is_plain(named));
    let commit = named.or_else(commit).unwrap_or_default();
    let version = env!("CARGO_PKG_VERSION");
    let version = if commit.is_empty() { version.to_owned() } else { format!("{version}+{commit}") };
    println!("cargo::rustc-env=MESHPOOL_COMMIT={commit}");
    println!("cargo::rustc-env=MESHPOOL_VERSION={version}");
}

/// Returns the commit, and whether tracked files differ from it.
fn commit() -> Option<String> {
    // The repository may be another one, in which the sources were unpacked.
    git(&["ls-files", "--error-unmatch", "Cargo.toml"])?;
    let commit = git(&["rev-parse", "--short=10", "HEAD"]).filter(|commit| is_plain(commit))?;
    let mut status = vec!["status", "--porcelain", "--untracked-files=no", "--"];
    status.extend(SOURCES);
    let is_modified = git(&status).is_none_or(|changes| !changes.is_empty());
    Some(if is_modified { format!("{commit}.modified") } else { commit })
}

/// Returns the files that change with every commit and with every change of the branch.
fn head() -> impl Iterator<Item = String> {
    ["HEAD", "logs/HEAD"].into_iter().filter_map(|name| git(&["rev-parse", "--git-path", name]))
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

/// Returns whether it can be a part of a version (Semantic Versioning 2.0.0, item 10).
fn is_plain(commit: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
    !commit.is_empty() && commit.len() <= 40 && commit.bytes().all(plain)
}
