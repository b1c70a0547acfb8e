//! Anti-entropy of the pool: two native peers find out what each of them lacks, and send it.
//!
//! It runs when two native peers link, now and then with a random neighbour, and when a tree broke.
//! A peer that lacks a great part asks for the whole pool, of one neighbour at a time. What came
//! this way is not relayed: the neighbours' own rounds find it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use ::negentropy::{Error, Id};

use crate::connections::table::{Link, LinkTable};
use crate::context::Context;
use crate::id::LinkId;
use crate::io::Output;
use crate::limits;
use crate::store::Store;
use crate::store::replay::{stream_pool, sync_unstored};
use crate::store::sync_set::SyncSet;
use crate::sync::negentropy;
use crate::sync::reconciler::{Needed, Progress, ReconcilableSet, Reconciler};
use crate::sync::wants::Wants;
use crate::transaction::TransactionId;
use crate::util::generations::Generations;
use crate::util::rate_limit::RateLimits;
use crate::violation::{Violation, ViolationKind};
use crate::wire::{Summary, SyncFrame};

/// How many missing items one reconciliation may find before the whole pool is cheaper.
const MANY: usize = 20_000;
/// How long a stream of the whole pool may bring nothing before another is asked for.
const STREAM_TIMEOUT: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Debug)]
pub(crate) struct PoolSync {
    reconciler: Reconciler,
    wants: Wants,
    /// Who sends us its whole pool, and when something of it last came.
    streaming: Option<(LinkId, Instant)>,
    /// What this node does not take: it is not requested again.
    refused: Generations<TransactionId>,
    /// Links whose other side was given precedence, the last time that pools differed.
    deferred: BTreeSet<LinkId>,
}

impl Default for PoolSync {
    fn default() -> Self {
        Self {
            reconciler: Reconciler::new(None),
            wants: Wants::default(),
            streaming: None,
            refused: Generations::new(limits::REFUSED / 2),
            deferred: BTreeSet::new(),
        }
    }
}

impl ReconcilableSet for SyncSet {
    fn settle(&mut self, now: Instant) {
        self.settle(now);
    }

    fn summary(&self) -> Summary {
        self.summary()
    }

    fn begin(&self) -> Result<Vec<u8>, Error> {
        negentropy::begin(self.items())
    }

    fn answer(&self, question: &[u8]) -> Result<Vec<u8>, Error> {
        negentropy::answer(self.items(), question)
    }

    fn conclude(&self, answer: &[u8], need: &mut Vec<Id>) -> Result<Option<Vec<u8>>, Error> {
        // What the other side lacks it finds by itself, once it has our summary.
        negentropy::conclude(self.items(), answer, &mut Vec::new(), need)
    }
}

impl PoolSync {
    /// Gives up what is overdue.
    pub(crate) fn expire(&mut self, now: Instant, store: &Store) {
        self.wants.expire(now, store.index());
        self.reconciler.expire(now);
    }

    /// Returns whether a link did not deliver lately what it was asked for.
    pub(crate) fn is_stalled(&self, link: LinkId) -> bool {
        self.wants.is_stalled(link)
    }

    /// Sends a native peer our summary.
    pub(crate) fn compare(&self, cx: &mut Context, links: &LinkTable, store: &mut Store, link: LinkId) {
        self.reconciler.compare(cx, links, store.sync_set(), link);
    }

    /// Fetches what a native peer has and we lack, unless that is under way.
    pub(crate) fn fetch(&mut self, cx: &mut Context, links: &LinkTable, store: &mut Store, link: LinkId) {
        if !self.reconciler.is_open(link) && store.room(&cx.config.limits) > 0 {
            store.sync_set().settle(cx.now);
            self.reconciler.begin(cx, links, store.sync_set(), link);
        }
    }

    /// Handles SYNC.
    pub(crate) fn on_sync(
        &mut self,
        cx: &mut Context,
        links: &mut LinkTable,
        store: &mut Store,
        asks: &mut RateLimits<LinkId>,
        link: LinkId,
        frame: SyncFrame,
    ) -> Result<(), Violation> {
        match self.reconciler.on_sync(cx, links, asks, store.sync_set(), link, frame)? {
            Progress::Done => {}
            Progress::Equal => {
                self.deferred.remove(&link);
            }
            Progress::Differs { ours, theirs } => self.on_difference(cx, links, store, link, ours, theirs),
            Progress::EverythingRequested => stream_pool(cx, links, store, link),
            Progress::Unsolicited => {
                let text = "SYNC: nobody asked, or too long ago; ignored";
                return Err(Violation::new(ViolationKind::Unsolicited, text));
            }
            Progress::Needed(needed) => return self.on_needed(cx, store, link, needed),
        }
        Ok(())
    }

