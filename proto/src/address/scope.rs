//! Scopes: from how far away an address makes sense.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Returns the IPv4 address that an IPv6 address leads to: IPv4-mapped (RFC 4291), or translated.
/// Hosts behind a translator share one prefix, so the IPv4 address tells them apart.
pub(crate) fn ipv4_behind(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) => translated(v6).map_or(IpAddr::V6(v6), IpAddr::V4),
        v4 => v4,
    }
}

/// Returns the IPv4 address in a NAT64 (64:ff9b::/96, RFC 6052), 6to4 (2002::/16, RFC 3056) or
/// IPv4-compatible address (::/96, RFC 4291). A Teredo address (RFC 4380) leads to a server.
fn translated(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    match ip.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => Some(joined(high, low)),
        [0, 0, 0, 0, 0, 0, high, low] if !ip.is_loopback() && !ip.is_unspecified() => Some(joined(high, low)),
        _ => None,
    }
}

fn joined(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))
}

/// Whether it is in 64:ff9b:1::/48, the NAT64 prefix for use inside a network (RFC 8215).
fn is_local_nat64(ip: Ipv6Addr) -> bool {
    ip.segments()[..3] == [0x64, 0xff9b, 1]
}

/// From how far away an address makes sense. A stranger must not make us dial services of our own
/// host or of our private network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// One interface of this host: a link-local address with its zone, which means another
    /// interface, or none, on every other host. It is for people to write, and never told.
    Interface,
    /// This host only: `localhost`, 127.0.0.0/8, ::1.
    Loopback,
    /// A private network: RFC 1918, RFC 4193, link-local, and carrier-grade NAT (RFC 6598).
    Private,
    /// All other addresses, names included.
    Public,
}

impl Scope {
    /// Returns the scope of an IP address.
    pub fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => Self::of_v4(ip),
            IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
                Some(v4) => Self::of_v4(v4),
                None if ip.is_loopback() || ip.is_unspecified() => Self::Loopback,
                None if ip.is_unique_local() || ip.is_unicast_link_local() || is_local_nat64(ip) => Self::Private,
                // Never the loopback address of this host, whose rights a remote one must not get.
                None => translated(ip).map_or(Self::Public, |v4| Self::of_v4(v4).max(Self::Private)),
            },
        }
    }

    fn of_v4(ip: Ipv4Addr) -> Self {
        let [a, b, ..] = ip.octets();
        if ip.is_loopback() || a == 0 {
            Self::Loopback
        } else if ip.is_private() || ip.is_link_local() || (a == 100 && (64..128).contains(&b)) {
            Self::Private
        } else {
            Self::Public
        }
    }

    /// Returns whether a peer at this scope may name an address of another: loopback addresses are
    /// accepted from loopback, private ones from loopback and private networks.
    pub fn may_tell(self, address: Self) -> bool {
        self <= address
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Interface => "interface",
            Self::Loopback => "loopback",
            Self::Private => "private",
            Self::Public => "public",
        })
    }
}

impl FromStr for Scope {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let all = [Self::Interface, Self::Loopback, Self::Private, Self::Public];
        let named = all.into_iter().find(|scope| scope.to_string() == text);
        named.ok_or("a scope is interface, loopback, private or public")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_address_that_a_translator_is_asked_for_keeps_its_scope() {
        for (ip, scope) in [
            ("64:ff9b::a00:5", Scope::Private),
            ("64:ff9b::7f00:1", Scope::Private),
            ("64:ff9b::cb00:7107", Scope::Public),
            ("64:ff9b:1::cb00:7107", Scope::Private),
            ("64:ff9b:2::a00:5", Scope::Public),
            ("2002:a00:5::1", Scope::Private),
            ("2002:7f00:1::1", Scope::Private),
            ("2002:cb00:7107::1", Scope::Public),
            ("::10.0.0.5", Scope::Private),
            ("::ffff:10.0.0.5", Scope::Private),
            ("::ffff:127.0.0.1", Scope::Loopback),
            ("::1", Scope::Loopback),
            ("::", Scope::Loopback),
            ("2001:db8::a00:5", Scope::Public),
        ] {
            assert_eq!(Scope::of(ip.parse().expect("an IP address")), scope, "{ip}");
        }
    }
}
