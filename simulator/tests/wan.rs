//! Links by node id: what a run of the scenario has in it, and that a node behind a NAT is reached
//! in no other way.

use std::time::Duration;

use clap::ValueEnum;
use simulator::experiments::capped;
use simulator::experiments::mesh::Plan;
use simulator::net::event::Fault;
use simulator::net::wire::Path;
use simulator::world::World;
use simulator::world::faults::Scenario;
use simulator::world::population::Population;

const NODES: usize = 8;

/// A network in which all nodes have started and no fault happens.
fn started(seed: u64) -> World {
    let population = Population { native: NODES, exercise: 1 };
    let length = Duration::ZERO;
    let mut world = Plan { scenario: Scenario::Wan, seed, population, length, print: false, sabotage: None }.world();
    world.run_until(Duration::from_secs(60)).expect("no rule breaks");
    world
}

fn paths(world: &World) -> Vec<([usize; 2], Path)> {
    let wires = &world.net.wires;
    wires.open_links().map(|wire| (wires.actors(wire), wires.path(wire))).collect()
}

#[test]
fn a_network_has_every_kind_of_path() {
    let (mut tcp, mut relayed, mut direct) = (0, 0, 0);
    for seed in 1..=5 {
        let world = started(seed);
        for (actors, path) in paths(&world) {
            let behind = |actor: &usize| *actor < NODES && world.net.hosts[*actor].is_shielded;
            match path {
                Path::Tcp => tcp += 1,
                Path::Relayed(_) => relayed += 1,
                Path::Direct => direct += 1,
            }
            // By address only one that is not behind a NAT is reached.
            assert!(path.is_iroh() || !behind(&actors[1]), "seed {seed}: {actors:?}");
        }
    }
    assert!(tcp > 20 && relayed > 5 && direct > 5, "{tcp} {relayed} {direct}");
}

#[test]
fn a_stopped_relay_ends_its_links_and_others_replace_them() {
    let mut ended = 0;
    for seed in 1..=5 {
        let mut world = started(seed);
        let over = |world: &World| paths(world).into_iter().filter(|(_, path)| *path == Path::Relayed(0)).count();
        ended += over(&world);
        world.apply(&Fault::RelayStops(0)).expect("no rule breaks");
        world.run_for(Duration::from_secs(30)).expect("no rule breaks");
        assert_eq!(over(&world), 0, "seed {seed}");
        for (actor, node) in world.nodes().enumerate() {
            assert_eq!(node.linked().len(), NODES - 1, "seed {seed}, node {actor}");
        }
    }
    assert!(ended > 2, "{ended}");
}

#[test]
fn networks_with_a_cap_form_across_nats_and_survive() {
    for scenario in capped::Scenario::value_variants() {
        for seed in 1..=6 {
            let plan = capped::Plan {
                scenario: *scenario,
                seed,
                nodes: if seed % 2 == 0 { NODES } else { 20 },
                caps: (3, 6),
                exercise: 1,
                wan: true,
                ..capped::Plan::default()
            };
            plan.run().unwrap_or_else(|broken| panic!("{broken}; repeat it: {}", plan.command()));
        }
    }
}

#[test]
fn two_networks_meet_at_a_full_node_that_cannot_dial_the_other_and_are_linked_all_the_same() {
    // That node was met again and again, for 220 s; whom it names is met now.
    let apart = capped::Plan { scenario: capped::Scenario::Apart, seed: 170, caps: (3, 6), ..capped::Plan::default() };
    let outcome = capped::Plan { wan: true, ..apart }.run().expect("no rule breaks");
    assert!(outcome.healed < Duration::from_secs(120), "{:?}", outcome.healed);
}
