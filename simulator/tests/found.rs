//! Runs in which the simulator once found something missing, each reduced to its cause.

use std::time::Duration;

use p2p_node::protocol::limits::Limits;
use simulator::faults::{Cast, Fault};
use simulator::load::{Entry, Way, body};
use simulator::network::Network;
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
    world.run_until(Duration::from_secs(20)).expect("no rule breaks on the way");
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
