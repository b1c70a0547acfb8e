//! The shell around the protocol: sockets, tasks, queues. It reports facts to the core and carries out its orders; it decides nothing about peers.
//!
//! ```text
//! listener ─┐                          ┌─ queue ─ link task ─ socket
//! link task ┼─ inbox ─ driver ─ core ──┼─ errands: dial, probe, feed
//! commands ─┘   (one task)             └─ pool
//! ```

pub(crate) mod backpressure;
pub(crate) mod dialer;
pub(crate) mod link;
pub(crate) mod listener;
mod pending_upgrades;
mod resolver;
pub(crate) mod tls;
mod tls_detect;

use std::net::IpAddr;

use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use crate::protocol::access::Certified;
use crate::protocol::id::LinkId;
use crate::protocol::limits;
use crate::protocol::transaction::Origin;
use crate::protocol::wire::{Malformed, Message};

/// A WebSocket whose upgrade is done.
pub(crate) type Socket = WebSocketStream<
    link::write_buffer::Outlet<link::read_buffer::Inlet<link::byte_stream::Stream<link::byte_stream::Guarded>>>,
>;

/// What comes in for the driver, in order for each link.
pub(crate) enum Arrival {
    /// A connection was accepted and upgraded.
    Accepted {
        socket: Box<Socket>,
        remote: IpAddr,
        /// Its place among the accepted links, given back when dropped.
        place: listener::Place,
        /// Who it proved to be, in a closed network.
        certified: Option<Certified>,
    },
    /// Somebody connected and came to no link.
    TurnedAway { remote: IpAddr, reason: String },
    /// Something came in on a link.
    Read { link: LinkId, read: Read },
    /// A link is gone.
    Closed {
        link: LinkId,
        cause: String,
        /// Whether its other end broke WebSocket's own rules.
        broke: bool,
    },
    /// A task that accepts connections ended in a fault of this program, and begins anew.
    Panicked,
    /// A connection found no place.
    Refused { remote: IpAddr, reason: &'static str },
}

/// What one wake-up of a link's task brought.
#[derive(Default)]
pub(crate) struct Read {
    /// The messages, in order.
    pub(crate) messages: Vec<Result<Message, Malformed>>,
    /// What more there was: copies of transactions that are held, by their origins where they name one.
    pub(crate) copies: Vec<(Option<Origin>, u32)>,
    /// Whether a pong was among it.
    pub(crate) pong: bool,
    /// Whether the link was not read for a while because clients are held up.
    pub(crate) held_up: bool,
}

impl Read {
    fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.copies.is_empty() && !self.pong && !self.held_up
    }
}

/// How WebSockets are read and written. The read buffer is small because every link has one, and nearly all is read, as what is written is gathered, elsewhere (`inlet.rs`,
/// `outlet.rs`); the frame limit counts before memory is taken, because a frame's header alone reserves what it announces.
fn websocket_config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(1024)
        .write_buffer_size(0)
        .max_write_buffer_size(2 * limits::MESSAGE_BYTES)
        .max_message_size(Some(limits::MESSAGE_BYTES))
        .max_frame_size(Some(limits::MESSAGE_BYTES))
}
