//! Topics beside the default one: each has a store, gossip and sync of its own.
//!
//! A topic is composed of the components that the default topic has, and of a table of its own with
//! the links to its members. So its trees and comparisons reach its members only, and a node that
//! does not know a topic neither gets nor relays anything of it. What the components of a topic
//! send is wrapped in TOPIC on its way out.

mod retention;
mod topic;

use std::time::Instant;

use crate::connections::table::{Delivery, LinkTable};
use crate::context::Context;
use crate::event::Event;
use crate::id::LinkId;
use crate::io::{HeldItem, Output, TopicInput, TopicOutput, TopicSettings, TopicStatus};
use crate::limits;
use crate::message_rules::{MessageKind, Senders, Verdict};
use crate::topics::topic::Topic;
use crate::violation::Violation;
use crate::wire::{Message, TopicFrame, TopicRow, TransactionFrame};

/// The topics, in the order in which they were declared.
#[derive(Debug, Default)]
pub(crate) struct Topics(Vec<Topic>);

impl Topics {
    /// Adds a topic, with what is stored in the order of its positions. Those beyond
    /// [`limits::TOPICS`], and a name that is there already, are the caller's fault.
    pub(crate) fn declare(&mut self, cx: &mut Context, settings: TopicSettings, held: Vec<HeldItem>) {
        assert!(self.0.len() < limits::TOPICS, "a node has at most {} topics", limits::TOPICS);
        assert!(!cx.topics.contains(&settings.name), "a topic is declared once");
        cx.topics.push(settings.name.clone());
        self.0.push(Topic::new(cx, self.0.len() as u64, settings, held));
        self.collect(cx, &LinkTable::default());
    }

    /// Adds an established link to a native peer to the topics that it has too. Of a second link to
    /// a node nothing is compared until it is the only one, as in the default topic.
    pub(crate) fn on_established(&mut self, cx: &mut Context, links: &LinkTable, link: LinkId, is_first: bool) {
        let Some(open) = links.get(link) else { return };
        let Some(peer) = open.native() else { return };
        for (number, topic) in self.0.iter_mut().enumerate() {
            if peer.topics.contains(number) {
                topic.on_established(cx.now, link, (open.remote, open.authenticated), peer.clone(), is_first);
            }
        }
        self.collect(cx, links);
    }

    /// Forgets a link that is closed. `heir` is another link to the same node.
    pub(crate) fn on_link_closed(&mut self, cx: &mut Context, links: &LinkTable, link: LinkId, heir: Option<LinkId>) {
        self.0.iter_mut().for_each(|topic| topic.on_link_closed(cx.now, link, heir));
        self.collect(cx, links);
    }

    /// Handles a payload that did not fit into a link's queue: whose it was is not known.
    pub(crate) fn on_queue_full(&mut self, cx: &mut Context, links: &LinkTable, link: LinkId) {
        self.0.iter_mut().for_each(|topic| topic.on_queue_full(cx.now, link));
        self.collect(cx, links);
    }

    /// Handles room in the queue of a link.
    pub(crate) fn on_room(&mut self, cx: &mut Context, links: &LinkTable, link: LinkId) {
        for topic in &mut self.0 {
            if topic.links.get(link).is_some_and(|link| link.flow == Delivery::Lagging) {
                topic.on_replayed(cx.now, link, 0);
            }
        }
        self.collect(cx, links);
    }

    /// Handles TOPIC. The rules of its own kind were judged.
    pub(crate) fn on_message(
        &mut self,
        cx: &mut Context,
        links: &LinkTable,
        link: LinkId,
        sender: Senders,
        frame: TopicFrame,
    ) -> Result<(), Violation> {
        let TopicFrame { topic: name, message } = frame;
        let member = |topic: &&mut Topic| topic.name == name && topic.links.get(link).is_some();
        let Some(topic) = self.0.iter_mut().find(member) else {
            cx.counters.messages_unknown += 1;
            let text = format!("sent a message of the topic {name}, which it or this node does not have; ignored");
            links.log_fault(cx, link, text);
            return Ok(());
        };
        let kind = MessageKind::of(&message, false);
        let result = match topic.rates.judge(cx.now, link, sender, kind) {
            Verdict::Handle => topic.on_message(cx.now, link, message),
            Verdict::Pause(time) => {
                cx.output(Output::PauseReading { link, time });
                topic.on_message(cx.now, link, message)
            }
            Verdict::Ignore => {
                if let Message::Unknown(kind) = message {
                    cx.counters.messages_unknown += 1;
                    let text = format!("sent a message of the unknown type {kind:?} in the topic {name}; ignored");
                    links.log_fault(cx, link, text);
                }
                Ok(())
            }
            Verdict::Refuse(violation) => Err(violation),
            Verdict::Drop => {
                cx.counters.messages_dropped += 1;
                Ok(())
            }
        };
        self.collect(cx, links);
        let in_topic =
            |violation: Violation| Violation { text: format!("topic {name}: {}", violation.text), ..violation };
        result.map_err(in_topic)
    }

    /// Handles TOPIC on a link that closes.
    pub(crate) fn on_late(&mut self, frame: &TopicFrame) {
        if let Message::Transaction(TransactionFrame { transaction: Ok(transaction), .. }) = &frame.message
            && let Some(topic) = self.0.iter_mut().find(|topic| topic.name == frame.topic)
        {
            topic.forget_refusal(&transaction.id());
        }
    }

