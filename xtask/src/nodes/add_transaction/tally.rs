//! The results of many lines: counted, shown by a progress bar, and summed up in one line.

use std::collections::HashMap;
use std::fmt::Write;

use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use meshpool::protocol::transaction::TransactionId;
use meshpool::protocol::wire::{Ack, AckStatus};

use crate::support::running_nodes::reason;
use crate::support::terminal::note;
use crate::support::terminal::{plural, strip_control};

/// The results so far.
pub(crate) struct Tally {
    pub(crate) bar: ProgressBar,
    stored: usize,
    known: usize,
    pub(crate) refused: usize,
    fewest_links: Option<usize>,
    /// Ids that are stored or were known, in the order of the ACKs.
    pub(crate) kept: Vec<TransactionId>,
    /// Lines without an ACK yet: their numbers by id.
    pub(crate) waiting: HashMap<String, Vec<u64>>,
}

impl Tally {
    pub(crate) fn new(lines: Option<u64>) -> Self {
        let (bar, template) = match lines {
            Some(lines) => (ProgressBar::new(lines), "{bar:40} {pos}/{len} lines, {rate}, {eta} left"),
            None => (ProgressBar::new_spinner(), "{spinner} {pos} lines, {rate}"),
        };
        let style = ProgressStyle::with_template(template).expect("the template is a constant, which the tests draw");
        bar.set_style(style.with_key("rate", |state: &ProgressState, out: &mut dyn Write| {
            write!(out, "{:.0}/s", state.per_sec())
                .expect("the bar's line is a String, which takes all that is written");
        }));
        Self { bar, stored: 0, known: 0, refused: 0, fewest_links: None, kept: Vec::new(), waiting: HashMap::new() }
    }

    pub(crate) fn acknowledge(&mut self, ack: &Ack) {
        let number = match self.waiting.get_mut(&ack.id) {
            Some(numbers) if numbers.len() > 1 => numbers.pop(),
            Some(_) => self.waiting.remove(&ack.id).and_then(|numbers| numbers.first().copied()),
            // An ACK without an id belongs to the only line that is outstanding: the client makes
            // sure of that.
            None => self.waiting.drain().next().and_then(|(_, numbers)| numbers.first().copied()),
        };
        match ack.status {
            AckStatus::Stored | AckStatus::Sent => {
                self.stored += 1;
                self.fewest_links = Some(self.fewest_links.map_or(ack.links, |fewest| fewest.min(ack.links)));
            }
            AckStatus::Duplicate => self.known += 1,
            AckStatus::Rejected => return self.refuse(number.unwrap_or_default(), &reason(ack)),
        }
        self.kept.extend(ack.id.parse::<TransactionId>());
        self.bar.inc(1);
    }

    pub(crate) fn refuse(&mut self, number: u64, why: &str) {
        self.refused += 1;
        self.bar.suspend(|| note!("line {number} is refused: {}", strip_control(why)));
        self.bar.inc(1);
    }

    /// Describes the progress, for an error that ends the run.
    pub(crate) fn so_far(&self) -> String {
        let confirmed = plural(self.kept.len(), "line");
        let open: Vec<u64> = self.waiting.values().flatten().copied().collect();
        match open.iter().min() {
            Some(first) => {
                let open = open.len();
                format!(
                    "{confirmed} confirmed; go on from line {first} ({open} were on their way and may be stored too)"
                )
            }
            None => format!("{confirmed} confirmed"),
        }
    }

    pub(crate) fn summary(&self, name: &str) -> String {
        let alone = match self.fewest_links {
            Some(0) => ", but this node has no peers: nobody else has all of them yet".to_owned(),
            Some(links) => format!(", sent on {}", plural(links, "link")),
            None => String::new(),
        };
        format!("{} stored in {name}{alone}, {} known there already, {} refused", self.stored, self.known, self.refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ack(id: &str, status: AckStatus, links: usize) -> Ack {
        Ack { id: id.to_owned(), status, reason: Some("the pool is full".to_owned()), links }
    }

    #[test]
    fn acks_are_counted_and_zero_links_said() {
        for lines in [None, Some(4)] {
            let mut tally = Tally::new(lines);
            tally.waiting.insert("aa".to_owned(), vec![1, 2]);
            assert_eq!(
                tally.so_far(),
                "0 lines confirmed; go on from line 1 (2 were on their way and may be stored too)"
            );
            tally.acknowledge(&ack("aa", AckStatus::Stored, 2));
            tally.acknowledge(&ack("aa", AckStatus::Duplicate, 0));
            assert!(tally.waiting.is_empty());
            assert_eq!(
                tally.summary("node-1"),
                "1 stored in node-1, sent on 2 links, 1 known there already, 0 refused"
            );
            tally.acknowledge(&ack("bb", AckStatus::Stored, 0));
            tally.waiting.insert("cc".to_owned(), vec![3]);
            tally.acknowledge(&ack("", AckStatus::Rejected, 0));
            assert!(tally.waiting.is_empty());
            let summary = tally.summary("node-1");
            assert!(summary.contains("no peers") && summary.ends_with("1 refused"), "{summary}");
        }
    }
}
