//! What transports report to the driver.

use std::net::IpAddr;

use meshpool_proto::address::PeerAddress;
use meshpool_proto::causes::{ConnectionRefusal, LinkEnd};
use meshpool_proto::id::LinkId;
use meshpool_proto::transaction::{Origin, Transaction};
use meshpool_proto::wire::{Malformed, Message};

use crate::transport::accept_slots::AcceptSlot;
use crate::transport::subprotocol::Connection;

/// One report to the driver. The reports of one link are in order.
pub(crate) enum Arrival {
    /// A connection was accepted and upgraded.
    Accepted {
        connection: Box<Connection>,
        /// Held for as long as the link is open.
        slot: AcceptSlot,
    },
    /// A connection failed the TLS detection, the TLS handshake or the WebSocket upgrade.
    Rejected { remote: IpAddr, reason: String },
    /// A connection found no free slot. It may come as a link all the same, to be referred.
    Refused { remote: IpAddr, reason: ConnectionRefusal },
    /// Messages came in on a link.
    Read { link: LinkId, batch: ReadBatch },
    /// A link ended.
    Closed { link: LinkId, cause: LinkEnd },
    /// The application judges transactions of a link whose ACKs are due, or none any more.
    Judging { link: LinkId, judges: bool },
    /// A transaction passed validation after the links that brought it had closed. `topic`: the
    /// number of its topic; `None`: the default one.
    Validated { topic: Option<usize>, transaction: Transaction },
    /// Others reach this node at another address over iroh from now on; `None`: at none.
    #[cfg_attr(not(feature = "wan"), expect(dead_code, reason = "there is none"))]
    WanAddress(Option<PeerAddress>),
    /// A task that accepts connections panicked; it was started again.
    Panicked,
}

/// What a link's task read in one wake-up.
#[derive(Default)]
pub(crate) struct ReadBatch {
    /// The messages, in order.
    pub(crate) messages: Vec<Result<Message, Malformed>>,
    /// How many duplicates of known transactions came, by origin; `None` for those that name none.
    pub(crate) duplicates: Vec<(Option<Origin>, u32)>,
    /// Whether a pong came.
    pub(crate) pong: bool,
    /// The number of the last mark whose pong came.
    pub(crate) mark: Option<u64>,
    /// Whether backpressure or the rate limit kept the link from being read for a while.
    pub(crate) throttled: bool,
}

impl ReadBatch {
    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.duplicates.is_empty() && !self.pong && self.mark.is_none() && !self.throttled
    }
}
