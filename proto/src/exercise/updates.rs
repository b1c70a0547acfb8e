//! The flood of updates about exercise peers through the network of native peers.
//!
//! An update has a random number. Each node takes it once, and passes it on if it changed something
//! there. Otherwise two nodes that find the opposite would keep a circle of links busy for ever. A
//! node sends one frame per second after a burst, with the last update of each peer.
//!
//! The component for exercise peers calls it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::RngExt;

use crate::address::{PeerAddress, Scope};
use crate::connections::table::LinkTable;
use crate::context::Context;
use crate::id::LinkId;
use crate::io::Lane;
use crate::limits;
use crate::timers::Timer;
use crate::util::generations::Generations;
use crate::util::rate_limit::RateLimit;
use crate::wire::{ExerciseUpdate, exercise_frame};

/// A node sends this many EXERCISE frames at once …
pub(crate) const SENT_AT_ONCE: u32 = 20;
/// … and then one in each of these intervals, half of what a link may bring.
pub(crate) const SEND_EVERY: Duration = Duration::from_secs(1);
/// How many updates are recognised at least.
const RECOGNISED: usize = 4_096;
/// The end of the numbers of updates: JSON readers keep all below it.
const NUMBERS: u64 = 1 << 53;

/// See the module.
#[derive(Debug)]
pub(super) struct Updates {
    /// Those that were taken.
    seen: Generations<(PeerAddress, u64)>,
    /// Those that are to be sent, the last of each peer.
    pending: BTreeMap<PeerAddress, ExerciseUpdate>,
    sent: RateLimit,
}

impl Default for Updates {
    fn default() -> Self {
        Self { seen: Generations::new(RECOGNISED), pending: BTreeMap::new(), sent: RateLimit::default() }
    }
}

impl Updates {
    /// Returns whether an update about a peer comes for the first time, and notes it.
    pub(super) fn is_first(&mut self, now: Instant, address: &PeerAddress, event: u64) -> bool {
        let key = (address.clone(), event);
        let first = !self.seen.contains(&key);
        if first {
            self.seen.insert(now, key, ());
        }
        first
    }

    /// Returns the number of an update of this node's own.
    pub(super) fn number(&mut self, cx: &mut Context, address: &PeerAddress) -> u64 {
        let event = cx.rng.random_range(1..NUMBERS);
        self.is_first(cx.now, address, event);
        event
    }

    /// Queues an update for the neighbours, in place of an earlier one about the same peer.
    pub(super) fn queue(&mut self, update: ExerciseUpdate) {
        if self.pending.len() < limits::EXERCISE_PEERS || self.pending.contains_key(&update.address) {
            let earlier = self.pending.remove(&update.address).and_then(|earlier| earlier.drops);
            self.pending.insert(update.address.clone(), ExerciseUpdate { drops: update.drops.or(earlier), ..update });
        }
    }

    /// Sends the neighbours what is queued, as far as the rate allows it; the rest a moment later.
    pub(super) fn send(&mut self, cx: &mut Context, links: &LinkTable) {
        while !self.pending.is_empty() {
            if let Err(at) = self.sent.spend(cx.now, SEND_EVERY, SEND_EVERY * SENT_AT_ONCE) {
                return cx.timers.set(Timer::ExerciseUpdates, at);
            }
            let next = std::iter::from_fn(|| self.pending.pop_first().map(|(_, update)| update));
            let updates: Vec<ExerciseUpdate> = next.take(limits::EXERCISE_UPDATES).collect();
            let mut by_scope: BTreeMap<Scope, Vec<LinkId>> = BTreeMap::new();
            for (link, scope) in links.iter().filter_map(|(link, _)| Some((link, scope_of(links, link)?))) {
                by_scope.entry(scope).or_default().push(link);
            }
            for (scope, links) in by_scope {
                send_to(cx, links, scope, &updates);
            }
        }
    }
}

/// Returns the scope of a link whose peer understands EXERCISE.
pub(super) fn scope_of(links: &LinkTable, link: LinkId) -> Option<Scope> {
    let open = links.get(link).filter(|open| open.native().is_some() && open.takes_transactions());
    open.map(|open| open.scope)
}

/// Sends links of one scope those updates whose address they may learn, as many as a frame holds.
pub(super) fn send_to(cx: &mut Context, links: Vec<LinkId>, scope: Scope, updates: &[ExerciseUpdate]) {
    let updates = updates.iter().filter(|update| scope.may_tell(update.address.scope()));
    let updates: Vec<ExerciseUpdate> = updates.take(limits::EXERCISE_UPDATES).cloned().collect();
    if !updates.is_empty() {
        cx.send(links, exercise_frame(&updates), Lane::Control);
    }
}
