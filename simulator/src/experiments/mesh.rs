//! Full meshes with faults.
//!
//! The nodes start, transactions enter and faults happen. Then all faults end, and within
//! `SETTLE` the network must be a full mesh with equal pools. It must stay one, and then a last
//! transaction from every node must reach every node. Equal plans give equal runs.

use std::collections::BTreeSet;
use std::time::Duration;

use meshpool_proto::address::PeerAddress;
use meshpool_proto::json::Parser;
use meshpool_proto::limits::Limits;
use meshpool_proto::transaction::{Transaction, TransactionId};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

use super::convergence::{check_clients, check_held, check_mesh, check_pools};
use crate::actors::node::Sabotage;
use crate::checks::rules::{Broken, Invariant};
use crate::net::address;
use crate::net::event::Fault;
use crate::net::trace_hash::TraceHash;
use crate::world::faults::{self, Scenario};
use crate::world::population::Population;
use crate::world::wan::{self, Layout};
use crate::world::{World, load};

/// The time for a full mesh after the last fault, and again for equal pools. A dead link is
/// detected within 45 s, and an address is redialled within 60 s; both maxima together are rare.
const SETTLE: Duration = Duration::from_secs(90);
/// How long the settled network is observed.
const OBSERVED: Duration = Duration::from_secs(20);
/// How long a pair may have no or two links meanwhile, as in a simultaneous open.
const DISTURBED: Duration = Duration::from_secs(5);
/// The time for the last transactions to reach all nodes.
const SPREAD: Duration = Duration::from_secs(5);
/// The same where exercise peers do not reach all nodes. The trees of two of them may each miss a
/// node that the other reaches; the next comparison shows it.
const SPREAD_BEHIND_NATS: Duration = Duration::from_secs(30);
/// How long after the stop of a relay the last end of a link over it has noticed.
const NOTICED: Duration = Duration::from_secs(15);
/// The time after which such links are replaced by others over another relay. A link that is dead
/// shows within 13 s, and the next relay takes the place of the home relay within 7 s.
const REPLACED: Duration = Duration::from_secs(20);
/// How long the links last before: then no back-off of earlier faults delays the next dial.
const STEADY: Duration = Duration::from_secs(65);
/// The interval of the checks.
const INTERVAL: Duration = Duration::from_millis(250);

/// What to run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The kind of faults.
    pub scenario: Scenario,
    /// The source of every random choice.
    pub seed: u64,
    /// Who takes part.
    pub population: Population,
    /// How long transactions enter and faults happen.
    pub length: Duration,
    /// Print every step to standard error.
    pub print: bool,
    /// For a test of the checks: a fault of node 0.
    pub sabotage: Option<Sabotage>,
}

/// The result of a run.
#[derive(Debug)]
pub struct Outcome {
    /// The time to a full mesh, from the last start or the last fault.
    pub meshed: Option<Duration>,
    /// The number of transactions in the largest pool.
    pub transactions: usize,
    /// TRANSACTION frames that native nodes received.
    pub received: u64,
    /// How many of them were duplicates.
    pub duplicates: u64,
    /// Links that peers dialled.
    pub dials: u64,
    /// The hash over all inputs and outputs of the cores.
    pub hash: u64,
    /// The first broken rule, if any.
    pub result: Result<(), Broken>,
}

impl Plan {
    /// The command that repeats this run.
    pub fn command(&self) -> String {
        format!(
            "cargo run -p simulator -- --scenario {} --seed {} --nodes {} --plain {} --minutes {} --trace",
            format!("{:?}", self.scenario).to_lowercase(),
            self.seed,
            self.population.native,
            self.population.exercise,
            self.length.as_secs_f64() / 60.0,
        )
    }

