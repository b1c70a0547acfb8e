//! Broadcasts for those that were away: two full peers compare what they keep of the last ten minutes, and each fetches what it lacks.
//!
//! The frames are those of comparing pools (`reconcile.rs`), with `"set":"broadcasts"`, and so is the method: a summary, its reply, rounds of negentropy, WANT. What
//! differs is the size. This set is small and forgets, so it is laid out anew for each question, nothing is streamed as a whole, and who keeps nothing is silent.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use negentropy::{Id, Negentropy, NegentropyStorageVector};

use crate::connections::table::Link;
use crate::id::LinkId;
use crate::store::set_digest::SetDigest;
use crate::transaction::TransactionId;
use crate::wire::{BroadcastFrame, BroadcastId, OtherSet, Step, Summary, SyncFrame, want_frame};
use crate::{Lane, Node, limits};

/// How long a broadcast has to spread by itself before it is offered.
const OF_AGE: Duration = Duration::from_secs(2);
/// The longest negentropy message, in bytes; in base64, a third more.
const STEP_BYTES: u64 = 48 * 1024;
/// How long an answer to a WANT may take before the same is wanted from somebody else.
const WANT_PATIENCE: Duration = Duration::from_secs(5);
/// How long an answer in a comparison may take before it is given up.
const STEP_PATIENCE: Duration = Duration::from_secs(20);

/// What catching up remembers.
#[derive(Debug, Default)]
pub(crate) struct BroadcastSync {
    /// Our open comparisons: on each link at most one, with its number and when it last moved.
    open: BTreeMap<LinkId, (u64, Instant)>,
    last_number: u64,
    /// What was asked for and has not come, and when. Its order reaches no output.
    wanted: HashMap<BroadcastId, Instant>,
}

impl BroadcastSync {
    pub(crate) fn forget_link(&mut self, link: LinkId) {
        self.open.remove(&link);
    }
}

impl Node {
    /// Tells a full peer what we keep, if it is anything.
    pub(crate) fn compare_broadcasts(&mut self, now: Instant, link: LinkId) {
        self.broadcasts.store.expire(now);
        let catching_up = &mut self.broadcast_sync;
        catching_up.wanted.retain(|_, at| now.saturating_duration_since(*at) < WANT_PATIENCE);
        catching_up.open.retain(|_, (_, at)| now.saturating_duration_since(*at) < STEP_PATIENCE);
        let ready =
            self.connections.links.get(link).is_some_and(|link| link.full().is_some() && link.takes_transactions());
        let summary = self.kept_summary(now);
        if ready && summary.count > 0 {
            self.send_set(link, &SyncFrame::Summary(summary));
        }
    }

    /// What is offered, in short.
    fn kept_summary(&self, now: Instant) -> Summary {
        let (mut sum, mut count) = (SetDigest::default(), 0);
        for (id, _) in self.offered(now) {
            sum.add(&TransactionId(id.0));
            count += 1;
        }
        Summary { count, sum: sum.to_hex() }
    }

    /// What had its time to spread, with its time stamp in seconds.
    fn offered(&self, now: Instant) -> impl Iterator<Item = (BroadcastId, u64)> {
        let of_age = move |came: Instant| now.saturating_duration_since(came) >= OF_AGE;
        self.broadcasts.store.iter().filter(move |held| of_age(held.received)).map(|held| {
            // As in Rust's casts, what is below 0 or no number is 0, and what is too great the greatest.
            (held.broadcast.id, (held.broadcast.time as u64).min(u64::MAX - 1))
        })
    }

    /// The offer as negentropy wants it.
    fn laid_out(&self, now: Instant) -> Result<NegentropyStorageVector, negentropy::Error> {
        let mut storage = NegentropyStorageVector::new();
        for (id, time) in self.offered(now) {
            storage.insert(time, Id::from_byte_array(id.0))?;
        }
        storage.seal()?;
        Ok(storage)
    }

    pub(crate) fn on_sync_broadcasts(&mut self, now: Instant, link: LinkId, frame: SyncFrame) {
        if self.connections.links.get(link).and_then(Link::full).is_none() {
            return self.fault(link, "SYNC: only full peers compare broadcasts");
        }
        self.broadcasts.store.expire(now);
        match frame {
            SyncFrame::Answer(step) => return self.on_answer_of_broadcasts(now, link, &step),
            _ if !self.may_ask(now, link) => {}
            SyncFrame::Summary(theirs) => return self.on_kept_summary(now, link, &theirs, true),
            SyncFrame::Reply(theirs) => return self.on_kept_summary(now, link, &theirs, false),
            SyncFrame::Ask(step) => return self.on_ask_for_broadcasts(now, link, &step),
            SyncFrame::Everything => return self.fault(link, "SYNC: broadcasts are not asked for as a whole"),
        }
        self.fault(link, "SYNC: it asks more often than any comparison needs");
    }

