//! Partition detection by lowest id, and partition healing.
//!
//! If all nodes of a partition have full views, none of them looks for links, and the partition
//! would last for ever. So the node with the lowest session, the **root**, floods a BEACON every
//! ten seconds, and its session identifies the partition. The same idea elects a leader by flooding
//! the lowest id, and the root bridge in IEEE 802.1D.
//!
//! A node that meets another root, in a shuffle or in DECLINED, has found another partition. With a
//! free slot it links to it. If its view is full, the node with the greater root releases one link
//! for that. Afterwards all have one root, and no more links change.
//!
//! A root that falls silent is replaced by the next lowest session. A liar can make a node change
//! one link in 15 s (`healing`).

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
/// How far the sequence number of a beacon may jump. A liar that sends the highest number would
/// otherwise silence the root for every node.
const JUMP: u64 = 1_000;
/// How many roots that are gone are remembered, so that late beacons do not revive them.
const GONE_ROOTS: usize = 16;

/// The partition that this node is in.
#[derive(Debug)]
pub(crate) struct Partitions {
    /// The session of this node.
    own: Session,
    /// The sequence number of our own last beacon. It never begins again: nodes that took us for
    /// gone ignore the numbers that they heard before.
    own_seq: u64,
    /// The lowest session known: the id of the partition.
    root: Session,
    /// The sequence number of the last beacon.
    seq: u64,
    /// When that came.
    heard: Instant,
    /// When this root was taken.
    pub(super) since: Instant,
    /// Roots that are gone, each with its last sequence number, the latest first.
    gone: VecDeque<(Session, u64)>,
    /// From when the next partition may be healed.
    pub(super) next_heal: Option<Instant>,
}

impl Partitions {
    pub(crate) fn new(own: Session, now: Instant) -> Self {
        Self { own, own_seq: 0, root: own, seq: 0, heard: now, since: now, gone: VecDeque::new(), next_heal: None }
    }

    /// Returns the root: the id of our partition.
    pub(crate) fn root(&self) -> Session {
        self.root
    }

    /// Takes a beacon; returns whether it is relayed.
    pub(super) fn take(&mut self, now: Instant, beacon: Beacon) -> bool {
        if beacon.root == self.own || self.gone.iter().any(|(root, seq)| *root == beacon.root && beacon.seq <= *seq) {
            return false;
        }
        let since = now.saturating_duration_since(self.since);
        if beacon.root < self.root && (self.root == self.own || since >= ROOT_INTERVAL) {
            (self.root, self.seq, self.heard, self.since) = (beacon.root, beacon.seq, now, now);
            return true;
        }
        let next = beacon.root == self.root && beacon.seq > self.seq && beacon.seq - self.seq <= JUMP;
        let news = next && now.saturating_duration_since(self.heard) >= RELAY_INTERVAL;
        if news {
            (self.seq, self.heard) = (beacon.seq, now);
        }
        news
    }

    /// Handles the beacon timer: replaces a root that is gone by ourselves. Returns whether to send
    /// a beacon.
    pub(super) fn beat(&mut self, now: Instant) -> bool {
        if self.root != self.own {
            if now.saturating_duration_since(self.heard) < ROOT_TIMEOUT {
                return false;
            }
            self.gone.push_front((self.root, self.seq));
            self.gone.truncate(GONE_ROOTS);
            (self.root, self.since) = (self.own, now);
        }
        self.own_seq += 1;
        (self.seq, self.heard) = (self.own_seq, now);
        true
    }

    pub(super) fn beacon(&self) -> Beacon {
        Beacon { root: self.root, seq: self.seq }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(number: u8) -> Session {
        Session::from_random([number; 16])
    }

    #[test]
    fn the_least_root_is_taken_and_its_later_beacons_are_passed_on() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut partition = Partitions::new(root(5), start);
        assert!(!partition.take(at(1), Beacon { root: root(7), seq: 1 }), "a greater one");
        assert!(partition.take(at(1), Beacon { root: root(3), seq: 4 }));
        assert!(!partition.take(at(2), Beacon { root: root(3), seq: 4 }), "heard already");
        assert!(!partition.take(at(2), Beacon { root: root(3), seq: 5 }), "too soon");
        assert!(partition.take(at(11), Beacon { root: root(3), seq: 5 }));
        assert!(!partition.take(at(21), Beacon { root: root(3), seq: 5 + JUMP + 1 }), "a liar's leap");
        assert!(partition.take(at(21), Beacon { root: root(2), seq: 1 }));
        assert!(!partition.take(at(21), Beacon { root: root(1), seq: 1 }), "another at once");
    }

