//! Churn and partitions: nodes are stopped and started, and the network is cut in two and healed.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use rand::RngExt;
use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::IndexedRandom;
use rustix::process::Signal;
use tokio::time::{Instant, sleep, sleep_until};

use crate::measures::soak::findings::Findings;
use crate::support::testbed::netns::TestNetwork;
use crate::support::testbed::node::Node;

/// The mean interval between two stops.
const CHURN: Duration = Duration::from_secs(20);
/// How long a node is down, in milliseconds.
const AWAY: std::ops::Range<u64> = 5_000..30_000;
/// The interval of cuts, if the time allows it …
const CUTS: Duration = Duration::from_secs(240);
/// … the fewest cuts otherwise …
const CUTS_AT_LEAST: u32 = 4;
/// … and their length in milliseconds; shorter if they are closer together.
const CUT_FOR: std::ops::Range<u64> = 20_000..40_000;

/// The numbers of stops.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Churned {
    /// By SIGTERM.
    pub(crate) terminated: usize,
    /// By SIGKILL.
    pub(crate) killed: usize,
}

/// Stops nodes and starts them again until the time is over; then all run.
pub(crate) async fn churn(
    nodes: &[Arc<Node>],
    until: Instant,
    mut rng: Xoshiro256PlusPlus,
    findings: &Findings,
) -> Churned {
    let mut churned = Churned::default();
    let mut away = FuturesUnordered::new();
    let mut next = Instant::now() + CHURN.mul_f64(rng.random_range(0.5..1.5));
    while next < until {
        tokio::select! {
            () = sleep_until(next) => {}
            Some(()) = away.next() => continue,
        }
        next += CHURN.mul_f64(rng.random_range(0.5..1.5));
        let alive: Vec<_> = nodes.iter().filter(|node| node.pid().is_some()).collect();
        let Some(node) = alive.choose(&mut rng) else { continue };
        let signal = if rng.random() { Signal::TERM } else { Signal::KILL };
        match signal {
            Signal::TERM => churned.terminated += 1,
            _ => churned.killed += 1,
        }
        let node = Arc::clone(node);
        let back = Instant::now() + Duration::from_millis(rng.random_range(AWAY));
        away.push(async move {
            findings.note(node.end(signal).await);
            // All nodes are up when the time is over.
            sleep_until(back.min(until)).await;
            findings.note(node.start().await);
        });
    }
    while away.next().await.is_some() {}
    churned
}

/// Cuts the network in two and heals it until the time is over. Returns when it was cut, in seconds
/// since the start.
pub(crate) async fn partition(
    test_network: &TestNetwork,
    began: Instant,
    until: Instant,
    mut rng: Xoshiro256PlusPlus,
) -> Result<Vec<(f64, f64)>> {
    let every = CUTS.min((until - began) / CUTS_AT_LEAST);
    let mut cuts = Vec::new();
    let mut next = began + every / 2;
    while next + every / 3 < until {
        sleep_until(next).await;
        let length = Duration::from_millis(rng.random_range(CUT_FOR)).min(every / 3);
        let cut = began.elapsed();
        test_network.cut()?;
        sleep(length).await;
        test_network.heal()?;
        cuts.push((cut.as_secs_f64(), began.elapsed().as_secs_f64()));
        next += every;
    }
    Ok(cuts)
}
