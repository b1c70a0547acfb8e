//! Transports: how bytes travel between this node and others. They report what happens to the
//! driver and decide nothing about peers.
//!
//! ```text
//! listener ─┐                            ┌─ send queue ─ link task ─ socket
//! link task ┼─ arrivals ─ driver ─ core ─┼─ background tasks: dial, probe, replay
//! commands ─┘       (one task)           └─ pool
//! ```
//!
//! A transport has three parts: a listener that accepts connections, a dialer that opens them, and
//! a task for each link. `websocket` is one, over TCP or over a stream of `iroh`, which finds the
//! other end by its node id. The files beside them serve any transport:
//!
//! | direction | files |
//! |---|---|
//! | accepting | `accept_slots`, `pending_upgrades`, `tls_detect`, `subprotocol` |
//! | dialling | `dial_permit`, `dial_progress`, `resolver`, `race` |
//! | sending | `send_queue`, `backpressure`, `unread_window` |
//! | receiving | `arrival`, `rate_limit`, `duplicate_filter` |
//! | both | `raw_stream`, `bounded_stream`, `frame_record`, `tls` |

pub(crate) mod accept_slots;
pub(crate) mod arrival;
pub(crate) mod backpressure;
mod bounded_stream;
pub(crate) mod dial_permit;
mod dial_progress;
pub(crate) mod duplicate_filter;
pub(crate) mod frame_record;
#[cfg_attr(not(feature = "wan"), path = "no_iroh.rs")]
pub(crate) mod iroh;
pub(crate) mod link_path;
mod pending_upgrades;
mod race;
pub(crate) mod rate_limit;
mod raw_stream;
pub(crate) mod resolver;
pub(crate) mod send_queue;
pub(crate) mod subprotocol;
pub(crate) mod tls;
mod tls_detect;
mod unread_window;
pub(crate) mod websocket;
