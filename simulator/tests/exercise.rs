//! Exercise peers without an error handler among nodes with a cap that are restarted again and
//! again.
//!
//! None may die of a frame or address of ours, one that checks types misses nothing, and one that
//! does not dies twice at most.

use std::collections::BTreeSet;
use std::time::Duration;

use meshpool_proto::limits::Limits;
use meshpool_proto::transaction::TransactionId;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use simulator::actors::exercise_peer::Habits;
use simulator::net::address;
use simulator::net::event::{Fault, NewTransaction, Source};
use simulator::world::population::Population;
use simulator::world::{World, load};

const SECOND: Duration = Duration::from_secs(1);
/// How many nodes of ours there are.
const OURS: usize = 8;
/// The restarts and stops of one run.
const RESTARTS: usize = 100;
/// How long a program is away or stands still at most.
const AWAY: Duration = Duration::from_secs(70);

/// Nodes with a cap, each of which knows the first two, and exercise peers, each of which knows two
/// of ours.
fn capped(seed: u64, exercise: usize, cap: Option<u32>) -> World {
    let known = |actor: usize| match actor.checked_sub(OURS) {
        None => vec![address::of(0), address::of(1)],
        Some(number) => vec![address::of(number % OURS), address::of((number + 3) % OURS)],
    };
    let population = Population { native: OURS, exercise };
    let known = (0..population.all()).map(known).collect();
    let mut world = World::new(seed, population, known, Limits::default(), false);
    for actor in 0..OURS {
        world.node_mut(actor).expect("native").max_peers = cap;
    }
    for actor in 0..population.all() {
        let after = if actor < OURS { 100 } else { 1_000 };
        world.at(Duration::from_millis(after * actor as u64), Fault::Start(actor));
    }
    world
}

/// Enters a transaction of a node of ours that runs each `interval`, for a time.
fn enter(
    world: &World,
    seed: u64,
    first: usize,
    interval: Duration,
    time: Duration,
) -> Vec<(Duration, NewTransaction)> {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed ^ first as u64);
    let mut entries = Vec::new();
    let mut at = world.now();
    while at < world.now() + time {
        let body = load::body(seed, first + entries.len());
        let actor = rng.random_range(0..OURS);
        entries.push((at, NewTransaction { source: Source::Application, actor, body }));
        at += interval;
    }
    entries
}

/// Restarts actors and lets them stand still, one at a time; enters transactions meanwhile. Returns
/// what the exercise peers that check types lack in the end.
fn churn(seed: u64, cap: Option<u32>) -> Vec<(usize, usize)> {
    let mut world = capped(seed, 3, cap);
    let all = OURS + 3;
    for actor in OURS..all {
        world.exercise_mut(actor).expect("exercise").habits = Habits { no_error_handler: true, type_blind: false };
    }
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    world.run_until(SECOND * 40).expect("no rule breaks");
    let mut number = 0;
    for _ in 0..RESTARTS {
        let actor = rng.random_range(0..all);
        let away =
            if rng.random() { rng.random_range(50..3_000) } else { rng.random_range(3_000..AWAY.as_millis() as u64) };
        let (away, pause) = (Duration::from_millis(away), SECOND * rng.random_range(5..20));
        let begin = world.now();
        for (at, new) in enter(&world, seed, number, Duration::from_millis(500), away + pause) {
            number += 1;
            world.at(at, new);
        }
        let stands_still = actor >= OURS && rng.random();
        for peer in OURS..all {
            world.exercise_mut(peer).expect("exercise").still = stands_still.then(|| address::of(actor));
        }
        if stands_still {
            // It stands still: nothing is read or written, and nobody sees a reset.
            world.at(begin, Fault::Split((0..all).map(|other| u8::from(other == actor)).collect()));
            world.at(begin + away, Fault::Heal);
        } else {
            world.at(begin, Fault::Stop { actor, power_lost: false });
            world.at(begin + away, Fault::Start(actor));
        }
        world.run_until(begin + away + pause).unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
        for peer in world.exercise_peers() {
            assert_eq!(peer.deaths, [""; 0], "seed {seed}, {:?}", world.now());
        }
    }
    world.run_for(SECOND * 120).expect("no rule breaks");
    let entered: BTreeSet<TransactionId> = world.nodes().flat_map(|node| node.pool()).collect();
    assert!(entered.len() > number / 2, "{} of {number}", entered.len());
    let lacks = world.exercise_peers().map(|peer| {
        let held: BTreeSet<TransactionId> = peer.pool.iter().copied().collect();
        assert_eq!(held.len(), peer.pool.len(), "once each");
        entered.difference(&held).count()
    });
    lacks.enumerate().filter(|(_, lacks)| *lacks > 0).collect()
}

#[test]
fn in_a_network_with_a_cap_none_dies_of_ours_and_none_misses_anything() {
    for seed in 1..=4 {
        assert_eq!(churn(seed, Some(4)), [], "seed {seed}");
    }
}

#[test]
fn in_a_full_mesh_none_dies_of_ours_and_none_misses_anything() {
    for seed in 1..=2 {
        assert_eq!(churn(seed, None), [], "seed {seed}");
    }
}

#[test]
fn a_type_blind_peer_dies_twice_at_most_beside_eight_nodes_at_any_rate() {
    for (seed, interval) in [(1, 20), (2, 300), (3, 2_000), (4, 9_000)] {
        for cap in [None, Some(4)] {
            let mut world = capped(seed, 1, cap);
            let blind = OURS;
            world.exercise_mut(blind).expect("exercise").habits = Habits { type_blind: true, no_error_handler: true };
            world.run_until(SECOND * 20).expect("no rule breaks");
            let time = SECOND * 150;
            for (at, new) in enter(&world, seed, 0, Duration::from_millis(interval), time) {
                world.at(at, new);
            }
            // Its user starts it again, a moment or half a minute later.
            for second in 0..time.as_secs() {
                if second % 30 < 3 {
                    world.at(world.now() + SECOND * second as u32, Fault::Start(blind));
                }
            }
            world.run_for(time + SECOND * 10).expect("no rule breaks");
            let peer = world.exercise_peers().next().expect("one");
            assert!(peer.deaths.len() <= 2, "one each {interval} ms, cap {cap:?}: {:?}", peer.deaths);
            assert!(peer.is_up() && !peer.deaths.is_empty());
        }
    }
}

/// The habits of these tests are deadly: a node of ours that is killed right after it was named.
#[test]
fn a_peer_without_an_error_handler_dies_of_a_dead_address() {
    let mut world = capped(1, 1, None);
    world.exercise_mut(OURS).expect("exercise").habits.no_error_handler = true;
    world.run_until(Duration::from_millis(7_990)).expect("no rule breaks");
    let stop = Fault::Stop { actor: 5, power_lost: false };
    let named = (0..60).find(|after| {
        let mut world = capped(1, 1, None);
        world.exercise_mut(OURS).expect("exercise").habits.no_error_handler = true;
        world.at(Duration::from_millis(8_000 + after), stop.clone());
        world.run_until(SECOND * 10).expect("no rule breaks");
        world.exercise_peers().any(|peer| !peer.deaths.is_empty())
    });
    assert!(named.is_some(), "no moment is deadly");
}
