//! BROADCAST: a short text to everybody, once.
//!
//! It spreads as a transaction does, along the tree of its origin (`plumtree.rs`), but to native
//! peers only: a node of the exercise may die of it. It is kept in memory for ten minutes, for
//! nodes that come back (`broadcast_sync.rs`), and never on a disk. A frame that answers a
//! comparison carries the broadcast's age, so that ten minutes are ten minutes in the whole
//! network: what spreads by comparisons only is never new twice.
//!
//! Neither the age nor the mark of an answer is signed. A relay that is faster than others could
//! claim that a new broadcast is old, and answers are not sent on. So one that is over by its age
//! is ignored, and not noted as seen. The first copy that is no answer counts as new: it is sent
//! on, and is kept for ten minutes.
//!
//! It is known by its digest, which is bound to what its origin signed. The `id` is for people: a
//! liar that signs another text under an id that it just heard makes another broadcast, and
//! replaces none.

use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::connections::table::{LinkState, LinkTable};
use crate::context::Context;
use crate::event::{Event, PeerName};
use crate::gossip::plumtree::Plumtree;
use crate::id::{LinkId, NodeId};
use crate::io::{BroadcastReceipt, Lane, Output, RequestId};
use crate::limits;
use crate::signature::Purpose;
use crate::store::broadcast_store::{BroadcastStore, HeldBroadcast};
use crate::transaction::Origin;
use crate::violation::Violation;
use crate::wire::{Ack, AckStatus, Broadcast, BroadcastDigest, BroadcastFrame, BroadcastId};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Broadcasts {
    pub(crate) store: BroadcastStore,
    /// How many this run has made.
    made: u64,
}

/// A broadcast that is new here, or the first live copy of one.
struct Fresh {
    broadcast: Broadcast,
    digest: BroadcastDigest,
    origin: Origin,
    /// On which link it came; `None` for one of the application.
    from: Option<LinkId>,
    /// Its age, if it came in answer to a comparison.
    synced: Option<Duration>,
}

impl Broadcasts {
    /// Handles BROADCAST, and returns its digest if it was taken or is known. `name_of` says how
    /// people know a node.
    pub(crate) fn on_broadcast(
        &mut self,
        cx: &mut Context,
        links: &LinkTable,
        plumtree: &mut Plumtree,
        name_of: impl Fn(NodeId) -> PeerName,
        link: LinkId,
        frame: BroadcastFrame,
    ) -> Result<Option<BroadcastDigest>, Violation> {
        let BroadcastFrame { mut broadcast, origin, ack, synced } = frame;
        let Some(open) = links.get(link) else { return Ok(None) };
        let (origin, synced, native) = match &open.state {
            // The origin that a native peer names must have signed it; a client's broadcast is
            // ours.
            LinkState::HelloSent(peer) | LinkState::Verifying(peer) | LinkState::Established(peer) => {
                (origin.unwrap_or(Origin::Node(peer.id)), synced, true)
            }
            LinkState::Client => (Origin::Node(cx.config.node), None, false),
            // The rules let nobody else send it.
            _ => return Ok(None),
        };
        let id = broadcast.id;
        if !native {
            // What a client signed is not ours.
            broadcast.seal = None;
        }
        let digest = broadcast.digest(&origin);
        let first_live = native && synced.is_none() && self.store.is_only_compared(&digest);
        if self.store.has_seen(&digest) && !first_live {
            cx.counters.broadcasts_duplicate += 1;
            if native && synced.is_none() {
                plumtree.on_copy(cx, links, link, &origin);
            }
            acknowledge(cx, link, ack, id, AckStatus::Duplicate, 0);
            return Ok(Some(digest));
        }
        if synced.is_some_and(|age| age >= limits::BROADCAST_TTL) {
            cx.counters.messages_dropped += 1;
            return Ok(None);
        }
        if !native {
            broadcast.seal(&*cx.config.signer);
        } else if !is_signed(cx, &origin, &broadcast) {
            cx.counters.broadcasts_forged += 1;
            return Err(Violation::breach("BROADCAST: the node that it names has not signed it"));
        }
        if synced.is_some() {
            cx.counters.broadcasts_synced += 1;
        }
        let fresh = Fresh { broadcast, digest, origin, from: Some(link), synced };
        let count = self.accept(cx, links, plumtree, name_of, fresh);
        acknowledge(cx, link, ack, id, AckStatus::Sent, count);
        Ok(Some(digest))
    }

    /// Answers a broadcast that is not taken.
    pub(crate) fn reject(cx: &mut Context, link: LinkId, frame: &BroadcastFrame, reason: &str) {
        if frame.ack {
            let (id, reason) = (frame.broadcast.id.to_string(), Some(reason.to_owned()));
            let ack = Ack { id, status: AckStatus::Rejected, reason, links: 0 };
            cx.send(vec![link], ack.to_frame(), Lane::Payload);
        }
    }

