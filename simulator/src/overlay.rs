//! Networks whose nodes have a cap on their links: how they form, and what they survive.
//!
//! A run starts its nodes in a random order, all with the same one address to begin with, waits until the graph is connected, does to it what its
//! [`Story`] tells, waits again, and then watches: nothing may move any more, and a transaction from anywhere must reach everywhere. That no node has more links
//! than its cap is checked after every step of every node.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::ValueEnum;
use p2p_node::protocol::identity::NodeId;
use p2p_node::protocol::json::Parser;
use p2p_node::protocol::limits::Limits;
use p2p_node::protocol::transaction::Transaction;
use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use crate::check::{Broken, Invariant};
use crate::faults::{Cast, Fault};
use crate::load::{Entry, Way, body};
use crate::network::Network;
use crate::world::{Event, World};

/// How long a network may take to be connected, and each node to have its links: after the last start, or after the last fault. A dead link is found in
/// 45 s, and two parts that were cut apart meet on a visit, which each node makes every 20 to 40 s.
pub const SETTLE: Duration = Duration::from_secs(180);
/// The same for two networks that formed apart, where one node of one knows one address of the other: until it visits that one, and until one there has a link to
/// give up, can take several visits.
pub const MERGED: Duration = Duration::from_secs(600);
/// How long a settled network may still move: free places are looked for ever more slowly.
const WARM_UP: Duration = Duration::from_secs(120);
/// How long it is watched then.
const WATCH: Duration = Duration::from_secs(300);
/// How many links a node may get per minute while it is watched, on average.
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
    /// Print every step to standard error.
    pub print: bool,
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
    /// How many links a node got per minute at the end.
    pub changes: f64,
    /// How many links were split for a node that had none.
    pub splits: u64,
    /// How many TRANSACTION frames a node received for each transaction, once the trees had grown.
    pub copies: f64,
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
        world.run_until(self.spread)?;
        let mut outcome = OverlayOutcome::default();
        let parts: Vec<usize> = if self.story == Story::Apart {
            (0..self.nodes).map(|node| node % 2).collect()
        } else {
            vec![0; self.nodes]
        };
        outcome.formed = settle(&mut world, SETTLE, |world| connected(world, &parts))?;
        self.tell(&mut world, &mut rng)?;
        let within = if self.story == Story::Apart { MERGED } else { SETTLE };
        outcome.healed = settle(&mut world, within, |world| connected(world, &vec![0; self.nodes]))?;
        world.run_until(world.net.clock.now() + WARM_UP)?;
        outcome.changes = watch(&mut world, self.nodes)?;
        connected(&world, &vec![0; self.nodes])?;
        outcome.copies = self.spread_one_each(&mut world)?;
        let live = world.nodes().filter(|node| node.is_up()).count().max(1);
        outcome.degree = world.nodes().map(|node| node.linked().len()).sum::<usize>() as f64 / live as f64;
        outcome.splits = world.nodes().map(|node| node.counters().links_split).sum();
        Ok(outcome)
    }

    fn world(&self, rng: &mut impl RngExt) -> World {
        let parts = if self.story == Story::Apart { 2 } else { 1 };
        let first = |actor: usize| Network::address(actor % parts);
        let known = |actor| if self.genesis || actor < parts { Vec::new() } else { vec![first(actor)] };
        let known = (0..self.nodes).map(known).collect();
        let cast = Cast { nodes: self.nodes, plain: 0 };
        let mut world = World::new(rng.random(), cast, known, Limits::default(), self.print);
        world.net.trace.silent = !self.print;
        let mut at: Vec<Duration> = (0..self.nodes)
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

    /// A transaction from each of some nodes must reach all that live.
    fn spread_one_each(&self, world: &mut World) -> Result<f64, Broken> {
        let received = |world: &World| world.nodes().map(|node| node.counts.received).sum::<u64>();
        let live: Vec<usize> = (0..self.nodes).filter(|actor| world.is_up(*actor)).collect();
        let mut parser = Parser::new();
        let mut ids = Vec::new();
        let origins: Vec<usize> = live.iter().copied().take(ORIGINS).collect();
        let mut before = 0;
        for round in 0..ROUNDS {
            // The first rounds grow the trees.
            if round == GROWN {
                before = received(world);
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
            let missing = ids.iter().filter(|id| !node.pool().any(|held| held == **id)).count();
            if missing > 0 {
                let detail = format!("it lacks {missing} of {} transactions after {SPREAD:?}", ids.len());
                return Err(broken(world, Invariant::PoolsAgree, Some(actor), detail));
            }
        }
        let counted = origins.len() * (ROUNDS - GROWN) * live.len().saturating_sub(1);
        Ok((received(world) - before) as f64 / counted.max(1) as f64)
    }
}

fn broken(world: &World, invariant: Invariant, node: Option<usize>, detail: String) -> Broken {
    Broken { at: world.net.clock.now(), node, invariant, detail }
}

/// Whether the live nodes of each part are connected among themselves, and have two links each where there are two others.
fn connected(world: &World, parts: &[usize]) -> Result<(), Broken> {
    let live: BTreeMap<NodeId, (usize, Vec<NodeId>)> = world
        .nodes()
        .enumerate()
        .filter(|(_, node)| node.is_up())
        .map(|(actor, node)| (node.id(), (actor, node.linked())))
        .collect();
    let mutual = |one: &NodeId, other: &NodeId| live.get(other).is_some_and(|(_, linked)| linked.contains(one));
    let wrong = |node, detail| Err(broken(world, Invariant::ConnectedOverlay, node, detail));
    for part in 0..2 {
        let members: Vec<&NodeId> =
            live.iter().filter(|(_, (actor, _))| parts[*actor] == part).map(|(id, _)| id).collect();
        let Some(first) = members.first() else { continue };
        let least = members.len().saturating_sub(1).min(2);
        for id in &members {
            let (actor, linked) = &live[*id];
            let links = linked.iter().filter(|other| mutual(id, other)).count();
            let least = least.min(world.nodes().nth(*actor).and_then(|node| node.max_peers).unwrap_or(2) as usize);
            if links < least {
                return wrong(Some(*actor), format!("it has {links} links, expected {least} at least"));
            }
        }
        let mut seen = std::collections::BTreeSet::from([**first]);
        let mut edge = vec![**first];
        while let Some(id) = edge.pop() {
            for other in live[&id].1.iter().filter(|other| mutual(&id, other)) {
                if seen.insert(*other) {
                    edge.push(*other);
                }
            }
        }
        if let Some(lost) = members.iter().find(|id| !seen.contains(**id)) {
            let detail = format!("it can not be reached: {} of {} can", seen.len(), members.len());
            return wrong(Some(live[*lost].0), detail);
        }
    }
    Ok(())
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

/// Watches a network at rest: how many links does a node get per minute?
fn watch(world: &mut World, nodes: usize) -> Result<f64, Broken> {
    let links = |world: &World| world.nodes().map(|node| node.counts.linked).sum::<u64>();
    let before = links(world);
    world.run_until(world.net.clock.now() + WATCH)?;
    let changes = (links(world) - before) as f64 / nodes as f64 / (WATCH.as_secs_f64() / 60.0);
    if changes >= CHANGES {
        let detail = format!("{changes:.2} new links per node and minute, expected less than {CHANGES}");
        return Err(broken(world, Invariant::ConnectedOverlay, None, detail));
    }
    Ok(changes)
}
