//! One copy per node: in a full mesh, for every node an origin, once the trees have grown.

use std::time::Duration;

use meshpool_proto::limits::Limits;
use simulator::faults::{Cast, Fault};
use simulator::load::{Entry, Way, body};
use simulator::network::Network;
use simulator::world::{Event, World};

const NODES: usize = 12;
/// When the trees have grown: every node was an origin a few times.
const GROWN: Duration = Duration::from_secs(20);

/// Every node submits a transaction each second, from the tenth to the sixtieth.
fn world(seed: u64) -> World {
    let known = (0..NODES).map(|_| vec![Network::address(0), Network::address(2)]).collect();
    let mut world = World::new(seed, Cast { nodes: NODES, plain: 0 }, known, Limits::default(), false);
    for actor in 0..NODES {
        world.net.clock.at(Duration::ZERO, Event::Fault(Box::new(Fault::Start(actor))));
        for second in 10..60 {
            let number = second * NODES + actor;
            let at = Duration::from_secs(second as u64) + Duration::from_millis(7 * actor as u64);
            world.net.clock.at(at, Event::Enter(Box::new(Entry { way: Way::Submit, actor, body: body(seed, number) })));
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
        world.run_until(GROWN).expect("no rule breaks on the way");
        let before = received(&world);
        world.run_until(Duration::from_secs(70)).expect("no rule breaks on the way");
        world.check_pools().unwrap_or_else(|broken| panic!("{broken}"));
        // Entered after the twentieth second, each to be delivered to all nodes but its own.
        let deliveries = (40 * NODES * (NODES - 1)) as f64;
        let copies = (received(&world) - before) as f64 / deliveries;
        assert!((1.0..=1.05).contains(&copies), "seed {seed}: {copies} copies per node and transaction");
    }
}
