//! What goes wrong in an experiment, for how long, and within which time it must be mended.

use std::time::Duration;

use clap::ValueEnum;
use rand::RngExt;

use super::Run;
use crate::check::Broken;
use crate::faults::Fault;
use crate::node::Conduct;
use crate::world::Event;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Trouble {
    /// Nothing.
    None,
    /// Every 5 s for half a minute one link in twenty breaks.
    Loss,
    /// For a minute one node in a hundred ends each second, and starts again a moment later.
    Churn,
    /// For a minute the nodes are split in two halves.
    Partition,
    /// Three nodes in ten end for good, one in three of them with its machine.
    Crash,
    /// One node in ten, a part of the trees so far, passes no transaction on any more.
    Withhold,
    /// One node in ten lies in all that it says.
    Lie,
}

/// How long nodes that turned or fell are watched before repair is timed.
const WATCHED: Duration = Duration::from_secs(30);

impl Trouble {
    /// How many of the nodes will turn or fall.
    pub(super) fn chosen(self, nodes: usize) -> usize {
        match self {
            Self::Crash => nodes * 3 / 10,
            Self::Withhold | Self::Lie => nodes / 10,
            _ => 0,
        }
    }

    /// Whether all links come back after it.
    pub(super) fn passes(self) -> bool {
        matches!(self, Self::Loss | Self::Churn | Self::Partition)
    }

    /// Within which time after it all pools must be equal. A dead link is found in 45 s and an address is dialled again within 60 s.
    pub fn repair_within(self) -> Duration {
        Duration::from_secs(match self {
            Self::None => 10,
            Self::Loss | Self::Withhold => 30,
            Self::Churn | Self::Lie => 60,
            Self::Partition | Self::Crash => 120,
        })
    }
}

impl Run<'_> {
    /// Goes through the time of trouble, transactions entering all the while.
    pub(super) fn make_trouble(&mut self) -> Result<(), Broken> {
        let start = self.now();
        let length = match self.plan.trouble {
            Trouble::None => return Ok(()),
            Trouble::Loss | Trouble::Crash | Trouble::Withhold | Trouble::Lie => WATCHED,
            Trouble::Churn | Trouble::Partition => Duration::from_secs(60),
        };
        let rounds = length.as_secs().div_ceil(self.interval().as_secs().max(1));
        let loaded = self.schedule(usize::try_from(rounds).unwrap_or(usize::MAX));
        let mut end = start + length;
        for (at, fault) in self.faults(start, end) {
            end = end.max(at);
            self.world.net.clock.at(at, Event::Fault(Box::new(fault)));
        }
        self.world.run_until(end.max(loaded))
    }

    fn faults(&mut self, start: Duration, end: Duration) -> Vec<(Duration, Fault)> {
        let nodes = self.plan.nodes;
        let chosen: Vec<usize> = (0..nodes).filter(|node| self.chosen[*node]).collect();
        match self.plan.trouble {
            Trouble::None => Vec::new(),
            Trouble::Loss => (0..=6).map(|turn| (start + Duration::from_secs(5) * turn, Fault::CutPart(50))).collect(),
            Trouble::Churn => self.churn(start, end),
            Trouble::Partition => {
                let groups = (0..nodes).map(|_| self.rng.random_range(0..2)).collect();
                vec![(start, Fault::Split(groups)), (end, Fault::Heal)]
            }
            Trouble::Crash => {
                let fall = |actor| (start, Fault::Stop { actor, power_lost: actor % 3 == 0 });
                chosen.into_iter().map(fall).collect()
            }
            Trouble::Withhold => {
                chosen.into_iter().map(|node| (start, Fault::Turn(node, Conduct::Withholding))).collect()
            }
            Trouble::Lie => chosen.into_iter().map(|node| (start, Fault::Turn(node, Conduct::Lying))).collect(),
        }
    }

    fn churn(&mut self, start: Duration, end: Duration) -> Vec<(Duration, Fault)> {
        let mut faults = Vec::new();
        let each = Duration::from_secs(100).div_f64(self.plan.nodes as f64);
        let mut at = start;
        while at < end {
            let actor = self.rng.random_range(0..self.plan.nodes);
            faults.push((at, Fault::Stop { actor, power_lost: false }));
            faults.push((at + Duration::from_millis(self.rng.random_range(200..5_000)), Fault::Start(actor)));
            at += each.mul_f64(self.rng.random_range(0.0..2.0));
        }
        faults
    }
}
