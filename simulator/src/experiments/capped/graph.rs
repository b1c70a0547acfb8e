//! The graph of links, as all nodes of a capped network see it.

use std::collections::HashMap;

use meshpool_proto::id::NodeId;

use crate::checks::rules::{Broken, Invariant};
use crate::world::World;

/// Checks that the live nodes of each part are connected with each other, and have two links each
/// where there are two other nodes that they can dial. `parts[i]` is the part of node i.
///
/// # Errors
/// The first node that is not connected or has too few links.
pub(super) fn check_connected(world: &World, parts: &[usize]) -> Result<(), Broken> {
    let actors: HashMap<NodeId, usize> = world.nodes().enumerate().map(|(actor, node)| (node.id(), actor)).collect();
    let actors_of = |ids: Vec<NodeId>| ids.iter().filter_map(|id| actors.get(id).copied()).collect();
    let reported: Vec<Vec<usize>> = world.nodes().map(|node| actors_of(node.linked())).collect();
    // A link counts if both ends report it.
    let both = |one: usize| reported[one].iter().copied().filter(|other| reported[*other].contains(&one)).collect();
    let linked: Vec<Vec<usize>> = (0..reported.len()).map(both).collect();
    let caps: Vec<usize> = world.nodes().map(|node| node.max_peers.unwrap_or(2) as usize).collect();
    let live: Vec<bool> = world.nodes().map(|node| node.is_up()).collect();
    // A link to an exercise peer uses a slot, and connects no native nodes.
    let exercise: Vec<usize> =
        world.nodes().zip(&reported).map(|(node, native)| node.linked_peers().saturating_sub(native.len())).collect();
    // A node without an endpoint waits for those behind NATs to dial it, which they do while they
    // want a link.
    let hosts = &world.net.hosts;
    let can_dial = |from: usize, to: usize| hosts[from].endpoint.is_some() || !hosts[to].is_shielded;
    let broken = |node, detail| Err(world.broken(Invariant::ConnectedOverlay, Some(node), detail));
    for part in 0..2 {
        let members: Vec<usize> = (0..live.len()).filter(|actor| live[*actor] && parts[*actor] == part).collect();
        let Some(first) = members.first() else { continue };
        for actor in &members {
            let others = members.iter().filter(|other| *other != actor && can_dial(*actor, **other)).count();
            let least = others.min(2).min(caps[*actor]);
            let links = linked[*actor].len() + exercise[*actor];
            if links < least {
                return broken(*actor, format!("it has {links} links, expected {least} at least"));
            }
        }
        let mut seen = vec![false; live.len()];
        seen[*first] = true;
        let mut open = vec![*first];
        let mut count = 0;
        while let Some(one) = open.pop() {
            count += usize::from(parts[one] == part);
            for other in linked[one].iter().copied() {
                if !std::mem::replace(&mut seen[other], true) {
                    open.push(other);
                }
            }
        }
        if let Some(lost) = members.iter().find(|actor| !seen[**actor]) {
            return broken(*lost, format!("it cannot be reached: {count} of {} can", members.len()));
        }
    }
    Ok(())
}
