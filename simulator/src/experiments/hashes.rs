//! The runs behind `simulator hashes`: every scenario by name, and the trace hash of a run of it.
//!
//! The networks are small, so that hundreds of seeds take minutes. A seed decides the size.
//! A run in which a rule breaks has a hash too: it ends there.

use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;

use super::measure::{Experiment, Topology, Trouble};
use super::{capped, inputs, mesh};
use crate::checks::rules::{Broken, Invariant};
use crate::net::trace_hash::TraceHash;
use crate::world::World;
use crate::world::faults::Scenario;
use crate::world::population::Population;

/// The result of a run.
#[derive(Debug)]
pub struct Traced {
    /// The hash over all inputs and outputs of all cores.
    pub hash: u64,
    /// The hash over the values of the counters at the end.
    /// The values of a node are sorted, and zeros are left out.
    pub counters: u64,
    /// The first broken rule, if any.
    pub broken: Option<Broken>,
}

/// A scenario that is hashed.
#[derive(Debug, Clone, Copy)]
pub struct Named {
    /// Its name on the command line.
    pub name: &'static str,
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// A full mesh with faults.
    Mesh(Scenario),
    /// A capped network: its faults, its genesis node, whether there are exercise peers.
    Capped(capped::Scenario, Genesis, bool),
    /// A capped network that is large enough for random rewiring.
    Rewiring,
    /// A measurement with faults.
    Measure(Trouble),
    /// Inputs that no other scenario has.
    Inputs,
}

#[derive(Debug, Clone, Copy)]
enum Genesis {
    Never,
    Always,
    /// One seed in three.
    Sometimes,
}

/// All scenarios.
pub const ALL: [Named; 27] = [
    named("mesh", Kind::Mesh(Scenario::Mesh)),
    named("churn", Kind::Mesh(Scenario::Churn)),
    named("partition", Kind::Mesh(Scenario::Partition)),
    named("slow", Kind::Mesh(Scenario::Slow)),
    named("mixed", Kind::Mesh(Scenario::Mixed)),
    named("wan", Kind::Mesh(Scenario::Wan)),
    named("capped-form", Kind::Capped(capped::Scenario::Form, Genesis::Never, false)),
    named("capped-genesis", Kind::Capped(capped::Scenario::Form, Genesis::Always, false)),
    named("capped-churn", Kind::Capped(capped::Scenario::Churn, Genesis::Sometimes, false)),
    named("capped-third", Kind::Capped(capped::Scenario::Third, Genesis::Sometimes, false)),
    named("capped-cut", Kind::Capped(capped::Scenario::Cut, Genesis::Sometimes, false)),
    named("capped-apart", Kind::Capped(capped::Scenario::Apart, Genesis::Sometimes, false)),
    named("capped-plain-form", Kind::Capped(capped::Scenario::Form, Genesis::Never, true)),
    named("capped-plain-genesis", Kind::Capped(capped::Scenario::Form, Genesis::Always, true)),
    named("capped-plain-churn", Kind::Capped(capped::Scenario::Churn, Genesis::Sometimes, true)),
    named("capped-plain-third", Kind::Capped(capped::Scenario::Third, Genesis::Sometimes, true)),
    named("capped-plain-cut", Kind::Capped(capped::Scenario::Cut, Genesis::Sometimes, true)),
    named("capped-plain-apart", Kind::Capped(capped::Scenario::Apart, Genesis::Sometimes, true)),
    named("capped-mixing", Kind::Rewiring),
    named("measure-none", Kind::Measure(Trouble::None)),
    named("measure-loss", Kind::Measure(Trouble::Loss)),
    named("measure-churn", Kind::Measure(Trouble::Churn)),
    named("measure-partition", Kind::Measure(Trouble::Partition)),
    named("measure-crash", Kind::Measure(Trouble::Crash)),
    named("measure-withhold", Kind::Measure(Trouble::Withhold)),
    named("measure-lie", Kind::Measure(Trouble::Lie)),
    named("inputs", Kind::Inputs),
];

const fn named(name: &'static str, kind: Kind) -> Named {
    Named { name, kind }
}

