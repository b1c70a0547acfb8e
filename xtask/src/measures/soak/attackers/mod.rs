//! Attackers: each is a task that goes from node to node.

mod shared;
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

use crate::measures::soak::attackers::shared::Shared;
use crate::measures::soak::ledger::Ledger;
use crate::support::namespace::Namespace;
use crate::support::testbed::netns::{self, is_left};

/// The spammers in each half …
const SPAMMERS: usize = 2;
/// … and the slow clients. They share the half's addresses.
const SLOW: usize = 6;
/// The pause of an attacker between two attacks, in milliseconds.
const RESTS: std::ops::Range<u64> = 200..2_000;

/// The running attackers. Dropping them ends the attacks.
pub(crate) struct Attackers {
    pub(crate) shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

impl Attackers {
    /// Starts attacks on the nodes of the same half and, while the network is whole, on all others.
    pub(crate) fn start(
        namespaces: &[Namespace],
        nodes: usize,
        ledger: &Arc<Ledger>,
        rng: &mut Xoshiro256PlusPlus,
    ) -> Result<Self> {
        let shared = Arc::new(Shared::new(Arc::clone(ledger)));
        let targets: Vec<Ipv4Addr> = (0..nodes).map(|node| netns::host(node).parse()).collect::<Result<_, _>>()?;
        let mut tasks = Vec::new();
        for (side, namespace) in namespaces.iter().enumerate() {
            let hosts = (0..netns::ATTACKERS).map(|which| netns::attacker(side, which).parse());
            let hosts: Vec<Ipv4Addr> = hosts.collect::<Result<_, _>>()?;
            let (spamming, slow) = hosts.split_at(netns::ATTACKERS / 2);
            // Nodes of the same half are listed twice, so that most attacks also reach a node
            // during a cut.
            let near = targets.iter().enumerate().filter(|(node, _)| is_left(*node, nodes) == (side == 0));
            let targets: Vec<_> = near.map(|(_, host)| *host).chain(targets.iter().copied()).collect();
            for number in 0..SPAMMERS + SLOW {
                let spams = number < SPAMMERS;
                let hosts = if spams { spamming } else { slow }.to_vec();
                let rng = Xoshiro256PlusPlus::seed_from_u64(rng.random());
                tasks.push(namespace.spawn(live(Arc::clone(&shared), spams, hosts, targets.clone(), rng)));
            }
        }
        Ok(Self { shared, tasks })
    }
}

impl Drop for Attackers {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

async fn live(
    shared: Arc<Shared>,
    spams: bool,
    hosts: Vec<Ipv4Addr>,
    targets: Vec<Ipv4Addr>,
    mut rng: Xoshiro256PlusPlus,
) {
    loop {
        let from = hosts[rng.random_range(0..hosts.len())];
        let to = targets[rng.random_range(0..targets.len())];
        let done = match spams {
            true => spam::once(&shared, from, to, &mut rng).await,
            false => slow::once(&shared, from, to, &mut rng).await,
        };
        // A node may refuse, close, or be down.
        done.unwrap_or_default();
        sleep(Duration::from_millis(rng.random_range(RESTS))).await;
    }
}
