//! The command line.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, ValueEnum};

use crate::contestants::{Contestant, Kind, build};
use crate::measures::listeners::{Open, Viewer};

/// Measures our node and its rivals side by side: throughput, CPU and memory of full meshes on
/// loopback, the delay of a single transaction, and the cold start of a mesh.
#[derive(Debug, Parser)]
#[command(max_term_width = 100)]
pub(crate) struct Arguments {
    /// Only these contestants
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Kind>,
    /// Only these measurements
    #[arg(long, value_enum, value_delimiter = ',')]
    measure: Vec<What>,
    /// The sizes of the meshes [default: 3,5,10]
    #[arg(long, value_delimiter = ',')]
    nodes: Vec<usize>,
    /// How many rounds; the tables show medians [default: 3]
    #[arg(long)]
    rounds: Option<usize>,
    /// How many transactions each run gets, instead of about four seconds of work
    #[arg(long)]
    count: Option<u64>,
    /// How many pages are open on every node, for the measurement pages
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) pages: usize,
    /// For the measurement pages: what is open on every node is not a page but a view of the frames
    /// of one link
    #[arg(long)]
    pub(crate) frames: bool,
    /// One short round: a few minutes
    #[arg(long)]
    quick: bool,
    /// Write the tables as Markdown, for docs/benchmarks.md
    #[arg(long)]
    pub(crate) markdown: bool,
    /// Draw throughput and CPU per delivery by the number of nodes, as SVG files in this folder
    /// [without a folder: docs/pictures in the repository]
    #[arg(long, value_name = "FOLDER", num_args = 0..=1)]
    pictures: Option<Option<PathBuf>>,
    /// Measure this build of our node instead of the repository's; repeat it with labels to compare
    /// builds, also those of older releases
    #[arg(long, value_name = "[LABEL=]PATH")]
    binary: Vec<String>,
    /// Where the nodes' folders are made, on the disk that is measured [default: target/bench-tmp
    /// in the repository]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) folder: Option<PathBuf>,
}

/// A measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum What {
    /// Transactions sent to one node
    One,
    /// Transactions sent to all nodes at once
    All,
    /// Transactions sent to one node, with and without open pages on every node; ours only
    Pages,
    /// The delay of single transactions, 100 per second
    Delay,
    /// The time from a cold start to a full mesh
    Cold,
}

impl Arguments {
    /// Rejects what cannot be measured.
    pub(crate) fn check(&self) -> Result<()> {
        ensure!(self.nodes.iter().all(|nodes| *nodes >= 2), "--nodes: a mesh has at least 2 nodes");
        ensure!(self.rounds != Some(0), "--rounds is 0: nothing would be measured; give at least 1");
        ensure!(self.pages != 0, "--pages is 0: nothing would be compared; give at least 1");
        ensure!(self.count != Some(0), "--count is 0: nothing would be measured; give at least 1");
        Ok(())
    }

    pub(crate) fn measures(&self, what: What) -> bool {
        self.measure.is_empty() || self.measure.contains(&what)
    }

