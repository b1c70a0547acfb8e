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
#[error(
    "line {line}: {text:?} is no rule; write a node id or a certificate's SHA-256 (64 hexadecimal digits), an IP address, or a range such as 192.0.2.0/24"
)]
pub struct InvalidRule {
    /// The number of the line, from 1.
    pub line: usize,
    /// The rule in it, shortened.
    pub text: String,
}

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
            } else if let Some(range) = parse_range(rule) {
                rules.ranges.push(range);
            } else {
                return Err(InvalidRule { line: index + 1, text: rule.chars().take(SHOWN_CHARACTERS).collect() });
            }
        }
        Ok(rules)
    }
}

/// Parses an IP address, or a range such as `192.0.2.0/24`.
fn parse_range(text: &str) -> Option<IpPrefix> {
    let (ip, bits) = match text.split_once('/') {
        Some((ip, bits)) if bits.bytes().all(|byte| byte.is_ascii_digit()) => (ip, Some(bits.parse().ok()?)),
        Some(_) => return None,
        None => (text, None),
    };
    let first: IpAddr = ip.trim_start_matches('[').trim_end_matches(']').parse().ok()?;
    IpPrefix::new(first, bits.unwrap_or(if first.is_ipv4() { 32 } else { 128 }))
}
