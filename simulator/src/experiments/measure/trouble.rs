//! The faults of an experiment, how long they last, and the time for the network to repair itself.

use std::time::Duration;

use clap::ValueEnum;
use rand::RngExt;

use crate::actors::lie::Lie;
use crate::net::event::Fault;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Trouble {
    /// Nothing.
    None,
    /// Every 5 s for half a minute one link in twenty breaks.
    Loss,
    /// For a minute one node in a hundred is killed each second, and restarts a moment later.
    Churn,
    /// For a minute the network is partitioned into two halves.
    Partition,
    /// Three nodes in ten are killed for good, one in three of them with its machine.
    Crash,
    /// One node in ten forwards no transaction any more.
    Withhold,
    /// One node in ten names false origins, answers no comparison, and prunes and grafts all the
    /// time. It invents no transactions: with these, pools would never be equal.
    Lie,
}

impl Trouble {
    /// How many of the nodes will be killed or misbehave.
    pub(super) fn affected(self, nodes: usize) -> usize {
        match self {
            Self::Crash => nodes * 3 / 10,
            Self::Withhold | Self::Lie => nodes / 10,
            _ => 0,
        }
    }

    /// Whether all links come back after it.
    pub(super) fn is_temporary(self) -> bool {
        matches!(self, Self::Loss | Self::Churn | Self::Partition)
    }

    /// The time until all pools must be equal again. A dead link is detected within 45 s, and an
    /// address is redialled within 60 s.
    pub(super) fn repair_within(self) -> Duration {
        Duration::from_secs(match self {
            Self::None => 10,
            Self::Loss | Self::Withhold => 30,
            Self::Churn | Self::Lie => 60,
            Self::Partition | Self::Crash => 120,
        })
    }

    /// How long it lasts, or is observed if it does not end.
    pub(super) fn length(self) -> Duration {
        Duration::from_secs(if matches!(self, Self::Churn | Self::Partition) { 60 } else { 30 })
    }

    /// Draws the faults of a network of so many nodes, of which these are affected.
    pub(super) fn faults(
        self,
        nodes: usize,
        affected: &[usize],
        start: Duration,
        rng: &mut impl RngExt,
    ) -> Vec<(Duration, Fault)> {
        let end = start + self.length();
        let each = |fault: fn(usize) -> Fault| affected.iter().map(|node| (start, fault(*node))).collect();
        let all_tell =
            |lies: &[Lie]| affected.iter().map(|node| (start, Fault::Misbehave(*node, lies.to_vec()))).collect();
        match self {
            Self::None => Vec::new(),
            Self::Loss => (0..=6).map(|turn| (start + Duration::from_secs(5) * turn, Fault::CutPart(50))).collect(),
            Self::Churn => churn(nodes, start, end, rng),
            Self::Partition => {
                let groups = (0..nodes).map(|_| rng.random_range(0..2)).collect();
                vec![(start, Fault::Split(groups)), (end, Fault::Heal)]
            }
            Self::Crash => each(|actor| Fault::Stop { actor, power_lost: actor % 3 == 0 }),
            Self::Withhold => all_tell(&[Lie::Withheld]),
            Self::Lie => all_tell(&[Lie::Origins, Lie::Silence, Lie::Prunes, Lie::Grafts]),
        }
    }
}

fn churn(nodes: usize, start: Duration, end: Duration, rng: &mut impl RngExt) -> Vec<(Duration, Fault)> {
    let mut faults = Vec::new();
    let interval = Duration::from_secs(100).div_f64(nodes as f64);
    let mut at = start;
    while at < end {
        let actor = rng.random_range(0..nodes);
        faults.push((at, Fault::Stop { actor, power_lost: false }));
        faults.push((at + Duration::from_millis(rng.random_range(200..5_000)), Fault::Start(actor)));
        at += interval.mul_f64(rng.random_range(0.0..2.0));
    }
    faults
}
