//! Ranges of IP addresses, as settings name them.

use std::net::IpAddr;
use std::str::FromStr;

/// An IP address or a range such as `192.0.2.0/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IpRange {
    first: IpAddr,
    bits: u32,
}

/// A text that is neither an IP address nor a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write an IP address, or a range such as 192.0.2.0/24")]
pub struct InvalidIpRange;

/// Returns an address as a number, its first bit the highest, and how many bits its family has.
fn number(ip: IpAddr) -> (u128, u32) {
    match ip.to_canonical() {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()) << 96, 32),
        IpAddr::V6(v6) => (v6.to_bits(), 128),
    }
}

impl IpRange {
    /// Returns whether an address is in the range. IPv4-mapped addresses are IPv4 addresses.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ((first, family), (other, other_family)) = (number(self.first), number(ip));
        let differ = (first ^ other).checked_shr(128 - self.bits).unwrap_or(0);
        family == other_family && differ == 0
    }
}

impl FromStr for IpRange {
    type Err = InvalidIpRange;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (ip, bits) = match text.split_once('/') {
            Some((ip, bits)) if bits.bytes().all(|byte| byte.is_ascii_digit()) => (ip, Some(bits)),
            Some(_) => return Err(InvalidIpRange),
            None => (text, None),
        };
        let ip: IpAddr = ip.trim_start_matches('[').trim_end_matches(']').parse().map_err(|_| InvalidIpRange)?;
        let written: u32 = if ip.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(written), str::parse).ok().filter(|bits| *bits <= written).ok_or(InvalidIpRange)?;
        // Of ::ffff:192.0.2.0/120 the last 32 bits are the IPv4 address.
        let mapped = ip.is_ipv6() && ip.to_canonical().is_ipv4();
        let bits = if mapped { bits.checked_sub(96).ok_or(InvalidIpRange)? } else { bits };
        Ok(Self { first: ip.to_canonical(), bits })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_the_addresses_with_its_first_bits() {
        for (range, inside, outside) in [
            ("127.0.0.1", "127.0.0.1", "127.0.0.2"),
            ("127.0.0.1", "::ffff:127.0.0.1", "::1"),
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("10.1.2.3/8", "10.255.0.1", "::a00:1"),
            ("0.0.0.0/0", "203.0.113.9", "::1"),
            ("::1", "::1", "127.0.0.1"),
            ("[fd00::]/8", "fdff::1", "fe00::1"),
            ("::/0", "fe80::1", "10.0.0.1"),
            ("::ffff:192.0.2.0/120", "192.0.2.255", "192.0.3.0"),
        ] {
            let parsed: IpRange = range.parse().expect(range);
            assert!(parsed.contains(inside.parse().expect(inside)), "{range} {inside}");
            assert!(!parsed.contains(outside.parse().expect(outside)), "{range} {outside}");
        }
        for text in
            ["", "localhost", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "::/129", "10.0.0", "::ffff:10.0.0.1/8"]
        {
            assert_eq!(text.parse::<IpRange>(), Err(InvalidIpRange), "{text}");
        }
    }
}
