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
        /// Whom it trusts.
        trust: Trust,
    },
    /// Our node as a library, in a program that notes when each transaction is accepted: for delays
    /// alone.
    Embedded {
        /// The program.
        binary: PathBuf,
        /// Whom it trusts.
        trust: Trust,
    },
    /// A JavaScript node in the usual manner of the exercise, that knows transactions by a Set and
    /// writes nothing.
    JavaScriptMemory,
    /// The same, but reading and writing the whole file for each transaction, as the exercise's
    /// helper does.
    JavaScriptFile,
    /// A node of another library, one of the programs in `rivals/`.
    Rival {
        /// Which, and how it is set.
        kind: Rival,
        /// The program.
        binary: PathBuf,
    },
}

/// Whom our node trusts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Trust {
    /// It takes signed transactions, and no others.
    pub(crate) signed: bool,
    /// Its network is closed: it speaks TLS, and only with those who have a certificate of the
    /// network.
    pub(crate) closed: bool,
}

impl Trust {
    /// What the tables add to the name.
    fn suffix(self) -> &'static str {
        match (self.closed, self.signed) {
            (false, false) => "",
            (false, true) => ", signed",
            (true, false) => ", TLS",
            (true, true) => ", TLS, signed",
        }
    }
}

/// The libraries that are compared with, and how they are set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rival {
    /// rust-libp2p's gossipsub.
    Gossipsub {
        /// Messages have an author, a number and a signature.
        signed: bool,
        /// Queues as the library sets them.
        stock: bool,
    },
    /// iroh-gossip.
    Iroh {
        /// Queues as the library sets them.
        stock: bool,
    },
    /// tokio-tungstenite that sends frames to everybody and counts them.
    Floor {
        /// How many frames leave per flush.
        flush: Flush,
    },
}

/// How many frames the floor sends per flush.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flush {
    /// Each alone.
    Single,
    /// 64, if as many wait.
    Batch,
}

impl Rival {
    /// Its program in `rivals/`.
    pub(crate) fn program(self) -> &'static str {
        match self {
            Self::Gossipsub { .. } => "gossipsub",
            Self::Iroh { stock: true } => "iroh",
            Self::Iroh { stock: false } => "iroh-enlarged",
            Self::Floor { .. } => "floor",
        }
    }

    /// The feature of `rivals/` that brings in its library, if it needs one.
    pub(crate) fn feature(self) -> Option<&'static str> {
        (!matches!(self, Self::Floor { .. })).then(|| self.program())
    }

    /// Whether it is built of a library whose constants were changed.
    pub(crate) fn is_enlarged(self) -> bool {
        self == Self::Iroh { stock: false }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Gossipsub { signed: true, stock: false } => "gossipsub, signed",
            Self::Gossipsub { signed: true, stock: true } => "gossipsub, signed, stock queues",
            Self::Gossipsub { signed: false, stock: false } => "gossipsub, unsigned",
            Self::Gossipsub { signed: false, stock: true } => "gossipsub, unsigned, stock queues",
            Self::Iroh { stock: false } => "iroh-gossip, long queues",
            Self::Iroh { stock: true } => "iroh-gossip, stock queues",
            Self::Floor { flush: Flush::Single } => "floor, 1 frame per flush",
            Self::Floor { flush: Flush::Batch } => "floor, 64 frames per flush",
        }
    }

    fn arguments(self) -> Vec<&'static str> {
        let (stock, unsigned) = match self {
            Self::Floor { flush: Flush::Single } => return Vec::new(),
            Self::Floor { flush: Flush::Batch } => return vec!["--flush", "64"],
            Self::Gossipsub { signed, stock } => (stock, !signed),
            Self::Iroh { stock } => (stock, false),
        };
        [(stock, "--stock"), (unsigned, "--unsigned")].iter().filter(|(set, _)| *set).map(|(_, flag)| *flag).collect()
    }
}