    pub(crate) fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 1 } else { 3 })
    }

    /// The sizes of meshes for throughput.
    pub(crate) fn sizes(&self) -> Vec<usize> {
        if self.nodes.is_empty() { vec![3, 5, 10] } else { self.nodes.clone() }
    }

    /// The sizes of meshes for cold starts.
    pub(crate) fn cold_sizes(&self, contestant: &Contestant) -> Vec<usize> {
        match (self.nodes.is_empty(), contestant.kind.is_ours()) {
            (false, _) => self.nodes.clone(),
            (true, true) if !self.quick => vec![3, 10, 50],
            (true, _) => vec![3, 10],
        }
    }

    /// The sizes of meshes with open pages.
    pub(crate) fn page_sizes(&self) -> Vec<usize> {
        if self.nodes.is_empty() { vec![3] } else { self.nodes.clone() }
    }

    /// The sizes of meshes for delays.
    pub(crate) fn delay_sizes(&self) -> Vec<usize> {
        if self.nodes.is_empty() { vec![3, 10] } else { self.nodes.clone() }
    }

    /// How long transactions are sent when delays are measured.
    pub(crate) fn delay_time(&self) -> Duration {
        Duration::from_secs(if self.quick { 3 } else { 8 })
    }

    /// What is open, and how often.
    pub(crate) fn open(&self) -> Open {
        Open { each: self.pages, what: if self.frames { Viewer::Frames } else { Viewer::Page } }
    }

    /// How many transactions a contestant gets.
    pub(crate) fn count(&self, contestant: &Contestant, nodes: usize) -> u64 {
        let usual = contestant.count(nodes);
        self.count.unwrap_or(if self.quick { usual / 3 } else { usual })
    }

    /// The contestants, in the order of the tables. Builds what they need.
    pub(crate) fn contestants(&self, root: &Path) -> Result<Vec<Contestant>> {
        let takes_part = |kind: &Kind| self.only.is_empty() || self.only.contains(kind);
        let kinds: Vec<_> = Kind::value_variants().iter().copied().filter(takes_part).collect();
        let (ours, others): (Vec<Kind>, Vec<Kind>) = kinds.into_iter().partition(|kind| kind.is_ours());
        let builds = if ours.is_empty() { Vec::new() } else { self.builds(root)? };
        let of_kind = |kind: Kind| builds.iter().map(move |(label, path)| Contestant::ours(kind, label, path.clone()));
        let mut contestants: Vec<_> = ours.iter().copied().flat_map(of_kind).collect();
        let embedded: Vec<_> =
            ours.into_iter().filter(|kind| !kind.is_signed() && self.measures(What::Delay)).collect();
        // One call of cargo builds all, so what they share is built once.
        let mut programs: Vec<_> = others.iter().filter_map(|kind| Some(kind.rival()?.program)).collect();
        programs.extend((!embedded.is_empty()).then_some("embedded"));
        let folder = build::rivals(root, &programs)?;
        contestants.extend(embedded.into_iter().map(|kind| Contestant::embedded(kind, folder.join("embedded"))));
        let binary = |kind: Kind| kind.rival().map_or_else(|| "node".into(), |rival| folder.join(rival.program));
        contestants.extend(others.into_iter().map(|kind| Contestant::other(kind, binary(kind))));
        if contestants.iter().any(Contestant::is_javascript) && !root.join("interop/node_modules/ws").is_dir() {
            bail!("the JavaScript nodes lack their packages: run `npm ci --prefix interop`, or add --only ours");
        }
        Ok(contestants)
    }

    /// The builds of our node, with their labels.
    fn builds(&self, root: &Path) -> Result<Vec<(String, PathBuf)>> {
        if self.binary.is_empty() {
            return Ok(vec![(build::LABEL.to_owned(), build::node(root)?)]);
        }
        self.binary.iter().map(|binary| labelled_binary(binary)).collect()
    }

    /// The folder for charts, if they are drawn.
    pub(crate) fn charts(&self, root: &Path) -> Option<PathBuf> {
        let folder = self.pictures.as_ref()?;
        Some(folder.clone().unwrap_or_else(|| root.join("docs/pictures")))
    }
}

fn labelled_binary(binary: &str) -> Result<(String, PathBuf)> {
    let (label, path) = binary.split_once('=').unwrap_or((build::LABEL, binary));
    // Absolute, because the nodes run in folders of their own.
    let binary = Path::new(path).canonicalize().with_context(|| format!("--binary: {path} is not found"))?;
    Ok((label.to_owned(), binary))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_measure_nothing_is_rejected() {
        for wrong in ["--nodes=3,1", "--rounds=0", "--count=0", "--pages=0"] {
            assert!(Arguments::parse_from(["bench", wrong]).check().is_err(), "{wrong}");
        }
        Arguments::parse_from(["bench", "--nodes=2", "--rounds=1"]).check().unwrap();
    }

    #[test]
    fn quick_is_a_third_and_a_given_count_is_kept() {
        let rival = Contestant::other(Kind::Memory, "node".into());
        assert_eq!(Arguments::parse_from(["bench", "--quick"]).count(&rival, 10), 2_000);
        assert_eq!(Arguments::parse_from(["bench", "--quick", "--count=7"]).count(&rival, 10), 7);
    }

    #[test]
    fn charts_are_drawn_in_the_given_folder() {
        let folder = |arguments: &[&str]| Arguments::parse_from(arguments).charts(Path::new("/repository"));
        assert_eq!(folder(&["bench"]), None);
        assert_eq!(folder(&["bench", "--pictures"]), Some("/repository/docs/pictures".into()));
        assert_eq!(folder(&["bench", "--pictures", "/tmp/x"]), Some("/tmp/x".into()));
    }
}
