//! The timers of the core: at most one for each [`Timer`] value, the earliest first.
//!
//! A timer that is set again moves; one that is cancelled never fires. So no handler has to check
//! whether its timer is stale. Components set timers through the context; the node takes those that
//! are due and routes them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::address::PeerAddress;
use crate::id::LinkId;
use crate::wire::SearchId;

/// The purpose of a timer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// An address is due to be dialled or probed.
    Dial(PeerAddress),
    /// A dial that failed counts no longer, so that one that waits may begin.
    NextDial,
    /// Liveness check of a link: ping it if it is silent.
    Ping(LinkId),
    /// Silence check of a link without a HANDSHAKE: a client, or a peer that did not introduce
    /// itself.
    Silence(LinkId),
    /// Time-out of the address verification or of the JOIN of a native peer: it is answered now.
    Answer(LinkId),
    /// Scan of the records of the local network.
    Discover,
    /// Announcement of our free slots on the local network, if they changed.
    Advertise,
    /// A round of set reconciliation.
    Reconcile,
    /// The next request of transactions that lapses.
    Wants,
    /// The next request of broadcasts that lapses.
    WantBroadcasts,
    /// GRAFTs that waited because many were sent.
    Grafts,
    /// The search for slots.
    SlotSearch,
    /// A shuffle with a random node.
    Shuffle,
    /// The beacon of our partition, or the time-out of its root.
    Partition,
    /// The move of a link to a random node.
    Rewire,
    /// The write of the peer cache.
    PeerCache,
    /// Something is due on a link to an exercise peer.
    Exercise(LinkId),
    /// The next look at an exercise peer that was referred to others, or lost a link elsewhere.
    ExerciseLook,
    /// The next EXERCISE to the neighbours.
    ExerciseUpdates,
    /// Time-out of the ping on the older of two links to one node.
    Duplicate(LinkId),
    /// The announcement of this node.
    Announce,
    /// The announcement of this node to new neighbors.
    AnnounceToNew,
    /// The next part of the node list for neighbors that requested it.
    SendNodes,
    /// The neighbour that was asked for the node list has sent nothing: another is asked.
    RequestNodes,
    /// The removal of nodes that have expired.
    ExpireNodes,
    /// Time-out of an image search.
    Search(SearchId),
    /// The report of suppressed refusals.
    RefusalLog,
    /// Nobody has reached this node for a while: the user is warned.
    Unreachable,
    /// Members of this node's topics are to be linked.
    SeekMembers,
}

/// The timers that are set.
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

    /// Returns when the earliest timer fires.
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

    #[test]
    fn a_timer_fires_at_its_time_and_once() {
        let start = Instant::now();
        let mut timers = Timers::default();
        assert_eq!((timers.next(), timers.pop_due(start)), (None, None));
        timers.set(Timer::Announce, start + Duration::from_nanos(2));
        assert_eq!(timers.due(&Timer::Announce), Some(start + Duration::from_nanos(2)));
        assert_eq!(timers.due(&Timer::ExpireNodes), None);
        assert_eq!(timers.pop_due(start + Duration::from_nanos(1)), None);
        assert_eq!(timers.pop_due(start + Duration::from_nanos(2)), Some(Timer::Announce));
        assert_eq!((timers.due(&Timer::Announce), timers.next()), (None, None));
        timers.cancel(&Timer::Announce);
    }

    #[test]
    fn of_timers_at_the_same_time_the_first_in_the_list_fires_first() {
        let start = Instant::now();
        let mut timers = Timers::default();
        let list = [Timer::Ping(LinkId(1)), Timer::Ping(LinkId(2)), Timer::Announce, Timer::AnnounceToNew];
        list.iter().rev().for_each(|timer| timers.set(timer.clone(), start));
        assert_eq!(list.each_ref().map(|_| timers.pop_due(start).expect("due")), list);
    }
}
