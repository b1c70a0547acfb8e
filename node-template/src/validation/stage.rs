//! The stage between the links and the driver, where the transactions of one topic wait for the
//! application's judgement. Several stages stand in a row; each lets pass what is of other topics.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use meshpool_proto::id::LinkId;
use meshpool_proto::topic_name::TopicName;
use meshpool_proto::transaction::{InvalidTransaction, Transaction, TransactionId};
use meshpool_proto::wire::{Message, TopicFrame, TransactionFrame};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::pool::Reader;
use crate::transport::arrival::{Arrival, ReadBatch};
use crate::util::panics::Panics;
use crate::validation::deferred::{Again, Held, HeldTransactions, Inserted};
use crate::validation::{LONGEST, Rules, Validation};

/// How many judgements run at once.
const AT_ONCE: usize = 64;
/// How often those are judged again whose rules name nothing that they miss …
const UNNAMED_EVERY: Duration = Duration::from_millis(20);
/// … and all others that wait for a change. Those that miss something are judged as soon as it is
/// stored.
const ALL_EVERY: Duration = Duration::from_secs(1);

/// How a judgement ended.
struct Judged {
    id: TransactionId,
    verdict: Validation,
    /// What the rules did not find.
    missing: Vec<TransactionId>,
    /// The end of what was stored when it began.
    changes: u64,
}

/// The topic whose transactions are judged.
#[derive(Debug, Clone)]
pub(crate) enum StagedTopic {
    /// `transactions`.
    Default,
    /// Another, by its number and name.
    Declared(usize, TopicName),
}

/// See the module.
pub(crate) struct Stage {
    topic: StagedTopic,
    rules: Rules,
    pool: Reader,
    panics: Panics,
    /// The driver, or the next stage.
    next: mpsc::Sender<Arrival>,
    /// The end of what is stored: it changes with each batch.
    changes: watch::Receiver<u64>,
    /// Up to where what is stored was looked at.
    looked_at: u64,
    held: HeldTransactions,
    /// How many ACKs wait for a judgement, of each link that has any.
    acks: HashMap<LinkId, usize>,
    judging: JoinSet<Judged>,
    /// What waits for a judgement.
    waiting: VecDeque<(TransactionId, Transaction)>,
    /// Whether the pool has changed since the last round of retries …
    changed: bool,
    /// … and since the last one of all, and when the next of either kind may begin.
    stale: bool,
    next_unnamed: Instant,
    next_all: Instant,
}

impl Stage {
    pub(crate) fn new(
        topic: StagedTopic,
        rules: Rules,
        pool: Reader,
        panics: Panics,
        next: mpsc::Sender<Arrival>,
    ) -> Self {
        let changes = pool.growth();
        let looked_at = *changes.borrow();
        Self {
            topic,
            rules,
            changes,
            looked_at,
            pool,
            panics,
            next,
            held: HeldTransactions::default(),
            acks: HashMap::new(),
            judging: JoinSet::new(),
            waiting: VecDeque::new(),
            changed: false,
            stale: false,
            next_unnamed: Instant::now(),
            next_all: Instant::now(),
        }
    }

    /// Runs until the links or the driver are gone. All that the `select!` awaits is cancel-safe:
    /// a channel, joins, a watch, a timer.
    pub(crate) async fn run(mut self, mut arrivals: mpsc::Receiver<Arrival>) {
        loop {
            while self.judging.len() < AT_ONCE
                && let Some((id, transaction)) = self.waiting.pop_front()
            {
                if !self.held.begin(&id) {
                    continue;
                }
                let (pool, misses) = self.pool.noting_misses();
                let judging = self.rules.clone().judge(transaction, pool, self.panics.clone());
                let changes = *self.changes.borrow();
                self.judging.spawn(async move {
                    let verdict = judging.await;
                    Judged { id, verdict, missing: misses.take(), changes }
                });
            }
            let due = self.due();
            let step = tokio::select! {
                arrival = arrivals.recv() => match arrival {
                    Some(arrival) => self.on_arrival(arrival).await,
                    None => return,
                },
                Some(Ok(judged)) = self.judging.join_next() => self.on_judged(judged).await,
                changed = self.changes.changed() => {
                    self.changed = true;
                    changed.map_err(|_| Gone)
                }
                () = sleep_until(due) => {
                    self.begin_round();
                    Ok(())
                }
            };
            if step.is_err() {
                return;
            }
        }
    }

