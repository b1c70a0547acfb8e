//! The access rules: lists of nodes that are admitted or refused, as texts and as values.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::str::FromStr;

use crate::id::{NodeId, parse_hex32};
use crate::ip_prefix::IpPrefix;
use crate::limits::SHOWN_CHARACTERS;

/// The node at the other end of a link, authenticated by a certificate of the network's authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Certified {
    /// The node: the certificate's key.
    pub node: NodeId,
    /// The SHA-256 of the certificate.
    pub fingerprint: [u8; 32],
}

/// The access rules: who is admitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// Whether exercise peers are admitted, and clients of other hosts without a certificate.
    pub plain: bool,
    /// The nodes that are refused.
    pub denied: Rules,
    /// The only nodes that are admitted; `None`: all.
    pub allowed: Option<Rules>,
}

impl Default for Access {
    /// Returns rules that admit all.
    fn default() -> Self {
        Self { plain: true, denied: Rules::default(), allowed: None }
    }
}

/// A list of nodes: by node id, by the fingerprint of a certificate, by address.
///
/// As a text it has one rule per line: 64 hexadecimal digits (a node id, or the SHA-256 of a
/// certificate, with or without colons), an IP address, or a range such as `192.0.2.0/24`. A `#`
/// begins a comment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// Node ids and fingerprints. They share a form, but a key never equals the hash of a
    /// certificate.
    names: BTreeSet<[u8; 32]>,
    ranges: Vec<IpPrefix>,
}

/// A line of a list that is no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {text:?} is no rule; {remedy}")]
pub struct InvalidRule {
    /// The number of the line, from 1.
    pub line: usize,
    /// The rule in it, shortened.
    pub text: String,
    /// What to write instead.
    pub remedy: &'static str,
}

/// The forms of a rule.
const FORMS: &str = "write a node id or a certificate's SHA-256 (64 hexadecimal digits), an IP address, or a range such as 192.0.2.0/24";
/// The form of an address on one interface, which no connection shows.
const ZONE: &str = "addresses are compared without the zone, which is the part from % on; leave it out";
/// Addresses that no connection comes from: a rule for them would match nothing.
const NOBODY: &str = "no connection comes from that address; write 0.0.0.0/0 or ::/0 for all addresses of a family";
const COMPATIBLE: &str = "no connection comes from such an address; write the IPv4 address alone, such as 192.0.2.7";
const MIXED: &str = "it mixes IPv4 and IPv6 addresses; write a range for each, such as 192.0.2.0/24 and 2001:db8::/32";

impl Rules {
    /// Returns the number of rules.
    pub fn len(&self) -> usize {
        self.names.len() + self.ranges.len()
    }

    /// Returns whether there are no rules.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the property by which a rule matches the other end of a link, in words; `None` if no
    /// rule does.
    pub(crate) fn matching(
        &self,
        node: Option<NodeId>,
        certified: Option<Certified>,
        remote: IpAddr,
    ) -> Option<&'static str> {
        if node.is_some_and(|node| self.names.contains(&node.0)) {
            Some("node id")
        } else if certified.is_some_and(|certified| self.names.contains(&certified.fingerprint)) {
            Some("certificate")
        } else if self.ranges.iter().any(|range| range.contains(remote)) {
            Some("address")
        } else {
            None
        }
    }
}

impl FromStr for Rules {
    type Err = InvalidRule;

    fn from_str(text: &str) -> Result<Self, InvalidRule> {
        let mut rules = Self::default();
        for (index, line) in text.lines().enumerate() {
            let rule = line.split('#').next().unwrap_or_default().trim();
            if rule.is_empty() {
                continue;
            }
            if let Some(name) = parse_hex32(rule).or_else(|| parse_hex32(&rule.replace(':', ""))) {
                rules.names.insert(name);
                continue;
            }
            let range = parse_range(rule).map_err(|remedy| {
                let text = rule.chars().take(SHOWN_CHARACTERS).collect();
                InvalidRule { line: index + 1, text, remedy }
            });
            rules.ranges.push(range?);
        }
        Ok(rules)
    }
}

