//! Random rewiring: some time after its start, a node moves a few links to random nodes.
//!
//! A newcomer finds free slots mostly at nodes that came shortly before it. So the graph follows
//! the order of arrival, and its diameter grows with the number of nodes. Rewiring one end of a few
//! links to random nodes makes paths nearly as short as in a random graph (Watts and Strogatz,
//! Nature 393, 1998). So each node takes a random walk, releases one link that it dialled, and
//! requests a slot at the end of the walk with high priority.
//!
//! If the node A at the end is full, it swaps a slot for us and refers a node B to us. B finds us
//! full and gets the address of X, whose link we released and which has a free slot. The links to X
//! and A have exchanged their ends. This **edge switch** keeps all degrees, and any graph can be
//! reached from any other of the same degrees by such steps. If a node dies midway a slot becomes
//! free, and is filled as any other.
//!
//! The gain of an attacker is bounded. A walk that meets it ends where it likes, so it may win the
//! slot that moves. But links to known peers are not moved, and of the others only these few, each
//! once.
//!
//! Its timer begins a walk. Dials, links and PEERS for [`DialReason::Walk`] are handed in.

use std::time::Duration;

use rand::RngExt;

use crate::address::PeerAddress;
use crate::connections::Connections;
use crate::connections::table::Link;
use crate::context::Context;
use crate::dial_reason::DialReason;
use crate::event::Event;
use crate::membership::slot_search::MIN_SLOTS;
use crate::membership::state::{Membership, dial_for};
use crate::membership::topic_links::needed;
use crate::peers::Peers;
use crate::peers::address_book::AddressState;
use crate::timers::Timer;

/// The shortest time from the start to the first move. By then most nodes that started together
/// have their slots.
const FIRST_MOVE: Duration = Duration::from_secs(60);
/// The factor of [`FIRST_MOVE`] that is drawn for the first wait, so that nodes do not move at the
/// same time.
const FIRST_MOVE_SPREAD: std::ops::Range<f64> = 1.0..2.5;
/// The shortest time between two moves of one node; each wait is drawn from one to two of it.
const MOVE_INTERVAL: Duration = Duration::from_secs(20);
/// For how many slots one link is moved. A few per cent suffice (Watts and Strogatz, figure 2).
const SLOTS_PER_MOVE: u32 = 6;
/// How many links are moved at most: with many slots paths are short anyway.
const MOVES: u32 = 3;
/// The lowest cap that takes part. A network with a cap of two is a ring, and an edge switch cuts a
/// ring in two about every second time.
pub(super) const MIN_CAP: u32 = 3;
/// How many steps a walk has. Address books are random samples already (see `shuffle`), and a
/// shorter walk meets an attacker less often.
const STEPS: u32 = 4;
/// How many dials a walk may use for its steps.
const DIALS: u32 = 16;
/// The fewest known addresses for a move: in a smaller network all paths are short.
const MIN_ADDRESSES: usize = 32;
/// How long a slot is reserved until the node at the end of the walk can be dialled.
const MOVE_TIMEOUT: Duration = Duration::from_secs(5);

impl Membership {
    /// Sets the time of the first move, if there is a cap of at least [`MIN_CAP`].
    pub(crate) fn schedule_rewiring(&mut self, cx: &mut Context) {
        let Some(most) = cx.config.max_peers.filter(|most| *most >= MIN_CAP) else { return };
        self.rewiring.moves = most.div_ceil(SLOTS_PER_MOVE).min(MOVES);
        cx.timers.set(Timer::Rewire, cx.now + FIRST_MOVE.mul_f64(cx.rng.random_range(FIRST_MOVE_SPREAD)));
    }

    /// Handles the rewiring timer: begins a walk.
    pub(crate) fn on_rewire_due(&mut self, cx: &mut Context, peers: &mut Peers, conns: &mut Connections) {
        let walk = &mut self.rewiring;
        if cx.shutting_down || walk.moves == 0 {
            return;
        }
        walk.moves -= 1;
        (walk.steps, walk.dials, walk.last) = (STEPS, DIALS, None);
        if walk.moves > 0 {
            cx.timers.set(Timer::Rewire, cx.now + MOVE_INTERVAL.mul_f64(cx.rng.random_range(1.0..2.0)));
        }
        if peers.book.others() >= MIN_ADDRESSES {
            self.walk_from_here(cx, peers, conns);
        }
    }

