//! What goes wrong, and when: a schedule drawn from the seed.
//!
//! Every fault ends: a stopped node starts again, a partition heals, a disk takes writes, a reader becomes fast. What is still wrong at the end of
//! the time of faults is mended there by the runner.

use std::time::Duration;

use clap::ValueEnum;
use rand::RngExt;

use crate::node::Conduct;

/// Something that is done to the network, or to a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// One of the open links breaks; which, is this number modulo how many there are.
    Cut(u64),
    /// A process ends without a word; with its power its machine stops answering too.
    Stop {
        /// Which.
        actor: usize,
        /// Whether the machine goes with it.
        power_lost: bool,
    },
    /// A process starts.
    Start(usize),
    /// Actors of different numbers can not reach each other.
    Split(Vec<u8>),
    /// Everybody reaches everybody.
    Heal,
    /// So many of a thousand open links break, drawn by chance.
    CutPart(u16),
    /// A full peer treats the others in another way from now on.
    Turn(usize, Conduct),
    /// A node's disk refuses writes.
    DiskFails(usize),
    /// It takes them again.
    DiskWorks(usize),
    /// An actor reads this many bytes per second on each link.
    Reads(usize, u64),
    /// Delay and jitter change, in milliseconds.
    Weather(u64, u64),
}

/// How fast a reader is that has no trouble, in bytes per second.
pub const FAST: u64 = 50_000_000;

/// Which faults a run has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// None: all nodes start, at once or one after another.
    Mesh,
    /// Links are cut, nodes are stopped and started.
    Churn,
    /// The nodes are split in two, for short and for long.
    Partition,
    /// Some read slowly, some disks fail.
    Slow,
    /// All of it, with changing delays.
    Mixed,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Mesh, Self::Churn, Self::Partition, Self::Slow, Self::Mixed];
}

/// Who is there to have faults.
#[derive(Debug, Clone, Copy)]
pub struct Cast {
    /// How many full peers; they are the first actors.
    pub nodes: usize,
    /// How many plain peers; they follow.
    pub plain: usize,
}

/// Draws the faults of a run of a scenario, from two seconds after the start to `end`.
pub fn schedule(scenario: Scenario, cast: Cast, end: Duration, rng: &mut impl RngExt) -> Vec<(Duration, Fault)> {
    let mut faults = Vec::new();
    let mut at = Duration::from_secs(2);
    while at < end && scenario != Scenario::Mesh {
        match scenario {
            Scenario::Mesh => {}
            Scenario::Churn => churn(at, cast, rng, &mut faults),
            Scenario::Partition => split(at, cast, rng, &mut faults),
            Scenario::Slow => slow(at, cast, rng, &mut faults),
            Scenario::Mixed => match rng.random_range(0..8) {
                0..4 => churn(at, cast, rng, &mut faults),
                4 => split(at, cast, rng, &mut faults),
                5..7 => slow(at, cast, rng, &mut faults),
                _ => faults.push((at, Fault::Weather(rng.random_range(0..100), rng.random_range(0..200)))),
            },
        }
        let mean = if scenario == Scenario::Partition { 30_000 } else { 4_000 };
        at += Duration::from_millis(rng.random_range(mean / 4..mean * 2));
    }
    faults.retain(|(at, _)| *at < end);
    faults
}

fn churn(at: Duration, cast: Cast, rng: &mut impl RngExt, faults: &mut Vec<(Duration, Fault)>) {
    if rng.random_bool(0.5) {
        // Several at once: two links of one pair may break together, or a dial meet a cut.
        for _ in 0..rng.random_range(1..4) {
            faults.push((at + Duration::from_millis(rng.random_range(0..20)), Fault::Cut(rng.random())));
        }
        return;
    }
    let actor = rng.random_range(0..cast.nodes + cast.plain);
    faults.push((at, Fault::Stop { actor, power_lost: rng.random_bool(0.3) }));
    // Often too short for anybody else to notice that it was away.
    let away = if rng.random() { rng.random_range(10..500) } else { rng.random_range(500..60_000) };
    faults.push((at + Duration::from_millis(away), Fault::Start(actor)));
}

fn split(at: Duration, cast: Cast, rng: &mut impl RngExt, faults: &mut Vec<(Duration, Fault)>) {
    let groups = (0..cast.nodes + cast.plain).map(|_| rng.random_range(0..2)).collect();
    faults.push((at, Fault::Split(groups)));
    // A link lives through a short one; a long one ends it, on one side earlier than on the other.
    let length = if rng.random() { rng.random_range(100..10_000) } else { rng.random_range(10_000..90_000) };
    faults.push((at + Duration::from_millis(length), Fault::Heal));
}

fn slow(at: Duration, cast: Cast, rng: &mut impl RngExt, faults: &mut Vec<(Duration, Fault)>) {
    let end = at + Duration::from_millis(rng.random_range(500..20_000));
    if rng.random_bool(0.4) {
        let actor = rng.random_range(0..cast.nodes);
        faults.push((at, Fault::DiskFails(actor)));
        faults.push((end, Fault::DiskWorks(actor)));
    } else {
        let actor = rng.random_range(0..cast.nodes + cast.plain);
        faults.push((at, Fault::Reads(actor, rng.random_range(200..20_000))));
        faults.push((end, Fault::Reads(actor, FAST)));
    }
}
