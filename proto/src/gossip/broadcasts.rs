//! A text to everybody, once: BROADCAST.
//!
//! It spreads as a transaction does, along the tree of its origin (`gossip.rs`, `trees.rs`), to full peers alone: a node of the exercise may die of it. It is
//! kept in memory for ten minutes, for those that come back (`catch_up.rs`), and never on a disk. Its id is remembered for twice as long at least.
//! A frame that answers a comparison carries the broadcast's age, so that ten minutes are ten minutes in the whole network: what goes round by comparisons
//! alone can not outlive what anybody remembers of it.

use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::connections::table::Role;
use crate::event::{Event, PeerName};
use crate::id::LinkId;
use crate::signature::Purpose;
use crate::store::broadcast_store::{BroadcastStore, HeldBroadcast};
use crate::transaction::Origin;
use crate::wire::{Ack, AckStatus, Broadcast, BroadcastFrame, BroadcastId};
use crate::{BroadcastReceipt, Lane, Node, Output, RequestId};

/// What is remembered of broadcasts.
#[derive(Debug, Default)]
pub(crate) struct Broadcasts {
    pub(crate) store: BroadcastStore,
    /// How many this run has made.
    made: u64,
}

impl Node {
    pub(crate) fn on_broadcast(&mut self, now: Instant, link: LinkId, frame: BroadcastFrame) {
        let BroadcastFrame { mut broadcast, origin, ack, synced } = frame;
        let Some(open) = self.connections.links.get(link) else { return };
        let (origin, synced, full) = match &open.role {
            // What a full peer says of the origin is what it must be signed by; a client's is ours.
            Role::Native(peer) => (origin.unwrap_or(Origin::Node(peer.id)), synced, true),
            Role::Client => (Origin::Node(self.cx.config.node), None, false),
            Role::Exercise { .. } | Role::Standby(_) | Role::AwaitingAdmission(_) => {
                return self.fault(link, "BROADCAST: only full peers and clients send it");
            }
        };
        let id = broadcast.id;
        if self.broadcasts.store.has_seen(&id) {
            self.cx.counters.broadcasts_duplicate += 1;
            if full && synced.is_none() {
                self.on_copy(now, link, &origin);
            }
            return self.answer_broadcast(link, ack, id, AckStatus::Duplicate, 0);
        }
        if !full {
            broadcast.seal(&*self.cx.config.signer);
        } else if !self.is_signed_by(&origin, &broadcast) {
            self.cx.counters.broadcasts_forged += 1;
            return self.fault(link, "BROADCAST: the node that it names has not signed it");
        }
        if synced.is_some() {
            self.cx.counters.broadcasts_synced += 1;
        }
        self.broadcast_sync.on_came(&id);
        let links = self.take_broadcast(now, broadcast, origin, Some(link), synced);
        self.answer_broadcast(link, ack, id, AckStatus::Sent, links);
    }

    fn is_signed_by(&self, origin: &Origin, broadcast: &Broadcast) -> bool {
        // A plain peer sends none, so nobody can have one of it.
        let Origin::Node(node) = origin else { return false };
        self.cx.config.signer.vouches(*node, Purpose::Broadcast, broadcast.seal.as_deref())
    }

    fn answer_broadcast(&mut self, link: LinkId, ack: bool, id: BroadcastId, status: AckStatus, links: usize) {
        if ack {
            let ack = Ack { id: id.to_string(), status, reason: None, links };
            self.cx.send(vec![link], ack.to_frame(), Lane::Payload);
        }
    }

    /// The application broadcasts.
    pub(crate) fn on_own_broadcast(&mut self, now: Instant, request: RequestId, message: String, time: f64) {
        let id = self.new_broadcast_id(&message, time);
        let mut broadcast = Broadcast { id, message: message.into(), time, seal: None };
        broadcast.seal(&*self.cx.config.signer);
        let links = self.take_broadcast(now, broadcast, Origin::Node(self.cx.config.node), None, None);
        self.cx.output(Output::BroadcastSent { request, told: BroadcastReceipt { id, links } });
    }

    /// An id that nobody has made before: the session is of this run alone, and the count within it.
    fn new_broadcast_id(&mut self, message: &str, time: f64) -> BroadcastId {
        self.broadcasts.made += 1;
        let mut hash = Sha256::new();
        hash.update(self.cx.config.node.0);
        hash.update(self.cx.config.session.0.as_bytes());
        hash.update(self.broadcasts.made.to_be_bytes());
        hash.update(time.to_be_bytes());
        hash.update(message);
        BroadcastId(hash.finalize().into())
    }

    /// Takes one that is new here: keeps it, sends it on, tells of it. Returns on how many links it went out.
    fn take_broadcast(
        &mut self,
        now: Instant,
        broadcast: Broadcast,
        origin: Origin,
        from: Option<LinkId>,
        synced: Option<Duration>,
    ) -> usize {
        self.cx.counters.broadcasts_accepted += 1;
        let born = synced.and_then(|age| now.checked_sub(age)).unwrap_or(now);
        let links = if synced.is_none() {
            self.note_first_copy(now, &origin, from);
            self.flood_broadcast(now, &broadcast, &origin, from)
        } else {
            0
        };
        let held = HeldBroadcast { broadcast: broadcast.clone(), origin: origin.clone(), born, received: now };
        self.broadcasts.store.insert(now, held);
        self.broadcasts.store.expire(now);
        let by_client = from
            .and_then(|link| self.connections.links.get(link))
            .is_some_and(|link| matches!(link.role, Role::Client));
        let ours = origin == Origin::Node(self.cx.config.node);
        // What we sent before a restart comes back with a comparison: others may still lack it, but we have seen it.
        if !ours || by_client || from.is_none() {
            let (sender, peer) = (self.name_of_origin(&origin), from.map(|link| self.connections.links.name_of(link)));
            self.cx.notify(Event::Broadcast { broadcast, sender, peer, links });
        }
        links
    }

    fn flood_broadcast(&mut self, now: Instant, broadcast: &Broadcast, origin: &Origin, from: Option<LinkId>) -> usize {
        let mut targets = self.targets(now, Some(origin), from);
        targets.retain(|link| self.connections.links.get(*link).is_some_and(|link| link.full().is_some()));
        let count = targets.len();
        if count > 0 {
            self.cx.counters.broadcasts_sent += count as u64;
            let frame =
                BroadcastFrame { broadcast: broadcast.clone(), origin: Some(origin.clone()), ack: false, synced: None };
            self.cx.send(targets, frame.to_frame(self.cx.config.session), Lane::Payload);
        }
        count
    }

    /// How people know an origin.
    fn name_of_origin(&self, origin: &Origin) -> PeerName {
        match origin {
            Origin::Exercise(address) => PeerName { node: None, address: Some(address.clone()) },
            Origin::Node(node) if *node == self.cx.config.node => {
                PeerName { node: Some(*node), address: Some(self.cx.config.address.clone()) }
            }
            Origin::Node(node) => self.name_of_node(*node),
        }
    }
}

#[cfg(test)]
mod tests;
