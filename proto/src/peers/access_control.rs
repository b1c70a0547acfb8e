//! Access control: which peers are admitted, by kind, node id, certificate or address.
//!
//! In a closed network the runtime authenticates a node with its certificate before its link opens
//! ([`Input::PeerCertified`](crate::Input::PeerCertified)). Its node id is the key of the
//! certificate; a HANDSHAKE or an upgrade identity with another id closes the link. In an open
//! network an id is a claim, so a rule for an id excludes only peers that do not lie. A rule for
//! addresses holds in both.
//!
//! `connections/admission` asks for a decision and closes the links. Refusals are counted, and
//! logged once per site, kind and reason in `LOG_EVERY`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::access::{Access, Certified};
use crate::address::Scope;
use crate::context::Context;
use crate::counters::Counters;
use crate::event::{Event, PeerName};
use crate::id::{LinkId, NodeId};
use crate::ip_prefix::IpPrefix;
use crate::util::log_throttle::{LogThrottle, Throttle};

/// The time between two warnings of refusals of one kind from one site: long, as refused programs
/// keep dialling.
const LOG_EVERY: Duration = Duration::from_secs(600);
/// How many sites are remembered for that. All others share the limit of warnings.
const LOG_GROUPS: usize = 256;

/// The kind of a refusal, for counters and the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Refusal {
    /// A connection that did not become a link.
    Connection,
    /// An exercise peer.
    Exercise,
    /// A client without a certificate.
    Client,
    /// A peer that the lists exclude.
    Listed,
    /// A peer over iroh that does not introduce itself as a node.
    NoNode,
    /// A peer that names another node id than its certificate.
    Impostor,
    /// A peer that names another node id than its connection over iroh proves.
    OtherKey,
}

impl Refusal {
    /// Counts a refusal; returns its text for the log.
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
            Self::NoNode => (&mut counters.clients_refused, "it came over iroh and did not introduce itself as a node"),
            Self::Impostor => (
                &mut counters.impostors_refused,
                "it names another node id than its certificate's key; if that is your node, issue it a certificate for its own node.key",
            ),
            Self::OtherKey => {
                (&mut counters.impostors_refused, "it names another node id than its connection over iroh proves")
            }
        };
        *count += 1;
        what
    }
}

/// The kind of a refusal, and the close reason that the other end gets.
pub(crate) type Refused = (Refusal, String);

/// The access rules, and the nodes authenticated by a certificate.
#[derive(Debug)]
pub(crate) struct AccessControl {
    access: Access,
    certified: BTreeMap<LinkId, Certified>,
    /// The nodes that the transport itself proves, on links over iroh.
    authenticated: BTreeMap<LinkId, NodeId>,
    log: LogThrottle<(IpPrefix, Refusal, String)>,
}

impl Default for AccessControl {
    fn default() -> Self {
        Self {
            access: Access::default(),
            certified: BTreeMap::new(),
            authenticated: BTreeMap::new(),
            log: LogThrottle::new(LOG_EVERY, LOG_GROUPS),
        }
    }
}

impl AccessControl {
    pub(crate) fn set_rules(&mut self, access: Access) {
        self.access = access;
    }

    /// Notes the authenticated node at the other end of a link that opens next.
    pub(crate) fn certify(&mut self, link: LinkId, certified: Certified) {
        self.certified.insert(link, certified);
    }

    /// Notes the node that the transport proves at the other end of a link that opens next.
    pub(crate) fn authenticate(&mut self, link: LinkId, node: NodeId) {
        self.authenticated.insert(link, node);
    }

    /// Returns the node that the transport proves at the other end of a link.
    pub(crate) fn authenticated(&self, link: LinkId) -> Option<NodeId> {
        self.authenticated.get(&link).copied()
    }

    /// Returns whether a certificate or the transport proves that this node is at the other end of
    /// a link.
    pub(crate) fn is_proved(&self, link: LinkId, node: NodeId) -> bool {
        self.certified.get(&link).is_some_and(|certified| certified.node == node)
            || self.authenticated(link) == Some(node)
    }

    pub(crate) fn on_link_closed(&mut self, link: LinkId) {
        self.certified.remove(&link);
        self.authenticated.remove(&link);
    }

    /// Returns whether a node may fetch images over a separate connection, which has no HANDSHAKE.
    /// In an open network only rules for addresses apply.
    pub(crate) fn may_fetch(&self, own: NodeId, remote: IpAddr, certified: Option<Certified>) -> bool {
        let node = certified.map(|certified| certified.node);
        let Access { denied, allowed, .. } = &self.access;
        let local = Scope::of(remote) == Scope::Loopback && certified.is_none();
        node == Some(own)
            || denied.matching(node, certified, remote).is_none()
                && allowed.as_ref().is_none_or(|allowed| local || allowed.matching(node, certified, remote).is_some())
    }

    /// Returns whether a rule denies an address, no matter which node is there.
    pub(crate) fn denies(&self, remote: IpAddr) -> bool {
        self.access.denied.matching(None, None, remote).is_some()
    }

