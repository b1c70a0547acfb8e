//! Ranges of IP addresses, as settings name them.

use std::net::IpAddr;
use std::str::FromStr;

use meshpool_proto::IpPrefix;

/// An IP address or a range such as `192.0.2.0/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IpRange(IpPrefix);

/// A text that is neither an IP address nor a range, or one that no connection can come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidIpRange(&'static str);

impl IpRange {
    /// Returns whether an address is in the range. IPv4-mapped addresses are IPv4 addresses.
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.0.contains(ip)
    }
}

impl FromStr for IpRange {
    type Err = InvalidIpRange;

    fn from_str(text: &str) -> Result<Self, InvalidIpRange> {
        let form = "write an IP address, or a range such as 192.0.2.0/24";
        text.parse()
            .map(Self)
            .map_err(|error: meshpool_proto::InvalidRange| InvalidIpRange(error.remedy().unwrap_or(form)))
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
        for text in ["", "localhost", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "::/129", "10.0.0"] {
            let error = text.parse::<IpRange>().expect_err(text);
            assert!(error.to_string().contains("such as 192.0.2.0/24"), "{text}: {error}");
        }
    }

    #[test]
    fn a_range_that_matches_nothing_is_refused_with_the_remedy() {
        for (text, part) in [
            ("0.0.0.0", "0.0.0.0/0"),
            ("::", "::/0"),
            ("::198.51.100.7", "IPv4 address alone"),
            ("::ffff:10.0.0.1/8", "a range for each"),
            ("fe80::1%eth0", "without the zone"),
        ] {
            let error = text.parse::<IpRange>().expect_err(text);
            assert!(error.to_string().contains(part), "{text}: {error}");
        }
    }
}
