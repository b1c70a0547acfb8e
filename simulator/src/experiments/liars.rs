//! Networks in which some nodes lie: how long honest nodes wait for everything, beside the same
//! network without the liars.
//!
//! All but a newcomer hold a backlog. The newcomer links to some of them, of which at most half
//! lie, each in some kinds of messages that the seed draws. Then transactions and broadcasts enter.
//! "Without the liars" means that they never run. Honest nodes in their place would only help; so
//! this is the more severe comparison: with liars or without, the same nodes have to deliver.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use clap::ValueEnum;
use measuring::Table;
use meshpool_proto::id::NodeId;
use meshpool_proto::json::Parser;
use meshpool_proto::limits::Limits;
use meshpool_proto::transaction::{Transaction, TransactionId};
use meshpool_proto::{Input, RequestId};
use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use crate::actors::lie::Lie;
use crate::actors::node::Node;
use crate::checks::rules::{Broken, Invariant};
use crate::net::address;
use crate::net::event::{Fault, NewTransaction, Source};
use crate::world::World;
use crate::world::load::body;
use crate::world::population::Population;

/// How the nodes are linked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shape {
    /// All to all.
    Mesh,
    /// The links that the seed draws, and no others.
    Graph,
    /// Each node has a cap and finds its links itself.
    Capped,
}

/// What to run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The source of every random choice.
    pub seed: u64,
    /// How the nodes are linked.
    pub shape: Shape,
    /// The honest nodes, the newcomer among them.
    pub honest: usize,
    /// The liars.
    pub liars: usize,
    /// How many transactions all others hold when the newcomer comes.
    pub backlog: usize,
    /// The lies of each liar; by default the seed draws them.
    pub lies: Option<Vec<Vec<Lie>>>,
    /// Print every step to standard error.
    pub print: bool,
}

/// The waits of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waits {
    /// From the newcomer's start until it has a link to an honest node, or all without one.
    pub link: Duration,
    /// From then on until it holds the backlog.
    pub backlog: Duration,
    /// From the first live transaction until all honest nodes hold all of them.
    pub live: Duration,
}

/// Half of the time between two frames of an idle line, in which nothing can be seen to be late.
const INTERVAL: Duration = Duration::from_millis(20);
/// When the newcomer starts, and when transactions enter.
const COMES: Duration = Duration::from_secs(10);
/// How many live transactions enter, and how often.
const LIVE: usize = 40;
const LIVE_EVERY: Duration = Duration::from_millis(250);
/// For how long a run is watched.
const PATIENCE: Duration = Duration::from_secs(60);
/// The speed at which a node reads from one link, in bytes a second: a line of 8 Mbit/s.
const RATE: u64 = 1_000_000;

impl Plan {
    /// A plan of a seed: its nodes and its backlog follow from it, and its shape if none is given.
    pub fn of(seed: u64, shape: Option<Shape>) -> Self {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let shape = shape.unwrap_or([Shape::Mesh, Shape::Graph, Shape::Capped][(seed % 3) as usize]);
        let honest = if shape == Shape::Mesh { rng.random_range(2..=5) } else { rng.random_range(6..=10) };
        let liars = if shape == Shape::Mesh { rng.random_range(1..honest) } else { honest / 2 };
        let backlog = if (seed / 3).is_multiple_of(2) { 800 } else { 5_000 };
        Self { seed, shape, honest, liars, backlog, lies: None, print: false }
    }

    /// The lies of each liar.
    pub fn lies(&self) -> Vec<Vec<Lie>> {
        self.lies.clone().unwrap_or_else(|| {
            let mut rng = Xoshiro256PlusPlus::seed_from_u64(self.seed ^ 0x11a5);
            let mut all = Lie::value_variants().to_vec();
            let some = |_| {
                all.shuffle(&mut rng);
                let count = rng.random_range(1..=6);
                all.iter().copied().take(count).collect()
            };
            (0..self.liars).map(some).collect()
        })
    }

    /// Runs the plan with its liars, and without them.
    ///
    /// # Errors
    /// The first rule that broke, or who lacks what at the end.
    pub fn run(&self) -> Result<[Waits; 2], Broken> {
        Ok([self.run_one(true)?, self.run_one(false)?])
    }

