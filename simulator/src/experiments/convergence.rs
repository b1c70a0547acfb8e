//! What all nodes must reach together once there are no more faults: a full mesh and equal pools.
//!
//! The mesh is read from the wires. The addresses that the nodes report are compared with it.

use std::collections::BTreeSet;

use meshpool_proto::transaction::TransactionId;

use crate::checks::rules::{Broken, Invariant};
use crate::world::World;

/// Checks that all actors run, each pair of native nodes has one link, each native node can send to
/// each exercise peer, and reports all others as connected.
///
/// # Errors
/// The first difference.
pub fn check_mesh(world: &World) -> Result<(), Broken> {
    let population = world.population();
    let all = population.all();
    let broken = |actor, detail| Err(world.broken(Invariant::FullMesh, Some(actor), detail));
    if let Some(down) = (0..all).find(|actor| !world.is_up(*actor)) {
        return broken(down, "it does not run".to_owned());
    }
    let mut links = vec![0_usize; all];
    for (actor, node) in world.nodes().enumerate() {
        links.fill(0);
        for end in world.net.links(actor) {
            let other = world.net.wires[end.other()].actor;
            let can_send = other < population.native || !end.is_acceptor;
            if other < all && can_send && world.net.wires.is_link(end.wire) {
                links[other] += 1;
            }
        }
        if let Some(other) = (0..all).find(|other| *other != actor && links[*other] != 1) {
            return broken(actor, format!("{} links to node {other}, expected 1", links[other]));
        }
        if links[actor] != 0 {
            return broken(actor, "it has a link to itself".to_owned());
        }
        let (_, connected) = node.core().map(meshpool_proto::Node::addresses).unwrap_or_default();
        let connected: BTreeSet<_> = connected.iter().filter_map(|address| world.net.target(address)).collect();
        let hosts = &world.net.hosts;
        // A node behind a NAT has no address but its id, which a node without an endpoint ignores.
        let has_name =
            |other: usize| !hosts[other].is_shielded || !world.net.has_nats || hosts[actor].endpoint.is_some();
        let lacks = |other: &usize| *other != actor && has_name(*other) && !connected.contains(other);
        if let Some(missing) = (0..all).find(lacks) {
            return broken(actor, format!("it is linked to node {missing} and does not report it as connected"));
        }
    }
    Ok(())
}

/// Checks that the pools of all native nodes are equal, on disk, and hold what was acknowledged.
///
/// # Errors
/// The first difference.
pub fn check_pools(world: &World) -> Result<(), Broken> {
    let all: BTreeSet<TransactionId> = world.nodes().flat_map(|node| node.pool()).collect();
    for (actor, node) in world.nodes().enumerate() {
        let broken = |invariant, detail| Err(world.broken(invariant, Some(actor), detail));
        if node.unstored() > 0 {
            return broken(Invariant::PoolsAgree, format!("{} are not on disk", node.unstored()));
        }
        let pool: BTreeSet<_> = node.pool().collect();
        if pool.len() != node.pool().len() {
            return broken(Invariant::StoredOnce, "a transaction is in the pool twice".to_owned());
        }
        if let Some(missing) = all.difference(&pool).next() {
            let (lacking, all) = (all.len() - pool.len(), all.len());
            return broken(Invariant::PoolsAgree, format!("it lacks {lacking} of {all}, {missing} among them"));
        }
        if let Some(lost) = node.acknowledged.iter().find(|id| !pool.contains(*id)) {
            return broken(Invariant::AcknowledgedIsKept, format!("{lost} is gone"));
        }
    }
    Ok(())
}

/// Checks that all pools, those of exercise peers included, hold these transactions.
///
/// # Errors
/// The first node that lacks one.
pub fn check_held(world: &World, ids: &[TransactionId]) -> Result<(), Broken> {
    let native = world.nodes().map(|node| node.pool().collect::<BTreeSet<_>>());
    let exercise = world.exercise_peers().map(|peer| peer.pool.iter().copied().collect());
    for (actor, pool) in native.chain(exercise).enumerate() {
        if let Some(missing) = ids.iter().find(|id| !pool.contains(id)) {
            let detail = format!("it lacks {missing}, one of the last transactions");
            return Err(world.broken(Invariant::PoolsAgree, Some(actor), detail));
        }
    }
    Ok(())
}

/// Checks that no client with an open link waits for its ACK. A client of a node that lost power
/// waits for ever.
///
/// # Errors
/// How many clients wait.
pub fn check_clients(world: &World) -> Result<(), Broken> {
    let has_link = |actor| world.net.links(actor).any(|end| world.net.wires.is_link(end.wire));
    let waiting = world.clients().filter(|client| client.waiting.is_some() && has_link(client.actor())).count();
    if waiting > 0 {
        return Err(world.broken(Invariant::ClientsAreAnswered, None, format!("{waiting} clients wait for an ACK")));
    }
    Ok(())
}
