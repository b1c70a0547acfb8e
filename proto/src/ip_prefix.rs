//! Prefixes of IP addresses: what is counted, scored or limited as one party.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::address::{PeerAddress, Scope};

/// The IP addresses that share their first bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IpPrefix {
    first: IpAddr,
    bits: u32,
}

/// A text that is no range of addresses that connections come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvalidRange {
    /// It is neither an IP address nor a range.
    Form,
    /// It has a zone, which no connection shows.
    Zone,
    /// It is the unspecified address, from which no connection comes.
    Nobody,
    /// It is an IPv4-compatible IPv6 address (RFC 4291, section 2.5.5.1), which is deprecated.
    Compatible,
    /// It holds IPv4-mapped addresses and others.
    Mixed,
    /// It is the broadcast address, or holds multicast addresses alone.
    Group,
}

impl InvalidRange {
    /// Returns what to write instead; `None` if the text is no range at all.
    pub fn remedy(self) -> Option<&'static str> {
        Some(match self {
            Self::Form => return None,
            Self::Zone => "addresses are compared without the zone, which is the part from % on; leave it out",
            Self::Nobody => {
                "no connection comes from that address; write 0.0.0.0/0 or ::/0 for all addresses of a family"
            }
            Self::Compatible => {
                "no connection comes from such an address; write the IPv4 address alone, such as 192.0.2.7"
            }
            Self::Group => {
                "no connection comes from a multicast or broadcast address; write that of a node, such as 192.0.2.7"
            }
            Self::Mixed => {
                "it mixes IPv4 and IPv6 addresses; write a range for each, such as 192.0.2.0/24 and 2001:db8::/32"
            }
        })
    }
}

/// The length of the prefix of IPv4-mapped addresses, ::ffff:0:0/96 (RFC 4291, section 2.5.5.2).
const MAPPED_BITS: u32 = 96;

impl FromStr for IpPrefix {
    type Err = InvalidRange;

    /// Parses an IP address, or a range such as `192.0.2.0/24`. The form is the one in which remote
    /// addresses are compared: an IPv4-mapped IPv6 address is the IPv4 address, and the bits after
    /// the prefix are 0. A text that no connection's address could match is an error.
    fn from_str(text: &str) -> Result<Self, InvalidRange> {
        let (ip, bits) = match text.split_once('/') {
            Some((ip, bits)) if !bits.is_empty() && bits.bytes().all(|byte| byte.is_ascii_digit()) => (ip, Some(bits)),
            Some(_) => return Err(InvalidRange::Form),
            None => (text, None),
        };
        let ip = ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(ip);
        if let Some((ip, _)) = ip.split_once('%') {
            return Err(if ip.parse::<IpAddr>().is_ok() { InvalidRange::Zone } else { InvalidRange::Form });
        }
        let first: IpAddr = ip.parse().map_err(|_| InvalidRange::Form)?;
        let all = if first.is_ipv4() { 32 } else { 128 };
        let bits: u32 = bits.map_or(Ok(all), str::parse).map_err(|_| InvalidRange::Form)?;
        let range = Self::new(first, bits).ok_or(InvalidRange::Form)?;
        match first {
            IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() && bits < MAPPED_BITS => Err(InvalidRange::Mixed),
            IpAddr::V6(v6)
                if bits >= MAPPED_BITS && !v6.is_loopback() && v6.to_bits() >> 32 == 0 && !v6.is_unspecified() =>
            {
                Err(InvalidRange::Compatible)
            }
            first if first.to_canonical().is_unspecified() && bits == all => Err(InvalidRange::Nobody),
            _ if range.is_group() => Err(InvalidRange::Group),
            _ => Ok(range),
        }
    }
}

impl IpPrefix {
    /// Returns the prefix of `bits` bits that holds `ip`; `None` if an address of this family has
    /// fewer. A prefix of IPv4-mapped addresses is one of IPv4, as remote addresses are compared.
    pub(crate) fn new(ip: IpAddr, bits: u32) -> Option<Self> {
        let (ip, bits) = match (ip.to_canonical(), bits) {
            (canonical @ IpAddr::V4(_), 96..=128) if ip.is_ipv6() => (canonical, bits - 96),
            _ => (ip, bits),
        };
        let first = match ip {
            IpAddr::V4(v4) if bits <= 32 => {
                Ipv4Addr::from_bits(v4.to_bits() & u32::MAX.checked_shl(32 - bits).unwrap_or(0)).into()
            }
            IpAddr::V6(v6) if bits <= 128 => {
                Ipv6Addr::from_bits(v6.to_bits() & u128::MAX.checked_shl(128 - bits).unwrap_or(0)).into()
            }
            _ => return None,
        };
        Some(Self { first, bits })
    }

