//! What takes its time and is not waited for: dials, probes, feeding, looking into the folder of images. Each is a task, and its end a fact.

use std::sync::Arc;

use crate::driver::replay::{feed, fetch};
use crate::driver::{Driver, FAULT};
use crate::protocol::address::PeerAddress;
use crate::protocol::id::{LinkId, UpgradeIdentity};
use crate::protocol::wire::{ImageInfo, SearchId};
use crate::protocol::{Direction, Input};
use crate::transport::dialer::Dialled;
use crate::transport::link::send_queue::Farewell;

/// Something that takes its time, and its end.
pub(crate) enum Errand {
    Dialled { address: PeerAddress, result: Result<Box<Dialled>, String> },
    Probed { link: LinkId, address: PeerAddress, identity: Option<UpgradeIdentity> },
    Fetched { link: LinkId },
    Fed { link: LinkId, position: Option<u64> },
    LookedUp { search: SearchId, images: Vec<ImageInfo> },
}

impl Driver {
    pub(crate) fn on_errand(&mut self, done: Result<(tokio::task::Id, Errand), tokio::task::JoinError>) {
        match done {
            Ok((id, errand)) => {
                self.lost.remove(&id);
                self.on_errand_done(errand);
            }
            Err(error) => {
                let lost = self.lost.remove(&error.id());
                if error.is_cancelled() {
                    return;
                }
                tracing::error!("a dial or a feeder ended in a fault of this program: {error}");
                self.handle(Input::TaskPanicked);
                match lost {
                    // What it would have been fed never comes: on a new link it is compared.
                    Some(Errand::Fed { link, .. }) => self.fail(link),
                    Some(errand) => self.on_errand_done(errand),
                    None => {}
                }
            }
        }
    }

    /// Closes a link because of a fault of our own.
    pub(crate) fn fail(&mut self, link: LinkId) {
        if let Some(outgoing) = self.links.get(&link) {
            outgoing.queue.close(Farewell { code: 1011, reason: FAULT.into() });
        }
    }

    /// Begins an errand; `lost`: how it has ended if a fault of this program ends it.
    pub(crate) fn begin(
        &mut self,
        lost: Errand,
        errand: impl Future<Output = Errand> + Send + 'static,
    ) -> tokio::task::AbortHandle {
        let handle = self.errands.spawn(errand);
        self.lost.insert(handle.id(), lost);
        handle
    }

    fn on_errand_done(&mut self, errand: Errand) {
        match errand {
            Errand::Dialled { address, result: Ok(dialled) } => {
                let Dialled { socket, remote, identity, certified } = *dialled;
                self.open(socket, remote, Direction::Dialled { address, identity }, None, certified);
            }
            Errand::Dialled { address, result: Err(error) } => self.handle(Input::DialFailed { address, error }),
            Errand::Probed { link, address, identity } => self.handle(Input::Probed { link, address, identity }),
            Errand::Fed { link, position: Some(position) } => {
                if let Some(outgoing) = self.links.get_mut(&link) {
                    outgoing.feeding = None;
                    self.handle(Input::Replayed { link, position });
                }
            }
            Errand::Fed { position: None, .. } => {}
            Errand::LookedUp { search, images } => self.handle(Input::LocalImages { search, images }),
            Errand::Fetched { link } => {
                if let Some(outgoing) = self.links.get_mut(&link) {
                    outgoing.fetching = false;
                    self.fetch(link);
                }
            }
        }
    }

    pub(crate) fn feed(&mut self, link: LinkId, from: u64, until: Option<u64>, synced: bool) {
        let Some(outgoing) = self.links.get_mut(&link) else {
            return;
        };
        let (pool, queue) = (self.parts.pool.clone(), Arc::clone(&outgoing.queue));
        let session = synced.then_some(self.parts.session);
        let lost = Errand::Fed { link, position: None };
        let errand = async move { Errand::Fed { link, position: feed(pool, queue, from, until, session).await } };
        let handle = self.begin(lost, errand);
        let outgoing = self.links.get_mut(&link);
        if let Some(previous) = outgoing.and_then(|outgoing| outgoing.feeding.replace(handle)) {
            previous.abort();
        }
    }

    /// Has what a link wants fetched from the pool, one errand at a time.
    pub(crate) fn fetch(&mut self, link: LinkId) {
        let Some(outgoing) = self.links.get_mut(&link) else { return };
        if outgoing.fetching || outgoing.wanted.is_empty() {
            return;
        }
        outgoing.fetching = true;
        let positions = std::mem::take(&mut outgoing.wanted);
        let (pool, queue, session) = (self.parts.pool.clone(), Arc::clone(&outgoing.queue), self.parts.session);
        self.begin(Errand::Fetched { link }, async move {
            fetch(pool, queue, positions, session).await;
            Errand::Fetched { link }
        });
    }
}
