//! Anti-entropy of broadcasts, for nodes that were away: what was broadcast in the last ten
//! minutes.
//!
//! The frames and the method are those of the pool, with `"set":"broadcasts"`. The set is small and
//! forgets, so it is laid out for each message, and never sent as a whole. A node that holds no
//! broadcasts says nothing.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use negentropy::{Error, Id, Negentropy, NegentropyStorageVector};

use crate::connections::table::{Link, LinkTable};
use crate::context::Context;
use crate::id::LinkId;
use crate::io::Lane;
use crate::limits;
use crate::store::broadcast_store::BroadcastStore;
use crate::store::set_digest::SetDigest;
use crate::sync::negentropy::STEP_BYTES;
use crate::sync::reconciler::{Progress, ReconcilableSet, Reconciler};
use crate::sync::wants::send_wants;
use crate::transaction::TransactionId;
use crate::util::rate_limit::RateLimits;
use crate::violation::Violation;
use crate::wire::{BroadcastFrame, BroadcastId, OtherSet, Summary, SyncFrame};

/// How long a broadcast has to spread by gossip before it is compared.
const SETTLE_DELAY: Duration = Duration::from_secs(2);
/// How long a broadcast may take before it is requested from another peer.
const ITEM_TIMEOUT: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Debug)]
pub(crate) struct BroadcastSync {
    reconciler: Reconciler,
    /// What was requested and has not come, and when. Its order reaches no output.
    requested: HashMap<BroadcastId, Instant, RandomState>,
}

impl Default for BroadcastSync {
    fn default() -> Self {
        let reconciler = Reconciler::new(Some(OtherSet::Broadcasts));
        Self { reconciler, requested: HashMap::default() }
    }
}

/// The broadcasts that had their time to spread.
struct Settled<'a> {
    store: &'a BroadcastStore,
    now: Instant,
}

impl Settled<'_> {
    /// Iterates over the ids and their time stamps in seconds.
    fn items(&self) -> impl Iterator<Item = (BroadcastId, u64)> {
        let held = self.store.iter();
        let settled = held.filter(|held| self.now.saturating_duration_since(held.received) >= SETTLE_DELAY);
        // As Rust casts: less than 0, or no number, is 0; too great a number is the greatest.
        settled.map(|held| (held.broadcast.id, (held.broadcast.time as u64).min(u64::MAX - 1)))
    }

    fn negentropy(&self) -> Result<Negentropy<'static, NegentropyStorageVector>, Error> {
        let mut storage = NegentropyStorageVector::new();
        for (id, time) in self.items() {
            storage.insert(time, Id::from_byte_array(id.0))?;
        }
        storage.seal()?;
        Negentropy::owned(storage, STEP_BYTES)
    }
}

impl ReconcilableSet for Settled<'_> {
    fn settle(&mut self, _: Instant) {}

    fn summary(&self) -> Summary {
        let (mut digest, mut count) = (SetDigest::default(), 0);
        for (id, _) in self.items() {
            digest.add(&TransactionId(id.0));
            count += 1;
        }
        Summary { count, sum: digest.to_hex() }
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
        self.requested.retain(|_, at| cx.now.saturating_duration_since(*at) < ITEM_TIMEOUT);
        self.reconciler.expire(cx.now);
        let mut set = Settled { store, now: cx.now };
        self.reconciler.compare(cx, links, &mut set, link);
    }

    /// Handles SYNC about broadcasts.
    pub(crate) fn on_sync(
        &mut self,
        cx: &mut Context,
        links: &LinkTable,
        store: &mut BroadcastStore,
        asks: &mut RateLimits<LinkId>,
        link: LinkId,
        frame: SyncFrame,
    ) -> Result<(), Violation> {
        store.expire(cx.now);
        let mut set = Settled { store, now: cx.now };
        match self.reconciler.on_sync(cx, links, asks, &mut set, link, frame)? {
            Progress::Differs { theirs: 1.., .. } => self.reconciler.begin(cx, links, &set, link),
            Progress::Done | Progress::Equal | Progress::Unsolicited | Progress::Differs { .. } => {}
            Progress::EverythingRequested => {
                return Err(Violation::breach("SYNC: broadcasts are not requested as a whole"));
            }
            Progress::Needed(needed) => {
                self.request(cx, store, link, &needed.ids);
                return self.reconciler.proceed(cx, link, needed);
            }
        }
        Ok(())
    }

    fn request(&mut self, cx: &mut Context, store: &BroadcastStore, link: LinkId, ids: &[TransactionId]) {
        let Self { requested, .. } = self;
        requested.retain(|id, _| !store.has_seen(id));
        let is_new = |id: &BroadcastId| !store.has_seen(id) && !requested.contains_key(id);
        let room = limits::BROADCASTS.saturating_sub(requested.len());
        let ids: Vec<TransactionId> = ids.iter().copied().filter(|id| is_new(&BroadcastId(id.0))).take(room).collect();
        requested.extend(ids.iter().map(|id| (BroadcastId(id.0), cx.now)));
        send_wants(cx, link, &ids);
    }

    pub(crate) fn on_link_closed(&mut self, link: LinkId) {
        self.reconciler.end(link);
    }
}

/// Handles WANT: sends the broadcasts among the ids.
pub(crate) fn on_want(
    cx: &mut Context,
    links: &LinkTable,
    store: &mut BroadcastStore,
    link: LinkId,
    ids: &[TransactionId],
) {
    if links.get(link).and_then(Link::native).is_none() {
        return;
    }
    store.expire(cx.now);
    for id in ids {
        let Some(held) = store.get(&BroadcastId(id.0)) else { continue };
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
