//! Measurements: the copies, hops, milliseconds and control frames that a transaction costs, and
//! the time that a network takes to repair itself.
//!
//! An experiment has phases. The nodes start and link. The trees grow while every origin sends a
//! few transactions. The steady phase is measured. Then there are faults, with more transactions.
//! After them all pools must become equal within a stated time. The trees get a few transactions to
//! repair themselves and are measured again.

pub mod rows;
mod trouble;

use std::time::Duration;

use meshpool_proto::limits::Limits;
use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use super::convergence::check_mesh;
use super::topology::Graph;
use crate::checks::rules::{Broken, Invariant};
use crate::net::address;
use crate::net::delivery_stats::PhaseStats;
use crate::net::event::{Fault, NewTransaction, Source};
use crate::world::World;
use crate::world::load::body;
use crate::world::population::{PRESENCE_NODES, Population};
pub use trouble::Trouble;

/// The time for the nodes to find each other.
const LINKING: Duration = Duration::from_secs(90);
/// The nodes start within this time.
const STARTS: Duration = Duration::from_secs(2);
/// The time after the last transaction of a phase for all copies to arrive.
const ARRIVAL: Duration = Duration::from_secs(4);
/// The interval of the checks.
const INTERVAL: Duration = Duration::from_millis(100);
/// The minimum interval between the transactions of all origins together.
const BETWEEN: Duration = Duration::from_millis(50);
/// The minimum interval between the transactions of one origin.
const BETWEEN_OWN: Duration = Duration::from_secs(1);

/// The graph of links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topology {
    /// A full mesh, found by HANDSHAKEs.
    Mesh,
    /// A fixed random graph of this degree.
    Random(usize),
}

/// What to measure.
#[derive(Debug, Clone)]
pub struct Experiment {
    /// The graph of links.
    pub topology: Topology,
    /// The number of nodes.
    pub nodes: usize,
    /// How many of them send transactions.
    pub origins: usize,
    /// The faults.
    pub trouble: Trouble,
    /// Transactions of each origin before and after the faults that are not measured.
    pub growth_rounds: usize,
    /// Transactions of each origin before and after the faults that are measured.
    pub rounds: usize,
    /// Nodes announce themselves also in a network of more than [`PRESENCE_NODES`].
    pub presence: bool,
    /// The source of every random choice.
    pub seed: u64,
}

impl Default for Experiment {
    fn default() -> Self {
        Self {
            topology: Topology::Mesh,
            nodes: 10,
            origins: 1,
            trouble: Trouble::None,
            growth_rounds: 4,
            rounds: 5,
            presence: false,
            seed: 1,
        }
    }
}

/// The result of an experiment.
#[derive(Debug, Default)]
pub struct Report {
    /// The time until the nodes were linked.
    pub linked: Duration,
    /// The links then.
    pub links: usize,
    /// The steady phase before the faults.
    pub steady: PhaseStats,
    /// The phase with faults.
    pub trouble: PhaseStats,
    /// The time until all pools were equal, after the last fault and the last transaction.
    pub repair: Duration,
    /// The time until all links were open again, if faults were temporary.
    pub relinked: Option<Duration>,
    /// The steady phase after the faults.
    pub after: PhaseStats,
    /// The number of nodes whose pools must be equal at the end.
    pub judged: usize,
}

/// The state of a run besides its world.
pub(super) struct Run<'a> {
    plan: &'a Experiment,
    graph: Option<Graph>,
    rng: Xoshiro256PlusPlus,
    /// The nodes that will be killed or misbehave. None of them sends transactions.
    affected: Vec<usize>,
    origins: Vec<usize>,
    transactions: usize,
}

impl Experiment {
    /// Runs the experiment.
    ///
    /// # Errors
    /// The first rule that broke.
    pub fn run(&self) -> Result<Report, Broken> {
        let (mut run, mut world) = self.prepare();
        world.play(|world| run.play(world))
    }

    /// The world before anything runs, with all starts scheduled.
    pub(super) fn prepare(&self) -> (Run<'_>, World) {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(self.seed);
        let graph = match self.topology {
            Topology::Mesh => None,
            Topology::Random(degree) => Some(Graph::random(self.nodes, degree, &mut rng)),
        };
        let known = match &graph {
            // All know the same two nodes, as with copies of one folder.
            None => vec![vec![address::of(0), address::of(2)]; self.nodes],
            Some(graph) => graph.dials.iter().map(|dials| dials.iter().map(|to| address::of(*to)).collect()).collect(),
        };
        let mut limits = Limits::default();
        if self.nodes > PRESENCE_NODES && !self.presence {
            limits.presence_nodes = 0;
        }
        let population = Population { native: self.nodes, exercise: 0 };
        let mut world = World::new(rng.random(), population, known, limits, false);
        world.measure();
        world.net.is_public = graph.is_some();
        for actor in 0..self.nodes {
            world.at(STARTS.mul_f64(rng.random()), Fault::Start(actor));
        }
        let mut order: Vec<usize> = (0..self.nodes).collect();
        order.shuffle(&mut rng);
        let mut affected = order[..self.trouble.affected(self.nodes)].to_vec();
        affected.sort_unstable();
        order.retain(|node| affected.binary_search(node).is_err());
        order.truncate(self.origins);
        (Run { plan: self, graph, rng, affected, origins: order, transactions: 0 }, world)
    }
}

