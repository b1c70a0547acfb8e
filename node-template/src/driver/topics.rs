//! The topics besides the default one: where their items are stored, and what is sent of them.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream::{self, SelectAll, Stream};
use futures_util::{StreamExt, future};
use meshpool_proto::id::{LinkId, Session};
use meshpool_proto::topic_name::TopicName;
use meshpool_proto::transaction::Transaction;
use meshpool_proto::{TopicInput, TopicOutput};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::driver::replay::{Rows, replay, send_positions};
use crate::driver::tasks::{Outcome, TaskSet};
use crate::driver::write_batch::WriteBatch;
use crate::pool::{Memory, Opened, Pool, Reader, Report};
use crate::transport::send_queue::SendQueue;

/// How often the core is told the time of day, if a topic keeps items by it.
const TIME_EVERY: Duration = Duration::from_secs(10);
/// How many positions of one topic one link may have waiting to be sent.
const WANTED: usize = 20_000;

/// A topic, as the driver has it.
#[derive(Debug)]
struct Topic {
    name: TopicName,
    rows: Rows,
    /// What is on its way to the file, if there is one.
    writes: WriteBatch,
    replays: BTreeMap<LinkId, AbortHandle>,
    /// Positions that links asked for and that are not being sent yet; a link with an entry has a
    /// task.
    wanted: BTreeMap<LinkId, Vec<u64>>,
}

/// A report about a topic's file; `None`: its thread has ended.
pub(crate) type TopicReport = (usize, Option<Report>);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    all: Vec<Topic>,
    /// When the core is told the time of day next; `None`: never.
    clock: Option<Instant>,
}

/// The reports of all files, as they come.
#[derive(Default)]
pub(crate) struct TopicReports {
    all: SelectAll<Pin<Box<dyn Stream<Item = TopicReport> + Send>>>,
    /// How many of them have not ended.
    open: usize,
}

impl TopicReports {
    fn add(&mut self, topic: usize, reports: mpsc::Receiver<Report>) {
        let reports = stream::unfold(reports, |mut reports| async move { Some((reports.recv().await?, reports)) });
        let ended = stream::once(future::ready((topic, None)));
        self.all.push(Box::pin(reports.map(move |report| (topic, Some(report))).chain(ended)));
        self.open += 1;
    }

    /// Returns whether some have not ended.
    pub(crate) fn are_open(&self) -> bool {
        self.open > 0
    }

    /// Waits for the next report; for ever if there is no file. Cancel-safe.
    pub(crate) async fn next(&mut self) -> TopicReport {
        let Some((topic, report)) = self.all.next().await else { return future::pending().await };
        self.open -= usize::from(report.is_none());
        (topic, report)
    }
}

impl Topics {
    /// Adds a topic in a file, with the reports about it, or one in memory. Returns what reads it
    /// for people and rules. `by_time`: its items are kept by their time.
    pub(crate) fn add(
        &mut self,
        name: TopicName,
        opened: Option<Opened>,
        reports: &mut TopicReports,
        by_time: bool,
    ) -> Reader {
        if by_time {
            self.clock.get_or_insert_with(Instant::now);
        }
        let rows = match opened {
            Some(opened) => {
                reports.add(self.all.len(), opened.reports);
                Rows::File(opened.pool)
            }
            None => Rows::Memory(Memory::default()),
        };
        let reader = rows.reader();
        let (writes, replays, wanted) = (WriteBatch::default(), BTreeMap::new(), BTreeMap::new());
        self.all.push(Topic { name, rows, writes, replays, wanted });
        reader
    }

