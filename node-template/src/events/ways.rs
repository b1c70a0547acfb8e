//! The ways of the last transactions through this node: who brought each, where it went and where
//! not, and when it was on disk. They are for people who ask later.
//!
//! Who reads them asks for the ways of so many of the next transactions, as with
//! [samples](crate::events::Sampling). All others pass without a look at them, so a busy node pays
//! for some sixty a second.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::protocol::id::LinkId;
use crate::protocol::trace::{SendDecision, Trace};
use crate::protocol::transaction::{IdSet, TransactionId};
use crate::util::time_of_day::time_of_day;

/// How many ways are kept. Each names 64 links at most, so all have some 2 MB at most; in a network
/// of three nodes it is 0.1 MB.
pub(crate) const WAYS: usize = 200;

/// The way of one transaction.
#[derive(Debug, Clone)]
#[cfg_attr(not(feature = "web"), expect(dead_code, reason = "the page shows it"))]
pub(crate) struct Way {
    /// When it was accepted, in seconds since 1970.
    pub(crate) time: f64,
    /// When it was on disk, in seconds since 1970.
    pub(crate) stored: Option<f64>,
    pub(crate) trace: Trace,
}

#[derive(Debug, Default)]
struct Kept {
    /// The oldest first.
    ways: VecDeque<Way>,
    /// Those that wait for the disk.
    unstored: IdSet,
}

#[derive(Debug, Default)]
struct Shared {
    /// Of how many of the next transactions the way is wanted.
    wanted: AtomicUsize,
    /// How many wait for the disk. The driver reads it without the lock.
    unstored: AtomicUsize,
    kept: Mutex<Kept>,
}

/// See the module. Clones share the ways.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ways(Arc<Shared>);

impl Ways {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        // Only the allocator can panic while the lock is held, and each change is whole by then.
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Requests the ways of the next transactions.
    #[cfg_attr(not(feature = "web"), expect(dead_code, reason = "the page asks"))]
    pub(crate) fn request(&self, next: usize) {
        self.0.wanted.store(next, Ordering::Relaxed);
    }

    /// Returns of how many of the next transactions the way is wanted. Asked once per batch.
    pub(crate) fn wanted(&self) -> usize {
        self.0.wanted.load(Ordering::Relaxed)
    }

    /// Keeps the way of a transaction that was just accepted. `full`: links whose queue had no room
    /// for it. Called by the driver only.
    pub(crate) fn record(&self, mut trace: Trace, full: &[LinkId]) {
        // A concurrent `request` may be overwritten: then one way fewer is kept.
        self.0.wanted.store(self.wanted().saturating_sub(1), Ordering::Relaxed);
        for traced in trace.links.iter_mut().filter(|traced| traced.decision == SendDecision::Sent) {
            if full.contains(&traced.link) {
                traced.decision = SendDecision::QueueFull;
            }
        }
        let mut kept = self.lock();
        if kept.ways.len() >= WAYS
            && let Some(oldest) = kept.ways.pop_front()
        {
            kept.unstored.remove(&oldest.trace.id);
        }
        kept.unstored.insert(trace.id);
        kept.ways.push_back(Way { time: time_of_day(), stored: None, trace });
        self.0.unstored.store(kept.unstored.len(), Ordering::Relaxed);
    }

    /// Notes that transactions are on disk.
    pub(crate) fn on_stored(&self, ids: &[TransactionId]) {
        if self.0.unstored.load(Ordering::Relaxed) == 0 {
            return;
        }
        let (mut kept, now) = (self.lock(), time_of_day());
        for id in ids {
            if kept.unstored.is_empty() {
                break;
            }
            if kept.unstored.remove(id)
                && let Some(way) = kept.ways.iter_mut().rev().find(|way| way.trace.id == *id)
            {
                way.stored = Some(now);
            }
        }
        self.0.unstored.store(kept.unstored.len(), Ordering::Relaxed);
    }

    /// Returns the way of a transaction; `None` if it is not among those that are kept.
    #[cfg_attr(not(feature = "web"), expect(dead_code, reason = "the page shows it"))]
    pub(crate) fn find(&self, id: &TransactionId) -> Option<Way> {
        self.lock().ways.iter().rev().find(|way| way.trace.id == *id).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::event::PeerName;
    use crate::protocol::trace::TracedLink;

    fn id(number: u16) -> TransactionId {
        let mut id = [0; 32];
        id[..2].copy_from_slice(&number.to_be_bytes());
        TransactionId(id)
    }

    fn trace(number: u16, links: &[u64]) -> Trace {
        let peer = PeerName { node: None, address: None };
        let links = links.iter().map(|link| TracedLink {
            link: LinkId(*link),
            peer: peer.clone(),
            decision: SendDecision::Sent,
        });
        Trace { id: id(number), origin: None, from: None, links: links.collect(), more: 0, clients: 0 }
    }

    #[test]
    fn the_last_ways_are_kept_with_the_time_when_they_were_stored() {
        let ways = Ways::default();
        ways.request(2);
        for number in 0..300 {
            ways.record(trace(number, &[]), &[]);
        }
        assert_eq!(ways.wanted(), 0);
        assert_eq!(ways.lock().ways.len(), WAYS);
        assert_eq!(ways.lock().unstored.len(), WAYS);
        assert!(ways.find(&id(99)).is_none(), "the oldest make room");
        ways.on_stored(&[id(5), id(100), id(299)]);
        let stored = [100, 101, 299].map(|number| ways.find(&id(number)).map(|way| way.stored.is_some()));
        assert_eq!(stored, [Some(true), Some(false), Some(true)]);
        assert_eq!(ways.0.unstored.load(Ordering::Relaxed), WAYS - 2);
        ways.on_stored(&(0..300).map(id).collect::<Vec<_>>());
        assert_eq!((ways.0.unstored.load(Ordering::Relaxed), ways.lock().unstored.len()), (0, 0));
    }

    #[test]
    fn a_link_whose_queue_was_full_was_not_sent_it() {
        let ways = Ways::default();
        ways.record(trace(1, &[1, 2]), &[LinkId(2)]);
        let way = ways.find(&id(1)).expect("kept");
        let decisions: Vec<_> = way.trace.links.iter().map(|traced| traced.decision).collect();
        assert_eq!(decisions, [SendDecision::Sent, SendDecision::QueueFull]);
    }
}
