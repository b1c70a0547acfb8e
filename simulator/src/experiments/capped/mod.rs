//! Networks whose nodes have a cap on their links: how they form, and what they survive.
//!
//! The nodes start in a random order, and all know the same one address. Once the graph of links is
//! connected, the faults of the [`Scenario`] happen. Once it is connected again, the links must be
//! stable, and a transaction from any node must reach all. The cap is checked after each step.

mod graph;
pub mod rows;

use std::collections::HashSet;
use std::time::Duration;

use clap::ValueEnum;
use meshpool_proto::Node as Core;
use meshpool_proto::json::Parser;
use meshpool_proto::limits::Limits;
use meshpool_proto::transaction::Transaction;
use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use crate::actors::node::Node;
use crate::checks::rules::{Broken, Invariant};
use crate::net::address;
use crate::net::delivery_stats::DeliveryStats;
use crate::net::event::{Fault, NewTransaction, Source};
use crate::world::World;
use crate::world::load::body;
use crate::world::population::Population;
use crate::world::wan::{self, Layout};
use graph::check_connected;

/// The time to connect, after the last start or the last fault. Mostly it takes seconds. A dead
/// link is detected within 45 s, and two parts meet by a shuffle, which is made every 20 to 40 s.
const SETTLE: Duration = Duration::from_secs(60);
/// The same for two networks that formed apart. A node shuffles with the address that it learned at
/// once and heals 12 s later; if neither node has a link to spare it takes more shuffles.
const HEALED_APART: Duration = Duration::from_secs(120);
/// The same where nodes are behind NATs. A node of an earlier release that finds no slot at a
/// public one waits until one of them asks it for a slot.
const SETTLE_WAN: Duration = Duration::from_secs(180);
/// How long links may still change: nodes look for free slots at growing intervals.
const WARM_UP: Duration = Duration::from_secs(240);
/// How long the network is observed then, unless a plan has another time.
const OBSERVED: Duration = Duration::from_secs(300);
/// The limit of lost links per node and minute while it is observed. Links in slots that were free
/// do not count.
const LOST_LINKS: f64 = 0.1;
/// The time for transactions to reach all nodes.
const SPREAD: Duration = Duration::from_secs(30);
/// How many nodes send transactions at the end.
const ORIGINS: usize = 20;
/// How many transactions each of them sends, and how many of these are sent before copies count.
const ROUNDS: usize = 8;
const GROWTH_ROUNDS: usize = 4;
/// The interval of the checks.
const INTERVAL: Duration = Duration::from_millis(500);

/// The faults of a network that has formed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// None.
    Form,
    /// For two minutes one node in a hundred, at least one, is killed or started each second.
    Churn,
    /// Three nodes in ten are killed at once.
    Third,
    /// The network is partitioned for a minute.
    Cut,
    /// Two networks form apart; then a node of one restarts and knows an address of the other.
    Apart,
}

/// What to run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The faults.
    pub scenario: Scenario,
    /// The source of every random choice.
    pub seed: u64,
    /// The number of native nodes.
    pub nodes: usize,
    /// The minimum and maximum cap; each node's cap is drawn.
    pub caps: (u32, u32),
    /// The one address is that of a genesis node, otherwise a known peer.
    pub genesis: bool,
    /// Some nodes are behind NATs: their ids alone lead to them, over relays.
    pub wan: bool,
    /// All nodes start within this time.
    pub spread: Duration,
    /// The number of exercise peers. They know the same address.
    pub exercise: usize,
    /// Nodes announce themselves. The work of the simulator for it grows with the square of the
    /// nodes; the cost for a node does not grow.
    pub presence: bool,
    /// How long the settled network is observed.
    pub observed: Duration,
    /// Print every step to standard error.
    pub print: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            scenario: Scenario::Form,
            seed: 1,
            nodes: 20,
            caps: (3, 12),
            genesis: false,
            wan: false,
            spread: Duration::from_secs(20),
            exercise: 0,
            presence: true,
            observed: OBSERVED,
            print: false,
        }
    }
}

/// The result of a run.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The time to a connected network, after the last start.
    pub formed: Duration,
    /// The time to a connected network, after the last fault.
    pub healed: Duration,
    /// The mean number of links of a node.
    pub degree: f64,
    /// The maximum number of links of a node.
    pub most_degree: usize,
    /// The fraction of its links that a node dialled: the 10%, 50% and 90% quantiles.
    pub dialled: [f64; 3],
    /// New links per node and minute while the network is observed.
    pub new_links: f64,
    /// How many slots were swapped for a node without links.
    pub swaps: u64,
    /// Bytes that a node writes per second while the network is observed, without transactions.
    pub bytes: f64,
    /// TRANSACTION frames that a node received per transaction, after the trees have grown.
    pub copies: f64,
    /// The mean and the maximum hops of a first copy.
    pub hops: (f64, usize),
    /// How many exercise peers were redirected because no slot was free.
    pub redirected: u64,
}

