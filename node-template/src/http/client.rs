//! The clients of the HTTP server, as its limits tell them apart.

use std::net::{IpAddr, Ipv6Addr};

/// Whose a connection or request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Client {
    /// A program on this machine.
    Local,
    /// An IPv4 address or an IPv6 /64, which one subscriber has (RFC 6177).
    Remote(IpAddr),
}

impl Client {
    /// Returns the client at an address beyond this machine.
    pub(crate) fn of(ip: IpAddr) -> Self {
        Self::Remote(match ip.to_canonical() {
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
            v4 => v4,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_group_is_one_client() {
        let of = |ip: &str| Client::of(ip.parse().expect(ip));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:0:0:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