    /// Broadcasts a text of the application.
    pub(crate) fn on_own(
        &mut self,
        cx: &mut Context,
        links: &LinkTable,
        plumtree: &mut Plumtree,
        request: RequestId,
        message: String,
        time: f64,
    ) {
        let id = self.new_id(cx, &message, time);
        let mut broadcast = Broadcast { id, message: message.into(), time, seal: None };
        broadcast.seal(&*cx.config.signer);
        let origin = Origin::Node(cx.config.node);
        // It is our own: its origin's name needs no table.
        let name_of = |node| PeerName { node: Some(node), address: None };
        let fresh = Fresh { digest: broadcast.digest(&origin), broadcast, origin, from: None, synced: None };
        let count = self.accept(cx, links, plumtree, name_of, fresh);
        cx.output(Output::BroadcastSent { request, told: BroadcastReceipt { id, links: count } });
    }

    /// Makes an id that was never used: the session is of this run, and the count of this
    /// broadcast.
    fn new_id(&mut self, cx: &Context, message: &str, time: f64) -> BroadcastId {
        self.made += 1;
        let mut hash = Sha256::new();
        hash.update(cx.config.node.0);
        hash.update(cx.config.session.0.as_bytes());
        hash.update(self.made.to_be_bytes());
        hash.update(time.to_be_bytes());
        hash.update(message);
        BroadcastId(hash.finalize().into())
    }

    /// Accepts a broadcast: keeps it, sends it on, and reports it unless it was compared before.
    /// Returns on how many links it went out.
    fn accept(
        &mut self,
        cx: &mut Context,
        links: &LinkTable,
        plumtree: &mut Plumtree,
        name_of: impl Fn(NodeId) -> PeerName,
        fresh: Fresh,
    ) -> usize {
        let Fresh { broadcast, digest, origin, from, synced } = fresh;
        let is_known = self.store.has_seen(&digest);
        cx.counters.broadcasts_accepted += u64::from(!is_known);
        let born = synced.and_then(|age| cx.now.checked_sub(age)).unwrap_or(cx.now);
        let count = if synced.is_none() {
            plumtree.on_first_copy(cx, links, &origin, from);
            flood(cx, links, plumtree, &broadcast, &origin, from)
        } else {
            0
        };
        let (received, by) = (cx.now, links.party_of(from));
        let is_live = synced.is_none();
        let held = HeldBroadcast { broadcast: broadcast.clone(), origin: origin.clone(), born, received, is_live, by };
        let repeated = self.store.insert(cx.now, digest, held) || is_known;
        self.store.expire(cx.now);
        let by_client =
            from.and_then(|link| links.get(link)).is_some_and(|link| matches!(link.state, LinkState::Client));
        let ours = origin == Origin::Node(cx.config.node);
        // What we sent before a restart comes back with a comparison. Others may still lack it, but
        // it was reported. Nor is one message reported twice that a client sent to two nodes.
        if !repeated && (!ours || by_client || from.is_none()) {
            let sender = match origin {
                Origin::Exercise(address) => PeerName { node: None, address: Some(address) },
                Origin::Node(node) if node == cx.config.node => {
                    PeerName { node: Some(node), address: Some(cx.config.address.clone()) }
                }
                Origin::Node(node) => name_of(node),
            };
            let peer = from.map(|link| links.name_of(link));
            cx.notify(Event::Broadcast { broadcast, sender, peer, links: count });
        }
        count
    }
}

/// Sends a broadcast to every native peer that is not known to have it, or to get it on another
/// link.
fn flood(
    cx: &mut Context,
    links: &LinkTable,
    plumtree: &mut Plumtree,
    broadcast: &Broadcast,
    origin: &Origin,
    from: Option<LinkId>,
) -> usize {
    let mut targets = plumtree.targets(cx, links, Some(origin), from).links;
    targets.retain(|link| links.get(*link).is_some_and(|link| link.native().is_some()));
    let count = targets.len();
    if count > 0 {
        cx.counters.broadcasts_sent += count as u64;
        let frame =
            BroadcastFrame { broadcast: broadcast.clone(), origin: Some(origin.clone()), ack: false, synced: None };
        cx.send(targets, frame.to_frame(cx.config.session), Lane::Payload);
    }
    count
}

fn is_signed(cx: &Context, origin: &Origin, broadcast: &Broadcast) -> bool {
    // An exercise peer sends no broadcasts, so nobody can have one of it.
    let Origin::Node(node) = origin else { return false };
    cx.config.signer.vouches(*node, Purpose::Broadcast, broadcast.seal.as_deref())
}

fn acknowledge(cx: &mut Context, link: LinkId, ack: bool, id: BroadcastId, status: AckStatus, links: usize) {
    if ack {
        let ack = Ack { id: id.to_string(), status, reason: None, links };
        cx.send(vec![link], ack.to_frame(), Lane::Payload);
    }
}

#[cfg(test)]
mod tests;
