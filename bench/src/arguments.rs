//! What is to be measured, as the command line says it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, ValueEnum};

use crate::contestant::Contestant;

/// Measures our node and its rivals side by side: throughput, CPU and memory of full meshes on loopback, and the time that a mesh takes from a cold start.
#[derive(Debug, Parser)]
#[command(max_term_width = 100)]
pub(crate) struct Arguments {
    /// Only these contestants
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Who>,
    /// Only these measurements
    #[arg(long, value_enum, value_delimiter = ',')]
    measure: Vec<What>,
    /// The sizes of the meshes [default: 3,5,10]
    #[arg(long, value_delimiter = ',')]
    nodes: Vec<usize>,
    /// How often each run is made; the tables show medians [default: 3]
    #[arg(long)]
    rounds: Option<usize>,
    /// Push so many transactions in each run, instead of about four seconds' work
    #[arg(long)]
    count: Option<u64>,
    /// One short round: about a minute
    #[arg(long)]
    quick: bool,
    /// Write the tables as Markdown, for docs/benchmarks.md
    #[arg(long)]
    pub(crate) markdown: bool,
    /// Measure this build of our node instead of the repository's; give it twice or more, with labels, to compare builds in one run
    #[arg(long, value_name = "[LABEL=]PATH")]
    binary: Vec<String>,
    /// Where the nodes' folders are made [default: target/bench-tmp in the repository]; it decides which disk is measured
    #[arg(long, value_name = "FOLDER")]
    pub(crate) folder: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Who {
    /// Our node
    Ours,
    /// The JavaScript node with a Set in memory
    Memory,
    /// The JavaScript node that rewrites its file
    File,
}

/// One kind of measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum What {
    /// Transactions pushed at one node
    One,
    /// Transactions pushed at all nodes at once
    All,
    /// Time to a full mesh from a cold start
    Cold,
}

impl Arguments {
    /// Refuses what can not be measured.
    pub(crate) fn check(&self) -> Result<()> {
        ensure!(self.nodes.iter().all(|nodes| *nodes >= 2), "--nodes: a mesh has at least 2 nodes");
        ensure!(self.rounds != Some(0), "--rounds is 0: nothing would be measured; give at least 1");
        ensure!(self.count != Some(0), "--count is 0: nothing would be measured; give at least 1");
        Ok(())
    }

    /// Whether something is to be measured.
    pub(crate) fn measures(&self, what: What) -> bool {
        self.measure.is_empty() || self.measure.contains(&what)
    }

    /// How often.
    pub(crate) fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 1 } else { 3 })
    }

    /// The sizes of the meshes that are loaded.
    pub(crate) fn sizes(&self) -> Vec<usize> {
        if self.nodes.is_empty() { vec![3, 5, 10] } else { self.nodes.clone() }
    }

    /// The sizes of the meshes that are started cold.
    pub(crate) fn cold_sizes(&self, contestant: &Contestant) -> Vec<usize> {
        match (self.nodes.is_empty(), contestant) {
            (false, _) => self.nodes.clone(),
            (true, Contestant::Ours { .. }) if !self.quick => vec![3, 10, 50],
            (true, _) => vec![3, 10],
        }
    }

    /// How many transactions a contestant is given.
    pub(crate) fn count(&self, contestant: &Contestant, nodes: usize) -> u64 {
        let usual = contestant.count(nodes) as u64;
        self.count.unwrap_or(if self.quick { usual / 3 } else { usual })
    }

    /// Who takes part. Our node is built if no build was given.
    pub(crate) fn contestants(&self, root: &Path) -> Result<Vec<Contestant>> {
        let takes_part = |who| self.only.is_empty() || self.only.contains(&who);
        let mut contestants = Vec::new();
        if takes_part(Who::Ours) {
            for binary in &self.binary {
                contestants.push(given(binary)?);
            }
            if self.binary.is_empty() {
                contestants.push(built(root)?);
            }
        }
        if takes_part(Who::Memory) {
            contestants.push(Contestant::JavaScriptMemory);
        }
        if takes_part(Who::File) {
            contestants.push(Contestant::JavaScriptFile);
        }
        let javascript = contestants.iter().any(|contestant| !contestant.is_ours());
        if javascript && !root.join("interop/node_modules/ws").is_dir() {
            bail!(
                "the JavaScript nodes lack their packages: run `npm ci --prefix interop`, or leave them out with --only ours"
            );
        }
        Ok(contestants)
    }
}

fn given(binary: &str) -> Result<Contestant> {
    let (label, path) = binary.split_once('=').unwrap_or(("p2p-node", binary));
    // The nodes run in folders of their own.
    let binary = Path::new(path).canonicalize().with_context(|| format!("--binary: {path} can not be found"))?;
    Ok(Contestant::Ours { label: label.to_owned(), binary })
}

fn built(root: &Path) -> Result<Contestant> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.current_dir(root).args(["build", "--release", "--quiet", "--package", "p2p-node", "--bin", "p2p-node"]);
    let status = build.status().context("cargo can not be started")?;
    ensure!(status.success(), "the node could not be built");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |target| root.join(target));
    Ok(Contestant::Ours { label: "p2p-node".to_owned(), binary: target.join("release/p2p-node") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_measure_nothing_is_refused() {
        for wrong in ["--nodes=3,1", "--rounds=0", "--count=0"] {
            assert!(Arguments::parse_from(["bench", wrong]).check().is_err(), "{wrong}");
        }
        Arguments::parse_from(["bench", "--nodes=2", "--rounds=1"]).check().unwrap();
    }

    #[test]
    fn quick_is_a_third_and_a_given_count_is_kept() {
        let rival = Contestant::JavaScriptMemory;
        assert_eq!(Arguments::parse_from(["bench", "--quick"]).count(&rival, 10), 2_000);
        assert_eq!(Arguments::parse_from(["bench", "--quick", "--count=7"]).count(&rival, 10), 7);
    }
}