impl Contestant {
    /// Its name in the tables.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Ours { label, trust, .. } => format!("{label}{}", trust.suffix()),
            Self::Embedded { trust, .. } => format!("p2p-node{}", trust.suffix()),
            Self::JavaScriptMemory => "JavaScript, Set in memory".to_owned(),
            Self::JavaScriptFile => "JavaScript, file".to_owned(),
            Self::Rival { kind, .. } => kind.name().to_owned(),
        }
    }

    /// The command of one node, to be run in the node's folder. With `delays` it leaves a file of
    /// that name, if it can.
    pub(crate) fn command(&self, root: &Path, delays: bool) -> Command {
        let mut command = match self {
            // The one writes no delays, the other always.
            Self::Ours { binary, trust, .. } | Self::Embedded { binary, trust } => {
                let mut command = Command::new(binary);
                command.args(trust.signed.then_some("--require-signatures"));
                return command;
            }
            Self::JavaScriptMemory => javascript(root, "memory"),
            Self::JavaScriptFile => javascript(root, "file"),
            Self::Rival { kind, binary } => {
                let mut command = Command::new(binary);
                command.args(kind.arguments());
                command
            }
        };
        if delays {
            command.arg("--delays");
        }
        command
    }

    /// Whether it keeps its pool in a file, to be looked at afterwards.
    pub(crate) fn keeps_a_file(&self) -> bool {
        self.is_ours() || *self == Self::JavaScriptFile
    }

    /// Whether it is ours.
    pub(crate) fn is_ours(&self) -> bool {
        matches!(self, Self::Ours { .. } | Self::Embedded { .. })
    }

    /// Whether it is in a program that notes delays.
    pub(crate) fn is_embedded(&self) -> bool {
        matches!(self, Self::Embedded { .. })
    }

    /// Whether the transactions that are pushed at it are signed. Gossipsub signs what it is given
    /// itself.
    pub(crate) fn wants_signatures(&self) -> bool {
        self.trust().signed
    }

    /// Whether its network is closed: it is pushed at and asked over TLS, with a certificate.
    pub(crate) fn is_closed(&self) -> bool {
        self.trust().closed
    }

    fn trust(&self) -> Trust {
        match self {
            Self::Ours { trust, .. } | Self::Embedded { trust, .. } => *trust,
            _ => Trust::default(),
        }
    }

    /// Whether it is written in JavaScript.
    pub(crate) fn is_javascript(&self) -> bool {
        matches!(self, Self::JavaScriptMemory | Self::JavaScriptFile)
    }

    /// Whether its delay at a low rate and its cold start say anything of their own. One with stock
    /// queues is then the one with longer queues, and the JavaScript node that writes files starts
    /// as the other does and can not keep up with the rate. Ours with signatures starts as it does
    /// without.
    pub(crate) fn is_plain(&self) -> bool {
        match self {
            Self::JavaScriptFile => false,
            Self::Rival { kind: Rival::Gossipsub { stock, .. } | Rival::Iroh { stock }, .. } => !stock,
            _ => !self.wants_signatures(),
        }
    }

    /// How many transactions it is given in a mesh of so many nodes: about four seconds of work, as
    /// it was measured on two cores.
    pub(crate) fn count(&self, nodes: usize) -> usize {
        let per_size = |small, middle, large| match nodes {
            ..=3 => small,
            4..=6 => middle,
            _ => large,
        };
        match self {
            _ if self.wants_signatures() => per_size(70_000, 45_000, 22_000),
            _ if self.is_closed() => per_size(150_000, 110_000, 60_000),
            Self::Ours { .. } | Self::Embedded { .. } => per_size(200_000, 150_000, 80_000),
            Self::JavaScriptMemory => per_size(80_000, 30_000, 6_000),
            // The cost of each one grows with the pool, so a longer run would only look slower.
            Self::JavaScriptFile => per_size(1_000, 600, 300),
            Self::Rival { kind: Rival::Gossipsub { signed: true, .. }, .. } => per_size(36_000, 12_000, 2_600),
            Self::Rival { kind: Rival::Gossipsub { signed: false, .. }, .. } => per_size(120_000, 45_000, 10_000),
            Self::Rival { kind: Rival::Iroh { .. }, .. } => per_size(300_000, 150_000, 50_000),
            Self::Rival { kind: Rival::Floor { flush: Flush::Single }, .. } => per_size(300_000, 150_000, 60_000),
            // Half a gigabyte of frames that are made before.
            Self::Rival { kind: Rival::Floor { flush: Flush::Batch }, .. } => per_size(1_200_000, 1_000_000, 600_000),
        }
    }
}

fn javascript(root: &Path, mode: &str) -> Command {
    let mut command = Command::new("node");
    command.arg(root.join("bench/js/rival.mjs")).args(["--mode", mode]);
    command
}
