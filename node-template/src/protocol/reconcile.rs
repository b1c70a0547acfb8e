//! Nothing missing: two full peers find out what each of them lacks, and send it.
//!
//! It begins with a [`Summary`] of one side, a hundred bytes. If the other's is equal, that was all. If one side lacks a great part, it is sent everything. Else the
//! side that was asked reconciles: in a few rounds of negentropy (range-based set reconciliation, Meyer 2023) it learns which identities it lacks, and WANTs
//! them, and which the other lacks, and sends them. The cost grows with the difference, hardly with the pool.
//!
//! It runs when two full peers link, now and then with a random neighbour, and when the tree of an origin broke. What came this way is not relayed: the
//! neighbours' own rounds find it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use negentropy::Negentropy;
use rand::RngExt;

use super::event::Event;
use super::identity::LinkId;
use super::links::{Flow, Link};
use super::message::{Step, Summary, SyncFrame, want_frame};
use super::timers::Timer;
use super::transaction::TransactionId;
use super::{Lane, Output, Protocol, limits};

/// The shortest time between two rounds of our own, while there is news …
const SHORTEST: Duration = Duration::from_secs(1);
/// … and the longest, when nothing changes. In between it doubles. Each wait is drawn from 1 to 2 times the shortest, lest all ask at once.
const LONGEST: Duration = Duration::from_secs(5);
/// The longest negentropy message, in bytes; in base64, a third more.
const STEP_BYTES: u64 = 48 * 1024;
/// How many identities one reconciliation may find to be missing before streaming everything is cheaper.
const MANY: usize = 20_000;
/// How long an answer to a WANT may take before the same is wanted from somebody else.
const WANT_PATIENCE: Duration = Duration::from_secs(5);
/// How long an answer in a reconciliation may take before it is given up.
const STEP_PATIENCE: Duration = Duration::from_secs(20);
/// How many identities are wanted at once, over all links.
const WANTED: usize = 100_000;

/// What reconciling remembers.
#[derive(Debug)]
pub(super) struct Reconciling {
    /// Our open reconciliations: on each link at most one, with its number and how much it has found.
    open: BTreeMap<LinkId, Open>,
    last_number: u64,
    /// What was asked for and has not come. Its order reaches no output.
    wanted: HashMap<TransactionId, Instant>,
    interval: Duration,
    /// Whether anything was accepted since the last round.
    news: bool,
}

#[derive(Debug)]
struct Open {
    number: u64,
    found: usize,
    /// When it last moved.
    at: Instant,
}

impl Default for Reconciling {
    fn default() -> Self {
        Self { open: BTreeMap::new(), last_number: 0, wanted: HashMap::new(), interval: SHORTEST, news: false }
    }
}

impl Reconciling {
    /// Something new was accepted.
    pub(super) fn on_accepted(&mut self, id: &TransactionId) {
        self.news = true;
        if !self.wanted.is_empty() {
            self.wanted.remove(id);
        }
    }

    pub(super) fn forget_link(&mut self, link: LinkId) {
        self.open.remove(&link);
    }
}

impl Protocol {
    /// Tells a full peer what we offer; if that is not what it has, it reconciles with us.
    pub(super) fn compare_pools(&mut self, now: Instant, link: LinkId) {
        if self.links.get(link).is_some_and(|link| link.full().is_some() && link.takes_transactions()) {
            self.offer.ripen(now);
            self.send_sync(link, SyncFrame::Summary(self.offer.summary()));
        }
    }

    /// It is time for a round with somebody.
    pub(super) fn on_reconcile_due(&mut self, now: Instant) {
        let idle = !std::mem::take(&mut self.reconciling.news);
        let interval = if idle { (self.reconciling.interval * 2).min(LONGEST) } else { SHORTEST };
        self.reconciling.interval = interval;
        self.reconciling.wanted.retain(|_, at| now.saturating_duration_since(*at) < WANT_PATIENCE);
        self.reconciling.open.retain(|_, open| now.saturating_duration_since(open.at) < STEP_PATIENCE);
        self.reconcile_with_somebody(now);
        self.schedule_round(now);
    }

    pub(super) fn schedule_round(&mut self, now: Instant) {
        let wait = self.reconciling.interval.mul_f64(self.rng.random_range(1.0..2.0));
        self.timers.set(Timer::Reconcile, now + wait);
    }

    /// One round with a random full peer.
    pub(super) fn reconcile_with_somebody(&mut self, now: Instant) {
        let ready = self.links.iter().filter(|(_, link)| link.full().is_some() && link.takes_transactions());
        let ready: Vec<LinkId> = ready.map(|(id, _)| id).collect();
        if !ready.is_empty() {
            let link = ready[self.rng.random_range(0..ready.len())];
            self.compare_pools(now, link);
        }
    }

    pub(super) fn on_sync(&mut self, now: Instant, link: LinkId, frame: SyncFrame) {
        if self.links.get(link).and_then(Link::full).is_none() {
            return self.fault(link, "SYNC: only full peers compare pools");
        }
        match frame {
            SyncFrame::Summary(theirs) => self.on_summary(now, link, &theirs),
            SyncFrame::Everything => self.stream(link, 0),
            SyncFrame::Ask(step) => self.on_ask(now, link, &step),
            SyncFrame::Answer(step) => self.on_answer(now, link, &step),
        }
    }