    /// Runs the plan.
    pub fn run(&self) -> Outcome {
        let mut world = self.world();
        world.net.trace_hash = Some(TraceHash::default());
        let mut meshed = None;
        let result = world.play(|world| self.play(world, &mut meshed));
        let received = world.nodes().map(|node| node.counts.received).sum();
        let submitted: u64 = world.nodes().map(|node| node.counts.submitted).sum();
        let stored: u64 = world.nodes().map(|node| node.counts.stored).sum();
        Outcome {
            meshed,
            transactions: world.nodes().map(|node| node.pool().len()).max().unwrap_or(0),
            received,
            duplicates: (received + submitted).saturating_sub(stored),
            dials: world.net.dials,
            hash: world.net.trace_hash.map_or(0, |hash| hash.value()),
            result,
        }
    }

    /// The world before anything runs, with everything scheduled.
    pub fn world(&self) -> World {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(self.seed);
        let mut layout = None;
        let known = match self.scenario {
            Scenario::Wan => {
                let known = known_actors(self.population, &mut rng);
                layout.insert(Layout::draw(self.population, known, &mut rng)).first_known()
            }
            _ => known_peers(self.population, self.scenario, &mut rng),
        };
        let mut limits = Limits::default();
        if matches!(self.scenario, Scenario::Slow | Scenario::Mixed) {
            // Small enough for the queue to a slow reader to fill.
            limits.queue_bytes = 16 * 1024;
        }
        let mut world = World::new(rng.random(), self.population, known, limits, self.print);
        if self.scenario == Scenario::Mixed {
            world.net.conditions.refused = 0.05;
        }
        if let Some(layout) = layout {
            layout.build(&mut world, &mut rng);
        }
        let spread = [0, 10, 2_000][rng.random_range(0..3)];
        for actor in 0..self.population.all() {
            world.at(Duration::from_millis(rng.random_range(0..=spread)), Fault::Start(actor));
        }
        for (at, fault) in faults::schedule(self.scenario, self.population, self.length, &mut rng) {
            world.at(at, fault);
        }
        let interval = Duration::from_millis(500);
        for (at, transaction) in load::schedule(self.population, self.seed, self.length, interval, &mut rng) {
            world.at(at, transaction);
        }
        if self.sabotage == Some(Sabotage::LoseTransactions) {
            world.net.lose_transactions_to = Some(0);
        }
        world.node_mut(0).into_iter().for_each(|node| node.sabotage = self.sabotage);
        world
    }

    /// Runs the plan in its world. `meshed` is set once the network is a full mesh.
    pub(super) fn play(&self, world: &mut World, meshed: &mut Option<Duration>) -> Result<(), Broken> {
        if self.scenario == Scenario::Mesh {
            *meshed = Some(world.settle(SETTLE, INTERVAL, check_mesh)?);
        }
        world.run_until(self.length)?;
        world.end_faults()?;
        let time = world.settle(SETTLE, INTERVAL, check_mesh)?;
        meshed.get_or_insert(time);
        world.settle(SETTLE, INTERVAL, |world| check_pools(world).and_then(|()| check_mesh(world)))?;
        observe(world)?;
        if self.scenario == Scenario::Wan {
            self.lose_relay(world)?;
        }
        self.last_transactions(world)
    }

    /// Stops a relay for good. Nodes that reach each other over ids alone take another one, and
    /// links with direct paths do not notice.
    fn lose_relay(&self, world: &mut World) -> Result<(), Broken> {
        let relays = wan::relays(self.population);
        if relays == 1 {
            return Ok(());
        }
        let relay = (self.seed % relays as u64) as usize;
        world.run_for(STEADY)?;
        let direct: Vec<_> = world.net.direct_links().map(|wire| world.net.wires.actors(wire)).collect();
        world.apply(&Fault::RelayStops(relay))?;
        let noticed = world.now() + NOTICED;
        let check = |world: &World| {
            let linked: BTreeSet<_> = world.net.wires.open_links().map(|wire| world.net.wires.actors(wire)).collect();
            // Meanwhile a link by WebSocket may have taken its place, in either direction.
            let is_linked =
                |[one, other]: &[usize; 2]| linked.contains(&[*one, *other]) || linked.contains(&[*other, *one]);
            if let Some([one, other]) = direct.iter().find(|pair| !is_linked(pair)) {
                let detail = format!("relay {relay} stopped; its link to node {other} ended, whose path was direct");
                return Err(world.broken(Invariant::RelaysAreReplaced, Some(*one), detail));
            }
            // Before that, links that are dead look as if they were open.
            Ok(world.now() >= noticed)
        };
        let rename = |broken| Broken { invariant: Invariant::RelaysAreReplaced, ..broken };
        let end = world.now() + REPLACED;
        loop {
            world.run_for(INTERVAL)?;
            match check(world)?.then(|| check_mesh(world)) {
                Some(Ok(())) => return Ok(()),
                Some(Err(broken)) if world.now() >= end => return Err(rename(broken)),
                _ => {}
            }
        }
    }

