//! Two topics with different members, in a network that is cut and whose processes are killed.
//!
//! At the end each member holds all items of its topic, and no other node holds any.

use std::collections::BTreeSet;
use std::time::Duration;

use meshpool_proto::Retention;
use meshpool_proto::limits::Limits;
use meshpool_proto::transaction::TransactionId;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

use super::convergence::check_pools;
use crate::checks::rules::{Broken, Invariant};
use crate::net::address;
use crate::net::event::{Fault, NewTransaction, Source};
use crate::world::World;
use crate::world::load::body;
use crate::world::population::Population;

/// The nodes, each of which draws its topics.
const NODES: usize = 8;
const TOPICS: [&str; 2] = ["blocks", "chat"];
/// How long the load and the faults last, in milliseconds.
const LOAD: u64 = 30_000;
/// How long after that all must be equal.
const EQUAL: Duration = Duration::from_secs(60);

/// Runs one seed: it draws the members, the load, the partitions and the restarts.
///
/// # Errors
/// The first rule that broke.
pub fn run(seed: u64, print: bool) -> Result<(), Broken> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let known = (0..NODES).map(|node| if node == 0 { Vec::new() } else { vec![address::of(0)] }).collect();
    let population = Population { native: NODES, exercise: 0 };
    let mut world = World::new(rng.random(), population, known, Limits::default(), print);
    let mut members = [Vec::new(), Vec::new()];
    for actor in 0..NODES {
        // A node has none, either or both; two have each at least.
        for (topic, members) in TOPICS.iter().zip(&mut members) {
            if rng.random_range(0..3) > 0 || actor >= NODES - 2 + members.len().min(2) {
                members.push(actor);
                let name = topic.parse().expect("a name");
                world.node_mut(actor).expect("a native node").add_topic(name, Retention::default());
            }
        }
        world.at(Duration::from_millis(rng.random_range(0..500)), Fault::Start(actor));
    }
    for number in 0..300 {
        let topic = rng.random_range(0..3);
        let (source, actor) = match members.get(topic) {
            Some(members) => (Source::Topic(TOPICS[topic]), members[rng.random_range(0..members.len())]),
            None => (Source::Application, rng.random_range(0..NODES)),
        };
        let at = Duration::from_millis(rng.random_range(1_000..LOAD));
        world.at(at, NewTransaction { source, actor, body: body(seed, number) });
    }
    for _ in 0..3 {
        let at = rng.random_range(2_000..LOAD);
        let groups = (0..NODES).map(|_| rng.random_range(0..2)).collect();
        world.at(Duration::from_millis(at), Fault::Split(groups));
        world.at(Duration::from_millis(at + rng.random_range(500..8_000)), Fault::Heal);
        let (actor, at) = (rng.random_range(0..NODES), rng.random_range(2_000..LOAD));
        let power_lost = rng.random();
        world.at(Duration::from_millis(at), Fault::Stop { actor, power_lost });
        world.at(Duration::from_millis(at + rng.random_range(100..5_000)), Fault::Start(actor));
    }
    world.play(|world| {
        world.run_until(Duration::from_millis(LOAD + 10_000))?;
        world.end_faults()?;
        let check = |world: &World| {
            check_pools(world)?;
            TOPICS.iter().zip(&members).try_for_each(|(topic, members)| check_topic(world, topic, members))
        };
        world.settle(EQUAL, Duration::from_secs(1), check)?;
        Ok(())
    })
}

/// The nodes of a network with a cap, how many of them have the topic, and the cap.
const CAPPED: usize = 40;
const MEMBERS: usize = 8;
const CAP: u32 = 4;
/// How long members have to find each other.
const FIND: Duration = Duration::from_secs(60);

/// Runs one seed of a network with a cap, in which a fifth of the nodes have a topic: they find
/// each other, and each gets all.
///
/// # Errors
/// The first rule that broke.
pub fn run_capped(seed: u64, print: bool) -> Result<(), Broken> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let known = (0..CAPPED).map(|node| if node == 0 { Vec::new() } else { vec![address::of(0)] }).collect();
    let population = Population { native: CAPPED, exercise: 0 };
    let mut world = World::new(rng.random(), population, known, Limits::default(), print);
    let mut members: Vec<usize> = Vec::new();
    for actor in 0..CAPPED {
        let node = world.node_mut(actor).expect("a native node");
        node.max_peers = Some(CAP);
        if rng.random_range(actor..CAPPED) < actor + MEMBERS - members.len() {
            members.push(actor);
            node.add_topic(TOPICS[0].parse().expect("a name"), Retention::default());
        }
        world.at(Duration::from_millis(rng.random_range(0..5_000)), Fault::Start(actor));
    }
    for number in 0..50 {
        let actor = members[rng.random_range(0..members.len())];
        let at = FIND + Duration::from_millis(rng.random_range(0..10_000));
        world.at(at, NewTransaction { source: Source::Topic(TOPICS[0]), actor, body: body(seed, number) });
    }
    world.play(|world| {
        world.run_until(FIND + Duration::from_secs(10))?;
        world.settle(EQUAL, Duration::from_secs(1), |world| check_topic(world, TOPICS[0], &members))?;
        Ok(())
    })
}

fn check_topic(world: &World, topic: &str, members: &[usize]) -> Result<(), Broken> {
    let all: BTreeSet<TransactionId> = world.nodes().flat_map(|node| node.items(topic)).collect();
    for (actor, node) in world.nodes().enumerate() {
        let items: Vec<_> = node.items(topic).collect();
        let held: BTreeSet<_> = items.iter().copied().collect();
        let broken = |detail| Err(world.broken(Invariant::PoolsAgree, Some(actor), detail));
        if !members.contains(&actor) && !held.is_empty() {
            return broken(format!("it holds {} items of {topic}, which it does not have", held.len()));
        }
        if members.contains(&actor) && held != all {
            return broken(format!("it holds {} of {} items of {topic}", held.len(), all.len()));
        }
        if items.len() != held.len() {
            return broken(format!("an item of {topic} is stored twice"));
        }
    }
    if all.is_empty() {
        return Err(world.broken(Invariant::PoolsAgree, None, format!("nothing was published in {topic}")));
    }
    Ok(())
}
