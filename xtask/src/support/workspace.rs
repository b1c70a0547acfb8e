//! The workspace: its root and the node folders in it.
//!
//! A node folder is a real folder `node-<N>`, not a link, that holds a `.env`. This module only
//! reads.

use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use meshpool::binary::system::{THEN, canonical};
pub(crate) use meshpool::binary::{Holder, Lock, NodeFolder};

/// The template of node folders, which marks the root.
const TEMPLATE: &str = "node-template";

/// The folder of the closed network's authority.
const AUTHORITY: &str = "network-ca";

/// The workspace that the tasks act on.
#[derive(Debug)]
pub(crate) struct Workspace {
    root: PathBuf,
    /// What stands before the names of its folders, for people.
    prefix: String,
}

impl Workspace {
    /// Finds the workspace: the one given, or the one around the current folder, or the one that
    /// this program was built from.
    pub(crate) fn find(given: Option<&Path>) -> Result<Self> {
        if let Some(root) = given {
            let root = canonical(root).with_context(|| format!("{} cannot be opened", root.display()))?;
            return Ok(Self { root, prefix: String::new() });
        }
        let here = std::env::current_dir().context("the current folder cannot be determined; go to another one")?;
        let built = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
        match here.ancestors().chain(built).find(|folder| is_root(folder)) {
            Some(root) => Ok(Self { root: root.to_owned(), prefix: String::new() }),
            None => bail!(
                "{} is not inside the workspace: go to the folder that holds {TEMPLATE}/ and Cargo.toml",
                here.display()
            ),
        }
    }

    /// The workspace in a folder of another one, whose name there is shown with those of its nodes.
    pub(crate) fn within(root: PathBuf, name: &str) -> Self {
        Self { root, prefix: format!("{name}/") }
    }

    /// Returns its name in the workspace around it; empty if it is in none.
    pub(crate) fn name(&self) -> &str {
        self.prefix.trim_end_matches('/')
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the default folder of the authority.
    pub(crate) fn authority(&self) -> PathBuf {
        self.root.join(AUTHORITY)
    }

    /// Returns a file of the template.
    pub(crate) fn template(&self, name: &str) -> PathBuf {
        self.root.join(TEMPLATE).join(name)
    }

    /// Returns the folder of node `number`, which need not exist.
    pub(crate) fn folder(&self, number: u32) -> Folder {
        let name = format!("node-{number}");
        let path = self.root.join(&name);
        let name = self.prefix.clone() + &name;
        let start = format!("cd {name}{THEN}cargo run");
        Folder { number, node: NodeFolder { path, name, start, usual_port: port_of(number) } }
    }

    /// Returns all node folders in the order of their numbers.
    pub(crate) fn folders(&self) -> Result<Vec<Folder>> {
        let mut folders = Vec::new();
        for entry in fs::read_dir(&self.root).with_context(|| format!("{} cannot be read", self.root.display()))? {
            let name = entry?.file_name();
            if let Some(number) = name.to_str().and_then(number_of) {
                folders.push(self.folder(number));
            }
        }
        folders.retain(|folder| folder.exists());
        folders.sort_by_key(|folder| folder.number);
        Ok(folders)
    }

    /// Returns the existing folder of node `number`.
    pub(crate) fn existing(&self, number: u32) -> Result<Folder> {
        let folder = self.folder(number);
        if folder.exists() {
            return Ok(folder);
        }
        let names: Vec<_> = self.folders()?.iter().map(|folder| folder.name()).collect();
        match names.as_slice() {
            [] => bail!("there is no {}: make it with `cargo xtask clone-node`", folder.name()),
            _ => bail!("there is no {}; there is {}", folder.name(), names.join(", ")),
        }
    }

    /// Returns the node folder that is, or contains, the current folder.
    pub(crate) fn current_folder(&self) -> Option<Folder> {
        let here = std::env::current_dir().ok()?;
        let inside = here.strip_prefix(&self.root).ok()?.components().next()?;
        let number = inside.as_os_str().to_str().and_then(number_of)?;
        Some(self.folder(number)).filter(|folder| folder.exists())
    }
}

fn is_root(folder: &Path) -> bool {
    folder.join("Cargo.toml").is_file() && folder.join(TEMPLATE).is_dir() && folder.join("xtask").is_dir()
}

/// Parses `node-<number>`, but neither `node-01` nor `node-+1`.
fn number_of(name: &str) -> Option<u32> {
    let number = name.strip_prefix("node-")?.parse().ok()?;
    (name == format!("node-{number}")).then_some(number)
}

/// One node's folder.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    pub(crate) number: u32,
    node: NodeFolder,
}

impl Deref for Folder {
    type Target = NodeFolder;

    fn deref(&self) -> &NodeFolder {
        &self.node
    }
}

/// Returns the port of a clone: 4000 plus its number, which may exceed 65535.
pub(crate) fn port_of(number: u32) -> u64 {
    4_000 + u64::from(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_node_folders() {
        let names = [
            ("node-1", Some(1)),
            ("node-10", Some(10)),
            ("node-01", None),
            ("node-", None),
            ("node-+1", None),
            ("node-1.new-7", None),
        ];
        for (name, number) in names {
            assert_eq!(number_of(name), number, "{name}");
        }
        assert_eq!(number_of("node-template"), None);
        assert_eq!(number_of("node--1"), None);
    }

    #[test]
    fn links_are_no_node_folders() {
        let root = tempfile::tempdir().expect("a folder");
        let workspace = Workspace { root: root.path().to_owned(), prefix: String::new() };
        fs::create_dir(root.path().join("elsewhere")).expect("made");
        fs::write(root.path().join("elsewhere/.env"), "PORT=1").expect("written");
        #[cfg(unix)]
        std::os::unix::fs::symlink(root.path().join("elsewhere"), root.path().join("node-2")).expect("linked");
        assert!(workspace.folders().expect("read").is_empty());
    }
}
