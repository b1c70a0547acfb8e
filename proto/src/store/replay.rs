//! Delivery to a link that is too slow, or whose other end lacks much: sending from the pool's
//! file.
//!
//! A native peer that lags is skipped, and compares pools once its queue has drained: it got most
//! transactions from others meanwhile. An exercise peer compares nothing, so it gets a replay of
//! the pool. [`Output::Replay`] has the runtime read the file from a position on, and send as fast
//! as the link drains.
//!
//! A position is a place in the order in which this node stored its transactions. An accepted
//! transaction that is not stored yet has none, and its body is in memory. So a replay ends at the
//! last position, and what is in memory is pushed in the same step: nothing falls between.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::connections::table::{Delivery, LinkTable};
use crate::context::Context;
use crate::event::Event;
use crate::id::LinkId;
use crate::io::{Lane, Output};
use crate::store::Store;
use crate::transaction::Transaction;
use crate::wire::{TransactionFrame, close};

/// How often a person is told that one link lags. Under a burst it may lag and catch up many times.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);

/// The transitions of each link's [`Delivery`].
#[derive(Debug, Default)]
pub(crate) struct Replay {
    /// Where the pool ended before the input that is being handled.
    end_before: u64,
    /// When it was last reported that a link lags.
    reported: BTreeMap<LinkId, Instant>,
}

impl Replay {
    /// Notes where the pool ends before an input is handled. A full queue is no such input: it is
    /// reported before all others, about an output of the one before.
    pub(crate) fn begin_input(&mut self, store: &Store) {
        self.end_before = store.index().end();
    }

    /// Handles a payload that did not fit into a link's queue. It had no position before the input
    /// that had it sent, so a replay from where the pool ended then misses nothing.
    pub(crate) fn on_queue_full(&mut self, cx: &mut Context, links: &mut LinkTable, link: LinkId) {
        cx.counters.queues_full += 1;
        let from = self.end_before;
        let Some(open) = links.get_mut(link).filter(|link| !link.closing) else { return };
        if !open.takes_transactions() {
            return links.close(cx, link, close::POLICY, "you do not read your ACKs");
        }
        let native = open.native().is_some();
        match &mut open.flow {
            // What was pushed last did not fit after all, and goes again.
            Delivery::Replaying { pushed, trying, .. } => *trying = *pushed,
            Delivery::Lagging => {}
            Delivery::Syncing { missed } => *missed = true,
            Delivery::Live if native => {
                open.flow = Delivery::Lagging;
                await_room(cx, link, from);
                self.report(cx, links, link);
            }
            Delivery::Live => {
                open.flow = Delivery::Replaying { from, pushed: 0, trying: 0 };
                replay(cx, link, from);
                self.report(cx, links, link);
            }
        }
    }

    /// Handles the end of a replay, with at least half of the link's queue free. An exercise peer
    /// goes on from there; once nothing more is on disk, it is pushed what is in memory. Returns
    /// whether the link is live again and missed something, so that pools are to be compared.
    pub(crate) fn on_replayed(
        &mut self,
        cx: &mut Context,
        links: &mut LinkTable,
        store: &Store,
        link: LinkId,
        position: u64,
    ) -> bool {
        let end = store.index().end();
        let Some(open) = links.get_mut(link).filter(|link| !link.closing) else { return false };
        match open.flow {
            Delivery::Live => {}
            Delivery::Syncing { missed: false } => open.flow = Delivery::Live,
            Delivery::Syncing { missed: true } | Delivery::Lagging => {
                open.flow = Delivery::Live;
                return true;
            }
            Delivery::Replaying { trying, .. } if position < end => {
                open.flow = Delivery::Replaying { from: position, pushed: trying, trying };
                replay(cx, link, position);
            }
            Delivery::Replaying { trying: pushed, .. } => {
                open.note_payload(cx, link);
                match push_unstored(cx, store, link, pushed) {
                    None => open.flow = Delivery::Live,
                    // More waits for the disk than the queue takes at once.
                    Some(trying) => {
                        open.flow = Delivery::Replaying { from: end, pushed, trying };
                        await_room(cx, link, end);
                    }
                }
            }
        }
        false
    }

    /// Goes on with an exercise peer from a position.
    pub(crate) fn resume(&mut self, cx: &mut Context, links: &mut LinkTable, link: LinkId, from: u64) {
        let Some(open) = links.get_mut(link) else { return };
        open.flow = Delivery::Replaying { from, pushed: 0, trying: 0 };
        replay(cx, link, from);
    }

    /// Forgets a link.
    pub(crate) fn on_link_closed(&mut self, link: LinkId) {
        self.reported.remove(&link);
    }

    fn report(&mut self, cx: &mut Context, links: &LinkTable, link: LinkId) {
        let last = self.reported.get(&link);
        if last.is_none_or(|last| cx.now.saturating_duration_since(*last) >= REPORT_INTERVAL) {
            self.reported.insert(link, cx.now);
            cx.notify(Event::PeerLagging { peer: links.name_of(link) });
        }
    }
}

/// Sends a native peer, which asked for it, the whole pool. New transactions are pushed meanwhile.
pub(crate) fn stream_pool(cx: &mut Context, links: &mut LinkTable, store: &Store, link: LinkId) {
    let (until, ours) = (store.index().end(), store.index().count());
    let Some(open) = links.get_mut(link) else { return };
    if open.flow != Delivery::Live || ours == 0 {
        return;
    }
    open.flow = Delivery::Syncing { missed: false };
    cx.output(Output::Replay { link, from: 0, until: Some(until), synced: true });
    sync_unstored(cx, link, store.index().unstored(0).map(|(_, transaction)| transaction));
    cx.notify(Event::Replaying { peer: links.name_of(link), ours });
}

/// Sends a native peer unstored transactions, as an answer to a comparison. The next one finds what
/// does not fit into a quarter of its queue.
pub(crate) fn sync_unstored<'a>(cx: &mut Context, link: LinkId, unstored: impl Iterator<Item = &'a Transaction>) {
    let room = cx.config.limits.queue_bytes / 4;
    let mut bytes = 0;
    for transaction in unstored {
        let frame = TransactionFrame::sync_frame(transaction.body(), cx.config.session);
        bytes += frame.len();
        if bytes > room {
            return;
        }
        cx.send(vec![link], frame, Lane::Payload);
    }
}

/// Pushes unstored transactions from the number `from` on, at most a quarter of a queue, of which
/// half is free. Returns the number of the first that was left; `None` if all were sent.
fn push_unstored(cx: &mut Context, store: &Store, link: LinkId, from: u64) -> Option<u64> {
    let room = cx.config.limits.queue_bytes / 4;
    let mut bytes = 0;
    for (number, transaction) in store.index().unstored(from) {
        let frame = transaction.frame().clone();
        if bytes > 0 && bytes + frame.len() > room {
            return Some(number);
        }
        bytes += frame.len();
        cx.send(vec![link], frame, Lane::Payload);
    }
    None
}

fn replay(cx: &mut Context, link: LinkId, from: u64) {
    cx.output(Output::Replay { link, from, until: None, synced: false });
}

/// Orders an empty replay: its end says when the queue has room again.
fn await_room(cx: &mut Context, link: LinkId, at: u64) {
    cx.output(Output::Replay { link, from: at, until: Some(at), synced: false });
}

#[cfg(test)]
mod tests;
