//! Relay hints: where the node behind an `iroh:` address may be reached through a relay.

use std::fmt;
use std::str::FromStr;

use super::host::{Host, parse_port};
use super::scope::Scope;
use super::shown::shown;
use crate::limits;

/// A relay: a host name or an IP address, and a port.
///
/// A hint says where a node may be reached, and is no part of the node's address. Who names it
/// may be wrong or lie: the node id is proved on the link, whatever the path.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelayHint {
    host: Host,
    port: u16,
}

/// A text that is no relay hint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no relay: {reason}; write it as host:port")]
pub struct InvalidRelayHint {
    text: String,
    reason: &'static str,
}

impl InvalidRelayHint {
    /// Returns what is wrong with the text, without the text.
    pub fn reason(&self) -> &'static str {
        self.reason
    }
}

impl RelayHint {
    pub(super) fn new(host: Host, port: u16) -> Self {
        Self { host, port }
    }

    /// Returns the host: a name, or an IP address without brackets.
    pub fn host(&self) -> String {
        self.host.bare()
    }

    /// Returns the port, which is never 0.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns from how far away it makes sense.
    pub fn scope(&self) -> Scope {
        self.host.scope()
    }

    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        if text.contains(['/', '?', '#', '@', '\\']) {
            return Err("it has more than a host and a port");
        }
        let (host, port) = text.rsplit_once(':').ok_or("it has no port")?;
        let port = parse_port(port)?;
        match host.parse()? {
            Host::Zoned(..) => Err("it has a zone, which other hosts do not know"),
            host => Ok(Self { host, port }),
        }
    }
}

impl FromStr for RelayHint {
    type Err = InvalidRelayHint;

    /// Reads `host:port`, IPv6 addresses in brackets.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed =
            if text.len() > limits::ADDRESS_BYTES { Err("it is longer than 256 bytes") } else { Self::parse(text) };
        parsed.map_err(|reason| InvalidRelayHint { text: shown(text), reason })
    }
}

impl fmt::Display for RelayHint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl fmt::Debug for RelayHint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