    /// Returns when something is to be done: a batch is due, or the time is to be told.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.all.iter().filter_map(|topic| topic.writes.deadline()).chain(self.clock).min()
    }

    /// Returns whether the core is to be told the time of day now.
    pub(crate) fn is_time_due(&mut self, now: Instant) -> bool {
        let due = self.clock.is_some_and(|due| due <= now);
        if due {
            self.clock = Some(now + TIME_EVERY);
        }
        due
    }

    /// Hands over the batches that are due. `urgent`: somebody waits for the disk.
    pub(crate) fn write_due(&mut self, urgent: bool) {
        for topic in &mut self.all {
            if let Rows::File(pool) = &topic.rows {
                topic.writes.write_due(pool, urgent);
            }
        }
    }

    /// Stores what waits, and has the files closed. Their reports end then.
    pub(crate) fn begin_close(&mut self) {
        self.write_due(true);
        self.pools().for_each(Pool::begin_close);
    }

    /// Waits until the files are closed.
    pub(crate) async fn close(self) {
        for topic in self.all {
            if let Rows::File(pool) = topic.rows {
                pool.close().await;
            }
        }
    }

    /// Iterates over the files.
    pub(crate) fn pools(&self) -> impl Iterator<Item = &Pool> {
        self.all.iter().filter_map(|topic| match &topic.rows {
            Rows::File(pool) => Some(pool),
            Rows::Memory(_) => None,
        })
    }

    /// Returns how many topics have a file.
    pub(crate) fn files(&self) -> usize {
        self.pools().count()
    }

    /// Notes that rows were found in a file, before the core is told.
    pub(crate) fn on_found(&mut self, topic: usize) {
        if let Some(Topic { rows: Rows::File(pool), writes, .. }) = self.all.get_mut(topic) {
            writes.on_found(pool);
        }
    }

    /// Carries out an output, and returns the input that follows at once.
    pub(crate) fn carry_out(
        &mut self,
        tasks: &mut TaskSet,
        session: Session,
        queue: impl FnOnce(LinkId) -> Option<Arc<SendQueue>>,
        number: usize,
        output: TopicOutput,
    ) -> Option<TopicInput> {
        let topic = self.all.get_mut(number)?;
        match output {
            TopicOutput::Store { transaction } => return topic.store(transaction),
            TopicOutput::Forget { ids } => match &topic.rows {
                Rows::File(pool) => pool.forget(ids),
                Rows::Memory(memory) => memory.forget(&ids),
            },
            TopicOutput::Replay { link, from, until, synced } => {
                let (rows, name, session) = (topic.rows.clone(), topic.name.clone(), synced.then_some(session));
                let replay = replay(rows, Some(name), queue(link)?, from, until, session);
                let outcome = move |position| Outcome::TopicReplayed { topic: number, link, position };
                let task = tasks.spawn(outcome(None), async move { outcome(replay.await) });
                if let Some(previous) = topic.replays.insert(link, task) {
                    previous.abort();
                }
            }
            TopicOutput::ReplayPositions { link, mut positions } => match topic.wanted.get_mut(&link) {
                // Those beyond the bound are missing in a later comparison.
                Some(wanted) => {
                    positions.truncate(WANTED.saturating_sub(wanted.len()));
                    wanted.extend(positions);
                }
                None => {
                    positions.truncate(WANTED);
                    topic.wanted.insert(link, Vec::new());
                    topic.send_positions(tasks, session, queue(link), (number, link), positions);
                }
            },
        }
        None
    }

    /// Handles the end of a replay.
    pub(crate) fn on_replayed(&mut self, topic: usize, link: LinkId) {
        if let Some(topic) = self.all.get_mut(topic) {
            topic.replays.remove(&link);
        }
    }

    /// Goes on with the positions that a link asked for.
    pub(crate) fn on_positions_sent(
        &mut self,
        tasks: &mut TaskSet,
        session: Session,
        queue: Option<Arc<SendQueue>>,
        number: usize,
        link: LinkId,
    ) {
        let Some(topic) = self.all.get_mut(number) else { return };
        match topic.wanted.get_mut(&link).map(std::mem::take) {
            Some(wanted) if !wanted.is_empty() && queue.is_some() => {
                topic.send_positions(tasks, session, queue, (number, link), wanted);
            }
            _ => _ = topic.wanted.remove(&link),
        }
    }

    /// Forgets a link that has ended.
    pub(crate) fn on_link_closed(&mut self, link: LinkId) {
        for topic in &mut self.all {
            if let Some(replay) = topic.replays.remove(&link) {
                replay.abort();
            }
        }
    }
}

impl Topic {
    fn store(&mut self, transaction: Transaction) -> Option<TopicInput> {
        match &self.rows {
            Rows::File(_) => {
                self.writes.push(transaction);
                None
            }
            Rows::Memory(memory) => {
                let ids = vec![transaction.id()];
                memory.store(transaction);
                Some(TopicInput::Stored { ids })
            }
        }
    }

    /// Sends positions in a task. Without a queue the link is gone, and the task ends at once.
    fn send_positions(
        &self,
        tasks: &mut TaskSet,
        session: Session,
        queue: Option<Arc<SendQueue>>,
        (topic, link): (usize, LinkId),
        positions: Vec<u64>,
    ) {
        let (rows, name) = (self.rows.clone(), self.name.clone());
        tasks.spawn(Outcome::TopicPositionsSent { topic, link }, async move {
            if let Some(queue) = queue {
                send_positions(rows, Some(name), queue, positions, session).await;
            }
            Outcome::TopicPositionsSent { topic, link }
        });
    }
}
