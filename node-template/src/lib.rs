//! A peer-to-peer node that speaks JSON over WebSockets: run it, or embed it.
//!
//! [`Network`] describes a node and starts it, [`Node`] is the running one, [`client::Client`] speaks to one from outside. [`protocol`] is the core that decides
//! everything, pure and without a socket; with `default-features = false` it is all that is built.
//!
//! ```text
//! network   the public handle             settings, folder, key   what a node's folder says
//! transport sockets, tasks, queues        report, logs            events in words
//! protocol  facts in, orders out          pool                    transactions.json
//! web       page, HTTP API, metrics       images                  files that nodes show each other
//! discovery nodes on the local network
//! ```

pub use meshpool_proto as protocol;

#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "net")]
pub mod client;
#[cfg(feature = "net")]
pub mod config;
#[cfg(feature = "net")]
pub mod discovery;
#[cfg(feature = "net")]
mod driver;
#[cfg(feature = "net")]
pub mod events;
#[cfg(feature = "net")]
pub mod folder;
#[cfg(feature = "web")]
pub mod http;
#[cfg(feature = "net")]
pub mod images;
#[cfg(feature = "net")]
pub mod node;
#[cfg(feature = "net")]
pub mod pool;
#[cfg(feature = "net")]
pub mod signing;
#[cfg(feature = "tls")]
pub mod tls;
#[cfg(feature = "net")]
mod transport;
#[cfg(feature = "net")]
mod util;

#[cfg(feature = "net")]
pub use node::network::{Handle, Network, Node};
