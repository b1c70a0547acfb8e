//! Transactions that were requested with WANT and have not come, and the sources that do not
//! deliver.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::context::Context;
use crate::id::LinkId;
use crate::io::Lane;
use crate::limits;
use crate::store::pool_index::PoolIndex;
use crate::transaction::{IdMap, TransactionId};
use crate::wire::want_frame;

/// How long an item may take before it is requested from another peer.
const ITEM_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a link that was asked may bring nothing at all. After that it withholds the rest, or
/// had no room for it.
const PROGRESS_TIMEOUT: Duration = Duration::from_secs(2);
/// For how long others are asked first, if a link brought nothing of what was requested.
const STALL: Duration = Duration::from_secs(60);
/// How many items are requested from one link at once.
const PER_LINK: usize = 20_000;

/// See the module. What a stalled source offers holds nobody else up: it is requested from others
/// at once.
#[derive(Debug, Default)]
pub(crate) struct Wants {
    /// From whom each was requested, and when. Its order reaches no output.
    requested: IdMap<(LinkId, Instant)>,
    /// When a link last brought something that was not pushed.
    progress: BTreeMap<LinkId, Instant>,
    /// Since when a source is stalled.
    stalled: BTreeMap<LinkId, Instant>,
}

impl Wants {
    /// Forgets items that came, and those that are overdue. A source that has brought nothing since
    /// it was asked is stalled.
    pub(crate) fn expire(&mut self, now: Instant, index: &PoolIndex) {
        let Self { requested, progress, stalled } = self;
        let since = |at: Instant| now.saturating_duration_since(at);
        requested.retain(|id, (source, asked)| {
            if index.holds(id) {
                return false;
            }
            let moved = progress.get(source).copied().filter(|moved| *moved >= *asked);
            let waits = since(*asked) < ITEM_TIMEOUT && since(moved.unwrap_or(*asked)) < PROGRESS_TIMEOUT;
            if !waits && moved.is_none() {
                stalled.insert(*source, now);
            }
            waits
        });
        stalled.retain(|_, at| since(*at) < STALL);
    }

    /// Requests items, except those that are held here or were requested already, up to
    /// [`PER_LINK`].
    pub(crate) fn request(&mut self, cx: &mut Context, index: &PoolIndex, link: LinkId, mut ids: Vec<TransactionId>) {
        self.expire(cx.now, index);
        ids.retain(|id| !index.holds(id) && !self.requested.contains_key(id));
        let outstanding = self.requested.values().filter(|(source, _)| *source == link).count();
        ids.truncate(PER_LINK.saturating_sub(outstanding));
        if !self.is_stalled(link) {
            self.requested.extend(ids.iter().map(|id| (*id, (link, cx.now))));
        }
        send_wants(cx, link, &ids);
    }

    /// Notes that a source brought something that was not pushed.
    pub(crate) fn on_progress(&mut self, now: Instant, source: LinkId) {
        self.progress.insert(source, now);
        self.stalled.remove(&source);
    }

    /// Forgets an item that this node does not take.
    pub(crate) fn cancel(&mut self, id: &TransactionId) {
        self.requested.remove(id);
    }

    pub(crate) fn is_stalled(&self, source: LinkId) -> bool {
        self.stalled.contains_key(&source)
    }

    pub(crate) fn on_link_closed(&mut self, link: LinkId) {
        self.requested.retain(|_, (source, _)| *source != link);
        self.progress.remove(&link);
        self.stalled.remove(&link);
    }
}

