//! Finding nodes on the local network, and being found there.
//!
//! A task of its own hears records and hands them to the driver as facts; the core decides what they are worth (`protocol/discovery.rs`). It is told in turn how many
//! places are free, and announces that. It owns the multicast DNS daemon, which has a thread; nobody waits for either.

pub(crate) mod advertised_address;
mod mdns;

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::protocol::Input;
use crate::protocol::mdns_record::Record;
use crate::util::panics::Faults;

/// How a node finds others without being told of any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Discovery {
    /// Not at all: known peers, genesis and what peers tell are the sources of addresses.
    #[default]
    Off,
    /// By multicast DNS (RFC 6762, RFC 6763), on this host and its networks.
    Mdns,
}

/// How many facts wait for the driver; while it has no room the records wait in their own queue.
const FACTS: usize = 64;
/// How long the goodbye to the local network may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// The driver's side of discovery that runs, or of none.
#[derive(Default)]
pub(crate) struct Discovering {
    running: Option<Running>,
}

struct Running {
    facts: mpsc::Receiver<Input>,
    /// How many places to announce; `None`: the core has not said yet.
    free: watch::Sender<Option<Option<u32>>>,
    task: JoinHandle<()>,
}

impl Discovering {
    /// Begins to listen for records; ours goes out once [`Self::advertise`] was called. `own` is announced with the free places of that.
    pub(crate) fn mdns(own: Record, faults: Faults) -> Self {
        let (facts_sender, facts) = mpsc::channel(FACTS);
        let (free, places) = watch::channel(None);
        let task = tokio::spawn(async move {
            // Without it nobody new is heard of; who is known stays so.
            faults.contain("discovery", mdns::run(own, places, facts_sender)).await;
        });
        Self { running: Some(Running { facts, free, task }) }
    }

    /// The next fact for the core. Cancel-safe; without discovery, or after its end, it never comes.
    pub(crate) async fn next(&mut self) -> Input {
        if let Some(running) = &mut self.running
            && let Some(fact) = running.facts.recv().await
        {
            return fact;
        }
        std::future::pending().await
    }

    /// Announces this node with so many free places.
    pub(crate) fn advertise(&self, free: Option<u32>) {
        if let Some(running) = &self.running {
            running.free.send_replace(Some(free));
        }
    }

    /// Says goodbye to the local network, within a second.
    pub(crate) async fn close(self) {
        if let Some(Running { facts, free, task }) = self.running {
            // Either tells the task to end: it may be waiting for room in the one or for news in the other.
            drop((facts, free));
            match tokio::time::timeout(GOODBYE, task).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!("discovery ended in a fault of this program: {error}"),
                Err(_) => tracing::debug!("the goodbye to the local network took too long"),
            }
        }
    }
}
