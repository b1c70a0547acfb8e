//! Anti-entropy of broadcasts, for nodes that were away: what was broadcast in the last ten
//! minutes.
//!
//! The frames and the method are those of the pool, with `"set":"broadcasts"`. The set is small and
//! forgets, so it is laid out as a list now and then, and never sent as a whole. A node that holds
//! no broadcasts says nothing.
//!
//! Broadcasts are compared by their digests. A node of release 0.1 takes our summary for one of
//! ids, and answers with ids: so it is answered with ids.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use negentropy::{Error, Id, Negentropy, NegentropyStorageVector};

use crate::connections::table::LinkTable;
use crate::context::Context;
use crate::id::LinkId;
use crate::io::Lane;
use crate::limits;
use crate::store::broadcast_store::{BroadcastStore, HeldBroadcast};
use crate::store::set_digest::SetDigest;
use crate::sync::negentropy::STEP_BYTES;
use crate::sync::reconciler::{Progress, ReconcilableSet, Reconciler};
use crate::sync::wants::Wants;
use crate::timers::Timer;
use crate::transaction::TransactionId;
use crate::violation::Violation;
use crate::wire::{BroadcastDigest, BroadcastFrame, BroadcastId, OtherSet, Summary, SyncFrame};

/// How long a broadcast has to spread by gossip before it is compared.
const SETTLE_DELAY: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Debug)]
pub(crate) struct BroadcastSync {
    by_digest: Comparison,
    by_id: Comparison,
}

/// The comparisons by one key.
#[derive(Debug)]
struct Comparison {
    key: Key,
    reconciler: Reconciler,
    wants: Wants,
    /// The set, as it was laid out last.
    layout: Option<Layout>,
}

impl Default for BroadcastSync {
    fn default() -> Self {
        let of = |key, set| Comparison {
            key,
            reconciler: Reconciler::new(Some(set)),
            wants: Wants::default(),
            layout: None,
        };
        Self { by_digest: of(Key::Digest, OtherSet::BroadcastDigests), by_id: of(Key::Id, OtherSet::Broadcasts) }
    }
}

impl Comparison {
    /// Asks others for what a neighbour was asked for and did not bring in time. Returns whether
    /// there is something that no other is known to have.
    fn expire(&mut self, cx: &mut Context, store: &BroadcastStore) -> bool {
        let key = self.key;
        let orphans = self.wants.expire(cx, &|id| has_seen(store, key, id));
        self.wants.tick(cx, &|id| has_seen(store, key, id));
        orphans
    }

    fn on_link_closed(&mut self, cx: &mut Context, store: &BroadcastStore, link: LinkId) {
        self.reconciler.on_link_closed(link);
        let key = self.key;
        self.wants.on_link_closed(cx, &|id| has_seen(store, key, id), link);
    }
}

/// What stands for a broadcast in a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Digest,
    Id,
}

/// The broadcasts that had their time to spread, laid out for comparisons.
#[derive(Debug)]
struct Layout {
    at: Instant,
    sealed: NegentropyStorageVector,
    summary: Summary,
}

/// A set is laid out again after this time for each of its items: a peer that asks on and on costs
/// a tenth of it.
const LAYOUT_COST: Duration = Duration::from_micros(10);

impl Layout {
    fn new(store: &BroadcastStore, key: Key, now: Instant) -> Self {
        let (mut sealed, mut digest, mut count) = (NegentropyStorageVector::new(), SetDigest::default(), 0);
        for (key, time) in settled(store, key, now) {
            // What cannot be laid out is not offered.
            if sealed.insert(time, Id::from_byte_array(key.0)).is_ok() {
                digest.add(&key);
                count += 1;
            }
        }
        if sealed.seal().is_err() {
            sealed = NegentropyStorageVector::new();
        }
        Self { at: now, sealed, summary: Summary { count, sum: digest.to_hex() } }
    }

