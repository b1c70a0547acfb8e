//! The access rules: lists of nodes that are admitted or refused, as texts and as values.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::str::FromStr;

use crate::id::{NodeId, parse_hex32};
use crate::ip_prefix::{InvalidRange, IpPrefix};
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

impl Rules {
    /// Returns the number of rules.
    pub fn len(&self) -> usize {
        self.names.len() + self.ranges.len()
    }

    /// Returns whether there are no rules.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns whether a rule names this node id.
    pub fn names(&self, node: NodeId) -> bool {
        self.names.contains(&node.0)
    }

    /// Returns whether a rule names some address of a prefix.
    pub(crate) fn overlaps(&self, prefix: IpPrefix) -> bool {
        self.ranges.iter().any(|range| range.overlaps(prefix))
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
            let range = rule.parse().map_err(|error: InvalidRange| {
                let text = rule.chars().take(SHOWN_CHARACTERS).collect();
                InvalidRule { line: index + 1, text, remedy: error.remedy().unwrap_or(FORMS) }
            });
            rules.ranges.push(range?);
        }
        Ok(rules)
    }
}

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
            ("fe80::1%eth0", InvalidRange::Zone.remedy().expect("one")),
            ("0.0.0.0", InvalidRange::Nobody.remedy().expect("one")),
            ("192.0.2.0/33", FORMS),
            ("192.0.2", FORMS),
            ("192.0.2.7:4001", FORMS),
            ("example.org", FORMS),
            ("x%eth0", FORMS),
        ] {
            let error = format!("# a comment\n{rule}").parse::<Rules>().expect_err(rule);
            assert_eq!((error.line, error.text.as_str(), error.remedy), (2, rule, remedy));
        }
    }
}
