//! Nothing missing: two full peers find out what each of them lacks, and send it.
//!
//! It begins with a [`Summary`] of one side, a hundred bytes. If the other's is equal, that was all. Else the other fetches what it lacks: in a few rounds of
//! negentropy (range-based set reconciliation, Meyer 2023) it learns which identities those are, and WANTs them; if it lacks a great part, it asks for
//! everything, of one neighbour at a time. It also answers with its own summary, and so each side fetches its own, the one that has less first. The cost grows with the difference.
//!
//! It runs when two full peers link, now and then with a random neighbour, and when the tree of an origin broke. What came this way is not relayed: the
//! neighbours' own rounds find it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rand::RngExt;

use crate::connections::table::Link;
use crate::id::LinkId;
use crate::store::Store;
use crate::store::replay::{stream_pool, sync_unstored};
use crate::timers::Timer;
use crate::transaction::{IdMap, IdSet, TransactionId};
use crate::util::rate_limit::RateLimits;
use crate::violation::ViolationKind;
use crate::wire::{Step, Summary, SyncFrame, want_frame};
use crate::{Lane, Node, Output, limits};

/// The shortest time between two rounds of our own, while there is news …
const SHORTEST: Duration = Duration::from_secs(1);
/// … and the longest, when nothing changes. In between it doubles. Each wait is drawn from 1 to 2 times the shortest, lest all ask at once.
const LONGEST: Duration = Duration::from_secs(5);
/// How many identities one reconciliation may find to be missing before streaming everything is cheaper.
const MANY: usize = 20_000;
/// How long an answer to a WANT may take before the same is wanted from somebody else …
const WANT_PATIENCE: Duration = Duration::from_secs(5);
/// … and how long a link that was asked may bring nothing at all: what it did not send by then it withholds, or had no room for.
const WANT_PROGRESS: Duration = Duration::from_secs(2);
/// For how long others are asked rather than a link that brought nothing of what was wanted.
const LET_DOWN: Duration = Duration::from_secs(60);
/// How long an answer in a reconciliation may take before it is given up.
const STEP_PATIENCE: Duration = Duration::from_secs(20);
/// How many questions a link may ask at once …
const ASKS_AT_ONCE: u32 = 64;
/// … and how long one more takes after that. A reconciliation of 20,000 differences in 48 KiB steps takes some thirty.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// Limits how often a link may ask in comparisons of any set: an answer may read a great part of it.
pub(crate) fn ask_limits() -> RateLimits<LinkId> {
    RateLimits::new(ASK_EVERY, ASKS_AT_ONCE)
}
/// How many identities are wanted of one link at once.
const WANTED: usize = 20_000;
/// How long a whole pool may bring nothing before another is asked for.
const STREAM_PATIENCE: Duration = Duration::from_secs(5);

/// What reconciling remembers.
#[derive(Debug)]
pub(crate) struct PoolSync {
    /// Our open reconciliations: on each link at most one, with its number and how much it has found.
    open: BTreeMap<LinkId, Open>,
    last_number: u64,
    /// What was asked for and has not come: of whom, and when. Its order reaches no output.
    wanted: IdMap<(LinkId, Instant)>,
    /// When a link last brought something that was not pushed. Only for links that something is wanted of.
    brought: BTreeMap<LinkId, Instant>,
    /// Links that offered something and brought nothing of it, and since when they are known for that. What they offer keeps nobody else from being asked.
    let_down: BTreeMap<LinkId, Instant>,
    /// Who sends us its whole pool, and when something of it last came.
    streaming: Option<(LinkId, Instant)>,
    /// What the application refused, in two generations: it is not asked for again. Their order reaches no output.
    refused: IdSet,
    refused_before: IdSet,
    /// Links on which the other side was let go first, the last time that pools differed.
    deferred: BTreeSet<LinkId>,
    interval: Duration,
    /// How many transactions had been accepted at the last round.
    accepted: u64,
}

#[derive(Debug)]
struct Open {
    number: u64,
    found: usize,
    /// When it last moved.
    at: Instant,
}

