//! Mixing: a while after it came, a node moves a link from where it began to a random node.
//!
//! A newcomer finds its places mostly at those that came shortly before, for there they are free. So the graph remembers the order of arrival, and the way from
//! the first to the last is long. The cure is that of small worlds (Watts and Strogatz, Nature 393, 1998): if one end of a few of the links is moved to
//! random nodes, ways are nearly as short as in a random graph. So each node does that once: it walks at random from node to node, gives up one link that it dialled, and takes
//! a place where the walk ended.
//!
//! If that one, A, is full, it takes us and sends on a node B that had dialled it, as for everybody who insists. B comes to us, finds us full, and is told first of X, which we left and which has
//! a place now. So the links to X and A have swapped their ends, which keeps all degrees: a *switch*, of which any graph is made from any other of the same degrees. Where a party dies
//! midway a place is free, and is looked for as always.
//!
//! What strangers gain by it is bounded: a walk that meets a liar leads where the liar likes, so it may win the place that we moved; but known peers' links are not moved, no others than these few, and only once.

use std::time::{Duration, Instant};

use rand::RngExt;

use crate::address::PeerAddress;
use crate::connections::Connections;
use crate::context::Context;
use crate::event::Event;
use crate::membership::{Membership, dial_for};
use crate::peers::Peers;
use crate::peers::address_book::AddressState;
use crate::peers::dial_reason::DialReason;
use crate::timers::Timer;

/// How long after its start a node moves its first link, at least; the wait is drawn from one to two and a half of it. By then most who came together have their places.
const AFTER: Duration = Duration::from_secs(60);
const SPREAD: std::ops::Range<f64> = 1.0..2.5;
/// The time between two moves of one node, at least; each wait is drawn from one to two of it.
const AGAIN: Duration = Duration::from_secs(20);
/// Of how many places one link is moved …
const ONE_IN: u32 = 6;
/// … and how many at most: whoever has many places has short ways.
const MOVES: u32 = 3;
/// The least cap that takes part. A network of caps of two is a ring, which a switch cuts in two as often as not.
const LEAST_CAP: u32 = 3;
/// How many steps a walk has. Tables are mixed already by visits, and the fewer steps, the less often a liar is met.
const STEPS: u32 = 4;
/// How many dials a walk may need for them.
const DIALS: u32 = 16;
/// Whoever knows fewer others than this leaves everything as it is: there all ways are short.
const FEW: usize = 32;
/// How long the place is kept until the node at the end of the walk can be dialled.
const MOVE_WITHIN: Duration = Duration::from_secs(5);

/// What is under way.
#[derive(Debug, Default)]
pub(crate) struct Rewiring {
    /// How many links are still to be moved.
    moves: u32,
    /// How many steps the walk has left, and how many dials for them.
    steps: u32,
    dials: u32,
    /// Where it was last: it does not go straight back.
    last: Option<PeerAddress>,
    /// Where a place is asked for, whom we left for it, and until when that may come to nothing.
    moved: Option<(PeerAddress, PeerAddress, Instant)>,
}

impl Membership {
    /// Sets the time of the first move, if there is a cap for which it is of use.
    pub(crate) fn schedule_rewiring(&mut self, cx: &mut Context) {
        let Some(most) = cx.config.max_peers.filter(|most| *most >= LEAST_CAP) else { return };
        self.rewiring.moves = most.div_ceil(ONE_IN).min(MOVES);
        cx.timers.set(Timer::Rewire, cx.now + AFTER.mul_f64(cx.rng.random_range(SPREAD)));
    }

    /// A link is to be moved: the walk begins.
    pub(crate) fn on_rewire_due(&mut self, cx: &mut Context, peers: &mut Peers, conns: &mut Connections) {
        let mixing = &mut self.rewiring;
        if cx.shutting_down || mixing.moves == 0 {
            return;
        }
        mixing.moves -= 1;
        (mixing.steps, mixing.dials, mixing.last) = (STEPS, DIALS, None);
        if mixing.moves > 0 {
            cx.timers.set(Timer::Rewire, cx.now + AGAIN.mul_f64(cx.rng.random_range(1.0..2.0)));
        }
        if peers.book.others() >= FEW {
            self.walk_from_here(cx, peers, conns);
        }
    }

    /// The walk begins at a random address of our table.
    fn walk_from_here(&mut self, cx: &mut Context, peers: &mut Peers, conns: &mut Connections) {
        let well = peers.book.iter().filter(|(_, peer)| peer.state == AddressState::Waiting && peer.failures == 0);
        let choice = well.map(|(address, _)| address.clone()).collect();
        self.step(cx, peers, conns, choice);
    }

    /// The walk goes to one of these.
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

    /// Nobody of ours answered where the walk went: it begins anew, within its dials.
    pub(crate) fn on_walk_missed(&mut self, cx: &mut Context, peers: &mut Peers, conns: &mut Connections) {
        if !cx.shutting_down && self.rewiring.steps > 0 {
            self.walk_from_here(cx, peers, conns);
        }
    }

    /// The walk is at `address`, where these were told; `free` as in PEERS.
    pub(crate) fn on_walked(
        &mut self,
        cx: &mut Context,
        peers: &mut Peers,
        conns: &mut Connections,
        address: PeerAddress,
        told: &[PeerAddress],
        free: Option<u32>,
    ) {
        let mixing = &mut self.rewiring;
        // It does not end at a node without a cap: all links would lead there.
        mixing.steps = mixing.steps.saturating_sub(1).max(u32::from(free.is_none()));
        if mixing.steps == 0 {
            return self.rewire(cx, peers, conns, address);
        }
        let last = mixing.last.replace(address);
        let idle = |at: &PeerAddress| peers.book.get(at).is_some_and(|peer| peer.state == AddressState::Waiting);
        let choice: Vec<PeerAddress> =
            told.iter().filter(|at| Some(*at) != last.as_ref() && idle(at)).cloned().collect();
        if choice.is_empty() { self.walk_from_here(cx, peers, conns) } else { self.step(cx, peers, conns, choice) }
    }

    /// Moves a link to the node at `to`.
    fn rewire(&mut self, cx: &mut Context, peers: &mut Peers, conns: &mut Connections, to: PeerAddress) {
        if self.search.is_healing(cx.now) || self.slots_taken(cx, conns, None) < crate::membership::slot_search::LEAST {
            return;
        }
        let choice = self.links_to_release(cx, peers, conns, true).into_iter();
        let dialled = |link| Some((link, conns.links.get(link)?.dialled.clone()?));
        let Some((left, address)) = choice.filter_map(dialled).next() else { return };
        let from = conns.links.name_of(left);
        cx.counters.links_rewired += 1;
        self.refer(cx, peers, conns, left, None, "this link goes to a random node now");
        self.rewiring.moved = Some((to.clone(), address, cx.now + MOVE_WITHIN * 2));
        cx.notify(Event::Rewiring { from, to: to.clone() });
        self.search.healing = Some((to, cx.now + MOVE_WITHIN));
        self.heal_partition(cx, peers, conns);
    }

    /// There is no place at `address`. If a link was to go there it goes back, where a place was left a moment ago.
    pub(crate) fn on_rewire_missed(&mut self, cx: &mut Context, address: &PeerAddress) {
        if let Some((_, left, until)) = self.rewiring.moved.take_if(|(to, ..)| to == address)
            && cx.now < until
        {
            cx.timers.cancel(&Timer::Dial(left.clone()));
            self.search.hint_free_slot(left);
        }
    }
}
