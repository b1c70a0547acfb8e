//! Links to other nodes, from their opening to their end.
//!
//! | component | decides |
//! |---|---|
//! | `lifecycle` | what follows when a link opens and when it ends |
//! | `admission` | which links access rules and bans exclude, and the penalty of a violation |
//! | `handshake` | which node is at the other end, and whether its address is true |
//! | `node_ids` | which node ids lead to linked nodes |
//! | `proof` | whether a node has proved the id that it names |
//! | `duplicates` | which of two links to one node stays |
//! | `eviction` | which accepted link is closed when there are too many |
//! | `group_slots` | whose slot a newcomer has where many nodes share an address |
//! | `liveness` | when a silent link is dead |
//! | `named_addresses` | what is reported of the addresses in a HANDSHAKE |
//! | `reachability` | what peers are told of their addresses, and what they say of ours |
//!
//! The node calls it with what happens on links. It uses the address book, the dialer, the scores
//! and the access rules of [`peers`](crate::peers). Which peers get a slot is decided one layer up,
//! by membership, which learns of peers by [internal events](crate::internal_event).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::context::Context;
use crate::dial_reason::DialReason;
use crate::id::{LinkId, NodeId};
use crate::io::Challenge;
use crate::ip_prefix::SourceGroup;
use crate::peers::Peers;
use crate::wire::NodeInfo;
use group_slots::GroupSlots;
use proof::Proofs;
use table::{Link, LinkTable, PeerKey};

mod admission;
mod closed;
mod duplicates;
mod eviction;
pub(crate) mod group_slots;
mod handshake;
mod lifecycle;
mod liveness;
pub(crate) mod named_addresses;
mod node_ids;
mod proof;
pub(crate) mod reachability;
pub(crate) mod table;

pub(crate) use closed::Closed;

/// The open links.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    pub(crate) links: LinkTable,
    /// The reasons of links that were dialled for one.
    reasons: BTreeMap<LinkId, DialReason>,
    /// Whether others can dial this node.
    pub(crate) reachability: reachability::Reachability,
    proofs: Proofs,
    group_slots: GroupSlots,
}

impl Connections {
    /// Returns the link whose slot a newcomer is to have, see [`group_slots`].
    pub(crate) fn share_slot(
        &mut self,
        cx: &mut Context,
        peers: &Peers,
        newcomer: (LinkId, NodeId),
        heard_within: Duration,
        linked_elsewhere: impl Fn(BTreeSet<NodeId>) -> BTreeSet<NodeId>,
    ) -> Option<LinkId> {
        let known = self.known_links(peers);
        self.group_slots.share(cx, &self.links, &known, newcomer, heard_within, linked_elsewhere)
    }

    /// Returns why the other end of a link was dialled.
    pub(crate) fn reason(&self, link: LinkId) -> Option<&DialReason> {
        self.reasons.get(&link)
    }

    /// Returns the links that were dialled for a reason, each with it.
    pub(crate) fn reasons(&self) -> impl Iterator<Item = (LinkId, &DialReason)> {
        self.reasons.iter().map(|(link, reason)| (*link, reason))
    }

    /// Notes the nonces of a link that opens next.
    pub(crate) fn on_challenged(&mut self, link: LinkId, challenge: Challenge) {
        self.proofs.expect(link, challenge);
    }

    /// Returns by what a native peer without a slot counts as one.
    pub(crate) fn pending_key(&self, peers: &Peers, link: LinkId, node: &NodeInfo) -> Option<PeerKey> {
        Some(self.links.get(link)?.key_of(node.id, self.is_proved(peers, link, node)))
    }

    /// Returns whether a link that we dialled leads to this node, as far as the answer to the
    /// upgrade shows: as much as a probe would. `proved`: the node has proved its id elsewhere. One
    /// that has not may be another, if the node there announced a proof.
    fn is_met_by_dial(&self, link: LinkId, node: &NodeInfo, proved: bool) -> bool {
        let open = self.links.get(link).filter(|open| open.dialled.is_some() && !open.closing);
        let run = open.and_then(|open| open.native()).map(|peer| (peer.id, peer.session));
        run == Some((node.id, node.session)) && (proved || !self.proofs.is_announced(link))
    }

    /// Returns whether a native peer without a slot has one already, by another link.
    pub(crate) fn has_slot(&self, peers: &Peers, link: LinkId, node: &NodeInfo) -> bool {
        let Some(open) = self.links.get(link) else { return false };
        let proved = self.is_proved(peers, link, node);
        self.links.to_peer(open.key_of(node.id, proved), Some(link)).is_some()
            || self.links.iter().any(|(other, _)| other != link && self.is_met_by_dial(other, node, proved))
    }

    /// Returns whether a node that introduced itself on a link has proved its id: by a signature,
    /// by a certificate, or by the transport.
    pub(crate) fn is_proved(&self, peers: &Peers, link: LinkId, node: &NodeInfo) -> bool {
        peers.access.is_proved(link, node.id) || self.proofs.is_proved(link, node.id, node.session)
    }

    /// Returns the group of the native peer at the other end of a link, if its address still waits
    /// to be verified.
    pub(crate) fn unverified(&self, link: LinkId) -> Option<SourceGroup> {
        let waits = self.links.get(link).and_then(Link::native).is_some_and(|peer| peer.address.is_none());
        waits.then(|| self.links.source_of(link).1)
    }
}
