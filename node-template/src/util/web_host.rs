//! Host names as browsers and HTTP clients write them, in the headers Host and Origin.
//!
//! They are compared as names, not as texts: in any case, with or without a final dot, and an IP
//! address in any of its forms.

use std::net::{IpAddr, Ipv6Addr};

/// A host name or an IP address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HostName {
    Ip(IpAddr),
    /// In lower case, without a final dot.
    Name(String),
}

/// A host name with the port that may follow it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Authority {
    pub(crate) host: HostName,
    pub(crate) port: Option<u16>,
}

/// The content of a header Origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) host: HostName,
    /// The port; if none is written, the default of the scheme.
    pub(crate) port: u16,
    pub(crate) default_port: u16,
}

impl HostName {
    /// Parses a name without a port; an IPv6 address may have brackets.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let bare = match text.strip_prefix('[') {
            Some(rest) => without_zone(rest.strip_suffix(']').filter(|bare| bare.contains(':'))?)?,
            None => text,
        };
        if let Ok(ip) = bare.parse::<IpAddr>() {
            return Some(Self::Ip(ip.to_canonical()));
        }
        let name = bare.strip_suffix('.').unwrap_or(bare).to_ascii_lowercase();
        // "127.0.0.1." is an address too, and a colon belongs to addresses and ports only.
        match name.parse::<IpAddr>() {
            Ok(ip) => Some(Self::Ip(ip.to_canonical())),
            Err(_) if name.is_empty() || name.starts_with('.') || name.contains([':', '@', '/']) => None,
            Err(_) => Some(Self::Name(name)),
        }
    }

    /// Returns whether every browser resolves it to its own machine: without a query (RFC 6761,
    /// section 6.3), so that no foreign page has that name. Some ask a server for names that end in
    /// `.localhost`, so these do not count.
    pub(crate) fn is_loopback(&self) -> bool {
        match self {
            Self::Ip(ip) => ip.is_loopback(),
            Self::Name(name) => name == "localhost",
        }
    }

    pub(crate) fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Ip(ip) => Some(*ip),
            Self::Name(_) => None,
        }
    }
}

/// Returns an IPv6 address without the zone that some clients write behind it: it is a name of the
/// client's own (RFC 6874, section 1). `None` if it is an address that has no zone.
fn without_zone(text: &str) -> Option<&str> {
    let Some((bare, zone)) = text.split_once('%') else { return Some(text) };
    let is_local = bare.parse::<Ipv6Addr>().is_ok_and(|ip| ip.is_unicast_link_local());
    let is_name = zone.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    (is_local && is_name && !zone.is_empty()).then_some(bare)
}

impl Authority {
    /// Parses `host`, `host:` or `host:port`. An IPv6 address has brackets.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port),
            _ => (text, ""),
        };
        if !host.starts_with('[') && host.contains(':') {
            return None;
        }
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        let port = if port.is_empty() { None } else { Some(port.parse().ok().filter(|_| digits)?) };
        Some(Self { host: HostName::parse(host)?, port })
    }
}

impl Origin {
    /// Parses an origin of the schemes of web pages and of WebSockets. `None` for all others, also
    /// for `null`.
    ///
    /// Browsers write no slash at the end. Some libraries do, whose users pass a URL.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let default_port = match scheme.to_ascii_lowercase().as_str() {
            "http" | "ws" => 80,
            "https" | "wss" => 443,
            _ => return None,
        };
        let Authority { host, port } = Authority::parse(rest.strip_suffix('/').unwrap_or(rest))?;
        Some(Self { host, port: port.unwrap_or(default_port), default_port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_equal_whatever_their_case_form_and_final_dot() {
        for (one, other) in [
            ("localhost", "LocalHost."),
            ("127.0.0.1", "127.0.0.1."),
            ("[::1]", "::1"),
            ("[::1]", "[0:0:0:0:0:0:0:1]"),
            ("127.0.0.1", "[::ffff:127.0.0.1]"),
            ("[fe80::1]", "[FE80:0::1%eth0]"),
            ("[fe80::1]", "[fe80::1%25eth0.7]"),
            ("node.example.org", "Node.Example.ORG."),
        ] {
            assert_eq!(HostName::parse(one), HostName::parse(other), "{one} {other}");
            assert!(HostName::parse(one).is_some(), "{one}");
        }
        for (one, other) in [("localhost", "localhost.evil.example"), ("127.0.0.1", "127.0.0.1.evil.example")] {
            assert_ne!(HostName::parse(one), HostName::parse(other));
        }
        for text in [
            "",
            ".",
            "[",
            "[]",
            "[::1",
            "::1]",
            "[localhost]",
            "..",
            "a@b",
            "a/b",
            "[::1]x",
            "[::1%lo]",
            "[fe80::1%]",
            "[fe80::1%a/b]",
            "fe80::1%eth0",
            "[127.0.0.1%lo]",
        ] {
            assert_eq!(HostName::parse(text), None, "{text}");
        }
    }

    #[test]
    fn only_names_of_this_machine_are_loopback() {
        let is_loopback = |name: &str| HostName::parse(name).expect(name).is_loopback();
        for name in ["localhost", "LOCALHOST.", "127.9.9.9", "[::1]", "[::ffff:127.0.0.1]"] {
            assert!(is_loopback(name), "{name}");
        }
        for name in ["evil.localhost", "localhost.evil.example", "alocalhost", "localhost.localdomain", "0.0.0.0"] {
            assert!(!is_loopback(name), "{name}");
        }
    }

    #[test]
    fn a_port_may_be_missing_or_empty_and_is_a_number() {
        let parse = |text| Authority::parse(text).map(|authority| authority.port);
        for (text, port) in
            [("a", None), ("a:", None), ("a:80", Some(80)), ("[::1]", None), ("[::1]:", None), ("[::1]:9", Some(9))]
        {
            assert_eq!(parse(text), Some(port), "{text}");
        }
        for text in ["", ":80", "a:x", "a:99999", "a:+8", "a:-1", "a:b:80", "::1", "::1:80", "a:80:"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn an_origin_has_the_port_of_its_scheme() {
        let parse = |text| Origin::parse(text).map(|origin| (origin.host, origin.port));
        let name = |text| HostName::parse(text).expect(text);
        for (text, host, port) in [
            ("http://localhost:4001", "localhost", 4001),
            ("HTTPS://Node.example.org", "node.example.org", 443),
            ("http://localhost/", "localhost", 80),
            ("ws://[::1]:4001", "::1", 4001),
            ("wss://node", "node", 443),
        ] {
            assert_eq!(parse(text), Some((name(host), port)), "{text}");
        }
        for text in [
            "",
            "null",
            "localhost:4001",
            "file://",
            "file://a",
            "chrome-extension://abc",
            "http://",
            "http://a/b",
            "http://a b:x",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
