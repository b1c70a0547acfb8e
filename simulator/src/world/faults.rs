//! Faults of a full mesh: a schedule drawn from the seed.
//!
//! Every fault ends. Faults that are still active at the end of the schedule are ended by the
//! runner.

use std::time::Duration;

use clap::ValueEnum;
use rand::RngExt;

use super::population::Population;
use super::wan;
use crate::net::event::Fault;
use crate::net::network::READ_RATE;

/// A set of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// None: all nodes start, at once or one after another.
    Mesh,
    /// Links are cut, nodes are killed and restarted.
    Churn,
    /// The network is partitioned, for short and for long.
    Partition,
    /// Some actors read slowly, some disks fail.
    Slow,
    /// All of these, with changing delays.
    Mixed,
    /// Some nodes are behind NATs and linked by their ids: relays stop, direct paths end, nodes are
    /// killed, partitions come and go.
    Wan,
}

/// Draws the faults of a scenario, from two seconds after the start to `end`.
pub fn schedule(
    scenario: Scenario,
    population: Population,
    end: Duration,
    rng: &mut impl RngExt,
) -> Vec<(Duration, Fault)> {
    let mut faults = Vec::new();
    let mut at = Duration::from_secs(2);
    while at < end && scenario != Scenario::Mesh {
        match scenario {
            Scenario::Mesh => {}
            Scenario::Churn => churn(at, population, rng, &mut faults),
            Scenario::Partition => split(at, population, rng, &mut faults),
            Scenario::Slow => slow(at, population, rng, &mut faults),
            Scenario::Mixed => match rng.random_range(0..8) {
                0..4 => churn(at, population, rng, &mut faults),
                4 => split(at, population, rng, &mut faults),
                5..7 => slow(at, population, rng, &mut faults),
                _ => faults.push((at, Fault::Delays(rng.random_range(0..100), rng.random_range(0..200)))),
            },
            Scenario::Wan => match rng.random_range(0..9) {
                0..3 => relay_stops(at, population, rng, &mut faults),
                3..5 => faults.push((at, Fault::PathEnds(rng.random()))),
                5..8 => churn(at, population, rng, &mut faults),
                _ => split(at, population, rng, &mut faults),
            },
        }
        let mean = if scenario == Scenario::Partition { 30_000 } else { 4_000 };
        at += Duration::from_millis(rng.random_range(mean / 4..mean * 2));
    }
    faults.retain(|(at, _)| *at < end);
    faults
}

fn churn(at: Duration, population: Population, rng: &mut impl RngExt, faults: &mut Vec<(Duration, Fault)>) {
    if rng.random_bool(0.5) {
        // Several at once: both links of a pair may break together, or a link during a dial.
        for _ in 0..rng.random_range(1..4) {
            faults.push((at + Duration::from_millis(rng.random_range(0..20)), Fault::Cut(rng.random())));
        }
        return;
    }
    let actor = rng.random_range(0..population.all());
    faults.push((at, Fault::Stop { actor, power_lost: rng.random_bool(0.3) }));
    // Often too short for other nodes to notice.
    let away = if rng.random() { rng.random_range(10..500) } else { rng.random_range(500..60_000) };
    faults.push((at + Duration::from_millis(away), Fault::Start(actor)));
}

fn relay_stops(at: Duration, population: Population, rng: &mut impl RngExt, faults: &mut Vec<(Duration, Fault)>) {
    let relay = rng.random_range(0..wan::relays(population));
    faults.push((at, Fault::RelayStops(relay)));
    // Links over it survive a short stop; after a long one their nodes have another home relay.
    let away = if rng.random() { rng.random_range(100..10_000) } else { rng.random_range(10_000..60_000) };
    faults.push((at + Duration::from_millis(away), Fault::RelayServes(relay)));
}

fn split(at: Duration, population: Population, rng: &mut impl RngExt, faults: &mut Vec<(Duration, Fault)>) {
    let groups = (0..population.all()).map(|_| rng.random_range(0..2)).collect();
    faults.push((at, Fault::Split(groups)));
    // A link survives a short partition; a long one ends it, on one side earlier than on the other.
    let length = if rng.random() { rng.random_range(100..10_000) } else { rng.random_range(10_000..90_000) };
    faults.push((at + Duration::from_millis(length), Fault::Heal));
}

fn slow(at: Duration, population: Population, rng: &mut impl RngExt, faults: &mut Vec<(Duration, Fault)>) {
    let end = at + Duration::from_millis(rng.random_range(500..20_000));
    if rng.random_bool(0.4) {
        let actor = rng.random_range(0..population.native);
        faults.push((at, Fault::DiskFails(actor)));
        faults.push((end, Fault::DiskWorks(actor)));
    } else {
        let actor = rng.random_range(0..population.all());
        faults.push((at, Fault::ReadRate(actor, rng.random_range(200..20_000))));
        faults.push((end, Fault::ReadRate(actor, READ_RATE)));
    }
}
