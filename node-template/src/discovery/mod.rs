//! Discovery of nodes on the local network.
//!
//! A task hears records and passes them to the driver as inputs; the core decides what they are
//! worth. The core says how many slots are free, and the task announces that. The task owns the
//! multicast DNS daemon, which has a thread. The driver waits for neither.

pub(crate) mod advertised_address;
mod mdns;

use std::time::Duration;

use meshpool_proto::Input;
use meshpool_proto::address::PeerAddress;
use meshpool_proto::mdns_record::Record;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::util::panics::Panics;

/// How a node finds others that it was not given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Discovery {
    /// Off: addresses come from known peers, genesis and other peers.
    #[default]
    Off,
    /// By multicast DNS (RFC 6762, RFC 6763), on this host and its networks.
    Mdns,
}

/// How many inputs wait for the driver. Without room, records wait in the daemon's queue.
const INPUTS: usize = 64;
/// How long it may take to withdraw the announcement.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// The driver's side of discovery, or of none.
#[derive(Default)]
pub(crate) struct DiscoveryHandle {
    running: Option<Running>,
}

struct Running {
    inputs: mpsc::Receiver<Input>,
    /// The free slots to announce; `None`: not known yet.
    free: watch::Sender<Option<Option<u32>>>,
    task: JoinHandle<()>,
}

impl DiscoveryHandle {
    /// Starts listening for records. `own` is announced from the first [`Self::advertise`] on, with
    /// its number of free slots, at the address that `present` returns; `None`: at its own.
    pub(crate) fn mdns(
        own: Record,
        present: impl Fn() -> Option<PeerAddress> + Send + Sync + 'static,
        panics: Panics,
    ) -> Self {
        let (sender, inputs) = mpsc::channel(INPUTS);
        let (free, slots) = watch::channel(None);
        let task = tokio::spawn(async move {
            // After a panic no new nodes are found; known ones stay known.
            panics.catch("discovery", mdns::run(own, present, slots, sender)).await;
        });
        Self { running: Some(Running { inputs, free, task }) }
    }

    /// The next input for the core; without discovery, or after its end, it never comes.
    /// Cancel-safe.
    pub(crate) async fn next(&mut self) -> Input {
        if let Some(running) = &mut self.running
            && let Some(input) = running.inputs.recv().await
        {
            return input;
        }
        std::future::pending().await
    }

    /// Announces this node with so many free slots.
    pub(crate) fn advertise(&self, free: Option<u32>) {
        if let Some(running) = &self.running {
            running.free.send_replace(Some(free));
        }
    }

    /// Withdraws the announcement, within a second.
    pub(crate) async fn close(self) {
        if let Some(Running { inputs, free, task }) = self.running {
            // Either ends the task: it may be waiting for room in the one or for news in the other.
            drop((inputs, free));
            match tokio::time::timeout(CLOSE_WITHIN, task).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!("discovery ended in a fault of this program: {error}"),
                Err(_) => tracing::debug!("withdrawing the announcement on the local network took too long"),
            }
        }
    }
}
