//! Networks whose nodes have a cap on their links: how they form, and what they survive.
//!
//! A run starts its nodes in a random order, all with the same one address to begin with, waits until the graph is connected, does to it what its
//! [`Story`] tells, waits again, and then watches: nothing may move any more, and a transaction from anywhere must reach everywhere. That no node has more links
//! than its cap is checked after every step of every node.

use std::collections::HashSet;
use std::time::Duration;

use clap::ValueEnum;
use meshpool_proto::json::Parser;
use meshpool_proto::limits::Limits;
use meshpool_proto::transaction::Transaction;
use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use crate::check::{Broken, Invariant};
use crate::faults::{Cast, Fault};
use crate::ledger::Ledger;
use crate::load::{Entry, Way, body};
use crate::network::Network;
use crate::node::Node;
use crate::world::{Event, World};
use graph::connected;

mod graph;
pub mod rows;

/// How long a network may take to be connected, and each node to have its links: after the last start, or after the last fault. Mostly it is a few seconds; a dead
/// link is found in 45 s, and two parts that were cut apart meet on a visit, which each node makes every 20 to 40 s.
pub const SETTLE: Duration = Duration::from_secs(60);
/// The same for two networks that formed apart, where one node of one knows one address of the other: it visits that one at once and may act 12 s later; where
/// neither has a link to give up it takes another visit or two.
pub const MERGED: Duration = Duration::from_secs(120);
/// How long a settled network may still move: free places are looked for ever more slowly.
const WARM_UP: Duration = Duration::from_secs(240);
/// How long it is watched then, unless a plan says otherwise.
pub const WATCH: Duration = Duration::from_secs(300);
/// How many links a node may lose per minute while it is watched, on average, be they replaced or not. New ones in places that were free are no change.
pub const CHANGES: f64 = 0.1;
/// How long transactions have to reach everybody.
const SPREAD: Duration = Duration::from_secs(30);
/// How many nodes send transactions at the end, how often, and from which time on copies are counted.
const ORIGINS: usize = 20;
const ROUNDS: usize = 8;
const GROWN: usize = 4;
/// How often the network is looked at while it settles.
const LOOK: Duration = Duration::from_millis(500);

/// What happens to a network once it has formed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Story {
    /// Nothing more.
    Form,
    /// For two minutes one node in a hundred, at least one, ends each second or starts again.
    Churn,
    /// Three nodes in ten die at once, without a word.
    Third,
    /// It is cut in two for a minute.
    Cut,
    /// It forms as two networks that know nothing of each other, until one node of the one starts again and knows one address of the other.
    Apart,
}

impl Story {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Form, Self::Churn, Self::Third, Self::Cut, Self::Apart];
}

/// What to run.
#[derive(Debug, Clone)]
pub struct OverlayPlan {
    /// What happens.
    pub story: Story,
    /// What every choice is drawn from.
    pub seed: u64,
    /// How many full peers.
    pub nodes: usize,
    /// The caps, from the least to the most: each node's is drawn.
    pub caps: (u32, u32),
    /// Whether the one address is that of a genesis node; else it is a known peer.
    pub genesis: bool,
    /// Within which time all nodes start.
    pub spread: Duration,
    /// How many nodes of the exercise there are besides. They know the same address, and each is started with the others.
    pub plain: usize,
    /// Whether nodes announce themselves to all others. What that costs a node does not grow with the network, but what the simulator needs for it grows with the
    /// square.
    pub presence: bool,
    /// How long the settled network is watched.
    pub watch: Duration,
    /// Print every step to standard error.
    pub print: bool,
}

impl Default for OverlayPlan {
    fn default() -> Self {
        Self {
            story: Story::Form,
            seed: 1,
            nodes: 20,
            caps: (3, 12),
            genesis: false,
            spread: Duration::from_secs(20),
            plain: 0,
            presence: true,
            watch: WATCH,
            print: false,
        }
    }
}

/// What came of it.
#[derive(Debug, Default)]
pub struct OverlayOutcome {
    /// How long the network took to be connected, after the last start.
    pub formed: Duration,
    /// How long it took again, after the last fault.
    pub healed: Duration,
    /// How many links a node has on average.
    pub degree: f64,
    /// How many the node with the most has.
    pub most_degree: usize,
    /// Of the nodes, sorted by the part of their links that they dialled themselves, the part at a tenth, half and nine tenths of all.
    pub dialled: [f64; 3],
    /// How many links a node got per minute at the end.
    pub changes: f64,
    /// How many links were split for a node that had none.
    pub splits: u64,
    /// How many bytes a node wrote per second, once settled and with no transactions, WebSocket's heads included.
    pub bytes: f64,
    /// How many TRANSACTION frames a node received for each transaction, once the trees had grown.
    pub copies: f64,
    /// Over how many hops a first copy came then, on average, and at most.
    pub hops: (f64, usize),
    /// How many nodes of the exercise were told of others, for want of a place.
    pub redirected: u64,
}

