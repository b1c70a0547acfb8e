//! Who is let in: whether nodes of the exercise and clients without a certificate are, who is denied by name or address, and who alone is allowed.
//!
//! In a closed network the shell has proved who is at the other end before a link opens ([`Input::PeerCertified`](crate::Input::PeerCertified)): there a node id is the key of
//! a certificate, and a HANDSHAKE or a identity that names another closes the link. In an open network an id is a claim, and a rule that names one keeps out whoever
//! does not care to lie; a rule that names addresses holds there too. What is refused is counted, and told once per group of addresses and a while.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;
use std::time::{Duration, Instant};

use crate::Node;
use crate::address::{PeerAddress, Scope};
use crate::connections::table::Role;
use crate::event::Event;
use crate::id::{LinkId, NodeId, UpgradeIdentity, parse_hex32};
use crate::limits::SHOWN_CHARACTERS;
use crate::wire::close;

/// A person is told of refusals of one kind from one group of addresses this often.
const TELL_EVERY: Duration = Duration::from_secs(600);
/// How many groups are remembered for that. Beyond it all the others together are told of as seldom as any warning.
const GROUPS: usize = 256;

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
    ranges: Vec<Range>,
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
            } else if let Some(range) = Range::parse(rule) {
                rules.ranges.push(range);
            } else {
                return Err(InvalidRule { line: index + 1, text: rule.chars().take(SHOWN_CHARACTERS).collect() });
            }
        }
        Ok(rules)
    }
}

/// A range of IP addresses: those that share their first bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    first: IpAddr,
    bits: u32,
}

impl Range {
    fn parse(text: &str) -> Option<Self> {
        let (ip, bits) = match text.split_once('/') {
            Some((ip, bits)) if bits.bytes().all(|byte| byte.is_ascii_digit()) => (ip, Some(bits.parse().ok()?)),
            Some(_) => return None,
            None => (text, None),
        };
        let first: IpAddr = ip.trim_start_matches('[').trim_end_matches(']').parse().ok()?;
        let most = if first.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        (bits <= most).then_some(Self { first, bits })
    }

