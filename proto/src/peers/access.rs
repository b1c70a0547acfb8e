//! Access control: which peers are admitted, by kind, node id, certificate or address.
//!
//! In a closed network the runtime has proved who is at the other end before a link opens
//! ([`Input::PeerCertified`](crate::Input::PeerCertified)): there a node id is the key of a certificate, and a HANDSHAKE
//! or an upgrade identity that names another closes the link. In an open network an id is a claim, and a rule that
//! names one excludes only peers that do not lie; a rule that names addresses holds there too. Refusals are counted,
//! and logged once per site and kind for a while.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use crate::address::Scope;
use crate::context::Context;
use crate::counters::Counters;
use crate::event::{Event, PeerName};
use crate::id::{LinkId, NodeId, parse_hex32};
use crate::ip_prefix::IpPrefix;
use crate::limits::SHOWN_CHARACTERS;
use crate::util::log_throttle::{LogThrottle, Throttle};

/// How often a person is warned of refusals of one kind from one site.
const LOG_EVERY: Duration = Duration::from_secs(600);
/// How many sites are remembered for that. All others together are limited as any warning is.
const LOG_GROUPS: usize = 256;

/// Who is at the other end of a link, proved by a certificate of the network's authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Certified {
    /// The node: the certificate's key.
    pub node: NodeId,
    /// The SHA-256 of the certificate.
    pub fingerprint: [u8; 32],
}

/// Who is let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// Whether nodes of the exercise are, and clients from beyond this host that show no certificate.
    pub plain: bool,
    /// Who is not.
    pub denied: Rules,
    /// Who alone is, if there is such a list.
    pub allowed: Option<Rules>,
}

impl Default for Access {
    /// Everybody is.
    fn default() -> Self {
        Self { plain: true, denied: Rules::default(), allowed: None }
    }
}

/// A list of nodes: by node id, by the fingerprint of a certificate, by address.
///
/// As a text it has one rule per line: 64 hexadecimal digits (a node id, or the SHA-256 of a certificate, with or without colons), an IP address, or a range of them
/// such as `192.0.2.0/24`. What follows a `#` is a comment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// Node ids and fingerprints. They look alike, and no key is the hash of a certificate.
    names: BTreeSet<[u8; 32]>,
    ranges: Vec<IpPrefix>,
}

/// A line of a list that is no rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "line {line}: {text:?} is no rule; write a node id or a certificate's SHA-256 (64 hexadecimal digits), an IP address, or a range such as 192.0.2.0/24"
)]
pub struct InvalidRule {
    /// Which line, from 1.
    pub line: usize,
    /// What stands there, shortened.
    pub text: String,
}

impl Rules {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.names.len() + self.ranges.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// By what these rules name the other end of a link, in words; `None` if they do not. An id that is not known yet is none.
    fn name(&self, node: Option<NodeId>, certified: Option<Certified>, remote: IpAddr) -> Option<&'static str> {
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

/// Why a peer is not admitted: what is counted and logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Refusal {
    /// A connection that became no link.
    Connection,
    /// An exercise peer.
    Exercise,
    /// A client without a certificate.
    Client,
    /// A peer that the lists exclude.
    Listed,
    /// Another node than its certificate says.
    Impostor,
}

impl Refusal {
    /// Counts it; returns what it was, for the log.
    fn count(self, counters: &mut Counters) -> &'static str {
        let (count, what) = match self {
            Self::Connection => (&mut counters.connections_refused, "it could not be linked to"),
            Self::Exercise => (
                &mut counters.exercise_refused,
                "it is a node of the exercise, or another program; PLAIN=on would admit it",
            ),
            Self::Client => {
                (&mut counters.clients_refused, "a client from another host that shows no certificate (PLAIN=off)")
            }
            Self::Listed => (&mut counters.listed_refused, "by denied.txt or allowed.txt of this folder"),
            Self::Impostor => (
                &mut counters.impostors_refused,
                "it names another node id than its certificate's key; if that is your node, issue it a certificate for its own node.key",
            ),
        };
        *count += 1;
        what
    }
}

/// Why the other end of a link is not admitted: the kind of refusal, and the close reason that it gets.
pub(crate) type Refused = (Refusal, String);

/// The access rules, and who was proved by a certificate.
#[derive(Debug)]
pub(crate) struct AccessControl {
    access: Access,
    certified: BTreeMap<LinkId, Certified>,
    log: LogThrottle<(IpPrefix, Refusal, String)>,
}

impl Default for AccessControl {
    fn default() -> Self {
        Self { access: Access::default(), certified: BTreeMap::new(), log: LogThrottle::new(LOG_EVERY, LOG_GROUPS) }
    }
}

impl AccessControl {
    pub(crate) fn set_rules(&mut self, access: Access) {
        self.access = access;
    }