impl OverlayPlan {
    /// The command that runs this plan again.
    pub fn command(&self) -> String {
        format!(
            "cargo run -p simulator -- --overlay {} --seed {} --nodes {} --caps {}-{} --spread {}{} --trace",
            format!("{:?}", self.story).to_lowercase(),
            self.seed,
            self.nodes,
            self.caps.0,
            self.caps.1,
            self.spread.as_secs(),
            if self.genesis { " --genesis" } else { "" },
        )
    }

    /// Runs the plan.
    ///
    /// # Errors
    /// The first rule that broke.
    pub fn run(&self) -> Result<OverlayOutcome, Broken> {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(self.seed);
        let mut world = self.world(&mut rng);
        self.play(&mut world, &mut rng)
    }

    /// Runs the plan in its world.
    pub(crate) fn play(&self, world: &mut World, rng: &mut impl RngExt) -> Result<OverlayOutcome, Broken> {
        world.run_until(self.spread)?;
        let mut outcome = OverlayOutcome::default();
        let parts: Vec<usize> = if self.story == Story::Apart {
            (0..self.nodes).map(|node| node % 2).collect()
        } else {
            vec![0; self.nodes]
        };
        outcome.formed = settle(world, SETTLE, |world| connected(world, &parts))?;
        self.tell(world, rng)?;
        let within = if self.story == Story::Apart { MERGED } else { SETTLE };
        outcome.healed = settle(world, within, |world| connected(world, &vec![0; self.nodes]))?;
        world.run_until(world.net.clock.now() + WARM_UP)?;
        (outcome.changes, outcome.bytes) = watch(world, self.watch)?;
        connected(world, &vec![0; self.nodes])?;
        let figures = self.spread_one_each(world)?;
        (outcome.copies, outcome.hops) = (figures.0, figures.1);
        self.look(world, &mut outcome);
        Ok(outcome)
    }

    /// What can be seen at the end.
    fn look(&self, world: &World, outcome: &mut OverlayOutcome) {
        let degrees: Vec<usize> = world.nodes().filter(|node| node.is_up()).map(|node| node.linked().len()).collect();
        outcome.degree = degrees.iter().sum::<usize>() as f64 / degrees.len().max(1) as f64;
        outcome.most_degree = degrees.into_iter().max().unwrap_or(0);
        let live = world.nodes().filter(|node| node.is_up() && !node.linked().is_empty());
        let mut parts: Vec<f64> = live.map(|node| node.dialled() as f64 / node.linked().len() as f64).collect();
        parts.sort_unstable_by(f64::total_cmp);
        let at = |part: f64| parts.get(((parts.len().max(1) - 1) as f64 * part) as usize).copied().unwrap_or(0.0);
        outcome.dialled = [at(0.1), at(0.5), at(0.9)];
        outcome.splits = world.nodes().map(|node| node.counters().slots_swapped).sum();
        outcome.redirected = world.nodes().map(|node| node.counters().exercise_redirected).sum();
    }

    pub(crate) fn world(&self, rng: &mut impl RngExt) -> World {
        let parts = if self.story == Story::Apart { 2 } else { 1 };
        let first = |actor: usize| Network::address(actor % parts);
        let known = |actor| if self.genesis || actor < parts { Vec::new() } else { vec![first(actor)] };
        let mut known: Vec<_> = (0..self.nodes).map(known).collect();
        known.extend((0..self.plain).map(|_| vec![first(0)]));
        let cast = Cast { nodes: self.nodes, plain: self.plain };
        let mut limits = Limits::default();
        if !self.presence {
            limits.presence_nodes = 0;
        }
        let mut world = World::new(rng.random(), cast, known, limits, self.print);
        world.net.trace.silent = !self.print;
        let mut at: Vec<Duration> = (0..self.nodes + self.plain)
            .map(|_| Duration::from_millis(rng.random_range(0..=self.spread.as_millis() as u64)))
            .collect();
        at.shuffle(rng);
        for (actor, at) in at.into_iter().enumerate() {
            if let Some(node) = world.node_mut(actor) {
                node.max_peers = Some(rng.random_range(self.caps.0..=self.caps.1));
                node.genesis = (self.genesis && actor >= parts).then(|| first(actor));
            }
            world.net.clock.at(at, Event::Fault(Box::new(Fault::Start(actor))));
        }
        world
    }

