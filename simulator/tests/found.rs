//! Runs in which the simulator once found a bug, each reduced to its cause.

use std::time::Duration;

use meshpool_proto::limits::Limits;
use simulator::actors::lie::Lie;
use simulator::experiments::convergence::check_pools;
use simulator::net::address;
use simulator::net::event::{Fault, NewTransaction, Source};
use simulator::world::World;
use simulator::world::load::body;
use simulator::world::population::Population;

/// Node 1 reads slowly from 3 s on. At 5 s, 200 transactions enter at node 0: more than its queue
/// holds.
fn burst(source: Source, disk_fails: bool) -> World {
    let limits = Limits { queue_bytes: 16 * 1024, ..Limits::default() };
    let known = vec![vec![], vec![address::of(0)]];
    let mut world = World::new(1, Population { native: 2, exercise: 0 }, known, limits, false);
    for (seconds, fault) in [(0, Fault::Start(0)), (0, Fault::Start(1)), (3, Fault::ReadRate(1, 20_000))] {
        world.at(Duration::from_secs(seconds), fault);
    }
    if disk_fails {
        world.at(Duration::from_secs(2), Fault::DiskFails(0));
    }
    for number in 0..200 {
        world.at(Duration::from_secs(5), NewTransaction { source, actor: 0, body: body(1, number) });
    }
    // Anti-entropy sends the missing ones in parts that fit into the small queue.
    world.run_until(Duration::from_secs(60)).expect("no rule breaks");
    world
}

#[test]
fn a_transaction_that_another_program_wrote_reaches_a_slow_peer() {
    let world = burst(Source::PoolFile, false);
    check_pools(&world).unwrap_or_else(|broken| panic!("{broken}"));
}

#[test]
fn a_slow_peer_gets_what_waits_for_a_failing_disk_once() {
    let world = burst(Source::Application, true);
    let slow = world.nodes().nth(1).expect("there are two");
    assert_eq!(slow.pool().len(), 200, "received {} frames", slow.counts.received);
    assert!(slow.counts.received < 400, "{} frames for 200 transactions", slow.counts.received);
}

/// Node 0 is linked to the nodes 1 to 5. Nodes 1 to 4 are nearer to the origin, node 6, and forward
/// nothing from 10 s on. The graph is fixed.
fn among_withholders(seed: u64) -> World {
    let dials: [&[usize]; 8] = [&[1, 2, 3, 4, 5], &[6], &[6], &[6], &[6], &[7], &[7], &[]];
    let known = dials.iter().map(|dials| dials.iter().map(|to| address::of(*to)).collect()).collect();
    let mut world = World::new(seed, Population { native: 8, exercise: 0 }, known, Limits::default(), false);
    world.net.is_public = true;
    (0..8).for_each(|node| world.at(Duration::ZERO, Fault::Start(node)));
    for number in 0..40 {
        let body = body(seed, number as usize);
        world.at(Duration::from_secs(5 + number), NewTransaction { source: Source::Application, actor: 6, body });
    }
    (1..5).for_each(|node| world.at(Duration::from_secs(10), Fault::Misbehave(node, vec![Lie::Withheld])));
    world
}

#[test]
fn a_node_with_mostly_stalled_neighbours_soon_requests_from_the_others() {
    for seed in 0..10 {
        let mut world = among_withholders(seed);
        // Each of the four may stall once.
        world.run_until(Duration::from_secs(26)).expect("no rule breaks");
        for second in 26..50 {
            world.run_until(Duration::from_secs(second)).expect("no rule breaks");
            let count = |node: usize| world.nodes().nth(node).map_or(0, |node| node.pool().len());
            let (here, there) = (count(0), count(6));
            // Transactions of the last 2 s are not settled, and a round takes up to 2 s.
            assert!(here + 8 >= there, "seed {seed}, second {second}: it has {here} of {there}");
        }
    }
}
