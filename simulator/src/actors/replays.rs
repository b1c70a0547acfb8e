//! Links to which a simulated node sends transactions from its pool file.

use std::collections::{BTreeMap, VecDeque};

use meshpool_proto::Input;
use meshpool_proto::frame::Frame;
use meshpool_proto::id::{LinkId, Session};
use meshpool_proto::transaction::Transaction;
use meshpool_proto::wire::TransactionFrame;

use crate::net::network::{Network, Queue};
use crate::net::wire::Item;

/// How many single transactions wait for one link at most, as in the runtime.
const WANTED: usize = 20_000;

/// The replays of one run of a node.
#[derive(Debug)]
pub(super) struct Replays {
    actor: usize,
    session: Session,
    links: BTreeMap<LinkId, Replay>,
    /// Single transactions that wait, by their positions.
    positions: BTreeMap<LinkId, VecDeque<u64>>,
}

/// A range of positions in the pool file.
#[derive(Debug)]
pub(super) struct Replay {
    pub(super) next: u64,
    pub(super) until: Option<u64>,
    pub(super) synced: bool,
}

impl Replays {
    pub(super) fn new(actor: usize, session: Session) -> Self {
        Self { actor, session, links: BTreeMap::new(), positions: BTreeMap::new() }
    }

    pub(super) fn links(&self) -> Vec<LinkId> {
        self.links.keys().copied().collect()
    }

    pub(super) fn start(&mut self, link: LinkId, replay: Replay) {
        self.links.insert(link, replay);
    }

    pub(super) fn stop(&mut self, link: LinkId) {
        self.links.remove(&link);
        self.positions.remove(&link);
    }

    /// Queues transactions on a link while at most half of its queue is used. Returns the core's
    /// input once the replay is complete.
    pub(super) fn send(&mut self, net: &mut Network, link: LinkId, pool: &[Transaction]) -> Option<Input> {
        let replay = self.links.get_mut(&link)?;
        // Room is checked before the end. Otherwise a full link would complete its replay, reject
        // the core's next payload, and have the core replay again.
        while net.end(self.actor, link).is_some_and(|end| end.payload_bytes < net.limits.queue_bytes / 2) {
            if replay.next >= replay.until.unwrap_or(u64::MAX).min(pool.len() as u64) {
                let position = replay.next;
                self.links.remove(&link);
                return Some(Input::Replayed { link, position });
            }
            let body = pool[replay.next as usize].body();
            let frame = if replay.synced {
                TransactionFrame::sync_frame(body, self.session)
            } else {
                TransactionFrame::client_frame(body, false)
            };
            if !queue(net, self.actor, link, frame) {
                return None;
            }
            replay.next += 1;
        }
        None
    }

    /// Adds single transactions. Those beyond the bound are dropped: a later round of anti-entropy
    /// finds them missing again.
    pub(super) fn want_positions(&mut self, link: LinkId, positions: Vec<u64>) {
        let wanted = self.positions.entry(link).or_default();
        let room = WANTED.saturating_sub(wanted.len());
        wanted.extend(positions.into_iter().take(room));
    }

    /// Queues single transactions on a link while at most half of its queue is used.
    pub(super) fn send_positions(&mut self, net: &mut Network, link: LinkId, pool: &[Transaction]) {
        let half = net.limits.queue_bytes / 2;
        let Some(positions) = self.positions.get_mut(&link) else { return };
        while net.end(self.actor, link).is_some_and(|end| end.is_readable() && end.payload_bytes < half)
            && let Some(position) = positions.pop_front()
        {
            let Some(transaction) = pool.get(position as usize) else { continue };
            queue(net, self.actor, link, TransactionFrame::sync_frame(transaction.body(), self.session));
        }
    }
}

/// Queues a frame. Returns whether it could be queued.
pub(super) fn queue(net: &mut Network, actor: usize, link: LinkId, frame: Frame) -> bool {
    net.note(actor, "replaying", link.0, frame.as_str());
    net.send(actor, link, Item::Text(frame), Queue::Payload).is_ok()
}