    /// Does to the network what the story tells.
    fn tell(&self, world: &mut World, rng: &mut impl RngExt) -> Result<(), Broken> {
        let now = world.net.clock.now();
        let stop = |actor| Fault::Stop { actor, power_lost: false };
        match self.story {
            Story::Form => {}
            Story::Third => {
                // The node that all began with dies too: nothing may rest on it.
                world.apply(&stop(0))?;
                let mut others: Vec<usize> = (1..self.nodes).collect();
                others.shuffle(rng);
                for actor in others.into_iter().take(self.nodes * 3 / 10) {
                    world.apply(&stop(actor))?;
                }
            }
            Story::Churn => {
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
            Story::Cut => {
                world.apply(&Fault::Split((0..self.nodes).map(|_| rng.random_range(0..2)).collect()))?;
                world.run_until(now + Duration::from_secs(60))?;
                world.apply(&Fault::Heal)?;
            }
            Story::Apart => {
                let bridge = rng.random_range(0..self.nodes);
                world.apply(&stop(bridge))?;
                world.run_until(now + Duration::from_secs(1))?;
                if let Some(node) = world.node_mut(bridge) {
                    node.know(Network::address(1 - bridge % 2));
                }
                world.apply(&Fault::Start(bridge))?;
            }
        }
        Ok(())
    }

    /// A transaction from each of some nodes must reach all that live. Returns the copies for each first one, and the hops of these.
    fn spread_one_each(&self, world: &mut World) -> Result<(f64, (f64, usize)), Broken> {
        let live: Vec<usize> = (0..self.nodes).filter(|actor| world.is_up(*actor)).collect();
        let mut parser = Parser::new();
        let mut ids = Vec::new();
        let origins: Vec<usize> = live.iter().copied().take(ORIGINS).collect();
        world.net.ledger = Some(Ledger::new(self.nodes));
        for round in 0..ROUNDS {
            // The first rounds grow the trees.
            if let Some(ledger) = world.net.ledger.as_mut().filter(|_| round == GROWN) {
                ledger.begin_phase();
            }
            for (number, actor) in origins.iter().enumerate() {
                let body = body(self.seed, round * ORIGINS + number);
                ids.extend(Transaction::parse(&mut parser, &body).map(|transaction| transaction.id()));
                let entry = Entry { way: Way::Submit, actor: *actor, body };
                world.net.clock.after(Duration::from_millis(37 * number as u64), Event::Enter(Box::new(entry)));
            }
            world.run_until(world.net.clock.now() + Duration::from_secs(2))?;
        }
        world.run_until(world.net.clock.now() + SPREAD)?;
        for (actor, node) in world.nodes().enumerate().filter(|(_, node)| node.is_up()) {
            let held: HashSet<_> = node.pool().collect();
            let missing = ids.iter().filter(|id| !held.contains(*id)).count();
            if missing > 0 {
                let detail = format!("it lacks {missing} of {} transactions after {SPREAD:?}", ids.len());
                return Err(broken(world, Invariant::PoolsAgree, Some(actor), detail));
            }
        }
        let figures = world.net.ledger.take().map(|ledger| ledger.phase().clone()).unwrap_or_default();
        Ok((figures.copies_each(), (figures.mean_hops(), figures.most_hops())))
    }
}

fn broken(world: &World, invariant: Invariant, node: Option<usize>, detail: String) -> Broken {
    Broken { at: world.net.clock.now(), node, invariant, detail }
}

/// Runs until a check passes. Returns how long that took.
fn settle(
    world: &mut World,
    within: Duration,
    check: impl Fn(&World) -> Result<(), Broken>,
) -> Result<Duration, Broken> {
    let start = world.net.clock.now();
    loop {
        let now = world.net.clock.now();
        match check(world) {
            Ok(()) => return Ok(now - start),
            Err(broken) if now - start >= within => return Err(broken),
            Err(_) => world.run_until(now + LOOK)?,
        }
    }
}

/// Watches a network at rest: how many links does a node get per minute, and how many bytes does it write per second?
fn watch(world: &mut World, time: Duration) -> Result<(f64, f64), Broken> {
    let sum = |world: &World, of: fn(&Node) -> u64| world.nodes().map(of).sum::<u64>();
    let seen = |world: &World| (sum(world, |node| node.counts.linked), sum(world, |node| node.places() as u64));
    let (((links, places), bytes), began) = ((seen(world), world.net.bytes), world.net.clock.now());
    world.run_until(began + time)?;
    let (links_after, places_after) = seen(world);
    let live = world.nodes().filter(|node| node.is_up()).count().max(1) as f64;
    let minutes = live * time.as_secs_f64() / 60.0;
    let lost = (places + links_after - links).saturating_sub(places_after) as f64 / minutes;
    if lost >= CHANGES {
        let detail = format!("{lost:.2} links lost per node and minute, expected less than {CHANGES}");
        return Err(broken(world, Invariant::ConnectedOverlay, None, detail));
    }
    let written = (world.net.bytes - bytes) as f64;
    Ok(((links_after - links) as f64 / minutes, written / live / time.as_secs_f64()))
}
