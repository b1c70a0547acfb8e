//! Anti-entropy of the pool: two native peers find out what each of them lacks, and send it.
//!
//! It runs when two native peers link, now and then with the neighbour whose turn it is, and when a
//! tree broke. A peer that lacks a great part asks for the whole pool, of one neighbour at a time.
//! What came this way is not relayed: the neighbours' own rounds find it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use ::negentropy::{Error, Id};

use crate::connections::table::LinkTable;
use crate::context::Context;
use crate::id::LinkId;
use crate::io::Output;
use crate::limits;
use crate::store::Store;
use crate::store::replay::{stream_pool, sync_unstored};
use crate::store::sync_set::SyncSet;
use crate::sync::negentropy;
use crate::sync::reconciler::{Needed, Progress, ReconcilableSet, Reconciler};
use crate::sync::stream::Stream;
use crate::sync::wants::Wants;
use crate::timers::Timer;
use crate::transaction::{Transaction, TransactionId};
use crate::util::generations::Generations;
use crate::violation::{Violation, ViolationKind};
use crate::wire::{Floor, Summary, SyncFrame};

/// How many missing items one reconciliation may find before the whole pool is cheaper.
const MANY: usize = 20_000;
/// The shortest time between two looks at what is requested.
const MIN_TICK: Duration = Duration::from_millis(50);

/// See the module.
#[derive(Debug)]
pub(crate) struct PoolSync {
    reconciler: Reconciler,
    wants: Wants,
    /// The peer that sends us its whole pool.
    stream: Option<Stream>,
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
            stream: None,
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

    fn floor(&self) -> Floor {
        self.floor()
    }

    fn summary_from(&self, floor: &Floor) -> Summary {
        self.summary_from(floor)
    }

    fn begin(&self) -> Result<Vec<u8>, Error> {
        negentropy::begin_from(self.items(), &self.floor())
    }

    fn answer(&self, question: &[u8]) -> Result<Vec<u8>, Error> {
        negentropy::answer(self.items(), question)
    }

    fn conclude(&self, answer: &[u8], need: &mut Vec<Id>) -> Result<Option<Vec<u8>>, Error> {
        negentropy::conclude(self.items(), answer, need)
    }
}

impl PoolSync {
    /// Gives up what is overdue, and asks others. Returns whether something is missing that is to
    /// be fetched from another neighbour.
    pub(crate) fn expire(&mut self, cx: &mut Context, store: &Store) -> bool {
        self.reconciler.expire(cx.now);
        let orphans = self.wants.expire(cx, &|id| store.index().holds(id));
        self.wants.tick(cx, &|id| store.index().holds(id));
        let ended = self.end_stream(cx, store);
        let seen = self.seen(store);
        if self.stream.as_mut().is_some_and(|stream| stream.take_turns(cx.now, seen)) {
            self.wants.withdraw();
        }
        let slow = self.stream.as_mut().is_some_and(|stream| stream.calls_for_others(cx.now));
        self.set_timer(cx);
        orphans || slow || ended
    }

    /// Ends a stream that brought what was offered, or is too slow. In the second case others are
    /// asked first for a while. Returns whether it was too slow.
    fn end_stream(&mut self, cx: &Context, store: &Store) -> bool {
        let seen = self.seen(store);
        let ended = self.stream.take_if(|stream| seen >= stream.offered || !stream.holds(cx.now));
        let Some(stream) = ended.filter(|stream| seen < stream.offered) else { return false };
        self.wants.stall(cx.now, stream.link);
        true
    }

    /// Sets the timer of the next request that lapses.
    fn set_timer(&self, cx: &mut Context) {
        let stream = self.stream.as_ref().map(|stream| stream.next_look(cx.now));
        // Frames that come often do not put it off.
        let first = cx.now + MIN_TICK;
        let first = cx.timers.due(&Timer::Wants).filter(|due| *due > cx.now).map_or(first, |due| due.min(first));
        match self.wants.next_due().into_iter().chain(stream).min() {
            Some(due) => cx.timers.set(Timer::Wants, due.max(first)),
            None => cx.timers.cancel(&Timer::Wants),
        }
    }

