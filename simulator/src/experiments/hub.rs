//! A network around one hub that is killed under load and comes back.
//!
//! The leaves have few slots, and all know the hub only. Transactions enter at leaves and the hub,
//! before, while and after it is gone. Some time after the last one, all pools must be equal and
//! hold what was acknowledged.

use std::time::Duration;

use meshpool_proto::limits::Limits;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

use super::convergence::check_pools;
use crate::checks::rules::Broken;
use crate::net::address;
use crate::net::event::{Fault, NewTransaction, Source};
use crate::world::World;
use crate::world::load::body;
use crate::world::population::Population;

/// The hub and its leaves.
const NODES: usize = 37;
/// When the load begins and ends, in seconds.
const LOAD: [u64; 2] = [20, 35];
/// How long after that all must be equal. With two slots each, leaves may close rings while the hub
/// is gone, with no slot to spare: such partitions take longer to heal.
const EQUAL: u64 = 30;
const EQUAL_RINGS: u64 = 150;

/// Runs one seed: it draws the caps, the load, when the hub is killed, and for how long.
///
/// # Errors
/// The first rule that broke: pools that differ, too.
pub fn run(seed: u64, print: bool) -> Result<(), Broken> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let known = (0..NODES).map(|node| if node == 0 { Vec::new() } else { vec![address::of(0)] }).collect();
    let population = Population { native: NODES, exercise: 0 };
    let mut world = World::new(rng.random(), population, known, Limits::default(), print);
    let [leaf, hub] = [rng.random_range(2..=4), [NODES as u32, 100][rng.random_range(0..2)]];
    for actor in 0..NODES {
        if let Some(node) = world.node_mut(actor) {
            node.max_peers = if actor == 0 { Some(hub) } else { Some(leaf) };
        }
        let at = if actor == 0 { 0 } else { rng.random_range(0..10_000) };
        world.at(Duration::from_millis(at), Fault::Start(actor));
    }
    let every = rng.random_range(5..100);
    let mut at = LOAD[0] * 1_000;
    let mut number = 0;
    while at < LOAD[1] * 1_000 {
        // Every fourth enters at the hub.
        let actor = if rng.random_range(0..4) == 0 { 0 } else { rng.random_range(1..NODES) };
        let source = if rng.random() { Source::Application } else { Source::Client };
        let body = body(seed, number);
        world.at(Duration::from_millis(at), NewTransaction { source, actor, body });
        at += rng.random_range(0..2 * every);
        number += 1;
    }
    let killed = rng.random_range(LOAD[0] * 1_000..(LOAD[1] - 4) * 1_000);
    let back = killed + rng.random_range(100..5_000);
    let power_lost = rng.random_range(0..4) == 0;
    world.at(Duration::from_millis(killed), Fault::Stop { actor: 0, power_lost });
    world.at(Duration::from_millis(back), Fault::Start(0));
    world.play(|world| {
        world.run_until(Duration::from_secs(LOAD[1]))?;
        let within = if leaf == 2 { EQUAL_RINGS } else { EQUAL };
        world.settle(Duration::from_secs(within), Duration::from_secs(1), check_pools)?;
        Ok(())
    })
}
