//! The path of a link over iroh, for people.

use std::fmt;
use std::net::SocketAddr;

/// The path that a link over iroh takes. It may change while the link is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkPath {
    /// Packets go straight to this address.
    Direct(SocketAddr),
    /// Packets go through the relay at this address, `host:port`.
    Relayed(String),
}

impl fmt::Display for LinkPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct(at) => write!(f, "direct to {at}"),
            Self::Relayed(relay) => write!(f, "over relay {relay}"),
        }
    }
}
