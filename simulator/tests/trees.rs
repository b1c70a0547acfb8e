//! In a full mesh each node gets one copy of each transaction once the trees have grown.

use std::time::Duration;

use meshpool_proto::limits::Limits;
use simulator::experiments::convergence::check_pools;
use simulator::net::address;
use simulator::net::event::{Fault, NewTransaction, Source};
use simulator::world::World;
use simulator::world::load::body;
use simulator::world::population::Population;

const NODES: usize = 12;
/// The trees have grown by then: every node was an origin a few times.
const GROWN: Duration = Duration::from_secs(20);

/// Every node submits a transaction each second, from the tenth to the sixtieth.
fn world(seed: u64) -> World {
    let known = (0..NODES).map(|_| vec![address::of(0), address::of(2)]).collect();
    let mut world = World::new(seed, Population { native: NODES, exercise: 0 }, known, Limits::default(), false);
    for actor in 0..NODES {
        world.at(Duration::ZERO, Fault::Start(actor));
        for second in 10..60 {
            let number = second * NODES + actor;
            let at = Duration::from_secs(second as u64) + Duration::from_millis(7 * actor as u64);
            world.at(at, NewTransaction { source: Source::Application, actor, body: body(seed, number) });
        }
    }
    world
}

fn received(world: &World) -> u64 {
    world.nodes().map(|node| node.counts.received).sum()
}

#[test]
fn each_node_gets_one_copy_of_each_transaction() {
    for seed in 0..8 {
        let mut world = world(seed);
        world.run_until(GROWN).expect("no rule breaks");
        let before = received(&world);
        world.run_until(Duration::from_secs(70)).expect("no rule breaks");
        check_pools(&world).unwrap_or_else(|broken| panic!("{broken}"));
        // Those that entered after 20 s, each delivered to all nodes but its origin.
        let deliveries = (40 * NODES * (NODES - 1)) as f64;
        let copies = (received(&world) - before) as f64 / deliveries;
        assert!((1.0..=1.05).contains(&copies), "seed {seed}: {copies} copies per node and transaction");
    }
}
