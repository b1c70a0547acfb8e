//! The topics of a simulated node, besides the default one, and what it keeps of them.
//!
//! Items are stored at once, and outlive the process. Where nothing is to be lost at the end, the
//! loss of a write is no part of the model: the pool's file has it.

use std::collections::BTreeMap;

use meshpool_proto::id::{LinkId, Session};
use meshpool_proto::topic_name::TopicName;
use meshpool_proto::transaction::{Transaction, TransactionId};
use meshpool_proto::wire::{TopicFrame, TransactionFrame};
use meshpool_proto::{HeldItem, Input, Node as Core, Retention, TopicInput, TopicOutput, TopicSettings};

use super::replays::queue;
use crate::net::network::Network;

/// The time of day of all nodes at the start, in seconds since 1970.
const TIME_OF_DAY: u64 = 1_800_000_000;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Topics {
    declared: Vec<(TopicName, Retention)>,
    /// By the number of the topic, in the order of positions; `None`: forgotten.
    rows: BTreeMap<usize, Vec<Option<Transaction>>>,
}

impl Topics {
    /// Adds a topic, from the next start on.
    pub(super) fn add(&mut self, name: TopicName, retention: Retention) {
        self.declared.push((name, retention));
    }

    /// Declares them to a new core.
    pub(super) fn start(&mut self, net: &Network, core: &mut Core) {
        for (number, (name, retention)) in self.declared.iter().enumerate() {
            let rows = self.rows.entry(number).or_default();
            rows.retain(Option::is_some);
            let held = rows.iter().flatten();
            let held = held.map(|item| HeldItem { id: item.id(), time: item.time(), bytes: item.body_bytes() as u32 });
            let settings = TopicSettings {
                name: name.clone(),
                retention: retention.clone(),
                time_of_day: TIME_OF_DAY + net.clock.now().as_secs(),
                place: format!("topics/{name}.json"),
            };
            core.declare_topic(settings, held.collect());
        }
    }

    /// The number of a topic; `None` if it was not added.
    pub(super) fn number(&self, name: &str) -> Option<usize> {
        self.declared.iter().position(|(declared, _)| declared.as_str() == name)
    }

    /// What is kept of a topic.
    pub(super) fn items(&self, name: &str) -> impl Iterator<Item = TransactionId> {
        let rows = self.number(name).and_then(|number| self.rows.get(&number));
        rows.into_iter().flatten().flatten().map(Transaction::id)
    }

    /// Carries out an output, and returns the input that follows.
    pub(super) fn carry_out(
        &mut self,
        net: &mut Network,
        (actor, session): (usize, Session),
        topic: usize,
        output: TopicOutput,
    ) -> Option<Input> {
        let name = &self.declared[topic].0;
        let rows = self.rows.entry(topic).or_default();
        let synced_frame =
            |item: &Transaction| TopicFrame::wrap(name, &TransactionFrame::sync_frame(item.body(), session));
        let mut send = |link: LinkId, row: Option<&Transaction>, synced: bool| {
            row.is_none_or(|item| {
                let frame = if synced { synced_frame(item) } else { TopicFrame::wrap(name, item.frame()) };
                queue(net, actor, link, frame)
            })
        };
        let input = match output {
            TopicOutput::Store { transaction } => {
                let ids = vec![transaction.id()];
                rows.push(Some(transaction));
                TopicInput::Stored { ids }
            }
            TopicOutput::Replay { link, from, until, synced } => {
                let until = until.map_or(rows.len(), |until| until as usize);
                // What does not fit is found by a comparison.
                rows[from as usize..until].iter().all(|row| send(link, row.as_ref(), synced));
                TopicInput::Replayed { link, position: until as u64 }
            }
            TopicOutput::ReplayPositions { link, positions } => {
                positions.iter().all(|position| send(link, rows[*position as usize].as_ref(), true));
                return None;
            }
            TopicOutput::Forget { ids } => {
                for row in rows.iter_mut().filter(|row| row.as_ref().is_some_and(|row| ids.contains(&row.id()))) {
                    *row = None;
                }
                return None;
            }
        };
        Some(Input::Topic { topic, input })
    }
}
