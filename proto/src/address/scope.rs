//! Scopes: from how far away an address makes sense.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
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
            IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
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
