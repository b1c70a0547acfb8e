//! Why a request has no answer, each in one line.

use std::time::Duration;

use meshpool_proto::address::PeerAddress;
use meshpool_proto::causes::DialError;
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
        why: Unreachable,
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
        /// The reason that it gave.
        why: Refusal,
    },
    /// The handler there failed.
    #[error("the handler of node {} failed: {why}", .peer.short())]
    HandlerFailed {
        /// The node.
        peer: NodeId,
        /// The error that it returned, or that it panicked.
        why: String,
    },
    /// The payload is too long.
    #[error("the request has {0} bytes, and at most {REQUEST_BYTES} are allowed: split it")]
    TooLong(usize),
    /// Too many requests of this node are under way.
    #[error("too many requests of this node are under way: wait for some to be answered")]
    Busy,
    /// The node has ended.
    #[error("the node has ended; start it again")]
    Ended,
}

/// Why no connection leads to a node, or none any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unreachable {
    /// It names no address for this node.
    #[error("it names no address that can be dialled from here; let it ask, or set its ADDRESS")]
    NoAddress,
    /// It cannot be dialled.
    #[error("{address}: {error}")]
    NotDialled {
        /// Its address.
        address: PeerAddress,
        /// How the dial failed.
        error: DialError,
    },
    /// Another node is at its address.
    #[error("another node answers at {0}; wait until it has announced its new address")]
    AnotherNode(PeerAddress),
    /// It does not prove at its address that it is the node.
    #[error("{why} at {address}")]
    NotProved {
        /// Its address.
        address: PeerAddress,
        /// What answers there.
        why: String,
    },
    /// Its link ended while it was asked over it to open a connection.
    #[error("its link ended just now; ask again")]
    LinkEnded,
    /// It cannot be dialled, and opened no connection in time when it was asked to over its link.
    #[error("it cannot be dialled from here, and opened no connection within {} s when its link asked for one; its log at level debug says why", .0.as_secs_f64())]
    NotCalledBack(Duration),
    /// It opened a connection, and this node refused it.
    #[error("it was asked to open a connection, and that was refused here; the log at level debug says why")]
    CallbackRefused,
    /// The connection that it opened ended before the request was sent.
    #[error("the connection that it opened ended at once; ask again")]
    CallbackEnded,
    /// The connection ended before the request was sent.
    #[error("the connection ended at once; ask again")]
    EndedAtOnce,
    /// It closes connections as idle before it looks at the request.
    #[error("it closes each connection at once; look at its log")]
    ClosesEach,
    /// The connection ended before the answer; how. The request may have been served.
    #[error("the connection ended before the answer: {0}; ask again if that does no harm")]
    Lost(String),
    /// It gave the request up; its words.
    #[error("{0}")]
    GaveUp(String),
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