    /// Returns why a node that has proved its id may not send requests, over a connection that is
    /// no link; `None` admits it.
    pub(crate) fn request_refusal(
        &self,
        own: NodeId,
        remote: IpAddr,
        certified: Option<Certified>,
        node: NodeId,
    ) -> Option<String> {
        let Access { denied, allowed, .. } = &self.access;
        if node == own {
            return None;
        }
        if let Some(by) = denied.matching(Some(node), certified, remote) {
            return Some(format!("this node's list of the denied names your {by}"));
        }
        let allowed = allowed.as_ref().filter(|allowed| allowed.matching(Some(node), certified, remote).is_none());
        allowed.map(|_| unlisted().1)
    }

    /// Returns why a peer is not admitted; `None` admits it. Without `node` the id of its
    /// certificate counts, and without a certificate only its address.
    pub(crate) fn refusal(&self, own: NodeId, link: LinkId, remote: IpAddr, node: Option<NodeId>) -> Option<Refused> {
        let certified = self.certified.get(&link).copied();
        if let (Some(certified), Some(node)) = (certified, node)
            && certified.node != node
        {
            let (named, shown) = (node.short(), certified.node.short());
            let why = format!("you say that you are {named}, your certificate is that of {shown}");
            return Some((Refusal::Impostor, why));
        }
        let authenticated = self.authenticated(link);
        let certificate = certified.map(|certified| certified.node);
        if let (Some(authenticated), Some(named)) = (authenticated, node.or(certificate))
            && authenticated != named
        {
            let (named, shown) = (named.short(), authenticated.short());
            let why = format!("you say that you are {named}, your connection is that of {shown}");
            return Some((Refusal::OtherKey, why));
        }
        let node = node.or(certificate).or(authenticated);
        if node == Some(own) {
            // Its own folder's certificate: an operator's tool, or itself.
            return None;
        }
        if let Some(by) = self.access.denied.matching(node, certified, remote) {
            return Some((Refusal::Listed, format!("this node's list of the denied names your {by}")));
        }
        let allowed = self.access.allowed.as_ref().filter(|_| node.is_some());
        allowed.filter(|allowed| allowed.matching(node, certified, remote).is_none()).map(|_| unlisted())
    }

    /// Returns why an exercise peer is not admitted.
    pub(crate) fn exercise_refusal(&self, own: NodeId, link: LinkId, remote: IpAddr) -> Option<Refused> {
        if self.authenticated.contains_key(&link) {
            return Some(no_handshake());
        }
        if !self.access.plain {
            return Some((Refusal::Exercise, "exercise peers are not admitted here (PLAIN=off)".to_owned()));
        }
        let certified = self.certified.get(&link).copied();
        let node = certified.map(|certified| certified.node);
        let allowed =
            self.access.allowed.as_ref().filter(|allowed| allowed.matching(node, certified, remote).is_none());
        self.refusal(own, link, remote, None).or_else(|| allowed.map(|_| unlisted()))
    }

    /// Returns why a client is not served. A client on this host, or with a certificate, is a tool
    /// of the operator and always served.
    pub(crate) fn client_refusal(&self, link: LinkId, remote: IpAddr) -> Option<Refused> {
        if self.authenticated.contains_key(&link) {
            return Some(no_handshake());
        }
        if Scope::of(remote) == Scope::Loopback || self.certified.contains_key(&link) {
            return None;
        }
        match &self.access.allowed {
            _ if !self.access.plain => {
                let why = "clients must come from this host or show a certificate here (PLAIN=off)";
                Some((Refusal::Client, why.to_owned()))
            }
            Some(allowed) if allowed.matching(None, None, remote).is_none() => Some(unlisted()),
            _ => None,
        }
    }

    /// Counts and reports a refused link of the peer `name`, of which nothing may be known.
    pub(crate) fn log_link(&mut self, cx: &mut Context, name: &PeerName, remote: IpAddr, (kind, why): &Refused) {
        let what = kind.count(&mut cx.counters);
        let who = match name {
            PeerName { node: None, address: None } => format!("a connection from {remote}"),
            name => format!("{name} at {remote}"),
        };
        let text = format!("{who} was refused: {what} (its close reason: {why})");
        self.log(cx, (remote, *kind, String::new()), text);
    }

    /// Counts and reports a connection that did not become a link: another protocol, or no valid
    /// certificate.
    pub(crate) fn log_connection(&mut self, cx: &mut Context, remote: IpAddr, reason: &str) {
        Refusal::Connection.count(&mut cx.counters);
        let text = format!("a connection from {remote} was refused: {reason}");
        self.log(cx, (remote, Refusal::Connection, reason.to_owned()), text);
    }

    /// Reports a refusal: as a warning once per site, kind and reason in [`LOG_EVERY`], otherwise
    /// for the debug log.
    fn log(&mut self, cx: &mut Context, (remote, kind, reason): (IpAddr, Refusal, String), text: String) {
        let warns = match self.log.judge(cx.now, (IpPrefix::site(remote), kind, reason), "") {
            Throttle::Log { .. } => true,
            Throttle::Suppress => false,
            Throttle::NoRoom => cx.may_warn(),
        };
        cx.notify(if warns { Event::Warning { text } } else { Event::AccessDenied { text } });
    }
}

fn no_handshake() -> Refused {
    (Refusal::NoNode, "over iroh nodes are linked and nobody else: send the HANDSHAKE of a node first".to_owned())
}

fn unlisted() -> Refused {
    (Refusal::Listed, "this node's list of the allowed does not name you".to_owned())
}

#[cfg(test)]
mod tests;
