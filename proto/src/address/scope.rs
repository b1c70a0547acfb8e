//! Scopes: from how far away an address makes sense.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

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
            IpAddr::V6(ip) => match embedded_v4(ip) {
                Some(v4) => Self::of_v4(v4),
                None if ip.is_loopback() || ip.is_unspecified() => Self::Loopback,
                None if ip.is_unique_local() || ip.is_unicast_link_local() => Self::Private,
                None => Self::Public,
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

/// Returns the IPv4 address to which packets for an IPv6 address go: an IPv4-mapped one (RFC 4291,
/// section 2.5.5.2), one of a translator (NAT64, RFC 6052) or of a relay router (6to4, RFC 3056).
pub(crate) fn embedded_v4(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    const NAT64: u128 = 0x64_ff9b << 96;
    let bits = ip.to_bits();
    if bits >> 32 == NAT64 >> 32 {
        Some(Ipv4Addr::from_bits(bits as u32))
    } else if bits >> 112 == 0x2002 {
        Some(Ipv4Addr::from_bits((bits >> 80) as u32))
    } else {
        ip.to_ipv4_mapped()
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