impl Plan {
    /// The command that repeats this run.
    pub fn command(&self) -> String {
        format!(
            "cargo run -p simulator -- overlays --scenarios {} --seed {} --nodes {} --caps {}-{} --spread {} --exercise {}{}{}{} --trace",
            format!("{:?}", self.scenario).to_lowercase(),
            self.seed,
            self.nodes,
            self.caps.0,
            self.caps.1,
            self.spread.as_secs(),
            self.exercise,
            if self.genesis { " --genesis" } else { "" },
            if self.wan { " --wan" } else { "" },
            if self.presence { " --presence" } else { "" },
        )
    }

    /// Runs the plan.
    ///
    /// # Errors
    /// The first rule that broke.
    pub fn run(&self) -> Result<Outcome, Broken> {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(self.seed);
        self.world(&mut rng).play(|world| self.play(world, &mut rng))
    }

    /// Runs the plan in its world.
    pub(super) fn play(&self, world: &mut World, rng: &mut impl RngExt) -> Result<Outcome, Broken> {
        world.run_until(self.spread)?;
        let networks = if self.scenario == Scenario::Apart { 2 } else { 1 };
        let parts: Vec<usize> = (0..self.nodes).map(|node| node % networks).collect();
        let whole = vec![0; self.nodes];
        let settle = if self.wan { SETTLE_WAN } else { SETTLE };
        let formed = world.settle(settle, INTERVAL, |world| check_connected(world, &parts))?;
        self.make_faults(world, rng)?;
        let within = if self.scenario == Scenario::Apart { settle.max(HEALED_APART) } else { settle };
        let healed = world.settle(within, INTERVAL, |world| check_connected(world, &whole))?;
        world.run_for(WARM_UP)?;
        let (new_links, bytes) = observe(world, self.observed)?;
        check_connected(world, &whole)?;
        let (copies, hops) = self.send_transactions(world)?;
        let degrees: Vec<usize> = world.nodes().filter(|node| node.is_up()).map(|node| node.linked().len()).collect();
        Ok(Outcome {
            formed,
            healed,
            degree: degrees.iter().sum::<usize>() as f64 / degrees.len().max(1) as f64,
            most_degree: degrees.into_iter().max().unwrap_or(0),
            dialled: dialled(world),
            new_links,
            swaps: world.nodes().map(|node| node.counters().slots_swapped).sum(),
            bytes,
            copies,
            hops,
            redirected: world.nodes().map(|node| node.counters().exercise_redirected).sum(),
        })
    }

    /// The world before anything runs, with all starts scheduled.
    pub(super) fn world(&self, rng: &mut impl RngExt) -> World {
        let parts = if self.scenario == Scenario::Apart { 2 } else { 1 };
        let known = |actor| if self.genesis || actor < parts { Vec::new() } else { vec![actor % parts] };
        let mut known: Vec<_> = (0..self.nodes).map(known).collect();
        known.extend((0..self.exercise).map(|_| vec![0]));
        let population = Population { native: self.nodes, exercise: self.exercise };
        let layout = self.wan.then(|| Layout::draw(population, known.clone(), rng));
        let address = |actor| if self.wan { address::public(actor) } else { address::of(actor) };
        let known = match &layout {
            Some(layout) => layout.first_known(),
            None => known.into_iter().map(|known| known.into_iter().map(address).collect()).collect(),
        };
        let mut limits = Limits::default();
        if !self.presence {
            limits.presence_nodes = 0;
        }
        let mut world = World::new(rng.random(), population, known, limits, self.print);
        if let Some(layout) = layout {
            layout.build(&mut world, rng);
        }
        let mut at: Vec<Duration> = (0..population.all())
            .map(|_| Duration::from_millis(rng.random_range(0..=self.spread.as_millis() as u64)))
            .collect();
        at.shuffle(rng);
        for (actor, at) in at.into_iter().enumerate() {
            if let Some(node) = world.node_mut(actor) {
                node.max_peers = Some(rng.random_range(self.caps.0..=self.caps.1));
                node.genesis = (self.genesis && actor >= parts).then(|| address(actor % parts));
            }
            world.at(at, Fault::Start(actor));
        }
        world
    }