    fn on_summary(&mut self, now: Instant, link: LinkId, theirs: &Summary) {
        self.offer.ripen(now);
        let ours = self.offer.summary();
        if ours == *theirs || self.reconciling.open.contains_key(&link) {
            return;
        }
        self.counters.pools_differed += 1;
        let (few, many) = (ours.count.min(theirs.count), ours.count.max(theirs.count));
        if many - few <= (few / 4).max(1_000) {
            return self.reconcile(now, link);
        }
        // One side lacks a great part: it is sent everything, and the next round finds the rest.
        if ours.count > theirs.count {
            self.stream(link, theirs.count);
        } else {
            self.send_sync(link, SyncFrame::Everything);
        }
    }

    /// Sends a peer the whole pool.
    fn stream(&mut self, link: LinkId, theirs: u64) {
        let (until, ours) = (self.holdings.end(), self.holdings.count());
        let Some(open) = self.links.get_mut(link) else { return };
        if open.flow != Flow::Live || ours == 0 {
            return;
        }
        open.flow = Flow::Syncing;
        self.outbox.push_back(Output::Feed { link, from: 0, until: Some(until), synced: true });
        self.push_waiting(link, |_| true);
        self.notify(Event::Feeding { peer: self.name_of(link), ours, theirs });
    }

    /// Begins a reconciliation.
    fn reconcile(&mut self, now: Instant, link: LinkId) {
        let begun = Negentropy::borrowed(&self.offer, STEP_BYTES).and_then(|mut negentropy| negentropy.initiate());
        let Ok(message) = begun else {
            return self.fault_without_count(link, "a reconciliation could not begin".into());
        };
        self.reconciling.last_number += 1;
        let number = self.reconciling.last_number;
        self.reconciling.open.insert(link, Open { number, found: 0, at: now });
        self.send_sync(link, SyncFrame::Ask(Step { number, message }));
    }

    fn on_ask(&mut self, now: Instant, link: LinkId, step: &Step) {
        self.offer.ripen(now);
        let answer = Negentropy::borrowed(&self.offer, STEP_BYTES)
            .and_then(|mut negentropy| negentropy.reconcile(&step.message));
        match answer {
            Ok(message) => self.send_sync(link, SyncFrame::Answer(Step { number: step.number, message })),
            Err(error) => self.fault(link, &format!("SYNC: {error}")),
        }
    }

    fn on_answer(&mut self, now: Instant, link: LinkId, step: &Step) {
        let Some(open) = self.reconciling.open.get_mut(&link).filter(|open| open.number == step.number) else {
            self.counters.answers_unsolicited += 1;
            return;
        };
        let (mut have, mut need) = (Vec::new(), Vec::new());
        let next = Negentropy::borrowed(&self.offer, STEP_BYTES).and_then(|mut negentropy| {
            negentropy.set_initiator();
            negentropy.reconcile_with_ids(&step.message, &mut have, &mut need)
        });
        open.found += have.len() + need.len();
        open.at = now;
        let (number, found) = (open.number, open.found);
        // The library gives them in no order, and may give one twice.
        let sorted = |ids: Vec<negentropy::Id>| {
            let mut ids: Vec<TransactionId> = ids.into_iter().map(|id| TransactionId(*id)).collect();
            ids.sort_unstable();
            ids.dedup();
            ids
        };
        self.want(now, link, sorted(need));
        self.send_these(link, &sorted(have));
        match next {
            Ok(Some(_)) if found > MANY => {
                self.reconciling.open.remove(&link);
                self.send_sync(link, SyncFrame::Everything);
                self.stream(link, 0);
            }
            Ok(Some(message)) => self.send_sync(link, SyncFrame::Ask(Step { number, message })),
            Ok(None) => {
                self.reconciling.open.remove(&link);
            }
            Err(error) => {
                self.reconciling.open.remove(&link);
                self.fault(link, &format!("SYNC: {error}"));
            }
        }
    }

    /// Asks for transactions that we neither hold nor have asked for.
    fn want(&mut self, now: Instant, link: LinkId, mut ids: Vec<TransactionId>) {
        let wanted = &mut self.reconciling.wanted;
        ids.retain(|id| !self.holdings.holds(id) && !wanted.contains_key(id));
        ids.truncate(WANTED.saturating_sub(wanted.len()));
        wanted.extend(ids.iter().map(|id| (*id, now)));
        for some in ids.chunks(limits::WANT_IDS) {
            self.send(vec![link], want_frame(some), Lane::Control);
        }
    }

    /// A peer lacks these.
    pub(super) fn on_want(&mut self, link: LinkId, ids: &[TransactionId]) {
        if self.links.get(link).and_then(Link::full).is_none() {
            return self.fault(link, "WANT: only full peers are sent what they lack");
        }
        self.send_these(link, ids);
    }

    /// Sends single transactions: from disk, or from what waits for it.
    fn send_these(&mut self, link: LinkId, ids: &[TransactionId]) {
        // Who lacks what we were pushed a moment ago is cut off from the origin's tree, or is kept from it: from now on we bring it.
        for id in ids {
            if let Some(origin) = self.trees.origin_of(id) {
                self.trees.graft(&origin, link);
            }
        }
        let waiting: BTreeSet<TransactionId> =
            ids.iter().copied().filter(|id| self.holdings.holds(id) && !self.holdings.has_stored(id)).collect();
        if !waiting.is_empty() {
            self.push_waiting(link, |id| waiting.contains(id));
        }
        let mut positions: Vec<u64> = ids.iter().filter_map(|id| self.holdings.position(id)).collect();
        positions.sort_unstable();
        if !positions.is_empty() {
            self.outbox.push_back(Output::Fetch { link, positions });
        }
    }

    fn send_sync(&mut self, link: LinkId, frame: SyncFrame) {
        self.send(vec![link], frame.to_frame(), Lane::Control);
    }
}
