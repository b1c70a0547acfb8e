//! Where a peer can be dialled: `ws://host:port` or `iroh:<node id>`, in a normal form.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::id::NodeId;
use crate::limits;

mod host;
mod node_place;
mod relay_hint;
mod scope;
mod shown;

pub use relay_hint::{InvalidRelayHint, RelayHint};
pub use scope::Scope;

use host::{Host, parse_port};
use node_place::NodePlace;
use shown::shown;

/// The address of a peer: scheme, host and port of a WebSocket, or a node id.
///
/// The form is normal: the host in lower case and in ASCII (`bücher.example` is
/// `xn--bcher-kva.example`, UTS 46), without the dot of the root, IP addresses in their shortest
/// form and IPv4-mapped ones as IPv4, no trailing slash, the digits of a node id in lower case. Two
/// addresses are the same if and only if they are equal. `localhost`, `127.0.0.1` and `[::1]` are
/// three addresses; a dial shows whether they lead to one node. A clone allocates nothing.
///
/// `iroh:<node id>` is a node, wherever it is: it is dialled by its id, over QUIC. Behind an `@` it
/// may have relays: **hints** where the node may be reached. They are no part of the address, so
/// comparisons and hashes ignore them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerAddress(Place);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Place {
    WebSocket { host: Host, port: u16, secure: bool },
    Node(Arc<NodePlace>),
}

/// A text that is no peer address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no peer address: {reason}; write it as ws://host:port, iroh:<node id> or iroh:<node id>@host:port"
)]
pub struct InvalidAddress {
    text: String,
    reason: Cow<'static, str>,
}

impl InvalidAddress {
    /// Makes the error of an address that a check of the runtime refuses, which the core has not.
    pub fn new(text: &str, reason: &'static str) -> Self {
        Self { text: shown(text), reason: reason.into() }
    }

    /// Returns what is wrong with the text. Of the text it has at most a relay.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Returns the same error of another text: the one that a person wrote.
    #[must_use]
    pub fn of(self, text: &str) -> Self {
        Self { text: shown(text), ..self }
    }
}

impl PeerAddress {
    /// Makes a WebSocket address. `host` is a name or an IP address, IPv6 with or without brackets.
    ///
    /// # Errors
    /// [`InvalidAddress`] if the host is no host name or the port is 0.
    pub fn new(host: &str, port: u16) -> Result<Self, InvalidAddress> {
        let bracketed =
            if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() };
        format!("ws://{bracketed}:{port}").parse()
    }

    /// Makes the address of a node id, with relays through which it may be reached. Of these it
    /// takes the first [`RELAY_HINTS`](limits::RELAY_HINTS), each once, as far as the text fits
    /// into [`ADDRESS_BYTES`](limits::ADDRESS_BYTES).
    pub fn of_node(node: NodeId, relays: impl IntoIterator<Item = RelayHint>) -> Self {
        Self(Place::Node(Arc::new(NodePlace::new(node, relays))))
    }

    /// Returns the node id of an `iroh:` address.
    pub fn node(&self) -> Option<NodeId> {
        match &self.0 {
            Place::Node(place) => Some(place.id),
            Place::WebSocket { .. } => None,
        }
    }

    /// Returns the relays through which an `iroh:` address may be reached.
    pub fn relays(&self) -> &[RelayHint] {
        match &self.0 {
            Place::Node(place) => &place.relays,
            Place::WebSocket { .. } => &[],
        }
    }

    /// Returns an `iroh:` address with other relays, as [`Self::of_node`] takes them. A WebSocket
    /// address has none and stays.
    #[must_use]
    pub fn with_relays(self, relays: impl IntoIterator<Item = RelayHint>) -> Self {
        match &self.0 {
            Place::Node(place) => Self::of_node(place.id, relays),
            Place::WebSocket { .. } => self,
        }
    }

    /// Returns the host and port as a relay; `None` if it is an `iroh:` address.
    pub fn as_relay(&self) -> Option<RelayHint> {
        match &self.0 {
            Place::WebSocket { host, port, .. } => Some(RelayHint::new(host.clone(), *port)),
            Place::Node(_) => None,
        }
    }

    /// Returns the host: a name, or an IP address without brackets. Of an `iroh:` address it is the
    /// node id, which no resolver knows.
    pub fn host(&self) -> String {
        match &self.0 {
            Place::WebSocket { host, .. } => host.bare(),
            Place::Node(place) => place.id.to_string(),
        }
    }

    /// Returns whether the host is a name, so that DNS says which IP addresses it stands for.
    pub fn is_name(&self) -> bool {
        matches!(self.0, Place::WebSocket { host: Host::Name(_), .. })
    }

    /// Returns whether every `new URL` takes it. A node id and a zone are no part of a URL, and
    /// each version of Unicode has names that an older one refuses.
    pub(crate) fn is_url_anywhere(&self) -> bool {
        match &self.0 {
            Place::WebSocket { host, .. } => !matches!(host, Host::Zoned(..)) && !host.is_internationalized(),
            Place::Node(_) => false,
        }
    }

    /// Returns the address as others may see it, in a request or as a node's own: a zone is for
    /// this host alone (RFC 6874, section 1).
    #[must_use]
    pub fn without_zone(self) -> Self {
        match self.0 {
            Place::WebSocket { host: Host::Zoned(ip, _), port, secure } => {
                Self(Place::WebSocket { host: Host::Ip(ip.into()), port, secure })
            }
            _ => self,
        }
    }

    /// Returns the port: never 0, except of an `iroh:` address, which has none.
    pub fn port(&self) -> u16 {
        match self.0 {
            Place::WebSocket { port, .. } => port,
            Place::Node(_) => 0,
        }
    }

    /// Returns the `wss` address of the same host and port. An `iroh:` address stays: closed
    /// networks use it too, with TLS inside of the stream.
    #[must_use]
    pub fn secured(self) -> Self {
        match self.0 {
            Place::WebSocket { host, port, .. } => Self(Place::WebSocket { host, port, secure: true }),
            Place::Node(_) => self,
        }
    }

    /// Returns whether it is a `wss` address. An `iroh:` address is none: it does not tell open and
    /// closed networks apart.
    pub fn is_secure(&self) -> bool {
        matches!(self.0, Place::WebSocket { secure: true, .. })
    }

    /// Returns from how far away it makes sense. A node id makes sense everywhere.
    pub fn scope(&self) -> Scope {
        match &self.0 {
            Place::WebSocket { host, .. } => host.scope(),
            Place::Node(_) => Scope::Public,
        }
    }
}