impl Default for PoolSync {
    fn default() -> Self {
        Self {
            open: BTreeMap::new(),
            last_number: 0,
            wanted: IdMap::default(),
            brought: BTreeMap::new(),
            let_down: BTreeMap::new(),
            streaming: None,
            refused: IdSet::default(),
            refused_before: IdSet::default(),
            deferred: BTreeSet::new(),
            interval: SHORTEST,
            accepted: 0,
        }
    }
}

impl PoolSync {
    /// The application refused this one.
    pub(crate) fn on_refused(&mut self, id: TransactionId) {
        self.wanted.remove(&id);
        if self.refused.len() >= limits::REFUSED / 2 {
            self.refused_before = std::mem::take(&mut self.refused);
        }
        self.refused.insert(id);
    }

    fn has_refused(&self, id: &TransactionId) -> bool {
        self.refused.contains(id) || self.refused_before.contains(id)
    }

    pub(crate) fn forget_link(&mut self, link: LinkId) {
        self.open.remove(&link);
        self.deferred.remove(&link);
        self.wanted.retain(|_, (of, _)| *of != link);
        self.brought.remove(&link);
        self.let_down.remove(&link);
        self.streaming = self.streaming.filter(|(of, _)| *of != link);
    }

    /// Something came on a link that was not pushed.
    pub(crate) fn on_synced(&mut self, now: Instant, link: LinkId) {
        self.brought.insert(link, now);
        self.let_down.remove(&link);
        if let Some((of, at)) = &mut self.streaming
            && *of == link
        {
            *at = now;
        }
    }

    /// Forgets what was wanted and does not come, and notes which links brought nothing.
    fn expire_wants(&mut self, now: Instant, store: &Store) {
        let Self { wanted, brought, let_down, .. } = self;
        wanted.retain(|id, _| !store.index().holds(id));
        let since = |at: Instant| now.saturating_duration_since(at);
        wanted.retain(|_, (of, asked)| {
            let moved = brought.get(of).copied().filter(|brought| *brought >= *asked);
            let waits = since(*asked) < WANT_PATIENCE && since(moved.unwrap_or(*asked)) < WANT_PROGRESS;
            if !waits && moved.is_none() {
                let_down.insert(*of, now);
            }
            waits
        });
        let_down.retain(|_, at| since(*at) < LET_DOWN);
    }
}

impl Node {
    /// Tells a full peer what we offer; if that is not what it has, it reconciles with us.
    pub(crate) fn compare_pools(&mut self, now: Instant, link: LinkId) {
        if self.connections.links.get(link).is_some_and(|link| link.full().is_some() && link.takes_transactions()) {
            self.store.sync_set().settle(now);
            let summary = self.store.sync_set().summary();
            self.send_sync(link, SyncFrame::Summary(summary));
        }
    }

    /// It is time for a round with somebody.
    pub(crate) fn on_reconcile_due(&mut self, now: Instant) {
        let accepted = self.store.accepted();
        let idle = std::mem::replace(&mut self.pool_sync.accepted, accepted) == accepted;
        let interval = if idle { (self.pool_sync.interval * 2).min(LONGEST) } else { SHORTEST };
        self.pool_sync.interval = interval;
        self.pool_sync.expire_wants(now, &self.store);
        self.pool_sync.open.retain(|_, open| now.saturating_duration_since(open.at) < STEP_PATIENCE);
        self.store.sync_set().settle(now);
        self.tell_somebody(now);
        self.schedule_round(now);
    }

    pub(crate) fn schedule_round(&mut self, now: Instant) {
        let wait = self.pool_sync.interval.mul_f64(self.cx.rng.random_range(1.0..2.0));
        self.cx.timers.set(Timer::Reconcile, now + wait);
    }

    /// One round: a random full peer is told what we offer, and tells its own if that differs; each fetches what it lacks.
    fn tell_somebody(&mut self, now: Instant) {
        if let Some(link) = self.somebody() {
            self.compare_pools(now, link);
            self.compare_broadcasts(now, link);
        }
    }

    /// Fetches what a random full peer has and we lack.
    pub(crate) fn fetch_from_somebody(&mut self, now: Instant) {
        if let Some(link) = self.somebody().filter(|link| !self.pool_sync.open.contains_key(link)) {
            self.store.sync_set().settle(now);
            self.reconcile(now, link);
        }
    }

