//! Requests that are answered by HTTP, with one line of text. Those that ask for no WebSocket come
//! from a browser, a health check or a person with curl, and the line says where the page is. Those
//! whose upgrade is not valid are told what it lacks.
//!
//! A valid upgrade is left to the library: an HTTP error ends nodes of the exercise.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use crate::transport::websocket::invalid_upgrade::InvalidUpgrade;
use crate::util::web_host::{Authority, HostName};

/// Where this node's page is, once it is served.
#[derive(Debug, Clone, Default)]
pub(crate) struct PageLocation(Arc<Mutex<Option<Served>>>);

#[derive(Debug, Clone)]
struct Served {
    address: SocketAddr,
    /// The path, which begins and ends with a slash.
    path: String,
}

impl PageLocation {
    /// Sets where the page is.
    #[cfg_attr(not(feature = "web"), expect(dead_code, reason = "the page sets it"))]
    pub(crate) fn set(&self, address: SocketAddr, path: &str) {
        *self.lock() = Some(Served { address, path: path.to_owned() });
    }

    /// The page is no longer served.
    #[cfg_attr(not(feature = "web"), expect(dead_code, reason = "the page sets it"))]
    pub(crate) fn clear(&self) {
        *self.lock() = None;
    }

    /// Returns where the page is, as text for somebody who called this node `host`.
    pub(crate) fn text(&self, host: Option<&HostName>) -> String {
        let Some(Served { address, path }) = self.lock().clone() else {
            return "this node serves no page".to_owned();
        };
        let (ip, port) = (address.ip().to_canonical(), address.port());
        let named = host.filter(|host| !host.ip().is_some_and(|ip| ip.is_unspecified()));
        let (name, remark) = match named {
            // The page is on all interfaces, so it has the name that led here.
            Some(host) if ip.is_unspecified() => (host.clone(), ""),
            _ if !ip.is_loopback() && !ip.is_unspecified() => (HostName::Ip(ip), ""),
            Some(host) if !host.is_loopback() => (HostName::Name("localhost".to_owned()), " on that machine"),
            Some(host) => (host.clone(), ""),
            None => (HostName::Name("localhost".to_owned()), ""),
        };
        format!("the page is at http://{name}:{port}{path}{remark}")
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Served>> {
        // Each change is one assignment.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            Self::Ip(ip) => ip.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// The beginning of what a client sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Head {
    /// More has to come in.
    Incomplete,
    /// A valid upgrade, or no HTTP/1: the library reads it.
    ForLibrary,
    /// Any other request.
    Plain(PlainRequest),
}

/// A request that is answered by HTTP.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PlainRequest {
    /// What is wrong with the upgrade to WebSocket that it asks for; `None`: it asks for none.
    pub(crate) invalid: Option<InvalidUpgrade>,
    /// Whether it asks how far away a relay is.
    pub(crate) is_ping: bool,
    /// Whether the answer must have no body.
    is_head: bool,
    /// The name by which the client calls this node.
    pub(crate) host: Option<HostName>,
}

impl Head {
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let first = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let is_text = |line: &[u8]| line.iter().all(|byte| (b' '..=b'~').contains(byte) || *byte == b'\r');
        if !is_text(first) {
            return Self::ForLibrary;
        }
        if first.len() == bytes.len() {
            return Self::Incomplete;
        }
        let first = first.trim_ascii_end();
        if !first.ends_with(b" HTTP/1.1") && !first.ends_with(b" HTTP/1.0") {
            return Self::ForLibrary;
        }
        let (mut wants_websocket, mut has_key, mut host) = (false, false, None);
        let mut lines = bytes.split(|byte| *byte == b'\n').skip(1).peekable();
        while let Some(line) = lines.next() {
            // What follows the last line break is no whole line.
            if lines.peek().is_none() {
                return Self::Incomplete;
            }
            let line = line.trim_ascii_end();
            if line.is_empty() {
                break;
            }
            let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
            let value = String::from_utf8_lossy(line[colon + 1..].trim_ascii());
            if line[..colon].eq_ignore_ascii_case(b"upgrade") {
                wants_websocket |= value.split(',').any(|one| one.trim().eq_ignore_ascii_case("websocket"));
            } else if line[..colon].eq_ignore_ascii_case(b"sec-websocket-key") {
                has_key = true;
            } else if line[..colon].eq_ignore_ascii_case(b"host") {
                host = Authority::parse(&value).map(|authority| authority.host).filter(is_plain_name);
            }
        }
        let invalid = match wants_websocket {
            true => InvalidUpgrade::of(bytes),
            false => (has_key && first.starts_with(b"GET ")).then_some(InvalidUpgrade::Stripped),
        };
        if wants_websocket && invalid.is_none() {
            return Self::ForLibrary;
        }
        let (is_head, is_ping) = (first.starts_with(b"HEAD "), first.starts_with(b"GET /ping "));
        Self::Plain(PlainRequest { invalid, is_ping: is_ping && invalid.is_none(), is_head, host })
    }
}

