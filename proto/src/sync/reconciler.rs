//! The reconciliation of one set with many peers: summaries first, then rounds of negentropy.
//!
//! A [`Summary`] of a hundred bytes is compared. If the sets differ, each side fetches what it
//! lacks: in a few questions and answers of negentropy (range-based set reconciliation, Meyer 2023)
//! it learns which items those are. The cost grows with the difference, not with the set. What to
//! do with the items is the owner's business.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use negentropy::{Error, Id};

use crate::connections::table::LinkTable;
use crate::context::Context;
use crate::id::LinkId;
use crate::io::Lane;
use crate::transaction::TransactionId;
use crate::util::rate_limit::RateLimits;
use crate::violation::Violation;
use crate::wire::{Floor, OtherSet, Step, Summary, SyncFrame};

/// How long an answer may take before the reconciliation is given up.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// How often in a row a comparison with a peer is left out that had nothing for us, and whose
/// summary is still the same. A set that lost items finds them again after that.
const SKIPS: u32 = 30;

/// How many questions and summaries a peer is sent at once, and how long one more takes after that,
/// for transactions and for each set of broadcasts. All three together stay below what a receiver
/// takes from one link: it drops more, and one of the previous release bans who sends it. A
/// stranger that makes pools differ, or trees break, would otherwise have honest nodes ban each
/// other. What is left out comes in a later round.
const AT_ONCE: u32 = 48;
const EVERY: Duration = Duration::from_millis(180);
const OTHER_AT_ONCE: u32 = 7;
const OTHER_EVERY: Duration = Duration::from_millis(700);

/// A set that two peers reconcile.
pub(crate) trait ReconcilableSet {
    /// Brings the set up to date, before a peer is told of it.
    fn settle(&mut self, now: Instant);

    fn summary(&self) -> Summary;

    /// Returns below which nothing is kept; the default value in a set that keeps everything.
    fn floor(&self) -> Floor {
        Floor::default()
    }

    /// Returns the summary of the part from a floor on, which is not below its own. A set without
    /// parts has that of everything.
    fn summary_from(&self, _: &Floor) -> Summary {
        self.summary()
    }

    /// Returns the first question.
    fn begin(&self) -> Result<Vec<u8>, Error>;

    /// Answers a question.
    fn answer(&self, question: &[u8]) -> Result<Vec<u8>, Error>;

    /// Reads an answer: adds what the peer has and this set lacks, and perhaps some that it has;
    /// returns the next question, if one is needed.
    fn conclude(&self, answer: &[u8], need: &mut Vec<Id>) -> Result<Option<Vec<u8>>, Error>;
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Reconciler {
    /// Which set; `None`: transactions.
    set: Option<OtherSet>,
    /// Our open reconciliations, at most one per link.
    open: BTreeMap<LinkId, Open>,
    last_number: u64,
    /// When a summary was last sent to or came from each peer.
    compared: BTreeMap<LinkId, Instant>,
    /// Peers whose last summary differed, and whether they were sent one since.
    differing: BTreeMap<LinkId, bool>,
    /// The last summary of each peer.
    summaries: BTreeMap<LinkId, Summary>,
    /// Summaries of sets that had nothing for us, and how often we did not ask again.
    fruitless: BTreeMap<LinkId, (Summary, u32)>,
    /// How much each peer is sent.
    rates: RateLimits<LinkId>,
}

#[derive(Debug)]
struct Open {
    number: u64,
    /// How many items the peer has that we lack, so far.
    found: usize,
    /// When the last question was sent.
    at: Instant,
}

/// What a frame calls for.
#[derive(Debug)]
pub(crate) enum Progress {
    /// Nothing more.
    Done,
    /// The sets are equal.
    Equal,
    /// The sets differ, and no reconciliation is open on this link.
    Differs { ours: u64, theirs: u64 },
    /// The peer asks for the whole set.
    EverythingRequested,
    /// An answer to no question of ours, or one that came too late.
    Unsolicited,
    /// The peer has items that we lack. After they are requested, [`Reconciler::proceed`] is
    /// called.
    Needed(Needed),
}

/// Items that a peer has and we may lack.
#[derive(Debug)]
pub(crate) struct Needed {
    /// As WANT names them, in order.
    pub(crate) ids: Vec<TransactionId>,
    /// How long after the question the answer came.
    pub(crate) round_trip: Duration,
    /// The next question.
    next: Result<Option<Step>, Error>,
}

impl Needed {
    /// Returns whether there are more to be found.
    pub(crate) fn is_partial(&self) -> bool {
        matches!(self.next, Ok(Some(_)))
    }
}

impl Reconciler {
    pub(crate) fn new(set: Option<OtherSet>) -> Self {
        let (compared, summaries, fruitless) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let (open, differing) = (BTreeMap::new(), BTreeMap::new());
        let rates = match set {
            None => RateLimits::new(EVERY, AT_ONCE),
            Some(_) => RateLimits::new(OTHER_EVERY, OTHER_AT_ONCE),
        };
        Self { set, open, last_number: 0, compared, differing, summaries, fruitless, rates }
    }