    /// Lays the set out again, unless that was a moment ago.
    fn refresh(layout: &mut Option<Self>, store: &BroadcastStore, key: Key, now: Instant) {
        let fresh = |layout: &Self| {
            let items = u32::try_from(layout.summary.count).unwrap_or(u32::MAX);
            now.saturating_duration_since(layout.at) < LAYOUT_COST.saturating_mul(items)
        };
        if !layout.as_ref().is_some_and(fresh) {
            *layout = Some(Self::new(store, key, now));
        }
    }

    fn negentropy(&self) -> Result<Negentropy<'_, NegentropyStorageVector>, Error> {
        Negentropy::borrowed(&self.sealed, STEP_BYTES)
    }
}

/// Returns the keys and their time stamps in seconds. Of broadcasts with one id one counts.
fn settled(store: &BroadcastStore, key: Key, now: Instant) -> Vec<(TransactionId, u64)> {
    let is_settled = |held: &HeldBroadcast| now.saturating_duration_since(held.received) >= SETTLE_DELAY;
    // As Rust casts: less than 0, or no number, is 0; too great a number is the greatest.
    let item =
        |key: [u8; 32], held: &HeldBroadcast| (TransactionId(key), (held.broadcast.time as u64).min(u64::MAX - 1));
    match key {
        Key::Digest => {
            let settled = store.iter().filter(|(_, held)| is_settled(held));
            settled.map(|(digest, held)| item(digest.0, held)).collect()
        }
        Key::Id => {
            let settled = store.iter_by_id().filter(|held| is_settled(held));
            let mut items: Vec<_> = settled.map(|held| item(held.broadcast.id.0, held)).collect();
            items.dedup_by_key(|(id, _)| *id);
            items
        }
    }
}

impl ReconcilableSet for Layout {
    fn settle(&mut self, _: Instant) {}

    fn summary(&self) -> Summary {
        self.summary.clone()
    }

    fn begin(&self) -> Result<Vec<u8>, Error> {
        self.negentropy()?.initiate()
    }

    fn answer(&self, question: &[u8]) -> Result<Vec<u8>, Error> {
        self.negentropy()?.reconcile(question)
    }

    fn conclude(&self, answer: &[u8], need: &mut Vec<Id>) -> Result<Option<Vec<u8>>, Error> {
        let mut negentropy = self.negentropy()?;
        negentropy.set_initiator();
        negentropy.reconcile_with_ids(answer, &mut Vec::new(), need)
    }
}

impl BroadcastSync {
    /// Sends a native peer our summary, if we hold any broadcast.
    pub(crate) fn compare(&mut self, cx: &mut Context, links: &LinkTable, store: &mut BroadcastStore, link: LinkId) {
        store.expire(cx.now);
        self.by_digest.reconciler.expire(cx.now);
        self.by_id.reconciler.expire(cx.now);
        let Comparison { key, reconciler, layout, .. } = &mut self.by_digest;
        Layout::refresh(layout, store, *key, cx.now);
        if let Some(set) = layout {
            reconciler.compare(cx, links, set, link);
        }
    }

    /// Handles SYNC about broadcasts, by digest or by id.
    pub(crate) fn on_sync(
        &mut self,
        cx: &mut Context,
        links: &LinkTable,
        store: &mut BroadcastStore,
        link: LinkId,
        (by, frame): (OtherSet, SyncFrame),
    ) -> Result<(), Violation> {
        store.expire(cx.now);
        let comparison = match by {
            OtherSet::BroadcastDigests => &mut self.by_digest,
            OtherSet::Broadcasts | OtherSet::Nodes => &mut self.by_id,
        };
        let Comparison { key, reconciler, wants, layout } = comparison;
        let key = *key;
        Layout::refresh(layout, store, key, cx.now);
        let Some(set) = layout else { return Ok(()) };
        match reconciler.on_sync(cx, set, link, frame)? {
            Progress::Differs { theirs: 1.., .. } => reconciler.begin(cx, links, set, link),
            Progress::Done | Progress::Equal | Progress::Unsolicited | Progress::Differs { .. } => {}
            Progress::EverythingRequested => {
                return Err(Violation::breach("SYNC: broadcasts are not requested as a whole"));
            }
            Progress::Needed(mut needed) => {
                let mut ids = std::mem::take(&mut needed.ids);
                ids.retain(|id| !has_seen(store, key, id));
                reconciler.note_found(link, ids.len());
                ids.truncate(limits::BROADCASTS);
                wants.request(cx, &|id| has_seen(store, key, id), link, ids);
                let result = reconciler.proceed(cx, link, needed);
                self.set_timer(cx);
                return result;
            }
        }
        Ok(())
    }

