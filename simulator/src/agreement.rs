//! What all nodes together must come to once nothing disturbs them: a full mesh, and equal pools.
//!
//! The mesh is read off the network's own wires, not off what nodes say of themselves; what they say is compared with it afterwards.

use std::collections::BTreeSet;

use meshpool_proto::transaction::TransactionId;

use crate::check::{Broken, Invariant};
use crate::world::World;

impl World {
    /// Whether the network is a full mesh: all run, each pair of full peers has one link, each full peer can speak to each plain one, and
    /// each full peer calls every other connected.
    ///
    /// # Errors
    /// The first difference from that.
    pub fn check_mesh(&self) -> Result<(), Broken> {
        let cast = self.cast();
        let all = cast.nodes + cast.plain;
        if let Some(down) = (0..all).find(|actor| !self.is_up(*actor)) {
            return Err(self.broken(Invariant::FullMesh, Some(down), "it does not run".to_owned()));
        }
        let mut links = vec![0_usize; all];
        for (actor, node) in self.nodes().enumerate() {
            links.fill(0);
            for (wire, side) in self.net.links(actor) {
                let other = wire.ends[1 - side].actor;
                let speaks = other < cast.nodes || side == crate::wire::DIALLER;
                if other < all && wire.is_link() && speaks {
                    links[other] += 1;
                }
            }
            let wrong = (0..all).find(|other| *other != actor && links[*other] != 1);
            if let Some(other) = wrong {
                let detail = format!("{} links to node {other}, expected 1", links[other]);
                return Err(self.broken(Invariant::FullMesh, Some(actor), detail));
            }
            if links[actor] != 0 {
                return Err(self.broken(Invariant::FullMesh, Some(actor), "it holds a link to itself".to_owned()));
            }
            let (_, connected) = node.addresses();
            let connected: BTreeSet<_> = connected.iter().filter_map(|address| self.net.target(address)).collect();
            if let Some(missing) = (0..all).find(|other| *other != actor && !connected.contains(other)) {
                let detail = format!("it is linked to node {missing} and does not call it connected");
                return Err(self.broken(Invariant::FullMesh, Some(actor), detail));
            }
        }
        Ok(())
    }

    /// Whether all pools of full peers are equal and on disk, and hold what was acknowledged.
    ///
    /// # Errors
    /// The first difference from that.
    pub fn check_pools(&self) -> Result<(), Broken> {
        let all: BTreeSet<TransactionId> = self.nodes().flat_map(|node| node.pool()).collect();
        for (actor, node) in self.nodes().enumerate() {
            if node.unstored() > 0 {
                return Err(self.broken(
                    Invariant::PoolsAgree,
                    Some(actor),
                    format!("{} are not on disk", node.unstored()),
                ));
            }
            let pool: BTreeSet<_> = node.pool().collect();
            if pool.len() != node.pool().len() {
                return Err(self.broken(
                    Invariant::StoredOnce,
                    Some(actor),
                    "a transaction is in the pool twice".to_owned(),
                ));
            }
            if let Some(missing) = all.difference(&pool).next() {
                let detail = format!("it lacks {} of {}, {missing} among them", all.len() - pool.len(), all.len());
                return Err(self.broken(Invariant::PoolsAgree, Some(actor), detail));
            }
            if let Some(lost) = node.acknowledged.iter().find(|id| !pool.contains(*id)) {
                return Err(self.broken(Invariant::AcknowledgedIsKept, Some(actor), format!("{lost} is gone")));
            }
        }
        Ok(())
    }

    /// Whether every pool, the plain peers' included, holds these transactions.
    ///
    /// # Errors
    /// The first node that lacks one.
    pub fn check_held(&self, ids: &[TransactionId]) -> Result<(), Broken> {
        let full = self.nodes().map(|node| node.pool().collect::<BTreeSet<_>>());
        let plain = self.plains().map(|plain| plain.pool.iter().copied().collect::<BTreeSet<_>>());
        for (actor, pool) in full.chain(plain).enumerate() {
            let missing = ids.iter().position(|id| !pool.contains(id));
            if let Some(place) = missing {
                let detail = format!("it lacks {}, which entered at node {place} in the quiet", ids[place]);
                return Err(self.broken(Invariant::PoolsAgree, Some(actor), detail));
            }
        }
        Ok(())
    }

    /// Whether no client waits for its answer on a link that both sides hold for open. One whose node lost its power waits for ever, and rightly.
    ///
    /// # Errors
    /// How many do.
    pub fn check_clients(&self) -> Result<(), Broken> {
        let open = |actor| self.net.links(actor).any(|(wire, _)| wire.is_link());
        let waiting = self.clients().filter(|client| client.waiting.is_some() && open(client.actor())).count();
        if waiting > 0 {
            return Err(self.broken(Invariant::ClientsAreAnswered, None, format!("{waiting} clients wait for an ACK")));
        }
        Ok(())
    }

    fn broken(&self, invariant: Invariant, node: Option<usize>, detail: String) -> Broken {
        Broken { at: self.net.clock.now(), node, invariant, detail }
    }
}
