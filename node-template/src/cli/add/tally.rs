//! The results of many lines: counted, shown by a progress bar, and summed up in one line.

use std::collections::HashMap;
use std::fmt::Write;

use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use serde_json::{Value, json};

use crate::cli::add::source::{FORMS, Unit};
use crate::cli::target::reason;
use crate::cli::terminal::{plural, strip_control, write_note};
use crate::protocol::transaction::TransactionId;
use crate::protocol::wire::{Ack, AckStatus};

/// The results so far.
pub(crate) struct Tally {
    pub(crate) bar: ProgressBar,
    stored: usize,
    known: usize,
    pub(crate) refusals: Refusals,
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
        Self {
            bar,
            stored: 0,
            known: 0,
            refusals: Refusals::default(),
            fewest_links: None,
            kept: Vec::new(),
            waiting: HashMap::new(),
        }
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
            AckStatus::Rejected => {
                let line = self.refusals.node(number.unwrap_or_default(), &reason(ack));
                return self.show(line);
            }
        }
        self.refusals.node_takes();
        self.kept.extend(ack.id.parse::<TransactionId>());
        self.bar.inc(1);
    }

    pub(crate) fn refuse_input(&mut self, number: u64, why: &str) {
        let line = self.refusals.input(number, why);
        self.show(line);
    }

    fn show(&self, line: Option<String>) {
        if let Some(line) = line {
            self.bar.suspend(|| write_note(&line));
        }
        self.bar.inc(1);
    }

    /// Describes the progress, for an error that ends the run.
    pub(crate) fn so_far(&self) -> String {
        let noun = self.refusals.unit.noun();
        let confirmed = plural(self.kept.len(), noun);
        let open: Vec<u64> = self.waiting.values().flatten().copied().collect();
        match open.iter().min() {
            Some(first) => {
                let open = open.len();
                format!(
                    "{confirmed} confirmed; go on from {noun} {first} ({open} were on their way and may be stored too)"
                )
            }
            None => format!("{confirmed} confirmed"),
        }
    }

    /// The sums for a program.
    pub(crate) fn as_json(&self, name: &str) -> Value {
        json!({
            "node": name,
            "stored": self.stored,
            "duplicates": self.known,
            "refused": self.refusals.count,
            "fewestLinks": self.fewest_links,
        })
    }

    pub(crate) fn summary(&self, name: &str) -> String {
        let alone = match self.fewest_links {
            Some(0) => ", but this node has no peers: nobody else has all of them yet".to_owned(),
            Some(links) => format!(", sent on {}", plural(links, "link")),
            None => String::new(),
        };
        format!(
            "{} stored in {name}{alone}, {} known there already, {} refused",
            self.stored, self.known, self.refusals.count
        )
    }
}

/// How many equal refusals in a row are enough, and how many of one kind are printed.
const ENOUGH: u64 = 10;
/// How many kinds of refusals are told apart.
const KINDS: usize = 1_000;

/// The refusals so far. Those of one kind are printed ten times, then counted.
#[derive(Default)]
pub(crate) struct Refusals {
    pub(crate) count: usize,
    pub(crate) unit: Unit,
    kinds: HashMap<String, u64>,
    /// Whether something of the input is a transaction.
    any_valid: bool,
    /// Those in a row of the input, and those of the node, which come later.
    input: Row,
    node: Row,
}

/// Equal refusals in a row.
#[derive(Default)]
struct Row {
    why: String,
    length: u64,
    /// The number of the last.
    last: u64,
}

impl Row {
    fn add(&mut self, number: u64, why: &str) {
        if kind(&self.why) == kind(why) {
            self.length += 1;
        } else {
            *self = Self { why: why.to_owned(), length: 1, last: 0 };
        }
        self.last = number;
    }
}

/// A reason without its numbers: positions differ from line to line.
fn kind(why: &str) -> String {
    why.chars().filter(|character| !character.is_ascii_digit()).collect()
}