    fn somebody(&mut self) -> Option<LinkId> {
        let ready =
            self.connections.links.iter().filter(|(_, link)| link.full().is_some() && link.takes_transactions());
        let mut ready: Vec<LinkId> = ready.map(|(id, _)| id).collect();
        let let_down = &self.pool_sync.let_down;
        if ready.iter().any(|link| !let_down.contains_key(link)) {
            ready.retain(|link| !let_down.contains_key(link));
        }
        (!ready.is_empty()).then(|| ready[self.cx.rng.random_range(0..ready.len())])
    }

    pub(crate) fn on_sync(&mut self, now: Instant, link: LinkId, frame: SyncFrame) {
        if self.connections.links.get(link).and_then(Link::full).is_none() {
            return self.fault(link, "SYNC: only full peers compare pools");
        }
        match frame {
            SyncFrame::Answer(step) => return self.on_answer(now, link, &step),
            _ if !self.may_ask(now, link) => {}
            SyncFrame::Summary(theirs) => return self.on_summary(now, link, &theirs, true),
            SyncFrame::Reply(theirs) => return self.on_summary(now, link, &theirs, false),
            SyncFrame::Everything => return stream_pool(&mut self.cx, &mut self.connections.links, &self.store, link),
            SyncFrame::Ask(step) => return self.on_ask(now, link, &step),
        }
        self.fault(link, "SYNC: it asks more often than any comparison needs");
    }

    /// A peer told what it offers. Whoever lacks something fetches it: nobody is sent what it did not ask for, and of all neighbours only one is asked.
    fn on_summary(&mut self, now: Instant, link: LinkId, theirs: &Summary, asked: bool) {
        self.store.sync_set().settle(now);
        let ours = self.store.sync_set().summary();
        if ours == *theirs {
            self.pool_sync.deferred.remove(&link);
            return;
        }
        let offered = ours.count;
        if asked {
            self.send_sync(link, SyncFrame::Reply(ours));
        }
        if self.pool_sync.open.contains_key(&link) {
            return;
        }
        self.cx.counters.sync_rounds_differed += 1;
        // What we refused we have seen: it is no reason to ask for everything.
        let held = self.store.index().count() + self.pool_sync.refused.len() as u64;
        // Whoever offers less goes first: most often it lacks all that differs, and then one comparison is enough. If pools still differ the next time, we lack
        // something as well, or the other side fetches nothing: its pool may be full.
        if theirs.count < offered && self.pool_sync.deferred.insert(link) {
            return;
        }
        self.pool_sync.deferred.remove(&link);
        if theirs.count.saturating_sub(held) <= (held / 4).max(1_000) {
            self.reconcile(now, link);
        } else {
            self.ask_for_everything(now, link);
        }
    }

    /// Asks a peer for its whole pool, unless another is sending its own just now: it holds the same, or the next round tells.
    fn ask_for_everything(&mut self, now: Instant, link: LinkId) {
        let busy = self.pool_sync.streaming.is_some_and(|(_, at)| now.saturating_duration_since(at) < STREAM_PATIENCE);
        if !busy {
            self.pool_sync.streaming = Some((link, now));
            self.send_sync(link, SyncFrame::Everything);
        }
    }

    /// Begins a reconciliation.
    fn reconcile(&mut self, now: Instant, link: LinkId) {
        let Ok(message) = super::negentropy::begin(self.store.sync_set().items()) else {
            return self.connections.links.log_fault(&mut self.cx, link, "a reconciliation could not begin".into());
        };
        self.pool_sync.last_number += 1;
        let number = self.pool_sync.last_number;
        self.pool_sync.open.insert(link, Open { number, found: 0, at: now });
        self.send_sync(link, SyncFrame::Ask(Step { number, message }));
    }

    fn on_ask(&mut self, now: Instant, link: LinkId, step: &Step) {
        self.store.sync_set().settle(now);
        match super::negentropy::answer(self.store.sync_set().items(), &step.message) {
            Ok(message) => self.send_sync(link, SyncFrame::Answer(Step { number: step.number, message })),
            Err(error) => self.fault(link, &format!("SYNC: {error}")),
        }
    }

