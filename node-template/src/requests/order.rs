//! What a connection for requests is told, and what it replies.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use meshpool_proto::access::Certified;
use meshpool_proto::id::NodeId;
use meshpool_proto::wire::FailedCause;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// How many requests each end may have under way on a connection.
pub(super) const AT_ONCE: usize = 8;

/// What the application's side tells a connection.
#[derive(Debug)]
pub(super) enum Order {
    Ask {
        payload: Bytes,
        timeout: Duration,
        reply: oneshot::Sender<Result<Bytes, Unanswered>>,
        permit: OwnedSemaphorePermit,
    },
    /// The receiver of some reply is gone.
    Cancelled,
    /// Another connection needs the place.
    CloseIfIdle,
    /// Its node has opened another.
    Replaced,
}

/// Why a request was not answered.
#[derive(Debug)]
pub(super) enum Unanswered {
    Failed(FailedCause, String),
    /// The connection ended. The request may have been served.
    Lost(String),
    /// This node ends.
    Ended,
    /// The connection ended, and the other end has not looked at the request.
    NotServed,
}

/// The other end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer {
    pub(super) node: NodeId,
    pub(super) remote: IpAddr,
    pub(super) certified: Option<Certified>,
    /// Whether this node dialled it. It then closes it first when it is idle.
    pub(super) dialled: bool,
}
