//! The header X-Forwarded-For: for whom a reverse proxy makes a request.
//!
//! Each proxy appends the address of its client. So the last address that is no proxy of ours
//! is the client; those before it are what the client claims.

use std::net::{IpAddr, SocketAddr};

use crate::util::ip_range::IpRange;

pub(crate) const X_FORWARDED_FOR: &str = "x-forwarded-for";
/// Headers that only proxies write, by standards and by custom.
const HEADERS_OF_PROXIES: [&str; 9] = [
    "forwarded",
    "via",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "fastly-client-ip",
    "x-original-forwarded-for",
];

/// Returns whether only proxies write a header, named in lower case.
pub(crate) fn is_of_proxies(name: &str) -> bool {
    name.starts_with("x-forwarded-") || name.starts_with("x-envoy-") || HEADERS_OF_PROXIES.contains(&name)
}

/// Returns the client for which the proxy at `connection` speaks; `None` if it is no trusted proxy,
/// or names nobody. `headers`: the values of [`X_FORWARDED_FOR`], in order.
pub(crate) fn client<'a>(
    connection: IpAddr,
    headers: impl DoubleEndedIterator<Item = &'a str>,
    trusted: &[IpRange],
) -> Option<IpAddr> {
    let is_trusted = |ip: IpAddr| trusted.iter().any(|range| range.contains(ip));
    if !is_trusted(connection) {
        return None;
    }
    for text in headers.rev().flat_map(|header| header.rsplit(',')) {
        // What is no address was not written by a proxy of ours, nor was anything before it.
        let ip = address(text.trim())?;
        if !is_trusted(ip) {
            return Some(ip);
        }
    }
    None
}

/// Parses an address; some proxies add a port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let ip = bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()));
    ip.map(|ip: IpAddr| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(connection: &str, headers: &[&str]) -> Option<String> {
        let trusted = ["127.0.0.1", "10.0.0.0/8"].map(|range| range.parse().expect(range));
        let connection = connection.parse().expect(connection);
        client(connection, headers.iter().copied(), &trusted).map(|ip| ip.to_string())
    }

    #[test]
    fn the_client_is_the_last_address_that_is_no_proxy_of_ours() {
        for (headers, client) in [
            (&["203.0.113.9"][..], Some("203.0.113.9")),
            (&["1.1.1.1, 203.0.113.9"], Some("203.0.113.9")),
            (&["127.0.0.1, 203.0.113.9, 10.0.0.7"], Some("203.0.113.9")),
            (&["1.1.1.1", "203.0.113.9,10.0.0.7"], Some("203.0.113.9")),
            (&["203.0.113.9:5050"], Some("203.0.113.9")),
            (&["[2001:db8::1]:5050"], Some("2001:db8::1")),
            (&["2001:db8::1"], Some("2001:db8::1")),
            (&["[2001:db8::1]"], Some("2001:db8::1")),
            (&["::ffff:203.0.113.9"], Some("203.0.113.9")),
            (&["203.0.113.9, unknown"], None),
            (&["203.0.113.9, "], None),
            (&["_hidden"], None),
            (&["10.0.0.7"], None),
            (&[], None),
        ] {
            assert_eq!(of("127.0.0.1", headers).as_deref(), client, "{headers:?}");
            assert_eq!(of("::ffff:127.0.0.1", headers).as_deref(), client, "{headers:?}");
            assert_eq!(of("203.0.113.1", headers), None, "no proxy of ours: {headers:?}");
        }
    }
}