    fn contains(self, ip: IpAddr) -> bool {
        match (self.first, ip.to_canonical()) {
            (IpAddr::V4(first), IpAddr::V4(ip)) => {
                (u32::from(first) ^ u32::from(ip)).checked_shr(32 - self.bits).unwrap_or(0) == 0
            }
            (IpAddr::V6(first), IpAddr::V6(ip)) => {
                (u128::from(first) ^ u128::from(ip)).checked_shr(128 - self.bits).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

/// What is refused, for counting and telling it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Refusal {
    /// A connection that came to no link.
    Connection,
    /// A node of the exercise.
    Plain,
    /// A client without a certificate.
    Client,
    /// Somebody whom the lists keep out.
    Listed,
    /// Another node than its certificate says.
    Impostor,
}

/// Why the other end of a link is not let in: what kind of refusal, and what it is told.
type Refused = (Refusal, String);

/// What is known of access: the rules, and who was proved and told of.
#[derive(Debug, Default)]
pub(crate) struct AccessControl {
    access: Access,
    certified: BTreeMap<LinkId, Certified>,
    /// Whom a person was told of: the group of addresses, what was refused and why, and when.
    told: BTreeMap<(IpAddr, Refusal, String), Instant>,
}

impl Node {
    pub(crate) fn on_certified(&mut self, link: LinkId, certified: Certified) {
        self.access.certified.insert(link, certified);
    }

    pub(crate) fn forget_certified(&mut self, link: LinkId) {
        self.access.certified.remove(&link);
    }

    /// Other rules than before: links that they keep out are closed.
    pub(crate) fn on_access(&mut self, now: Instant, access: Access) {
        self.access.access = access;
        let open: Vec<LinkId> = self.links.iter().filter(|(_, link)| !link.closing).map(|(id, _)| id).collect();
        for link in open {
            let Some(open) = self.links.get(link) else { continue };
            let refused = match &open.role {
                Role::Exercise { .. } => self.plain_refusal(link, open.remote),
                _ => self.refusal(link, open.remote, open.name().node),
            };
            if let Some(refused) = refused {
                self.turn_away(now, link, refused);
            }
        }
    }

    /// A connection came to no link: what it was, in words.
    pub(crate) fn on_turned_away(&mut self, now: Instant, remote: IpAddr, reason: &str) {
        self.cx.counters.connections_refused += 1;
        let text = format!("a connection from {remote} was refused: {reason}");
        self.tell_not_let_in(now, (remote, Refusal::Connection, reason.to_owned()), text);
    }

    /// Checks a link that we have just accepted, as far as it is known who came; says whether it is closed.
    pub(crate) fn refuses_accepted(&mut self, now: Instant, link: LinkId, remote: IpAddr) -> bool {
        let refused = self.refusal(link, remote, None);
        refused.map(|refused| self.turn_away(now, link, refused)).is_some()
    }

    /// Checks a node that we have just dialled; says whether the link is closed. In its place an entry without any role is made.
    pub(crate) fn refuses_dialled(
        &mut self,
        now: Instant,
        link: LinkId,
        remote: IpAddr,
        address: &PeerAddress,
        identity: Option<UpgradeIdentity>,
    ) -> bool {
        let refused = match identity {
            Some(identity) => self.refusal(link, remote, Some(identity.node)),
            None => self.plain_refusal(link, remote),
        };
        let Some(refused) = refused else { return false };
        self.links.open(link, remote, Some(address.clone()), Role::Client, now);
        self.turn_away(now, link, refused);
        true
    }

    /// Checks a full peer that introduces itself; says whether the link is closed.
    pub(crate) fn refuses_full(&mut self, now: Instant, link: LinkId, node: NodeId) -> bool {
        let refused = self.links.get(link).and_then(|open| self.refusal(link, open.remote, Some(node)));
        refused.map(|refused| self.turn_away(now, link, refused)).is_some()
    }

    /// Checks a node of the exercise that introduces itself; says whether the link is closed.
    pub(crate) fn refuses_plain(&mut self, now: Instant, link: LinkId) -> bool {
        let refused = self.links.get(link).and_then(|open| self.plain_refusal(link, open.remote));
        refused.map(|refused| self.turn_away(now, link, refused)).is_some()
    }

    /// Checks a client that sends something; says whether the link is closed. Who is on this host, or shows a certificate, is an operator's tool.
    pub(crate) fn refuses_client(&mut self, now: Instant, link: LinkId) -> bool {
        let Some(open) = self.links.get(link) else { return false };
        let known = open.scope == Scope::Loopback || self.access.certified.contains_key(&link);
        if !matches!(open.role, Role::Client) || known {
            return false;
        }
        let access = &self.access.access;
        let refused = match &access.allowed {
            _ if !access.plain => {
                (Refusal::Client, "clients must come from this host or show a certificate here (PLAIN=off)".to_owned())
            }
            Some(allowed) if allowed.name(None, None, open.remote).is_none() => unlisted(),
            _ => return false,
        };
        self.turn_away(now, link, refused);
        true
    }

    /// Whether somebody may have images of this node over a connection of its own, on which nobody introduces itself: in an open network addresses alone count.
    pub fn may_fetch(&self, remote: IpAddr, certified: Option<Certified>) -> bool {
        let node = certified.map(|certified| certified.node);
        let Access { denied, allowed, .. } = &self.access.access;
        let local = Scope::of(remote) == Scope::Loopback && certified.is_none();
        node == Some(self.cx.config.node)
            || denied.name(node, certified, remote).is_none()
                && allowed.as_ref().is_none_or(|allowed| local || allowed.name(node, certified, remote).is_some())
    }

    /// Why a full peer, or somebody who has not said yet what it is, is not let in. Without `node` its certificate says who it is, and if there is none only
    /// its address counts.
    fn refusal(&self, link: LinkId, remote: IpAddr, node: Option<NodeId>) -> Option<Refused> {
        let certified = self.access.certified.get(&link).copied();
        if let (Some(certified), Some(node)) = (certified, node)
            && certified.node != node
        {
            let (named, shown) = (node.short(), certified.node.short());
            return Some((
                Refusal::Impostor,
                format!("you say that you are {named}, your certificate is that of {shown}"),
            ));
        }
        let node = node.or(certified.map(|certified| certified.node));
        if node == Some(self.cx.config.node) {
            // Its own folder's certificate: an operator's tool, or itself.
            return None;
        }
        let access = &self.access.access;
        if let Some(by) = access.denied.name(node, certified, remote) {
            return Some((Refusal::Listed, format!("this node's list of the denied names your {by}")));
        }
        let allowed = access.allowed.as_ref().filter(|_| node.is_some());
        allowed.filter(|allowed| allowed.name(node, certified, remote).is_none()).map(|_| unlisted())
    }

    /// Why a node of the exercise is not let in.
    fn plain_refusal(&self, link: LinkId, remote: IpAddr) -> Option<Refused> {
        let access = &self.access.access;
        if !access.plain {
            return Some((Refusal::Plain, "nodes of the exercise are not let in here (PLAIN=off)".to_owned()));
        }
        let certified = self.access.certified.get(&link).copied();
        let node = certified.map(|certified| certified.node);
        let allowed = access.allowed.as_ref().filter(|allowed| allowed.name(node, certified, remote).is_none());
        self.refusal(link, remote, None).or_else(|| allowed.map(|_| unlisted()))
    }

    /// Closes the link of somebody who is not let in, puts its address back for long, counts and tells it.
    fn turn_away(&mut self, now: Instant, link: LinkId, (kind, why): Refused) {
        let name = self.links.name_of(link);
        let Some(open) = self.links.get(link) else { return };
        let (remote, dialled) = (open.remote, open.dialled.clone());
        self.links.close(&mut self.cx, link, close::POLICY, &why);
        if let Some(address) = dialled {
            self.put_back_long(now, &address);
        }
        let (count, what) = match kind {
            Refusal::Connection => (&mut self.cx.counters.connections_refused, "it could not be linked to"),
            Refusal::Plain => (
                &mut self.cx.counters.exercise_refused,
                "it is a node of the exercise, or another program; PLAIN=on would let it in",
            ),
            Refusal::Client => (
                &mut self.cx.counters.clients_refused,
                "a client from another host that shows no certificate (PLAIN=off)",
            ),
            Refusal::Listed => (&mut self.cx.counters.listed_refused, "by denied.txt or allowed.txt of this folder"),
            Refusal::Impostor => (
                &mut self.cx.counters.impostors_refused,
                "it names another node id than its certificate's key; if that is your node, issue it a certificate for its own node.key",
            ),
        };
        *count += 1;
        let text = format!("{name} at {remote} was refused: {what} (it was told: {why})");
        self.tell_not_let_in(now, (remote, kind, String::new()), text);
    }

    /// Tells a person of a refusal, once per group of addresses, kind and reason in [`TELL_EVERY`].
    fn tell_not_let_in(&mut self, now: Instant, (remote, kind, reason): (IpAddr, Refusal, String), text: String) {
        let told = &mut self.access.told;
        told.retain(|_, at| now.saturating_duration_since(*at) < TELL_EVERY);
        let group = (group_of(remote), kind, reason);
        let has_room = told.len() < GROUPS;
        let lately = told.contains_key(&group) || (!has_room && !self.cx.may_warn());
        if has_room && !lately {
            self.access.told.insert(group, now);
        }
        self.cx.notify(if lately { Event::AccessDenied { text } } else { Event::Warning { text } });
    }
}

fn unlisted() -> Refused {
    (Refusal::Listed, "this node's list of the allowed does not name you".to_owned())
}

/// The addresses that one party has: those of a /24, of IPv6 a /48.
fn group_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => Ipv4Addr::from(u32::from(ip) & 0xffff_ff00).into(),
        IpAddr::V6(ip) => std::net::Ipv6Addr::from(u128::from(ip) & (u128::MAX << 80)).into(),
    }
}

#[cfg(test)]
mod tests;
