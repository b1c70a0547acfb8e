//! What is to be measured, as the command line says it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, ValueEnum};

use crate::build;
use crate::contestant::{Contestant, Flush, Rival, Trust};

/// Measures our node and its rivals side by side: throughput, CPU and memory of full meshes on
/// loopback, the delay of a single transaction, and the time that a mesh takes from a cold start.
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
    /// How many pages are open on every node, where that is measured
    #[arg(long, value_name = "N", default_value_t = 1)]
    pages: usize,
    /// One short round: a few minutes
    #[arg(long)]
    quick: bool,
    /// Write the tables as Markdown, for docs/benchmarks.md
    #[arg(long)]
    pub(crate) markdown: bool,
    /// Draw throughput and CPU per delivery over the number of nodes, as SVG files in this folder
    /// [without a folder: docs/pictures in the repository]
    #[arg(long, value_name = "FOLDER", num_args = 0..=1)]
    pictures: Option<Option<PathBuf>>,
    /// Measure this build of our node instead of the repository's; give it twice or more, with
    /// labels, to compare builds in one run
    #[arg(long, value_name = "[LABEL=]PATH")]
    binary: Vec<String>,
    /// Where the nodes' folders are made [default: target/bench-tmp in the repository]; it decides
    /// which disk is measured
    #[arg(long, value_name = "FOLDER")]
    pub(crate) folder: Option<PathBuf>,
}

/// Who takes part, in the order of the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Who {
    /// Our node
    Ours,
    /// Our node, which requires signatures, with transactions that were signed before
    Signed,
    /// Our node in a closed network: mutual TLS 1.3
    Tls,
    /// Both
    TlsSigned,
    /// The JavaScript node with a Set in memory
    Memory,
    /// The JavaScript node that rewrites its file
    File,
    /// rust-libp2p gossipsub, messages signed, long queues
    Gossipsub,
    /// The same with the queues that the library sets
    GossipsubStock,
    /// rust-libp2p gossipsub, messages anonymous, long queues
    GossipsubUnsigned,
    /// The same with the queues that the library sets
    GossipsubUnsignedStock,
    /// iroh-gossip, built with long queues
    Iroh,
    /// The library as it is published
    IrohStock,
    /// tokio-tungstenite that only counts frames, each flushed alone
    Floor,
    /// The same with 64 frames per flush
    FloorBatched,
}

impl Who {
    fn rival(self) -> Option<Rival> {
        Some(match self {
            Self::Ours | Self::Signed | Self::Tls | Self::TlsSigned | Self::Memory | Self::File => return None,
            Self::Gossipsub => Rival::Gossipsub { signed: true, stock: false },
            Self::GossipsubStock => Rival::Gossipsub { signed: true, stock: true },
            Self::GossipsubUnsigned => Rival::Gossipsub { signed: false, stock: false },
            Self::GossipsubUnsignedStock => Rival::Gossipsub { signed: false, stock: true },
            Self::Iroh => Rival::Iroh { stock: false },
            Self::IrohStock => Rival::Iroh { stock: true },
            Self::Floor => Rival::Floor { flush: Flush::Single },
            Self::FloorBatched => Rival::Floor { flush: Flush::Batch },
        })
    }

    /// Whom our node trusts, if it is ours.
    fn trust(self) -> Option<Trust> {
        let (closed, signed) = match self {
            Self::Ours => (false, false),
            Self::Signed => (false, true),
            Self::Tls => (true, false),
            Self::TlsSigned => (true, true),
            _ => return None,
        };
        Some(Trust { signed, closed })
    }
}

/// One kind of measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum What {
    /// Transactions pushed at one node
    One,
    /// Transactions pushed at all nodes at once
    All,
    /// Transactions pushed at one node, with and without pages open on every node; ours only
    Pages,
    /// The delay of single transactions, 100 per second
    Delay,
    /// Time to a full mesh from a cold start
    Cold,
}

