//! What a node is given at its start.

use std::sync::Arc;

use crate::address::PeerAddress;
use crate::id::{NodeId, Session};
use crate::limits::Limits;
use crate::signature::Signer;
use crate::wire::{RememberedAddress, RememberedExercise};

/// The settings of a node's core.
#[derive(Debug, Clone)]
pub struct Config {
    /// The node's id.
    pub node: NodeId,
    /// The node's session: this run of its process.
    pub session: Session,
    /// The program and its version, for people.
    pub agent: String,
    /// The name of the network; nodes of different networks do not link.
    pub network: String,
    /// Where others can dial this node by WebSocket.
    pub address: PeerAddress,
    /// Whether `iroh:` addresses can be dialled. Otherwise they are ignored.
    pub wan: bool,
    /// Whether this node is a relay for nodes that are reached by their ids.
    pub relays: bool,
    /// The addresses that are dialled from the start and never forgotten.
    pub known_peers: Vec<PeerAddress>,
    /// The peer cache: addresses that led to nodes when this node last ran.
    pub remembered_peers: Vec<RememberedAddress>,
    /// The exercise peers of this node's last run.
    pub remembered_exercise: Vec<RememberedExercise>,
    /// The most nodes to link to; `None`: all, a full mesh.
    pub max_peers: Option<u32>,
    /// The bootstrap node: it is asked for a first peer.
    pub genesis: Option<PeerAddress>,
    /// When the session began, in seconds since 1970.
    pub since: u64,
    /// The bounds that this node keeps.
    pub limits: Limits,
    /// Signs what this node says, and verifies what others say.
    pub signer: Arc<dyn Signer>,
    /// Seeds every random choice: equal seeds and equal inputs give equal outputs.
    pub seed: u64,
}
