//! Anti-entropy: what gossip missed is found by comparing sets with neighbours.

pub(crate) mod broadcast_sync;
mod negentropy;
pub(crate) mod pool_sync;
pub(crate) mod reconciler;
mod stream;
mod wants;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::RngExt;

use crate::connections::table::LinkTable;
use crate::context::Context;
use crate::event::{Event, PeerName};
use crate::id::LinkId;
use crate::limits;
use crate::store::Store;
use crate::store::broadcast_store::BroadcastStore;
use crate::sync::broadcast_sync::BroadcastSync;
use crate::sync::pool_sync::PoolSync;
use crate::timers::Timer;
use crate::transaction::TransactionId;

/// The shortest time between two rounds, while there is news, and the longest. In between it
/// doubles. Each wait is drawn from one to two times the present one, so that nodes do not ask all
/// at once.
const ROUND_MIN: Duration = Duration::from_secs(1);
const ROUND_MAX: Duration = Duration::from_secs(5);

/// How many neighbours are asked at once for what one did not bring.
const FETCH_FROM: usize = 3;

/// What a comparison brought, others may lack too: so long after the last of it …
const SPREAD_DELAY: Duration = Duration::from_millis(200);
/// … pools are compared with so many neighbours at once. In a line of nodes it would otherwise take
/// a round for each link.
const SPREAD_TO: usize = 3;

/// When links change, what was flooded a moment before may have missed a node, and no comparison
/// has it before it is settled: so long after the change pools are compared again.
const CHANGE_DELAY: Duration = Duration::from_millis(2_600);

/// The rounds, and the comparisons of each set.
#[derive(Debug)]
pub(crate) struct AntiEntropy {
    pub(crate) pool: PoolSync,
    pub(crate) broadcasts: BroadcastSync,
    interval: Duration,
    /// What neighbours brought in comparisons: others may lack it.
    brought_by: BTreeMap<LinkId, Brought>,
    /// By when pools are compared once more, because links changed; and, if they changed again
    /// meanwhile, when after that.
    changed: Option<Instant>,
    changed_last: Option<Instant>,
    /// How many transactions had been accepted at the last round.
    accepted: u64,
}

/// What a neighbour brought in comparisons.
#[derive(Debug)]
struct Brought {
    peer: PeerName,
    transactions: u64,
    first: Vec<TransactionId>,
}

impl Brought {
    fn by(peer: PeerName) -> Self {
        Self { peer, transactions: 0, first: Vec::new() }
    }

    /// Reports it to the application.
    fn report(self, cx: &mut Context, link: LinkId) {
        let Self { peer, transactions, first } = self;
        cx.notify(Event::Synced { link, peer, transactions, first });
    }
}

impl Default for AntiEntropy {
    fn default() -> Self {
        let (pool, broadcasts) = (PoolSync::default(), BroadcastSync::default());
        Self {
            pool,
            broadcasts,
            interval: ROUND_MIN,
            brought_by: BTreeMap::new(),
            changed: None,
            changed_last: None,
            accepted: 0,
        }
    }
}

impl AntiEntropy {
    /// Sets the timer of the next round.
    pub(crate) fn schedule_round(&mut self, cx: &mut Context) {
        let wait = self.interval.mul_f64(cx.rng.random_range(1.0..2.0));
        cx.timers.set(Timer::Reconcile, cx.now + wait);
    }

    /// Notes that a comparison brought a transaction that was new here.
    pub(crate) fn on_synced(&mut self, cx: &mut Context, links: &LinkTable, link: LinkId, id: TransactionId) {
        let brought = self.brought_by.entry(link).or_insert_with(|| Brought::by(links.name_of(link)));
        brought.transactions += 1;
        if brought.first.len() < limits::REPORTED_SYNCED {
            brought.first.push(id);
        }
        if self.pool.is_idle() {
            round_by(cx, cx.now + SPREAD_DELAY);
        }
    }

    /// Notes that a link opened or closed, or a tree broke.
    pub(crate) fn on_links_changed(&mut self, cx: &mut Context) {
        self.changed_last = Some(cx.now + CHANGE_DELAY);
        round_by(cx, *self.changed.get_or_insert(cx.now + CHANGE_DELAY));
    }

