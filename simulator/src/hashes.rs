//! The runs behind `simulator hashes`: every scenario by name, and the trace hash of a run of it.
//!
//! The networks are small, so that hundreds of seeds take minutes. A seed decides the size.
//! A run in which a rule breaks has a hash too: it ends there.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;

use crate::check::Broken;
use crate::faults::{Cast, Scenario};
use crate::inputs;
use crate::measure::{Experiment, Run, Topology, Trouble};
use crate::overlay::{OverlayPlan, Story};
use crate::run::Plan;
use crate::trace_hash::TraceHash;
use crate::world::World;

/// What came of a run.
#[derive(Debug)]
pub struct Traced {
    /// The hash over all inputs and outputs of all cores.
    pub hash: u64,
    /// The hash over the values of the counters at the end.
    /// The values of a node are sorted, and zeros are left out.
    pub counters: u64,
    /// The rule that broke, if one did.
    pub broken: Option<Broken>,
}

/// A scenario: its name and how to run a seed of it.
#[derive(Debug, Clone, Copy)]
pub struct Named {
    /// The name.
    pub name: &'static str,
    /// What is run.
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// A full mesh with faults.
    Mesh(Scenario),
    /// A capped network: its story, its genesis, whether there are nodes of the exercise.
    Capped(Story, Genesis, bool),
    /// A capped network of so many nodes that links are moved to random nodes.
    Mixing,
    /// A measurement, with trouble.
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
pub const ALL: [Named; 26] = [
    named("mesh", Kind::Mesh(Scenario::Mesh)),
    named("churn", Kind::Mesh(Scenario::Churn)),
    named("partition", Kind::Mesh(Scenario::Partition)),
    named("slow", Kind::Mesh(Scenario::Slow)),
    named("mixed", Kind::Mesh(Scenario::Mixed)),
    named("capped-form", Kind::Capped(Story::Form, Genesis::Never, false)),
    named("capped-genesis", Kind::Capped(Story::Form, Genesis::Always, false)),
    named("capped-churn", Kind::Capped(Story::Churn, Genesis::Sometimes, false)),
    named("capped-third", Kind::Capped(Story::Third, Genesis::Sometimes, false)),
    named("capped-cut", Kind::Capped(Story::Cut, Genesis::Sometimes, false)),
    named("capped-apart", Kind::Capped(Story::Apart, Genesis::Sometimes, false)),
    named("capped-plain-form", Kind::Capped(Story::Form, Genesis::Never, true)),
    named("capped-plain-genesis", Kind::Capped(Story::Form, Genesis::Always, true)),
    named("capped-plain-churn", Kind::Capped(Story::Churn, Genesis::Sometimes, true)),
    named("capped-plain-third", Kind::Capped(Story::Third, Genesis::Sometimes, true)),
    named("capped-plain-cut", Kind::Capped(Story::Cut, Genesis::Sometimes, true)),
    named("capped-plain-apart", Kind::Capped(Story::Apart, Genesis::Sometimes, true)),
    named("capped-mixing", Kind::Mixing),
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
                // Two to eight full peers, none to three nodes of the exercise.
                let cast = Cast { nodes: 2 + (seed % 7) as usize, plain: (seed % 4) as usize };
                let length = Duration::from_secs(40);
                let plan = Plan { scenario, seed, cast, length, print: false, sabotage: None };
                trace(&mut plan.world(), |world| world, |world| plan.play(world, &mut None))
            }
            Kind::Capped(story, genesis, plain) => trace_capped(&capped(story, genesis, plain, seed)),
            Kind::Mixing => {
                let (nodes, caps) = (40, [(4, 6), (3, 12), (6, 6)][(seed % 3) as usize]);
                let plan = capped(Story::Form, Genesis::Never, false, seed);
                let watch = Duration::from_secs(30);
                trace_capped(&OverlayPlan { nodes, caps, watch, presence: false, ..plan })
            }
            Kind::Measure(trouble) => {
                let plan = measured(trouble, seed);
                trace(&mut Run::new(&plan), |run| &mut run.world, |run| run.play().map(drop))
            }
            Kind::Inputs => trace(&mut inputs::world(seed), |world| world, |world| inputs::play(world, seed)),
        }
    }
}

fn capped(story: Story, genesis: Genesis, plain: bool, seed: u64) -> OverlayPlan {
    let genesis = match genesis {
        Genesis::Never => false,
        Genesis::Always => true,
        Genesis::Sometimes => seed.is_multiple_of(3),
    };
    OverlayPlan {
        story,
        seed,
        nodes: [5, 9, 14, 20][(seed % 4) as usize],
        caps: [(3, 3), (3, 12), (4, 6), (2, 2)][(seed / 4 % 4) as usize],
        genesis,
        spread: Duration::from_secs([0, 20][(seed % 2) as usize]),
        plain: if plain { 1 + (seed % 5) as usize } else { 0 },
        watch: Duration::from_secs(60),
        ..OverlayPlan::default()
    }
}

fn trace_capped(plan: &OverlayPlan) -> Traced {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(plan.seed);
    let mut world = plan.world(&mut rng);
    trace(&mut world, |world| world, |world| plan.play(world, &mut rng).map(drop))
}

fn measured(trouble: Trouble, seed: u64) -> Experiment {
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
fn trace<R>(
    run: &mut R,
    world: impl Fn(&mut R) -> &mut World,
    play: impl FnOnce(&mut R) -> Result<(), Broken>,
) -> Traced {
    let net = &mut world(run).net;
    net.trace.silent = true;
    net.trace_hash = Some(TraceHash::default());
    let result = catch_unwind(AssertUnwindSafe(|| play(run)));
    let world = world(run);
    let now = world.net.clock.now();
    let mut hash = world.net.trace_hash.take().unwrap_or_default();
    let mut counters = TraceHash::default();
    for (actor, node) in world.nodes().enumerate().filter(|(_, node)| node.is_up()) {
        let ((attempting, connected), (unstored, writable)) = (node.addresses(), node.disk_as_told());
        let numbers = [node.places(), node.dialled(), unstored, usize::from(writable), node.pool().len()];
        hash.state(now, actor, [&attempting, &connected], &numbers.map(|number| number as u64));
        hash.state(now, actor, [&node.linked(), &[]], &[]);
        let mut values: Vec<u64> =
            node.counters().entries().map(|(_, value)| value).filter(|value| *value > 0).collect();
        values.sort_unstable();
        counters.state(now, actor, [&[""; 0], &[]], &values);
    }
    let (code, broken) = match result {
        Ok(Ok(())) => (0, None),
        Ok(Err(broken)) => (1, Some(broken)),
        Err(_) => (2, None),
    };
    hash.ended(now, code);
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