    fn on_difference(
        &mut self,
        cx: &mut Context,
        links: &LinkTable,
        store: &mut Store,
        link: LinkId,
        ours: u64,
        theirs: u64,
    ) {
        cx.counters.sync_rounds_differed += 1;
        // What was refused was seen: it is no reason to ask for everything.
        let seen = store.index().count() + self.refused.len() as u64;
        // The side with less goes first: most often it lacks all that differs, and one
        // reconciliation is enough. If pools still differ the next time, we lack something as well,
        // or the other side's pool is full.
        if theirs < ours && self.deferred.insert(link) {
            return;
        }
        self.deferred.remove(&link);
        // A full pool, or a disk that takes no writes: what came would be refused, each time.
        if store.room(&cx.config.limits) == 0 {
            return;
        }
        if theirs.saturating_sub(seen) <= (seen / 4).max(1_000) {
            self.reconciler.begin(cx, links, store.sync_set(), link);
        } else {
            self.request_everything(cx, link);
        }
    }

    fn on_needed(
        &mut self,
        cx: &mut Context,
        store: &Store,
        link: LinkId,
        mut needed: Needed,
    ) -> Result<(), Violation> {
        let room = store.room(&cx.config.limits);
        if room == 0 {
            self.reconciler.end(link);
            return Ok(());
        }
        let ids = std::mem::take(&mut needed.ids).into_iter().filter(|id| !self.refused.contains(id));
        let ids = ids.take(room).collect();
        self.wants.request(cx, store.index(), link, ids);
        let many = MANY.max(usize::try_from(store.index().count() / 4).unwrap_or(usize::MAX));
        if needed.is_partial() && needed.found > many {
            self.reconciler.end(link);
            self.request_everything(cx, link);
            return Ok(());
        }
        self.reconciler.proceed(cx, link, needed)
    }

    /// Asks a peer for its whole pool, unless another sends its own: it holds the same, or the next
    /// round tells.
    fn request_everything(&mut self, cx: &mut Context, link: LinkId) {
        let is_busy = |at: Instant| cx.now.saturating_duration_since(at) < STREAM_TIMEOUT;
        if !self.streaming.is_some_and(|(_, at)| is_busy(at)) {
            self.streaming = Some((link, cx.now));
            self.reconciler.send(cx, link, &SyncFrame::Everything);
        }
    }

    /// Handles a new transaction that answers a comparison.
    pub(crate) fn on_synced(&mut self, now: Instant, link: LinkId) {
        self.wants.on_progress(now, link);
        if let Some((source, at)) = &mut self.streaming
            && *source == link
        {
            *at = now;
        }
    }

    /// Handles a transaction from a native peer that this node does not take.
    pub(crate) fn on_refused(&mut self, now: Instant, id: TransactionId) {
        self.wants.cancel(&id);
        self.refused.insert(now, id, ());
    }

    pub(crate) fn on_link_closed(&mut self, link: LinkId) {
        self.reconciler.end(link);
        self.deferred.remove(&link);
        self.wants.on_link_closed(link);
        self.streaming = self.streaming.filter(|(source, _)| *source != link);
    }
}

/// Handles WANT: sends single transactions, from the disk or from what waits for it.
pub(crate) fn on_want(
    cx: &mut Context,
    links: &LinkTable,
    store: &Store,
    link: LinkId,
    ids: &[TransactionId],
) -> Result<(), Violation> {
    if links.get(link).and_then(Link::native).is_none() {
        return Err(Violation::breach("WANT: only native peers are sent what they lack"));
    }
    let index = store.index();
    let unstored: BTreeSet<TransactionId> =
        ids.iter().copied().filter(|id| index.holds(id) && !index.is_stored(id)).collect();
    if !unstored.is_empty() {
        sync_unstored(cx, store, link, |id| unstored.contains(id));
    }
    let positions: BTreeSet<u64> = ids.iter().filter_map(|id| index.position(id)).collect();
    if !positions.is_empty() {
        cx.output(Output::ReplayPositions { link, positions: positions.into_iter().collect() });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
