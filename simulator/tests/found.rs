//! Runs in which the simulator once found something missing, each reduced to its cause.

use std::time::Duration;

use meshpool_proto::limits::Limits;
use simulator::faults::{Cast, Fault};
use simulator::load::{Entry, Way, body};
use simulator::network::Network;
use simulator::node::Conduct;
use simulator::world::{Event, World};

/// Node 1 reads slowly from the third second on; in the fifth, 200 transactions enter at node 0 at once: far more than a queue holds.
fn burst(way: Way, disk_fails: bool) -> World {
    let limits = Limits { queue_bytes: 16 * 1024, ..Limits::default() };
    let known = vec![vec![], vec![Network::address(0)]];
    let mut world = World::new(1, Cast { nodes: 2, plain: 0 }, known, limits, false);
    let mut at = |seconds, event| world.net.clock.at(Duration::from_secs(seconds), event);
    for (seconds, fault) in [(0, Fault::Start(0)), (0, Fault::Start(1)), (3, Fault::Reads(1, 20_000))] {
        at(seconds, Event::Fault(Box::new(fault)));
    }
    if disk_fails {
        at(2, Event::Fault(Box::new(Fault::DiskFails(0))));
    }
    for number in 0..200 {
        at(5, Event::Enter(Box::new(Entry { way, actor: 0, body: body(1, number) })));
    }
    // What it lacks it fetches as far as its small queue has room, a part in each round.
    world.run_until(Duration::from_secs(60)).expect("no rule breaks on the way");
    world
}

#[test]
fn what_is_found_in_the_file_reaches_a_slow_peer() {
    let world = burst(Way::File, false);
    world.check_pools().unwrap_or_else(|broken| panic!("{broken}"));
}

#[test]
fn a_slow_peer_gets_what_waits_for_a_failing_disk_once() {
    let world = burst(Way::Submit, true);
    let slow = world.nodes().nth(1).expect("there are two");
    assert_eq!(slow.pool().len(), 200, "received {} frames", slow.counts.received);
    assert!(slow.counts.received < 400, "{} frames for 200 transactions", slow.counts.received);
}

/// Node 0 is linked to the nodes 1 to 5; all but the fifth are nearer to the origin, node 6, and pass nothing on from the tenth second on. The
/// graph stays as it is.
fn among_withholders(seed: u64) -> World {
    let dials: [&[usize]; 8] = [&[1, 2, 3, 4, 5], &[6], &[6], &[6], &[6], &[7], &[7], &[]];
    let known = dials.iter().map(|dials| dials.iter().map(|to| Network::address(*to)).collect()).collect();
    let mut world = World::new(seed, Cast { nodes: 8, plain: 0 }, known, Limits::default(), false);
    world.net.public = true;
    let mut at = |seconds, event| world.net.clock.at(Duration::from_secs(seconds), event);
    (0..8).for_each(|node| at(0, Event::Fault(Box::new(Fault::Start(node)))));
    for number in 0..40 {
        let body = body(seed, number as usize);
        at(5 + number, Event::Enter(Box::new(Entry { way: Way::Submit, actor: 6, body })));
    }
    (1..5).for_each(|node| at(10, Event::Fault(Box::new(Fault::Turn(node, Conduct::Withholding)))));
    world
}

#[test]
fn who_is_let_down_by_most_of_its_neighbours_soon_asks_the_others() {
    for seed in 0..10 {
        let mut world = among_withholders(seed);
        // Each of the four may let it down once.
        world.run_until(Duration::from_secs(26)).expect("no rule breaks on the way");
        for second in 26..50 {
            world.run_until(Duration::from_secs(second)).expect("no rule breaks on the way");
            let count = |node: usize| world.nodes().nth(node).map_or(0, |node| node.pool().len());
            let (here, there) = (count(0), count(6));
            // What was accepted in the last two seconds is not offered, and a round takes up to two.
            assert!(here + 8 >= there, "seed {seed}, second {second}: it has {here} of {there}");
        }
    }
}
