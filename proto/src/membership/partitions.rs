//! Partition detection by lowest id, and partition healing.
//!
//! If all nodes of a partition have full views, none of them looks for links, and the partition
//! would last for ever. So the node with the lowest session, the **root**, floods a BEACON every
//! ten seconds, and its session identifies the partition. The same idea elects a leader by flooding
//! the lowest id, and the root bridge in IEEE 802.1D.
//!
//! A node that meets another root, in a shuffle or in DECLINED, has found another partition. With a
//! free slot it links to it. If its view is full, the node with the greater root releases a link
//! that it accepted. Afterwards all have one root, and no more links change. A root in a JOIN on an
//! accepted link is a claim: a shuffle visits that node first.
//!
//! A root that falls silent is replaced by the next lowest session. A liar that answers at an
//! address can make a node change one accepted link in 15 s (`healing`).
//!
//! Sessions are no keys, so beacons are not signed, and their numbers prove nothing. They only tell
//! one beacon from another: each is taken once. An order of numbers would let a liar silence the
//! root by a number that the root reaches in hours. With a liar in it, a partition has a root for
//! as long as the liar or the root sends. Once the liar is gone, the beacons of the root count at
//! once.
//!
//! A root that is gone must not live on by echoes. So a new neighbour is told of a root only while
//! that is fresh and was heard of twice, and all who were told before remember the beacon for
//! longer.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::id::Session;
use crate::wire::Beacon;

/// The shortest time between two beacons of one root that are relayed: a root that sends faster
/// must not fill the network.
const RELAY_INTERVAL: Duration = Duration::from_secs(3);
/// The shortest time between two changes of the root: a liar that invents roots must not fill the
/// network.
const ROOT_INTERVAL: Duration = Duration::from_millis(500);
/// How long a root may be silent: three beacons and a reserve. Then it is gone.
const ROOT_TIMEOUT: Duration = Duration::from_secs(35);
/// How long a beacon is remembered, and not taken again. It is less than [`ROOT_TIMEOUT`]: if a
/// liar sends numbers before the root does, one beacon of the root counts before its time is over.
const REMEMBERED: Duration = Duration::from_secs(30);
/// For how long a new neighbour is told of a beacon of another root. A root sends one in ten
/// seconds. It is half of [`REMEMBERED`]: a beacon takes less than the rest to reach all nodes.
const FRESH: Duration = Duration::from_secs(15);

/// The partition that this node is in.
#[derive(Debug)]
pub(crate) struct Partitions {
    /// The session of this node.
    own: Session,
    /// The sequence number of our own last beacon. It never begins again: nodes of the previous
    /// release that took us for gone ignore the numbers that they heard before.
    own_seq: u64,
    /// The lowest session known: the id of the partition.
    root: Session,
    /// The sequence number of the last beacon.
    seq: u64,
    /// When that came.
    heard: Instant,
    /// Whether it was not the first one of this root.
    is_confirmed: bool,
    /// When this root was taken.
    pub(super) since: Instant,
    /// The beacons of others that were taken within [`REMEMBERED`], the oldest first. The intervals
    /// bound them: there are some 60 at most.
    taken: VecDeque<(Instant, Beacon)>,
    /// From when the next partition may be healed.
    pub(super) next_heal: Option<Instant>,
    /// From when the next node is visited that dialled us and says that it has another root.
    pub(super) next_look: Option<Instant>,
}

impl Partitions {
    pub(crate) fn new(own: Session, now: Instant) -> Self {
        Self {
            own,
            own_seq: 0,
            root: own,
            seq: 0,
            heard: now,
            is_confirmed: false,
            since: now,
            taken: VecDeque::new(),
            next_heal: None,
            next_look: None,
        }
    }

    /// Returns the root: the id of our partition.
    pub(crate) fn root(&self) -> Session {
        self.root
    }

