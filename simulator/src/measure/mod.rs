//! Measurements: how many copies, hops, milliseconds and control frames a transaction costs, and how long a network takes to be whole again.
//!
//! An experiment has phases. The nodes start and link; the trees grow, while every origin sends a few transactions; the **steady** phase is
//! measured; then there is **trouble**, with transactions all the while; after its end everybody's pool must become equal within a stated time; and
//! the trees, once they had a few transactions to mend, are measured again. Equal experiments give equal figures.

pub mod rows;
mod trouble;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use meshpool_proto::limits::Limits;
use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use crate::check::{Broken, Invariant};
use crate::faults::{Cast, Fault};
use crate::ledger::Figures;
use crate::load::{Entry, Way, body};
use crate::network::Network;
use crate::overlay::rows::PRESENT;
use crate::topology::Graph;
use crate::world::{Event, World};
pub use trouble::Trouble;

/// How long the nodes have to find each other.
const LINKING: Duration = Duration::from_secs(90);
/// The nodes start within this time.
const STARTS: Duration = Duration::from_secs(2);
/// After the last transaction of a phase this long passes before the next begins: what is pushed has arrived.
const ARRIVAL: Duration = Duration::from_secs(4);
/// How often the pools are looked at after trouble.
const LOOK: Duration = Duration::from_millis(100);
/// All origins together send a transaction this often at most …
const BETWEEN: Duration = Duration::from_millis(50);
/// … and each of them this often at most.
const BETWEEN_OWN: Duration = Duration::from_secs(1);

/// Who may be linked to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topology {
    /// Everybody to everybody, found by HANDSHAKEs.
    Mesh,
    /// A random graph of this degree, which stays as it is.
    Random(usize),
}

/// What to measure.
#[derive(Debug, Clone)]
pub struct Experiment {
    /// The graph.
    pub topology: Topology,
    /// How many full peers.
    pub nodes: usize,
    /// How many of them send transactions.
    pub origins: usize,
    /// What goes wrong.
    pub trouble: Trouble,
    /// How many transactions each origin sends before, and again after trouble, that are not counted …
    pub grow: usize,
    /// … and how many that are.
    pub rounds: usize,
    /// Whether nodes announce themselves also in a network of more than [`PRESENT`]. What that costs a node does not grow with the network, but what the simulator
    /// needs for it grows with the square.
    pub presence: bool,
    /// What every choice is drawn from.
    pub seed: u64,
}

impl Default for Experiment {
    fn default() -> Self {
        Self {
            topology: Topology::Mesh,
            nodes: 10,
            origins: 1,
            trouble: Trouble::None,
            grow: 4,
            rounds: 5,
            presence: false,
            seed: 1,
        }
    }
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Report {
    /// How long the nodes took to link.
    pub linked: Duration,
    /// The links, once they had.
    pub links: usize,
    /// The steady phase.
    pub steady: Figures,
    /// The time of trouble.
    pub trouble: Figures,
    /// From the end of the trouble, or from the last transaction in it, until all pools were equal.
    pub repair: Duration,
    /// From then on, until every link was open again, where all of them can be.
    pub relinked: Option<Duration>,
    /// The steady phase after it.
    pub after: Figures,
    /// Nodes that were judged at the end: those that live, are honest, and hang together without the others.
    pub judged: usize,
}

/// A run of an experiment.
pub(crate) struct Run<'a> {
    plan: &'a Experiment,
    pub(crate) world: World,
    graph: Option<Graph>,
    rng: Xoshiro256PlusPlus,
    /// Who will turn or fall, as a mark for each node; none of them sends transactions.
    chosen: Vec<bool>,
    origins: Vec<usize>,
    /// How many transactions entered.
    numbers: usize,
}