    fn on_kept_summary(&mut self, now: Instant, link: LinkId, theirs: &Summary, asked: bool) {
        let ours = self.kept_summary(now);
        if ours == *theirs {
            return;
        }
        if asked && ours.count > 0 {
            self.send_set(link, &SyncFrame::Reply(ours));
        }
        if theirs.count == 0 || self.broadcast_sync.open.contains_key(&link) {
            return;
        }
        let begun = self.laid_out(now).and_then(|storage| {
            let mut negentropy = Negentropy::owned(storage, STEP_BYTES)?;
            negentropy.initiate()
        });
        let Ok(message) = begun else {
            return self.connections.links.log_fault(
                &mut self.cx,
                link,
                "a comparison of broadcasts could not begin".into(),
            );
        };
        self.broadcast_sync.last_number += 1;
        let number = self.broadcast_sync.last_number;
        self.broadcast_sync.open.insert(link, (number, now));
        self.send_set(link, &SyncFrame::Ask(Step { number, message }));
    }

    fn on_ask_for_broadcasts(&mut self, now: Instant, link: LinkId, step: &Step) {
        let answer = self.laid_out(now).and_then(|storage| {
            let mut negentropy = Negentropy::owned(storage, STEP_BYTES)?;
            negentropy.reconcile(&step.message)
        });
        match answer {
            Ok(message) => self.send_set(link, &SyncFrame::Answer(Step { number: step.number, message })),
            Err(error) => self.fault(link, &format!("SYNC: {error}")),
        }
    }

    fn on_answer_of_broadcasts(&mut self, now: Instant, link: LinkId, step: &Step) {
        let open = self.broadcast_sync.open.get_mut(&link).filter(|(number, _)| *number == step.number);
        let Some((number, at)) = open else {
            self.cx.counters.answers_unsolicited += 1;
            return;
        };
        *at = now;
        let number = *number;
        let (mut have, mut need) = (Vec::new(), Vec::new());
        let next = self.laid_out(now).and_then(|storage| {
            let mut negentropy = Negentropy::owned(storage, STEP_BYTES)?;
            negentropy.set_initiator();
            negentropy.reconcile_with_ids(&step.message, &mut have, &mut need)
        });
        // The library gives them in no order, and may give one twice.
        let mut need: Vec<BroadcastId> = need.into_iter().map(|id| BroadcastId(*id)).collect();
        need.sort_unstable();
        need.dedup();
        self.want_broadcasts(now, link, need);
        match next {
            Ok(Some(message)) => self.send_set(link, &SyncFrame::Ask(Step { number, message })),
            Ok(None) => {
                self.broadcast_sync.open.remove(&link);
            }
            Err(error) => {
                self.broadcast_sync.open.remove(&link);
                self.fault(link, &format!("SYNC: {error}"));
            }
        }
    }

    fn want_broadcasts(&mut self, now: Instant, link: LinkId, mut ids: Vec<BroadcastId>) {
        let wanted = &mut self.broadcast_sync.wanted;
        wanted.retain(|id, _| !self.broadcasts.store.has_seen(id));
        ids.retain(|id| !self.broadcasts.store.has_seen(id) && !wanted.contains_key(id));
        ids.truncate(limits::BROADCASTS.saturating_sub(wanted.len()));
        wanted.extend(ids.iter().map(|id| (*id, now)));
        for some in ids.chunks(limits::WANT_IDS) {
            let some: Vec<TransactionId> = some.iter().map(|id| TransactionId(id.0)).collect();
            self.cx.send(vec![link], want_frame(&some), Lane::Control);
        }
    }

    /// A full peer wants these; among them may be broadcasts.
    pub(crate) fn send_wanted_broadcasts(&mut self, now: Instant, link: LinkId, ids: &[TransactionId]) {
        if self.connections.links.get(link).and_then(Link::full).is_none() {
            return;
        }
        self.broadcasts.store.expire(now);
        for id in ids {
            let Some(held) = self.broadcasts.store.get(&BroadcastId(id.0)) else { continue };
            let frame = BroadcastFrame {
                broadcast: held.broadcast.clone(),
                origin: Some(held.origin.clone()),
                ack: false,
                synced: Some(now.saturating_duration_since(held.born)),
            };
            self.cx.counters.broadcasts_sent += 1;
            self.cx.send(vec![link], frame.to_frame(self.cx.config.session), Lane::Payload);
        }
    }

    fn send_set(&mut self, link: LinkId, frame: &SyncFrame) {
        self.cx.send(vec![link], frame.to_frame_of(OtherSet::Broadcasts), Lane::Control);
    }
}