    /// Takes a beacon; returns whether it is relayed.
    pub(super) fn take(&mut self, now: Instant, beacon: Beacon) -> bool {
        let since = |at: Instant| now.saturating_duration_since(at);
        self.taken.retain(|(at, _)| since(*at) < REMEMBERED);
        if beacon.root == self.own || self.taken.iter().any(|(_, taken)| *taken == beacon) {
            return false;
        }
        let is_lower = beacon.root < self.root && (self.root == self.own || since(self.since) >= ROOT_INTERVAL);
        let is_next = beacon.root == self.root && since(self.heard) >= RELAY_INTERVAL;
        if is_lower {
            (self.root, self.since) = (beacon.root, now);
        }
        if is_lower || is_next {
            (self.seq, self.heard, self.is_confirmed) = (beacon.seq, now, is_next);
            self.taken.push_back((now, beacon));
        }
        is_lower || is_next
    }

    /// Handles the beacon timer: replaces a root that is gone by ourselves. Returns whether to send
    /// a beacon.
    pub(super) fn beat(&mut self, now: Instant) -> bool {
        if self.root != self.own {
            if now.saturating_duration_since(self.heard) < ROOT_TIMEOUT {
                return false;
            }
            (self.root, self.since) = (self.own, now);
        }
        self.own_seq += 1;
        (self.seq, self.heard) = (self.own_seq, now);
        true
    }

    /// Returns the beacon that a new neighbour is told; `None` if it could be the echo of a root
    /// that is gone.
    pub(super) fn beacon_for_new(&self, now: Instant) -> Option<Beacon> {
        let is_alive = self.is_confirmed && now.saturating_duration_since(self.heard) < FRESH;
        (self.root == self.own || is_alive).then(|| self.beacon())
    }

    pub(super) fn beacon(&self) -> Beacon {
        Beacon { root: self.root, seq: self.seq }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);
    const BEAT: Duration = Duration::from_secs(10);

    fn root(number: u8) -> Session {
        Session::from_random([number; 16])
    }

    fn beacon(number: u8, seq: u64) -> Beacon {
        Beacon { root: root(number), seq }
    }