    #[test]
    fn a_silent_root_is_given_up_and_its_old_beacons_bring_it_not_back() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut partition = Partitions::new(root(5), start);
        assert!(partition.take(at(0), Beacon { root: root(3), seq: 4 }));
        assert!(!partition.beat(at(30)));
        assert!(partition.beat(at(40)) && partition.root() == root(5));
        assert!(!partition.take(at(41), Beacon { root: root(3), seq: 4 }), "an echo");
        assert!(partition.take(at(42), Beacon { root: root(3), seq: 5 }), "it lives after all");
    }

    #[test]
    fn beacons_of_one_root_are_relayed_three_seconds_apart() {
        let (start, interval) = (Instant::now(), RELAY_INTERVAL);
        let mut partition = Partitions::new(root(5), start);
        assert!(partition.take(start, Beacon { root: root(3), seq: 4 }));
        let early = start + interval - Duration::from_millis(1);
        assert!(!partition.take(early, Beacon { root: root(3), seq: 5 }));
        assert!(partition.take(start + interval, Beacon { root: root(3), seq: 5 }));
        assert!(!partition.take(start + interval * 2 - Duration::from_millis(1), Beacon { root: root(3), seq: 6 }));
        assert_eq!(partition.beacon(), Beacon { root: root(3), seq: 5 });
    }

    #[test]
    fn a_beacon_may_jump_a_thousand_numbers() {
        let start = Instant::now();
        let mut partition = Partitions::new(root(5), start);
        assert!(partition.take(start, Beacon { root: root(3), seq: 4 }));
        let later = start + Duration::from_secs(10);
        assert!(!partition.take(later, Beacon { root: root(3), seq: 5 + JUMP }));
        assert!(partition.take(later, Beacon { root: root(3), seq: 4 + JUMP }));
    }

    #[test]
    fn roots_change_half_a_second_apart_except_from_our_own() {
        let start = Instant::now();
        let mut partition = Partitions::new(root(5), start);
        assert!(partition.take(start, Beacon { root: root(4), seq: 1 }), "from our own at once");
        assert!(!partition.take(start + ROOT_INTERVAL - Duration::from_millis(1), Beacon { root: root(3), seq: 1 }));
        assert!(partition.take(start + ROOT_INTERVAL, Beacon { root: root(3), seq: 1 }));
        assert_eq!((partition.root(), partition.since), (root(3), start + ROOT_INTERVAL));
        assert!(!partition.take(start + ROOT_INTERVAL * 9, Beacon { root: root(5), seq: 9 }), "our own, echoed");
    }

    #[test]
    fn a_root_is_gone_after_thirty_five_seconds_of_silence() {
        let start = Instant::now();
        let mut partition = Partitions::new(root(5), start);
        assert!(partition.beat(start), "a node is its own root at first");
        assert!(partition.take(start, Beacon { root: root(3), seq: 4 }));
        assert!(!partition.beat(start + ROOT_TIMEOUT - Duration::from_millis(1)));
        assert!(partition.beat(start + ROOT_TIMEOUT));
        assert_eq!(partition.root(), root(5));
        assert_eq!(partition.since, start + ROOT_TIMEOUT);
    }

    #[test]
    fn sixteen_roots_that_are_gone_are_remembered_and_late_beacons_of_them_ignored() {
        let start = Instant::now();
        let mut partition = Partitions::new(root(200), start);
        let mut now = start;
        for number in 0..20 {
            assert!(partition.take(now, Beacon { root: root(number), seq: 7 }), "{number}");
            now += ROOT_TIMEOUT;
            assert!(partition.beat(now));
        }
        assert_eq!(partition.gone.len(), GONE_ROOTS);
        let late = |partition: &mut Partitions, number, seq| partition.take(now, Beacon { root: root(number), seq });
        assert!(!late(&mut partition, 4, 7) && !late(&mut partition, 19, 6));
        assert!(late(&mut partition, 19, 8), "it lives after all");
        let mut partition = Partitions { root: root(200), ..partition };
        assert!(late(&mut partition, 3, 7), "the oldest are forgotten");
    }

    #[test]
    fn our_own_numbers_go_on_where_they_ended() {
        let start = Instant::now();
        let mut partition = Partitions::new(root(5), start);
        assert!((0..3).all(|_| partition.beat(start)));
        assert!(partition.take(start, Beacon { root: root(3), seq: 40 }));
        assert!(partition.beat(start + ROOT_TIMEOUT));
        // A node that took us for gone ignores the numbers that it heard before.
        assert_eq!(partition.beacon(), Beacon { root: root(5), seq: 4 });
    }
}
