//! Hosts: names, IP addresses, and link-local IP addresses with a zone.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;

use super::scope::Scope;

/// The longest name of an interface: IFNAMSIZ of Linux, without the final zero.
const ZONE_BYTES: usize = 15;

/// Parses a port, which is never 0.
pub(super) fn parse_port(port: &str) -> Result<u16, &'static str> {
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("its port is not a number");
    }
    port.parse().ok().filter(|port| *port != 0).ok_or("its port is not from 1 to 65535")
}

/// The host of an address, in normal form.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Host {
    Name(Arc<str>),
    Ip(IpAddr),
    /// A link-local address with the interface of this host that leads to it (RFC 4007).
    Zoned(Ipv6Addr, Arc<str>),
}

impl Host {
    /// Returns the host without brackets.
    pub(super) fn bare(&self) -> String {
        match self {
            Self::Name(name) => name.to_string(),
            Self::Ip(ip) => ip.to_string(),
            Self::Zoned(ip, zone) => format!("{ip}%{zone}"),
        }
    }

    /// Returns whether it is a name with a label in Punycode.
    pub(super) fn is_internationalized(&self) -> bool {
        matches!(self, Self::Name(name) if name.split('.').any(|label| label.starts_with("xn--")))
    }

    pub(super) fn scope(&self) -> Scope {
        match self {
            Self::Name(name) if **name == *"localhost" || name.ends_with(".localhost") => Scope::Loopback,
            Self::Name(_) => Scope::Public,
            Self::Ip(ip) => Scope::of(*ip),
            Self::Zoned(..) => Scope::Interface,
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Ip(IpAddr::V4(ip)) => ip.fmt(f),
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            Self::Zoned(ip, zone) => write!(f, "[{ip}%{}{zone}]", encoding(zone)),
        }
    }
}

impl FromStr for Host {
    type Err = &'static str;

    fn from_str(host: &str) -> Result<Self, Self::Err> {
        if let Some(v6) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let (v6, zone) = v6.split_once('%').map_or((v6, None), |(v6, zone)| (v6, Some(zone)));
            let ip: Ipv6Addr = v6.parse().map_err(|_| "its host in brackets is no IPv6 address")?;
            return match zone {
                None => Ok(Self::Ip(IpAddr::from(ip).to_canonical())),
                Some(_) if !ip.is_unicast_link_local() => Err("only a link-local IPv6 address (fe80::) has a zone"),
                Some(zone) => parse_zone(zone)
                    .map(|zone| Self::Zoned(ip, zone))
                    .ok_or("its zone, behind the %, is no name of an interface"),
            };
        }
        // A label in Punycode may stand for no name. `new URL` throws for such a host (WHATWG URL,
        // section 3.3), which ends a node of the exercise that is told it.
        let ascii = idna::domain_to_ascii_cow(host.as_bytes(), idna::AsciiDenyList::EMPTY)
            .map_err(|_| "its host is no name in any script")?;
        // The dot of the root (RFC 1034, section 3.1).
        let host = ascii.strip_suffix('.').unwrap_or(&ascii);
        if let Ok(ip) = host.parse::<Ipv4Addr>() {
            return Ok(Self::Ip(ip.into()));
        }
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        // A numeric last label is an old spelling of an IPv4 address (2130706433, 0x7f.1), which
        // systems read in different ways.
        let last = host.rsplit('.').next().unwrap_or_default();
        let numeric =
            last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x") || last.starts_with("0X");
        if !host.split('.').all(label) || numeric {
            return Err("its host is neither a name nor an IP address");
        }
        Ok(Self::Name(host.to_ascii_lowercase().into()))
    }
}

/// The rest of an encoded percent sign, where a zone without it would be read as another one.
fn encoding(zone: &str) -> &'static str {
    if zone.starts_with("25") && zone.len() > 2 { "25" } else { "" }
}

/// Parses the zone of a link-local address, with the percent sign as it is or encoded (RFC 6874).
/// `25` alone is a number of an interface.
fn parse_zone(zone: &str) -> Option<Arc<str>> {
    let zone = zone.strip_prefix("25").filter(|rest| !rest.is_empty()).unwrap_or(zone);
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    ((1..=ZONE_BYTES).contains(&zone.len()) && zone.bytes().all(is_name)).then(|| zone.into())
}
