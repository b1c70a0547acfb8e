//! Parts of a network that formed apart, and how they become one.
//!
//! In a part whose nodes have no free places nobody looks for links, and so nothing would ever lead out of it: a cut that lasted a minute would last for ever. So
//! each connected part has a **root**, the least session in it, whose BEACON goes to everybody each ten seconds. A node that meets another root, on a visit
//! or when it is declined, has found another part. If it has a free place it links the two; else, if its own root is the greater one, it gives up one link
//! for that. The whole then has one root within a moment, and nothing moves any more.
//!
//! A root that falls silent is forgotten, and the next takes its place. What a liar can do here is make a node change one link in half a minute.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rand::RngExt;

use crate::Lane;
use crate::address::PeerAddress;
use crate::connections::Connections;
use crate::context::Context;
use crate::event::Event;
use crate::id::{LinkId, Session};
use crate::membership::{Membership, dial_for};
use crate::peers::Peers;
use crate::peers::dial_reason::DialReason;
use crate::timers::Timer;
use crate::wire::Beacon;

/// How often a root sends its beacon.
const BEACON_EVERY: Duration = Duration::from_secs(10);
/// How soon another beacon of one root is passed on: a hasty one must not fill the network.
const BEACON_AT_MOST: Duration = Duration::from_secs(3);
/// How soon another root is taken after one was taken.
const ROOT_AT_MOST: Duration = Duration::from_millis(500);
/// After this long without a beacon a root is gone.
const ROOT_GONE: Duration = Duration::from_secs(35);
/// How far a root's count may jump: further, and a liar could end it for everybody.
const JUMP: u64 = 1_000;
/// How many roots that are gone are remembered.
const SPENT: usize = 16;
/// A node must have had its root for this long before it acts on another: while parts grow together roots change.
const SETTLED: Duration = Duration::from_secs(12);
/// How long between two attempts to link two parts, at least; each wait is drawn from one to two of it.
const MERGE_EVERY: Duration = Duration::from_secs(15);
/// Within which time after that whoever has met another part too early asks there again.
const VISIT_WITHIN: Duration = Duration::from_secs(2);
/// How long a place is kept for the link between two parts, until it can be dialled.
const MERGE_WITHIN: Duration = Duration::from_secs(5);

/// The part of the network that we are in.
#[derive(Debug)]
pub(crate) struct Partitions {
    own: Session,
    root: Session,
    seq: u64,
    heard: Instant,
    since: Instant,
    spent: VecDeque<(Session, u64)>,
    next_merge: Option<Instant>,
}

impl Partitions {
    pub(crate) fn new(own: Session, now: Instant) -> Self {
        Self { own, root: own, seq: 0, heard: now, since: now, spent: VecDeque::new(), next_merge: None }
    }

    /// The root, as far as we know.
    pub(crate) fn root(&self) -> Session {
        self.root
    }

    /// Takes a beacon; says whether it is news.
    fn take(&mut self, now: Instant, beacon: Beacon) -> bool {
        if beacon.root == self.own || self.spent.iter().any(|(root, seq)| *root == beacon.root && beacon.seq <= *seq) {
            return false;
        }
        let since = now.saturating_duration_since(self.since);
        if beacon.root < self.root && (self.root == self.own || since >= ROOT_AT_MOST) {
            (self.root, self.seq, self.heard, self.since) = (beacon.root, beacon.seq, now, now);
            return true;
        }
        let next = beacon.root == self.root && beacon.seq > self.seq && beacon.seq - self.seq <= JUMP;
        let news = next && now.saturating_duration_since(self.heard) >= BEACON_AT_MOST;
        if news {
            (self.seq, self.heard) = (beacon.seq, now);
        }
        news
    }

    /// It is time for a beacon of our own, or to give the root up; says whether there is something to send.
    fn beat(&mut self, now: Instant) -> bool {
        if self.root != self.own {
            if now.saturating_duration_since(self.heard) < ROOT_GONE {
                return false;
            }
            self.spent.push_front((self.root, self.seq));
            self.spent.truncate(SPENT);
            (self.root, self.since) = (self.own, now);
            self.seq = self.spent.iter().find(|(root, _)| *root == self.own).map_or(0, |(_, seq)| *seq);
        }
        self.seq += 1;
        self.heard = now;
        true
    }