/// Parses an IP address, or a range such as `192.0.2.0/24`. The form is the one in which remote
/// addresses are compared: an IPv4-mapped IPv6 address is the IPv4 address, and the bits after the
/// prefix are 0. The error is the remedy.
fn parse_range(text: &str) -> Result<IpPrefix, &'static str> {
    let (ip, bits) = match text.split_once('/') {
        Some((ip, bits)) if !bits.is_empty() && bits.bytes().all(|byte| byte.is_ascii_digit()) => (ip, Some(bits)),
        Some(_) => return Err(FORMS),
        None => (text, None),
    };
    let ip = ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(ip);
    if let Some((ip, _)) = ip.split_once('%') {
        return Err(if ip.parse::<IpAddr>().is_ok() { ZONE } else { FORMS });
    }
    let first: IpAddr = ip.parse().map_err(|_| FORMS)?;
    let all = if first.is_ipv4() { 32 } else { 128 };
    let bits: u32 = bits.map_or(Ok(all), str::parse).map_err(|_| FORMS)?;
    let range = IpPrefix::new(first, bits).ok_or(FORMS)?;
    match first {
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() && bits < MAPPED_BITS => Err(MIXED),
        IpAddr::V6(v6)
            if bits >= MAPPED_BITS && !v6.is_loopback() && v6.to_bits() >> 32 == 0 && !v6.is_unspecified() =>
        {
            Err(COMPATIBLE)
        }
        first if first.to_canonical().is_unspecified() && bits == all => Err(NOBODY),
        _ => Ok(range),
    }
}

/// The length of the prefix of IPv4-mapped addresses, ::ffff:0:0/96 (RFC 4291, section 2.5.5.2).
const MAPPED_BITS: u32 = 96;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_and_an_address_are_compared_in_one_form() {
        for (rule, inside, outside) in [
            ("198.51.100.7", "::ffff:198.51.100.7", "198.51.100.8"),
            ("::ffff:198.51.100.7", "198.51.100.7", "198.51.100.8"),
            ("::FFFF:C633:6407", "198.51.100.7", "::198.51.100.7"),
            ("[::ffff:198.51.100.7]", "::ffff:198.51.100.7", "198.51.100.8"),
            ("::ffff:198.51.100.7/128", "198.51.100.7", "198.51.100.8"),
            ("::ffff:198.51.100.7/120", "198.51.100.200", "198.51.101.1"),
            ("::ffff:0:0/96", "203.0.113.1", "2001:db8::1"),
            ("192.0.2.7/24", "192.0.2.200", "192.0.3.7"),
            ("0.0.0.0/0", "203.0.113.1", "2001:db8::1"),
            ("::/0", "2001:db8::1", "203.0.113.1"),
            ("2001:DB8:0:0::7", "2001:db8::7", "2001:db8::8"),
            ("2001:db8::7/32", "2001:db8:ffff::", "2001:db9::"),
            ("fe80::1", "fe80::1", "fe80::2"),
            ("::1", "::1", "127.0.0.1"),
            ("127.0.0.1", "::ffff:127.0.0.1", "::1"),
        ] {
            let rules: Rules = rule.parse().expect(rule);
            let matches = |ip: &str| rules.matching(None, None, ip.parse().expect("an address")).is_some();
            assert!(matches(inside) && !matches(outside), "{rule}");
        }
    }

    #[test]
    fn a_rule_that_matches_nothing_is_refused_with_the_remedy() {
        for (rule, remedy) in [
            ("fe80::1%eth0", ZONE),
            ("fe80::%2/10", ZONE),
            ("[fe80::1%eth0]", ZONE),
            ("0.0.0.0", NOBODY),
            ("::", NOBODY),
            ("::ffff:0.0.0.0", NOBODY),
            ("::198.51.100.7", COMPATIBLE),
            ("::198.51.100.0/120", COMPATIBLE),
            ("::ffff:198.51.100.7/95", MIXED),
            ("192.0.2.0/33", FORMS),
            ("2001:db8::/129", FORMS),
            ("192.0.2.0/", FORMS),
            ("192.0.2.0/+8", FORMS),
            ("192.0.2.0/4294967328", FORMS),
            ("192.0.2", FORMS),
            ("010.0.0.1", FORMS),
            ("[192.0.2.7", FORMS),
            ("192.0.2.7:4001", FORMS),
            ("example.org", FORMS),
            ("x%eth0", FORMS),
        ] {
            let error = format!("# a comment\n{rule}").parse::<Rules>().expect_err(rule);
            assert_eq!((error.line, error.text.as_str(), error.remedy), (2, rule, remedy));
        }
    }
}
