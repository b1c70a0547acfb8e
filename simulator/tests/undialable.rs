//! Nodes that cannot be dialled, as behind NAT: they dial the others, in any order of starting.

use std::time::Duration;

use meshpool_proto::limits::Limits;
use simulator::checks::rules::{Broken, Invariant};
use simulator::net::address;
use simulator::net::event::Fault;
use simulator::world::World;
use simulator::world::population::Population;

const SECOND: Duration = Duration::from_secs(1);
/// How often a settled state is looked for.
const LOOK: Duration = Duration::from_millis(100);

/// Nodes that know node 0, with these numbers behind NAT. Each starts a time after the one before.
fn behind_nat(nodes: usize, shielded: &[usize], cap: Option<u32>, seed: u64) -> World {
    let known = (0..nodes).map(|node| if node == 0 { vec![] } else { vec![address::of(0)] }).collect();
    let mut world = World::new(seed, Population { native: nodes, exercise: 0 }, known, Limits::default(), false);
    for node in 0..nodes {
        world.node_mut(node).expect("native").max_peers = cap;
        world.at(SECOND * 5 * node as u32, Fault::Start(node));
    }
    for node in shielded {
        world.net.hosts[*node].is_shielded = true;
    }
    world
}

/// Whether two nodes are linked.
fn linked(one: usize, other: usize) -> impl Fn(&World) -> Result<(), Broken> {
    move |world| {
        let nodes: Vec<_> = world.nodes().collect();
        if nodes[one].linked().contains(&nodes[other].id()) {
            return Ok(());
        }
        let detail = format!("nodes {one} and {other} are not linked");
        Err(world.broken(Invariant::FullMesh, Some(one), detail))
    }
}

fn settle(world: &mut World, within: Duration, check: impl Fn(&World) -> Result<(), Broken>) -> Duration {
    world.settle(within, LOOK, check).unwrap_or_else(|broken| panic!("{broken}"))
}

#[test]
fn a_node_that_nobody_can_dial_is_linked_to_those_that_come_later() {
    for (seed, cap) in [(1, None), (2, Some(4)), (3, Some(2)), (4, None)] {
        let mut world = behind_nat(3, &[1], cap, seed);
        world.run_until(SECOND * 10).expect("no rule breaks");
        settle(&mut world, SECOND * 20, linked(1, 2));
        world.at(world.now(), Fault::Stop { actor: 0, power_lost: true });
        world.run_for(SECOND * 120).expect("no rule breaks");
        linked(1, 2)(&world).unwrap_or_else(|broken| panic!("cap {cap:?}: {broken}"));
    }
}

#[test]
fn a_node_whose_only_neighbour_dies_finds_those_of_whom_it_heard() {
    // With a cap of one, nodes 1 and 2 share node 0 with nobody; node 0 has room for both.
    for seed in 1..5 {
        let mut world = behind_nat(3, &[1], Some(1), seed);
        world.node_mut(0).expect("native").max_peers = Some(2);
        world.run_until(SECOND * 30).expect("no rule breaks");
        linked(0, 1)(&world).and_then(|()| linked(0, 2)(&world)).unwrap_or_else(|broken| panic!("{broken}"));
        world.at(world.now(), Fault::Stop { actor: 0, power_lost: false });
        settle(&mut world, SECOND * 30, linked(1, 2));
    }
}

#[test]
fn all_are_linked_where_only_some_can_be_dialled() {
    let mut world = behind_nat(8, &[1, 3, 5], None, 1);
    world.run_until(SECOND * 40).expect("no rule breaks");
    let shielded = [1, 3, 5];
    for one in 0..8 {
        for other in (0..one).filter(|other| !(shielded.contains(&one) && shielded.contains(other))) {
            settle(&mut world, SECOND * 20, linked(one, other));
        }
    }
}

#[test]
fn a_node_that_can_be_dialled_later_is_linked_then() {
    for (seed, cap) in [(1, None), (2, None), (3, Some(4))] {
        let mut world = behind_nat(3, &[1, 2], cap, seed);
        // Long enough for every dial to be given up for good, if one were.
        world.run_until(SECOND * 900).expect("no rule breaks");
        linked(1, 2)(&world).expect_err("neither can dial the other");
        world.net.hosts[1].is_shielded = false;
        settle(&mut world, SECOND * 130, linked(1, 2));
        world.at(world.now(), Fault::Stop { actor: 0, power_lost: true });
        world.run_for(SECOND * 60).expect("no rule breaks");
        linked(1, 2)(&world).unwrap_or_else(|broken| panic!("{broken}"));
    }
}