    /// Returns whether no address in it is that of a single host: multicast (RFC 5771, RFC 4291,
    /// section 2.7) and broadcast.
    fn is_group(self) -> bool {
        match self.first {
            IpAddr::V4(first) => first.is_multicast() && self.bits >= 4 || first.is_broadcast(),
            IpAddr::V6(first) => first.is_multicast() && self.bits >= 8,
        }
    }

    fn of(ip: IpAddr, v4: u32, v6: u32) -> Self {
        let ip = ip.to_canonical();
        let bits = if ip.is_ipv4() { v4 } else { v6 };
        Self::new(ip, bits).expect("the lengths given here are those of the families")
    }

    /// Returns what one subscriber has: an IPv4 address or an IPv6 /64 (RFC 6177). `None` for this
    /// host.
    pub fn address_group(ip: IpAddr) -> Option<Self> {
        (Scope::of(ip.to_canonical()) != Scope::Loopback).then(|| Self::of(ip, 32, 64))
    }

    /// Returns what one subscriber has, also on this host: over a transport in which no rights come
    /// with a loopback address.
    pub(crate) fn address_group_anywhere(ip: IpAddr) -> Self {
        Self::of(ip, 32, 64)
    }

    /// Returns the address group of an address that names an IP. That of a host name is not known
    /// before the name is resolved.
    pub(crate) fn address_group_at(address: &PeerAddress) -> Option<Self> {
        address.host().parse().ok().and_then(Self::address_group)
    }

    /// Returns what one organisation has: an IPv4 /24 or an IPv6 /48.
    pub(crate) fn site(ip: IpAddr) -> Self {
        Self::of(ip, 24, 48)
    }

    /// Returns the network in which one person can easily have many addresses: an IPv4 /16 or an
    /// IPv6 /32.
    pub(crate) fn network(self) -> Self {
        Self::of(self.first, 16, 32)
    }

    /// Returns whether some address is in both.
    pub(crate) fn overlaps(self, other: Self) -> bool {
        if self.bits <= other.bits { self.contains(other.first) } else { other.contains(self.first) }
    }

    /// Returns whether an address, IPv4-mapped or not, is in this prefix.
    pub fn contains(self, ip: IpAddr) -> bool {
        Self::new(ip.to_canonical(), self.bits) == Some(self)
    }
}

impl fmt::Display for IpPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first {
            IpAddr::V4(ip) if self.bits == 32 => ip.fmt(f),
            ip => write!(f, "{ip}/{}", self.bits),
        }
    }
}

/// The party that named an address: what it may cause is counted as one (Bitcoin Core's *source
/// group*).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SourceGroup {
    /// The user, by known peers and settings.
    User,
    /// A program on this host.
    Host,
    /// The local network, by multicast DNS.
    LocalNetwork,
    /// A node beyond the neighbour that passed its word on: anybody in the network.
    Relayed,
    /// A peer of this address group.
    AddressGroup(IpPrefix),
}

impl SourceGroup {
    /// Returns the group of the peers at an IP address.
    pub fn of(ip: IpAddr) -> Self {
        IpPrefix::address_group(ip).map_or(Self::Host, Self::AddressGroup)
    }
}

/// The network of a peer's address: of an IP address its [`IpPrefix::network`], of a host name the
/// name. All node ids are one group: an id says nothing of where the node is, and anybody can have
/// thousands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum NetworkGroup {
    Network(IpPrefix),
    Name(String),
    NodeIds,
}

