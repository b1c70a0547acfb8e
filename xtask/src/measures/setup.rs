//! The frame of the measurements of our own node: arguments, build, folder, and end.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use measuring::Format;

use crate::support::cargo::build_node;
use crate::support::running_nodes::block_on;
use crate::support::stop::Stop;
use crate::support::terminal::number;
use crate::support::workspace::Workspace;

#[derive(Debug, clap::Args)]
pub(crate) struct Setup {
    /// Print Markdown tables
    #[arg(long)]
    markdown: bool,
    /// Make the nodes' folders in FOLDER, which is removed at the end [default: target/ and the
    /// task's name]
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
    /// Measure this program instead of building the node
    #[arg(long, hide = true, value_name = "FILE")]
    binary: Option<PathBuf>,
}

/// How long nodes are watched.
#[derive(Debug, clap::Args)]
pub(crate) struct Watch {
    /// Watch the idle nodes for this long
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = number(1..=3_600_u64, "30"))]
    pub(crate) seconds: u64,
}

impl Setup {
    pub(crate) fn format(&self) -> Format {
        if self.markdown { Format::Markdown } else { Format::Text }
    }

    /// Returns the program to measure, a release build of the node unless another is named, and the
    /// folder for the nodes, which does not exist yet.
    pub(crate) fn prepare(&self, workspace: &Workspace, task: &str) -> Result<(PathBuf, PathBuf)> {
        let binary = match &self.binary {
            // The nodes run in folders of their own.
            Some(binary) => fs::canonicalize(binary).with_context(|| format!("{} cannot be read", binary.display()))?,
            None => build_node(workspace, true)?,
        };
        let folder = self.folder.clone().unwrap_or_else(|| Path::new("target").join(task));
        let root = workspace.root().join(folder);
        ensure!(!root.exists(), "{} is there already; remove it, or choose another with --folder", root.display());
        Ok((binary, root))
    }

    /// Prepares, measures, and removes the folder. A signal to stop ends the measurement early.
    pub(crate) fn run<T>(
        &self,
        workspace: &Workspace,
        task: &str,
        measure: impl AsyncFnOnce(&Path, &Path) -> Result<T>,
    ) -> Result<T> {
        let (binary, root) = self.prepare(workspace, task)?;
        let measured = block_on(async {
            let mut stop = Stop::new()?;
            // Dropping the measurement kills its nodes by their process ids.
            tokio::select! {
                measured = measure(&binary, &root) => measured,
                () = stop.asked() => bail!("stopped; all nodes are ended"),
            }
        });
        if root.exists() {
            fs::remove_dir_all(&root).with_context(|| format!("{} cannot be removed", root.display()))?;
        }
        measured
    }
}
