//! The trace of one transaction through this node, for people: who brought it, and for each link
//! whether it goes out there, and why not.
//!
//! The runtime asks for the traces of so many transactions; all others are not looked at.

use crate::event::PeerName;
use crate::id::LinkId;
use crate::transaction::{Origin, TransactionId};

/// The most links that a trace names: as many as a person reads.
pub const TRACED_LINKS: usize = 64;

/// How a node handled a transaction that was new to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// The transaction.
    pub id: TransactionId,
    /// The node that sent it first, as far as is known; `None` if it came with a comparison of
    /// pools.
    pub origin: Option<Origin>,
    /// The link that brought it, and the node at its other end; `None` if this program did, or its
    /// file.
    pub from: Option<(LinkId, PeerName)>,
    /// The first links that were open then, the oldest first, at most [`TRACED_LINKS`]; without
    /// those of clients.
    pub links: Vec<TracedLink>,
    /// The number of further links.
    pub more: usize,
    /// The number of links of clients, which get no transactions.
    pub clients: usize,
}

/// What a node decided about a transaction and a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TracedLink {
    /// The link.
    pub link: LinkId,
    /// The node at its other end.
    pub peer: PeerName,
    /// What was decided.
    pub decision: SendDecision,
}

/// Whether a transaction goes out on a link, and why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendDecision {
    /// It goes out.
    Sent,
    /// It does, but the link's queue was full: the peer finds it by a comparison of pools, or gets
    /// it from the pool's file.
    QueueFull,
    /// The peer brought it, on this link or another one.
    Brought,
    /// The peer is its origin.
    Origin,
    /// The peer asked by PRUNE for nothing of this origin: another link brings it.
    Pruned,
    /// It came with a comparison of pools, and native peers find it by comparisons of their own.
    Compares,
    /// Of two links to one peer only the older carries transactions.
    SecondLink,
    /// The exercise peer sends on this link, and reads on the other one.
    ReadsElsewhere,
    /// Transactions to this exercise peer are held back until it is known that it checks types.
    Withheld,
    /// The peer is behind: it gets this from the pool, or by a comparison of pools.
    Behind,
    /// The HANDSHAKEs are not done, or the peer has no slot.
    NotLinked,
    /// The link is being closed.
    Closing,
}
