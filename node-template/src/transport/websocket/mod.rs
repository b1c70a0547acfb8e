//! The WebSocket transport (RFC 6455), over TCP or TLS.
//!
//! ```text
//! link ─ WebSocket library ─ write buffer ─ read buffer ─ TLS or none ─ bounded stream ─ TCP
//! ```
//!
//! Both buffers exist because of measurements; each file says which.

pub(crate) mod dialer;
mod invalid_upgrade;
pub(crate) mod link;
pub(crate) mod listener;
mod origin;
pub(crate) mod plain_http;
pub(crate) mod read_buffer;
pub(crate) mod socket;
mod write_buffer;