    pub(crate) fn is_open(&self, link: LinkId) -> bool {
        self.open.contains_key(&link)
    }

    /// When the sets were last compared on a link, by either end.
    pub(crate) fn last_compared(&self, link: LinkId) -> Option<Instant> {
        self.compared.get(&link).copied()
    }

    /// Returns whether the sets were compared on a link, and did not differ the last time.
    pub(crate) fn is_equal(&self, link: LinkId) -> bool {
        self.compared.contains_key(&link) && !self.differing.contains_key(&link)
    }

    /// Gives up reconciliations whose answer does not come.
    pub(crate) fn expire(&mut self, now: Instant) {
        self.open.retain(|_, open| now.saturating_duration_since(open.at) < ANSWER_TIMEOUT);
    }

    /// Ends the reconciliation on a link.
    pub(crate) fn end(&mut self, link: LinkId) {
        self.open.remove(&link);
    }

    /// Forgets a link that has closed.
    pub(crate) fn on_link_closed(&mut self, link: LinkId) {
        self.end(link);
        self.compared.remove(&link);
        self.differing.remove(&link);
        self.summaries.remove(&link);
        self.fruitless.remove(&link);
        self.rates.remove(&link);
    }

    /// Returns whether a set with this summary had nothing for us the last time. A peer whose pool
    /// is full stays as it is, and reconciling costs as much as all that it lacks.
    fn is_fruitless(&mut self, link: LinkId, theirs: &Summary) -> bool {
        let Some((_, skips)) = self.fruitless.get_mut(&link).filter(|(summary, _)| summary == theirs) else {
            return false;
        };
        *skips += 1;
        *skips <= SKIPS
    }

    /// Ends a reconciliation that has found everything.
    fn complete(&mut self, link: LinkId) {
        let found = self.open.remove(&link).map(|open| open.found);
        match self.summaries.get(&link).filter(|_| found == Some(0)) {
            Some(theirs) => _ = self.fruitless.insert(link, (theirs.clone(), 0)),
            None => _ = self.fruitless.remove(&link),
        }
    }

    /// Sends a native peer our summary. If its own differs, it reconciles with us, and sends us its
    /// own in reply.
    pub(crate) fn compare(
        &mut self,
        cx: &mut Context,
        links: &LinkTable,
        set: &mut impl ReconcilableSet,
        link: LinkId,
    ) {
        let takes = links.get(link).is_some_and(|link| link.native().is_some() && link.takes_transactions());
        if takes && self.may_send(cx, link) {
            set.settle(cx.now);
            self.compared.insert(link, cx.now);
            // A summary that is not answered was equal.
            match self.differing.get_mut(&link) {
                Some(asked) if !*asked => *asked = true,
                _ => _ = self.differing.remove(&link),
            }
            let floor = set.floor();
            self.send_summary(cx, link, floor, set.summary_from(&floor), false);
        }
    }

    /// Begins a reconciliation, unless the peer was sent too much.
    pub(crate) fn begin(&mut self, cx: &mut Context, links: &LinkTable, set: &impl ReconcilableSet, link: LinkId) {
        let Ok(message) = set.begin() else {
            return links.log_fault(cx, link, "a reconciliation could not begin".into());
        };
        if !self.may_send(cx, link) {
            return;
        }
        self.last_number += 1;
        let number = self.last_number;
        self.open.insert(link, Open { number, found: 0, at: cx.now });
        self.send(cx, link, &SyncFrame::Ask(Step { number, message }));
    }

    /// Handles SYNC.
    pub(crate) fn on_sync(
        &mut self,
        cx: &mut Context,
        set: &mut impl ReconcilableSet,
        link: LinkId,
        frame: SyncFrame,
    ) -> Result<Progress, Violation> {
        match frame {
            SyncFrame::Answer(step) => Ok(self.on_answer(cx, set, link, &step)),
            SyncFrame::Summary(theirs) => Ok(self.on_summary(cx, set, link, (Floor::default(), theirs), false)),
            SyncFrame::Reply(theirs) => Ok(self.on_summary(cx, set, link, (Floor::default(), theirs), true)),
            SyncFrame::Since { floor, summary, reply } => Ok(self.on_summary(cx, set, link, (floor, summary), reply)),
            SyncFrame::Everything => Ok(Progress::EverythingRequested),
            SyncFrame::Ask(step) => {
                set.settle(cx.now);
                let message = set.answer(&step.message).map_err(malformed)?;
                self.send(cx, link, &SyncFrame::Answer(Step { number: step.number, message }));
                Ok(Progress::Done)
            }
        }
    }