    /// Compares both sets with the neighbour whose turn it is; with some, if a comparison brought
    /// something.
    pub(crate) fn on_round_due(
        &mut self,
        cx: &mut Context,
        links: &LinkTable,
        store: &mut Store,
        broadcasts: &mut BroadcastStore,
    ) {
        let news = std::mem::replace(&mut self.accepted, store.accepted()) != store.accepted();
        self.interval = if news { ROUND_MIN } else { (self.interval * 2).min(ROUND_MAX) };
        self.pool.expire(cx, store);
        // What a comparison has just brought is compared with others now.
        store.sync_set().merge(cx.now);
        let changed = self.changed.take_if(|changed| *changed <= cx.now).is_some();
        if changed {
            self.changed = self.changed_last.take().filter(|last| *last > cx.now);
        }
        let mut lacking = self.neighbours(links);
        if self.pool.is_idle() {
            let brought_by = std::mem::take(&mut self.brought_by);
            lacking.retain(|link| changed || (!brought_by.is_empty() && !brought_by.contains_key(link)));
            brought_by.into_iter().for_each(|(link, brought)| brought.report(cx, link));
        } else if !changed {
            lacking.clear();
        }
        if lacking.is_empty() {
            lacking.extend(self.next_neighbour(cx, links));
        }
        for _ in 0..SPREAD_TO.min(lacking.len()) {
            let link = lacking.swap_remove(cx.rng.random_range(0..lacking.len()));
            self.compare(cx, links, store, broadcasts, link);
        }
        self.schedule_round(cx);
        if let Some(changed) = self.changed {
            round_by(cx, changed);
        }
    }

    /// Asks others for what a neighbour was asked for in time and did not bring.
    pub(crate) fn on_wants_due(&mut self, cx: &mut Context, links: &LinkTable, store: &mut Store) {
        if self.pool.expire(cx, store) {
            self.fetch(cx, links, store);
        }
    }

    /// The same for broadcasts.
    pub(crate) fn on_want_broadcasts_due(&mut self, cx: &mut Context, links: &LinkTable, store: &mut BroadcastStore) {
        if self.broadcasts.on_wants_due(cx, store)
            && let Some(link) = self.random_neighbour(cx, links)
        {
            self.broadcasts.compare(cx, links, store, link);
        }
    }

    /// Compares both sets with one neighbour.
    pub(crate) fn compare(
        &mut self,
        cx: &mut Context,
        links: &LinkTable,
        store: &mut Store,
        broadcasts: &mut BroadcastStore,
        link: LinkId,
    ) {
        self.pool.compare(cx, links, store, link);
        self.broadcasts.compare(cx, links, broadcasts, link);
    }

    /// Fetches what some random neighbours have and we lack: one of them may not deliver either.
    pub(crate) fn fetch(&mut self, cx: &mut Context, links: &LinkTable, store: &mut Store) {
        let mut neighbours = self.neighbours(links);
        for _ in 0..FETCH_FROM.min(neighbours.len()) {
            let link = neighbours.swap_remove(cx.rng.random_range(0..neighbours.len()));
            self.pool.fetch(cx, links, store, link);
        }
    }

    /// Draws a native peer; one that does not deliver only if there is no other.
    fn random_neighbour(&self, cx: &mut Context, links: &LinkTable) -> Option<LinkId> {
        let ready = self.neighbours(links);
        (!ready.is_empty()).then(|| ready[cx.rng.random_range(0..ready.len())])
    }

    /// Returns the native peer with which pools were compared least recently, by either end: so
    /// each link is compared within a bounded time. Drawn among those that are equal.
    fn next_neighbour(&self, cx: &mut Context, links: &LinkTable) -> Option<LinkId> {
        let mut ready = self.neighbours(links);
        let first = ready.iter().map(|link| self.pool.last_compared(*link)).min()?;
        ready.retain(|link| self.pool.last_compared(*link) == first);
        Some(ready[cx.rng.random_range(0..ready.len())])
    }

    /// Returns the native peers, those that do not deliver only if there are no others.
    fn neighbours(&self, links: &LinkTable) -> Vec<LinkId> {
        let ready = links.iter().filter(|(_, link)| link.native().is_some() && link.takes_transactions());
        let mut ready: Vec<LinkId> = ready.map(|(id, _)| id).collect();
        let is_last = |link: &LinkId| self.pool.is_asked_last(*link) || self.broadcasts.is_stalled(*link);
        if !ready.iter().all(is_last) {
            ready.retain(|link| !is_last(link));
        }
        ready
    }

    /// Forgets a link that is closed, and asks others for what it was asked for.
    pub(crate) fn on_link_closed(
        &mut self,
        cx: &mut Context,
        links: &LinkTable,
        store: &mut Store,
        broadcasts: &BroadcastStore,
        link: LinkId,
    ) {
        if let Some(brought) = self.brought_by.remove(&link) {
            brought.report(cx, link);
        }
        self.broadcasts.on_link_closed(cx, broadcasts, link);
        if self.pool.on_link_closed(cx, store, link) {
            self.fetch(cx, links, store);
        }
    }
}

/// Has the next round be at a time, or before.
fn round_by(cx: &mut Context, at: Instant) {
    if cx.timers.due(&Timer::Reconcile).is_some_and(|due| due > at) {
        cx.timers.set(Timer::Reconcile, at);
    }
}

#[cfg(test)]
mod tests;