impl Run<'_> {
    pub(super) fn play(&mut self, world: &mut World) -> Result<Report, Broken> {
        let Experiment { trouble, growth_rounds, rounds, nodes, .. } = *self.plan;
        let mut report = Report::default();
        world.settle(LINKING, INTERVAL, |world| self.check_links(world))?;
        report.linked = world.now();
        report.links = world.net.wires.open_links().count();
        self.send(world, growth_rounds)?;
        begin_phase(world);
        self.send(world, rounds)?;
        report.steady = phase(world);
        world.check_all()?;
        if trouble == Trouble::None {
            report.judged = nodes;
            check_equal(world, &vec![true; nodes])?;
            return Ok(report);
        }
        begin_phase(world);
        self.make_trouble(world)?;
        let judged = self.judged();
        report.judged = judged.iter().filter(|judged| **judged).count();
        let equal = |world: &World| check_digests(world, &judged);
        report.repair = world.settle(trouble.repair_within(), INTERVAL, equal)?;
        report.trouble = phase(world);
        if trouble.is_temporary() {
            report.relinked = Some(world.settle(LINKING, INTERVAL, |world| self.check_links(world))?);
        }
        self.send(world, growth_rounds)?;
        begin_phase(world);
        self.send(world, rounds)?;
        world.settle(trouble.repair_within(), INTERVAL, equal)?;
        report.after = phase(world);
        world.check_all()?;
        check_equal(world, &judged)?;
        Ok(report)
    }

    /// The interval between the transactions of one origin.
    fn interval(&self) -> Duration {
        (BETWEEN * u32::try_from(self.origins.len()).unwrap_or(u32::MAX)).max(BETWEEN_OWN)
    }

    /// Schedules rounds of transactions, one of each origin at a random time. Returns their end.
    fn schedule(&mut self, world: &mut World, rounds: usize) -> Duration {
        let mut start = world.now();
        let interval = self.interval();
        for _ in 0..rounds {
            for actor in &self.origins {
                let body = body(self.plan.seed, self.transactions);
                self.transactions += 1;
                let at = start + interval.mul_f64(self.rng.random());
                world.at(at, NewTransaction { source: Source::Application, actor: *actor, body });
            }
            start += interval;
        }
        start
    }

    /// Runs for some rounds of transactions, and the time in which they arrive.
    fn send(&mut self, world: &mut World, rounds: usize) -> Result<(), Broken> {
        let end = self.schedule(world, rounds);
        world.run_until(end + ARRIVAL)
    }

    /// Runs for the time of the faults, with transactions.
    fn make_trouble(&mut self, world: &mut World) -> Result<(), Broken> {
        let (start, trouble) = (world.now(), self.plan.trouble);
        let rounds = trouble.length().as_secs().div_ceil(self.interval().as_secs().max(1));
        let mut end = self.schedule(world, usize::try_from(rounds).unwrap_or(usize::MAX));
        end = end.max(start + trouble.length());
        for (at, fault) in trouble.faults(self.plan.nodes, &self.affected, start, &mut self.rng) {
            end = end.max(at);
            world.at(at, fault);
        }
        world.run_until(end)
    }

    /// Checks that the nodes are linked as the topology says.
    fn check_links(&self, world: &World) -> Result<(), Broken> {
        let Some(graph) = &self.graph else { return check_mesh(world) };
        let open = world.net.wires.open_links().count();
        if open == graph.links() {
            return Ok(());
        }
        let detail = format!("{open} links are open, expected {}", graph.links());
        Err(world.broken(Invariant::GraphIsLinked, None, detail))
    }

    /// The nodes that must have equal pools: those that live, are honest, and are connected without
    /// the others.
    fn judged(&self) -> Vec<bool> {
        let stays: Vec<bool> = (0..self.plan.nodes).map(|node| self.affected.binary_search(&node).is_err()).collect();
        match &self.graph {
            None => stays,
            Some(graph) => graph.largest_part(&stays),
        }
    }
}

fn begin_phase(world: &mut World) {
    world.net.stats.iter_mut().for_each(|stats| stats.begin_phase());
}

fn phase(world: &World) -> PhaseStats {
    world.net.stats.as_ref().map(|stats| stats.phase().clone()).unwrap_or_default()
}

/// Checks that the pools have equal digests, which is fast.
fn check_digests(world: &World, judged: &[bool]) -> Result<(), Broken> {
    let mut digests = world.nodes().zip(judged).filter(|(_, judged)| **judged).map(|(node, _)| node.digest());
    let first = digests.next();
    let odd = digests.filter(|digest| digest.is_none() || Some(*digest) != first).count();
    if odd == 0 && first.is_some_and(|digest| digest.is_some()) {
        return Ok(());
    }
    Err(world.broken(Invariant::PoolsAgree, None, format!("{odd} pools differ from the first")))
}

/// Checks that the pools are equal, and hold what was acknowledged.
fn check_equal(world: &World, judged: &[bool]) -> Result<(), Broken> {
    check_digests(world, judged)?;
    let broken = |invariant, detail: String| Err(world.broken(invariant, None, detail));
    let mut first = None;
    for (node, _) in world.nodes().zip(judged).filter(|(_, judged)| **judged) {
        let mut pool: Vec<_> = node.pool().collect();
        pool.sort_unstable();
        if pool.windows(2).any(|pair| pair[0] == pair[1]) {
            return broken(Invariant::StoredOnce, "a transaction is in a pool twice".to_owned());
        }
        if let Some(lost) = node.acknowledged.iter().find(|id| pool.binary_search(id).is_err()) {
            return broken(Invariant::AcknowledgedIsKept, format!("{lost} is gone"));
        }
        if *first.get_or_insert_with(|| pool.clone()) != pool {
            return broken(Invariant::PoolsAgree, "two pools differ".to_owned());
        }
    }
    Ok(())
}