    fn make_faults(&self, world: &mut World, rng: &mut impl RngExt) -> Result<(), Broken> {
        let now = world.now();
        let stop = |actor| Fault::Stop { actor, power_lost: false };
        match self.scenario {
            Scenario::Form => {}
            Scenario::Third => {
                // The node that all knew first ends too: nothing may depend on it. Where it is a
                // relay, the others are left: nodes behind NATs need one.
                world.apply(&stop(0))?;
                let left = if self.wan { wan::relays(world.population()) } else { 1 };
                let mut others: Vec<usize> = (left..self.nodes).collect();
                others.shuffle(rng);
                for actor in others.into_iter().take(self.nodes * 3 / 10) {
                    world.apply(&stop(actor))?;
                }
            }
            Scenario::Churn => {
                for second in 0..120 {
                    for _ in 0..(self.nodes / 100).max(1) {
                        let actor = rng.random_range(0..self.nodes);
                        world.apply(&if world.is_up(actor) { stop(actor) } else { Fault::Start(actor) })?;
                    }
                    world.run_until(now + Duration::from_secs(second + 1))?;
                }
                for actor in 0..self.nodes {
                    world.apply(&Fault::Start(actor))?;
                }
            }
            Scenario::Cut => {
                world.apply(&Fault::Split((0..self.nodes).map(|_| rng.random_range(0..2)).collect()))?;
                world.run_for(Duration::from_secs(60))?;
                world.apply(&Fault::Heal)?;
            }
            Scenario::Apart => {
                let bridge = rng.random_range(0..self.nodes);
                world.apply(&stop(bridge))?;
                world.run_for(Duration::from_secs(1))?;
                if let Some(node) = world.node_mut(bridge) {
                    let other = 1 - bridge % 2;
                    node.add_known_peer(if self.wan { address::public(other) } else { address::of(other) });
                }
                world.apply(&Fault::Start(bridge))?;
            }
        }
        Ok(())
    }

    /// Sends transactions from some nodes and checks that they reach all live ones. Returns the
    /// copies per first copy, and the mean and maximum hops.
    fn send_transactions(&self, world: &mut World) -> Result<(f64, (f64, usize)), Broken> {
        let mut parser = Parser::new();
        let mut ids = Vec::new();
        let origins: Vec<usize> = (0..self.nodes).filter(|actor| world.is_up(*actor)).take(ORIGINS).collect();
        world.net.stats = Some(DeliveryStats::new(self.nodes));
        for round in 0..ROUNDS {
            if let Some(stats) = world.net.stats.as_mut().filter(|_| round == GROWTH_ROUNDS) {
                stats.begin_phase();
            }
            for (number, actor) in origins.iter().enumerate() {
                let body = body(self.seed, round * ORIGINS + number);
                ids.extend(Transaction::parse(&mut parser, &body).map(|transaction| transaction.id()));
                let at = world.now() + Duration::from_millis(37 * number as u64);
                world.at(at, NewTransaction { source: Source::Application, actor: *actor, body });
            }
            world.run_for(Duration::from_secs(2))?;
        }
        world.run_for(SPREAD)?;
        for (actor, node) in world.nodes().enumerate().filter(|(_, node)| node.is_up()) {
            let held: HashSet<_> = node.pool().collect();
            let missing = ids.iter().filter(|id| !held.contains(*id)).count();
            if missing > 0 {
                let detail = format!("it lacks {missing} of {} transactions after {SPREAD:?}", ids.len());
                return Err(world.broken(Invariant::PoolsAgree, Some(actor), detail));
            }
        }
        let stats = world.net.stats.take().map(|stats| stats.phase().clone()).unwrap_or_default();
        Ok((stats.copies_each(), (stats.mean_hops(), stats.most_hops())))
    }
}

/// The fraction of its links that a node dialled: the 10%, 50% and 90% quantiles.
fn dialled(world: &World) -> [f64; 3] {
    let of = |node: &Node| {
        let (dialled, linked) = (node.core().map_or(0, Core::dialled_nodes), node.linked().len());
        (linked > 0).then(|| dialled as f64 / linked as f64)
    };
    let mut fractions: Vec<f64> = world.nodes().filter_map(of).collect();
    fractions.sort_unstable_by(f64::total_cmp);
    [0.1, 0.5, 0.9].map(|quantile| {
        let index = (fractions.len().max(1) - 1) as f64 * quantile;
        fractions.get(index as usize).copied().unwrap_or(0.0)
    })
}

/// Observes a settled network: the new links per node and minute, and the bytes that a node writes
/// per second.
fn observe(world: &mut World, time: Duration) -> Result<(f64, f64), Broken> {
    let opened = |world: &World| world.nodes().map(|node| node.counts.linked).sum::<u64>();
    let open = |world: &World| world.nodes().map(|node| node.linked_peers() as u64).sum::<u64>();
    let (opened_before, open_before, bytes) = (opened(world), open(world), world.net.bytes);
    world.run_for(time)?;
    let new = opened(world) - opened_before;
    let live = world.nodes().filter(|node| node.is_up()).count().max(1) as f64;
    let minutes = live * time.as_secs_f64() / 60.0;
    let lost = (open_before + new).saturating_sub(open(world)) as f64 / minutes;
    if lost >= LOST_LINKS {
        let detail = format!("{lost:.2} links lost per node and minute, expected less than {LOST_LINKS}");
        return Err(world.broken(Invariant::ConnectedOverlay, None, detail));
    }
    Ok((new as f64 / minutes, (world.net.bytes - bytes) as f64 / live / time.as_secs_f64()))
}