    /// Returns how many transactions were seen: what was refused is no reason to ask for
    /// everything.
    fn seen(&self, store: &Store) -> u64 {
        store.index().count() + self.refused.len() as u64
    }

    /// Returns whether a link did not deliver lately what it was asked for, or sends its pool
    /// already.
    pub(crate) fn is_asked_last(&self, link: LinkId) -> bool {
        self.wants.is_stalled(link) || self.stream.as_ref().is_some_and(|stream| stream.link == link)
    }

    /// Returns whether nothing is fetched on a link because a stream brings it: on this link, or so
    /// that others bring no more.
    fn waits_for_stream(&self, now: Instant, link: LinkId) -> bool {
        self.stream.as_ref().is_some_and(|stream| stream.link == link || stream.rests(now))
    }

    /// When pools were last compared on a link.
    pub(crate) fn last_compared(&self, link: LinkId) -> Option<Instant> {
        self.reconciler.last_compared(link)
    }

    /// Returns whether pools were equal on a link, the last time that they were compared.
    pub(crate) fn is_reconciled(&self, link: LinkId) -> bool {
        self.reconciler.is_equal(link)
    }

    /// Returns whether nothing is on its way here.
    pub(crate) fn is_idle(&self) -> bool {
        self.stream.is_none() && self.wants.is_empty()
    }

    /// Sends a native peer our summary.
    pub(crate) fn compare(&mut self, cx: &mut Context, links: &LinkTable, store: &mut Store, link: LinkId) {
        self.reconciler.compare(cx, links, store.sync_set(), link);
    }