/// Sends WANT, in as many frames as needed.
pub(crate) fn send_wants(cx: &mut Context, link: LinkId, ids: &[TransactionId]) {
    for some in ids.chunks(limits::WANT_IDS) {
        cx.send(vec![link], want_frame(some), Lane::Control);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;
    use crate::testing::parts::{context, drain, transaction};

    const A: LinkId = LinkId(1);
    const B: LinkId = LinkId(2);
    const TICK: Duration = Duration::from_nanos(1);

    fn parts() -> (Wants, Context, Store) {
        (Wants::default(), context(), Store::new(Vec::new()))
    }

    fn ids(from: u32, to: u32) -> Vec<TransactionId> {
        (from..to)
            .map(|n| {
                let mut id = [0; 32];
                id[..4].copy_from_slice(&n.to_be_bytes());
                TransactionId(id)
            })
            .collect()
    }

    /// Requests, and returns how many items were named in how many frames.
    fn request(
        wants: &mut Wants,
        cx: &mut Context,
        store: &Store,
        link: LinkId,
        ids: Vec<TransactionId>,
    ) -> [usize; 2] {
        wants.request(cx, store.index(), link, ids);
        let sent = drain(cx);
        [sent.iter().map(|frame| frame.matches(',').count()).sum(), sent.len()]
    }

    #[test]
    fn an_item_is_requested_from_one_link_at_a_time() {
        let (mut wants, mut cx, store) = parts();
        assert_eq!(request(&mut wants, &mut cx, &store, A, ids(0, 3)), [3, 1]);
        assert_eq!(request(&mut wants, &mut cx, &store, B, ids(1, 5)), [2, 1]);
        assert_eq!(request(&mut wants, &mut cx, &store, B, ids(0, 5)), [0, 0]);
        wants.cancel(&ids(0, 1)[0]);
        assert_eq!(request(&mut wants, &mut cx, &store, B, ids(0, 5)), [1, 1]);
        wants.on_link_closed(B);
        assert_eq!(request(&mut wants, &mut cx, &store, A, ids(0, 5)), [3, 1], "what a closed link was asked for");
    }

    #[test]
    fn what_is_held_is_not_requested_and_what_came_is_no_longer_awaited() {
        let (mut wants, mut cx, mut store) = parts();
        let both: Vec<TransactionId> = [1, 2].map(|n| transaction(n).id()).to_vec();
        store.insert(cx.now, transaction(1), false);
        assert_eq!(request(&mut wants, &mut cx, &store, A, both), [1, 1]);
        store.insert(cx.now, transaction(2), false);
        wants.expire(cx.now, store.index());
        assert!(wants.requested.is_empty());
        cx.now += ITEM_TIMEOUT;
        wants.expire(cx.now, store.index());
        assert!(!wants.is_stalled(A));
    }

    #[test]
    fn a_source_that_brings_nothing_for_two_seconds_is_stalled_for_a_minute() {
        let (mut wants, mut cx, store) = parts();
        request(&mut wants, &mut cx, &store, A, ids(0, 3));
        cx.now += PROGRESS_TIMEOUT - TICK;
        wants.expire(cx.now, store.index());
        assert!(!wants.is_stalled(A) && wants.requested.len() == 3);
        cx.now += TICK;
        assert_eq!(request(&mut wants, &mut cx, &store, B, ids(0, 3)), [3, 1]);
        assert!(wants.is_stalled(A) && !wants.is_stalled(B));
        assert_eq!(request(&mut wants, &mut cx, &store, A, ids(3, 5)), [2, 1]);
        assert_eq!(request(&mut wants, &mut cx, &store, B, ids(3, 5)), [2, 1], "what it offers holds nobody up");
        wants.on_progress(cx.now, B);
        wants.expire(cx.now + PROGRESS_TIMEOUT - TICK, store.index());
        assert_eq!(wants.requested.len(), 5);
        wants.expire(cx.now + PROGRESS_TIMEOUT, store.index());
        assert!(wants.requested.is_empty() && !wants.is_stalled(B), "it brought something");
        wants.expire(cx.now + STALL - TICK, store.index());
        assert!(wants.is_stalled(A));
        wants.expire(cx.now + STALL, store.index());
        assert!(!wants.is_stalled(A));
    }

    #[test]
    fn a_source_that_makes_progress_has_five_seconds_and_a_stalled_one_recovers() {
        let (mut wants, mut cx, store) = parts();
        request(&mut wants, &mut cx, &store, A, ids(0, 3));
        for _ in 0..4 {
            cx.now += Duration::from_secs(1);
            wants.on_progress(cx.now, A);
        }
        cx.now += Duration::from_secs(1) - TICK;
        wants.expire(cx.now, store.index());
        assert_eq!(wants.requested.len(), 3);
        cx.now += TICK;
        wants.expire(cx.now, store.index());
        assert!(wants.requested.is_empty() && !wants.is_stalled(A));
        // What it brought before it was asked does not count.
        cx.now += TICK;
        request(&mut wants, &mut cx, &store, A, ids(0, 3));
        cx.now += PROGRESS_TIMEOUT;
        wants.expire(cx.now, store.index());
        assert!(wants.is_stalled(A));
        wants.on_progress(cx.now, A);
        assert!(!wants.is_stalled(A));
        request(&mut wants, &mut cx, &store, A, ids(0, 3));
        cx.now += PROGRESS_TIMEOUT;
        wants.expire(cx.now, store.index());
        assert!(!wants.is_stalled(A), "progress at the moment of the request counts");
        wants.on_link_closed(A);
        assert!(wants.progress.is_empty() && wants.stalled.is_empty());
    }

    #[test]
    fn requests_are_bounded_per_link_and_frame() {
        let (mut wants, mut cx, store) = parts();
        let all = || ids(0, PER_LINK as u32 + 10);
        assert_eq!(request(&mut wants, &mut cx, &store, A, ids(0, limits::WANT_IDS as u32)), [limits::WANT_IDS, 1]);
        let left = PER_LINK - limits::WANT_IDS;
        assert_eq!(request(&mut wants, &mut cx, &store, A, all()), [left, left / limits::WANT_IDS]);
        assert_eq!(request(&mut wants, &mut cx, &store, A, all()), [0, 0]);
        assert_eq!(request(&mut wants, &mut cx, &store, B, all()), [10, 1]);
    }
}
