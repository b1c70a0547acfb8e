//! The timers of the core: at most one per purpose, the earliest first.
//!
//! Setting a timer again moves it, and a cancelled one never fires. So no handler has to check
//! whether its timer is out of date. Timers that are due at the same time fire in the order of
//! [`Timer`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::address::PeerAddress;
use crate::id::LinkId;
use crate::wire::SearchId;

/// The purpose of a timer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// An address may be dialled.
    Dial(PeerAddress),
    /// A link is pinged if it is silent.
    Ping(LinkId),
    /// A link to no peer is closed if it was silent for too long.
    Silence(LinkId),
    /// A native peer waits no longer: our HANDSHAKE goes out, whether its address is verified or
    /// not.
    Answer(LinkId),
    /// The records of the local network are looked through.
    Discover,
    /// The free slots are announced on the local network, if they changed.
    Advertise,
    /// A round of anti-entropy begins.
    Reconcile,
    /// A place is wanted.
    SlotSearch,
    /// A random node is to be asked for addresses.
    Shuffle,
    /// The pulse of our part of the network.
    Partition,
    /// A link is to be moved to a random node.
    Rewire,
    /// What is remembered over a restart is to be written.
    PeerCache,
    /// The older of two links to one node had its time to answer a ping.
    Duplicate(LinkId),
    /// We announce ourselves to all neighbors.
    Announce,
    /// We announce ourselves to new neighbors.
    AnnounceToNew,
    /// Neighbors that asked for all nodes are sent some more.
    SendNodes,
    /// Nodes that have expired are removed.
    ExpireNodes,
    /// A search for images is at its deadline.
    Search(SearchId),
    /// Somebody was turned away without a word.
    RefusalLog,
}

/// All timers that are set.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    order: BTreeSet<(Instant, Timer)>,
    due: BTreeMap<Timer, Instant>,
}

impl Timers {
    /// Sets a timer, or moves it.
    pub(crate) fn set(&mut self, timer: Timer, at: Instant) {
        self.cancel(&timer);
        self.order.insert((at, timer.clone()));
        self.due.insert(timer, at);
    }

    /// Cancels a timer, if it is set.
    pub(crate) fn cancel(&mut self, timer: &Timer) {
        if let Some((timer, at)) = self.due.remove_entry(timer) {
            self.order.remove(&(at, timer));
        }
    }

    /// Returns when a timer fires; `None` if it is not set.
    pub(crate) fn due(&self, timer: &Timer) -> Option<Instant> {
        self.due.get(timer).copied()
    }

    /// Returns when the next timer fires.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Takes the earliest timer, if it is due.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<Timer> {
        if self.next()? > now {
            return None;
        }
        let (_, timer) = self.order.pop_first()?;
        self.due.remove(&timer);
        Some(timer)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_timer_that_is_set_again_moves_and_a_cancelled_one_never_fires() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut timers = Timers::default();
        timers.set(Timer::Ping(LinkId(1)), at(1));
        timers.set(Timer::Ping(LinkId(2)), at(2));
        timers.set(Timer::Ping(LinkId(1)), at(3));
        timers.set(Timer::Duplicate(LinkId(3)), at(0));
        timers.cancel(&Timer::Duplicate(LinkId(3)));
        assert_eq!(timers.next(), Some(at(2)));
        assert_eq!(timers.pop_due(at(1)), None);
        assert_eq!(timers.pop_due(at(9)), Some(Timer::Ping(LinkId(2))));
        assert_eq!(timers.pop_due(at(9)), Some(Timer::Ping(LinkId(1))));
        assert_eq!(timers.pop_due(at(9)), None);
        assert_eq!(timers.next(), None);
    }
}