    /// Fetches what a native peer has and we lack, unless that is under way.
    pub(crate) fn fetch(&mut self, cx: &mut Context, links: &LinkTable, store: &mut Store, link: LinkId) {
        if self.waits_for_stream(cx.now, link) {
            return;
        }
        if !self.reconciler.is_open(link) && !self.wants.is_awaited(link) && store.room(&cx.config.limits) > 0 {
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
        link: LinkId,
        frame: SyncFrame,
    ) -> Result<(), Violation> {
        match self.reconciler.on_sync(cx, store.sync_set(), link, frame)? {
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
        // An answer would name again what is on its way, and delay it: control frames go first.
        if self.wants.is_awaited(link) {
            return;
        }
        let seen = self.seen(store);
        // The side with less goes first: most often it lacks all that differs, and one
        // reconciliation is enough. If pools still differ the next time, we lack something as well,
        // or the other side's pool is full.
        if theirs < ours && self.deferred.insert(link) {
            return;
        }
        self.deferred.remove(&link);
        // A full pool, or a disk that takes no writes: what came would be refused, each time.
        if store.room(&cx.config.limits) == 0 || self.waits_for_stream(cx.now, link) {
            return;
        }
        if !lacks_much(seen, theirs) {
            self.reconciler.begin(cx, links, store.sync_set(), link);
        } else if self.wants.is_stalled(link) || !self.request_everything(cx, store, link, theirs) {
            self.reconcile_beside_stream(cx, links, store, link);
        }
    }

    /// Reconciles with a peer that offers much, while another sends its pool, if that one is slow.
    fn reconcile_beside_stream(&mut self, cx: &mut Context, links: &LinkTable, store: &mut Store, link: LinkId) {
        if !self.stream.as_ref().is_some_and(|stream| stream.is_alone(cx.now)) {
            self.reconciler.begin(cx, links, store.sync_set(), link);
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
        if room == 0 || self.waits_for_stream(cx.now, link) {
            self.reconciler.end(link);
            return Ok(());
        }
        let mut ids = std::mem::take(&mut needed.ids);
        ids.retain(|id| !self.refused.contains(id) && !store.index().holds(id));
        let found = self.reconciler.note_found(link, ids.len());
        ids.truncate(room);
        let many = MANY.max(usize::try_from(store.index().count() / 4).unwrap_or(usize::MAX));
        self.wants.on_round_trip(cx.now, link, needed.round_trip);
        let too_many = needed.is_partial() && found > many;
        let proceeded = if too_many {
            self.reconciler.end(link);
            Ok(())
        } else {
            // The next question goes before the WANT: its answer is on its way while the WANT,
            // which is long, and what it asks for come and go.
            self.reconciler.proceed(cx, link, needed)
        };
        self.wants.request(cx, &|id| store.index().holds(id), link, ids);
        self.set_timer(cx);
        if too_many && !self.wants.is_stalled(link) {
            self.request_everything(cx, store, link, self.seen(store) + found as u64);
        }
        proceeded
    }

    /// Asks a peer for its whole pool, unless another sends its own: it holds the same, or the next
    /// round shows the rest. Returns whether it was asked.
    fn request_everything(&mut self, cx: &mut Context, store: &Store, link: LinkId, offered: u64) -> bool {
        self.end_stream(cx, store);
        let refused = self.stream.is_some() || self.wants.is_stalled(link);
        if refused || !self.reconciler.request_everything(cx, link) {
            return false;
        }
        let (now, missing) = (cx.now, offered.saturating_sub(self.seen(store)));
        self.stream = Some(Stream::new(now, link, offered, missing));
        self.set_timer(cx);
        true
    }

    /// Handles a transaction that a native peer brought. `new` ones answer a comparison.
    pub(crate) fn on_brought(
        &mut self,
        cx: &mut Context,
        store: &Store,
        link: LinkId,
        id: &TransactionId,
        (bytes, new): (usize, bool),
    ) {
        if let Some(stream) = self.stream.as_mut().filter(|stream| new && stream.link == link) {
            stream.on_brought(cx.now, bytes, self.wants.is_wanted(id));
        }
        self.wants.on_brought(cx, &|id| store.index().holds(id), link, id, bytes);
        self.forget_refusal(id);
    }

    /// Forgets that a transaction was refused: it is one that this node takes.
    pub(crate) fn forget_refusal(&mut self, id: &TransactionId) {
        if !self.refused.is_empty() {
            self.refused.remove(id);
        }
    }

    #[cfg(test)]
    pub(crate) fn has_refused(&self, id: &TransactionId) -> bool {
        self.refused.contains(id)
    }

    /// Handles a transaction from a native peer that this node does not take.
    pub(crate) fn on_refused(&mut self, now: Instant, id: TransactionId) {
        self.wants.cancel(&id);
        self.refused.insert(now, id, ());
    }

    /// Handles a transaction from a native peer that this node does not take now, and may take
    /// later.
    pub(crate) fn on_put_off(&mut self, id: &TransactionId) {
        self.wants.cancel(id);
        self.refused.remove(id);
    }

    /// Forgets what was refused: this node may take it now.
    pub(crate) fn forget_refused(&mut self) {
        self.refused = Generations::new(limits::REFUSED / 2);
    }

    /// Forgets a link that is closed, and asks others for what it was asked for. Returns whether
    /// something is to be fetched from another neighbour.
    pub(crate) fn on_link_closed(&mut self, cx: &mut Context, store: &Store, link: LinkId) -> bool {
        self.reconciler.on_link_closed(link);
        self.deferred.remove(&link);
        let streamed = self.stream.take_if(|stream| stream.link == link).is_some();
        self.wants.on_link_closed(cx, &|id| store.index().holds(id), link) || streamed
    }
}

/// Returns whether the whole pool of a peer is cheaper than a question.
fn lacks_much(seen: u64, theirs: u64) -> bool {
    theirs.saturating_sub(seen) > (seen / 4).max(1_000)
}

/// Handles WANT: sends single transactions, from the disk or from what waits for it.
pub(crate) fn on_want(cx: &mut Context, store: &Store, link: LinkId, ids: &[TransactionId]) {
    let index = store.index();
    // In the order in which they came.
    let unstored: BTreeMap<usize, &Transaction> = ids.iter().filter_map(|id| index.waiting(id)).collect();
    sync_unstored(cx, link, unstored.into_values());
    let positions: BTreeSet<u64> = ids.iter().filter_map(|id| index.position(id)).collect();
    if !positions.is_empty() {
        cx.output(Output::ReplayPositions { link, positions: positions.into_iter().collect() });
    }
}

#[cfg(test)]
mod tests;
