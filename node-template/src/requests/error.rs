//! Why a request has no answer, each in one line.

use std::time::Duration;

use meshpool_proto::id::NodeId;
use meshpool_proto::limits::REQUEST_BYTES;

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// No node with this id is in the network, as far as this node knows.
    #[error("no node {} is known here: check the id, or wait until it has announced itself", .0.short())]
    UnknownPeer(NodeId),
    /// No connection leads to the node, or it ended before the answer. The request may have been
    /// served.
    #[error("node {} is not reachable: {why}", .peer.short())]
    NotReachable {
        /// The node.
        peer: NodeId,
        /// What happened, and what to do.
        why: String,
    },
    /// There was no answer in time. The request may have been served.
    #[error("node {} did not answer within {} s: ask again, or allow more time with .timeout(…)", .peer.short(), .after.as_secs_f64())]
    TimedOut {
        /// The node.
        peer: NodeId,
        /// How long was waited.
        after: Duration,
    },
    /// The node does not serve this request. Its handler was not called.
    #[error("node {} refused: {why}", .peer.short())]
    Refused {
        /// The node.
        peer: NodeId,
        /// Why.
        why: Refusal,
    },
    /// The handler there failed.
    #[error("the handler of node {} failed: {why}", .peer.short())]
    HandlerFailed {
        /// The node.
        peer: NodeId,
        /// What it says.
        why: String,
    },
    /// The payload is too long.
    #[error("the request has {0} bytes, and at most {REQUEST_BYTES} are allowed: split it")]
    TooLong(usize),
    /// Too many requests of this node are under way.
    #[error("too many requests of this node are under way: wait for some to be answered")]
    Busy,
    /// The node has ended.
    #[error("the node has ended")]
    Ended,
}

/// Why a node does not serve a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The application there serves no requests.
    #[error("its application serves no requests")]
    NotServed,
    /// It serves too many at once.
    #[error("it serves too many requests at once; ask again in a moment")]
    Busy,
    /// It is of a release that does not know requests.
    #[error("it does not know requests; it is of an earlier release")]
    NotSupported,
    /// Its access rules deny it.
    #[error("{0}")]
    Denied(String),
}
