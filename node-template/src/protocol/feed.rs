//! A link that is too slow is fed from the pool, and so is one whose other end lacks much.
//!
//! Both use one order, [`Output::Feed`]: the shell reads the pool's file from a position on and sends in bounded pieces, only as fast as the link drains. A
//! position is a place in the order in which this node stored its transactions; what is accepted and not stored yet has none, and is held in memory. So a
//! link has everything once it was fed to the last position and then pushed what is in memory: both happen in one step here, and nothing can fall between.

use std::time::{Duration, Instant};

use super::address::PeerAddress;
use super::event::Event;
use super::identity::LinkId;
use super::links::{Flow, Role};
use super::message::Delivery;
use super::transaction::TransactionId;
use super::{Lane, Output, Protocol};

impl Protocol {
    /// A payload did not fit: from here on the link is fed from the pool. What did not fit had no position before the fact that made us send it, so
    /// feeding from where the pool ended then misses nothing.
    pub(super) fn on_link_full(&mut self, now: Instant, link: LinkId) {
        self.counters.queues_full += 1;
        let from = self.end_before;
        let Some(open) = self.links.get_mut(link).filter(|link| !link.closing) else { return };
        match &mut open.flow {
            _ if matches!(open.role, Role::Client) => self.on_client_full(link),
            // What was pushed last did not fit after all, and goes again.
            Flow::Behind { pushed, trying, .. } => *trying = *pushed,
            Flow::Syncing => {
                // What is being fed ends before `from`; feeding simply goes on from there.
                open.flow = Flow::Behind { from: 0, pushed: 0, trying: 0 };
                self.tell_behind(now, link);
            }
            Flow::Live => {
                open.flow = Flow::Behind { from, pushed: 0, trying: 0 };
                self.outbox.push_back(Output::Feed { link, from, until: None, synced: false });
                self.tell_behind(now, link);
            }
        }
    }

    /// Says that a peer is slow, at most once per link and minute: under a burst a link may fall behind and catch up many times.
    fn tell_behind(&mut self, now: Instant, link: LinkId) {
        let Some(open) = self.links.get_mut(link) else { return };
        if open.told_behind.is_none_or(|told| now.saturating_duration_since(told) >= Duration::from_secs(60)) {
            open.told_behind = Some(now);
            self.notify(Event::Behind { peer: self.name_of(link) });
        }
    }

    /// Feeding came to its end, and at least half of the link's queue is free. A link that was behind goes on from there, or, if there is nothing more on
    /// disk, is pushed what is in memory; when that is all pushed it lives again.
    pub(super) fn on_fed(&mut self, now: Instant, link: LinkId, position: u64) {
        let end = self.holdings.end();
        let Some(open) = self.links.get_mut(link).filter(|link| !link.closing) else { return };
        match open.flow {
            Flow::Live => {}
            Flow::Syncing => open.flow = Flow::Live,
            Flow::Behind { trying, .. } if position < end => {
                open.flow = Flow::Behind { from: position, pushed: trying, trying };
                self.outbox.push_back(Output::Feed { link, from: position, until: None, synced: false });
            }
            Flow::Behind { trying: pushed, .. } => {
                self.note_payload(now, link);
                let left = self.push_unstored(link, pushed);
                let Some(open) = self.links.get_mut(link) else { return };
                match left {
                    None => open.flow = Flow::Live,
                    // More waits for the disk than the queue takes at once: an empty order tells when there is room again.
                    Some(trying) => {
                        open.flow = Flow::Behind { from: end, pushed, trying };
                        self.outbox.push_back(Output::Feed { link, from: end, until: Some(end), synced: false });
                    }
                }
            }
        }
    }

    /// A plain peer that was behind when its link ended is fed from where it was.
    pub(super) fn resume_plain(&mut self, now: Instant, link: LinkId, address: &PeerAddress) {
        let from = self.peers.get_mut(address).and_then(|peer| peer.behind.take());
        if let (Some(from), Some(open)) = (from, self.links.get_mut(link)) {
            open.flow = Flow::Behind { from, pushed: 0, trying: 0 };
            self.note_payload(now, link);
            self.outbox.push_back(Output::Feed { link, from, until: None, synced: false });
        }
    }

    /// Sends a link what is accepted and not on disk yet, from the number `from` on, at most a quarter of a queue: whoever was fed has room for half. Returns
    /// the number of the first that was left; `None` if all was sent.
    fn push_unstored(&mut self, link: LinkId, from: u64) -> Option<u64> {
        let room = self.config.limits.queue_bytes / 4;
        let mut bytes = 0;
        for (number, transaction) in self.holdings.unstored(from) {
            let frame = transaction.frame().clone();
            if bytes > 0 && bytes + frame.len() > room {
                return Some(number);
            }
            bytes += frame.len();
            self.outbox.push_back(Output::Send { links: vec![link], frame, lane: Lane::Payload });
        }
        None
    }

    /// Sends a link those of the given transactions that wait for the disk, as an answer to a comparison. What does not fit is found by the next one.
    pub(super) fn push_waiting(&mut self, link: LinkId, wanted: impl Fn(&TransactionId) -> bool) {
        let room = self.config.limits.queue_bytes / 4;
        let mut bytes = 0;
        for (_, transaction) in self.holdings.unstored(0).filter(|(_, transaction)| wanted(&transaction.id())) {
            let frame = Delivery::sync_frame(transaction.body(), self.config.session);
            bytes += frame.len();
            if bytes > room {
                return;
            }
            self.outbox.push_back(Output::Send { links: vec![link], frame, lane: Lane::Payload });
        }
    }
}