    fn beacon(&self) -> Beacon {
        Beacon { root: self.root, seq: self.seq }
    }
}

impl Membership {
    pub(crate) fn on_beacon_due(&mut self, cx: &mut Context, conns: &mut Connections) {
        cx.timers.set(Timer::Partition, cx.now + BEACON_EVERY);
        if self.partitions.beat(cx.now) {
            self.pass_beacon_on(cx, conns, None);
        }
    }

    pub(crate) fn on_beacon(&mut self, cx: &mut Context, conns: &mut Connections, link: LinkId, beacon: Beacon) {
        let linked = conns.links.get(link).is_some_and(|link| link.native().is_some() && link.takes_transactions());
        if cx.config.max_peers.is_some() && linked && self.partitions.take(cx.now, beacon) {
            self.pass_beacon_on(cx, conns, Some(link));
        }
    }

    fn pass_beacon_on(&mut self, cx: &mut Context, conns: &mut Connections, except: Option<LinkId>) {
        let full = conns
            .links
            .iter()
            .filter(|(id, link)| Some(*id) != except && link.native().is_some() && link.takes_transactions());
        let links: Vec<LinkId> = full.map(|(id, _)| id).collect();
        if !links.is_empty() {
            cx.send(links, self.partitions.beacon().to_frame(), Lane::Control);
        }
    }

    /// A new neighbour is told at once.
    pub(crate) fn send_beacon(&mut self, cx: &mut Context, link: LinkId) {
        if cx.config.max_peers.is_some() {
            cx.send(vec![link], self.partitions.beacon().to_frame(), Lane::Control);
        }
    }

    /// The node at an address, of which the other end of `link` told, has this root. If it is not ours, the two parts are to be linked.
    pub(crate) fn on_partition_learned(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        conns: &mut Connections,
        link: LinkId,
        address: &PeerAddress,
        root: Session,
    ) {
        let partition = &self.partitions;
        if root == partition.root || cx.config.max_peers.is_none() || cx.shutting_down {
            return;
        }
        let may = partition.next_merge.unwrap_or(cx.now).max(partition.since + SETTLED);
        if cx.now < may {
            // Whoever lives there is asked again as soon as it may be acted on.
            let at = may + VISIT_WITHIN.mul_f64(cx.rng.random_range(0.0..1.0));
            self.add_addresses(cx, peers, conns, link, std::slice::from_ref(address));
            return self.shuffle_soon(cx, address, at);
        }
        let full = self.is_full(cx, conns, None);
        if full && root > partition.root {
            // The others come to us: if both sides gave up links, both would be the poorer.
            return;
        }
        self.partitions.next_merge = Some(cx.now + MERGE_EVERY.mul_f64(cx.rng.random_range(1.0..2.0)));
        self.add_addresses(cx, peers, conns, link, std::slice::from_ref(address));
        let gave_up = if full { self.links_to_release(cx, peers, conns, true).into_iter().next() } else { None };
        if full && gave_up.is_none() {
            return;
        }
        let name = gave_up.map(|link| conns.links.name_of(link));
        if let Some(link) = gave_up {
            cx.counters.partitions_healed += 1;
            self.refer(cx, peers, conns, link, None, "this place links another part of the network now");
        }
        cx.notify(Event::HealingPartition { address: address.clone(), gave_up: name });
        self.search.healing = Some((address.clone(), cx.now + MERGE_WITHIN));
        self.heal_partition(cx, peers, conns);
    }

    /// Dials the node that leads to another part, once the link over which we heard of it is gone.
    pub(crate) fn heal_partition(&mut self, cx: &mut Context, peers: &mut Peers, conns: &mut Connections) {
        if let Some((address, until)) = self.search.healing.clone()
            && cx.now < until
            && dial_for(cx, peers, conns, &address, DialReason::Slot { high_priority: true, referred_by: None })
        {
            self.search.healing = None;
        }
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
}