    #[cfg(test)]
    pub(crate) fn has_refused(&self, name: &str, id: &crate::transaction::TransactionId) -> bool {
        self.0.iter().any(|topic| topic.name.as_str() == name && topic.has_refused(id))
    }

    /// Handles what the runtime reports about a topic.
    pub(crate) fn on_input(&mut self, cx: &mut Context, links: &LinkTable, topic: usize, input: TopicInput) {
        if let Some(topic) = self.0.get_mut(topic) {
            topic.on_input(cx.now, input);
        }
        self.collect(cx, links);
    }

    /// Notes the time of day.
    pub(crate) fn set_time_of_day(&mut self, cx: &Context, seconds: u64) {
        self.0.iter_mut().for_each(|topic| topic.set_time_of_day(cx.now, seconds));
    }

    /// Handles the timers that are due.
    pub(crate) fn on_timeout(&mut self, cx: &mut Context, links: &LinkTable) {
        self.0.iter_mut().for_each(|topic| topic.on_timeout(cx.now));
        self.collect(cx, links);
    }

    /// Returns when the first timer fires.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.0.iter().filter_map(Topic::next_timeout).min()
    }

    /// Has nothing new begin: the node shuts down.
    pub(crate) fn shut_down(&mut self) {
        self.0.iter_mut().for_each(Topic::shut_down);
    }

    /// Returns whether the application waits for a write to a topic.
    pub(crate) fn is_disk_awaited(&self) -> bool {
        self.0.iter().any(Topic::is_disk_awaited)
    }

    /// Returns how many bytes wait for the disk, in topics whose files take writes.
    pub(crate) fn unstored_bytes(&self) -> usize {
        self.0.iter().map(Topic::unstored_bytes).sum()
    }

    /// Returns what is known of a topic.
    pub(crate) fn status(&self, topic: usize) -> Option<TopicStatus> {
        self.0.get(topic).map(Topic::status)
    }

    /// Returns a row for each topic.
    pub(crate) fn rows(&self) -> Vec<TopicRow> {
        self.0.iter().map(|topic| row(topic.status())).collect()
    }

    /// Takes the outputs of all topics.
    fn collect(&mut self, cx: &mut Context, links: &LinkTable) {
        for (number, topic) in self.0.iter_mut().enumerate() {
            while let Some(output) = topic.poll_output() {
                if let Some(output) = translate(links, topic, number, output) {
                    cx.output(output);
                }
            }
        }
    }
}

fn row(status: TopicStatus) -> TopicRow {
    TopicRow {
        name: status.name.to_string(),
        items: status.count,
        bytes: status.bytes,
        end: status.end,
        members: status.members.len(),
        reconciled: status.reconciled,
        writable: status.writable,
        refused: status.refused,
        ignored: status.ignored,
        deferred: status.deferred,
        oldest: status.times.map(|(oldest, _)| oldest),
        newest: status.times.map(|(_, newest)| newest),
    }
}

/// Returns the output of the node for one of a topic's components; `None` if there is nothing to
/// do.
fn translate(table: &LinkTable, topic: &Topic, number: usize, output: Output) -> Option<Output> {
    let of_topic = |output| Some(Output::Topic { topic: number, output });
    match output {
        Output::Send { mut links, frame, lane } => {
            links.retain(|link| table.get(*link).is_some_and(|open| !open.closing));
            let frame = TopicFrame::wrap(&topic.name, &frame);
            (!links.is_empty()).then_some(Output::Send { links, frame, lane })
        }
        Output::Store { transaction } => of_topic(TopicOutput::Store { transaction }),
        // It is empty, to learn when the queue has room. The default topic asks for the same.
        Output::Replay { from, until: Some(until), .. } if from >= until => None,
        Output::Replay { link, from, until, synced } => of_topic(TopicOutput::Replay { link, from, until, synced }),
        Output::ReplayPositions { link, positions } => of_topic(TopicOutput::ReplayPositions { link, positions }),
        Output::Notify(event) => translate_event(topic, event).map(Output::Notify),
        Output::Topic { output, .. } => of_topic(output),
        Output::DropQueued { link, origins, .. } => {
            Some(Output::DropQueued { topic: Some(topic.name.clone()), link, origins })
        }
        output => Some(output),
    }
}

/// Returns what the application and the log are told. Items are followed, not told.
fn translate_event(topic: &Topic, event: Event) -> Option<Event> {
    let name = &topic.name;
    match event {
        Event::TransactionRefused { peer, reason } => {
            Some(Event::TransactionRefused { peer, reason: format!("topic {name}: {reason}") })
        }
        Event::Warning { text } => Some(Event::Warning { text: format!("topic {name}: {text}") }),
        Event::PeerFault { link, peer, text } => {
            Some(Event::PeerFault { link, peer, text: format!("topic {name}: {text}") })
        }
        Event::StoreFailed { error } => Some(Event::StoreFailed { error }),
        // The event is about the default topic's file.
        Event::StoreRecovered => Some(Event::Warning { text: format!("topic {name}: its file takes items again") }),
        // Of the link, the default topic tells.
        _ => None,
    }
}

#[cfg(test)]
mod tests;