impl Experiment {
    /// Runs it.
    ///
    /// # Errors
    /// The first rule that broke; a panic of the core is one.
    pub fn run(&self) -> Result<Report, Broken> {
        let mut run = Run::new(self);
        catch_unwind(AssertUnwindSafe(|| run.play())).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
            let detail = text.unwrap_or("a panic without words").to_owned();
            Err(Broken { at: run.world.net.clock.now(), node: None, invariant: Invariant::NoPanic, detail })
        })
    }
}

impl<'a> Run<'a> {
    pub(crate) fn new(plan: &'a Experiment) -> Self {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(plan.seed);
        let graph = match plan.topology {
            Topology::Mesh => None,
            Topology::Random(degree) => Some(Graph::random(plan.nodes, degree, &mut rng)),
        };
        let known = match &graph {
            // Two that are named everywhere, as in the files that nodes are cloned with.
            None => (0..plan.nodes).map(|_| vec![Network::address(0), Network::address(2)]).collect(),
            Some(graph) => {
                graph.dials.iter().map(|dials| dials.iter().map(|to| Network::address(*to)).collect()).collect()
            }
        };
        let cast = Cast { nodes: plan.nodes, plain: 0 };
        let mut limits = Limits::default();
        if plan.nodes > PRESENT && !plan.presence {
            limits.presence_nodes = 0;
        }
        let mut world = World::new(rng.random(), cast, known, limits, false);
        world.measure();
        if graph.is_some() {
            world.net.public = true;
        }
        for actor in 0..plan.nodes {
            let at = STARTS.mul_f64(rng.random());
            world.net.clock.at(at, Event::Fault(Box::new(Fault::Start(actor))));
        }
        let mut order: Vec<usize> = (0..plan.nodes).collect();
        order.shuffle(&mut rng);
        let mut chosen = vec![false; plan.nodes];
        for node in &order[..plan.trouble.chosen(plan.nodes)] {
            chosen[*node] = true;
        }
        order.retain(|node| !chosen[*node]);
        order.truncate(plan.origins);
        Self { plan, world, graph, rng, chosen, origins: order, numbers: 0 }
    }

    pub(crate) fn play(&mut self) -> Result<Report, Broken> {
        let mut report = Report::default();
        self.settle(LINKING, Self::check_links)?;
        report.linked = self.now();
        report.links = self.world.net.wires.iter().filter(|wire| wire.is_link()).count();
        self.load(self.plan.grow)?;
        self.begin_phase();
        self.load(self.plan.rounds)?;
        report.steady = self.figures();
        self.world.check_all()?;
        if self.plan.trouble == Trouble::None {
            report.judged = self.plan.nodes;
            self.check_equal(&vec![true; self.plan.nodes])?;
            return Ok(report);
        }
        self.begin_phase();
        self.make_trouble()?;
        let judged = self.judged();
        report.judged = judged.iter().filter(|judged| **judged).count();
        report.repair = self.settle(self.plan.trouble.repair_within(), |run| run.check_equal_quickly(&judged))?;
        report.trouble = self.figures();
        if self.plan.trouble.passes() {
            report.relinked = Some(self.settle(LINKING, Self::check_links)?);
        }
        self.load(self.plan.grow)?;
        self.begin_phase();
        self.load(self.plan.rounds)?;
        self.settle(self.plan.trouble.repair_within(), |run| run.check_equal_quickly(&judged))?;
        report.after = self.figures();
        self.world.check_all()?;
        self.check_equal(&judged)?;
        Ok(report)
    }

    fn now(&self) -> Duration {
        self.world.net.clock.now()
    }

    fn begin_phase(&mut self) {
        if let Some(ledger) = &mut self.world.net.ledger {
            ledger.begin_phase();
        }
    }

    fn figures(&self) -> Figures {
        self.world.net.ledger.as_ref().map(|ledger| ledger.phase().clone()).unwrap_or_default()
    }

    /// How far the transactions of one origin are apart.
    fn interval(&self) -> Duration {
        (BETWEEN * u32::try_from(self.origins.len()).unwrap_or(u32::MAX)).max(BETWEEN_OWN)
    }