impl Named {
    /// Runs a seed.
    pub fn run(&self, seed: u64) -> Traced {
        match self.kind {
            Kind::Mesh(scenario) => {
                let population = Population { native: 2 + (seed % 7) as usize, exercise: (seed % 4) as usize };
                let length = Duration::from_secs(40);
                let plan = mesh::Plan { scenario, seed, population, length, print: false, sabotage: None };
                trace(plan.world(), |world| plan.play(world, &mut None))
            }
            Kind::Capped(scenario, genesis, exercise) => trace_capped(&capped_plan(scenario, genesis, exercise, seed)),
            Kind::Rewiring => {
                let (nodes, caps) = (40, [(4, 6), (3, 12), (6, 6)][(seed % 3) as usize]);
                let plan = capped_plan(capped::Scenario::Form, Genesis::Never, false, seed);
                let observed = Duration::from_secs(30);
                trace_capped(&capped::Plan { nodes, caps, observed, presence: false, ..plan })
            }
            Kind::Measure(trouble) => {
                let experiment = experiment(trouble, seed);
                let (mut run, world) = experiment.prepare();
                trace(world, |world| run.play(world).map(drop))
            }
            Kind::Inputs => trace(inputs::world(seed), |world| inputs::play(world, seed)),
        }
    }
}

fn capped_plan(scenario: capped::Scenario, genesis: Genesis, exercise: bool, seed: u64) -> capped::Plan {
    let genesis = match genesis {
        Genesis::Never => false,
        Genesis::Always => true,
        Genesis::Sometimes => seed.is_multiple_of(3),
    };
    capped::Plan {
        scenario,
        seed,
        nodes: [5, 9, 14, 20][(seed % 4) as usize],
        caps: [(3, 3), (3, 12), (4, 6), (2, 2)][(seed / 4 % 4) as usize],
        genesis,
        spread: Duration::from_secs([0, 20][(seed % 2) as usize]),
        exercise: if exercise { 1 + (seed % 5) as usize } else { 0 },
        observed: Duration::from_secs(60),
        ..capped::Plan::default()
    }
}

fn trace_capped(plan: &capped::Plan) -> Traced {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(plan.seed);
    let world = plan.world(&mut rng);
    trace(world, |world| plan.play(world, &mut rng).map(drop))
}

fn experiment(trouble: Trouble, seed: u64) -> Experiment {
    Experiment {
        topology: if seed.is_multiple_of(3) { Topology::Mesh } else { Topology::Random(3 + (seed % 4) as usize) },
        nodes: 10 + (seed % 3) as usize * 5,
        origins: 1 + (seed % 5) as usize,
        trouble,
        seed,
        ..Experiment::default()
    }
}

/// Runs with a trace hash.
fn trace(mut world: World, play: impl FnOnce(&mut World) -> Result<(), Broken>) -> Traced {
    world.net.trace_hash = Some(TraceHash::default());
    let broken = world.play(play).err();
    let now = world.now();
    let mut hash = world.net.trace_hash.take().unwrap_or_default();
    let mut counters = TraceHash::default();
    for (actor, node) in world.nodes().enumerate() {
        let Some(core) = node.core() else { continue };
        let (attempting, connected) = core.addresses();
        let (unstored, writable) = (core.unstored_bytes(), usize::from(core.is_writable()));
        let numbers = [core.linked_peers(), core.dialled_nodes(), unstored, writable, node.pool().len()];
        hash.state(now, actor, [&attempting, &connected], &numbers.map(|number| number as u64));
        hash.state(now, actor, [&core.linked_nodes(), &[]], &[]);
        let mut values: Vec<u64> =
            core.counters().entries().map(|(_, value)| value).filter(|value| *value > 0).collect();
        values.sort_unstable();
        counters.state(now, actor, [&[""; 0], &[]], &values);
    }
    hash.ended(
        now,
        match &broken {
            None => 0,
            Some(broken) if broken.invariant == Invariant::NoPanic => 2,
            Some(_) => 1,
        },
    );
    Traced { hash: hash.value(), counters: counters.value(), broken }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_hash_and_another_has_another() {
        for named in ALL.iter().filter(|named| ["slow", "measure-lie", "inputs"].contains(&named.name)) {
            let (first, second, other) = (named.run(5), named.run(5), named.run(6));
            assert_eq!((first.hash, first.counters), (second.hash, second.counters), "{}", named.name);
            assert_ne!(first.hash, other.hash, "{}", named.name);
        }
    }
}
