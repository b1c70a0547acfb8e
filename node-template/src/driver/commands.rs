//! What the application asks of the node.

#[cfg(feature = "web")]
use std::sync::Arc;

use meshpool_proto::access::{Access, Rules};
use meshpool_proto::address::PeerAddress;
#[cfg(feature = "web")]
use meshpool_proto::id::LinkId;
use meshpool_proto::transaction::{Transaction, TransactionId};
use meshpool_proto::wire::{Member, Status};
use meshpool_proto::{BroadcastReceipt, Submission, TopicStatus};
use tokio::sync::oneshot;

use crate::driver::open_link::OpenLink;
#[cfg(feature = "web")]
use crate::transport::frame_record::FrameRecord;

/// A command of the application. A receiver that is gone is ignored.
pub(crate) enum Command {
    Submit {
        transaction: Transaction,
        accepted: oneshot::Sender<Result<Submission, String>>,
        stored: oneshot::Sender<()>,
    },
    /// Publishes an item in a topic, by its number.
    Publish {
        topic: usize,
        transaction: Transaction,
        accepted: oneshot::Sender<Result<Submission, String>>,
        stored: oneshot::Sender<()>,
    },
    TopicStatus {
        topic: usize,
        reply: oneshot::Sender<Option<TopicStatus>>,
    },
    Broadcast {
        message: String,
        /// The time of day, in seconds since 1970.
        time: f64,
        reply: oneshot::Sender<BroadcastReceipt>,
    },
    Status {
        holds: Vec<TransactionId>,
        reply: oneshot::Sender<Status>,
    },
    Links {
        reply: oneshot::Sender<Vec<OpenLink>>,
    },
    /// Answered with the record of a link's frames; `None`: no link with this id is open.
    #[cfg(feature = "web")]
    Frames {
        link: LinkId,
        reply: oneshot::Sender<Option<Arc<FrameRecord>>>,
    },
    Nodes {
        reply: oneshot::Sender<Vec<Member>>,
    },
    /// Replaces the access rules. Answered once the links that they deny are being closed.
    SetAccess {
        access: Access,
        reply: oneshot::Sender<()>,
    },
    /// Lifts bans of this run. Answered with their number.
    LiftBans {
        who: Rules,
        reply: oneshot::Sender<usize>,
    },
    /// Replaces the known peers.
    SetKnownPeers {
        addresses: Vec<PeerAddress>,
        reply: oneshot::Sender<()>,
    },
    /// Notifies the operator.
    #[cfg(feature = "tls")]
    Warn {
        text: String,
    },
    #[cfg(test)]
    Fail(Failure),
}

/// A failure on purpose.
#[cfg(test)]
pub(crate) enum Failure {
    /// A dial that panics.
    PanicInTask {
        address: meshpool_proto::address::PeerAddress,
    },
    /// The thread that writes a file panics: that of the pool (0), or of a topic (from 1 on).
    PanicInPool {
        file: usize,
    },
    /// Such a thread hangs until the sender is gone.
    HangInPool {
        file: usize,
        released: std::sync::mpsc::Receiver<()>,
    },
    PanicInDriver,
}