    /// Begins the walk at a random address.
    fn walk_from_here(&mut self, cx: &mut Context, peers: &mut Peers, conns: &mut Connections) {
        let good = peers.book.iter().filter(|(_, peer)| peer.state == AddressState::Waiting && peer.failures == 0);
        let choice = good.map(|(address, _)| address.clone()).collect();
        self.step(cx, peers, conns, choice);
    }

    /// Takes the next step of the walk, to one of these addresses.
    fn step(&mut self, cx: &mut Context, peers: &mut Peers, conns: &mut Connections, mut choice: Vec<PeerAddress>) {
        while self.rewiring.dials > 0
            && let Some(next) = cx.pick(&choice)
        {
            self.rewiring.dials -= 1;
            if dial_for(cx, peers, conns, &next, DialReason::Walk) {
                cx.counters.shuffles += 1;
                return;
            }
            choice.retain(|address| *address != next);
        }
    }

    /// Handles a step that reached no native peer: begins again, within the dials that are left.
    pub(crate) fn on_walk_missed(&mut self, cx: &mut Context, peers: &mut Peers, conns: &mut Connections) {
        if !cx.shutting_down && self.rewiring.steps > 0 {
            self.walk_from_here(cx, peers, conns);
        }
    }

    /// Handles the answer of the node at `address`, which named these; `free` as in PEERS.
    pub(crate) fn on_walked(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        conns: &mut Connections,
        address: PeerAddress,
        named: &[PeerAddress],
        free: Option<u32>,
    ) {
        let walk = &mut self.rewiring;
        // It does not end at a node without a cap: all links would lead there.
        walk.steps = walk.steps.saturating_sub(1).max(u32::from(free.is_none()));
        if walk.steps == 0 {
            return self.rewire(cx, peers, conns, address);
        }
        let last = walk.last.replace(address);
        let idle = |at: &PeerAddress| peers.book.get(at).is_some_and(|peer| peer.state == AddressState::Waiting);
        let choice: Vec<PeerAddress> =
            named.iter().filter(|at| Some(*at) != last.as_ref() && idle(at)).cloned().collect();
        if choice.is_empty() { self.walk_from_here(cx, peers, conns) } else { self.step(cx, peers, conns, choice) }
    }

    /// Moves a link to the random node at `to`.
    fn rewire(&mut self, cx: &mut Context, peers: &mut Peers, conns: &mut Connections, to: PeerAddress) {
        let dialled = |link: &Link| link.dialled.clone();
        self.move_link(cx, peers, conns, to, dialled, "this link goes to a random node now");
    }

    /// Moves a link to the node at `to`, one whose other end can be dialled `at` an address. Links
    /// to members of which too few are linked stay.
    pub(super) fn move_link(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        conns: &mut Connections,
        to: PeerAddress,
        at: fn(&Link) -> Option<PeerAddress>,
        why: &'static str,
    ) {
        if self.search.is_healing(cx.now) || self.slots_taken(cx, conns, None) < MIN_SLOTS {
            return;
        }
        let choice = self.links_to_release(cx, peers, conns, true).into_iter();
        let is_needed = needed(cx, &conns.links);
        let movable = |link| {
            let open = conns.links.get(link).filter(|open| !is_needed(open))?;
            Some((link, at(open)?))
        };
        let Some((link, address)) = choice.filter_map(movable).next() else { return };
        let from = conns.links.name_of(link);
        cx.counters.links_rewired += 1;
        self.refer(cx, peers, conns, link, None, why);
        self.rewiring.moved = Some((to.clone(), address, cx.now + MOVE_TIMEOUT * 2));
        cx.notify(Event::Rewiring { from, to: to.clone() });
        self.search.healing = Some((to, cx.now + MOVE_TIMEOUT));
        self.heal_partition(cx, peers, conns);
    }

    /// Handles that there is no slot at `address`. A link that was to move there goes back to its
    /// old end, which has a free slot.
    pub(crate) fn on_rewire_missed(&mut self, cx: &mut Context, address: &PeerAddress) {
        if let Some((_, from, until)) = self.rewiring.moved.take_if(|(to, ..)| to == address)
            && cx.now < until
        {
            cx.timers.cancel(&Timer::Dial(from.clone()));
            self.search.hint_free_slot(from);
        }
    }
}

#[cfg(test)]
mod tests;
