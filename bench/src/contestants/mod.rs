//! The contestants: how a node of each is started, and how much load it gets.

pub(crate) mod build;
mod cargo;
mod patched_iroh;

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::ValueEnum;

/// A kind of node, in the order of the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Our node
    Ours,
    /// Our node, which requires signatures, with transactions that were signed before
    Signed,
    /// Our node in a closed network: mutual TLS 1.3
    Tls,
    /// Both
    TlsSigned,
    /// Our node with links over iroh, on direct paths: QUIC, which encrypts
    Wan,
    /// The JavaScript node with a Set in memory
    Memory,
    /// The JavaScript node that rewrites its file
    File,
    /// rust-libp2p gossipsub, messages signed, long queues
    Gossipsub,
    /// The same with the queues of the library
    GossipsubStock,
    /// rust-libp2p gossipsub, messages anonymous, long queues
    GossipsubUnsigned,
    /// The same with the queues of the library
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

/// A program in `rivals/`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rival {
    pub(crate) program: &'static str,
    arguments: &'static [&'static str],
}

impl Kind {
    /// Whether it is our node.
    pub(crate) fn is_ours(self) -> bool {
        matches!(self, Self::Ours | Self::Signed | Self::Tls | Self::TlsSigned | Self::Wan)
    }

    /// Whether the node takes signed transactions only. (gossipsub signs what it gets itself.)
    pub(crate) fn is_signed(self) -> bool {
        matches!(self, Self::Signed | Self::TlsSigned)
    }

    /// Whether its network is closed: it speaks TLS, with members only.
    pub(crate) fn is_closed(self) -> bool {
        matches!(self, Self::Tls | Self::TlsSigned)
    }

    /// Whether its nodes link over iroh.
    pub(crate) fn is_over_iroh(self) -> bool {
        self == Self::Wan
    }

    /// Its program in `rivals/`, if it is one of them.
    pub(crate) fn rival(self) -> Option<Rival> {
        let (program, arguments): (_, &[_]) = match self {
            Self::Gossipsub => ("gossipsub", &[]),
            Self::GossipsubStock => ("gossipsub", &["--stock"]),
            Self::GossipsubUnsigned => ("gossipsub", &["--unsigned"]),
            Self::GossipsubUnsignedStock => ("gossipsub", &["--stock", "--unsigned"]),
            Self::Iroh => (patched_iroh::PROGRAM, &[]),
            Self::IrohStock => ("iroh", &["--stock"]),
            Self::Floor => ("floor", &[]),
            Self::FloorBatched => ("floor", &["--flush", "64"]),
            _ => return None,
        };
        Some(Rival { program, arguments })
    }

    /// Its name in the tables; for our node what follows the label of the build.
    fn name(self) -> &'static str {
        match self {
            Self::Ours => "",
            Self::Signed => ", signed",
            Self::Tls => ", TLS",
            Self::TlsSigned => ", TLS, signed",
            Self::Wan => ", over iroh",
            Self::Memory => "JavaScript, Set in memory",
            Self::File => "JavaScript, file",
            Self::Gossipsub => "gossipsub, signed",
            Self::GossipsubStock => "gossipsub, signed, stock queues",
            Self::GossipsubUnsigned => "gossipsub, unsigned",
            Self::GossipsubUnsignedStock => "gossipsub, unsigned, stock queues",
            Self::Iroh => "iroh-gossip, long queues",
            Self::IrohStock => "iroh-gossip, stock queues",
            Self::Floor => "floor, 1 frame per flush",
            Self::FloorBatched => "floor, 64 frames per flush",
        }
    }
}

/// A participant of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Contestant {
    pub(crate) kind: Kind,
    /// Its name in the tables.
    pub(crate) name: String,
    /// Our node is embedded in a program that records delays.
    pub(crate) is_embedded: bool,
    binary: PathBuf,
}

impl Contestant {
    /// A build of our node. Several builds can take part in one run; the label distinguishes them.
    pub(crate) fn ours(kind: Kind, label: &str, binary: PathBuf) -> Self {
        Self { kind, name: format!("{label}{}", kind.name()), is_embedded: false, binary }
    }

    /// Our node as a library in a program that records when each transaction is accepted.
    pub(crate) fn embedded(kind: Kind, binary: PathBuf) -> Self {
        Self { is_embedded: true, ..Self::ours(kind, build::LABEL, binary) }
    }

    /// Any other node.
    pub(crate) fn other(kind: Kind, binary: PathBuf) -> Self {
        Self { kind, name: kind.name().to_owned(), is_embedded: false, binary }
    }

    /// The command of one node, to be run in the node's folder. With `delays` it writes a file of
    /// that name, except for our node as a program of its own.
    pub(crate) fn command(&self, root: &Path, delays: bool) -> Command {
        let mut command = Command::new(&self.binary);
        if self.kind.is_ours() {
            command.args(self.kind.is_signed().then_some("--require-signatures"));
            return command;
        }
        if self.is_javascript() {
            let mode = if self.kind == Kind::File { "file" } else { "memory" };
            command.arg(root.join("bench/js/rival.mjs")).args(["--mode", mode]);
        }
        command.args(self.kind.rival().map_or(&[][..], |rival| rival.arguments));
        command.args(delays.then_some("--delays"));
        command
    }

    /// Whether it keeps its pool in a file, which is checked afterwards.
    pub(crate) fn has_pool_file(&self) -> bool {
        self.kind.is_ours() || self.kind == Kind::File
    }

    pub(crate) fn is_javascript(&self) -> bool {
        matches!(self.kind, Kind::Memory | Kind::File)
    }

    /// Whether its delay at a low rate and its cold start are worth a row. Stock queues do not
    /// matter then, nor do signatures, and the JavaScript node that writes files cannot keep up.
    pub(crate) fn has_own_latency(&self) -> bool {
        !self.kind.is_signed()
            && !matches!(self.kind, Kind::File | Kind::GossipsubStock | Kind::GossipsubUnsignedStock | Kind::IrohStock)
    }

    /// How many transactions a mesh of so many nodes gets: about four seconds of work on two cores.
    pub(crate) fn count(&self, nodes: usize) -> u64 {
        let [small, medium, large] = match self.kind {
            Kind::Signed | Kind::TlsSigned => [70_000, 45_000, 22_000],
            Kind::Tls | Kind::Wan => [150_000, 110_000, 60_000],
            Kind::Ours => [200_000, 150_000, 80_000],
            Kind::Memory => [80_000, 30_000, 6_000],
            // The cost of each one grows with the pool, so a longer run would be slower per
            // transaction.
            Kind::File => [1_000, 600, 300],
            Kind::Gossipsub | Kind::GossipsubStock => [36_000, 12_000, 2_600],
            Kind::GossipsubUnsigned | Kind::GossipsubUnsignedStock => [120_000, 45_000, 10_000],
            Kind::Iroh | Kind::IrohStock => [300_000, 150_000, 50_000],
            Kind::Floor => [300_000, 150_000, 60_000],
            // Half a gigabyte of frames that are made before the run.
            Kind::FloorBatched => [1_200_000, 1_000_000, 600_000],
        };
        match nodes {
            ..=3 => small,
            4..=6 => medium,
            _ => large,
        }
    }
}