    /// Returns when the next round of retries begins: at once if the pool has changed. A round
    /// takes all else that is due, so the next of those waits until it is over.
    fn due(&self) -> Instant {
        let by_change = self.changed.then(Instant::now);
        let by_time = self.held.next_due();
        let of_rest = self.stale.then(|| self.next_unnamed.min(self.next_all));
        let rest = by_time.into_iter().chain(of_rest).min().filter(|_| self.waiting.is_empty());
        by_change.or(rest).unwrap_or_else(|| Instant::now() + LONGEST)
    }

    fn begin_round(&mut self) {
        let (now, is_busy) = (Instant::now(), !self.waiting.is_empty());
        if std::mem::take(&mut self.changed) {
            self.stale = true;
            let stored = self.pool.ids_from(std::mem::replace(&mut self.looked_at, *self.changes.borrow()));
            // Before what has come: while that gives way to others it comes again without an end.
            for found in self.held.take_found(&stored).into_iter().rev() {
                self.waiting.push_front(found);
            }
        }
        if is_busy {
            return;
        }
        let again = if self.stale && self.next_all <= now {
            self.stale = false;
            (self.next_all, self.next_unnamed) = (now + ALL_EVERY, now + UNNAMED_EVERY);
            Some(Again::All)
        } else if self.stale && self.next_unnamed <= now {
            self.next_unnamed = now + UNNAMED_EVERY;
            Some(Again::Unnamed)
        } else {
            None
        };
        self.waiting.extend(self.held.take_due(now, again));
    }

    /// Keeps the transactions for a judgement, and passes everything else on.
    async fn on_arrival(&mut self, arrival: Arrival) -> Result<(), Gone> {
        let Arrival::Read { link, mut batch } = arrival else {
            if let Arrival::Closed { link, .. } = &arrival {
                self.held.on_closed(*link);
                self.acks.remove(link);
            }
            return self.pass_on(arrival).await;
        };
        let now = Instant::now();
        let mut passed = Vec::with_capacity(batch.messages.len());
        let (mut gave_way, mut acks) = (Vec::new(), 0);
        for message in batch.messages {
            match self.topic.unwrap(message) {
                Ok(frame) => {
                    let waits = self.topic.acknowledges(&frame);
                    let answer = self.hold(now, link, frame, &mut gave_way);
                    acks += usize::from(waits && !answer.as_ref().is_some_and(|answer| answer.ack));
                    passed.extend(answer.map(|frame| Ok(self.topic.wrap(frame))));
                }
                Err(message) => passed.push(message),
            }
        }
        if acks > 0 {
            let due = self.acks.entry(link).or_default();
            *due += acks;
            if *due == acks {
                self.pass_on(Arrival::Judging { link, judges: true }).await?;
            }
        }
        batch.messages = passed;
        if !batch.is_empty() {
            self.pass_on(Arrival::Read { link, batch }).await?;
        }
        for (id, held) in gave_way {
            // It comes again, by a comparison of pools.
            self.deliver(link, told(InvalidTransaction::PutOff { id })).await?;
            for (link, frame) in held.frames {
                self.deliver(link, no_room(id, frame)).await?;
            }
        }
        Ok(())
    }

    /// Holds a transaction; returns what the driver gets at once. `gave_way`: those that made room.
    fn hold(
        &mut self,
        now: Instant,
        link: LinkId,
        frame: TransactionFrame,
        gave_way: &mut Vec<(TransactionId, Held)>,
    ) -> Option<TransactionFrame> {
        let Ok(transaction) = &frame.transaction else { return Some(frame) };
        let (id, transaction) = (transaction.id(), transaction.clone());
        match self.held.insert(now, link, frame, &transaction, |id, held| gave_way.push((id, held))) {
            (Inserted::New, _) => {
                self.waiting.push_back((id, transaction));
                None
            }
            (Inserted::Copy, _) => self.held.is_noted(&id).then(|| told(InvalidTransaction::Deferred { id })),
            (Inserted::Full, frame) => frame.map(|frame| no_room(id, frame)),
        }
    }