impl Refusals {
    /// Counts something that was not sent; returns a line to print.
    pub(crate) fn input(&mut self, number: u64, why: &str) -> Option<String> {
        if self.input.length < ENOUGH {
            self.input.add(number, why);
        }
        self.add(number, why)
    }

    /// The next of the input is a transaction.
    pub(crate) fn input_is_valid(&mut self) {
        self.any_valid = true;
        self.input = Row::default();
    }

    /// Counts something that the node rejected; returns a line to print.
    pub(crate) fn node(&mut self, number: u64, why: &str) -> Option<String> {
        if self.node.length < ENOUGH {
            self.node.add(number, why);
        }
        self.add(number, why)
    }

    /// The node took one.
    pub(crate) fn node_takes(&mut self) {
        if self.node.length < ENOUGH {
            self.node = Row::default();
        }
    }

    fn add(&mut self, number: u64, why: &str) -> Option<String> {
        self.count += 1;
        let kind = kind(why);
        let kind = if self.kinds.len() < KINDS || self.kinds.contains_key(&kind) { kind } else { String::new() };
        let equal = self.kinds.entry(kind).or_default();
        *equal += 1;
        (*equal <= ENOUGH).then(|| format!("{} {number} is refused: {}", self.unit.noun(), strip_control(why)))
    }

    /// Prints how many refusals were not printed.
    pub(crate) fn print_rest(&self) {
        let more: u64 = self.kinds.values().map(|equal| equal.saturating_sub(ENOUGH)).sum();
        if more > 0 {
            write_note(format_args!("{more} more were refused for the same reasons"));
        }
    }

    /// Whether nothing more should be sent.
    pub(crate) fn is_enough(&self) -> bool {
        self.input.length >= ENOUGH || self.node.length >= ENOUGH
    }

    /// Returns the form wanted, if the whole input has another one.
    pub(crate) fn all_refused(&self) -> Option<String> {
        (self.count > 0 && !self.any_valid).then(|| format!("nothing in the input is a transaction; {FORMS}"))
    }

    /// Returns why nothing more was sent.
    pub(crate) fn gave_up(&self, name: &str) -> Option<String> {
        let noun = self.unit.noun();
        let Row { why, length, last } = &self.input;
        if *length >= ENOUGH {
            let why = strip_control(why);
            return Some(format!("stopped at {noun} {last}, the tenth in a row that is refused: {why}; {FORMS}"));
        }
        let Row { why, length, last } = &self.node;
        (*length >= ENOUGH)
            .then(|| format!("stopped: {name} refused ten in a row, the last {noun} {last}: {}", strip_control(why)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ack(id: &str, status: AckStatus, links: usize) -> Ack {
        Ack { id: id.to_owned(), status, reason: Some("the pool is full".to_owned()), links }
    }

    #[test]
    fn ten_equal_refusals_in_a_row_are_enough() {
        let mut refusals = Refusals::default();
        for number in 1..=9 {
            assert!(refusals.input(number, &format!("bad at byte {number}")).is_some());
        }
        refusals.input_is_valid();
        for number in 11..=19 {
            assert_eq!(refusals.input(number, "bad at byte 7").is_some(), number == 11, "ten of a kind are printed");
        }
        assert!(!refusals.is_enough() && refusals.input(20, "another").is_some());
        assert_eq!(refusals.all_refused(), None, "one was valid");
        for number in 21..=30 {
            assert!(!refusals.is_enough(), "{number}");
            refusals.input(number, "bad at byte 3");
        }
        assert!(refusals.is_enough());
        let why = refusals.gave_up("node-1").expect("it did");
        assert!(why.starts_with("stopped at line 30") && why.contains("JSON array"), "{why}");

        let mut refusals = Refusals::default();
        for number in 1..=10 {
            // What is read ahead meanwhile is sound.
            refusals.input_is_valid();
            refusals.node(number, "the pool is full");
        }
        assert!(refusals.is_enough());
        let why = refusals.gave_up("node-1").expect("it did");
        assert_eq!(why, "stopped: node-1 refused ten in a row, the last line 10: the pool is full");
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