/// Returns whether a name can be put into a text: nothing in it looks like another part of a URL.
fn is_plain_name(host: &HostName) -> bool {
    match host {
        HostName::Ip(_) => true,
        HostName::Name(name) => name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)),
    }
}

impl PlainRequest {
    /// Returns the answer with one line of text. `upgrade`: what to speak here instead.
    pub(crate) fn answer(&self, upgrade: &str, text: &str) -> String {
        let length = text.len() + 1;
        let body = if self.is_head { String::new() } else { format!("{text}\n") };
        let upgrade_required =
            |more| format!("426 Upgrade Required\r\nUpgrade: {upgrade}\r\nConnection: Upgrade, close\r\n{more}");
        let head = match self.invalid {
            None | Some(InvalidUpgrade::Stripped) => upgrade_required(""),
            // RFC 6455, section 4.2.2: the versions that are spoken here.
            Some(InvalidUpgrade::Version) => upgrade_required("Sec-WebSocket-Version: 13\r\n"),
            Some(_) => "400 Bad Request\r\nConnection: close\r\n".to_owned(),
        };
        format!(
            "HTTP/1.1 {head}Content-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\nContent-Length: {length}\r\n\r\n{body}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(request: &str) -> PlainRequest {
        match Head::read(request.as_bytes()) {
            Head::Plain(plain) => plain,
            other => panic!("{request:?}: {other:?}"),
        }
    }

    #[test]
    fn a_request_is_plain_unless_it_is_a_valid_upgrade() {
        for request in [
            "GET / HTTP/1.1\r\nHost: localhost:4001\r\n\r\n",
            "GET / HTTP/1.0\r\n\r\n",
            "GET / HTTP/1.1\nHost: localhost\n\n",
            "GET /healthz HTTP/1.1\r\nConnection: keep-alive\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
            "OPTIONS * HTTP/1.1\r\nUpgrade: h2c\r\n\r\n",
        ] {
            assert!(!plain(request).is_head, "{request:?}");
            for cut in 0..request.find("\r\n\r\n").map_or(request.len() - 1, |end| end + 3) {
                assert_eq!(Head::read(&request.as_bytes()[..cut]), Head::Incomplete, "{request:?} {cut}");
            }
        }
        assert!(plain("HEAD / HTTP/1.1\r\n\r\n").is_head);
        for (request, invalid) in [
            ("GET /ping HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", InvalidUpgrade::Connection),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUPGRADE: h2c, WebSocket\r\n\r\n",
                InvalidUpgrade::Upgrade,
            ),
            ("POST / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", InvalidUpgrade::Method),
            (
                "GET /ping HTTP/1.0\r\nConnection: close\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
                InvalidUpgrade::Stripped,
            ),
            ("GET / HTTP/1.1\r\nUpgrade: h2c\r\nSec-WebSocket-Key: x\r\n\r\n", InvalidUpgrade::Stripped),
        ] {
            let plain = plain(request);
            assert!(plain.invalid == Some(invalid) && !plain.is_ping, "{request:?}: {plain:?}");
        }
        for request in [
            "GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
            "SSH-2.0-OpenSSH_9.9\r\n",
            "EHLO localhost\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "{\"type\":\"STATUS\"}\n",
            "\0\0\0",
        ] {
            assert_eq!(Head::read(request.as_bytes()), Head::ForLibrary, "{request:?}");
        }
    }

    #[test]
    fn a_head_is_answered_without_a_body() {
        let answer = |request| plain(request).answer("websocket", "text");
        let (get, head) = (answer("GET / HTTP/1.1\r\n\r\n"), answer("HEAD / HTTP/1.1\r\n\r\n"));
        assert_eq!(get.strip_suffix("text\n"), Some(head.as_str()));
        assert!(head.ends_with("Content-Length: 5\r\n\r\n"), "{head}");
    }

    #[test]
    fn the_page_is_named_as_the_client_can_open_it() {
        let page = PageLocation::default();
        let text = |host: &str| {
            let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
            page.text(plain(&request).host.as_ref())
        };
        assert_eq!(text("localhost"), "this node serves no page");
        for (listens, host, shown) in [
            ("127.0.0.1:8001", "localhost:4001", "http://localhost:8001/"),
            ("127.0.0.1:8001", "127.0.0.1:4001", "http://127.0.0.1:8001/"),
            ("127.0.0.1:8001", "", "http://localhost:8001/"),
            ("127.0.0.1:8001", "192.168.1.20:4001", "http://localhost:8001/ on that machine"),
            ("0.0.0.0:8001", "192.168.1.20:4001", "http://192.168.1.20:8001/"),
            ("[::]:8001", "[fd00::1]:4001", "http://[fd00::1]:8001/"),
            ("[::]:8001", "Node.Example.org", "http://node.example.org:8001/"),
            ("0.0.0.0:8001", "<b>", "http://localhost:8001/"),
            ("192.168.1.20:8001", "localhost:4001", "http://192.168.1.20:8001/"),
        ] {
            page.set(listens.parse().expect(listens), "/");
            assert_eq!(text(host), format!("the page is at {shown}"), "{listens} {host}");
        }
        page.clear();
        assert_eq!(text("localhost"), "this node serves no page");
    }
}