    /// A row of [`table`].
    pub fn row(&self, waits: &Result<[Waits; 2], Broken>) -> Vec<String> {
        let mut row = vec![
            self.seed.to_string(),
            format!("{:?}", self.shape).to_lowercase(),
            self.honest.to_string(),
            self.liars.to_string(),
            self.backlog.to_string(),
        ];
        match waits {
            Ok([with, without]) => {
                let pairs = [[with.link, without.link], [with.backlog, without.backlog], [with.live, without.live]];
                row.extend(pairs.into_iter().flatten().map(seconds));
                row.push(format!("{:.2}", with.backlog.div_duration_f64(without.backlog)));
            }
            Err(_) => row.extend(["", "", "", "", "", "", "BROKEN"].map(str::to_owned)),
        }
        row.push(format!("{:?}", self.lies()));
        row
    }

    /// The newcomer: the last honest node. Liars follow.
    fn newcomer(&self) -> usize {
        self.honest - 1
    }

    fn run_one(&self, lie: bool) -> Result<Waits, Broken> {
        let mut world = self.world(lie);
        world.play(|world| self.play(world))
    }

    fn play(&self, world: &mut World) -> Result<Waits, Broken> {
        let newcomer = self.newcomer();
        world.run_until(COMES)?;
        world.apply(&Fault::Start(newcomer))?;
        let backlog = self.bodies(0, self.backlog).iter().map(Transaction::id).collect();
        let mut backlog = Lacks::new([newcomer], &backlog);
        let link = wait(world, |world| self.lacks_honest_link(world).or_else(|_| backlog.check(world)))?;
        let waited = wait(world, |world| backlog.check(world))?;
        let start = world.now();
        let live = self.bodies(self.backlog, LIVE);
        for (number, transaction) in live.iter().enumerate() {
            let at = start + LIVE_EVERY * u32::try_from(number).unwrap_or(u32::MAX);
            let (actor, body) = (number % self.honest, transaction.body().to_owned());
            world.at(at, NewTransaction { source: Source::Application, actor, body });
        }
        let broadcast = |world: &mut World, actor: usize| {
            let request = RequestId(1_000_000 + actor as u64);
            world.handle(actor, Input::Broadcast { request, message: format!("from {actor}"), time: 1.5 })
        };
        (0..self.honest).try_for_each(|actor| broadcast(world, actor))?;
        let live = live.iter().map(Transaction::id).collect();
        let mut live = Lacks::new(0..self.honest, &live);
        wait(world, |world| {
            live.check(world)?;
            self.lacks_broadcasts(world)
        })?;
        Ok(Waits { link, backlog: waited, live: world.now() - start })
    }

    fn lacks_honest_link(&self, world: &World) -> Result<(), Broken> {
        let linked = world.nodes().nth(self.newcomer()).map(Node::linked).unwrap_or_default();
        let is_honest = |node: &NodeId| world.net.actor_of(*node).is_some_and(|actor| actor < self.honest);
        if linked.iter().any(is_honest) {
            return Ok(());
        }
        let detail = "it has no link to an honest node".to_owned();
        Err(world.broken(Invariant::PoolsAgree, Some(self.newcomer()), detail))
    }

    fn lacks_broadcasts(&self, world: &World) -> Result<(), Broken> {
        for (actor, node) in world.nodes().enumerate().take(self.honest) {
            let told: BTreeSet<&str> = node.broadcasts.iter().map(String::as_str).collect();
            let missing =
                (0..self.honest).find(|from| *from != actor && !told.contains(format!("from {from}").as_str()));
            if let Some(from) = missing {
                let detail = format!("it lacks the broadcast of node {from}");
                return Err(world.broken(Invariant::PoolsAgree, Some(actor), detail));
            }
        }
        Ok(())
    }

    fn bodies(&self, first: usize, count: usize) -> Vec<Transaction> {
        let mut parser = Parser::new();
        let parse = |number| Transaction::parse(&mut parser, &body(self.seed, number)).expect("the load is valid");
        (first..first + count).map(parse).collect()
    }

    /// The world before anything runs, with all starts but the newcomer's scheduled.
    fn world(&self, lie: bool) -> World {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(self.seed);
        let nodes = self.honest + self.liars;
        let known = self.known(&mut rng);
        let population = Population { native: nodes, exercise: 0 };
        let mut world = World::new(rng.random(), population, known, Limits::default(), self.print);
        world.net.is_public = self.shape == Shape::Graph;
        world.apply(&Fault::Delays(10, 30)).expect("a delay starts nothing");
        let backlog = self.bodies(0, self.backlog);
        let lies = self.lies();
        for actor in 0..nodes {
            world.net.hosts[actor].read_rate = RATE;
            if let Some(node) = world.node_mut(actor) {
                node.signs_all = true;
                node.max_peers = (self.shape == Shape::Capped).then_some(6);
                if actor != self.newcomer() {
                    node.fill_file(&backlog);
                }
                if let Some(lies) = actor.checked_sub(self.honest).and_then(|liar| lies.get(liar)) {
                    node.set_lies(lies.iter().copied());
                }
            }
            if actor >= self.honest {
                world.net.liars.insert(actor);
            }
            let at = Duration::from_millis(rng.random_range(0..1_000));
            if actor != self.newcomer() && (lie || actor < self.honest) {
                world.at(at, Fault::Start(actor));
            }
        }
        world
    }