    fn on_answer(&mut self, now: Instant, link: LinkId, step: &Step) {
        let Some(open) = self.pool_sync.open.get_mut(&link).filter(|open| open.number == step.number) else {
            self.cx.counters.answers_unsolicited += 1;
            return self.offend(link, ViolationKind::Unsolicited, "SYNC: nobody asked, or too long ago; ignored");
        };
        let (mut have, mut need) = (Vec::new(), Vec::new());
        let next = super::negentropy::conclude(self.store.sync_set().items(), &step.message, &mut have, &mut need);
        // What the other side lacks it finds by itself, when it is told of our summary.
        open.found += need.len();
        open.at = now;
        let (number, found) = (open.number, open.found);
        // The library gives them in no order, and may give one twice.
        let sorted = |ids: Vec<::negentropy::Id>| {
            let mut ids: Vec<TransactionId> = ids.into_iter().map(|id| TransactionId(*id)).collect();
            ids.sort_unstable();
            ids.dedup();
            ids
        };
        self.want(now, link, sorted(need));
        let many = MANY.max(usize::try_from(self.store.index().count() / 4).unwrap_or(usize::MAX));
        match next {
            Ok(Some(_)) if found > many => {
                self.pool_sync.open.remove(&link);
                self.ask_for_everything(now, link);
            }
            Ok(Some(message)) => self.send_sync(link, SyncFrame::Ask(Step { number, message })),
            Ok(None) => {
                self.pool_sync.open.remove(&link);
            }
            Err(error) => {
                self.pool_sync.open.remove(&link);
                self.fault(link, &format!("SYNC: {error}"));
            }
        }
    }

    /// Asks for transactions that we neither hold nor have asked for.
    fn want(&mut self, now: Instant, link: LinkId, mut ids: Vec<TransactionId>) {
        self.pool_sync.expire_wants(now, &self.store);
        ids.retain(|id| !self.pool_sync.has_refused(id));
        let PoolSync { wanted, let_down, .. } = &mut self.pool_sync;
        ids.retain(|id| !self.store.index().holds(id) && !wanted.contains_key(id));
        let of_link = wanted.values().filter(|(of, _)| *of == link).count();
        ids.truncate(WANTED.saturating_sub(of_link));
        if !let_down.contains_key(&link) {
            wanted.extend(ids.iter().map(|id| (*id, (link, now))));
        }
        for some in ids.chunks(limits::WANT_IDS) {
            self.cx.send(vec![link], want_frame(some), Lane::Control);
        }
    }

    /// A peer lacks these.
    pub(crate) fn on_want(&mut self, link: LinkId, ids: &[TransactionId]) {
        if self.connections.links.get(link).and_then(Link::full).is_none() {
            return self.fault(link, "WANT: only full peers are sent what they lack");
        }
        self.send_these(link, ids);
    }

    /// Sends single transactions: from disk, or from what waits for it.
    fn send_these(&mut self, link: LinkId, ids: &[TransactionId]) {
        self.gossip.plumtree.on_peer_lacks(link, ids);
        let waiting: BTreeSet<TransactionId> = ids
            .iter()
            .copied()
            .filter(|id| self.store.index().holds(id) && !self.store.index().is_stored(id))
            .collect();
        if !waiting.is_empty() {
            sync_unstored(&mut self.cx, &self.store, link, |id| waiting.contains(id));
        }
        let mut positions: Vec<u64> = ids.iter().filter_map(|id| self.store.index().position(id)).collect();
        positions.sort_unstable();
        positions.dedup();
        if !positions.is_empty() {
            self.cx.output(Output::ReplayPositions { link, positions });
        }
    }

    fn send_sync(&mut self, link: LinkId, frame: SyncFrame) {
        let began = matches!(frame, SyncFrame::Summary(_));
        let frame = frame.to_frame();
        self.cx.counters.sync_rounds += u64::from(began);
        self.cx.counters.sync_sent_bytes += frame.len() as u64;
        self.cx.send(vec![link], frame, Lane::Control);
    }
}