    /// Compares a peer's summary with ours. Who lacks something fetches it: nobody is sent what it
    /// did not ask for.
    ///
    /// Of two sets with floors the part above both is compared. Who has the higher floor says so in
    /// its answer, and the other one answers that with its own summary of that part.
    fn on_summary(
        &mut self,
        cx: &mut Context,
        set: &mut impl ReconcilableSet,
        link: LinkId,
        (floor, theirs): (Floor, Summary),
        is_reply: bool,
    ) -> Progress {
        set.settle(cx.now);
        self.compared.insert(link, cx.now);
        let own = set.floor();
        let from = own.max(floor);
        let summary = set.summary_from(&from);
        if from == floor && summary == theirs {
            self.differing.remove(&link);
            return Progress::Equal;
        }
        if from == floor {
            self.differing.insert(link, false);
        }
        let ours = summary.count;
        if (!is_reply || floor > own) && self.may_send(cx, link) {
            self.send_summary(cx, link, from, summary, true);
        }
        if from != floor || self.is_open(link) {
            return Progress::Done;
        }
        self.summaries.insert(link, theirs.clone());
        if self.is_fruitless(link, &theirs) { Progress::Done } else { Progress::Differs { ours, theirs: theirs.count } }
    }

    fn on_answer(&mut self, cx: &mut Context, set: &impl ReconcilableSet, link: LinkId, step: &Step) -> Progress {
        let Some(open) = self.open.get_mut(&link).filter(|open| open.number == step.number) else {
            cx.counters.answers_unsolicited += 1;
            return Progress::Unsolicited;
        };
        let mut need = Vec::new();
        let next = set.conclude(&step.message, &mut need);
        let round_trip = cx.now.saturating_duration_since(open.at);
        // The next question follows at once.
        open.at = cx.now;
        // The library gives them in no order, and may give one twice.
        let mut ids: Vec<TransactionId> = need.into_iter().map(|id| TransactionId(*id)).collect();
        ids.sort_unstable();
        ids.dedup();
        let next = next.map(|next| next.map(|message| Step { number: open.number, message }));
        Progress::Needed(Needed { ids, round_trip, next })
    }

    /// Notes how many of the items of an answer we lack. Returns how many it is in this
    /// reconciliation.
    pub(crate) fn note_found(&mut self, link: LinkId, found: usize) -> usize {
        let Some(open) = self.open.get_mut(&link) else { return found };
        open.found += found;
        open.found
    }

    /// Asks the next question of a reconciliation, or ends it.
    pub(crate) fn proceed(&mut self, cx: &mut Context, link: LinkId, needed: Needed) -> Result<(), Violation> {
        match needed.next {
            Ok(Some(step)) if self.may_send(cx, link) => self.send(cx, link, &SyncFrame::Ask(step)),
            Ok(Some(_)) => self.end(link),
            Ok(None) => self.complete(link),
            Err(error) => {
                self.end(link);
                return Err(malformed(error));
            }
        }
        Ok(())
    }

    /// Sends a summary. Of an empty set of another kind than transactions nothing is said.
    fn send_summary(&self, cx: &mut Context, link: LinkId, floor: Floor, summary: Summary, reply: bool) {
        if summary.count > 0 || self.set.is_none() {
            let frame = match reply {
                _ if floor != Floor::default() => SyncFrame::Since { floor, summary, reply },
                true => SyncFrame::Reply(summary),
                false => SyncFrame::Summary(summary),
            };
            self.send(cx, link, &frame);
        }
    }

    /// Asks for the whole set. Returns whether the peer was asked.
    pub(crate) fn request_everything(&mut self, cx: &mut Context, link: LinkId) -> bool {
        let may = self.may_send(cx, link);
        if may {
            self.send(cx, link, &SyncFrame::Everything);
        }
        may
    }

    /// Returns whether a peer may be sent a question or a summary, and counts it.
    fn may_send(&mut self, cx: &Context, link: LinkId) -> bool {
        self.rates.allows(cx.now, link)
    }

    /// Sends a frame. Only comparisons of pools are counted.
    fn send(&self, cx: &mut Context, link: LinkId, frame: &SyncFrame) {
        let text = match self.set {
            None => frame.to_frame(),
            Some(set) => frame.to_frame_of(set),
        };
        if self.set.is_none() {
            let begins = matches!(frame, SyncFrame::Summary(_) | SyncFrame::Since { reply: false, .. });
            cx.counters.sync_rounds += u64::from(begins);
            cx.counters.sync_sent_bytes += text.len() as u64;
        }
        cx.send(vec![link], text, Lane::Control);
    }
}

fn malformed(error: Error) -> Violation {
    Violation::breach(format!("SYNC: {error}"))
}

#[cfg(test)]
mod tests;