    /// Notes who is at the other end of a link that opens next.
    pub(crate) fn certify(&mut self, link: LinkId, certified: Certified) {
        self.certified.insert(link, certified);
    }

    pub(crate) fn on_link_closed(&mut self, link: LinkId) {
        self.certified.remove(&link);
    }

    /// Returns whether a node may fetch images over a connection of its own, on which there is no HANDSHAKE. In an open
    /// network addresses alone count.
    pub(crate) fn may_fetch(&self, own: NodeId, remote: IpAddr, certified: Option<Certified>) -> bool {
        let node = certified.map(|certified| certified.node);
        let Access { denied, allowed, .. } = &self.access;
        let local = Scope::of(remote) == Scope::Loopback && certified.is_none();
        node == Some(own)
            || denied.name(node, certified, remote).is_none()
                && allowed.as_ref().is_none_or(|allowed| local || allowed.name(node, certified, remote).is_some())
    }

    /// Returns why a native peer, or a peer that has not introduced itself yet, is not admitted. Without `node` its
    /// certificate names it; without that only its address counts.
    pub(crate) fn refusal(&self, own: NodeId, link: LinkId, remote: IpAddr, node: Option<NodeId>) -> Option<Refused> {
        let certified = self.certified.get(&link).copied();
        if let (Some(certified), Some(node)) = (certified, node)
            && certified.node != node
        {
            let (named, shown) = (node.short(), certified.node.short());
            let why = format!("you say that you are {named}, your certificate is that of {shown}");
            return Some((Refusal::Impostor, why));
        }
        let node = node.or(certified.map(|certified| certified.node));
        if node == Some(own) {
            // Its own folder's certificate: an operator's tool, or itself.
            return None;
        }
        if let Some(by) = self.access.denied.name(node, certified, remote) {
            return Some((Refusal::Listed, format!("this node's list of the denied names your {by}")));
        }
        let allowed = self.access.allowed.as_ref().filter(|_| node.is_some());
        allowed.filter(|allowed| allowed.name(node, certified, remote).is_none()).map(|_| unlisted())
    }

    /// Returns why an exercise peer is not admitted.
    pub(crate) fn exercise_refusal(&self, own: NodeId, link: LinkId, remote: IpAddr) -> Option<Refused> {
        if !self.access.plain {
            return Some((Refusal::Exercise, "nodes of the exercise are not admitted here (PLAIN=off)".to_owned()));
        }
        let certified = self.certified.get(&link).copied();
        let node = certified.map(|certified| certified.node);
        let allowed = self.access.allowed.as_ref().filter(|allowed| allowed.name(node, certified, remote).is_none());
        self.refusal(own, link, remote, None).or_else(|| allowed.map(|_| unlisted()))
    }

    /// Returns why a client is not served. One on this host, or with a certificate, is an operator's tool.
    pub(crate) fn client_refusal(&self, link: LinkId, remote: IpAddr) -> Option<Refused> {
        if Scope::of(remote) == Scope::Loopback || self.certified.contains_key(&link) {
            return None;
        }
        match &self.access.allowed {
            _ if !self.access.plain => {
                let why = "clients must come from this host or show a certificate here (PLAIN=off)";
                Some((Refusal::Client, why.to_owned()))
            }
            Some(allowed) if allowed.name(None, None, remote).is_none() => Some(unlisted()),
            _ => None,
        }
    }

    /// Counts and reports a refused link. `name` is its peer's, `why` is what the peer was sent.
    pub(crate) fn log_link(&mut self, cx: &mut Context, name: &PeerName, remote: IpAddr, (kind, why): &Refused) {
        let what = kind.count(&mut cx.counters);
        let text = format!("{name} at {remote} was refused: {what} (its close reason: {why})");
        self.log(cx, (remote, *kind, String::new()), text);
    }

    /// Counts and reports a connection that became no link: another protocol, or no certificate that counts here.
    pub(crate) fn log_connection(&mut self, cx: &mut Context, remote: IpAddr, reason: &str) {
        Refusal::Connection.count(&mut cx.counters);
        let text = format!("a connection from {remote} was refused: {reason}");
        self.log(cx, (remote, Refusal::Connection, reason.to_owned()), text);
    }

    /// Warns a person of a refusal, once per site, kind and reason in [`LOG_EVERY`]; the others are for the debug log.
    fn log(&mut self, cx: &mut Context, (remote, kind, reason): (IpAddr, Refusal, String), text: String) {
        let warns = match self.log.judge(cx.now, (IpPrefix::site(remote), kind, reason), "") {
            Throttle::Log { .. } => true,
            Throttle::Suppress => false,
            Throttle::NoRoom => cx.may_warn(),
        };
        cx.notify(if warns { Event::Warning { text } } else { Event::AccessDenied { text } });
    }
}

fn unlisted() -> Refused {
    (Refusal::Listed, "this node's list of the allowed does not name you".to_owned())
}

#[cfg(test)]
mod tests;