impl NetworkGroup {
    /// Returns the group of an address; `None` on this host, where all addresses are one's own.
    pub(crate) fn of(address: &PeerAddress) -> Option<Self> {
        if address.scope() == Scope::Loopback {
            return None;
        }
        if address.node().is_some() {
            return Some(Self::NodeIds);
        }
        let host = address.host();
        Some(match host.parse::<IpAddr>() {
            Ok(ip) => Self::Network(IpPrefix::of(ip, 16, 32)),
            Err(_) => Self::Name(host),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an IP address")
    }

    #[test]
    fn an_address_group_is_an_ipv4_address_or_an_ipv6_64_and_nothing_on_this_host() {
        let shown = |text| IpPrefix::address_group(ip(text)).map(|prefix| prefix.to_string());
        assert_eq!(shown("203.0.113.7").as_deref(), Some("203.0.113.7"));
        assert_eq!(shown("::ffff:203.0.113.7").as_deref(), Some("203.0.113.7"));
        assert_eq!(shown("2001:db8:1:2:3:4:5:6").as_deref(), Some("2001:db8:1:2::/64"));
        assert_eq!((shown("127.0.0.1"), shown("::1"), shown("::ffff:127.0.0.1")), (None, None, None));
        let at = |text: &str| IpPrefix::address_group_at(&text.parse().expect("an address"));
        assert_eq!(at("ws://203.0.113.7:1"), IpPrefix::address_group(ip("203.0.113.7")));
        assert_eq!(at("ws://example.org:1"), None);
    }

    #[test]
    fn networks_and_sites_are_wider() {
        let network = |text| IpPrefix::address_group(ip(text)).map(|prefix| prefix.network().to_string());
        assert_eq!(network("203.0.113.7").as_deref(), Some("203.0.0.0/16"));
        assert_eq!(network("2001:db8:1:2::5").as_deref(), Some("2001:db8::/32"));
        assert_eq!(IpPrefix::site(ip("203.0.113.7")).to_string(), "203.0.113.0/24");
        assert_eq!(IpPrefix::site(ip("2001:db8:1:2::5")).to_string(), "2001:db8:1::/48");
    }

    #[test]
    fn a_prefix_contains_what_shares_its_bits() {
        for (prefix, bits, inside, outside) in [
            ("192.0.2.0", 24, "192.0.2.255", "192.0.3.0"),
            ("192.0.2.9", 32, "::ffff:192.0.2.9", "192.0.2.8"),
            ("::ffff:192.0.2.9", 128, "192.0.2.9", "192.0.2.8"),
            ("::ffff:192.0.2.9", 120, "::ffff:192.0.2.255", "192.0.3.0"),
            ("2001:db8::", 33, "2001:db8:7fff::1", "2001:db8:8000::"),
        ] {
            let prefix = IpPrefix::new(ip(prefix), bits).expect("it has so many bits");
            assert!(prefix.contains(ip(inside)) && !prefix.contains(ip(outside)), "{prefix}");
        }
        let all = IpPrefix::new(ip("1.2.3.4"), 0).expect("none");
        assert!(all.contains(ip("9.9.9.9")) && !all.contains(ip("2001:db8::")));
        assert_eq!((IpPrefix::new(ip("1.2.3.4"), 33), IpPrefix::new(ip("::"), 129)), (None, None));
        assert!(IpPrefix::new(ip("::"), 128).is_some());
    }

    #[test]
    fn a_range_that_matches_nothing_is_no_range() {
        for (text, error) in [
            ("fe80::1%eth0", InvalidRange::Zone),
            ("fe80::%2/10", InvalidRange::Zone),
            ("[fe80::1%eth0]", InvalidRange::Zone),
            ("0.0.0.0", InvalidRange::Nobody),
            ("::", InvalidRange::Nobody),
            ("::ffff:0.0.0.0", InvalidRange::Nobody),
            ("::198.51.100.7", InvalidRange::Compatible),
            ("::198.51.100.0/120", InvalidRange::Compatible),
            ("::ffff:198.51.100.7/95", InvalidRange::Mixed),
            ("224.0.0.1", InvalidRange::Group),
            ("224.0.0.0/4", InvalidRange::Group),
            ("239.255.0.0/16", InvalidRange::Group),
            ("255.255.255.255", InvalidRange::Group),
            ("::ffff:224.0.0.1", InvalidRange::Group),
            ("ff02::1", InvalidRange::Group),
            ("ff00::/8", InvalidRange::Group),
            ("192.0.2.0/33", InvalidRange::Form),
            ("2001:db8::/129", InvalidRange::Form),
            ("192.0.2.0/", InvalidRange::Form),
            ("192.0.2.0/+8", InvalidRange::Form),
            ("192.0.2.0/4294967328", InvalidRange::Form),
            ("192.0.2", InvalidRange::Form),
            ("010.0.0.1", InvalidRange::Form),
            ("[192.0.2.7", InvalidRange::Form),
            ("192.0.2.7:4001", InvalidRange::Form),
            ("", InvalidRange::Form),
            ("localhost", InvalidRange::Form),
        ] {
            assert_eq!(text.parse::<IpPrefix>(), Err(error), "{text}");
        }
    }

    #[test]
    fn a_range_with_hosts_beside_multicast_is_a_range() {
        for text in ["0.0.0.0/0", "192.0.0.0/2", "224.0.0.0/3", "240.0.0.0/4", "::/0", "fe00::/7", "fe80::/10"] {
            assert!(text.parse::<IpPrefix>().is_ok(), "{text}");
        }
    }

    #[test]
    fn groups_are_networks_or_names() {
        let group = |text: &str| NetworkGroup::of(&text.parse().expect("an address"));
        assert_eq!(group("ws://203.0.113.7:1"), group("ws://203.0.9.9:2"));
        assert_ne!(group("ws://203.0.113.7:1"), group("ws://203.1.113.7:1"));
        assert_eq!(group("ws://example.org:1"), Some(NetworkGroup::Name("example.org".into())));
        assert_eq!(group("ws://localhost:1"), None);
        let id = |digit: &str| format!("iroh:{}", digit.repeat(64));
        assert_eq!((group(&id("a")), group(&id("b"))), (Some(NetworkGroup::NodeIds), Some(NetworkGroup::NodeIds)));
    }
}
