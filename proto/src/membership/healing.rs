//! Partition healing: beacons, and the link between two partitions.
//!
//! [`partitions`](crate::membership::partitions) says which partition this node is in. A node that
//! meets another root links the two partitions, as described there.

use std::time::{Duration, Instant};

use rand::RngExt;

use crate::address::PeerAddress;
use crate::connections::Connections;
use crate::context::Context;
use crate::dial_reason::DialReason;
use crate::event::Event;
use crate::id::{LinkId, Session};
use crate::io::Lane;
use crate::membership::state::{Membership, dial_for};
use crate::peers::Peers;
use crate::timers::Timer;
use crate::wire::Beacon;

/// The time between two beacons of a root.
const BEACON_INTERVAL: Duration = Duration::from_secs(10);
/// How long a node has had its root before it acts on another one: while partitions grow together,
/// roots change.
const ROOT_SETTLE: Duration = Duration::from_secs(12);
/// The shortest time between two attempts to heal a partition; each wait is drawn from one to two
/// of it.
const HEAL_INTERVAL: Duration = Duration::from_secs(15);
/// The span over which shuffles are spread that repeat a meeting which came too early.
const SHUFFLE_SPREAD: Duration = Duration::from_secs(2);
/// How long a slot is reserved for the link between two partitions, until it can be dialled.
const HEAL_TIMEOUT: Duration = Duration::from_secs(5);

impl Membership {
    /// Handles the beacon timer.
    pub(crate) fn on_beacon_due(&mut self, cx: &mut Context, conns: &mut Connections) {
        cx.timers.set(Timer::Partition, cx.now + BEACON_INTERVAL);
        if self.partitions.beat(cx.now) {
            self.relay_beacon(cx, conns, None);
        }
    }

    /// Handles BEACON: floods it if it is new.
    pub(crate) fn on_beacon(&mut self, cx: &mut Context, conns: &mut Connections, link: LinkId, beacon: Beacon) {
        if cx.config.max_peers.is_some() && self.partitions.take(cx.now, beacon) {
            self.relay_beacon(cx, conns, Some(link));
        }
    }

    fn relay_beacon(&mut self, cx: &mut Context, conns: &mut Connections, except: Option<LinkId>) {
        let native = conns
            .links
            .iter()
            .filter(|(id, link)| Some(*id) != except && link.native().is_some() && link.takes_transactions());
        let links: Vec<LinkId> = native.map(|(id, _)| id).collect();
        if !links.is_empty() {
            cx.send(links, self.partitions.beacon().to_frame(), Lane::Control);
        }
    }

    /// Sends the beacon to a new neighbor at once.
    pub(crate) fn send_beacon(&mut self, cx: &mut Context, link: LinkId) {
        if let Some(beacon) = self.partitions.beacon_for_new(cx.now).filter(|_| cx.config.max_peers.is_some()) {
            cx.send(vec![link], beacon.to_frame(), Lane::Control);
        }
    }

    /// Handles the root that the node at the other end of `link`, which dialled us, says that it
    /// has. Anybody can say so, and no link changes for it. The next shuffle goes to `address`,
    /// where the node must answer.
    pub(crate) fn on_partition_claimed(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        conns: &mut Connections,
        link: LinkId,
        address: &PeerAddress,
        root: Session,
    ) {
        if root == self.partitions.root() || cx.config.max_peers.is_none() || cx.shutting_down {
            return;
        }
        let allowed = self.heal_allowed(cx).max(self.partitions.next_look.unwrap_or(cx.now));
        let at = allowed.max(cx.now) + SHUFFLE_SPREAD.mul_f64(cx.rng.random_range(0.0..1.0));
        self.add_addresses(cx, peers, conns, link, std::slice::from_ref(address));
        if allowed <= cx.now {
            self.partitions.next_look = Some(cx.now + HEAL_INTERVAL);
        }
        self.shuffle_soon(cx, address, at);
    }

    /// Returns from when this node may act on another root.
    fn heal_allowed(&self, cx: &Context) -> Instant {
        self.partitions.next_heal.unwrap_or(cx.now).max(self.partitions.since + ROOT_SETTLE)
    }

    /// Handles the root of the node at `address`, as the other end of `link` reported it, which we
    /// dialled. If it is not ours, the two partitions are linked.
    pub(crate) fn on_partition_learned(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        conns: &mut Connections,
        link: LinkId,
        address: &PeerAddress,
        root: Session,
    ) {
        if root == self.partitions.root() || cx.config.max_peers.is_none() || cx.shutting_down {
            return;
        }
        let allowed = self.heal_allowed(cx);
        if cx.now < allowed {
            // A shuffle asks that node again as soon as we may act on it.
            let at = allowed + SHUFFLE_SPREAD.mul_f64(cx.rng.random_range(0.0..1.0));
            self.add_addresses(cx, peers, conns, link, std::slice::from_ref(address));
            return self.shuffle_soon(cx, address, at);
        }
        let full = self.is_full(cx, conns, None);
        if full && root > self.partitions.root() {
            // The other side releases a link and dials us. If both did, each would lose one more.
            return;
        }
        self.partitions.next_heal = Some(cx.now + HEAL_INTERVAL.mul_f64(cx.rng.random_range(1.0..2.0)));
        self.add_addresses(cx, peers, conns, link, std::slice::from_ref(address));
        let released = if full { self.links_to_release(cx, peers, conns, false).into_iter().next() } else { None };
        if full && released.is_none() {
            return;
        }
        let name = released.map(|link| conns.links.name_of(link));
        if let Some(link) = released {
            cx.counters.partitions_healed += 1;
            self.refer(cx, peers, conns, link, None, "this slot links another partition of the network now");
        }
        cx.notify(Event::HealingPartition { address: address.clone(), gave_up: name });
        self.search.healing = Some((address.clone(), cx.now + HEAL_TIMEOUT));
        self.heal_partition(cx, peers, conns);
    }

    /// Dials the node in another partition, once the link on which it was met is closed.
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
mod tests;