    /// Sends a last transaction from every actor to every actor.
    fn last_transactions(&self, world: &mut World) -> Result<(), Broken> {
        let mut ids: Vec<TransactionId> = Vec::new();
        let mut parser = Parser::new();
        for new in load::one_each(self.population, self.seed, 1_000_000) {
            if new.actor < self.population.native || can_send(world, new.actor) {
                ids.extend(Transaction::parse(&mut parser, &new.body).map(|transaction| transaction.id()));
            }
            world.at(world.now(), new);
        }
        let has_nats = self.scenario == Scenario::Wan;
        world.run_for(if has_nats { SPREAD_BEHIND_NATS } else { SPREAD })?;
        check_held(world, &ids)?;
        check_pools(world)?;
        check_clients(world)?;
        check_mesh(world)
    }
}

/// Whether an exercise peer dialled a native node: it sends on no other link and never redials.
fn can_send(world: &World, peer: usize) -> bool {
    let (wires, native) = (&world.net.wires, world.population().native);
    world.net.links(peer).any(|end| !end.is_acceptor && wires.is_link(end.wire) && wires[end.other()].actor < native)
}

/// Checks that the settled network stays a full mesh, apart from short disturbances.
fn observe(world: &mut World) -> Result<(), Broken> {
    let end = world.now() + OBSERVED;
    let mut good = world.now();
    while world.now() < end {
        world.run_for(INTERVAL)?;
        match check_mesh(world) {
            Ok(()) => good = world.now(),
            Err(broken) if world.now() - good > DISTURBED => return Err(broken),
            Err(_) => {}
        }
    }
    Ok(())
}

/// Draws each actor's known-peers file. All actors can be reached from each, and every exercise
/// peer is in the file of a native node: it may start before its known peers, and never redials.
fn known_peers(population: Population, scenario: Scenario, rng: &mut impl RngExt) -> Vec<Vec<PeerAddress>> {
    let (all, native) = (population.all(), population.native);
    let known = known_actors(population, rng);
    let aliases = matches!(scenario, Scenario::Mesh | Scenario::Mixed) && rng.random_bool(0.5);
    let mut addresses_of = |known: Vec<usize>| {
        // A native node sends its id, whatever address was dialled. An exercise peer does not: two
        // addresses of it are two peers.
        let mut address_of = |actor| {
            let is_alias = aliases && actor < native && rng.random_bool(0.5);
            if is_alias { address::alias_of(actor) } else { address::of(actor) }
        };
        let mut addresses: Vec<_> = known.into_iter().map(&mut address_of).collect();
        if rng.random_bool(0.1) {
            // Nobody listens there.
            addresses.push(address::of(all + 100));
        }
        addresses
    };
    known.into_iter().map(&mut addresses_of).collect()
}

/// Draws whom each actor knows.
fn known_actors(population: Population, rng: &mut impl RngExt) -> Vec<Vec<usize>> {
    let (all, native) = (population.all(), population.native);
    let shape = rng.random_range(0..3);
    let mut known: Vec<Vec<usize>> = vec![Vec::new(); all];
    for actor in 1..all {
        let earlier = actor.min(native);
        known[actor].push(match shape {
            0 => 0,
            1 => earlier - 1,
            _ => rng.random_range(0..earlier),
        });
        if rng.random_bool(0.3) {
            known[actor].push(rng.random_range(0..native));
        }
        if actor >= native {
            known[rng.random_range(0..native)].push(actor);
        }
    }
    known
}