    /// Asks others for what a neighbour was asked for and did not bring in time. Returns whether
    /// there is something that no other is known to have.
    pub(crate) fn on_wants_due(&mut self, cx: &mut Context, store: &BroadcastStore) -> bool {
        let orphans = [&mut self.by_digest, &mut self.by_id].map(|comparison| comparison.expire(cx, store));
        self.set_timer(cx);
        orphans.contains(&true)
    }

    /// Returns whether a link did not deliver lately what it was asked for.
    pub(crate) fn is_stalled(&self, link: LinkId) -> bool {
        self.by_digest.wants.is_stalled(link) || self.by_id.wants.is_stalled(link)
    }

    /// Handles a broadcast that a native peer brought.
    pub(crate) fn on_brought(
        &mut self,
        cx: &mut Context,
        store: &BroadcastStore,
        link: LinkId,
        (digest, id): (BroadcastDigest, BroadcastId),
        bytes: usize,
    ) {
        for (comparison, id) in [(&mut self.by_digest, digest.0), (&mut self.by_id, id.0)] {
            let key = comparison.key;
            comparison.wants.on_brought(cx, &|id| has_seen(store, key, id), link, &TransactionId(id), bytes);
        }
    }

    fn set_timer(&self, cx: &mut Context) {
        let dues = [&self.by_digest, &self.by_id].map(|comparison| comparison.wants.next_due());
        match dues.into_iter().flatten().min() {
            Some(due) => cx.timers.set(Timer::WantBroadcasts, due.max(cx.now)),
            None => cx.timers.cancel(&Timer::WantBroadcasts),
        }
    }

    /// Forgets a link that is closed, and asks others for what it was asked for.
    pub(crate) fn on_link_closed(&mut self, cx: &mut Context, store: &BroadcastStore, link: LinkId) {
        self.by_digest.on_link_closed(cx, store, link);
        self.by_id.on_link_closed(cx, store, link);
    }
}

/// Returns whether a broadcast was seen. A sender can choose an id that is another's digest, so the
/// two are kept apart.
fn has_seen(store: &BroadcastStore, key: Key, id: &TransactionId) -> bool {
    match key {
        Key::Digest => store.has_seen(&BroadcastDigest(id.0)),
        Key::Id => store.has_seen_id(&BroadcastId(id.0)),
    }
}

/// Handles WANT: sends the broadcasts with these digests or ids.
pub(crate) fn on_want(cx: &mut Context, store: &mut BroadcastStore, link: LinkId, ids: &[TransactionId]) {
    store.expire(cx.now);
    let store = &*store;
    let find = |id: &TransactionId| store.get(&BroadcastDigest(id.0)).or_else(|| store.with_id(BroadcastId(id.0)));
    let (mut left, mut sent) = (cx.config.limits.queue_bytes / 2, BTreeSet::new());
    for held in ids.iter().filter_map(find) {
        // The rest would not fit into the queue, and is wanted again.
        let Some(room) = left.checked_sub(held.bytes()) else { break };
        if !sent.insert(std::ptr::from_ref(held)) {
            continue;
        }
        left = room;
        let frame = BroadcastFrame {
            broadcast: held.broadcast.clone(),
            origin: Some(held.origin.clone()),
            ack: false,
            synced: Some(cx.now.saturating_duration_since(held.born)),
        };
        cx.counters.broadcasts_sent += 1;
        cx.send(vec![link], frame.to_frame(cx.config.session), Lane::Payload);
    }
}

#[cfg(test)]
mod tests;
