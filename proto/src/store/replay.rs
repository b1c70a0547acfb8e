//! A link that is too slow: a full peer's is skipped and its pool compared with ours once it has drained; a plain peer's is fed from the pool. So is a link whose
//! other end lacks much.
//!
//! A full peer gets most transactions from others, so to feed it from the pool would send it all of those again; a comparison finds what it lacks. A plain peer
//! compares nothing. To feed is one order, [`Output::Replay`]: the shell reads the pool's file from a position on and sends in bounded pieces, only as fast as the link
//! drains. A position is a place in the order in which this node stored its transactions; what is accepted and not stored yet has none, and is held in memory.
//! So a link has everything once it was fed to the last position and then pushed what is in memory: both happen in one step here, and nothing can
//! fall between.

use std::time::{Duration, Instant};

use crate::address::PeerAddress;
use crate::connections::table::Delivery;
use crate::event::Event;
use crate::id::LinkId;
use crate::transaction::TransactionId;
use crate::wire::TransactionFrame;
use crate::{Lane, Node, Output};

impl Node {
    /// A payload did not fit. A plain peer is fed from the pool from here on: what did not fit had no position before the fact that made us send it, so feeding
    /// from where the pool ended then misses nothing.
    pub(crate) fn on_link_full(&mut self, now: Instant, link: LinkId) {
        self.cx.counters.queues_full += 1;
        let from = self.end_before;
        let Some(open) = self.connections.links.get_mut(link).filter(|link| !link.closing) else { return };
        if !open.takes_transactions() {
            return self.on_client_full(link);
        }
        let full = open.full().is_some();
        match &mut open.flow {
            // What was pushed last did not fit after all, and goes again.
            Delivery::Replaying { pushed, trying, .. } => *trying = *pushed,
            Delivery::Lagging => {}
            Delivery::Syncing { missed } => *missed = true,
            Delivery::Live if full => {
                open.flow = Delivery::Lagging;
                self.tell_room(link, from);
                self.tell_behind(now, link);
            }
            Delivery::Live => {
                open.flow = Delivery::Replaying { from, pushed: 0, trying: 0 };
                self.feed_plain(link, from);
                self.tell_behind(now, link);
            }
        }
    }

    fn feed_plain(&mut self, link: LinkId, from: u64) {
        self.cx.output(Output::Replay { link, from, until: None, synced: false });
    }

    /// An empty order: its answer tells when there is room again.
    fn tell_room(&mut self, link: LinkId, at: u64) {
        self.cx.output(Output::Replay { link, from: at, until: Some(at), synced: false });
    }

    /// Says that a peer is slow, at most once per link and minute: under a burst a link may fall behind and catch up many times.
    fn tell_behind(&mut self, now: Instant, link: LinkId) {
        let Some(open) = self.connections.links.get_mut(link) else { return };
        if open.told_behind.is_none_or(|told| now.saturating_duration_since(told) >= Duration::from_secs(60)) {
            open.told_behind = Some(now);
            self.cx.notify(Event::PeerLagging { peer: self.connections.links.name_of(link) });
        }
    }

    /// Feeding came to its end, and at least half of the link's queue is free. A full peer that missed something is told what we offer, and fetches what it lacks.
    /// A plain peer goes on from there, or, if there is nothing more on disk, is pushed what is in memory; when that is all pushed it lives again.
    pub(crate) fn on_fed(&mut self, now: Instant, link: LinkId, position: u64) {
        let end = self.pool.end();
        let Some(open) = self.connections.links.get_mut(link).filter(|link| !link.closing) else { return };
        match open.flow {
            Delivery::Live => {}
            Delivery::Syncing { missed: false } => open.flow = Delivery::Live,
            Delivery::Syncing { missed: true } | Delivery::Lagging => {
                open.flow = Delivery::Live;
                self.compare_pools(now, link);
                self.compare_broadcasts(now, link);
            }
            Delivery::Replaying { trying, .. } if position < end => {
                open.flow = Delivery::Replaying { from: position, pushed: trying, trying };
                self.feed_plain(link, position);
            }
            Delivery::Replaying { trying: pushed, .. } => {
                self.note_payload(now, link);
                let left = self.push_unstored(link, pushed);
                let Some(open) = self.connections.links.get_mut(link) else { return };
                match left {
                    None => open.flow = Delivery::Live,
                    // More waits for the disk than the queue takes at once.
                    Some(trying) => {
                        open.flow = Delivery::Replaying { from: end, pushed, trying };
                        self.tell_room(link, end);
                    }
                }
            }
        }
    }

    /// A plain peer that was behind when its link ended is fed from where it was.
    pub(crate) fn resume_plain(&mut self, now: Instant, link: LinkId, address: &PeerAddress) {
        let Some(peer) = self.peers.book.get_mut(address) else { return };
        if peer.handshakes_only_until.is_some_and(|until| now < until) {
            return;
        }
        let from = peer.behind.take();
        if let (Some(from), Some(open)) = (from, self.connections.links.get_mut(link)) {
            open.flow = Delivery::Replaying { from, pushed: 0, trying: 0 };
            self.note_payload(now, link);
            self.feed_plain(link, from);
        }
    }

    /// Sends a link what is accepted and not on disk yet, from the number `from` on, at most a quarter of a queue: whoever was fed has room for half. Returns
    /// the number of the first that was left; `None` if all was sent.
    fn push_unstored(&mut self, link: LinkId, from: u64) -> Option<u64> {
        let room = self.cx.config.limits.queue_bytes / 4;
        let mut bytes = 0;
        for (number, transaction) in self.pool.unstored(from) {
            let frame = transaction.frame().clone();
            if bytes > 0 && bytes + frame.len() > room {
                return Some(number);
            }
            bytes += frame.len();
            self.cx.output(Output::Send { links: vec![link], frame, lane: Lane::Payload });
        }
        None
    }

    /// Sends a link those of the given transactions that wait for the disk, as an answer to a comparison. What does not fit is found by the next one.
    pub(crate) fn push_waiting(&mut self, link: LinkId, wanted: impl Fn(&TransactionId) -> bool) {
        let room = self.cx.config.limits.queue_bytes / 4;
        let mut bytes = 0;
        for (_, transaction) in self.pool.unstored(0).filter(|(_, transaction)| wanted(&transaction.id())) {
            let frame = TransactionFrame::sync_frame(transaction.body(), self.cx.config.session);
            bytes += frame.len();
            if bytes > room {
                return;
            }
            self.cx.output(Output::Send { links: vec![link], frame, lane: Lane::Payload });
        }
    }
}