    /// The known-peers files. In a graph the honest nodes form a ring with chords, and each liar is
    /// linked to as many of them as leaves no honest node with more liars than honest neighbours.
    fn known(&self, rng: &mut impl RngExt) -> Vec<Vec<meshpool_proto::address::PeerAddress>> {
        let nodes = self.honest + self.liars;
        if self.shape == Shape::Mesh {
            return (0..nodes)
                .map(|node| (0..nodes).filter(|other| *other != node).map(address::of).collect())
                .collect();
        }
        if self.shape == Shape::Capped {
            // Each knows some of the others, liars as well as honest ones.
            return (0..nodes)
                .map(|node| {
                    let mut others: Vec<_> = (0..nodes).filter(|other| *other != node).collect();
                    others.shuffle(rng);
                    others.into_iter().take(4).map(address::of).collect()
                })
                .collect();
        }
        let mut links: BTreeSet<(usize, usize)> =
            (0..self.honest).map(|node| (node, (node + 1) % self.honest)).collect();
        for node in 0..self.honest / 2 {
            // Over a ring of this size a transaction goes a long way.
            links.insert((node, node + self.honest / 2));
        }
        let mut honest: BTreeMap<usize, usize> = BTreeMap::new();
        for (one, other) in &links {
            *honest.entry(*one).or_default() += 1;
            *honest.entry(*other).or_default() += 1;
        }
        let mut free: Vec<usize> = honest.iter().flat_map(|(node, count)| vec![*node; *count]).collect();
        free.shuffle(rng);
        for (number, node) in free.into_iter().enumerate() {
            let liar = self.honest + number % self.liars.max(1);
            // Of each link one end is the first to dial, and its peer may be the first that it has.
            links.insert(if rng.random() { (liar, node) } else { (node, liar) });
        }
        let dials = |node| links.iter().filter(move |(one, _)| *one == node).map(|(_, other)| address::of(*other));
        (0..nodes).map(|node| dials(node).collect()).collect()
    }
}

/// The table of runs.
pub fn table() -> Table {
    Table::new([
        "seed",
        "shape",
        "honest",
        "liars",
        "backlog",
        "link",
        "without",
        "s",
        "s without",
        "live",
        "without",
        "times",
        "lies",
    ])
}

fn seconds(time: Duration) -> String {
    format!("{:.2}", time.as_secs_f64())
}

/// What some nodes lack of some transactions.
#[derive(Debug)]
struct Lacks {
    of: usize,
    /// By node: what it lacks, and how much of its pool was looked at.
    nodes: BTreeMap<usize, (BTreeSet<TransactionId>, usize)>,
}

impl Lacks {
    fn new(nodes: impl IntoIterator<Item = usize>, ids: &BTreeSet<TransactionId>) -> Self {
        Self { of: ids.len(), nodes: nodes.into_iter().map(|node| (node, (ids.clone(), 0))).collect() }
    }

    fn check(&mut self, world: &World) -> Result<(), Broken> {
        for (actor, node) in world.nodes().enumerate() {
            let Some((missing, seen)) = self.nodes.get_mut(&actor) else { continue };
            for id in node.pool().skip(*seen) {
                missing.remove(&id);
            }
            *seen = node.pool().len();
            if !missing.is_empty() {
                let detail = format!("it lacks {} of {}", missing.len(), self.of);
                return Err(world.broken(Invariant::PoolsAgree, Some(actor), detail));
            }
        }
        Ok(())
    }
}

/// Runs until a check passes. Returns how long that took.
fn wait(world: &mut World, mut check: impl FnMut(&World) -> Result<(), Broken>) -> Result<Duration, Broken> {
    let start = world.now();
    loop {
        let elapsed = world.now() - start;
        match check(world) {
            Ok(()) => return Ok(elapsed),
            Err(broken) if elapsed >= PATIENCE => return Err(broken),
            Err(_) => world.run_for(INTERVAL)?,
        }
    }
}