    #[test]
    fn the_least_root_is_taken_and_its_later_beacons_are_passed_on() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut partition = Partitions::new(root(5), start);
        assert!(!partition.take(at(1), beacon(7, 1)), "a greater one");
        assert!(partition.take(at(1), beacon(3, 4)));
        assert!(!partition.take(at(2), beacon(3, 4)), "heard already");
        assert!(!partition.take(at(2), beacon(3, 5)), "too soon");
        assert!(partition.take(at(11), beacon(3, 5)));
        assert!(partition.take(at(21), beacon(2, 1)));
        assert!(!partition.take(at(21), beacon(1, 1)), "another at once");
    }

    #[test]
    fn beacons_of_one_root_are_relayed_three_seconds_apart() {
        let (start, interval) = (Instant::now(), RELAY_INTERVAL);
        let mut partition = Partitions::new(root(5), start);
        assert!(partition.take(start, beacon(3, 4)));
        assert!(!partition.take(start + interval - MILLISECOND, beacon(3, 5)));
        assert!(partition.take(start + interval, beacon(3, 5)));
        assert!(!partition.take(start + interval * 2 - MILLISECOND, beacon(3, 6)));
        assert_eq!(partition.beacon(), beacon(3, 5));
    }

    #[test]
    fn beacons_of_greater_roots_and_those_that_were_taken_are_not_relayed() {
        let start = Instant::now();
        let mut partition = Partitions::new(root(5), start);
        assert!(partition.take(start, beacon(3, 4)));
        for (number, seq) in [(4, 5), (7, 5), (5, 9), (3, 4)] {
            assert!(!partition.take(start + BEAT, beacon(number, seq)), "{number}, {seq}");
        }
        assert_eq!(partition.beacon(), beacon(3, 4));
        assert!(partition.take(start + BEAT, beacon(3, 2)), "another way may be slower");
    }

    /// Whatever a liar sends, the root is there while one of them sends, and no longer.
    #[test]
    fn no_number_silences_a_root() {
        let start = Instant::now();
        for (first, step) in [(u64::MAX, 0), (u64::MAX - 9, 1), (1_000, 1_000), (8, 1), (4, 1), (20, 0)] {
            let mut partition = Partitions::new(root(5), start);
            let mut now = start;
            // The liar is first, and as fast as may be.
            for n in 0..10 {
                assert_eq!(partition.take(now, beacon(3, first + n * step)), n == 0 || step > 0, "{first} {n}");
                now += RELAY_INTERVAL;
            }
            // Then there is the root alone, which comes to number 11 now.
            let mut last = now;
            for seq in 11..100 {
                now += BEAT;
                if partition.take(now, beacon(3, seq)) {
                    last = now;
                }
                assert!(now - last <= REMEMBERED, "{first} {step}: {seq}");
                assert!(!partition.beat(now) && partition.root() == root(3), "{first} {step}: {seq}");
            }
        }
    }

    #[test]
    fn an_invented_root_is_gone_soon_after_its_inventor_and_the_real_one_counts_at_once() {
        let start = Instant::now();
        let mut partition = Partitions::new(root(5), start);
        assert!(partition.take(start, beacon(3, 40)));
        assert!(partition.take(start + BEAT, beacon(1, u64::MAX)));
        assert!(!partition.take(start + BEAT * 2, beacon(3, 42)), "a greater root");
        assert!(partition.beat(start + BEAT + ROOT_TIMEOUT));
        assert!(partition.take(start + BEAT * 5, beacon(3, 45)) && partition.root() == root(3));
    }

    #[test]
    fn roots_change_half_a_second_apart_except_from_our_own() {
        let start = Instant::now();
        let mut partition = Partitions::new(root(5), start);
        assert!(partition.take(start, beacon(4, 1)), "from our own at once");
        assert!(!partition.take(start + ROOT_INTERVAL - MILLISECOND, beacon(3, 1)));
        assert!(partition.take(start + ROOT_INTERVAL, beacon(3, 1)));
        assert_eq!((partition.root(), partition.since), (root(3), start + ROOT_INTERVAL));
        assert!(!partition.take(start + ROOT_INTERVAL * 9, beacon(5, 9)), "our own, echoed");
    }

    #[test]
    fn a_root_is_gone_after_thirty_five_seconds_of_silence() {
        let start = Instant::now();
        let mut partition = Partitions::new(root(5), start);
        assert!(partition.beat(start), "a node is its own root at first");
        assert!(partition.take(start, beacon(3, 4)));
        assert!(!partition.beat(start + ROOT_TIMEOUT - MILLISECOND));
        assert!(partition.beat(start + ROOT_TIMEOUT));
        assert_eq!(partition.root(), root(5));
        assert_eq!(partition.since, start + ROOT_TIMEOUT);
    }

    #[test]
    fn a_beacon_is_not_taken_twice_while_anybody_tells_it() {
        let start = Instant::now();
        let mut partition = Partitions::new(root(5), start);
        assert!(partition.take(start, beacon(3, 4)));
        let late = start + REMEMBERED;
        assert!(!partition.take(late - MILLISECOND, beacon(3, 4)), "an echo");
        assert!(partition.take(late, beacon(3, 4)));
        assert_eq!(partition.taken.len(), 1, "what was forgotten takes no room");
    }

    /// A newcomer that is told of a root by a neighbour tells nobody of it before the root sends
    /// again. So the last beacon of a root that is gone does not go from newcomer to newcomer.
    #[test]
    fn a_new_neighbour_is_told_of_a_root_that_was_heard_of_twice_and_lately() {
        let start = Instant::now();
        let mut partition = Partitions::new(root(5), start);
        assert_eq!(partition.beacon_for_new(start + BEAT * 9), Some(beacon(5, 0)), "our own always");
        assert!(partition.take(start, beacon(3, 4)));
        assert_eq!(partition.beacon_for_new(start), None);
        assert!(partition.take(start + BEAT, beacon(3, 5)));
        assert_eq!(partition.beacon_for_new(start + BEAT + FRESH - MILLISECOND), Some(beacon(3, 5)));
        assert_eq!(partition.beacon_for_new(start + BEAT + FRESH), None);
        assert!(partition.take(start + BEAT * 2, beacon(2, 1)));
        assert_eq!(partition.beacon_for_new(start + BEAT * 2), None, "another root");
    }

    #[test]
    fn our_own_numbers_go_on_where_they_ended() {
        let start = Instant::now();
        let mut partition = Partitions::new(root(5), start);
        assert!((0..3).all(|_| partition.beat(start)));
        assert!(partition.take(start, beacon(3, 40)));
        assert!(partition.beat(start + ROOT_TIMEOUT));
        // A node of the previous release that took us for gone ignores the numbers that it heard.
        assert_eq!(partition.beacon(), beacon(5, 4));
    }
}
