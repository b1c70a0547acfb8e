//! The header Origin of an upgrade. Browsers send that of the page that opens a WebSocket. Some
//! libraries of Python and Go send one too: by default that of the address that they dial.
//!
//! No page of this port exists, so an Origin with this port and a name of this node is no page's. A
//! name counts only if a foreign page cannot have it: DNS rebinding leads any other name here.

use std::net::SocketAddr;

use meshpool_proto::address::PeerAddress;
use tokio_tungstenite::tungstenite::handshake::server::Request;
use tokio_tungstenite::tungstenite::http::HeaderValue;

use crate::util::web_host::{Authority, HostName, Origin};

/// How a connection reached this node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reached<'a> {
    /// The address at this end.
    pub(crate) local: SocketAddr,
    /// Whether it comes from this machine.
    pub(crate) from_here: bool,
    /// The address that this node announces.
    pub(crate) announced: &'a PeerAddress,
}

/// Returns whether a request has no Origin of a web page.
pub(crate) fn is_allowed(request: &Request, reached: Reached<'_>) -> bool {
    let host = request.headers().get("host").and_then(|host| Authority::parse(host.to_str().ok()?));
    request.headers().get_all("origin").iter().all(|origin| reached.is_own(origin, host.as_ref()))
}

impl Reached<'_> {
    fn is_own(&self, origin: &HeaderValue, host: Option<&Authority>) -> bool {
        let Ok(text) = origin.to_str() else { return false };
        let Some(origin) = Origin::parse(text) else { return false };
        let announced = HostName::parse(&self.announced.host());
        let is_announced = announced.as_ref() == Some(&origin.host);
        // The address that was dialled, which a port mapping may have changed.
        let dialled = host
            .is_some_and(|host| host.host == origin.host && host.port.unwrap_or(origin.default_port) == origin.port);
        if dialled && (is_announced || origin.host.is_loopback() || origin.host.ip().is_some()) {
            return true;
        }
        let local = origin.host.ip() == Some(self.local.ip().to_canonical());
        let is_own_name = is_announced || local || self.from_here && origin.host.is_loopback();
        // Browsers write no slash at the end. Libraries do whose users pass http://localhost/.
        let is_no_browsers = text.ends_with('/');
        is_own_name && (is_no_browsers || [self.local.port(), self.announced.port()].contains(&origin.port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_own(local: &str, from_here: bool, host: &str, origin: &str) -> bool {
        let announced = "ws://node.example.org:9000".parse().expect("an address");
        let reached = Reached { local: local.parse().expect(local), from_here, announced: &announced };
        reached.is_own(&HeaderValue::from_str(origin).expect(origin), Authority::parse(host).as_ref())
    }

    #[test]
    fn the_address_of_this_port_is_no_pages_origin() {
        for (local, from_here, host, origin) in [
            ("127.0.0.1:4001", true, "localhost:4001", "http://localhost:4001"),
            ("127.0.0.1:4001", true, "127.0.0.1:4001", "http://localhost:4001"),
            ("[::1]:4001", true, "[::1]:4001", "http://[::1]:4001"),
            ("127.0.0.1:4001", true, "localhost:4001", "HTTP://LOCALHOST.:4001"),
            ("127.0.0.1:4001", true, "localhost:4001", "https://localhost:4001"),
            ("127.0.0.1:4001", true, "localhost:4001", "ws://localhost:4001"),
            ("127.0.0.1:4001", true, "localhost:4001", "http://localhost/"),
            ("[fe80::1]:4001", false, "[fe80::1%eth0]:4001", "http://[fe80::1%eth0]:4001"),
            ("192.168.1.20:4001", false, "192.168.1.20:4001", "http://192.168.1.20:4001"),
            ("192.168.1.20:4001", false, "node.example.org:9000", "http://node.example.org:9000"),
            ("192.168.1.20:4001", false, "node.example.org", "https://node.example.org"),
            // Mapped ports, as of a container.
            ("172.17.0.2:4001", false, "localhost:9001", "http://localhost:9001"),
            ("172.17.0.2:4001", false, "203.0.113.9:9001", "http://203.0.113.9:9001"),
            ("172.17.0.2:80", false, "203.0.113.9", "http://203.0.113.9"),
        ] {
            assert!(is_own(local, from_here, host, origin), "{local} {host} {origin}");
        }
    }

    #[test]
    fn pages_are_told_from_it() {
        for (local, from_here, host, origin) in [
            ("127.0.0.1:4001", true, "localhost:4001", ""),
            ("127.0.0.1:4001", true, "localhost:4001", "null"),
            ("127.0.0.1:4001", true, "localhost:4001", "https://evil.example"),
            ("127.0.0.1:4001", true, "localhost:4001", "https://evil.example/"),
            ("127.0.0.1:4001", true, "localhost:4001", "http://localhost"),
            ("127.0.0.1:4001", true, "localhost:4001", "http://localhost:8001"),
            ("127.0.0.1:4001", true, "localhost:4001", "http://evil.example:4001"),
            // DNS rebinding: the page's own name leads here.
            ("127.0.0.1:4001", true, "evil.example:4001", "http://evil.example:4001"),
            ("127.0.0.1:4001", true, "evil.localhost:4001", "http://evil.localhost:4001"),
            ("127.0.0.1:4001", true, "localhost.evil.example:4001", "http://localhost.evil.example:4001"),
            // A page of the machine on which the browser runs, which is another.
            ("192.168.1.20:4001", false, "192.168.1.20:4001", "http://localhost:4001"),
            ("192.168.1.20:4001", false, "192.168.1.20:4001", "http://192.168.1.20"),
            ("192.168.1.20:4001", false, "192.168.1.20:4001", "http://192.168.1.21:4001"),
            ("127.0.0.1:4001", true, "localhost:4001", "chrome-extension://abc:4001"),
        ] {
            assert!(!is_own(local, from_here, host, origin), "{local} {host} {origin}");
        }
    }
}