impl FromStr for PeerAddress {
    type Err = InvalidAddress;

    /// Reads `ws://host:port` or `wss://host:port`, with or without a slash at the end, or
    /// `iroh:<64 hexadecimal digits>` with or without `@host:port,host:port` behind.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).map_err(|reason| InvalidAddress { text: shown(text), reason: why(text).unwrap_or(reason) })
    }
}

/// Returns the reason of a text that is no address but begins with one: an invite has a # and the
/// name of a network behind it.
fn why(text: &str) -> Option<Cow<'static, str>> {
    let (address, network) = text.split_once('#')?;
    let is_invite = !network.is_empty() && parse(address).is_ok();
    is_invite.then(|| "it is an invite; follow it with 'meshpool join', or leave out the # and what follows".into())
}

fn parse(text: &str) -> Result<PeerAddress, Cow<'static, str>> {
    if text.len() > limits::ADDRESS_BYTES {
        return Err("it is longer than 256 bytes".into());
    }
    let scheme = text.get(..node_place::SCHEME.len());
    let address = if scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(node_place::SCHEME)) {
        PeerAddress(Place::Node(Arc::new(NodePlace::parse(&text[node_place::SCHEME.len()..])?)))
    } else {
        parse_web_socket(text)?
    };
    // In ASCII it may have become longer.
    if !text.is_ascii() && address.to_string().len() > limits::ADDRESS_BYTES {
        return Err("it is longer than 256 bytes".into());
    }
    Ok(address)
}

fn parse_web_socket(text: &str) -> Result<PeerAddress, &'static str> {
    let (scheme, rest) = text.split_once("://").ok_or("it has no ws://")?;
    let secure = match scheme {
        _ if scheme.eq_ignore_ascii_case("ws") => false,
        _ if scheme.eq_ignore_ascii_case("wss") => true,
        _ => return Err("its scheme is not ws, wss or iroh"),
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains(['/', '?', '#', '@', '\\']) {
        return Err("it has more than a host and a port");
    }
    let (host, port) = rest.rsplit_once(':').ok_or("it has no port")?;
    let port = parse_port(port)?;
    Ok(PeerAddress(Place::WebSocket { host: host.parse()?, port, secure }))
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::WebSocket { host, port, secure } => {
                write!(f, "{}://{host}:{port}", if *secure { "wss" } else { "ws" })
            }
            Place::Node(place) => place.fmt(f),
        }
    }
}

impl fmt::Debug for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests;
