//! The pool of a simulated node: what is on disk, what waits for it, and the links that are fed from it.

use std::time::Duration;

use meshpool_proto::Input;
use meshpool_proto::id::LinkId;
use meshpool_proto::transaction::{Transaction, TransactionId};
use meshpool_proto::wire::TransactionFrame;
use rand::RngExt;

use super::{Disk, Node};
use crate::check::{Broken, Fault};
use crate::network::{Network, Queue};
use crate::wire::Item;
use crate::world::Event;

/// After a failed write the shell tries again this much later.
const RETRY_STORE: Duration = Duration::from_secs(1);

impl Disk {
    /// Puts a transaction behind all others.
    pub(super) fn keep(&mut self, transaction: Transaction) {
        let [first, ..] = *transaction.id().0.as_chunks::<8>().0 else { return };
        self.sum = self.sum.wrapping_add(u64::from_le_bytes(first));
        self.stored.push(transaction);
    }
}

impl Node {
    /// A write ends, well or not.
    pub fn on_disk(&mut self, net: &mut Network) -> Result<(), Broken> {
        if self.disk.failing {
            self.disk.told = true;
            let retry = Event::Disk { actor: self.actor, run: net.hosts[self.actor].run };
            net.clock.after(RETRY_STORE, retry);
            return self.fact(net, Input::StoreFailed { error: "no space left; make room".to_owned() });
        }
        let ids: Vec<_> = self.disk.waiting.iter().take(self.disk.writing).map(Transaction::id).collect();
        for _ in &ids {
            let transaction = self.disk.waiting.pop_front().expect("what is written waits until it is");
            self.disk.keep(transaction);
        }
        self.disk.writing = 0;
        self.counts.stored += ids.len() as u64;
        self.write(net);
        let links: Vec<_> = self.feeds.keys().copied().collect();
        for link in links {
            self.feed(net, link);
        }
        if std::mem::take(&mut self.disk.told) {
            self.fact(net, Input::StoreRecovered)?;
        }
        self.fact(net, Input::Stored { ids })
    }

    pub(super) fn is_on_disk(&self, id: &TransactionId) -> bool {
        self.disk.stored.iter().rev().any(|transaction| transaction.id() == *id)
    }

    pub(super) fn store(&mut self, net: &mut Network, transaction: &Transaction) -> Result<(), Fault> {
        self.watch.on_store(transaction.id())?;
        self.disk.waiting.push_back(transaction.clone());
        self.write(net);
        Ok(())
    }

    /// Begins to write what waits, unless a write is under way.
    fn write(&mut self, net: &mut Network) {
        if self.disk.writing == 0 && !self.disk.waiting.is_empty() {
            self.disk.writing = self.disk.waiting.len();
            let time = Duration::from_micros(net.rng.random_range(500..20_000));
            net.clock.after(time, Event::Disk { actor: self.actor, run: net.hosts[self.actor].run });
        }
    }

    /// Queues single transactions from the pool on a link, as far as there is room; the rest is found by the next comparison.
    pub(super) fn fetch(&mut self, net: &mut Network, link: LinkId, positions: &[u64]) {
        let half = net.limits.queue_bytes / 2;
        for position in positions {
            let room = net.end(self.actor, link).is_some_and(|end| end.listens() && end.payload_bytes < half);
            let Some(transaction) = self.disk.stored.get(*position as usize).filter(|_| room) else { return };
            let frame = TransactionFrame::sync_frame(transaction.body(), self.session);
            if net.send(self.actor, link, Item::Text(frame), Queue::Feed).is_err() {
                return;
            }
        }
    }

    /// A link's queue became shorter: if it is being fed, there may be room for more.
    pub fn on_drained(&mut self, net: &mut Network, link: LinkId) -> Result<(), Broken> {
        if self.feeds.contains_key(&link) {
            self.feed(net, link);
        }
        self.follow_ups.pop_front().map_or(Ok(()), |input| self.fact(net, input))
    }

    /// Queues transactions from the pool on a link while at most half of its queue is used.
    pub(super) fn feed(&mut self, net: &mut Network, link: LinkId) {
        let half = net.limits.queue_bytes / 2;
        let Some(feed) = self.feeds.get_mut(&link) else { return };
        // Room first, then the end: a link without room is not told to be fed, else the core would push more, be refused, and order to feed again.
        while net.end(self.actor, link).is_some_and(|end| end.payload_bytes < half) {
            let end = feed.until.unwrap_or(u64::MAX).min(self.disk.stored.len() as u64);
            if feed.next >= end {
                let position = feed.next;
                self.feeds.remove(&link);
                return self.follow_ups.push_back(Input::Replayed { link, position });
            }
            let body = self.disk.stored[feed.next as usize].body();
            let frame = if feed.synced {
                TransactionFrame::sync_frame(body, self.session)
            } else {
                TransactionFrame::client_frame(body, false)
            };
            net.trace.note(net.clock.now(), self.actor, "feeding", link.0, frame.as_str());
            if net.send(self.actor, link, Item::Text(frame), Queue::Feed).is_err() {
                return;
            }
            feed.next += 1;
        }
    }
}