impl Arguments {
    /// Refuses what can not be measured.
    pub(crate) fn check(&self) -> Result<()> {
        ensure!(self.nodes.iter().all(|nodes| *nodes >= 2), "--nodes: a mesh has at least 2 nodes");
        ensure!(self.rounds != Some(0), "--rounds is 0: nothing would be measured; give at least 1");
        ensure!(self.pages != 0, "--pages is 0: nothing would be compared; give at least 1");
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

    /// The sizes of the meshes whose pages are open.
    pub(crate) fn page_sizes(&self) -> Vec<usize> {
        if self.nodes.is_empty() { vec![3] } else { self.nodes.clone() }
    }

    /// How many pages are open on every node.
    pub(crate) fn pages(&self) -> usize {
        self.pages
    }

    /// The sizes of the meshes in which delays are measured.
    pub(crate) fn delay_sizes(&self) -> Vec<usize> {
        if self.nodes.is_empty() { vec![3, 10] } else { self.nodes.clone() }
    }

    /// For how long transactions are pushed when their delay is measured.
    pub(crate) fn delay_time(&self) -> Duration {
        Duration::from_secs(if self.quick { 3 } else { 8 })
    }

    /// How many transactions a contestant is given.
    pub(crate) fn count(&self, contestant: &Contestant, nodes: usize) -> u64 {
        let usual = contestant.count(nodes) as u64;
        self.count.unwrap_or(if self.quick { usual / 3 } else { usual })
    }

    /// Who takes part. What is to be built is built: our node if no build was given, and the
    /// rivals.
    pub(crate) fn contestants(&self, root: &Path) -> Result<Vec<Contestant>> {
        let takes_part = |who: &Who| self.only.is_empty() || self.only.contains(who);
        let who: Vec<_> = Who::value_variants().iter().copied().filter(takes_part).collect();
        let rivals: Vec<_> = who.iter().filter_map(|who| who.rival()).collect();
        let trusts: Vec<_> = who.iter().filter_map(|who| who.trust()).collect();
        let builds = if trusts.is_empty() { Vec::new() } else { self.builds(root)? };
        let ours = |trust| {
            let build = move |(label, binary): &(String, PathBuf)| Contestant::Ours {
                label: label.clone(),
                binary: binary.clone(),
                trust,
            };
            builds.iter().map(build)
        };
        let mut contestants: Vec<_> = trusts.iter().copied().flat_map(ours).collect();
        // All in one call of cargo: so what they share is built once.
        let embedded: Vec<_> = trusts.into_iter().filter(|trust| !trust.signed && self.measures(What::Delay)).collect();
        let folder = build::rivals(root, &rivals, !embedded.is_empty())?;
        contestants
            .extend(embedded.into_iter().map(|trust| Contestant::Embedded { binary: folder.join("embedded"), trust }));
        contestants.extend(who.contains(&Who::Memory).then_some(Contestant::JavaScriptMemory));
        contestants.extend(who.contains(&Who::File).then_some(Contestant::JavaScriptFile));
        contestants
            .extend(rivals.into_iter().map(|kind| Contestant::Rival { kind, binary: folder.join(kind.program()) }));
        if contestants.iter().any(Contestant::is_javascript) && !root.join("interop/node_modules/ws").is_dir() {
            bail!(
                "the JavaScript nodes lack their packages: run `npm ci --prefix interop`, or leave them out with --only ours"
            );
        }
        Ok(contestants)
    }

    /// The builds of our node that take part, with their labels.
    fn builds(&self, root: &Path) -> Result<Vec<(String, PathBuf)>> {
        if self.binary.is_empty() {
            return Ok(vec![("p2p-node".to_owned(), build::node(root)?)]);
        }
        self.binary.iter().map(|binary| given(binary)).collect()
    }

    /// Where pictures are to be drawn, if they are.
    pub(crate) fn pictures(&self, root: &Path) -> Option<PathBuf> {
        let folder = self.pictures.as_ref()?;
        Some(folder.clone().unwrap_or_else(|| root.join("docs/pictures")))
    }
}

fn given(binary: &str) -> Result<(String, PathBuf)> {
    let (label, path) = binary.split_once('=').unwrap_or(("p2p-node", binary));
    // The nodes run in folders of their own.
    let binary = Path::new(path).canonicalize().with_context(|| format!("--binary: {path} can not be found"))?;
    Ok((label.to_owned(), binary))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_measure_nothing_is_refused() {
        for wrong in ["--nodes=3,1", "--rounds=0", "--count=0", "--pages=0"] {
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

    #[test]
    fn pictures_are_drawn_where_they_are_wanted() {
        let folder = |arguments: &[&str]| Arguments::parse_from(arguments).pictures(Path::new("/repository"));
        assert_eq!(folder(&["bench"]), None);
        assert_eq!(folder(&["bench", "--pictures"]), Some("/repository/docs/pictures".into()));
        assert_eq!(folder(&["bench", "--pictures", "/tmp/x"]), Some("/tmp/x".into()));
    }
}
