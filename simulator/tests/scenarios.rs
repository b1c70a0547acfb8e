//! Many seeds of every scenario, two runs of one seed, and worlds that are broken on purpose.
//!
//! A failure prints the rule and the command that repeats the run with every step.

use std::time::Duration;

use clap::ValueEnum;
use simulator::actors::node::Sabotage;
use simulator::checks::rules::Invariant;
use simulator::experiments::mesh::{Outcome, Plan};
use simulator::world::faults::Scenario;
use simulator::world::population::Population;

fn plan(scenario: Scenario, seed: u64) -> Plan {
    // Every combination of 2 to 8 native nodes with 0 to 3 exercise peers.
    let population = Population { native: 2 + (seed % 7) as usize, exercise: (seed % 4) as usize };
    Plan { scenario, seed, population, length: Duration::from_secs(40), print: false, sabotage: None }
}

fn passes(plan: &Plan) -> Outcome {
    let outcome = plan.run();
    if let Err(broken) = &outcome.result {
        panic!("{broken}\nrepeat it: {}", plan.command());
    }
    outcome
}

fn all_pass(scenario: Scenario) {
    for seed in 1..=56 {
        passes(&plan(scenario, seed));
    }
}

#[test]
fn nodes_that_start_find_each_other() {
    all_pass(Scenario::Mesh);
}

#[test]
fn broken_links_and_restarts_are_overcome() {
    all_pass(Scenario::Churn);
}

#[test]
fn a_partition_heals() {
    all_pass(Scenario::Partition);
}

#[test]
fn slow_readers_and_failing_disks_lose_nothing() {
    all_pass(Scenario::Slow);
}

#[test]
fn all_faults_together_are_overcome() {
    all_pass(Scenario::Mixed);
}

#[test]
fn nodes_behind_nats_are_linked_over_relays() {
    all_pass(Scenario::Wan);
}

#[test]
fn twenty_nodes_that_start_at_once_become_a_mesh_at_once() {
    for seed in 1..=3 {
        let population = Population { native: 20, exercise: 0 };
        let length = Duration::from_secs(5);
        let outcome = passes(&Plan { population, length, ..plan(Scenario::Mesh, seed) });
        let meshed = outcome.meshed.expect("a run that passed has a time");
        assert!(meshed < Duration::from_secs(10), "seed {seed}: {meshed:?}");
    }
}

#[test]
fn a_seed_repeats_its_run() {
    for scenario in Scenario::value_variants().iter().copied() {
        let (first, second) = (plan(scenario, 11).run(), plan(scenario, 11).run());
        assert_eq!(first.hash, second.hash, "{scenario:?}");
        assert_eq!((first.dials, first.received), (second.dials, second.received), "{scenario:?}");
        assert_ne!(first.hash, plan(scenario, 12).run().hash, "{scenario:?}: the trace does not depend on the seed");
    }
}

fn breaks(sabotage: Sabotage) -> Option<Invariant> {
    let plan = Plan { sabotage: Some(sabotage), ..plan(Scenario::Mesh, 3) };
    plan.run().result.err().map(|broken| broken.invariant)
}

#[test]
fn lost_deliveries_are_seen() {
    assert_eq!(breaks(Sabotage::LoseTransactions), Some(Invariant::PoolsAgree));
}

#[test]
fn a_double_store_is_seen() {
    assert_eq!(breaks(Sabotage::StoreTwice), Some(Invariant::StoredOnce));
}

#[test]
fn a_link_without_end_is_seen() {
    assert_eq!(breaks(Sabotage::ForgetClosed), Some(Invariant::NoOutputForClosedLink));
}

#[test]
fn an_early_answer_is_seen() {
    assert_eq!(breaks(Sabotage::PretendStored), Some(Invariant::AcknowledgedAfterDisk));
}
