//! The graph of links, as all nodes together see it.

use std::collections::HashMap;

use meshpool_proto::id::NodeId;

use super::broken;
use crate::check::{Broken, Invariant};
use crate::world::World;

/// Whether the live nodes of each part are connected among themselves, and have two links each where there are two others. `parts[i]` is the part of node i.
///
/// # Errors
/// The first node that is not, or has not.
pub(super) fn connected(world: &World, parts: &[usize]) -> Result<(), Broken> {
    let actors: HashMap<NodeId, usize> = world.nodes().enumerate().map(|(actor, node)| (node.id(), actor)).collect();
    let of = |ids: Vec<NodeId>| ids.iter().filter_map(|id| actors.get(id).copied()).collect();
    let says: Vec<Vec<usize>> = world.nodes().map(|node| of(node.linked())).collect();
    // A link counts if both ends know it.
    let both = |one: usize| says[one].iter().copied().filter(|other| says[*other].contains(&one)).collect();
    let linked: Vec<Vec<usize>> = (0..says.len()).map(both).collect();
    let caps: Vec<usize> = world.nodes().map(|node| node.max_peers.unwrap_or(2) as usize).collect();
    let live: Vec<bool> = world.nodes().map(|node| node.is_up()).collect();
    // A node of the exercise takes a place, and leads nowhere that is looked at here.
    let plain: Vec<usize> =
        world.nodes().zip(&says).map(|(node, says)| node.places().saturating_sub(says.len())).collect();
    let wrong = |node, detail| Err(broken(world, Invariant::ConnectedOverlay, Some(node), detail));
    for part in 0..2 {
        let members: Vec<usize> = (0..live.len()).filter(|actor| live[*actor] && parts[*actor] == part).collect();
        let Some(first) = members.first() else { continue };
        for actor in &members {
            let least = members.len().saturating_sub(1).min(2).min(caps[*actor]);
            let links = linked[*actor].len() + plain[*actor];
            if links < least {
                return wrong(*actor, format!("it has {links} links, expected {least} at least"));
            }
        }
        let mut seen = vec![false; live.len()];
        seen[*first] = true;
        let mut edge = vec![*first];
        let mut count = 0;
        while let Some(one) = edge.pop() {
            count += usize::from(parts[one] == part);
            for other in linked[one].iter().copied() {
                if !std::mem::replace(&mut seen[other], true) {
                    edge.push(other);
                }
            }
        }
        if let Some(lost) = members.iter().find(|actor| !seen[**actor]) {
            return wrong(*lost, format!("it can not be reached: {count} of {} can", members.len()));
        }
    }
    Ok(())
}
