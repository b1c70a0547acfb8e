//! What happens to the nodes: they are ended and started again, and the network is cut in two and healed.

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
use crate::measures::soak::node::Node;
use crate::measures::soak::world::World;

/// Every so often, on average, a node is ended.
const CHURN: Duration = Duration::from_secs(20);
/// How long it is away, in milliseconds.
const AWAY: std::ops::Range<u64> = 5_000..30_000;
/// How often the network is cut, if there is time for that …
const CUTS: Duration = Duration::from_secs(240);
/// … how often at least, and …
const CUTS_AT_LEAST: u32 = 4;
/// … for how long: in milliseconds, less where they come sooner than that.
const CUT_FOR: std::ops::Range<u64> = 20_000..40_000;

/// How often nodes were ended.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Churned {
    /// By SIGTERM.
    pub(crate) asked: usize,
    /// By SIGKILL.
    pub(crate) killed: usize,
}

/// Ends nodes and starts them again, until the time is over; then all run.
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
            Signal::TERM => churned.asked += 1,
            _ => churned.killed += 1,
        }
        let node = Arc::clone(node);
        let back = Instant::now() + Duration::from_millis(rng.random_range(AWAY));
        away.push(async move {
            findings.note(node.end(signal).await);
            // Nobody is away when the trouble is over.
            sleep_until(back.min(until)).await;
            findings.note(node.start().await);
        });
    }
    while away.next().await.is_some() {}
    churned
}

/// Cuts the network and heals it, until the time is over; then it is whole. Tells when it was in two, in seconds since the beginning.
pub(crate) async fn cuts(
    world: &World,
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
        world.cut()?;
        sleep(length).await;
        world.heal()?;
        cuts.push((cut.as_secs_f64(), began.elapsed().as_secs_f64()));
        next += every;
    }
    Ok(cuts)
}