    /// Schedules transactions: so many rounds, in each of which every origin sends one at some time. Returns when the last round ends.
    fn schedule(&mut self, rounds: usize) -> Duration {
        let mut start = self.now();
        let interval = self.interval();
        for _ in 0..rounds {
            for place in 0..self.origins.len() {
                let entry =
                    Entry { way: Way::Submit, actor: self.origins[place], body: body(self.plan.seed, self.numbers) };
                self.numbers += 1;
                let at = start + interval.mul_f64(self.rng.random());
                self.world.net.clock.at(at, Event::Enter(Box::new(entry)));
            }
            start += interval;
        }
        start
    }

    /// So many rounds of transactions, and the time in which they arrive.
    fn load(&mut self, rounds: usize) -> Result<(), Broken> {
        let end = self.schedule(rounds);
        self.world.run_until(end + ARRIVAL)
    }

    /// Runs until a check passes; returns how long that took.
    fn settle(&mut self, within: Duration, check: impl Fn(&Self) -> Result<(), Broken>) -> Result<Duration, Broken> {
        let start = self.now();
        loop {
            let now = self.now();
            match check(self) {
                Ok(()) => return Ok(now - start),
                Err(broken) if now - start >= within => return Err(broken),
                Err(_) => self.world.run_until(now + LOOK)?,
            }
        }
    }

    /// Everybody is linked as the topology says.
    fn check_links(&self) -> Result<(), Broken> {
        let Some(graph) = &self.graph else { return self.world.check_mesh() };
        let open = self.world.net.wires.iter().filter(|wire| wire.is_link()).count();
        if open == graph.links() {
            return Ok(());
        }
        let detail = format!("{open} links are open, {} are wanted", graph.links());
        Err(self.broken(Invariant::LinksAsWanted, detail))
    }

    /// Who must have everything in the end.
    fn judged(&self) -> Vec<bool> {
        let stays: Vec<bool> = self.chosen.iter().map(|chosen| !chosen).collect();
        match &self.graph {
            None => stays,
            Some(graph) => graph.largest_part(&stays),
        }
    }

    /// Whether all pools look equal: by their sums, which is quick.
    fn check_equal_quickly(&self, judged: &[bool]) -> Result<(), Broken> {
        let mut digests = self.world.nodes().zip(judged).filter(|(_, judged)| **judged).map(|(node, _)| node.digest());
        let first = digests.next();
        let odd = digests.filter(|digest| digest.is_none() || Some(*digest) != first).count();
        if odd == 0 && first.is_some_and(|digest| digest.is_some()) {
            return Ok(());
        }
        Err(self.broken(Invariant::PoolsAgree, format!("{odd} pools differ from the first")))
    }

    /// Whether all pools are equal, and hold what was acknowledged.
    fn check_equal(&self, judged: &[bool]) -> Result<(), Broken> {
        self.check_equal_quickly(judged)?;
        let mut first = None;
        for (node, _) in self.world.nodes().zip(judged).filter(|(_, judged)| **judged) {
            let mut pool: Vec<_> = node.pool().collect();
            pool.sort_unstable();
            if pool.windows(2).any(|pair| pair[0] == pair[1]) {
                return Err(self.broken(Invariant::StoredOnce, "a transaction is in a pool twice".to_owned()));
            }
            if let Some(lost) = node.acknowledged.iter().find(|id| pool.binary_search(id).is_err()) {
                return Err(self.broken(Invariant::AcknowledgedIsKept, format!("{lost} is gone")));
            }
            if *first.get_or_insert_with(|| pool.clone()) != pool {
                return Err(self.broken(Invariant::PoolsAgree, "two pools differ".to_owned()));
            }
        }
        Ok(())
    }

    fn broken(&self, invariant: Invariant, detail: String) -> Broken {
        Broken { at: self.now(), node: None, invariant, detail }
    }
}
