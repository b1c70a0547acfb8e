//! Strangers who mean no good: each task is one of them, and goes from node to node.

mod crowd;
mod slow;
mod spam;
mod wire;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::measures::soak::ledger::Ledger;
use crate::measures::soak::strangers::crowd::Crowd;
use crate::measures::soak::world::{self, Seat, is_left};

/// How many spammers there are on each side, and …
const SPAMMERS: usize = 2;
/// … how many who are slow. The addresses of a side are shared out among both.
const SLOW: usize = 6;
/// How long each rests before it goes on, in milliseconds.
const RESTS: std::ops::Range<u64> = 200..2_000;

/// The strangers at work. Dropping them ends it.
pub(crate) struct Strangers {
    pub(crate) crowd: Arc<Crowd>,
    tasks: Vec<JoinHandle<()>>,
}

impl Strangers {
    /// Lets them loose on the nodes of their own side and, while the cable is in, on all others.
    pub(crate) fn come(
        seats: &[Seat],
        nodes: usize,
        ledger: &Arc<Ledger>,
        rng: &mut Xoshiro256PlusPlus,
    ) -> Result<Self> {
        let crowd = Arc::new(Crowd::new(Arc::clone(ledger)));
        let targets: Vec<Ipv4Addr> = (0..nodes).map(|node| world::host(node).parse()).collect::<Result<_, _>>()?;
        let mut tasks = Vec::new();
        for (side, seat) in seats.iter().enumerate() {
            let hosts = (0..world::STRANGERS).map(|which| world::stranger(side, which).parse());
            let hosts: Vec<Ipv4Addr> = hosts.collect::<Result<_, _>>()?;
            let (spamming, slow) = hosts.split_at(world::STRANGERS / 2);
            // Most of what they do meets the nodes on their own side also while the cable is out.
            let near = targets.iter().enumerate().filter(|(node, _)| is_left(*node, nodes) == (side == 0));
            let targets: Vec<_> = near.map(|(_, host)| *host).chain(targets.iter().copied()).collect();
            for number in 0..SPAMMERS + SLOW {
                let spams = number < SPAMMERS;
                let hosts = if spams { spamming } else { slow }.to_vec();
                let rng = Xoshiro256PlusPlus::seed_from_u64(rng.random());
                tasks.push(seat.begin(live(Arc::clone(&crowd), spams, hosts, targets.clone(), rng)));
            }
        }
        Ok(Self { crowd, tasks })
    }
}

impl Drop for Strangers {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn live(
    crowd: Arc<Crowd>,
    spams: bool,
    hosts: Vec<Ipv4Addr>,
    targets: Vec<Ipv4Addr>,
    mut rng: Xoshiro256PlusPlus,
) {
    loop {
        let from = hosts[rng.random_range(0..hosts.len())];
        let to = targets[rng.random_range(0..targets.len())];
        let done = match spams {
            true => spam::once(&crowd, from, to, &mut rng).await,
            false => slow::once(&crowd, from, to, &mut rng).await,
        };
        // That a node refuses, closes, or does not run is what they live with.
        done.unwrap_or_default();
        sleep(Duration::from_millis(rng.random_range(RESTS))).await;
    }
}
