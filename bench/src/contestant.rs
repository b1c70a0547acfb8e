//! Who takes part: how a node of each is started, and how much it is given to do.

use std::path::{Path, PathBuf};
use std::process::Command;

/// One of those that are compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Contestant {
    /// Our node. Several builds can take part in one run, told apart by their labels.
    Ours {
        /// What the tables call it.
        label: String,
        /// The program.
        binary: PathBuf,
    },
    /// A JavaScript node in the usual manner of the exercise, that knows transactions by a Set and writes nothing.
    JavaScriptMemory,
    /// The same, but reading and writing the whole file for each transaction, as the exercise's helper does.
    JavaScriptFile,
}

impl Contestant {
    /// Its name in the tables.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Ours { label, .. } => label,
            Self::JavaScriptMemory => "JavaScript, Set in memory",
            Self::JavaScriptFile => "JavaScript, file",
        }
    }

    /// The command of one node, to be run in the node's folder.
    pub(crate) fn command(&self, root: &Path) -> Command {
        let mode = match self {
            Self::Ours { binary, .. } => return Command::new(binary),
            Self::JavaScriptMemory => "memory",
            Self::JavaScriptFile => "file",
        };
        let mut command = Command::new("node");
        command.arg(root.join("bench/js/rival.mjs")).args(["--mode", mode]);
        command
    }

    /// Whether it keeps its pool in a file, to be looked at afterwards.
    pub(crate) fn keeps_a_file(&self) -> bool {
        !matches!(self, Self::JavaScriptMemory)
    }

    /// Whether it is ours.
    pub(crate) fn is_ours(&self) -> bool {
        matches!(self, Self::Ours { .. })
    }

    /// How many transactions it is given in a mesh of so many nodes: about four seconds of work, as it was measured on two cores.
    pub(crate) fn count(&self, nodes: usize) -> usize {
        let per_size = |small, middle, large| match nodes {
            ..=3 => small,
            4..=6 => middle,
            _ => large,
        };
        match self {
            Self::Ours { .. } => per_size(200_000, 150_000, 80_000),
            Self::JavaScriptMemory => per_size(80_000, 30_000, 6_000),
            // The cost of each one grows with the pool, so a longer run would only look slower.
            Self::JavaScriptFile => per_size(1_000, 600, 300),
        }
    }
}