    async fn on_judged(&mut self, Judged { id, verdict, missing, changes }: Judged) -> Result<(), Gone> {
        let now = Instant::now();
        let error = match verdict {
            Validation::Accept => return self.accept(&id).await,
            Validation::Reject(reason) => InvalidTransaction::Refused { id, reason },
            Validation::Ignore => InvalidTransaction::Ignored { id },
            Validation::Defer(until) if self.held.defer(now, &id, until, missing) => {
                // What came while it was judged may be what it waits for.
                if until.changed && changes != *self.changes.borrow() {
                    (self.changed, self.looked_at) = (true, self.looked_at.min(changes));
                }
                for link in self.held.note(&id) {
                    self.deliver(link, told(InvalidTransaction::Deferred { id })).await?;
                }
                return Ok(());
            }
            Validation::Defer(_) => InvalidTransaction::Ignored { id },
        };
        let frames = self.held.remove(&id).map(|held| held.frames).unwrap_or_default();
        for (link, frame) in frames {
            self.deliver(link, with(frame, error.clone())).await?;
        }
        Ok(())
    }

    async fn accept(&mut self, id: &TransactionId) -> Result<(), Gone> {
        let Some(held) = self.held.remove(id) else { return Ok(()) };
        if held.frames.is_empty() {
            let topic = self.topic.number();
            return self.pass_on(Arrival::Validated { topic, transaction: held.transaction }).await;
        }
        for (link, frame) in held.frames {
            self.deliver(link, frame).await?;
        }
        Ok(())
    }

    async fn deliver(&mut self, link: LinkId, frame: TransactionFrame) -> Result<(), Gone> {
        let waits = self.topic.acknowledges(&frame);
        let batch = ReadBatch { messages: vec![Ok(self.topic.wrap(frame))], ..ReadBatch::default() };
        self.pass_on(Arrival::Read { link, batch }).await?;
        if waits && let Some(due) = self.acks.get_mut(&link) {
            *due -= 1;
            if *due == 0 {
                self.acks.remove(&link);
                return self.pass_on(Arrival::Judging { link, judges: false }).await;
            }
        }
        Ok(())
    }

    async fn pass_on(&self, arrival: Arrival) -> Result<(), Gone> {
        self.next.send(arrival).await.map_err(|_| Gone)
    }
}

impl StagedTopic {
    fn number(&self) -> Option<usize> {
        match self {
            Self::Default => None,
            Self::Declared(number, _) => Some(*number),
        }
    }

    /// Returns whether a frame gets an ACK: clients have the default topic alone.
    fn acknowledges(&self, frame: &TransactionFrame) -> bool {
        frame.ack && matches!(self, Self::Default)
    }

    /// Returns the frame of a transaction of this topic; any other message comes back.
    #[expect(clippy::result_large_err, reason = "it is the message that was given, not an error")]
    fn unwrap<E>(&self, message: Result<Message, E>) -> Result<TransactionFrame, Result<Message, E>> {
        match (self, message) {
            (Self::Default, Ok(Message::Transaction(frame))) => Ok(frame),
            (Self::Declared(_, name), Ok(Message::Topic(envelope)))
                if envelope.topic == *name && matches!(envelope.message, Message::Transaction(_)) =>
            {
                match *envelope {
                    TopicFrame { message: Message::Transaction(frame), .. } => Ok(frame),
                    other => Err(Ok(Message::Topic(Box::new(other)))),
                }
            }
            (_, message) => Err(message),
        }
    }

    /// Returns the message that has a frame of this topic.
    fn wrap(&self, frame: TransactionFrame) -> Message {
        let message = Message::Transaction(frame);
        match self {
            Self::Default => message,
            Self::Declared(_, topic) => Message::Topic(Box::new(TopicFrame { topic: topic.clone(), message })),
        }
    }
}

/// The driver has ended.
struct Gone;

/// Tells the core what became of a transaction that its peer has sent.
fn told(error: InvalidTransaction) -> TransactionFrame {
    TransactionFrame { transaction: Err(error), origin: None, ack: false, synced: true }
}

/// Answers a frame whose transaction has no place.
fn no_room(id: TransactionId, frame: TransactionFrame) -> TransactionFrame {
    if !frame.ack {
        return told(InvalidTransaction::PutOff { id });
    }
    let reason = "too many transactions wait for this node's rules; send it again later".to_owned();
    with(frame, InvalidTransaction::Refused { id, reason })
}

fn with(frame: TransactionFrame, error: InvalidTransaction) -> TransactionFrame {
    TransactionFrame { transaction: Err(error), ..frame }
}

#[cfg(test)]
mod tests;
